"""Choices that JSON does not have, ordinals and normal numbers, in everything that a study is written to."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo import Categorical, Continuous, LogNormal, Normal, Ordinal, SearchSpace, Study
from fasthpo.analysis import importance, parallel_coordinates, slices
from fasthpo.exchange.optuna import to_distribution
from fasthpo.space.choice_values import choice_from_json
from tests.support.command_line import call

NAN = math.nan
CHOICES = [(64, 64), (128, (1, "a")), None, NAN, math.inf, frozenset({1, 2}), True, 1, 1.0, "a", '["a"]', ("a",)]
SPACE = SearchSpace(
    {
        "shape": Categorical(CHOICES),
        "size": Ordinal([(1, 2), (3, 4), (5, 6)], when={"x": fasthpo.at_most(0.5)}),
        "norm": Ordinal([1.0, 2.0, math.inf]),
        "maybe": Categorical([0.5, NAN], when={"norm": fasthpo.at_least(2.0)}),
        "x": Normal(0.0, 1.0),
        "rate": LogNormal(-7.0, 2.3),
        "plain": Ordinal(["s", "m", "l"]),
    }
)


def made(storage: Path | None = None) -> Study:
    study = Study(SPACE, sampler=fasthpo.RandomSampler(seed=1), storage=storage)
    known: dict[str, list[Any]] = {
        "shape": CHOICES, "size": [None] * 11 + [(3, 4)], "norm": [1.0] * 11 + [math.inf], "maybe": [None] * 11 + [NAN],
        "x": [9.0] * 11 + [-1e200], "rate": [1e-300] * 12, "plain": ["m"] * 12,
    }  # fmt: skip
    study.add_trials(known, np.arange(12.0))
    for number in range(20):
        study.tell(study.ask(), float(number))
    study.enqueue({"shape": (64, 64), "size": (5, 6)})
    return study


def params_of(study: Study) -> list[str]:
    return [repr(trial.params) for trial in study.trials]


def test_they_come_back_from_json(tmp_path: Path) -> None:
    study = made()
    read = json.loads(study.to_json(tmp_path / "all.json").read_text())
    assert SearchSpace.from_dict(read["search_space"]) == SPACE
    back = [{name: choice_from_json(one) for name, one in record["params"].items()} for record in read["trials"]]
    assert list(map(repr, back)) == params_of(study)
    assert all(SPACE.contains(one["params"]) for one in read["trials"][:-1])  # as they were written, too


def test_they_are_texts_or_numbers_in_tables(tmp_path: Path) -> None:
    study = made()
    cells = list(csv.DictReader(study.to_csv(tmp_path / "all.csv").read_text().splitlines()))
    shapes = [json.loads(row["params_shape"]) for row in cells[:12]]
    assert repr([choice_from_json(one) for one in shapes]) == repr(CHOICES)
    assert [row["params_plain"] for row in cells[:12]] == ["m"] * 12 and cells[0]["params_x"] == "9.0"
    arrow = study.to_arrow()
    assert [str(arrow.schema.field(f"params_{name}").type) for name in SPACE] == [
        "string", "string", "string", "string", "double", "double", "string"
    ]  # fmt: skip
    columns = {name: arrow.column(f"params_{name}").to_pylist()[:12] for name in SPACE}
    assert repr([choice_from_json(json.loads(one)) for one in columns["shape"]]) == repr(CHOICES)
    assert columns["size"] == [None] * 11 + ["[3, 4]"] and columns["norm"][-2:] == ["1.0", '{"float": "inf"}']
    assert columns["maybe"] == [None] * 11 + ['{"float": "nan"}']  # which is not that there is none
    frame = study.to_pandas()
    assert json.loads(frame["params_shape"][1]) == [128, [1, "a"]] and frame["params_x"][0] == 9.0
    again = SearchSpace.from_dict(json.loads(arrow.schema.metadata[b"fasthpo"])["search_space"])
    assert again == SPACE


def test_they_go_to_optuna_and_back(tmp_path: Path) -> None:
    """Optuna has neither an order of choices nor normal distributions, and its storage keeps no tuples."""
    optuna = pytest.importorskip("optuna")
    study = made()
    kept = [optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "log")))
            for _ in range(2)]  # fmt: skip
    study.to_optuna(kept[0], "theirs")
    theirs = optuna.load_study(study_name="theirs", storage=kept[1])
    assert theirs.trials[1].params["shape"] == '[128, [1, "a"]]' and theirs.trials[0].params["x"] == 5.0
    back = Study.from_optuna(theirs)
    assert back.space == SPACE and params_of(back)[:-1] == params_of(study)[:-1]
    assert back.ask().params["size"] == (5, 6)
    distributions = optuna.distributions
    assert to_distribution(Normal(0.9, 0.1, high=1.0)) == distributions.FloatDistribution(0.4, 1.0)
    assert to_distribution(Ordinal([16, 32])) == distributions.CategoricalDistribution([16, 32])
    rate = to_distribution(LogNormal(0.0, 1.0))
    assert rate.log and rate.low == pytest.approx(math.exp(-5)) and rate.high == pytest.approx(math.exp(5))


def test_they_are_kept_and_read_by_another_program(tmp_path: Path) -> None:
    with made(tmp_path / "study") as study:
        before = params_of(study)
    code = (
        "import sys, fasthpo\n"
        "with fasthpo.Study.load(sys.argv[1], read_only=True) as study:\n"
        "    print([repr(trial.params) for trial in study.trials] == eval(sys.stdin.read()))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "study")]
    found = subprocess.run(command, input=repr(before), capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "True"


def test_they_are_shown_by_the_command_line_and_in_pictures(tmp_path: Path) -> None:
    with made(tmp_path / "study"):
        pass
    path = str(tmp_path / "study")
    shown = call("trials", path, "--filter", "shape=(64,64)", "--columns", "number,shape,plain")
    assert "(64, 64)" in shown.output and "m" in shown.output
    assert "nan" in call("trials", path, "--filter", "shape=nan", "--columns", "shape").output
    ordered = call("trials", path, "--filter", "plain>s", "--columns", "plain", "--all").output.split()
    assert {"m", "l"} <= set(ordered) and "s" not in ordered
    best = json.loads(call("best", path, "--json").output)
    assert best["params"]["plain"] == "m" and best["params"]["shape"] == [64, 64]
    with Study.load(path, read_only=True) as study:
        found = {panel.name: panel.scale for panel in slices(study).panels}
        lines = parallel_coordinates(study)
    assert found["x"].low == -1e200 and found["x"].high == 9.0 and found["rate"].log and found["rate"].high < 1e3
    assert found["plain"].labels == ("s", "m", "l") and found["shape"].labels[:2] == ("(64, 64)", "(128, (1, 'a'))")
    assert np.nanmin(lines.position) >= 0.0 and np.nanmax(lines.position) <= 1.0


@pytest.mark.parametrize("method", ["fanova", "ped_anova"])
def test_importance_is_under_the_distribution_and_within_the_ranges(method: str) -> None:
    """A step in the tail matters less than one in the middle; a child counts for where it is active."""
    space = SearchSpace(
        {
            "middle": Normal(0.0, 1.0),
            "tail": Normal(0.0, 1.0),
            "order": Ordinal(["a", "b", "c", "d"]),
            "child": Continuous(0.0, 1.0, when={"middle": fasthpo.at_least(0.0), "order": fasthpo.at_least("b")}),
            "never mind": Continuous(0.0, 1.0, when={"order": fasthpo.not_in(["b"])}),
        }
    )
    study = Study(space, sampler=fasthpo.RandomSampler(seed=2))
    batch = study.ask_batch(2000)
    columns = study.columns
    child = np.nan_to_num(columns["child"])
    values = 2.0 * (columns["middle"] > 0) + 2.0 * (columns["tail"] > 2.5) + 0.3 * columns["order"] + child
    study.tell_batch(batch.numbers, values)
    found = importance(study, method).to_dict()
    assert found["never mind"] < 0.02
    if method == "fanova":
        assert found["middle"] > 5 * found["tail"] and found["middle"] > found["order"] > found["never mind"]
        assert 0.01 < found["child"] < found["middle"]
