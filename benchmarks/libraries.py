"""fasthpo and its rivals behind one call: a study with a known history, ready to ask and tell."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

AskTell = Callable[[], None]
Make = Callable[[np.ndarray, np.ndarray], AskTell]


def history(trials: int, params: int) -> tuple[np.ndarray, np.ndarray]:
    """Points in [0, 1) of shape (trials, params), and their values on a bowl with noise."""
    random = np.random.default_rng(0)
    points = random.random((trials, params))
    return points, ((points - 0.3) ** 2).sum(1) + 0.01 * random.random(trials)


def readable(seconds: float) -> str:
    """A time with a unit that suits it: `12.3 ms`."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def _value(values: list[float]) -> float:
    return math.fsum((v - 0.3) ** 2 for v in values)


def fasthpo(make_sampler: str, **options: object) -> Make:
    def make(points: np.ndarray, losses: np.ndarray) -> AskTell:
        import fasthpo

        names = [f"x{j}" for j in range(points.shape[1])]
        grid = {"n_points": 1000} if make_sampler == "GridSampler" else {}
        space = fasthpo.SearchSpace({name: fasthpo.Continuous(0.0, 1.0, **grid) for name in names})
        study = fasthpo.Study(space, sampler=getattr(fasthpo, make_sampler)(seed=1, **options))
        study.add_trials({name: points[:, j] for j, name in enumerate(names)}, losses)

        def ask_tell() -> None:
            trial = study.ask()
            study.tell(trial, _value([trial[name] for name in names]))

        return ask_tell

    return make


def optuna(make_sampler: str, **options: object) -> Make:
    def make(points: np.ndarray, losses: np.ndarray) -> AskTell:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        names = [f"x{j}" for j in range(points.shape[1])]
        if make_sampler == "GridSampler":  # it materialises the product, so it gets a grid of 12^4 cells
            sampler = optuna.samplers.GridSampler({n: np.linspace(0, 1, 12).tolist() for n in names[:4]}, seed=1)
            names = names[:4]
            points = points[:, :4]
        else:
            sampler = getattr(optuna.samplers, make_sampler)(seed=1, **options)
        study = optuna.create_study(sampler=sampler)
        distributions = {n: optuna.distributions.FloatDistribution(0.0, 1.0) for n in names}
        study.add_trials(
            [
                optuna.trial.create_trial(
                    params=dict(zip(names, point, strict=True)), distributions=distributions, value=loss
                )
                for point, loss in zip(points.tolist(), losses.tolist(), strict=True)
            ]
        )

        def ask_tell() -> None:
            trial = study.ask()
            study.tell(trial, _value([trial.suggest_float(name, 0.0, 1.0) for name in names]))

        return ask_tell

    return make


def rustuna(make_sampler: str) -> Make:
    def make(points: np.ndarray, losses: np.ndarray) -> AskTell:
        import rustuna

        names = [f"x{j}" for j in range(points.shape[1])]
        study = rustuna.create_study(sampler=getattr(rustuna.samplers, make_sampler)(seed=1))
        distributions = {n: rustuna.distributions.FloatDistribution(0.0, 1.0) for n in names}
        for point, loss in zip(points.tolist(), losses.tolist(), strict=True):
            study.add_trial(
                rustuna.create_trial(
                    params=dict(zip(names, point, strict=True)), distributions=distributions, value=loss
                )
            )

        def ask_tell() -> None:
            trial = study.ask()
            study.tell(trial.number, _value([trial.suggest_float(name, 0.0, 1.0) for name in names]))

        return ask_tell

    return make


def hyperopt() -> Make:
    """Its TPE; the only sampler of Hyperopt that models anything."""

    def make(points: np.ndarray, losses: np.ndarray) -> AskTell:
        import hyperopt

        names = [f"x{j}" for j in range(points.shape[1])]
        domain = hyperopt.Domain(lambda _: 0.0, {name: hyperopt.hp.uniform(name, 0.0, 1.0) for name in names})
        trials = hyperopt.Trials()

        def document(number: int, values: dict[str, list[float]], loss: float) -> dict[str, object]:
            misc = {"tid": number, "cmd": domain.cmd, "idxs": {n: [number] for n in names}, "vals": values}
            result = {"status": hyperopt.STATUS_OK, "loss": loss}
            (made,) = trials.new_trial_docs([number], [None], [result], [misc])
            made["state"] = hyperopt.JOB_STATE_DONE
            return made

        rows = enumerate(zip(points.tolist(), losses.tolist(), strict=True))
        trials.insert_trial_docs(
            [document(i, dict(zip(names, ([v] for v in row), strict=True)), loss) for i, (row, loss) in rows]
        )
        trials.refresh()
        counter = iter(range(len(points), 2**31))

        def ask_tell() -> None:
            number = next(counter)
            (asked,) = hyperopt.tpe.suggest([number], domain, trials, seed=number)
            values = asked["misc"]["vals"]
            trials.insert_trial_docs([document(number, values, _value([values[name][0] for name in names]))])
            trials.refresh()

        return ask_tell

    return make


# kind of sampler -> library -> how to make it; the first library is what the others are compared with
LIBRARIES: dict[str, dict[str, Make]] = {
    "random": {
        "fasthpo": fasthpo("RandomSampler"),
        "optuna": optuna("RandomSampler"),
        "rustuna": rustuna("RandomSampler"),
    },
    "grid": {"fasthpo": fasthpo("GridSampler"), "optuna": optuna("GridSampler")},
    "quasi-random": {"fasthpo": fasthpo("QMCSampler"), "optuna": optuna("QMCSampler")},
    "tpe": {
        "fasthpo": fasthpo("TPESampler"),
        "optuna": optuna("TPESampler"),
        "rustuna": rustuna("TPESampler"),
    },
    "tpe-univariate": {
        "fasthpo": fasthpo("TPESampler", multivariate=False),
        "optuna": optuna("TPESampler", multivariate=False),
    },
}
# a rival's largest history: filling and asking it beyond takes minutes
LARGEST = {"fasthpo": 100_000, "optuna": 10_000, "rustuna": 100_000}
