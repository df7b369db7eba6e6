"""A report and the question whether to prune, against the trials and steps so far, for each pruner, beside Optuna.

    pip install -c constraints.txt -e ".[benchmark]"
    python -m pytest benchmarks/bench_pruning.py                    # all of it, about a minute
    python -m pytest benchmarks/bench_pruning.py -k median

Each round is a new trial that makes all its reports and asks after each of them; its time is divided by their number.
The table at the end gives medians and how many times Optuna's is fasthpo's. Compare ratios, not absolute times.
Memory, and ten million reports in a row: benchmarks/many_reports.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

Ask = Callable[[], Any]  # a new trial, with report(value, step) and should_prune()
ETA = 3

KINDS: dict[str, dict[str, Any]] = {
    "median": {"fasthpo": lambda f: f.MedianPruner(), "optuna": lambda o: o.pruners.MedianPruner()},
    "median, Optuna's pool": {"fasthpo": lambda f: f.MedianPruner(pool="completed")},
    "threshold": {
        "fasthpo": lambda f: f.ThresholdPruner(upper=1e9),
        "optuna": lambda o: o.pruners.ThresholdPruner(upper=1e9),
    },
    "patient": {
        "fasthpo": lambda f: f.PatientPruner(f.MedianPruner(), 5),
        "optuna": lambda o: o.pruners.PatientPruner(o.pruners.MedianPruner(), 5),
    },
    "wilcoxon": {"fasthpo": lambda f: f.WilcoxonPruner(), "optuna": lambda o: o.pruners.WilcoxonPruner()},
    "successive halving": {
        "fasthpo": lambda f: f.SuccessiveHalvingPruner(1, ETA),
        "optuna": lambda o: o.pruners.SuccessiveHalvingPruner(1, ETA),
    },
}
# (kind, trials, steps, libraries); filling Optuna with more takes minutes
SIZES = [
    ("median", 1_000, 100, ["fasthpo"]),
    ("median", 10_000, 30, ["fasthpo", "optuna"]),
    ("median", 10_000, 100, ["fasthpo"]),
    ("median", 100_000, 100, ["fasthpo"]),
    ("median, Optuna's pool", 100_000, 100, ["fasthpo"]),
    *((kind, 10_000, 30, ["fasthpo", "optuna"]) for kind in ("threshold", "patient", "wilcoxon", "successive halving")),
    *((kind, 100_000, 100, ["fasthpo"]) for kind in ("threshold", "patient", "wilcoxon", "successive halving")),
]
CASES = [
    pytest.param(kind, library, trials, steps, id=f"{kind.replace(' ', '-')}-{trials}x{steps}-{library}")
    for kind, trials, steps, libraries in SIZES
    for library in libraries
]


def curves(trials: int, steps: int) -> np.ndarray:
    """Falling losses with noise, of shape (trials, steps)."""
    random = np.random.default_rng(0)
    return random.random((trials, 1)) + 1 / np.arange(1, steps + 1) + 0.1 * random.standard_normal((trials, steps))


def fasthpo(make: Any, losses: np.ndarray) -> Ask:
    import fasthpo

    trials, steps = losses.shape
    study = fasthpo.Study(
        {"x": fasthpo.Continuous(0.0, 1.0)}, sampler=fasthpo.RandomSampler(seed=0), pruner=make(fasthpo)
    )
    numbers = study.ask_batch(trials).numbers
    # as loading a checkpoint does; one by one takes a minute
    study.table.reports.fill(np.repeat(numbers, steps), np.tile(np.arange(steps), trials), losses.ravel())
    study.tell_batch(numbers, losses[:, -1])
    return study.ask


def optuna(make: Any, losses: np.ndarray) -> Ask:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(pruner=make(optuna))
    levels = [ETA**k for k in range(5) if ETA**k < losses.shape[1]]
    study.add_trials(
        [
            optuna.trial.create_trial(
                value=row[-1],
                intermediate_values=dict(enumerate(row)),
                system_attrs={f"completed_rung_{k}": row[level] for k, level in enumerate(levels)},
            )
            for row in losses.tolist()
        ]
    )
    return study.ask


LIBRARIES = {"fasthpo": fasthpo, "optuna": optuna}


@pytest.mark.filterwarnings("ignore:(Patient|Wilcoxon)Pruner is experimental")  # Optuna's
@pytest.mark.parametrize(("kind", "library", "trials", "steps"), CASES)
def test_report_and_should_prune(benchmark: Any, kind: str, library: str, trials: int, steps: int) -> None:
    pytest.importorskip(library)
    rounds = 101 if library == "fasthpo" else 5
    ask = LIBRARIES[library](KINDS[kind][library], curves(trials, steps))
    more = itertools.cycle(curves(rounds, steps).tolist())

    def setup() -> tuple[tuple[Any, list[float]], dict[str, Any]]:
        return (ask(), next(more)), {}

    def run(trial: Any, losses: list[float]) -> None:
        for step, loss in enumerate(losses):
            trial.report(loss, step)
            trial.should_prune()

    benchmark.group = f"{kind}, {trials:,} trials of {steps} steps"
    benchmark.extra_info.update(library=library, calls=steps)
    benchmark.pedantic(run, setup=setup, rounds=rounds, warmup_rounds=2)
