"""Does `fasthpo watch` slow a study down that another process writes at 1,000 trials a second?

    python benchmarks/watching.py [--rounds 6] [--seconds 5] [--rate 1000]

A writer asks, reports once and tells, at a steady rate, into a directory. Rounds with a watcher beside it (once a
second, as JSON) and without one take turns. Printed for both: the writer's trials a second, its processor time and its
median time a trial, each as the median over the rounds, and the ratio; and the watcher's processor time a second. On
two or more cores the writer has one for itself.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import fasthpo


class Round(NamedTuple):
    """What one round measured, in seconds but for the rate."""

    rate: float
    processor: float
    trial: float


def write(study: fasthpo.Study, seconds: float, rate: int) -> Round:
    """Trials at a steady rate for so long; the writer sleeps in between, as one that trains does."""
    took = []
    begin, processor = time.perf_counter(), time.process_time()
    while (now := time.perf_counter()) < begin + seconds:
        if len(took) >= (now - begin) * rate:
            time.sleep(0.0005)
            continue
        trial = study.ask()
        trial.report(trial["x"] + 1.0, 0)
        study.tell(trial, trial["x"])
        took.append(time.perf_counter() - now)
    wall = time.perf_counter() - begin
    return Round(len(took) / wall, (time.process_time() - processor) / len(took), statistics.median(took))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6, help="of each kind")
    parser.add_argument("--seconds", type=float, default=5.0, help="of a round")
    parser.add_argument("--rate", type=int, default=1000, help="trials a second")
    args = parser.parse_args()
    space = {f"x{k}": fasthpo.Continuous(0.0, 1.0) for k in range(9)} | {"x": fasthpo.Continuous(0.0, 1.0)}
    found: dict[bool, list[Round]] = {True: [], False: []}
    watched = 0.0
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "live"
        with fasthpo.Study(space, sampler=fasthpo.RandomSampler(seed=0), storage=path) as study:
            write(study, 2.0, args.rate)  # which compiles, and opens files
            for k in range(2 * args.rounds):
                is_watched = (k + k // 2) % 2 == 0  # which comes first, takes turns
                watcher = None
                if is_watched:
                    command = [sys.executable, "-m", "fasthpo.cli", "watch", str(path), "--json"]
                    watcher = subprocess.Popen(command, stdout=subprocess.PIPE)
                    assert watcher.stdout is not None and watcher.stdout.readline()  # it has read all that there is
                found[is_watched].append(write(study, args.seconds, args.rate))
                if watcher is not None:
                    before = os.times().children_user + os.times().children_system
                    watcher.send_signal(signal.SIGINT)
                    watcher.communicate()
                    watched += os.times().children_user + os.times().children_system - before
            trials = len(study)
    print(f"{trials} trials at the end; {args.rounds} rounds of {args.seconds:g} s each, medians")
    print(f"{'':24}{'trials/s':>10}{'CPU us a trial':>16}{'us a trial':>12}")
    medians = {kind: Round(*map(statistics.median, zip(*rounds, strict=True))) for kind, rounds in found.items()}
    for kind, name in ((False, "alone"), (True, "watched")):
        one = medians[kind]
        print(f"{name:24}{one.rate:10.1f}{1e6 * one.processor:16.1f}{1e6 * one.trial:12.1f}")
    alone, both = medians[False], medians[True]
    ratios = (both.rate / alone.rate, both.processor / alone.processor, both.trial / alone.trial)
    print(f"{'watched / alone':24}{ratios[0]:10.3f}{ratios[1]:16.3f}{ratios[2]:12.3f}")
    print(f"the watcher: {watched / args.rounds / args.seconds:.3f} s of processor time a second, its start among them")


if __name__ == "__main__":
    main()
