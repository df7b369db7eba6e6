"""Relations in a study's life: enqueued, added and loaded points, other spaces, files for others, the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import fasthpo
from fasthpo import Categorical, Continuous, Discrete, SearchSpace, Study, TrialState
from fasthpo.errors import InvalidParameters
from fasthpo.report import write_report


def make_space() -> SearchSpace:
    space = SearchSpace(
        {
            "low": Discrete(1, 9),
            "high": Discrete(1, 9),
            "depth": Discrete(1, "high", when={"kind": "a"}),
            "kind": Categorical(["a", "b"]),
            "x": Continuous(0.0, 1.0),
        }
    )
    return space.require("low <= high").forbid({"kind": "b", "x": (0.5, 1.0)})


def test_points_that_break_a_relation_are_refused_at_the_door() -> None:
    study = Study(make_space(), sampler=fasthpo.RandomSampler(seed=0))
    for point, message in (
        ({"low": 5, "high": 3}, "low <= high"),
        ({"low": 5, "high": 3, "kind": "b", "x": 0.1}, "low <= high"),
        ({"depth": 5, "high": 3}, "depth <= high"),
        ({"kind": "b", "x": 0.7}, "forbid"),
        ({"depth": 9, "high": 3, "x": 0.7}, "depth <= high"),
    ):
        with pytest.raises(InvalidParameters, match=message):
            study.enqueue(point)
    columns = {
        "low": [1, 2, 7],
        "high": [3, 3, 3],
        "depth": [1, None, None],
        "kind": ["a", "b", "b"],
        "x": [0.9, 0.1, 0.2],
    }
    with pytest.raises(InvalidParameters, match=r"the point at position 2 must keep to require\('low <= high'\)"):
        study.add_trials(columns, [1.0, 2.0, 3.0])
    assert len(study) == 0
    study.add_trials({name: column[:2] for name, column in columns.items()}, [1.0, 2.0])
    assert study.best_params["depth"] == 1


def test_what_given_values_break_by_themselves_is_found_without_a_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(make_space(), sampler=fasthpo.RandomSampler(seed=0))
    monkeypatch.setattr("fasthpo.space.partial.uniforms", lambda *args: pytest.fail("it was drawn"))
    for point in ({"low": 5, "high": 3}, {"depth": 5, "high": 3}, {"kind": "b", "x": 0.7}):
        with pytest.raises(InvalidParameters, match="must keep to"):
            study.enqueue(point)


def test_what_is_not_said_of_an_enqueued_point_is_drawn_as_relations_allow(tmp_path: Path) -> None:
    study = Study(make_space(), sampler=fasthpo.RandomSampler(seed=0), storage=tmp_path / "study")
    for _ in range(40):
        study.enqueue({"low": 8})
    study.enqueue({"depth": 9})
    study.enqueue({"x": 0.9})
    study.close()
    study = Study.load(tmp_path / "study")
    points = [dict(study.ask().params) for _ in range(42)]
    assert all(make_space().contains(point) for point in points)
    assert {point["high"] for point in points[:40]} == {8, 9} and {point["kind"] for point in points[:40]} == {"a", "b"}
    assert points[40]["high"] == 9 and points[41]["kind"] == "a"
    study.close()


def test_a_study_goes_on_in_a_space_with_other_relations_and_keeps_what_was_tried(tmp_path: Path) -> None:
    parameters = {"low": Discrete(1, 9), "high": Discrete(1, 9)}
    study = Study(parameters, sampler=fasthpo.TPESampler(seed=0), storage=tmp_path / "study")
    for _ in range(20):
        trial = study.ask()
        study.tell(trial, trial["low"] - trial["high"] if trial["low"] > trial["high"] else 1.0)
    study.enqueue({"low": 3})
    study.close()
    forbids = SearchSpace(parameters).require("low <= high")
    before = [trial.params for trial in study.trials]
    breaks = np.array(study.columns["low"] > study.columns["high"])
    assert breaks[:20].any()
    for _ in range(2):  # a new space, then as it was kept
        loaded = Study.load(tmp_path / "study", space=forbids)
        assert [trial.params for trial in loaded.trials][:20] == before[:20]
        assert np.array_equal(loaded.outside, breaks) and not loaded.best_trial.is_outside
        for _ in range(5):
            trial = loaded.ask()
            assert trial["low"] <= trial["high"]
            loaded.tell(trial, 1.0)
        breaks = np.append(breaks, [False] * (len(loaded) - len(breaks)))
        assert loaded.space == forbids
        loaded.close()
        forbids = SearchSpace(parameters).require("low <= high")
    # wider: a relation less, a bound that is wider
    with Study.load(tmp_path / "study", space={"low": Discrete(1, "high"), "high": Discrete(1, 12)}) as wider:
        trial = wider.ask()
        assert trial["low"] <= trial["high"] and wider.space["low"].high == 12  # type: ignore[attr-defined]
        number = wider.enqueue({"low": 12})
    lower = SearchSpace({"low": Discrete(1, 12), "high": Discrete(1, 12)}).forbid({"low": 12})
    with Study.load(tmp_path / "study", space=lower, interrupted="fail") as loaded:  # of no relation but that
        assert np.flatnonzero(loaded.outside).tolist() == [number]
        assert loaded.ask().number > number and loaded.trials[number].state == TrialState.WAITING


def test_a_trial_that_ran_as_a_relation_was_told_waits_until_that_is_gone(tmp_path: Path) -> None:
    parameters = {"kind": Categorical(["a", "b"]), "x": Continuous(0.0, 1.0, when={"kind": "a"}), "y": Discrete(1, 9)}
    study = Study(parameters, sampler=fasthpo.RandomSampler(seed=0))
    for point in ({"kind": "b", "y": 9}, {"kind": "a", "x": 0.5, "y": 9}):
        study.enqueue(point)
        assert study.ask().params == point
    study.save(tmp_path / "study")
    space = SearchSpace(parameters).require("y < 5")
    loaded = Study.load(tmp_path / "study", space=space)
    assert all(space.contains(loaded.ask().params) for _ in range(5))
    loaded.save(tmp_path / "again")
    loaded = Study.load(tmp_path / "again", space=parameters, interrupted="keep")
    assert [loaded.ask().params for _ in range(2)] == [trial.params for trial in study.trials]


def test_files_for_others_and_the_report_name_the_relations(tmp_path: Path) -> None:
    study = Study(make_space(), sampler=fasthpo.RandomSampler(seed=0))
    for _ in range(30):
        trial = study.ask()
        study.tell(trial, trial["x"])
    relations = [{"require": "low <= high"}, {"forbid": {"kind": ["b"], "x": [0.5, 1.0]}}]
    with open(study.to_json(tmp_path / "trials.json"), encoding="utf-8") as file:
        written = json.load(file)
    assert written["search_space"]["relations"] == relations
    assert written["search_space"]["parameters"]["depth"]["high"] == "high"
    assert SearchSpace.from_dict(written["search_space"]) == study.space
    same = Study.load(study.save(tmp_path / "file"))
    assert same.space == study.space and same.ask().params == study.ask().params
    page = write_report(study, tmp_path / "page.html").read_text("utf-8")
    assert "forbid({'kind': 'b', 'x': (0.5, 1.0)})" in page and "1 to high" in page
