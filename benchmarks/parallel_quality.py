"""Does a search stay good when several trials run at the same time? Regret with 8 trials running against one by one.

    python benchmarks/parallel_quality.py PATH [--budget 100] [--seeds 10] [--running 8] [--tasks yahpo,bbob]

PATH is a folder with a module `tasks` of black-box tuning tasks: `PUBLIC` lists their names, and `load(name)` gives a
task with `space` (name -> a description of a parameter), `best` (the best known loss), and a call that evaluates it.
No process is started: all that counts is what the study knows when it is asked. So many trials are kept running; one
of them, chosen at random, ends; the next is asked for. Regret is the best loss of all trials above the best known one,
divided by that of 20 random trials (mean of 50 seeds). The last line gives the ratio of the means over all tasks, with
the standard error of a bootstrap over tasks and seeds; for the geometric mean a regret below 0.001 counts as 0.001.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import numpy as np

import fasthpo

_BASE_TRIALS, _BASE_SEEDS = 20, 50
_DIVERGED = 1e6  # the loss of a run that diverged


def space_of(task: Any) -> fasthpo.SearchSpace:
    """A task's space in fasthpo's terms."""
    space: dict[str, fasthpo.Parameter] = {}
    for name, spec in task.space.items():
        when = {key: list(values) for key, values in spec.when.items()} or None
        kind = type(spec).__name__
        if kind == "Cat":
            space[name] = fasthpo.Categorical(list(spec.choices), when=when)
        elif kind == "Int":
            space[name] = fasthpo.Discrete(spec.low, spec.high, log=spec.log, when=when)
        elif spec.log:
            space[name] = fasthpo.LogUniform(spec.low, spec.high, when=when)
        else:
            space[name] = fasthpo.Continuous(spec.low, spec.high, when=when)
    return fasthpo.SearchSpace(space)


def best_loss(task: Any, sampler: fasthpo.Sampler, budget: int, running: int, seed: int) -> float:
    """The best loss of `budget` trials, of which `running` run at the same time."""
    study = fasthpo.Study(space_of(task), sampler=sampler)
    random = np.random.default_rng(seed)
    asked: list[fasthpo.Trial] = []
    best = np.inf
    try:
        for _ in range(budget):
            asked.append(study.ask())
            if len(asked) == running:
                trial = asked.pop(random.integers(running))
                best = min(best, _told(study, trial, task))
    except fasthpo.SpaceExhausted:
        pass
    for trial in asked:
        best = min(best, _told(study, trial, task))
    return best


def _told(study: fasthpo.Study, trial: fasthpo.Trial, task: Any) -> float:
    loss = float(task(trial.params))
    study.tell(trial, loss if np.isfinite(loss) else _DIVERGED)
    return loss if np.isfinite(loss) else np.inf


def measure(job: tuple[str, str, int, int, int]) -> float:
    """Regret of one run."""
    folder, name, budget, running, seed = job
    sys.path.insert(0, folder)
    import tasks

    task = tasks.load(name)
    if budget == _BASE_TRIALS and running == 0:  # what others are divided by
        return best_loss(task, fasthpo.RandomSampler(seed), budget, 1, seed) - task.best
    return max(0.0, best_loss(task, fasthpo.AutoSampler(seed), budget, running, seed) - task.best)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--budget", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--running", type=int, default=8)
    parser.add_argument("--tasks", default="", help="the beginnings of the names of tasks, comma separated")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    args = parser.parse_args()
    sys.path.insert(0, str(args.path))
    import tasks

    names = [name for name in tasks.PUBLIC if name.startswith(tuple(args.tasks.split(",")))]
    folder, ways, seeds = str(args.path.resolve()), (1, args.running), range(args.seeds)
    jobs = [(folder, name, args.budget, running, seed) for name in names for running in ways for seed in seeds]
    base_jobs = [(folder, name, _BASE_TRIALS, 0, seed) for name in names for seed in range(_BASE_SEEDS)]
    with multiprocessing.get_context("spawn").Pool(args.workers) as pool:
        regrets = np.array(pool.map(measure, jobs, chunksize=5)).reshape(len(names), len(ways), args.seeds)
        base = np.array(pool.map(measure, base_jobs, chunksize=50)).reshape(len(names), _BASE_SEEDS)
    base = np.where(np.isfinite(base), base, np.nan)
    relative = np.minimum(regrets / np.maximum(np.nanmean(base, axis=1), 1e-12)[:, None, None], 10.0)

    def show(what: str, one: float, many: float, more: str = "") -> None:
        print(f"{what:24s} one by one {one:.4f}   {args.running} running {many:.4f}   ratio {many / one:.3f}{more}")

    for family in dict.fromkeys(name.split(":")[0] for name in names):
        mine = [i for i, name in enumerate(names) if name.startswith(family + ":")]
        show(f"{family}, {len(mine)} tasks", *relative[mine].mean(axis=(0, 2)))
    show("geometric mean", *np.exp(np.log(np.maximum(relative, 1e-3)).mean(axis=(0, 2))))
    random = np.random.default_rng(0)
    ratios = []
    for _ in range(2000):
        chosen = relative[random.integers(len(names), size=len(names))]
        one, many = chosen[:, :, random.integers(args.seeds, size=args.seeds)].mean(axis=(0, 2))
        ratios.append(many / one)
    show(f"mean of {len(names)} tasks", *relative.mean(axis=(0, 2)), f" +- {np.std(ratios):.3f}")


if __name__ == "__main__":
    main()
