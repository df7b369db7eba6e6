"""What it brings to tell a study more than values: what trials cost, that values are noisy, guesses.

    pip install -c constraints.txt -e ".[benchmark]" onnxruntime
    python benchmarks/knowledge.py cost|noise|prior|earlier --quality ../shared/quality [--seeds 10] [--workers 2]

Each line compares a study that is told more with one that is not, on the same tasks and seeds: regret divided by that
of 20 random trials, arithmetic and geometric mean over tasks, on how many tasks it is lower and higher, and the p of
Wilcoxon's one-sided test over the tasks' means that it is lower (near 1: higher). `--quality` is a folder with the
tasks of `tasks.py`, surrogates of real trainings from YAHPO Gym; made up tasks are in this file.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import numpy as np
from scipy.stats import wilcoxon

import fasthpo

RANDOM, RANDOM_SEEDS = 20, 50  # trials, and seeds, of what regrets are divided by
LEAST = 1e-3  # of a regret in a geometric mean

YAHPO = (
    "lcbench/3945", "lcbench/126026", "lcbench/167152", "lcbench/167184", "lcbench/189865", "rbv2_xgboost/1510",
    "rbv2_xgboost/458", "rbv2_xgboost/40975", "rbv2_rpart/14", "rbv2_rpart/23381", "iaml_super/40981",
    "iaml_super/1489",
)  # fmt: skip


class Task:
    """A space, the loss of a point, what it costs to find out, and the lowest loss that is known."""

    space: dict[str, Any]
    best = 0.0

    def loss(self, params: Mapping[str, Any]) -> float:
        raise NotImplementedError

    def cost(self, params: Mapping[str, Any]) -> float:
        return 1.0


class Surrogate(Task):
    """A training at full length, by a surrogate of YAHPO Gym; its cost is the seconds that it takes."""

    def __init__(self, spec: str) -> None:
        import tasks

        self._task = tasks.Yahpo(*spec.split("/"))
        outputs = tasks.YAHPO[spec.split("/", maxsplit=1)[0]][2]
        self._time = outputs.index("time" if "time" in outputs else "timetrain")
        self.best = self._task.best
        self.space = {name: _parameter(tasks, one) for name, one in self._task.space.items()}

    def loss(self, params: Mapping[str, Any]) -> float:
        return self._task(params)

    def cost(self, params: Mapping[str, Any]) -> float:
        task = self._task
        out, scale = task._out, task._scale
        try:
            task._out, task._scale = self._time, -1.0
            return max(float(task.losses([params], task.max_resource)[0]) - 1, 1e-3)
        finally:
            task._out, task._scale = out, scale


def _parameter(tasks: Any, one: Any) -> Any:
    when = {name: list(values) for name, values in one.when.items()} or None
    if isinstance(one, tasks.Cat):
        return fasthpo.Categorical(list(one.choices), when=when)
    if isinstance(one, tasks.Int):
        return fasthpo.Discrete(one.low, one.high, log=one.log, when=when)
    if one.log:
        return fasthpo.LogUniform(one.low, one.high, when=when)
    return fasthpo.Continuous(one.low, one.high, when=when)


class Bowl(Task):
    """Four numbers, of which the first decides over a hundredfold cost; the best point is `where` on that axis."""

    def __init__(self, where: str) -> None:
        self.space = {f"x{j}": fasthpo.Continuous(0.0, 1.0) for j in range(4)}
        self._optimum = np.array([float(where), 0.3, 0.7, 0.45])

    def loss(self, params: Mapping[str, Any]) -> float:
        off = (np.array(list(params.values())) - self._optimum) * [1.0, 2.0, 1.0, 0.5]
        return float((off**2).sum() + 0.02 * (1 - np.cos(12 * off)).sum())

    def cost(self, params: Mapping[str, Any]) -> float:
        return float(100.0 ** params["x0"])


@functools.cache
def task_of(spec: str) -> Task:
    family, _, rest = spec.partition("/")
    return Bowl(rest) if family == "bowl" else Surrogate(spec)


@functools.cache
def random_regret(spec: str) -> float:
    """What regrets of a task are divided by."""
    task, bests = task_of(spec), []
    for seed in range(RANDOM_SEEDS):
        batch = fasthpo.Study(task.space, sampler=fasthpo.RandomSampler(seed=seed)).ask_batch(RANDOM)
        bests.append(min(task.loss(_active(batch[i])) for i in range(len(batch.numbers))))
    return max(float(np.mean(bests)) - task.best, 1e-12)


def _active(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}


# --- cost


@functools.cache
def mean_cost(spec: str) -> float:
    task = task_of(spec)
    batch = fasthpo.Study(task.space, sampler=fasthpo.RandomSampler(seed=1)).ask_batch(200)
    return float(np.mean([task.cost(_active(batch[i])) for i in range(200)]))


def at_equal_cost(job: tuple[str, str, int]) -> list[float]:
    """Regrets after costs of 10, 30 and 60 random trials."""
    spec, variant, seed = job
    task = task_of(spec)
    marks = [n * mean_cost(spec) for n in (10, 30, 60)]
    study, spent, best, found = fasthpo.Study(task.space, sampler=SAMPLERS[variant](seed)), 0.0, np.inf, []
    while len(found) < len(marks) and len(study) < 400:
        trial = study.ask()
        cost, loss = task.cost(trial.params), task.loss(trial.params)
        study.tell(trial, loss, cost=cost)
        spent += cost
        while len(found) < len(marks) and spent > marks[len(found)]:
            found.append(best)
        best = min(best, loss)
    found += [best] * (len(marks) - len(found))
    return [max(one - task.best, 0.0) / random_regret(spec) for one in found]


SAMPLERS: dict[str, Callable[[int], fasthpo.Sampler]] = {
    "tpe": lambda seed: fasthpo.TPESampler(seed=seed),
    "tpe, cost_aware": lambda seed: fasthpo.TPESampler(seed=seed, cost_aware=True),
}


def cost(run: Callable[..., dict[str, np.ndarray]]) -> None:
    for title, specs in (
        ("surrogates", YAHPO),
        ("bowls", ("bowl/0.1", "bowl/0.3", "bowl/0.5", "bowl/0.7", "bowl/0.9")),
    ):
        found = run(at_equal_cost, specs, ["tpe", "tpe, cost_aware"])
        table(f"cost, {title}: after the cost of 10, 30 and 60 random trials", found, "tpe", specs)


# --- noise

NOISY = ("bowl/0.3", "bowl/0.7", "lcbench/3945", "lcbench/167152", "rbv2_xgboost/458", "rbv2_rpart/14")


def under_noise(job: tuple[str, str, int]) -> list[float]:
    """Regrets of what is held for the best after 30, 60 and 100 trials, and by how much it is said to be better."""
    spec, variant, seed = job
    task, noise = task_of(spec), np.random.default_rng([seed, 7])
    kind, level = variant.split(", ")
    scale = random_regret(spec)
    study = fasthpo.Study(task.space, sampler=fasthpo.AutoSampler(seed=seed), noisy=kind == "noisy=True")
    regrets, optimism = [], []
    for n in range(1, 101):
        trial = study.ask()
        study.tell(trial, task.loss(trial.params) + float(level) * scale * noise.normal())
        if n in (30, 60, 100):
            loss = task.loss(study.best_params)
            regrets.append(max(loss - task.best, 0.0) / scale)
            optimism.append((loss - study.best_value) / scale)
    return regrets + optimism


def noise(run: Callable[..., dict[str, np.ndarray]]) -> None:
    for level in ("0.3", "1.0"):
        base = f"noisy=False, {level}"
        found = run(under_noise, NOISY, [base, f"noisy=True, {level}"])
        regrets = {name: array[:, :, :3] for name, array in found.items()}
        table(
            f"noise of {level} x the regret of {RANDOM} random trials: regret after 30, 60, 100", regrets, base, NOISY
        )
        for name, array in found.items():
            print(f"{name:28s} better than it is by {array[:, :, 3:].mean(axis=(0, 1)).round(3)}", flush=True)


def searched(study: fasthpo.Study, spec: str, marks: Sequence[int]) -> list[float]:
    """Regrets of the best after as many trials, divided by that of random search."""
    task, found, best = task_of(spec), [], np.inf
    for n in range(1, marks[-1] + 1):
        trial = study.ask()
        loss = task.loss(trial.params)
        study.tell(trial, loss)
        best = min(best, loss)
        if n in marks:
            found.append(max(best - task.best, 0.0) / random_regret(spec))
    return found


# --- priors

GUESSED = (*NOISY, "lcbench/189865", "iaml_super/40981")


@functools.cache
def ranked_points(spec: str) -> list[dict[str, Any]]:
    """300 random points, the best first."""
    task = task_of(spec)
    batch = fasthpo.Study(task.space, sampler=fasthpo.RandomSampler(seed=99)).ask_batch(300)
    return sorted((_active(batch[i]) for i in range(300)), key=task.loss)


def with_guess(job: tuple[str, str, int]) -> list[float]:
    """Regrets after 10, 20, 40 and 80 trials, with a guess of every parameter that is active at a point."""
    spec, variant, seed = job
    task = task_of(spec)
    kind, _, confidence = variant.partition(", ")
    point = {} if kind == "none" else ranked_points(spec)[{"good": 0, "bad": -1}[kind]]
    space = {}
    for name, one in task.space.items():
        fields = {**{field: getattr(one, field) for field in one.fields}, "when": dict(one.when)}
        prior = fasthpo.Prior(point[name], float(confidence)) if name in point else None
        space[name] = type(one)(**fields, prior=prior)
    return searched(fasthpo.Study(space, sampler=fasthpo.AutoSampler(seed=seed)), spec, (10, 20, 40, 80))


def prior(run: Callable[..., dict[str, np.ndarray]]) -> None:
    found = run(with_guess, GUESSED, ["none", "good, 0.5", "good, 0.8", "bad, 0.5", "bad, 0.8"])
    table("guesses: regret after 10, 20, 40, 80 trials", found, "none", GUESSED)


# --- earlier studies

# of which constants were chosen on the first, and the second was looked at afterwards
CHOSEN_ON = (
    "lcbench/3945", "lcbench/126026", "lcbench/167152", "lcbench/167184", "lcbench/189865", "lcbench/34539",
    "rbv2_rpart/14", "rbv2_rpart/1468", "rbv2_rpart/23381", "rbv2_rpart/40975",
)  # fmt: skip
HELD_OUT = (
    "rbv2_xgboost/1510", "rbv2_xgboost/458", "rbv2_xgboost/4534", "rbv2_xgboost/40975",
    "iaml_super/40981", "iaml_super/41146", "iaml_super/1489", "iaml_super/1067",
)  # fmt: skip
EARLIER_TRIALS = 60


def mirrored(task: Task, params: Mapping[str, Any]) -> dict[str, Any]:
    """Another point: each number on the other side of the middle of its range, each choice the next one."""
    space, found = fasthpo.SearchSpace(task.space), {}
    for name, value in params.items():
        one = space[name]
        if one.choices is not None:
            found[name] = (
                value
                if any(name in other.when for other in space.values())
                else (one.choices[(one.choices.index(value) + 1) % len(one.choices)])
            )
        elif getattr(one, "log", False):
            found[name] = one.low * one.high / value
        else:
            found[name] = one.low + one.high - value
        if isinstance(value, int) and not isinstance(value, bool):
            found[name] = min(max(round(found[name]), one.low), one.high)
    return found


@functools.lru_cache(64)
def earlier_study(spec: str, kind: str, seed: int) -> fasthpo.Study:
    """What was found out of a task: as it is, with the worst points as the best ones, or mirrored."""
    task = task_of(spec)
    study = fasthpo.Study(task.space, sampler=fasthpo.AutoSampler(seed=1000 + seed))
    for _ in range(EARLIER_TRIALS):
        trial = study.ask()
        loss = task.loss(mirrored(task, trial.params) if kind == "mirrored" else trial.params)
        study.tell(trial, -loss if kind == "reversed" else loss)
    return study


def others_of(spec: str, count: int, seed: int) -> list[str]:
    scenario = spec.split("/", maxsplit=1)[0] + "/"
    family = [one for one in (*CHOSEN_ON, *HELD_OUT) if one.startswith(scenario) and one != spec]
    return [family[(seed + k) % len(family)] for k in range(min(count, len(family)))]


def with_earlier(job: tuple[str, str, int]) -> list[float]:
    """Regrets after 10, 25, 50 and 100 trials."""
    spec, variant, seed = job
    task, sources = task_of(spec), []
    for part in variant.split(" and "):
        kind, _, count = part.partition(" ")
        if kind == "others":
            sources += [earlier_study(one, "as it is", seed) for one in others_of(spec, int(count), seed)]
        elif not kind.startswith("none"):
            sources.append(earlier_study(spec, {"same": "as it is"}.get(kind, kind), seed))
    sampler = fasthpo.AutoSampler(seed=seed)
    if variant == SOONER:
        sampler._model = fasthpo.TPESampler(6, seed=seed)
    return searched(fasthpo.Study(task.space, sampler=sampler, learn_from=sources), spec, (10, 25, 50, 100))


SOONER = "none, six start-up trials"  # where there are earlier studies, the model begins as soon
EARLIER = ["none", SOONER, "others 1", "others 3", "same", "reversed", "mirrored", "others 2 and reversed"]


def earlier(run: Callable[..., dict[str, np.ndarray]]) -> None:
    for title, specs in (("chosen on", CHOSEN_ON), ("held out", HELD_OUT)):
        found = run(with_earlier, specs, EARLIER)
        table(f"earlier studies, {title}: regret after 10, 25, 50, 100 trials", found, "none", specs)
        for name, regrets in found.items():
            tails = [f"{np.quantile(regrets[:, :, k], 0.95):.2f}, {regrets[:, :, k].max():.2f}" for k in range(4)]
            print(f"{name:28s} of the runs, the 95 % quantile and the worst: {'  |  '.join(tails)}", flush=True)


# --- all


def table(title: str, found: Mapping[str, np.ndarray], base: str, specs: Iterable[str]) -> None:
    """Regrets (tasks, seeds, marks) by variant, as lines."""
    print(f"\n{title}")
    for name, regrets in found.items():
        cells = []
        for k in range(regrets.shape[2]):
            means = np.minimum(regrets[:, :, k], 10.0).mean(axis=1)
            cell = f"{means.mean():.3f} / {np.exp(np.log(np.maximum(means, LEAST)).mean()):.4f}"
            if name != base:
                difference = means - np.minimum(found[base][:, :, k], 10.0).mean(axis=1)
                p = wilcoxon(difference, alternative="less").pvalue if difference.any() else 0.5
                cell += f" ({(difference < 0).sum()}:{(difference > 0).sum()}, p {p:.3f})"
            cells.append(cell)
        print(f"{name:28s} " + "  |  ".join(cells), flush=True)
    if os.environ.get("PER_TASK"):
        for i, spec in enumerate(specs):
            print(f"   {spec:24s}", "  ".join(f"{name}: {found[name][i].mean(axis=0).round(3)}" for name in found))


PARTS = {"cost": cost, "noise": noise, "prior": prior, "earlier": earlier}


def _initialize(quality: str) -> None:
    sys.path.insert(0, quality)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--quality", default="../shared/quality")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    _initialize(options.quality)
    with multiprocessing.get_context("spawn").Pool(options.workers, _initialize, (options.quality,)) as pool:

        def run(one: Callable[..., list[float]], specs: Iterable[str], variants: list[str]) -> dict[str, np.ndarray]:
            specs = list(specs)
            jobs = [(spec, variant, seed) for spec in specs for variant in variants for seed in range(options.seeds)]
            regrets = np.array(pool.map(one, jobs, chunksize=options.seeds))
            shaped = regrets.reshape(len(specs), len(variants), options.seeds, -1)
            return {variant: shaped[:, k] for k, variant in enumerate(variants)}

        PARTS[options.part](run)


if __name__ == "__main__":
    main()
