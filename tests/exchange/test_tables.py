"""A study as JSON, CSV, Arrow and Parquet."""

from __future__ import annotations

import csv
import gzip
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

import fasthpo
from fasthpo import TrialState
from tests.support.studies import VECTORS, make, make_vectors, run, step, step_vectors

SPACE = fasthpo.SearchSpace(
    {
        "x": fasthpo.Continuous(-1.0, 1.0),
        "n": fasthpo.Discrete(-2, 2),
        "text": fasthpo.Categorical(["ä", "b\udcff"]),
        "flag": fasthpo.Categorical([True, False]),
        "maybe": fasthpo.Categorical([None, 3]),
        "mixed": fasthpo.Categorical(["1", 1, 1.0, True, None]),
        "inner": fasthpo.Discrete(1, 3, when={"flag": [True]}),
        "inner none": fasthpo.Categorical([None, "z"], when={"flag": [True]}),
    }
)


def nasty() -> fasthpo.Study:
    study = fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=3))
    for i in range(30):
        trial = study.ask()
        for s in range(i % 3):
            trial.report(math.nan if s else i, 10 * s)
        if i % 7 == 3:
            study.tell(trial, state=TrialState.FAILED, error='a "quoted",\nbroken \udcff line')
        elif i % 7 == 4:
            study.tell(trial, math.inf)
        else:
            study.tell(trial, i / 4, metrics={"late, metric": 0.5} if i > 20 else None)
    study.ask()
    study.enqueue({"x": 0.5})
    return study


@pytest.mark.parametrize("name", ["history.json", "history.json.gz"])
def test_json(name: str, tmp_path: Path) -> None:
    study = nasty()
    path = study.to_json(str(tmp_path / name))
    data = gzip.decompress(path.read_bytes()) if name.endswith("gz") else path.read_bytes()
    read = json.loads(data)
    assert read["direction"] == "minimize" and fasthpo.SearchSpace.from_dict(read["search_space"]) == SPACE
    assert [one["params"] for one in read["trials"]] == [trial.params for trial in study.trials]


@pytest.mark.parametrize("name", ["trials.csv", "trials.csv.gz"])
def test_csv(name: str, tmp_path: Path) -> None:
    study = nasty()
    path = study.to_csv(tmp_path / name)
    data = gzip.decompress(path.read_bytes()) if name.endswith("gz") else path.read_bytes()
    rows = list(csv.DictReader(data.decode().splitlines(keepends=True)))
    assert len(rows) == len(study)
    for row, trial in zip(rows, study.trials, strict=True):
        assert (int(row["number"]), row["state"]) == (trial.number, trial.state.name)
        assert row["value"] == ("" if trial.value is None else str(trial.value))
        for parameter in SPACE:
            shown = str(trial.params[parameter]) if parameter in trial.params else ""
            if parameter == "mixed" and shown:  # its choices would read alike
                shown = json.dumps(trial.params[parameter])
            assert row[f"params_{parameter}"] == shown.replace("\udcff", "\\udcff")
        assert row["metrics_late, metric"] == ("0.5" if trial.metrics else "")
        reports = {int(step): float(value) for step, value in json.loads(row["reports"]).items()}
        assert repr(reports) == repr(trial.reports)
        assert row["error"] == (trial.error or "").replace("\udcff", "\\udcff")
        assert (row["start_time"] == "") == math.isnan(trial.start_time)


def told_apart(*choices: Any, **when: Any) -> tuple[list[str], list[Any]]:
    """The cells of a CSV table, and of an Arrow table, of a trial with each choice; the last is one without any."""
    space = {"flag": fasthpo.Categorical([True, False]), "c": fasthpo.Categorical(choices, when={"flag": [True]})}
    study = fasthpo.Study(space, sampler=fasthpo.RandomSampler(seed=0))
    study.add_trials(
        {"flag": [True] * len(choices) + [False], "c": [*choices, None]}, [0.5] * (len(choices) + 1)
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as directory:
        with open(study.to_csv(Path(directory) / "t.csv"), newline="") as file:
            cells = [row["params_c"] for row in csv.DictReader(file)]
        read = json.loads(study.to_json(Path(directory) / "t.json").read_text())
    assert [(type(one), one) for one in (t["params"].get("c", ...) for t in read["trials"])] == [
        (type(one), one) for one in (*choices, ...)
    ]
    return cells, study.to_arrow().column("params_c").to_pylist()


ALIKE = [
    (None, "None"), (1, "1"), (1, 1.0, True, "1", "1.0", "True"), ("", "a"), (None, ""), ("b\udcff", "b\\udcff"), (0.5, "0.5"),
    (None, "null", '"null"'), ("=1", "'=1", "''=1"), ("-1", -1), ("\n", "\r", "\t"), (10**30, str(10**30)),
]  # fmt: skip


@pytest.mark.parametrize("choices", ALIKE)
def test_choices_that_would_read_alike_are_told_apart_in_every_table(choices: tuple[Any, ...]) -> None:
    pytest.importorskip("pyarrow")
    for cells in told_apart(*choices):
        assert len(set(cells)) == len(choices) + 1, cells


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", "\n", "'=", "''@"])
def test_no_text_of_a_csv_table_is_a_formula(begin: str, tmp_path: Path) -> None:
    text = f'{begin}HYPERLINK("http://evil","x")'
    study = fasthpo.Study({"c": fasthpo.Categorical([text, "plain", "'quoted'", "-1.5e3", -7])})
    study.tell(study.ask(), state=TrialState.FAILED, error=text)
    study.add_trials({"c": [text, "plain", "'quoted'", "-1.5e3", -7]}, [-0.5] * 5)
    with open(study.to_csv(tmp_path / "t.csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["error"] == f"'{text}"
    assert [row["params_c"] for row in rows[1:]] == [f"'{text}", "plain", "'quoted'", "-1.5e3", "-7"]
    assert {row["value"] for row in rows[1:]} == {"-0.5"}


def test_arrow_and_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    study = nasty()
    table = study.to_arrow()
    kinds = {name.removeprefix("params_"): table.schema.field(name).type for name in table.column_names}
    assert kinds["x"] == pa.float64() and kinds["n"] == pa.int64() and kinds["flag"] == pa.bool_()
    assert kinds["text"] == kinds["mixed"] == kinds["inner none"] == pa.string() and kinds["maybe"] == pa.int64()
    about = json.loads(table.schema.metadata[b"fasthpo"])
    assert fasthpo.SearchSpace.from_dict(about["search_space"]) == SPACE
    for row, trial in zip(table.to_pylist(), study.trials, strict=True):
        assert (row["number"], row["state"], row["value"]) == (trial.number, trial.state.name, trial.value)
        for name in ("x", "n", "flag", "maybe", "inner"):
            assert row[f"params_{name}"] == trial.params.get(name)
        text = trial.params.get("text")
        assert row["params_text"] == (None if text is None else text.replace("\udcff", "\\udcff"))
        for name in ("mixed", "inner none"):
            assert row[f"params_{name}"] == (json.dumps(trial.params[name]) if name in trial.params else None)
        assert repr({one["step"]: one["value"] for one in row["reports"]}) == repr(trial.reports)
        assert row["metrics_late, metric"] == trial.metrics.get("late, metric")
        assert (row["error"] is None) == (trial.error is None)
        if row["start_time"] is not None:
            assert abs(row["start_time"].timestamp() - trial.start_time) < 1e-6
    read = parquet.read_table(study.to_parquet(tmp_path / "trials.parquet"))
    assert read.to_pylist() != [] and read.schema.metadata[b"fasthpo"] == table.schema.metadata[b"fasthpo"]
    assert repr(read.to_pylist()) == repr(table.to_pylist())


def test_rungs_and_resources_are_exported(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    study = make("random", "none", "asha")
    for i in range(20):
        step(study, i)
    run(study, study.ask())
    rows = study.to_arrow().to_pylist()
    lines = list(csv.DictReader(study.to_csv(tmp_path / "t.csv").read_text().splitlines(keepends=True)))
    for row, line, trial in zip(rows, lines, study.trials, strict=True):
        assert row["resource"] == trial.resource
        assert {one["resource"]: one["value"] for one in row["rungs"]} == trial.rungs
        assert line["resource"] == ("" if trial.resource is None else str(trial.resource))
        assert {int(r): float(v) for r, v in json.loads(line["rungs"]).items()} == trial.rungs


def test_an_empty_study_has_an_empty_table(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    study = fasthpo.Study(SPACE)
    assert study.to_arrow().num_rows == 0
    assert len(study.to_csv(tmp_path / "t.csv").read_text().splitlines()) == 1


def test_what_is_missing_is_named() -> None:
    code = (
        "import sys, fasthpo\nsys.modules['pyarrow'] = None\n"
        "s = fasthpo.Study({'x': fasthpo.Continuous(0, 1)})\n"
        "for call in (s.to_arrow, lambda: s.to_parquet('x.parquet')):\n"
        "    try: call()\n"
        "    except fasthpo.MissingPackage as error: print(error)\n"
        "    else: raise SystemExit(1)\n"
    )
    ran: Any = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0 and ran.stdout.count("pip install 'fasthpo[arrow]'") == 2, ran.stderr


# --- several objectives, and constraints


def test_values_and_constraints_are_columns(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    for kind in VECTORS:
        study = make_vectors(kind)
        for i in range(9):
            step_vectors(study, i)
        m = len(study.directions)
        names = [f"values_{j}" for j in range(m)] if m > 1 else ["value"]
        with open(study.to_csv(tmp_path / "study.csv"), newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        table = study.to_arrow()
        about = json.loads(table.schema.metadata[b"fasthpo"])
        assert about.get("directions", [about.get("direction")]) == list(study.directions)
        for trial, row, arrow in zip(study.trials, rows, table.to_pylist(), strict=True):
            values, constraints = trial.objective_values() or [None] * m, trial.constraints or [None, None]
            assert json.loads(row["reports"]) == {
                str(step): json.loads(json.dumps(value).replace("NaN", '"NaN"'))
                for step, value in trial.reports.items()
            }
            for name, value in zip([*names, "constraints_0", "constraints_1"], [*values, *constraints], strict=True):
                assert row[name] == ("" if value is None else str(value))
                assert arrow[name] == value
        assert not any(name.startswith("values_") for name in table.schema.names) or m > 1
    assert pa


def test_an_empty_study_of_several_objectives_has_an_empty_table(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    study = make_vectors("several")
    assert study.to_arrow().num_rows == 0
    assert study.to_csv(tmp_path / "study.csv").read_text().startswith("number,state,values_0,values_1,values_2,")


def test_values_and_constraints_are_in_json(tmp_path: Path) -> None:
    study = make_vectors("several")
    for i in range(9):
        step_vectors(study, i)
    content = json.loads(study.to_json(tmp_path / "study.json").read_text())
    assert content["directions"] == ["minimize", "maximize", "minimize"] and "direction" not in content
    for trial, record in zip(study.trials, content["trials"], strict=True):
        values = trial.objective_values()
        assert "value" not in record
        assert record["values"] == (
            None if values is None else [float(v) if abs(v) < math.inf else "-Infinity" for v in values]
        )
        assert record["constraints"] == (None if trial.constraints is None else list(trial.constraints))
    plain = make("random")
    run(plain, plain.ask())
    record = json.loads(plain.to_json(tmp_path / "plain.json").read_text())["trials"][0]
    assert "values" not in record and "constraints" not in record
