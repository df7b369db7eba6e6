"""How the cost of a study grows with its trials: one table, each line with what it is held to.

    pip install -c constraints.txt -e ".[benchmark]"
    python benchmarks/scaling.py            # about four minutes

One core, 20 parameters and 24 candidates unless it says otherwise; medians. Memory and first suggestions are measured
in processes of their own. `bench_ask_tell.py` has the rivals' times beside fasthpo's.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from libraries import fasthpo as made
from libraries import history, readable

import fasthpo

ROUNDS = 201

# One kind of measurement a process: `python scaling.py memory`, `python scaling.py first`
MEMORY = """
import sys, numpy as np, fasthpo
def resident():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) * 1024
random = np.random.default_rng(0)
names = [f"x{j}" for j in range(20)]
space = fasthpo.SearchSpace({name: fasthpo.Continuous(0.0, 1.0) for name in names})
study = fasthpo.Study(space, sampler=fasthpo.TPESampler(seed=1))
for _ in range(100):  # in parts, so that the input is not what is measured
    points = random.random((10_000, 20))
    study.add_trials({name: points[:, j] for j, name in enumerate(names)}, ((points - 0.3) ** 2).sum(1))
for _ in range(200):
    study.tell(study.ask(), 1.0)
print(resident())
"""
FIRST = """
import time
start = time.perf_counter()
import fasthpo
names = [f"x{j}" for j in range(20)]
study = fasthpo.Study({name: fasthpo.Continuous(0.0, 1.0) for name in names}, sampler=fasthpo.TPESampler(seed=1))
asks = []
for _ in range(11):
    before = time.perf_counter()
    trial = study.ask()
    asks.append(time.perf_counter() - before)
    study.tell(trial, sum(trial.params.values()))
print(time.perf_counter() - start, max(asks[:10]), asks[10])
"""


def median(call: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Median seconds of a call, after a few that are not counted."""
    seconds = []
    for i in range(rounds + 10):
        start = time.perf_counter()
        call()
        if i >= 10:
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def line(what: str, measured: str, target: str, holds: bool) -> None:
    print(f"{what:66s} {measured:>28s}   {target:28s} {'' if holds else 'NOT MET'}", flush=True)


def grown(what: str, sizes: list[int], most: float, growth: float, **options: Any) -> None:
    """A TPE's ask and tell at several sizes, each at most `most` seconds and the last at most `growth` the first."""
    times = [median(made("TPESampler", **options)(*history(size, 20))) for size in sizes]
    for size, seconds in zip(sizes, times, strict=True):
        line(f"{what}, {size:,} trials", readable(seconds), f"<= {readable(most)}", seconds <= most)
    ratio = times[-1] / times[0]
    line(f"{what}, last / first", f"{ratio:.2f}", f"<= {growth}", ratio <= growth)


def study_of(trials: int, sampler: fasthpo.Sampler, params: int = 20) -> fasthpo.Study:
    names = [f"x{j}" for j in range(params)]
    study = fasthpo.Study({name: fasthpo.Continuous(0.0, 1.0) for name in names}, sampler=sampler)
    if trials:
        points, losses = history(trials, params)
        study.add_trials({name: points[:, j] for j, name in enumerate(names)}, losses)
    return study


def relations() -> None:
    """Asks in a space of 20 parameters with a relation, a bound that depends on another, and a forbidden range."""
    ratio = []
    for size in (10_000, 100_000):
        space = fasthpo.SearchSpace({f"x{j}": fasthpo.Continuous(0.0, "x19" if j == 18 else 1.0) for j in range(20)})
        space.require("x0 + x1 <= 1").forbid({"x2": (0.9, 1.0), "x3": (0.5, 1.0)})
        points, losses = history(2 * size, 20)
        points[:, 18] *= points[:, 19]
        allowed = space.allows(points)
        points, losses = points[allowed][:size], losses[allowed][:size]
        for what, sampler, most in (
            ("TPE", fasthpo.TPESampler(seed=1), 1.5e-3),
            ("random", fasthpo.RandomSampler(seed=1), 200e-6),
        ):
            study = fasthpo.Study(space, sampler=sampler)
            study.add_trials({name: points[:, j] for j, name in enumerate(space)}, losses)
            seconds = median(lambda study=study: study.tell(study.ask(), 1.0))
            line(f"{what} with relations, {size:,} trials", readable(seconds), f"<= {readable(most)}", seconds <= most)
            ratio.append(seconds)
    line("TPE with relations, last / first", f"{ratio[2] / ratio[0]:.2f}", "<= 1.5", ratio[2] <= 1.5 * ratio[0])


def ordered() -> None:
    """The same with ordinals, normal numbers, and numbers under conditions on these."""
    space = {
        **{f"size{j}": fasthpo.Ordinal([16, 32, 64, 256, 512]) for j in range(6)},
        **{f"x{j}": fasthpo.Normal(0.0, 1.0) for j in range(6)},
        **{f"a{j}": fasthpo.Continuous(0.0, 1.0, when={f"x{j}": fasthpo.at_least(0.0)}) for j in range(4)},
        **{f"b{j}": fasthpo.Discrete(1, 100, when={f"size{j}": fasthpo.at_least(64)}) for j in range(4)},
    }
    random = np.random.default_rng(0)
    times = []
    for trials in (1_000, 10_000, 100_000):
        study = fasthpo.Study(space, sampler=fasthpo.TPESampler(seed=1))
        rows = fasthpo.Study(space, sampler=fasthpo.RandomSampler(seed=2)).ask_batch(trials).params
        study.add_trials(rows, random.random(trials))
        times.append(median(lambda study=study: study.tell(study.ask(), random.random())))
        what = f"ask + tell, ordinals, normal numbers and conditions, {trials:,} trials"
        line(what, readable(times[-1]), "<= 0.9 ms", times[-1] <= 0.9e-3)
    ratio = times[-1] / times[1]
    line("the same, last / second", f"{ratio:.2f}", "<= 1.5", ratio <= 1.5)


def batches() -> None:
    for label, options, most in (("univariate", {"multivariate": False}, 0.060), ("default", {}, 0.350)):
        study = study_of(10_000, fasthpo.TPESampler(seed=1, **options))
        study.ask_batch(10)
        seconds = statistics.median(timed(lambda study=study: study.ask_batch(1000)) for _ in range(3))
        line(
            f"ask_batch(1000) of TPE, {label}, 10,000 trials",
            readable(seconds),
            f"<= {readable(most)}",
            seconds <= most,
        )
    seconds = statistics.median(
        timed(lambda: study_of(0, fasthpo.RandomSampler(seed=1), 4).ask_batch(1_000_000)) for _ in range(3)
    )
    line("ask_batch(1,000,000) at random, 4 parameters", readable(seconds), "<= 500 ms", seconds <= 0.5)


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def whole_study() -> None:
    study = study_of(0, fasthpo.TPESampler(seed=1))
    start = time.perf_counter()
    for _ in range(10_000):
        trial = study.ask()
        study.tell(trial, sum((value - 0.3) ** 2 for value in trial.params.values()))
    seconds = time.perf_counter() - start
    line("a study of 10,000 trials one after the other, TPE", readable(seconds), "<= 8 s", seconds <= 8)


def costs() -> None:
    """A cost-aware search, whose trials are told what they cost."""
    times = []
    for size in (1_000, 100_000):
        study = study_of(0, fasthpo.TPESampler(seed=1, cost_aware=True))
        points, losses = history(size, 20)
        columns = {name: points[:, j] for j, name in enumerate(study.space.names)}
        study.add_trials(columns, losses, costs=10.0 ** points[:, 0])

        def turn(study: fasthpo.Study = study) -> None:
            trial = study.ask()
            study.tell(trial, trial["x1"], cost=10.0 ** trial["x0"])
            assert study.cost_spent > 0

        times.append(median(turn))
        line(f"cost-aware ask + tell, {size:,} trials", readable(times[-1]), "<= 1.2 ms", times[-1] <= 1.2e-3)
    line("cost-aware ask + tell, last / first", f"{times[-1] / times[0]:.2f}", "<= 1.5", times[-1] / times[0] <= 1.5)


def noise() -> None:
    """A study of a noisy objective, some of whose trials evaluate points again."""
    random, times = np.random.default_rng(0), []
    for size in (1_000, 100_000):
        names = [f"x{j}" for j in range(20)]
        space = {name: fasthpo.Continuous(0.0, 1.0) for name in names}
        study = fasthpo.Study(space, sampler=fasthpo.TPESampler(seed=1), noisy=True)
        points, losses = history(size, 20)
        study.add_trials({name: points[:, j] for j, name in enumerate(names)}, losses)

        def turn(study: fasthpo.Study = study) -> None:
            trial = study.ask()
            study.tell(trial, trial["x0"] + random.normal())
            assert study.best_trial is not None

        times.append(median(turn))
        line(f"noisy ask + tell + best, {size:,} trials", readable(times[-1]), "<= 0.7 ms", times[-1] <= 0.7e-3)
    line("noisy ask + tell + best, last / first", f"{times[-1] / times[0]:.2f}", "<= 1.5", times[-1] / times[0] <= 1.5)


def priors() -> None:
    """A search whose parameters have priors, at draws where these count."""
    times = []
    for size in (1_000, 100_000):
        space = {f"x{j}": fasthpo.Continuous(0.0, 1.0, prior=0.3) for j in range(20)}
        points, losses = history(size, 20)
        study = fasthpo.Study(space, sampler=fasthpo.TPESampler(seed=1))
        study.add_trials({f"x{j}": points[:, j] for j in range(20)}, losses)

        def turn(study: fasthpo.Study = study) -> None:
            study.tell(study.ask(), 1.0)

        times.append(median(turn, 101))
        line(f"ask + tell with 20 priors, {size:,} trials", readable(times[-1]), "<= 2 ms", times[-1] <= 2e-3)
    line(
        "ask + tell with 20 priors, last / first", f"{times[-1] / times[0]:.2f}", "<= 1.5", times[-1] / times[0] <= 1.5
    )


def earlier_studies() -> None:
    """The first asks of a study that learns from three earlier ones of 100,000 trials, and those afterwards."""
    sources = [study_of(100_000, fasthpo.RandomSampler(seed=seed)) for seed in range(3)]
    made, first, later = [], [], []
    for _ in range(7):
        start = time.perf_counter()
        space = {f"x{j}": fasthpo.Continuous(0.0, 1.0) for j in range(20)}
        study = fasthpo.Study(space, sampler=fasthpo.TPESampler(seed=1), learn_from=sources)
        made.append(time.perf_counter() - start)
        for _ in range(10):
            start = time.perf_counter()
            trial = study.ask()
            first.append(time.perf_counter() - start)
            study.tell(trial, trial["x0"])
    for of in ([], sources):
        study = fasthpo.Study(space, sampler=fasthpo.TPESampler(seed=1), learn_from=of)
        points, losses = history(10_000, 20)
        study.add_trials({f"x{j}": points[:, j] for j in range(20)}, losses)
        later.append(median(lambda study=study: study.tell(study.ask(), 1.0)))
    seconds = statistics.median(made)
    line("a study that learns from three of 100,000 trials", readable(seconds), "<= 300 ms", seconds <= 0.3)
    line("the slowest of its first ten asks", readable(max(first[10:])), "<= 50 ms", max(first[10:]) <= 0.05)
    seconds = statistics.median(first)
    line("the median of them", readable(seconds), "<= 2 ms", seconds <= 2e-3)
    ratio = later[1] / later[0]
    line("ask + tell later, with / without earlier studies", f"{ratio:.2f}", "<= 1.1", ratio <= 1.1)


def changed_spaces() -> None:
    """A study whose space has become half as wide in one parameter, and has another one more: loading, and after it."""
    loads, turns = [], []
    for size in (1_000, 100_000):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "study")
            study_of(size, fasthpo.TPESampler(seed=1)).save(path)
            space = {f"x{j}": fasthpo.Continuous(0.0, 0.5 if j == 0 else 1.0) for j in range(21)}
            start = time.perf_counter()
            study = fasthpo.Study.load(path, space=space, defaults={"x20": 0.5})
            loads.append(time.perf_counter() - start)
            assert 0.4 * size < study.outside.sum() < 0.6 * size

            def turn(study: fasthpo.Study = study) -> None:
                trial = study.ask()
                trial.report(1.0, 1)
                study.tell(trial, 1.0)

            turns.append(median(turn))
    line("load in a changed space, 100,000 trials of 20", readable(loads[-1]), "<= 5 s", loads[-1] <= 5.0)
    ratio = turns[-1] / turns[0]
    line("ask + report + tell in a changed space, last / first", f"{ratio:.2f}", "<= 1.5", ratio <= 1.5)


def random_search() -> None:
    seconds = median(made("RandomSampler")(*history(10_000, 4)), 2001)
    line("random ask + tell, 4 parameters, 10,000 trials", readable(seconds), "<= 12 us", seconds <= 12e-6)


def memory() -> None:
    if not os.path.exists("/proc/self/status"):
        print("memory: needs Linux's /proc, left out")
        return
    used = int(output(MEMORY)) / 1e6
    line("memory of a process, 1,000,000 trials, TPE", f"{used:.0f} MB", "<= 600 MB", used <= 600)


def first_suggestion() -> None:
    total, _, first = (float(number) for number in output(FIRST).split())
    line("a new process up to its first TPE suggestion, caches warm", readable(total), "<= 1 s", total <= 1.0)
    with tempfile.TemporaryDirectory() as cache:
        total, startup, first = (float(number) for number in output(FIRST, NUMBA_CACHE_DIR=cache).split())
    line("the same, nothing compiled yet: the slowest startup ask", readable(startup), "<= 10 ms", startup <= 0.01)
    print(f"    (the first suggestion of the model compiled for {readable(first)})")


def output(program: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **environment}, check=True, capture_output=True, text=True
    )
    return done.stdout


def main() -> None:
    print(f"fasthpo {fasthpo.__version__}, NumPy {np.__version__}, Python {sys.version.split()[0]}\n")
    line("what", "measured", "target", True)
    grown("univariate ask + tell", [1_000, 10_000, 100_000, 1_000_000], 120e-6, 1.5, multivariate=False)
    for size, most in ((10_000, 0.7e-3), (100_000, 3e-3)):
        seconds = median(made("TPESampler", exact=True)(*history(size, 20)), 101)
        line(f"exact ask + tell, {size:,} trials", readable(seconds), f"<= {readable(most)}", seconds <= most)
    grown("default ask + tell", [10_000, 100_000, 1_000_000], 0.6e-3, 1.5)
    costs()
    noise()
    priors()
    earlier_studies()
    changed_spaces()
    ordered()
    random_search()
    relations()
    batches()
    whole_study()
    memory()
    first_suggestion()


if __name__ == "__main__":
    main()
