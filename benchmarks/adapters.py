"""Our search inside other people's tools, beside their own: seconds for all trials, as ratios.

    python benchmarks/adapters.py [--only ray-tune,tuner] [--parameters 20]

Studies of 1,000 and of 10,000 trials, with nothing to be trained, so that what is left is the tool and the sampler:

- optuna: a study of Optuna's with `FastSampler`, beside its `TPESampler`.
- ray-tune: what Ray Tune calls of a search algorithm, `suggest` and `on_trial_complete`, without Ray: `FastSearch`
  beside `OptunaSearch`.
- tuner: real `Tuner`s of Ray's with 100 trials that do nothing. In the columns of times is for how long the controller
  waits for suggestions and with results, and beside them the whole run, and the files that Tune has the search save:
  as many as take a twentieth of its time.
- sklearn: 500 candidates on two folds: `FastSearchCV` beside `OptunaSearchCV`, and beside `RandomizedSearchCV`, which
  knows all candidates before the first is fitted; `sklearn_search.py` has more of them.

Each searches as its users get it by default. Where theirs would take longer than a minute, five trials are
measured at some sizes of the study, the rest of which is random; the whole is the integral of these ("extrapolated").
Kernels are compiled or loaded before anything is measured. Read the ratios of one run, not the times.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import numpy as np
import optuna
import optuna_sampler
from libraries import readable

WARM_UP = 300  # trials of another study, before anything is measured
SIZES = 1_000, 10_000
MEASURED = 100, 300, 1_000, 3_000, 10_000  # trials of a study at which theirs is measured
AT_ONCE = 5  # trials there
CALLS = "suggest", "on_trial_result", "on_trial_complete"  # of Tune for a trial


class Row(NamedTuple):
    """A line of the table: what was done, by whose search each, and how long it took."""

    what: str
    ours: str
    our_seconds: float
    theirs: str
    their_seconds: float
    note: str = ""


def whole(trials: int, at_sizes: Callable[[list[int]], list[float]]) -> tuple[float, str]:
    """Seconds for all trials of a search whose trials cost more and more.

    Args:
        trials: how many.
        at_sizes: the seconds that a trial takes in a study of each of some sizes.
    """
    sizes = [size for size in MEASURED if size < trials] + [trials]
    found = at_sizes(sizes)
    return float(np.trapezoid([found[0], *found], [0, *sizes])), "theirs extrapolated"


# --- Optuna


def in_optuna(parameters: int) -> Iterable[Row]:
    from fasthpo.integrations.optuna import FastSampler

    optuna_sampler.run(FastSampler(seed=0), WARM_UP, parameters)
    for trials in SIZES:
        ours = sum(optuna_sampler.run(FastSampler(seed=0), trials, parameters))
        theirs, note = whole(
            trials,
            lambda sizes: optuna_sampler.at_sizes(optuna.samplers.TPESampler(seed=0), sizes, parameters),
        )
        what = f"optuna.Study.optimize, {trials:,} trials"
        yield Row(what, "FastSampler()", ours, "TPESampler()", theirs, note)


# --- Ray Tune


def _space(parameters: int) -> dict[str, Any]:
    from ray import tune

    return {f"x{i}": tune.uniform(-1.0, 1.0) for i in range(parameters)}


def _loss(config: dict[str, float]) -> float:
    return sum((value - 0.3) ** 2 for value in config.values())


def drive(search: Any, ids: Iterable[int]) -> float:
    """Seconds of what Tune calls for trials that report once."""
    took = 0.0
    for i in ids:
        begin = time.perf_counter()
        config = search.suggest(f"trial_{i}")
        middle = time.perf_counter()
        result = {"loss": _loss(config), "training_iteration": 1}
        end = time.perf_counter()
        search.on_trial_result(f"trial_{i}", result)
        search.on_trial_complete(f"trial_{i}", result)
        took += middle - begin + time.perf_counter() - end
    return took


def _fast(parameters: int) -> Any:
    from fasthpo.integrations.ray_tune import FastSearch

    return FastSearch(_space(parameters), metric="loss", mode="min", seed=0)


def _optuna(parameters: int) -> Any:
    from ray.tune.search.optuna import OptunaSearch

    search = OptunaSearch(metric="loss", mode="min", seed=0)
    search.set_search_properties("loss", "min", _space(parameters))
    return search


def in_ray_tune(parameters: int) -> Iterable[Row]:
    drive(_fast(parameters), range(WARM_UP))

    def at_sizes(sizes: list[int]) -> list[float]:
        search, found, ids = _optuna(parameters), [], itertools.count()
        study = search._ot_study
        own = study.sampler
        for size in sizes:
            study.sampler = optuna.samplers.RandomSampler(seed=size)
            drive(search, itertools.islice(ids, size - len(study.get_trials(deepcopy=False))))
            study.sampler = own
            found.append(drive(search, itertools.islice(ids, AT_ONCE)) / AT_ONCE)
        return found

    for trials in SIZES:
        ours = drive(_fast(parameters), range(trials))
        theirs, note = whole(trials, at_sizes)
        what = f"suggest + on_trial_complete of Ray Tune, {trials:,} trials"
        yield Row(what, "FastSearch()", ours, "OptunaSearch()", theirs, note)


@contextlib.contextmanager
def watched(kind: type) -> Iterator[dict[str, list[float]]]:
    """For how long each call by Tune of a class of search algorithms takes, by the method's name."""
    took: dict[str, list[float]] = {name: [] for name in (*CALLS, "save")}

    def counted(name: str) -> Callable[..., Any]:
        call = getattr(kind, name)

        def method(*args: Any, **options: Any) -> Any:
            begin = time.perf_counter()
            try:
                return call(*args, **options)
            finally:
                took[name].append(time.perf_counter() - begin)

        return method

    with contextlib.ExitStack() as stack:
        for name in took:
            stack.enter_context(mock.patch.object(kind, name, counted(name)))
        yield took


def in_a_tuner(parameters: int, trials: int = 100) -> Iterable[Row]:
    import ray
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    from fasthpo.integrations.ray_tune import FastSearch

    def run(search: Any, count: int, folder: Path) -> tuple[float, str]:
        tuner = tune.Tuner(
            lambda config: {"loss": sum((value - 0.3) ** 2 for value in config.values())},
            param_space=_space(parameters),
            tune_config=tune.TuneConfig(
                metric="loss", mode="min", num_samples=count, search_alg=search, reuse_actors=True
            ),
            run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
        )
        with watched(type(search)) as took:
            begin = time.perf_counter()
            tuner.fit()
            end = time.perf_counter()
        saved = took["save"]
        note = f"{readable(end - begin)} in all, {len(saved)} saves of {readable(sum(saved) / len(saved))}"
        return sum(sum(took[name]) for name in CALLS), note

    drive(_fast(parameters), range(WARM_UP))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        with tempfile.TemporaryDirectory() as folder:
            run(FastSearch(seed=0), 2, Path(folder))
            ours, our_note = run(FastSearch(seed=0), trials, Path(folder))
            theirs, their_note = run(OptunaSearch(seed=0), trials, Path(folder))
    finally:
        ray.shutdown()
    note = f"ours: {our_note}; theirs: {their_note}"
    yield Row(f"Tuner of Ray Tune, {trials} trials", "FastSearch()", ours, "OptunaSearch()", theirs, note)


# --- scikit-learn


def in_sklearn(parameters: int, trials: int = 500) -> Iterable[Row]:
    import sklearn_search
    from sklearn.model_selection import KFold

    from fasthpo import Continuous

    class Idle(sklearn_search.Idle):
        def set_params(self, **given: Any) -> Any:
            return super().set_params(a=sum(given.values()) / parameters)

    space = {f"x{i}": Continuous(-1.0, 1.0) for i in range(parameters)}

    def run(make: Callable[..., Any], count: int) -> float:
        begin = time.perf_counter()
        make(Idle(), space, count, KFold(2), 0).fit(np.zeros((20, 1)), np.zeros(20))
        return time.perf_counter() - begin

    run(sklearn_search.fast, 30)
    ours = run(sklearn_search.fast, trials)
    for theirs, make in (
        ("OptunaSearchCV()", sklearn_search.optunas),
        ("RandomizedSearchCV()", sklearn_search.randomized),
    ):
        seconds = run(make, trials)
        yield Row(f"fit of scikit-learn's, {trials} candidates", "FastSearchCV()", ours, theirs, seconds)


# a further adapter is a further line: it gives rows
ADAPTERS: dict[str, Callable[[int], Iterable[Row]]] = {
    "optuna": in_optuna,
    "ray-tune": in_ray_tune,
    "tuner": in_a_tuner,
    "sklearn": in_sklearn,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(ADAPTERS), help="of " + ", ".join(ADAPTERS))
    parser.add_argument("--parameters", type=int, default=20)
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore")
    print(f"\n{given.parameters} parameters\n")
    print("| What | Ours | Theirs | Theirs / ours | |")
    print("|---|---|---|---|---|")
    for name in given.only.split(","):
        for row in ADAPTERS[name](given.parameters):
            ours, theirs = (
                f"`{who}` {readable(seconds)}"
                for who, seconds in ((row.ours, row.our_seconds), (row.theirs, row.their_seconds))
            )
            print(
                f"| {row.what} | {ours} | {theirs} | {row.their_seconds / row.our_seconds:.3g} | {row.note} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
