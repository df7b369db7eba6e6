"""Studies for the tests of storage: every sampler, pruner and strategy, and a deterministic objective with everything.

What a study has seen is compared as text without its times, which differ from run to run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fasthpo
from fasthpo import TrialState

SPACE = fasthpo.SearchSpace(
    {
        "x": fasthpo.Continuous(-1.0, 1.0),
        "n": fasthpo.Discrete(1, 100, log=True),
        "c": fasthpo.Categorical(["a", True, 1, 1.5, None]),
        "m": fasthpo.LogUniform(1e-3, 1.0, when={"c": ["a", 1]}),
    }
)
GRID = fasthpo.SearchSpace(
    {"x": fasthpo.Continuous(-1, 1, n_points=10), "n": fasthpo.Discrete(1, 10), "c": fasthpo.Categorical(["a", "b"])}
)
FINITE = fasthpo.SearchSpace(
    {
        "x": fasthpo.Continuous(-1.0, 1.0, step=0.25),
        "n": fasthpo.Discrete(1, 10),
        "c": fasthpo.Categorical(["a", "b"]),
        "m": fasthpo.Discrete(1, 3, when={"c": ["a"]}),
    }
)
SAMPLERS: dict[str, tuple[fasthpo.SearchSpace, Callable[[], fasthpo.Sampler]]] = {
    "random": (SPACE, lambda: fasthpo.RandomSampler(seed=5)),
    "random-finite": (FINITE, lambda: fasthpo.RandomSampler(seed=5)),
    "grid": (GRID, lambda: fasthpo.GridSampler(seed=5)),
    "grid-shuffled": (GRID, lambda: fasthpo.GridSampler(shuffle=True, seed=5)),
    "quasi-random": (SPACE, lambda: fasthpo.QMCSampler(seed=5)),
    "tpe": (SPACE, lambda: fasthpo.TPESampler(seed=5)),
    "tpe-finite": (FINITE, lambda: fasthpo.TPESampler(seed=5)),
    "cma-es": (SPACE, lambda: fasthpo.CmaEsSampler(4, seed=5)),
    "cma-es-finite": (FINITE, lambda: fasthpo.CmaEsSampler(4, seed=5)),
    "nsga-ii": (SPACE, lambda: fasthpo.NSGAIISampler(4, seed=5)),
    "nsga-ii-finite": (FINITE, lambda: fasthpo.NSGAIISampler(4, seed=5)),
    "auto": (SPACE, lambda: fasthpo.AutoSampler(seed=5)),
    "auto-finite": (FINITE, lambda: fasthpo.AutoSampler(seed=5)),
    "tpe-univariate": (SPACE, lambda: fasthpo.TPESampler(seed=5, multivariate=False)),
}
PRUNERS: dict[str, Callable[[], fasthpo.Pruner | None]] = {
    "none": lambda: None,
    "median": lambda: fasthpo.MedianPruner(n_startup_trials=2),
    "percentile": lambda: fasthpo.PercentilePruner(30, n_startup_trials=2, pool="completed"),
    "threshold": lambda: fasthpo.ThresholdPruner(lower=-5.0, upper=float("inf")),
    "wilcoxon": lambda: fasthpo.WilcoxonPruner(0.4, n_startup_steps=2),
    "halving": lambda: fasthpo.SuccessiveHalvingPruner(1, 2),
    "nested": lambda: fasthpo.PatientPruner(fasthpo.PatientPruner(fasthpo.MedianPruner(n_startup_trials=2), 0), 1),
}
STRATEGIES: dict[str, Callable[[fasthpo.Sampler], fasthpo.Strategy] | None] = {
    "in-full": None,
    "halving": lambda sampler: fasthpo.SuccessiveHalving(9, sampler=sampler),
    "hyperband": lambda sampler: fasthpo.Hyperband(9, sampler=sampler),
    "hyperband-asynchronous": lambda sampler: fasthpo.Hyperband(9, sampler=sampler, asynchronous=True),
    "asha": lambda sampler: fasthpo.ASHA(9, sampler=sampler),
    "asha-not-resumable": lambda sampler: fasthpo.ASHA(9, sampler=sampler, resumable=False),
}


def make(sampler: str, pruner: str = "none", strategy: str = "in-full", **options: Any) -> fasthpo.Study:
    """A new study of these parts, which maximises."""
    space, make_sampler = SAMPLERS[sampler]
    make_strategy = STRATEGIES[strategy]
    if make_strategy is None:
        options["sampler"] = make_sampler()
    else:
        options["strategy"] = make_strategy(make_sampler())
    return fasthpo.Study(space, pruner=PRUNERS[pruner](), direction="maximize", **options)


def make_vectors(kind: str, **options: Any) -> fasthpo.Study:
    """A new study of several objectives, or of one with constraints; see `run_vectors`."""
    if kind == "constrained":
        return make("random", "median", "halving", **options)
    if kind == "halved":
        strategy = fasthpo.ASHA(9, reduction_factor=2, sampler=fasthpo.RandomSampler(seed=5))
        pruner = fasthpo.MedianPruner(1)
        return fasthpo.Study(SPACE, strategy=strategy, pruner=pruner, directions=["minimize", "maximize"], **options)
    return fasthpo.Study(
        SPACE, fasthpo.RandomSampler(seed=5), directions=["minimize", "maximize", "minimize"], **options
    )


VECTORS = ("several", "constrained", "halved")


def run_vectors(study: fasthpo.Study, trial: fasthpo.Trial) -> None:
    """A leg of a deterministic objective with vectors: values, constraints of some, failures, NaN and infinities."""
    x, n, m = trial["x"], trial["n"], len(study.directions)
    several = m > 1
    kind = trial.number % 9
    for step in range(kind % 3):
        trial.report([x, math.nan if kind % 2 else n, step][:m] if several else x, 10 * step + (trial.resource or 0))
        if trial.should_prune() and kind == 8:
            study.tell(trial, state=TrialState.PRUNED)
            return
    value = math.nan if kind == 4 else -math.inf if kind == 5 else x
    constraints = None if kind in (0, 3) else [x, n - 50.0]
    if kind == 7:
        study.tell(trial, state=TrialState.PRUNED, constraints=constraints)
    else:
        study.tell(trial, [value, n, x * n][:m] if several else value, constraints=constraints, metrics={"n": n})


def step_vectors(study: fasthpo.Study, i: int) -> None:
    """The i-th thing that happens to a study with vectors: mostly a trial, sometimes several at once."""
    m = len(study.directions)
    rows = np.array([[0.25, 1.0, 2.0], [math.nan, 1.0, 2.0], [0.5, 7.0, 1.0]])[:, :m]
    constraints = [[0.5, -1.0], [math.nan, math.nan], [-1.0, -1.0]]
    values = rows if m > 1 else rows[:, 0]
    if i % 7 == 3:
        batch = study.ask_batch(3)
        study.tell_batch(batch.numbers, values, constraints=constraints)
    elif i % 7 == 5:
        columns = {"x": [0.1, 0.2, 0.3], "n": [1, 2, 3], "c": [True, 1.5, None], "m": [None] * 3}
        study.add_trials(columns, values, constraints=constraints if i % 2 else None)
    else:
        run_vectors(study, study.ask())


def run(study: fasthpo.Study, trial: fasthpo.Trial) -> None:
    """One leg of a deterministic objective with reports, metrics, failures, NaN and infinities."""
    x, n = trial["x"], trial["n"]
    begin = trial.start_resource
    end = begin + 4 if trial.resource is None else trial.resource
    for epoch in range(begin, end):
        trial.report(math.nan if trial.number % 11 == 3 else x * x - n / (epoch + 10), epoch)
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return
    kind = trial.number % 13
    if kind == 7:
        study.tell(trial, state=TrialState.FAILED, error="Traceback: \udcff boom")
    else:
        value = math.nan if kind == 5 else math.inf if kind == 6 else x * x - n / end
        study.tell(trial, value, metrics={"n": n} if kind % 2 else None)


def step(study: fasthpo.Study, i: int) -> None:
    """The i-th thing that happens to a study: mostly a trial, sometimes points of the user's own or a batch."""
    if i % 17 == 4:
        study.enqueue({"n": 1 + i % 10, "c": "a"})
    elif i % 17 == 9 and i < 20:
        some = study.ask_batch(3)
        for number in some.numbers.tolist():
            run(study, study.trials[number])
    elif i % 17 == 12 and i < 20:
        names = list(study.space)
        row = study.table.params[:, :2].T
        points = [study.space.decode(one) for one in row]
        columns = {name: [point.get(name) for point in points] for name in names}
        study.add_trials(columns, [0.25, math.nan])
    elif i % 17 == 14 and i < 20:
        batch = study.ask_batch(2)
        study.tell_batch(batch.numbers, [0.5, math.nan])
        study.set_attribute("batches", i)
    else:
        run(study, study.ask())


def load(path: Path, **options: Any) -> fasthpo.Study:
    """A study, to look at."""
    return fasthpo.Study.load(path, read_only=True, **options)


def names(directory: Path) -> list[str]:
    """What is in a directory, but for the lock file, which stays on some systems only."""
    return sorted(path.name for path in directory.iterdir() if path.name != ".lock")


def content(study: fasthpo.Study) -> str:
    """All that a study has seen, but for the times."""
    t, n = study.table, len(study.table.reports)
    columns = [t.params, t.values, t.states, t.resources, t.draws, t.brackets, t.tell_order]
    reports = [t.reports.trial[:n], t.reports.step[:n], t.reports.value[:n]]
    segments = [t.segments.column(name) for name in ("trial", "resource", "value", "charge", "state")]
    return repr(
        [column.tolist() for column in (*columns, *reports, *segments)]
        + [dict(t.counts), t.best_number, t.segments.spent, sorted(t.errors.items())]
        + [
            [trial.metrics for trial in study.trials],
            {number: leg.reports for number, leg in sorted(t.segments.open.items())},
        ]
        + [t.constraints.tolist(), t.violations.tolist(), t.front.numbers.tolist()]
        + [list(study._state.history.waiting), study._state.history.next_draw, study.attributes]
    )


def times(study: fasthpo.Study) -> str:
    """The times that a study has noted."""
    t = study.table
    return repr([c.tolist() for c in (t.starts, t.ends, t.segments.column("start"), t.segments.column("end"))])
