"""Ten million reports in one study: seconds, microseconds a report as the study grows, and memory.

    python benchmarks/many_reports.py                        # 100,000 trials of 100 steps, about a minute
    python benchmarks/many_reports.py --trials 1000 --pruner none

Every trial is asked for, reports all its steps, asks after each of them whether to be pruned (and goes on), and is
told. The times of report and should_prune are those of the study's, without drawing the values. Memory is that of the
whole process: Python, NumPy and numba take some 160 MB of it before the first report, and 35 MB more in the first run
on a machine, which compiles the kernels.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

import fasthpo

PRUNERS = {
    "median": fasthpo.MedianPruner,
    "completed": lambda: fasthpo.MedianPruner(pool="completed"),
    "threshold": lambda: fasthpo.ThresholdPruner(upper=1e9),
    "patient": lambda: fasthpo.PatientPruner(None, 5),
    "wilcoxon": fasthpo.WilcoxonPruner,
    "halving": fasthpo.SuccessiveHalvingPruner,
    "none": lambda: None,
}
BLOCKS = 10


def resident() -> tuple[float, float]:
    """Memory of this process now, and at most so far, in MB (10^6 bytes); NaN where the system doesn't say."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return tuple(float(lines[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM"))  # type: ignore[return-value]
    except (OSError, KeyError):
        return float("nan"), float("nan")


def run(study: fasthpo.Study, trials: int, steps: int, random: np.random.Generator) -> float:
    """Seconds of report and should_prune."""
    spent = 0.0
    for _ in range(trials):
        trial = study.ask()
        values = (random.standard_normal() + random.standard_normal(steps)).tolist()
        start = time.perf_counter()
        for step, value in enumerate(values):
            trial.report(value, step)
            trial.should_prune()
        spent += time.perf_counter() - start
        study.tell(trial, values[-1])
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--pruner", choices=PRUNERS, default="median")
    arguments = parser.parse_args()
    space = {"x": fasthpo.Continuous(0.0, 1.0), "y": fasthpo.LogUniform(1e-5, 1e-1)}

    def new_study() -> fasthpo.Study:
        return fasthpo.Study(space, sampler=fasthpo.RandomSampler(seed=0), pruner=PRUNERS[arguments.pruner]())

    random = np.random.default_rng(0)
    run(new_study(), 20, arguments.steps, random)  # compiles, or loads what was compiled
    print(f"before the first report: {resident()[0]:.0f} MB")
    print(f"{'trials':>10s} {'us a report and question':>25s} {'MB':>6s}")
    study, start, per_block = new_study(), time.perf_counter(), arguments.trials // BLOCKS
    for _ in range(BLOCKS):
        seconds = run(study, per_block, arguments.steps, random)
        print(
            f"{len(study):10,d} {seconds / (per_block * arguments.steps) * 1e6:25.2f} {resident()[0]:6.0f}", flush=True
        )
    reports, seconds = len(study.table.reports), time.perf_counter() - start
    print(f"{reports:,} reports of {len(study):,} trials in {seconds:.1f} s, asks and tells included")
    print(f"at most {resident()[1]:.0f} MB in the whole process")


if __name__ == "__main__":
    main()
