"""What halving and pruning save under two objectives: validation error and time of trainings with learning curves.

    pip install -c constraints.txt -e ".[benchmark]" onnxruntime moocore
    python benchmarks/multi_objective_pruning.py TASKS                     # minutes on two cores with 10 seeds
    python benchmarks/multi_objective_pruning.py TASKS --seeds 2 --trainings 20

TASKS is a folder with a `multi.py` that has `PUBLIC` (names of tasks), `scale(name)` (what makes losses go from 0 to 1
on the best known front, and that front's hypervolume), `hypervolume(points)` and `load(name)`: tasks of YAHPO Gym's
lcbench, with `space`, `max_resource` and a call `task(params, resource)` that gives error and logarithm of the time.

Random search trains so many points in full (`--trainings`). The others get half as many epochs, or as many. Only trials
that were trained in full count, for all of them. Hypervolume: of the front of these, as a share of the best known one.
p: of a one-sided Wilcoxon test over tasks and seeds, paired, that it is higher than random search's at full budget.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from multi_fidelity import space_of

FAMILY = "mo:lcbench:"
MIN_STEPS = 7
Runner = Callable[[Any, int, int], Any]  # of a task, a seed, and so many epochs: a study
BASE = "random search"


def random_search(task: Any, seed: int, epochs: int) -> Any:
    """Every point trained in full."""
    import fasthpo

    study = fasthpo.Study(space_of(task), fasthpo.RandomSampler(seed=seed), directions=["minimize"] * 2)
    for _ in range(epochs // int(task.max_resource)):
        trial = study.ask()
        study.tell(trial, task(trial.params, task.max_resource))
    return study


def halving(strategy: str, sampler: str, min_resource: int) -> Runner:
    """A multi-fidelity strategy up to the budget."""

    def run(task: Any, seed: int, epochs: int) -> Any:
        import fasthpo

        made = getattr(fasthpo, strategy)(
            int(task.max_resource), min_resource, sampler=getattr(fasthpo, sampler)(seed=seed)
        )
        study = fasthpo.Study(space_of(task), strategy=made, directions=["minimize"] * 2)
        while (trial := study.ask_within(epochs - study.resource_committed)) is not None:
            study.tell(trial, task(trial.params, trial.resource))
        return study

    return run


def pruned(make: Callable[[Any], Any]) -> Runner:
    """Random points that report each epoch to a pruner, up to the budget."""

    def run(task: Any, seed: int, epochs: int) -> Any:
        import fasthpo

        study = fasthpo.Study(
            space_of(task), fasthpo.RandomSampler(seed=seed), pruner=make(fasthpo), directions=["minimize"] * 2
        )
        most = int(task.max_resource)
        while (left := epochs - len(study.table.reports)) > 0:
            trial = study.ask()
            for epoch in range(1, most + 1):
                if epoch > left:
                    study.tell(trial, state=fasthpo.TrialState.PRUNED)
                    break
                values = task(trial.params, epoch)
                trial.report(values, epoch)
                if trial.should_prune():
                    study.tell(trial, state=fasthpo.TrialState.PRUNED)
                    break
            else:
                study.tell(trial, values)
        return study

    return run


# name -> how to run it, and its share of the epochs
METHODS: dict[str, tuple[Runner, float]] = {
    BASE: (random_search, 1.0),
    "random search, half": (random_search, 0.5),
    "MO-ASHA from 1, half": (halving("ASHA", "RandomSampler", 1), 0.5),
    "MO-ASHA from 2, half": (halving("ASHA", "RandomSampler", 2), 0.5),
    "MO-ASHA from 2, TPE, half": (halving("ASHA", "TPESampler", 2), 0.5),
    "Hyperband, half": (halving("Hyperband", "RandomSampler", 1), 0.5),
    "Hyperband, TPE, half": (halving("Hyperband", "TPESampler", 1), 0.5),
    "median pruner, half": (pruned(lambda f: f.MedianPruner(min_steps=MIN_STEPS)), 0.5),
    "halving pruner, half": (pruned(lambda f: f.SuccessiveHalvingPruner()), 0.5),
    "MO-ASHA from 2": (halving("ASHA", "RandomSampler", 2), 1.0),
}
Job = tuple[str, str, int, int]


def one(job: Job) -> tuple[Job, float, float]:
    """The share of the best known hypervolume that a method reached, and the epochs that it took."""
    import multi

    method, name, seed, trainings = job
    task, (low, span, known) = multi.load(name), multi.scale(name)
    run, share = METHODS[method]
    study = run(task, seed, int(share * trainings * task.max_resource))
    reached = multi.hypervolume((study.front()[1] - low) / span) / known
    spent = study.resource_spent or len(study.table.reports) or len(study) * task.max_resource
    return job, reached, float(spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", metavar="TASKS", type=Path, help="the folder with multi.py")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trainings", type=int, default=60, help="of random search, in full")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    folder = str(options.path.resolve())
    os.environ["PYTHONPATH"] = os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")])  # for the processes
    sys.path.insert(0, folder)
    import multi
    from scipy.stats import wilcoxon

    tasks = [name for name in multi.PUBLIC if name.startswith(FAMILY)]
    jobs = [(m, t, s, options.trainings) for m in METHODS for t in tasks for s in range(options.seeds)]
    with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
        found = {job: (reached, spent) for job, reached, spent in pool.imap_unordered(one, jobs)}
    results = {
        m: np.array([[found[m, t, s, options.trainings] for s in range(options.seeds)] for t in tasks]) for m in METHODS
    }
    base = results[BASE]
    print(f"{len(tasks)} tasks, {options.seeds} seeds, {options.trainings} trainings in full")
    print(f"{'':28s} {'hypervolume':>11s} {'epochs':>7s} {'higher in':>9s} {'p':>9s}  by task")
    for method, runs in results.items():
        difference = (runs - base)[..., 0].ravel()
        p = wilcoxon(difference, alternative="greater").pvalue if difference.any() else 1.0
        by_task = " ".join(f"{share:.3f}" for share in runs[..., 0].mean(axis=1))
        print(
            f"{method:28s} {runs[..., 0].mean():11.3f} {runs[..., 1].mean():7.0f} {(difference > 0).mean():9.0%} "
            f"{p:9.2g}  {by_task}"
        )


if __name__ == "__main__":
    main()
