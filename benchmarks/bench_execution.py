"""What running a trial costs beside the objective itself, in each backend, with Optuna's `n_jobs` and Ray Tune beside.

    python benchmarks/bench_execution.py              # everything; about two minutes
    python benchmarks/bench_execution.py --only processes,ray

Three tables: the time a trial of an objective that does nothing (from the ends of the trials; starting workers does not
count), the time of a report and the study's answer to `should_prune` as the objective sees it, and how much faster two
workers get through trials that keep a core busy, which says something only if nothing else runs on the machine. Compare
lines of one run only.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, wait
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

from libraries import readable

import fasthpo

_SPACE = {"x": fasthpo.Continuous(0.0, 1.0)}
_WORKERS = 2
_WARM = 0.2  # the part of the trials at the beginning that does not count
_ROUND_TRIPS = 300
_BUSY_TRIALS, _ROUNDS = 24, 5
_BUSY_SECONDS = 0.2  # of one core, a trial


def make_tuner(trials: int, pruning: fasthpo.PruningConfig | None = None) -> fasthpo.HyperparameterTuner:
    config = fasthpo.TunerConfig("bench", max_trials=trials, seed=0, pruning=pruning)
    return fasthpo.HyperparameterTuner.with_random_search(config, _SPACE)


def a_trial(ends: list[float]) -> float:
    """Seconds between two ends, once all is warm."""
    ends = sorted(ends)
    first = int(_WARM * len(ends))
    return (ends[-1] - ends[first]) / (len(ends) - 1 - first)


# --- nothing


def ours(trials: int, **where: Any) -> float:
    result = make_tuner(trials).optimize(lambda trial: trial["x"], **where)
    return a_trial([trial.end_time for trial in result.trials])


def optuna_jobs(trials: int, jobs: int) -> float:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=trials, n_jobs=jobs)
    return a_trial([trial.datetime_complete.timestamp() for trial in study.trials if trial.datetime_complete])


def bare_executor(trials: int, executor: Executor) -> float:
    """Nothing but the executor's own tasks, as many in flight."""
    ends, running = [], set()
    for k in range(trials):
        running.add(executor.submit(float, k))
        if len(running) == _WORKERS or k == trials - 1:
            done, running = wait(running, return_when="FIRST_COMPLETED")
            ends += [time.time()] * len(done)
    return a_trial(ends)


def bare_ray(trials: int, in_flight: int) -> float:
    """Nothing but Ray's own tasks, as many in flight."""
    import ray

    @ray.remote
    def task(x: float) -> float:
        return x

    ends: list[float] = []
    running: list[Any] = []
    submitted = 0
    while len(ends) < trials:
        while len(running) < in_flight and submitted < trials:
            running.append(task.remote(float(submitted)))
            submitted += 1
        ready = ray.wait(running, num_returns=1)[0]
        ready = ray.wait(running, num_returns=len(running), timeout=0)[0] or ready
        ray.get(ready)
        ends += [time.time()] * len(ready)
        running = [one for one in running if one not in set(ready)]
    return a_trial(ends)


def ray_tune(trials: int) -> float:
    from ray import tune

    ends: list[float] = []

    class Clock(tune.Callback):
        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            ends.append(time.time())

    def objective(config: dict[str, float]) -> dict[str, float]:
        return {"loss": config["x"]}

    with tempfile.TemporaryDirectory() as directory:
        tune.Tuner(
            tune.with_resources(objective, {"cpu": 1}),
            param_space={"x": tune.uniform(0, 1)},
            tune_config=tune.TuneConfig(num_samples=trials, metric="loss", mode="min", reuse_actors=True),
            run_config=tune.RunConfig(verbose=0, storage_path=directory, callbacks=[Clock()]),
        ).fit()
    return a_trial(ends)


# --- reports


def chatty(trial: Any) -> float:
    """Seconds of a report and its answer."""
    for step in range(50):
        trial.report(1.0, step)
        trial.should_prune()
    times = []
    for step in range(50, 50 + _ROUND_TRIPS):
        begin = time.perf_counter()
        trial.report(1.0, step)
        trial.should_prune()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def round_trip(**where: Any) -> float:
    result = make_tuner(3, fasthpo.PruningConfig()).optimize(chatty, **where)
    return float(min(result.study.values))


def optuna_round_trip() -> float:
    import optuna

    study = optuna.create_study(pruner=optuna.pruners.MedianPruner())
    study.optimize(chatty, n_trials=3)
    return float(study.best_value)


# --- two workers


def busy(trial: Any) -> float:
    """Keeps one core busy for as long as it takes to count so far, whatever else runs."""
    begin = time.process_time()
    while time.process_time() - begin < _BUSY_SECONDS:
        sum(range(1000))
    return float(trial["x"])


def seconds_of(**where: Any) -> float:
    """Of a trial; from an early end to the last, as starting workers does not count."""
    ends = sorted(trial.end_time for trial in make_tuner(_BUSY_TRIALS).optimize(busy, **where).trials)
    return (ends[-1] - ends[3]) / (_BUSY_TRIALS - 4)


# --- all of it


@contextlib.contextmanager
def ray_here() -> Iterator[None]:
    import ray

    ray.init(num_cpus=_WORKERS, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def show(what: str, measure: Callable[[], float], beside: float | None = None) -> float:
    """Measure, print a line, and return it."""
    seconds = measure()
    ratio = "" if beside is None else f"  {seconds / beside:8.3g}x"
    print(f"{what:52s} {readable(seconds):>10s}{ratio}", flush=True)
    return seconds


def in_this_process() -> None:
    print("\na trial that does nothing, one at a time")
    base = show("fasthpo, inline", lambda: ours(3000))
    show("Optuna", lambda: optuna_jobs(1000, 1), base)
    print("\ntwo threads")
    base = show("fasthpo, threads", lambda: ours(3000, workers=2, backend="threads"))
    show("Optuna, n_jobs=2", lambda: optuna_jobs(1000, 2), base)
    print("\na report and should_prune")
    show("fasthpo, inline", round_trip)
    show("fasthpo, threads", lambda: round_trip(workers=2, backend="threads"))
    show("Optuna", optuna_round_trip)


def in_processes() -> None:
    import loky

    print("\na trial that does nothing, two processes")
    base = show("fasthpo, processes", lambda: ours(5000, workers=2))
    with loky.ProcessPoolExecutor(_WORKERS) as executor:
        show("loky alone", lambda: bare_executor(3000, executor), base)
        show("fasthpo in loky's executor", lambda: ours(3000, executor=executor), base)
        print("\na report and should_prune")
        show("fasthpo, processes", lambda: round_trip(workers=2))
        show("fasthpo in loky's executor", lambda: round_trip(executor=executor))
    print(f"\na trial that keeps a core busy for {_BUSY_SECONDS} s; the machine has {os.cpu_count()} cores")
    ratios = sorted(seconds_of() / seconds_of(workers=_WORKERS) for _ in range(_ROUNDS))
    rounds = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"{'fasthpo, two processes: speed-up':52s} {statistics.median(ratios):10.2f}  (rounds: {rounds})", flush=True)


def on_dask() -> None:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=_WORKERS, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        print("\na trial that does nothing, two Dask workers")
        base = show("Dask alone", lambda: bare_executor(500, client.get_executor(pure=False)))
        show("fasthpo in Dask's executor", lambda: ours(500, executor=client.get_executor(), workers=2), base)
        print("\na report and should_prune")
        show("fasthpo in Dask's executor", lambda: round_trip(executor=client.get_executor(), workers=2))


def on_ray() -> None:
    with ray_here():
        for in_flight in (2, 64):
            print(f"\na trial that does nothing, Ray on two cores, {in_flight} tasks in flight")
            trials = 1000 if in_flight == 2 else 5000
            bare_ray(200, in_flight)  # starts the workers
            base = show("Ray tasks alone", lambda n=trials, k=in_flight: bare_ray(n, k))
            show("fasthpo on Ray", lambda n=trials, k=in_flight: ours(n, backend="ray", workers=k), base)
        show("Ray Tune, reuse_actors=True (30 trials)", lambda: ray_tune(30), base)
        print("\na report and should_prune")
        show("fasthpo on Ray", lambda: round_trip(backend="ray"))


_PARTS: dict[str, Callable[[], None]] = {
    "here": in_this_process,
    "processes": in_processes,
    "dask": on_dask,
    "ray": on_ray,
}


def test_execution(capsys: Any) -> None:
    """As `python -m pytest benchmarks` runs it."""
    with capsys.disabled():
        for part in _PARTS.values():
            part()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(_PARTS), help=f"some of {', '.join(_PARTS)}, comma separated")
    args = parser.parse_args()
    for name in args.only.split(","):
        _PARTS[name]()


if __name__ == "__main__":
    main()
