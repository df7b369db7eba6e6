"""Values are the decimals that a person means, where they can be, and no two of them the same."""

from __future__ import annotations

import csv
import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fasthpo
from fasthpo import Continuous, Discrete, GridSampler, InvalidSearchSpace, LogUniform, Parameter, Study
from fasthpo.samplers.grid import _Continuum

TENTHS = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]


def all_values(parameter: Parameter) -> list[float]:
    study = Study({"x": parameter}, sampler=GridSampler())
    count = study.sampler.grid_size(study.space)  # type: ignore[attr-defined]
    one_by_one = [study.ask()["x"] for _ in range(count)]
    batch = Study({"x": parameter}, sampler=GridSampler()).ask_batch(count)
    assert batch.params["x"].tolist() == one_by_one
    return one_by_one


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        (LogUniform(1e-5, 1e-1, n_points=5), [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]),
        (LogUniform(1e-4, 1e-2, n_points=3), [1e-4, 1e-3, 1e-2]),
        (LogUniform(1e-300, 1e300, n_points=7), [1e-300, 1e-200, 1e-100, 1.0, 1e100, 1e200, 1e300]),
        (LogUniform(1, 1024, n_points=11), [2.0**k for k in range(11)]),
        (LogUniform(3e-3, 3e3, n_points=7), [3e-3, 3e-2, 3e-1, 3.0, 30.0, 300.0, 3000.0]),
        (LogUniform(1e-4, 1.0, n_points=1), [1e-2]),
        (LogUniform(10**-4 * 3 / 3, 0.1 * 0.1, n_points=3), [1e-4, 1e-3, 1e-2]),
        (Continuous(0, 1, n_points=11), TENTHS),
        (Continuous(-1, 1, n_points=21), [-x for x in TENTHS[:0:-1]] + TENTHS),
        (Continuous(-0.1, 0.2, n_points=4), [-0.1, 0.0, 0.1, 0.2]),
        (Continuous(0, 0.1 * 3, n_points=4), TENTHS[:4]),
        (Continuous(1e6 + 0.1, 1e6 + 0.9, n_points=5), [1e6 + 0.1, 1000000.3, 1000000.5, 1000000.7, 1e6 + 0.9]),
        (Continuous(0, 0.1 * 3, step=0.1), TENTHS[:4]),
        (Continuous(0, 1, step=1 - 0.9), TENTHS),
        (Continuous(0, sum([0.1] * 10), step=0.1), [*TENTHS[:-1], sum([0.1] * 10)]),  # 0.9999999999999999: no further
        (Continuous(0.1 * 3, 0.9, step=0.1), [0.1 * 3, *TENTHS[4:10]]),
        (Continuous(0.1 + 0.2 - 0.3, 0.5, step=0.1), [0.1 + 0.2 - 0.3, *TENTHS[1:6]]),
        (Continuous(0.3 - 0.2, 0.5, step=0.1), TENTHS[1:6]),
        (Continuous(-1e-20, 1.0, step=0.5), [-1e-20, 0.5, 1.0]),
        (Continuous(-1, 2e16, step=1e16), [-1.0, 1e16, 2e16]),
        (Continuous(0, 1, step=1 / 3), [0.0, 1 / 3, 2 / 3, 1.0]),
        (Continuous(0, 1e-15, step=1e-16), [float(f"{k}e-16") for k in range(11)]),
        (Continuous(0, 3e-300, step=1e-300), [0.0, 1e-300, 2e-300, 3e-300]),
        (Continuous(1e14, 1e14 + 1, step=0.125), [1e14 + k / 8 for k in range(9)]),
    ],
)
def test_values_are_the_decimals_that_are_meant(parameter: Parameter, expected: list[float]) -> None:
    found = all_values(parameter)
    assert [repr(x) for x in found] == [repr(x) for x in expected]
    assert all(parameter.contains(x) for x in found)


@given(
    st.sampled_from([Continuous, LogUniform]),
    st.one_of(st.floats(1e-6, 1e6), st.decimals(1, 100, places=2).map(float), st.integers(-300, 300).map(lambda e: 10.0**e)),
    st.one_of(st.floats(1e-12, 1e6), st.integers(1, 9).map(lambda k: 0.1 * k), st.integers(-13, 9).map(lambda e: 10.0**e)),
    st.one_of(st.integers(1, 60), st.sampled_from([4096, 4097, 5000])),
)  # fmt: skip
def test_grid_points_lie_inside_and_are_known_again(kind: Any, low: float, width: float, count: int) -> None:
    high = low + low * width if kind is LogUniform else low + width
    try:
        parameter = kind(low, high, n_points=count)
    except InvalidSearchSpace:
        return
    if low == high:
        return
    continuum = _Continuum(parameter, count)
    cells = np.unique([*range(min(count, 60)), count // 2, count - 1])
    values = continuum.values(cells)
    assert low <= values.min() and values.max() <= high
    scale = np.log if kind is LogUniform else np.array
    apart = (scale(high) - scale(low)) / max(1, count - 1)
    exact = scale(low) + (cells / (count - 1) if count > 1 else 0.5) * (scale(high) - scale(low))
    error = 4 * np.finfo(float).eps * (max(abs(scale(low)), abs(scale(high))) + 1)
    assert np.abs(scale(values) - exact).max() <= 2 * error
    if apart > 20 * error:
        assert (np.diff(values) > 0).all()
        assert continuum.cells(values).tolist() == cells.tolist()
    if apart > 1e4 * error:
        other = scale(values) + apart / 100
        between = np.exp(other) if kind is LogUniform else other
        assert (continuum.cells(between[between < high]) == -1).all()


@given(st.integers(-50, 50), st.integers(1, 99), st.integers(0, 9), st.integers(1, 500), st.data())
def test_computed_bounds_and_steps_give_the_values_of_the_decimals(
    first: int, step: int, digits: int, count: int, data: Any
) -> None:
    """All may be off by an ulp or two, as sums and products are."""
    exact = [float(f"{first + k * step}e-{digits}") for k in range(count + 1)]
    ulps = st.integers(-2, 2)

    def off(x: float) -> float:
        return x + data.draw(ulps) * math.ulp(x or exact[-1])

    low, high = off(exact[0]), off(exact[-1])
    parameter = Continuous(low, high, step=off(float(f"{step}e-{digits}")))
    values = parameter.at(np.arange(count + 1))
    assert values[1:-1].tolist() == exact[1:-1]
    assert values[0] == max(low, exact[0]) and values[-1] == min(high, exact[-1])
    assert parameter.cell(values).tolist() == list(range(count + 1))
    for x in (exact[0], exact[-1], low, high, values[-1]):  # whatever of these a user has
        assert parameter.encode(x) in (values[0], values[-1])


SPACES: list[Continuous | LogUniform] = [
    Continuous(0, 0.1 * 3, step=0.1), Continuous(0.1 * 3, 0.9, step=0.1), Continuous(0, sum([0.1] * 10), step=0.1),
    Continuous(0, 1, step=1 / 3), Continuous(0, 1, step=0.333333333), Continuous(0, 0.1 * 7, step=0.7 / 7),
    Continuous(1e14, 1e14 + 1, step=0.125), Continuous(0, 1e-15, step=1e-16), Continuous(-0.1 * 3, 0.1 * 3, step=0.1 * 3),
    LogUniform(1e-5, 1e-1, n_points=5), Continuous(0, 0.1 * 3, n_points=4),
]  # fmt: skip


@pytest.mark.parametrize("parameter", SPACES)
def test_exports_show_the_same_values(parameter: Continuous | LogUniform, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    study = Study({"x": parameter}, sampler=GridSampler())
    values = all_values(parameter)
    for _ in values:
        study.tell(study.ask(), 1.0)
    lines = study.to_json(tmp_path / "x.json").read_text(encoding="utf-8")
    assert [one["params"]["x"] for one in json.loads(lines)["trials"]] == values
    with open(study.to_csv(tmp_path / "x.csv"), encoding="utf-8", newline="") as file:
        assert [row["params_x"] for row in csv.DictReader(file)] == [repr(x) for x in values]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        theirs = study.to_optuna()
    np.testing.assert_allclose([trial.params["x"] for trial in theirs.trials], values, rtol=1e-8)
    back = Study.from_optuna(theirs)
    assert back.space == study.space and back.columns["x"].tolist() == values


def test_a_sampler_that_models_uses_up_a_space_of_computed_bounds() -> None:
    space = {
        "x": Continuous(0, 0.1 * 3, step=0.1),
        "y": Continuous(0.1 * 3, 0.9, step=0.1),
        "n": Discrete(1, 3, log=True),
    }
    for sampler in (fasthpo.TPESampler(seed=0), fasthpo.RandomSampler(seed=0), GridSampler()):
        study = Study(space, sampler=sampler)
        study.add_trials({"x": [0.3, 0.1 * 3], "y": [0.3, 0.9], "n": [1, 1]}, [1.0, 2.0])
        while len(study) < 4 * 7 * 3:
            trial = study.ask()
            study.tell(trial, trial["x"] + trial["y"])
        with pytest.raises(fasthpo.SpaceExhausted):
            study.ask()
        points = {repr(trial.params) for trial in study.trials}
        assert len(points) == len(study) and {trial["x"] for trial in study.trials} == {0.0, 0.1, 0.2, 0.3}


def test_values_of_an_older_version_are_still_points_of_the_grid(tmp_path: Path) -> None:
    space = {
        "lr": LogUniform(1e-5, 1e-1, n_points=5),
        "x": Continuous(0, 0.1 * 3, step=0.1),
        "c": Discrete(1, 2, when={"x": [0.3]}),
    }
    old = {"lr": 9.999999999999991e-05, "x": 0.30000000000000004}
    study = Study(space, sampler=GridSampler(), storage=tmp_path / "journal")
    points = [study.ask().params for _ in range(10)]
    number = points.index({"lr": 1e-4, "x": 0.3, "c": 1})
    # as if an older version had suggested it
    study.table._params[:2, number] = list(old.values())
    saved = study.save(tmp_path / "study.msgpack")
    study.close()
    again = Study.load(saved)
    assert again.trials[number].params == {**old, "x": 0.3, "c": 1}
    assert len(again.ask_batch(100)) == 10 + 15  # those that were running, and the rest
    assert len(again) == len({repr(trial.params) for trial in again.trials}) == 5 * (3 + 2)
    # and a new grid that finds it there
    other = Study({"lr": space["lr"]}, sampler=GridSampler())
    other.add_trials({"lr": [old["lr"], 1e-4 * (1 + 1e-9)]}, [1.0, 2.0])
    assert [trial["lr"] for trial in (other.ask(), other.ask())] == [1e-5, 1e-3]


def test_an_older_journal_with_values_of_conditions_is_read(tmp_path: Path) -> None:
    space = {"x": Continuous(0, 0.1 * 3, step=0.1), "c": Discrete(1, 2, when={"x": [0.3]})}
    study = Study(space, sampler=GridSampler(), storage=tmp_path)
    table = study.table
    row = np.array([[0.1 * 3, 1.0]])
    table.append(row, -1, fasthpo.TrialState.RUNNING, 1.0)
    study._state.history.recorder.asked(0, True)  # type: ignore[union-attr]
    study.tell(0, 1.0)
    study.sync()
    assert Study.load(tmp_path, read_only=True).trials[0].params == {"x": 0.3, "c": 1}
    study.compact()
    assert Study.load(tmp_path, read_only=True).trials[0].params == {"x": 0.3, "c": 1}
    study.close()
