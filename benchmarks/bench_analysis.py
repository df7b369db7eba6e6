"""A picture of a study, and the importance of its parameters, at 1,000 and 100,000 trials; beside them Optuna's.

    pip install -c constraints.txt -e ".[benchmark]"
    python -m pytest benchmarks/bench_analysis.py

A picture is made and written as PNG. Optuna's are those of `optuna.visualization.matplotlib`, of the same trials, once
each, as some take minutes; at 100,000 trials only those that end (`RIVALS`). Its functional ANOVA has logarithmic
parameters on a linear scale. Of ours the medians of five. One core.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo import analysis, plots

SIZES = [1_000, 100_000]
PICTURES = [
    "history", "learning_curves", "parallel_coordinates", "slices", "contour", "importance", "edf", "timeline",
    "durations",
]  # fmt: skip
OPTUNA = {
    "history": "plot_optimization_history",
    "learning_curves": "plot_intermediate_values",
    "parallel_coordinates": "plot_parallel_coordinate",
    "slices": "plot_slice",
    "contour": "plot_contour",
    "importance": "plot_param_importances",
    "edf": "plot_edf",
    "timeline": "plot_timeline",
}
RIVALS = {1_000: set(OPTUNA), 100_000: {"history", "slices", "edf"}}


@cache
def study(trials: int) -> fasthpo.Study:
    """Random trials of eight parameters, one of them conditional; one in 17 fails, one in ten reports five times."""
    made = fasthpo.Study(
        {
            "learning_rate": fasthpo.LogUniform(1e-5, 1.0),
            "weight_decay": fasthpo.LogUniform(1e-8, 1.0),
            "dropout": fasthpo.Continuous(0.0, 0.9),
            "width": fasthpo.Discrete(2, 256, 2),
            "layers": fasthpo.Discrete(1, 12),
            "optimizer": fasthpo.Categorical(["adamw", "sgd", "lion"]),
            "momentum": fasthpo.Continuous(0.0, 1.0, when={"optimizer": "sgd"}),
            "smoothing": fasthpo.Continuous(0.0, 0.2, step=0.05),
        },
        sampler=fasthpo.RandomSampler(seed=0),
    )
    numbers = made.ask_batch(trials).numbers
    columns = {name: column.copy() for name, column in made.columns.items()}
    loss = (np.log10(columns["learning_rate"]) + 2.5) ** 2 + columns["dropout"] + np.nan_to_num(columns["momentum"])
    loss += 2.0 / columns["layers"] + np.random.default_rng(0).normal(0.0, 0.1, trials)
    for number in numbers[::10].tolist():
        for epoch in range(5):
            made.report(number, float(loss[number]) + np.exp(-epoch), epoch)
    loss[numbers % 17 == 3] = np.nan
    for some in np.array_split(numbers, 100):
        made.tell_batch(some, loss[some])
    return made


@cache
def several(trials: int) -> fasthpo.Study:
    """Random trials of two objectives."""
    made = fasthpo.Study(
        {name: fasthpo.Continuous(0.0, 1.0) for name in "xyz"}, directions=["minimize", "maximize"],
        sampler=fasthpo.RandomSampler(seed=0),
    )  # fmt: skip
    numbers = made.ask_batch(trials).numbers
    x, y, z = (made.columns[name] for name in "xyz")
    made.tell_batch(numbers, np.stack([x + 0.3 * z, np.sqrt(x) - 0.3 * y], axis=1))
    return made


@pytest.mark.parametrize("trials", SIZES)
@pytest.mark.parametrize("name", ["pareto_front", "hypervolume_history"])
def test_picture_of_two_objectives(benchmark: Any, name: str, trials: int) -> None:
    of = several(trials)
    timed(benchmark, f"{name}, {trials:,} trials", "fasthpo", lambda: png(getattr(plots, name)(of)), 5)


@pytest.mark.parametrize("trials", SIZES)
def test_picture_of_two_objectives_by_optuna(benchmark: Any, trials: int) -> None:
    visualization = pytest.importorskip("optuna.visualization.matplotlib")
    from matplotlib import pyplot

    of = several(trials).to_optuna()

    def draw() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            png(visualization.plot_pareto_front(of).get_figure())
            pyplot.close("all")

    timed(benchmark, f"pareto_front, {trials:,} trials", "optuna", draw, 1)


@cache
def theirs(trials: int) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return study(trials).to_optuna()


def timed(benchmark: Any, group: str, library: str, call: Callable[[], object], rounds: int) -> None:
    benchmark.group, benchmark.extra_info["library"] = group, library
    benchmark.pedantic(call, rounds=rounds, warmup_rounds=int(rounds > 1))


def png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


@pytest.mark.parametrize("trials", SIZES)
@pytest.mark.parametrize("name", PICTURES)
def test_picture(benchmark: Any, name: str, trials: int) -> None:
    of = study(trials)
    timed(benchmark, f"{name}, {trials:,} trials", "fasthpo", lambda: png(getattr(plots, name)(of)), 5)


@pytest.mark.parametrize(("trials", "name"), [(trials, name) for trials in SIZES for name in sorted(RIVALS[trials])])
def test_picture_by_optuna(benchmark: Any, name: str, trials: int) -> None:
    visualization = pytest.importorskip("optuna.visualization.matplotlib")
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    of = theirs(trials)

    def draw() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = getattr(visualization, OPTUNA[name])(of)
            axes = made if hasattr(made, "get_figure") else np.ravel(made)[0]
            png(axes.get_figure())
            pyplot.close("all")

    timed(benchmark, f"{name}, {trials:,} trials", "optuna", draw, 1)


@cache
def wide(trials: int) -> fasthpo.Study:
    """Random trials of twenty parameters on linear scales."""
    names = [f"x{i}" for i in range(20)]
    made = fasthpo.Study({name: fasthpo.Continuous(0.0, 1.0) for name in names}, sampler=fasthpo.RandomSampler(seed=0))
    numbers = made.ask_batch(trials).numbers
    made.tell_batch(numbers, sum(made.columns[name] * i for i, name in enumerate(names)))  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize("trials", [1_000, 10_000, 100_000])
@pytest.mark.parametrize("method", ["fanova", "ped_anova"])
def test_importance(benchmark: Any, method: str, trials: int) -> None:
    of = wide(trials)
    group = f"{method} of 20 parameters, {trials:,} trials"
    timed(benchmark, group, "fasthpo", lambda: analysis.importance(of, method), 5)


@pytest.mark.parametrize(("method", "trials"), [("fanova", 1_000), ("ped_anova", 1_000), ("ped_anova", 10_000)])
def test_importance_by_optuna(benchmark: Any, method: str, trials: int) -> None:
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    kinds = optuna.importance
    evaluator = (
        kinds.FanovaImportanceEvaluator(seed=0) if method == "fanova" else kinds.PedAnovaImportanceEvaluator()
    )  # fmt: skip
    of = wide(trials).to_optuna()

    def find() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kinds.get_param_importances(of, evaluator=evaluator)

    timed(benchmark, f"{method} of 20 parameters, {trials:,} trials", "optuna", find, 1)
