"""The files that a study leaves, and how they are written."""

from __future__ import annotations

import gzip
import json
import math
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthpo.exchange import json_files as export
from fasthpo.exchange.json_files import dump_json, export_study, plain_json, write_history
from fasthpo.samplers.random import RandomSampler
from fasthpo.space.kinds import Categorical, Continuous, Discrete
from fasthpo.space.search_space import SearchSpace
from fasthpo.storage.atomic import atomic_file, write_bytes, write_text
from fasthpo.study.study import Study
from fasthpo.trials.trial import TrialState

SPACE = SearchSpace(
    {
        "rate": Continuous(0.0, 1.0),
        "layers": Discrete(1, 4),
        "optimizer": Categorical(["adam", "sgd", None, True]),
        "momentum": Continuous(0.0, 0.9, when={"optimizer": ["sgd"]}),
    }
)


def strict(text: str | bytes) -> Any:
    """JSON by the standard: Python's reader would take NaN and Infinity as well."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def nasty_study() -> Study:
    study = Study(SPACE, sampler=RandomSampler(seed=1))
    trials = [study.ask() for _ in range(6)]
    trials[0].report(0.5, 3)
    trials[0].report(math.nan, 1)
    trials[1].report(7.0, 0)  # between those of trial 0
    trials[0].report(-math.inf, 2)
    study.tell(trials[0], 1.5, metrics={"accuracy": 0.9, "broken": math.inf})
    study.tell(trials[1], math.inf)
    study.tell(trials[2], math.nan)
    study.tell(trials[3], state=TrialState.FAILED, error='Traceback:\n "ö" \udcff \x00')
    study.tell(trials[4], -2.0)
    study.enqueue({"rate": 0.25})  # the trial waits, and its other parameters are not known
    return study


def test_history_says_what_the_trials_say(tmp_path: Path) -> None:
    study = nasty_study()
    path = write_history(tmp_path, study.table, {"study_name": "s", "direction": "minimize"})
    history = strict(path.read_bytes())
    assert (history["study_name"], history["direction"]) == ("s", "minimize")
    assert SearchSpace.from_dict(history["search_space"]) == SPACE
    assert len(history["trials"]) == len(study) == 7
    for trial, shown in zip(study.trials, history["trials"], strict=True):
        assert shown["number"] == trial.number
        assert shown["state"] == trial.state.name
        assert shown["params"] == trial.params
        assert shown["value"] == plain_json(trial.value)
        assert shown["error"] == trial.error
        assert shown["metrics"] == plain_json(trial.metrics)
        assert list(shown["reports"].items()) == [(str(s), plain_json(v)) for s, v in trial.reports.items()]
    first, *_, running, waiting = history["trials"]
    assert first["reports"] == {"1": "NaN", "2": "-Infinity", "3": 0.5}
    assert first["metrics"] == {"accuracy": 0.9, "broken": "Infinity"}
    assert first["start_time"].endswith("+00:00") and first["duration"] >= 0
    assert history["trials"][1]["value"] == "Infinity"
    assert history["trials"][2]["value"] is None and history["trials"][2]["error"]
    assert (running["state"], running["end_time"], running["duration"]) == ("RUNNING", None, None)
    assert (waiting["state"], waiting["params"], waiting["start_time"]) == ("WAITING", {"rate": 0.25}, None)


def test_history_is_the_same_across_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = nasty_study()
    whole = write_history(tmp_path, study.table, {}).read_bytes()
    for size in (1, 2, 3):
        monkeypatch.setattr(export, "_CHUNK", size)
        assert write_history(tmp_path, study.table, {}).read_bytes() == whole


def test_history_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more trials than a chunk exist as Python objects at once."""
    study = Study({"x": Continuous(0, 1)}, sampler=RandomSampler(seed=0))
    study.tell_batch(study.ask_batch(1000).numbers, [0.0] * 1000)
    monkeypatch.setattr(export, "_CHUNK", 10)
    alive = most = 0

    class Counted(dict):  # type: ignore[type-arg]
        def __init__(self, *content: Any) -> None:
            nonlocal alive, most
            super().__init__(*content)
            alive += 1
            most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    params = export._params
    monkeypatch.setattr(export, "_params", lambda *a: Counted(params(*a)))
    assert len(strict(write_history(tmp_path, study.table, {}).read_bytes())["trials"]) == 1000
    assert 1 <= most <= 10


def test_an_empty_study_has_valid_files(tmp_path: Path) -> None:
    study = Study(SPACE, direction="maximize")
    export_study(tmp_path, study.table, "empty", {"total_trials": 0, "best_value": None})
    assert strict((tmp_path / "trial_history.json").read_bytes())["trials"] == []
    assert strict((tmp_path / "statistics.json").read_bytes()) == {
        "study_name": "empty", "direction": "maximize", "total_trials": 0, "best_value": None,
    }  # fmt: skip
    best = strict((tmp_path / "best_parameters.json").read_bytes())
    assert best["params"] is best["value"] is best["number"] is None


def test_best_parameters(tmp_path: Path) -> None:
    study = nasty_study()
    export_study(tmp_path, study.table, "s", {"total_duration": math.inf, "average_trial_duration": math.nan})
    assert strict((tmp_path / "best_parameters.json").read_bytes()) == {
        "study_name": "s", "direction": "minimize", "number": 4, "value": -2.0,
        "params": study.best_params, "metrics": {},
    }  # fmt: skip
    statistics = strict((tmp_path / "statistics.json").read_bytes())
    assert (statistics["total_duration"], statistics["average_trial_duration"]) == ("Infinity", "NaN")


def test_compressed_history_replaces_the_plain_one_and_back(tmp_path: Path) -> None:
    study = nasty_study()
    plain = write_history(tmp_path, study.table, {}).read_bytes()
    packed = write_history(tmp_path, study.table, {}, compress=True)
    assert [path.name for path in tmp_path.iterdir()] == ["trial_history.json.gz"]
    assert gzip.decompress(packed.read_bytes()) == plain
    first = packed.read_bytes()
    assert write_history(tmp_path, study.table, {}, compress=True).read_bytes() == first  # no time inside
    write_history(tmp_path, study.table, {})
    assert [path.name for path in tmp_path.iterdir()] == ["trial_history.json"]


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=20,
)


@given(json_values)
def test_whatever_the_values_it_is_json(value: Any) -> None:
    def expected(one: Any) -> Any:
        if isinstance(one, float) and math.isnan(one):
            return "NaN"
        if isinstance(one, float) and math.isinf(one):
            return "Infinity" if one > 0 else "-Infinity"
        if isinstance(one, dict):
            return {name: expected(inner) for name, inner in one.items()}
        return [expected(inner) for inner in one] if isinstance(one, list) else one

    assert strict(dump_json(value)) == expected(value)
    assert strict(dump_json(value, indent=2)) == expected(value)


# --- atomic files


def test_write_makes_directories_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file.bin"
    write_bytes(path, b"one")
    write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    write_text(path, "drei ö")
    assert path.read_bytes() == "drei ö".encode()
    assert [found.name for found in path.parent.iterdir()] == ["file.bin"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    with pytest.raises(error), atomic_file(path) as file:
        file.write(b"half")
        assert path.read_bytes() == b"old"
        raise error
    assert path.read_bytes() == b"old"
    assert [found.name for found in tmp_path.iterdir()] == ["file.bin"]


def test_a_failed_replace_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError("in use")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError, match="in use"):
        write_bytes(tmp_path / "file.bin", b"new")
    assert list(tmp_path.iterdir()) == []


def test_data_is_synced_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda *a: (calls.append("fsync"), sync(*a))[1])
    monkeypatch.setattr(os, "replace", lambda *a: (calls.append("replace"), replace(*a))[1])
    write_bytes(tmp_path / "file.bin", b"new")
    assert calls[:2] == ["fsync", "replace"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_files_get_the_permissions_of_any_other_file(tmp_path: Path) -> None:
    write_bytes(tmp_path / "ours", b"")
    (tmp_path / "usual").write_bytes(b"")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ours", "usual")}
    assert len(modes) == 1
