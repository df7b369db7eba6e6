"""A grid with n_points leaves out the points that are known already, wherever they come from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo import Categorical, Continuous, Discrete, GridSampler, LogUniform, SearchSpace, Study

SPACE = SearchSpace(
    {
        "n": Discrete(1, 2),
        "lr": LogUniform(1e-4, 1e-2, n_points=3),
        "c": Categorical(["a", None]),
        "x": Continuous(0, 1, n_points=3, when={"c": ["a"]}),
    }
)
ALL = 2 * 3 * (3 + 1)
KNOWN = {"n": [1, 2, 2], "lr": [1e-4, 1e-2, 1e-3], "c": ["a", None, "a"], "x": [0.5, None, 0.3]}  # the last is off it
GRIDS = [lambda: GridSampler(), lambda: GridSampler(shuffle=True, seed=3)]


def drained(study: Study, by: str) -> int:
    """Ask until nothing is left; how many trials there are, and that none is there twice."""
    if by == "batch":
        while len(study.ask_batch(5)):
            pass
    with pytest.raises(fasthpo.SpaceExhausted, match="points of the grid"):
        while True:
            study.ask()
    assert len({repr(trial.params) for trial in study.trials}) == len(study)
    return len(study)


@pytest.mark.parametrize("by", ["ask", "batch"])
@pytest.mark.parametrize("grid", GRIDS)
def test_known_and_enqueued_points_are_not_tried_again(grid: Callable[[], GridSampler], by: str) -> None:
    study = Study(SPACE, sampler=grid())
    study.add_trials(KNOWN, [1.0, 2.0, 3.0])
    study.enqueue({"n": 2, "lr": 1e-3, "c": "a", "x": 1.0})
    study.enqueue({"n": 2, "lr": 2e-3})  # off the grid
    for _ in range(5):
        study.ask()
    study.add_trials({"n": [1], "lr": [1e-2 * (1 - 1e-15)], "c": [None], "x": [None]}, [np.nan])
    study.enqueue({"n": 1, "lr": 1e-2, "c": "a", "x": 0.0})
    total = drained(study, by)
    # a point that is enqueued is tried even if the grid was there before
    on_grid = sum(trial["lr"] != 2e-3 and trial.params.get("x") != 0.3 for trial in study.trials)
    assert on_grid in (ALL, ALL + 1) and total == on_grid + 2


@pytest.mark.parametrize("grid", GRIDS)
def test_it_goes_on_so_after_loading(grid: Callable[[], GridSampler], tmp_path: Path) -> None:
    study = Study(SPACE, sampler=grid(), storage=tmp_path / "study")
    study.add_trials(KNOWN, [1.0, 2.0, 3.0])
    for _ in range(4):
        study.tell(study.ask(), 1.0)
    study.enqueue({"n": 2, "lr": 1e-3, "c": "a", "x": 1.0})
    study.sync()
    copy = study.save(tmp_path / "copy.msgpack")
    expected = [study.ask().params for _ in range(8)]
    study.close()
    loaded = Study.load(copy)
    assert [loaded.ask().params for _ in range(8)] == expected
    assert drained(loaded, "batch") == ALL + 1
    with Study.load(tmp_path / "study", interrupted="fail") as loaded:
        assert drained(loaded, "ask") == ALL + 1


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("first", [fasthpo.RandomSampler, fasthpo.TPESampler, GridSampler])
def test_after_another_sampler_it_tries_all_of_its_points(
    first: Any, grid: Callable[[], GridSampler], tmp_path: Path
) -> None:
    with Study(SPACE, sampler=first(seed=0), storage=tmp_path) as study:
        for _ in range(30 if first is not GridSampler else 7):
            study.tell(study.ask(), 1.0)
        points = {repr(trial.params) for trial in study.trials}
    with Study.load(tmp_path, sampler=grid()) as loaded:
        loaded.tell(loaded.ask(), 1.0)
    with Study.load(tmp_path) as again:  # what was written is what goes on
        drained(again, "ask")
        found = {repr(trial.params) for trial in again.trials}
    whole = Study(SPACE, sampler=GridSampler())
    assert found == points | {repr(whole.ask().params) for _ in range(ALL)}


def test_on_a_finite_space_too(tmp_path: Path) -> None:
    space = {"n": Discrete(0, 9), "c": Categorical(["a", "b"])}
    with Study(space, sampler=fasthpo.RandomSampler(seed=0), storage=tmp_path) as study:
        for _ in range(12):
            study.tell(study.ask(), 1.0)
    with Study.load(tmp_path, sampler=GridSampler()) as loaded:
        loaded.ask_batch(100)
        assert len({repr(trial.params) for trial in loaded.trials}) == len(loaded) == 20


def test_in_a_wider_space_known_points_stay_known(tmp_path: Path) -> None:
    def space(high: float, points: int, *choices: str) -> SearchSpace:
        return SearchSpace({"lr": LogUniform(1e-4, high, n_points=points), "c": Categorical(choices)})

    with Study(space(1e-2, 3, "a", "b"), sampler=GridSampler(), storage=tmp_path) as study:
        for _ in range(5):
            study.tell(study.ask(), 1.0)
    with Study.load(tmp_path, space=space(1e-1, 4, "z", "b", "a")) as wider:
        assert drained(wider, "batch") == 12
    with Study.load(tmp_path, space=space(1e-1, 7, "z", "b", "a")) as denser:
        assert drained(denser, "ask") == 21


@pytest.mark.parametrize("strategy", [fasthpo.SuccessiveHalving, fasthpo.Hyperband, fasthpo.ASHA])
def test_a_strategy_goes_on_with_its_paused_trials_when_the_grid_is_used_up(strategy: Any) -> None:
    space = {"x": Continuous(0, 1, n_points=9)}
    study = Study(space, strategy=strategy(9, sampler=GridSampler()))
    study.add_trials({"x": [1.0, 0.875, 0.75]}, [1.0, 1.0, 1.0])
    with pytest.raises(fasthpo.SpaceExhausted):
        while True:
            trial = study.ask()
            study.tell(trial, trial["x"])
    assert len(study) == 9 and study.best_params == {"x": 0.0} and study.trials[3].resource == 9


def test_large_grids_cost_no_more() -> None:
    huge = SearchSpace({f"p{j}": Continuous(0, 1, n_points=1000) for j in range(20)})  # 10^60 cells
    study = Study(huge, sampler=GridSampler())
    study.add_trials({name: [0.0, 0.0] for name in list(huge)[:-1]} | {"p19": [0.0, 2 / 999]}, [1.0, 2.0])
    assert [study.ask()["p19"] for _ in range(3)] == [1 / 999, 3 / 999, 4 / 999]
    assert study.ask_batch(2).params["p19"].tolist() == [5 / 999, 6 / 999]
    long = Study({"x": Continuous(0, 1, n_points=100_001)}, sampler=GridSampler())  # not tabled
    long.add_trials({"x": np.arange(50_000) / 100_000}, np.zeros(50_000))
    assert long.ask()["x"] == 0.5
    long.enqueue({"x": 0.50002})
    batch = long.ask_batch(60_000)
    assert len(batch) == 50_000 and len(np.unique(long.columns["x"])) == len(long) == 100_001


def test_enqueued_points_that_wait_long_count_when_they_begin() -> None:
    space = {"x": Continuous(0, 1, n_points=5), "n": Discrete(1, 1)}
    study = Study(space, sampler=GridSampler())
    study.enqueue({"x": 0.25})
    study.enqueue({})
    assert study.ask_within(new=False) is None  # nothing that ran before
    first, drawn = study.ask(), study.ask()
    assert first["x"] == 0.25 and 0 < drawn["x"] < 1
    assert [study.ask()["x"] for _ in range(4)] == [0.0, 0.5, 0.75, 1.0]
