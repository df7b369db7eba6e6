"""A study that goes on in a wider search space."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fasthpo
from tests.support.studies import content, load


def test_a_wider_space_keeps_the_trials(tmp_path: Path) -> None:
    old = fasthpo.SearchSpace(
        {
            "x": fasthpo.Continuous(-1.0, 1.0),
            "n": fasthpo.Discrete(1, 9, 2),
            "c": fasthpo.Categorical(["a", None, 1]),
            "m": fasthpo.LogUniform(1e-3, 1.0, when={"c": ["a"]}),
        }
    )
    new = fasthpo.SearchSpace(
        {
            "extra": fasthpo.Continuous(0.0, 1.0, when={"c": ["b"]}),
            "c": fasthpo.Categorical(["b", 1, "a", None]),
            "m": fasthpo.LogUniform(1e-4, 10.0, when={"c": ["a"]}),
            "x": fasthpo.Continuous(-5.0, 1.0),
            "n": fasthpo.Discrete(-1, 11, 2),
        }
    )
    sampler = fasthpo.TPESampler(seed=3, n_startup_trials=4)
    with fasthpo.Study(old, sampler=sampler, pruner=fasthpo.MedianPruner(), storage=tmp_path) as study:
        for i in range(20):
            trial = study.ask()
            trial.report(trial["x"] + i, 0)
            study.tell(trial, trial["x"] ** 2 + trial["n"], metrics={"i": i})
        study.enqueue({"c": None, "x": 0.5})
        running = study.ask()
        study.enqueue({"c": 1})
        points = [trial.params for trial in study.trials]
    loaded = fasthpo.Study.load(tmp_path, space=new)
    assert [trial.params for trial in loaded.trials] == points
    assert loaded.values[:20].tolist() == study.values[:20].tolist() and loaded.best_params == study.best_params
    assert [trial.reports for trial in loaded.trials][:20] == [trial.reports for trial in study.trials][:20]
    again = [loaded.ask(), loaded.ask()]
    assert again[0].number == running.number and again[1]["c"] == 1
    asked = [loaded.ask().params for _ in range(60)]
    assert any(p["c"] == "b" and "extra" in p for p in asked) and any(not p["x"] >= -1 for p in asked)
    assert any(p["n"] in (-1, 11) for p in asked)
    assert content(load(tmp_path)) == content(loaded)
    loaded.close()
    with pytest.raises(fasthpo.InvalidSearchSpace, match="'also' is missing in trial 0 and 81 others, and the new"):
        fasthpo.Study.load(tmp_path, space=fasthpo.SearchSpace({**new, "also": fasthpo.Discrete(1, 2)}))
    with pytest.raises(fasthpo.InvalidValue, match="only read"):
        load(tmp_path, space=new)
    assert content(load(tmp_path)) == content(loaded)


def test_a_grid_starts_anew_in_a_wider_space_and_repeats_nothing(tmp_path: Path) -> None:
    def grid(most: int, *choices: str) -> fasthpo.SearchSpace:
        return fasthpo.SearchSpace({"n": fasthpo.Discrete(1, most), "c": fasthpo.Categorical(choices)})

    with fasthpo.Study(grid(3, "a", "b"), sampler=fasthpo.GridSampler(), storage=tmp_path) as study:
        for _ in range(4):
            study.tell(study.ask(), 0.5)
    loaded = fasthpo.Study.load(tmp_path, space=grid(4, "z", "b", "a"))
    loaded.tell_batch(loaded.ask_batch(100).numbers, np.zeros(8))
    assert len({repr(trial.params) for trial in loaded.trials}) == len(loaded) == 12
    assert content(load(tmp_path)) == content(loaded)
