"""A checkpoint takes the place of what was there only after it was read back and found to hold the whole study."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest

import fasthpo
from fasthpo.storage import directory_store
from fasthpo.storage import snapshot_writer as snapshot
from fasthpo.study import study as study_module
from fasthpo.trials.frozen import Columns, Frozen
from tests.support.studies import content, load, make, run, step

Write = Callable[..., Columns]


def _cut(file: BinaryIO) -> None:
    file.flush()
    os.truncate(file.name, os.path.getsize(file.name) - 7)


def _longer(file: BinaryIO) -> None:
    file.write(b"\0")


def _flipped(file: BinaryIO) -> None:
    file.seek(-30, os.SEEK_END)
    file.write(b"\x55")
    file.seek(0, os.SEEK_END)


def damaged(by: Callable[[BinaryIO], None]) -> Write:
    def write(file: BinaryIO, *arguments: Any) -> Columns:
        columns = snapshot.write_snapshot(file, *arguments)
        by(file)
        return columns

    return write


def replaced(change: Callable[[Columns], Columns]) -> Write:
    """Writes something else than what it says it has written, of which each sum is right."""

    def write(file: BinaryIO, frozen: Frozen, head: Any) -> Columns:
        right = frozen.columns()
        columns = change(frozen.columns())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(frozen, "columns", lambda: columns)
            snapshot.write_snapshot(file, frozen, head)
        return right

    return write


def _changed(column: Any, i: int, value: Any) -> Any:
    changed = column.copy()
    changed[i] = value
    return changed


def _other_report(columns: Columns) -> Columns:
    reports = columns.reports
    return columns._replace(reports={**reports, "value": _changed(reports["value"], 3, -1.0)})


def _other_leg(columns: Columns) -> Columns:
    return columns._replace(segments={**columns.segments, "value": _changed(columns.segments["value"], 3, -1.0)})


def _other_value(columns: Columns) -> Columns:
    return columns._replace(trials={**columns.trials, "values": _changed(columns.trials["values"], 2, -1.0)})


WRITES: dict[str, Write] = {
    "cut": damaged(_cut),
    "longer": damaged(_longer),
    "flipped": damaged(_flipped),
    "other value": replaced(_other_value),
    "other report": replaced(_other_report),
    "other leg": replaced(_other_leg),
    "other order": replaced(lambda columns: columns._replace(tell_order=columns.tell_order[::-1])),
    "no error": replaced(lambda columns: columns._replace(errors=dict.fromkeys(columns.errors, ""))),
}


def _begun(where: Path) -> fasthpo.Study:
    study = make("random", "median", "asha", storage=where, durability="system")
    for i in range(22):
        step(study, i)
    return study


@pytest.mark.parametrize("how", WRITES)
def test_a_checkpoint_that_is_not_what_was_to_be_written_replaces_nothing(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    study = _begun(tmp_path / "study")
    copy = study.save(tmp_path / "copy.msgpack")
    before = copy.read_bytes()
    for module in (directory_store, study_module):
        monkeypatch.setattr(module, "write_snapshot", WRITES[how])
    with pytest.raises(fasthpo.StorageError, match="read back"):
        study.compact()
    with pytest.raises(fasthpo.StorageError, match="read back"):
        study.save(copy)
    assert copy.read_bytes() == before
    mine = study._state.store
    assert mine is not None
    mine._compact_at = 0
    study.ask()  # starts one in the background
    with mine._idle:
        mine.wait()
    assert "is tried again later" in caplog.text
    trial = study.ask()
    run(study, trial)
    seen = content(study)
    assert content(load(tmp_path / "study")) == seen
    study.close()
    assert "read back" in caplog.records[-1].getMessage()
    assert content(load(tmp_path / "study")) == seen
    assert not (tmp_path / "study" / "checkpoint.msgpack").exists()
    assert not list(tmp_path.rglob("*.tmp"))


def _told_less(study: fasthpo.Study) -> None:
    study.table._told -= 1


def _runs_again(study: fasthpo.Study) -> None:
    study.table._states[study.table.tell_order[-1]] = fasthpo.TrialState.RUNNING


def _shorter(study: fasthpo.Study) -> None:
    """All of it makes sense, but it is less than the files have."""
    for name in ("_length", "_told"):
        setattr(study.table, name, 0)
    study.table.reports = type(study.table.reports)()
    study.table.segments = type(study.table.segments)()
    study._state.history.waiting.clear()


def _of_no_trial(study: fasthpo.Study) -> None:
    study.table._tell_order[0] = len(study.table) + 5


def _outside(study: fasthpo.Study) -> None:
    study.table._params[0, 1] = 99.0


def _drawn_again(study: fasthpo.Study) -> None:
    study._state.history.next_draw = 0


def _waits_twice(study: fasthpo.Study) -> None:
    study._state.history.waiting.extend([0, 0])


def _long_column(study: fasthpo.Study) -> None:
    study.table._values = np.zeros(1)


@pytest.mark.parametrize(
    "spoil",
    [_told_less, _runs_again, _shorter, _of_no_trial, _outside, _drawn_again, _waits_twice, _long_column],
)
def test_a_study_that_makes_no_sense_does_not_replace_its_journal(
    spoil: Callable[[fasthpo.Study], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As calls that were broken off used to leave it."""
    study = _begun(tmp_path)
    seen = content(study)
    spoil(study)
    with pytest.raises(fasthpo.StorageError, match="checkpoint"):
        study.compact()
    study.close()
    assert caplog.records[-1].levelname == "WARNING"
    assert content(load(tmp_path)) == seen


def test_reading_back_takes_no_second_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tracemalloc

    monkeypatch.setattr(snapshot, "GROUP", 500)
    space = {f"x{i}": fasthpo.Continuous(0, 1) for i in range(10)}
    study = fasthpo.Study(space, sampler=fasthpo.RandomSampler(seed=0))
    n = 20_000
    study.add_trials({name: np.linspace(0, 1, n) for name in space}, np.linspace(0, 1, n))
    peaks = []
    for check in (study_module.check_written, lambda *_: None):
        monkeypatch.setattr(study_module, "check_written", check)
        tracemalloc.start()
        study.save(tmp_path / "copy.msgpack")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[0] < peaks[1] + 1_000_000  # of 2.5 MB that the trials take
