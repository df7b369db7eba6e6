"""What halving and pruning save on recorded and surrogate learning curves, beside Optuna's, at equal resource.

    pip install -c constraints.txt -e ".[benchmark]" onnxruntime
    python benchmarks/multi_fidelity.py TASKS                  # minutes on two cores with 30 seeds
    python benchmarks/multi_fidelity.py TASKS --families taskset --seeds 10
    python benchmarks/multi_fidelity.py TASKS --trainings 500 --tasks 1 --seeds 1 --workers 1 --methods Hyperband

TASKS is a folder with a `tasks.py` that has `PUBLIC` (names of tasks) and `load(name)`: tasks with `space`,
`max_resource`, `best` (the lowest known loss), a call `task(params, resource)` that gives the loss, and
`task.curve(params)`, the losses of all epochs. TaskSet's tables (recorded trainings, of which a quarter diverge) and
YAHPO Gym's lcbench have learning curves.

Resource: an epoch is one unit, and every method has as many as 20 full trainings take (`--trainings`), but for "50
trials". No pruner acts before epoch 7, a seventh of a training. Fasthpo's median pruner compares a trial with all
others that came as far or ended before, and prunes about half of the trials; Optuna's compares it with completed trials
only, and prunes more, which `pool="completed"` does, too.
Regret: of the trial that a user would take (the best completed one) beyond the best known loss, divided by the mean
regret of the best of 20 random full trainings over 50 seeds: 1 is random search. p: one-sided Wilcoxon test over tasks
and seeds, paired, that a method's regret is lower than the one it is compared with. Own time: seconds in the library,
without the trainings.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

FULL_TRAININGS = 20
TRIALS = 50
MIN_STEPS = 7
FAMILIES = {"taskset": "taskset:", "lcbench": "yahpo:lcbench:"}


class Run(NamedTuple):
    """What one run came to."""

    loss: float
    spent: int
    own_seconds: float


Runner = Callable[[Any, int, int], Run]  # of a task, a seed, and as much resource as so many full trainings take


@dataclass
class Clock:
    """Adds up the time that calls take."""

    seconds: float = 0.0

    def __call__(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        try:
            return call(*arguments, **options)
        finally:
            self.seconds += time.perf_counter() - start


def space_of(task: Any) -> Any:
    """The task's space as fasthpo's."""
    import fasthpo

    parameters: dict[str, Any] = {}
    for name, spec in task.space.items():
        when = {"when": {k: list(v) for k, v in spec.when.items()}} if spec.when else {}
        if hasattr(spec, "choices"):
            parameters[name] = fasthpo.Categorical(list(spec.choices), **when)
        elif isinstance(spec.low, int):
            parameters[name] = fasthpo.Discrete(spec.low, spec.high, log=spec.log, **when)
        elif spec.log:
            parameters[name] = fasthpo.LogUniform(spec.low, spec.high, **when)
        else:
            parameters[name] = fasthpo.Continuous(spec.low, spec.high, **when)
    return fasthpo.SearchSpace(parameters)


def finite(loss: float) -> float:
    """A diverged training's loss as infinity."""
    return float(loss) if np.isfinite(loss) else np.inf


# --- fasthpo


def full(sampler: str) -> Runner:
    """Every trial trained in full."""

    def run(task: Any, seed: int, trainings: int) -> Run:
        import fasthpo

        clock = Clock()
        study = fasthpo.Study(space_of(task), sampler=getattr(fasthpo, sampler)(seed=seed))
        for _ in range(trainings):
            trial = clock(study.ask)
            clock(study.tell, trial, finite(task(trial.params, task.max_resource)))
        return Run(study.best_value, trainings * int(task.max_resource), clock.seconds)

    return run


def halving(strategy: str, sampler: str, min_resource: int = 1) -> Runner:
    """A multi-fidelity strategy up to the budget."""

    def run(task: Any, seed: int, trainings: int) -> Run:
        import fasthpo

        most = int(task.max_resource)
        made = getattr(fasthpo, strategy)(most, min_resource, sampler=getattr(fasthpo, sampler)(seed=seed))
        study = fasthpo.Study(space_of(task), strategy=made)
        clock, budget = Clock(), trainings * most
        while (trial := clock(study.ask_within, budget - study.resource_committed)) is not None:
            clock(study.tell, trial, finite(task(trial.params, trial.resource)))
        return Run(chosen(study, task), study.resource_spent, clock.seconds)

    return run


def chosen(study: Any, task: Any) -> float:
    """The full loss of the best completed trial; if none is, of the best one at the largest resource."""
    if study.table.best_number is not None:
        return float(study.best_value)
    last = max(study.trials, key=lambda trial: (max(trial.rungs, default=0), -finite(trial.value or np.inf)))
    return finite(task(last.params, task.max_resource))


def pruned(sampler: str, pool: str | None, trials: int | None = None) -> Runner:
    """Trials that report each epoch to a median pruner, or to none: so many, or up to the budget."""

    def run(task: Any, seed: int, trainings: int) -> Run:
        import fasthpo

        clock, spent, budget = Clock(), 0, trainings * int(task.max_resource)
        pruner = None if pool is None else fasthpo.MedianPruner(min_steps=MIN_STEPS, pool=pool)
        study = fasthpo.Study(space_of(task), sampler=getattr(fasthpo, sampler)(seed=seed), pruner=pruner)
        while len(study) < trials if trials is not None else spent < budget:
            trial = clock(study.ask)
            curve = task.curve(trial.params)
            for epoch, loss in enumerate(curve):
                spent += 1
                clock(trial.report, float(loss), epoch)
                if clock(trial.should_prune):
                    clock(study.tell, trial, state=fasthpo.TrialState.PRUNED)
                    break
            else:
                clock(study.tell, trial, finite(curve[-1]))
        return Run(study.best_value if study.table.best_number is not None else np.inf, spent, clock.seconds)

    return run


# --- Optuna


def suggested(task: Any, trial: Any) -> dict[str, Any]:
    """The parameters of an Optuna trial."""
    params: dict[str, Any] = {}
    for name, spec in task.space.items():
        if not all(params.get(parent) in values for parent, values in spec.when.items()):
            continue
        if hasattr(spec, "choices"):
            params[name] = trial.suggest_categorical(name, list(spec.choices))
        elif isinstance(spec.low, int):
            params[name] = trial.suggest_int(name, spec.low, spec.high, log=spec.log)
        else:
            params[name] = trial.suggest_float(name, spec.low, spec.high, log=spec.log)
    return params


def optuna(sampler: str, make_pruner: Callable[[Any, int], Any], trials: int | None) -> Runner:
    """Optuna with a pruner, for so many trials, or up to the budget."""

    def run(task: Any, seed: int, trainings: int) -> Run:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        clock, spent, most = Clock(), 0, int(task.max_resource)
        study = optuna.create_study(
            sampler=getattr(optuna.samplers, sampler)(seed=seed), pruner=make_pruner(optuna, most)
        )
        best = np.inf
        while len(study.trials) < trials if trials is not None else spent < trainings * most:
            trial = clock(study.ask)
            params = clock(suggested, task, trial)
            curve = task.curve(params)
            for epoch, loss in enumerate(curve, start=1):
                spent += 1
                clock(trial.report, float(loss), epoch)
                if clock(trial.should_prune):
                    clock(study.tell, trial, state=optuna.trial.TrialState.PRUNED)
                    break
            else:
                loss = finite(curve[-1])
                best = min(best, loss)
                clock(study.tell, trial, loss if np.isfinite(loss) else 1e6)
        return Run(best, spent, clock.seconds)

    return run


def optuna_median(sampler: str, trials: int | None = None) -> Runner:
    """Optuna's median pruner."""
    return optuna(sampler, lambda o, _: o.pruners.MedianPruner(n_warmup_steps=MIN_STEPS), trials)


def optuna_hyperband(sampler: str) -> Runner:
    """Optuna's Hyperband, which is a pruner."""
    return optuna(sampler, lambda o, most: o.pruners.HyperbandPruner(1, most, 3), None)


# name -> how to run it, the name that it is compared with
METHODS: dict[str, tuple[Runner, str]] = {
    "random search": (full("RandomSampler"), ""),
    "TPE": (full("TPESampler"), "random search"),
    "ASHA from 1": (halving("ASHA", "RandomSampler"), "random search"),
    "ASHA from 2": (halving("ASHA", "RandomSampler", 2), "random search"),
    "ASHA from 2, TPE": (halving("ASHA", "TPESampler", 2), "ASHA from 2"),
    "Hyperband": (halving("Hyperband", "RandomSampler"), "random search"),
    "Hyperband, TPE": (halving("Hyperband", "TPESampler"), "Hyperband"),
    "Optuna's Hyperband": (optuna_hyperband("RandomSampler"), "Hyperband"),
    "Optuna's Hyperband, TPE": (optuna_hyperband("TPESampler"), "Hyperband, TPE"),
    "random, median pruner": (pruned("RandomSampler", "all"), "random search"),
    "random, median of completed": (pruned("RandomSampler", "completed"), "random search"),
    "Optuna's random, median pruner": (optuna_median("RandomSampler"), "random, median of completed"),
    "TPE, median pruner": (pruned("TPESampler", "all"), "TPE"),
    "TPE, median of completed": (pruned("TPESampler", "completed"), "TPE"),
    "Optuna's TPE, median pruner": (optuna_median("TPESampler"), "TPE, median of completed"),
    "50 trials": (pruned("RandomSampler", None, TRIALS), ""),
    "50 trials, median pruner": (pruned("RandomSampler", "all", TRIALS), "50 trials"),
    "50 trials, median of completed": (pruned("RandomSampler", "completed", TRIALS), "50 trials"),
    "50 TPE trials": (pruned("TPESampler", None, TRIALS), ""),
    "50 TPE trials, median pruner": (pruned("TPESampler", "all", TRIALS), "50 TPE trials"),
    "50 TPE trials, median of completed": (pruned("TPESampler", "completed", TRIALS), "50 TPE trials"),
}
Job = tuple[str, str, int, int]


def one(job: Job) -> tuple[Job, Run]:
    """Run a method on a task with a seed."""
    import tasks

    method, task, seed, trainings = job
    return job, METHODS[method][0](tasks.load(task), seed, trainings)


def scale(task: str) -> tuple[str, float, float]:
    """The best known loss of a task, and what its regrets are divided by: random search's with 20 full trainings."""
    import tasks

    loaded = tasks.load(task)
    bests = []
    for seed in range(50):
        random = np.random.default_rng(seed)
        losses = [finite(loaded(tasks.sample(loaded.space, random))) for _ in range(FULL_TRAININGS)]
        bests.append(min(losses))
    return task, loaded.best, float(np.mean([best for best in bests if np.isfinite(best)])) - loaded.best


def table(
    results: dict[Job, Run], scales: dict[str, tuple[float, float]], methods: list[str], seeds: int, trainings: int
) -> None:
    """Print a line a method."""
    from scipy.stats import wilcoxon

    names = list(scales)
    regrets = {
        method: np.array(
            [
                [
                    min(max(results[method, t, s, trainings].loss - scales[t][0], 0.0) / scales[t][1], 10.0)
                    for s in range(seeds)
                ]
                for t in names
            ]
        )
        for method in methods
    }
    print(f"{'':34s} {'regret':>7s} {'epochs':>7s} {'own time':>9s}  compared with")
    for method in methods:
        runs = [results[method, t, s, trainings] for t in names for s in range(seeds)]
        # the median: a process's first run imports and compiles
        spent, own = np.mean([run.spent for run in runs]), np.median([run.own_seconds for run in runs])
        text = f"{method:34s} {regrets[method].mean():7.3f} {spent:7.0f} {own:8.3f}s"
        other = METHODS[method][1]
        if other in regrets:
            there = [results[other, t, s, trainings] for t in names for s in range(seeds)]
            difference = (regrets[method] - regrets[other]).ravel()
            p = [
                wilcoxon(difference, alternative=side).pvalue if difference.any() else 1.0
                for side in ("less", "greater")
            ]
            text += (
                f"  {other}: {regrets[method].mean() / regrets[other].mean():.2f} of its regret (lower p={p[0]:.2g}, "
                f"higher p={p[1]:.2g}), {spent / np.mean([r.spent for r in there]):.2f} of its epochs, "
                f"{own / np.median([r.own_seconds for r in there]):.3g} of its own time"
            )
        print(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", metavar="TASKS", type=Path, help="the folder with tasks.py")
    parser.add_argument("--families", default=",".join(FAMILIES), help="taskset, lcbench or both, comma separated")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--trainings", type=int, default=FULL_TRAININGS, help="the resource, in full trainings")
    parser.add_argument("--tasks", type=int, help="only the first so many of a family")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--methods", default="", help="only those whose name contains one of these, comma separated")
    options = parser.parse_args()
    folder = str(options.path.resolve())
    os.environ["PYTHONPATH"] = os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")])  # for the processes
    sys.path.insert(0, folder)
    import tasks

    wanted = [m for m in METHODS if not options.methods or any(part in m for part in options.methods.split(","))]
    with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
        for family in options.families.split(","):
            names = [name for name in tasks.PUBLIC if name.startswith(FAMILIES[family])][: options.tasks]
            scales = {name: (best, span) for name, best, span in pool.imap_unordered(scale, names)}
            scales = {name: scales[name] for name in names}
            seeds, trainings = options.seeds, options.trainings
            jobs = [(method, name, seed, trainings) for method in wanted for name in names for seed in range(seeds)]
            results = dict(pool.imap_unordered(one, jobs, chunksize=4))
            print(f"\n{family}: {len(names)} tasks, {seeds} seeds, {trainings} full trainings")
            table(results, scales, wanted, seeds, trainings)


if __name__ == "__main__":
    main()
