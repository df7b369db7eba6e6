"""What a notebook shows of a study, a trial, a result and a space; and data frames."""

from __future__ import annotations

import builtins
import html.parser
import sys
from pathlib import Path

import pytest

import fasthpo
from fasthpo import TrialState
from fasthpo.errors import MissingPackage
from tests.support import pictured

NASTY = "<script>alert('x')</script> & \udcff"


class Tags(html.parser.HTMLParser):
    """Which tags are opened, and whether all are closed in turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def shown(value: object) -> str:
    text = value._repr_html_()  # type: ignore[attr-defined]
    tags = Tags(text)
    assert not tags.open and "script" not in tags.seen
    text.encode()
    return text


def nasty_study() -> fasthpo.Study:
    space = {NASTY: fasthpo.Categorical([NASTY, "b"]), "x": fasthpo.Continuous(0.0, 1.0, when={NASTY: [NASTY]})}
    study = fasthpo.Study(space, sampler=fasthpo.RandomSampler(seed=0))
    assert "no trials yet" in shown(study)
    study.tell(study.ask(), state=TrialState.FAILED, error=f"ValueError: {NASTY}")
    study.tell(study.ask(), 0.25)
    return study


def test_a_notebook_shows_what_a_user_gave_as_it_stands() -> None:
    study = nasty_study()
    assert "1 FAILED" in shown(study) and "0.25" in shown(study)
    assert "&lt;script&gt;" in shown(study.trials[0]) and "ValueError" in shown(study.trials[0])
    assert "&lt;script&gt;" in shown(study.space)
    assert "low=0.0, high=1.0" in shown(study.space)


def test_a_notebook_shows_a_result(tmp_path: Path) -> None:
    tuner = fasthpo.HyperparameterTuner.with_random_search(
        fasthpo.TunerConfig("mine", max_trials=3, output_dir=tmp_path, seed=0), {"x": fasthpo.Continuous(0.0, 1.0)}
    )
    result = tuner.optimize(lambda trial: trial["x"])
    assert "Study mine" in shown(result) and f"Best trial: {result.best_trial.number}" in shown(result)


def test_a_notebook_shows_a_part_of_a_large_space() -> None:
    space = fasthpo.SearchSpace({f"x{i}": fasthpo.Continuous(0.0, 1.0) for i in range(250)})
    assert "and 150 more" in shown(space)


def test_data_frames_have_the_columns_of_the_arrow_table() -> None:
    pytest.importorskip("pyarrow")
    study = pictured.reported(30)
    names = study.to_arrow().column_names
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    frame, other = study.to_pandas(), study.to_polars()
    assert isinstance(frame, pandas.DataFrame) and isinstance(other, polars.DataFrame)
    assert list(frame.columns) == other.columns == names
    assert len(frame) == len(other) == 30
    values = [trial.value for trial in study.trials]
    assert other["value"].to_list() == values
    assert [None if value != value else value for value in frame["value"].tolist()] == values
    assert len(fasthpo.Study(pictured.SPACE).to_pandas()) == len(fasthpo.Study(pictured.SPACE).to_polars()) == 0


@pytest.mark.parametrize("n", [0, 1, 40])
def test_what_a_trial_may_be_without_keeps_its_type_in_a_data_frame(n: int) -> None:
    """However many trials there are, and whether or not one of them is without it."""
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    space = {
        "of": fasthpo.Categorical(["a", "b"]),
        "whole": fasthpo.Discrete(1, 9, when={"of": "a"}),
        "truth": fasthpo.Categorical([True, False], when={"of": "b"}),
        "some": fasthpo.Categorical([1, 2, None]),
        "always": fasthpo.Discrete(1, 9),
        "real": fasthpo.Continuous(0.0, 1.0, when={"of": "b"}),
    }
    study = fasthpo.Study(space, sampler=fasthpo.RandomSampler(seed=0))
    for i in range(n):
        study.tell(study.ask(), float(i))
    frame, other = study.to_pandas(), study.to_polars()
    kinds = {name: str(frame[f"params_{name}"].dtype) for name in space if name != "of"}
    assert kinds == {"whole": "Int64", "truth": "boolean", "some": "Int64", "always": "int64", "real": "float64"}
    assert [str(other[f"params_{name}"].dtype) for name in kinds] == ["Int64", "Boolean", "Int64", "Int64", "Float64"]
    assert str(frame["state"].dtype) == "category" and other["state"].dtype == polars.Categorical
    for name in space:
        told = [trial.params.get(name) for trial in study.trials]
        assert other[f"params_{name}"].to_list() == told
        assert [None if pandas.isna(one) else one for one in frame[f"params_{name}"]] == told


@pytest.mark.parametrize(("name", "package"), [("to_pandas", "pandas"), ("to_polars", "polars")])
def test_without_the_library_its_name_is_said(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    monkeypatch.delitem(sys.modules, package, raising=False)
    imported = builtins.__import__

    def without(what, *arguments, **named):
        if what == package:
            raise ImportError(what)
        return imported(what, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingPackage, match=f"{name} needs .*pip install {package}"):
        getattr(fasthpo.Study(pictured.SPACE), name)()
