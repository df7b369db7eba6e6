"""A study that Optuna and its dashboard are shown while it runs."""

from __future__ import annotations

import gc
import json
import logging
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

import fasthpo
from fasthpo import TrialState

optuna = pytest.importorskip("optuna")

SPACE = {
    "kind": fasthpo.Categorical(["a", "b", None]),
    "x": fasthpo.Continuous(0.0, 1.0),
    "inner": fasthpo.Discrete(1, 9, when={"kind": "b"}),
}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    yield
    optuna.logging.set_verbosity(optuna.logging.INFO)


def study_of(**options: Any) -> fasthpo.Study:
    return fasthpo.Study(SPACE, fasthpo.RandomSampler(seed=0), **options)


def update(study: fasthpo.Study) -> None:
    """What the thread does once a second."""
    (copy,) = study._live_copies
    while not copy.update():
        pass


def read(path: Path) -> list[Any]:
    """The trials of the only study in the file, as another program sees them."""
    backend = optuna.storages.journal.JournalFileBackend(str(path))
    storage = optuna.storages.JournalStorage(backend)
    (summary,) = storage.get_all_studies()
    return optuna.load_study(study_name=summary.study_name, storage=storage).trials  # type: ignore[no-any-return]


def same(trials: list[Any], study: fasthpo.Study) -> None:
    """Both have the same trials, but for what Optuna has no place for."""
    names = {"FAILED": "FAIL", "PAUSED": "RUNNING"}
    assert len(trials) == len(study)
    for theirs, ours in zip(trials, study.trials, strict=True):
        assert theirs.state.name == names.get(ours.state.name, ours.state.name)
        if ours.state != TrialState.WAITING:
            assert repr(theirs.params) == repr(ours.params)
        if ours.state.is_finished:
            assert repr(theirs.values) == repr(
                None if ours.objective_values() is None else list(ours.objective_values())
            )
            assert theirs.datetime_complete.timestamp() == pytest.approx(ours.end_time, abs=1e-5)
            assert {key: theirs.user_attrs[key] for key in ours.metrics} == ours.metrics
            assert tuple(theirs.constraints.values()) == (ours.constraints or ())
        if len(ours.directions) == 1:
            assert repr(dict(sorted(theirs.intermediate_values.items()))) == repr(ours.reports)


def test_all_that_happens_is_shown_as_it_happens(tmp_path: Path) -> None:
    path = tmp_path / "study.log"
    study = study_of(direction="maximize")
    study.tell(study.ask(), 0.5, metrics={"time": 3.0}, constraints=[-1.0])
    theirs = study.to_optuna(path, "mine", live=True)
    assert theirs.study_name == "mine" and theirs.direction.name == "MAXIMIZE"
    update(study)
    study.set_attribute("data", {"version": 3})
    trials = [study.ask() for _ in range(5)]
    for trial in trials:
        trial.report(float("nan"), 3)
        trial.report(0.25, 5)
    waiting = [study.enqueue({"kind": "b"}), study.enqueue({"x": 0.75})]
    update(study)
    same(read(path), study)
    assert theirs.trials[waiting[1]].system_attrs["fixed_params"] == {"x": 0.75}
    trials[0].report(0.5, 1)  # a late one
    trials[1].report(0.5, 7)
    study.tell(trials[0], 1.5, metrics={"time": 2.0}, constraints=[1.0])
    study.tell(trials[1], state=TrialState.PRUNED)
    study.tell(trials[2], float("inf"))
    study.tell(trials[3], state=TrialState.FAILED, error="out of memory")
    assert study.ask().number == waiting[0]
    update(study)
    same(read(path), study)
    shown = read(path)
    assert shown[waiting[0]].params["kind"] == "b" and shown[4].user_attrs["fasthpo:error"] == "out of memory"
    assert theirs.user_attrs["data"] == {"version": 3}
    size = path.stat().st_size
    update(study)
    assert path.stat().st_size == size  # nothing has happened
    study.close()


def test_several_objectives_and_rungs_are_shown(tmp_path: Path) -> None:
    several = study_of(directions=["minimize", "maximize"])
    several.to_optuna(tmp_path / "several", live=True)
    for i in range(5):
        several.tell(several.ask(), [float(i), 0.5])
    running = several.ask()
    running.report([0.5, 0.25], 1)
    several.close()
    same(read(tmp_path / "several"), several)
    halving = fasthpo.Study(SPACE, strategy=fasthpo.ASHA(max_resource=9, sampler=fasthpo.RandomSampler(seed=0)))
    halving.to_optuna(str(tmp_path / "halving"), live=True)
    for i in range(30):
        halving.tell(halving.ask(), float(i % 7))
        if i % 4 == 0:
            update(halving)
    halving.close()
    assert halving.table.counts[TrialState.PAUSED] and halving.table.counts[TrialState.COMPLETE]
    shown = read(tmp_path / "halving")
    same_states = [trial.state.name for trial in shown]
    assert same_states == ["COMPLETE" if t.state == TrialState.COMPLETE else "RUNNING" for t in halving.trials]


def test_the_thread_shows_what_is_new_and_a_study_that_is_gone_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "study.log"
    study = study_of()
    study.to_optuna(path, live=True)
    (copy,) = study._live_copies
    for _ in range(700):  # more than are written at once
        study.tell(study.ask(), 1.0)
    (thread,) = (one for one in threading.enumerate() if one.name == "fasthpo-optuna")
    del study
    gc.collect()
    thread.join(30)
    assert not thread.is_alive() and len(read(path)) == 700
    assert copy._journal.unended == {} and copy._state == {}


KILLED = """
import os, sys, fasthpo
study = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, fasthpo.RandomSampler(seed=0), storage=sys.argv[1])
study.to_optuna(sys.argv[2], live=True)
study.tell(study.ask(), 1.0)
running = study.ask()
running.report(0.5, 1)
study._live_copies[0].update()
study.tell(study.ask(), 2.0)
with open(sys.argv[2], "ab") as file:
    file.write(b'{"op_code": 4, "stu')  # in the middle of a line
os._exit(9)
"""


def test_a_program_that_is_killed_and_goes_on_shows_no_trial_twice(tmp_path: Path) -> None:
    path, directory = tmp_path / "study.log", tmp_path / "study"
    assert subprocess.run([sys.executable, "-c", KILLED, str(directory), str(path)]).returncode == 9
    study = fasthpo.Study.load(directory)
    study.to_optuna(path, live=True)
    again = study.ask()
    assert again.number == 1
    again.report(0.25, 2)
    study.tell(again, 3.0)
    study.tell(study.ask(), 4.0)
    study.close()
    shown = read(path)
    assert [trial.values for trial in shown] == [[1.0], [3.0], [2.0], [4.0]]
    assert shown[1].intermediate_values[2] == 0.25


def test_a_program_that_ends_shows_all(tmp_path: Path) -> None:
    path = tmp_path / "study.log"
    program = KILLED.partition("running =")[0].replace(", storage=sys.argv[1]", "")
    subprocess.run([sys.executable, "-c", program, "", str(path)], check=True)
    assert [trial.values for trial in read(path)] == [[1.0]]


def test_other_programs_may_use_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "study.log"
    lock = optuna.storages.journal.JournalFileOpenLock(str(path))
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path), lock_obj=lock))
    theirs = optuna.create_study(storage=storage, study_name="theirs")
    ours, other = study_of(), study_of()
    for study in (ours, other):
        study.to_optuna(path, live=True)
    gone = optuna.create_study(storage=storage, study_name="gone")
    for i in range(6):
        theirs.optimize(lambda trial: trial.suggest_float("x", 0.0, 1.0), n_trials=1)
        gone.ask()
        trial = ours.ask()
        update(ours)
        other.tell(other.ask(), i)
        update(other)
        trial.report(i, 0)
        ours.tell(trial, -i)
        if i == 3:
            storage.delete_study(gone._study_id)
            gone = theirs
    ours.close()
    other.close()
    for study in (ours, other):
        shown = optuna.load_study(storage=storage, study_name=f"fasthpo-{study._id.hex()[:8]}").trials
        same(shown, study)


def test_trouble_with_the_file_does_not_reach_the_study(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "study.log"
    study = study_of()
    study.to_optuna(path, live=True)
    path.unlink()
    study.tell(study.ask(), 1.0)
    with caplog.at_level(logging.WARNING, "fasthpo"):
        study.close()
    assert "can't be brought up to date, and the study goes on" in caplog.text
    assert not path.exists() and study.best_value == 1.0


def test_what_can_not_be_shown_live_is_refused(tmp_path: Path) -> None:
    study = study_of()
    for storage in (None, "sqlite:///study.db", optuna.storages.InMemoryStorage()):
        with pytest.raises(fasthpo.InvalidValue, match=r"a live copy is kept in a journal file of Optuna's"):
            study.to_optuna(storage, live=True)
    with pytest.raises(fasthpo.InvalidValue, match="live must be"):
        study.to_optuna(tmp_path / "a", live="yes")  # type: ignore[arg-type]
    study.to_optuna(tmp_path / "a", "name", live=True)
    other = study_of()
    with pytest.raises(fasthpo.InvalidValue, match="has another study named 'name'"):
        other.to_optuna(tmp_path / "a", "name", live=True)
    with pytest.raises(OSError):
        study.to_optuna(tmp_path / "missing" / "a", live=True)
    study.close()


def test_the_dashboard_serves_a_study_that_runs(tmp_path: Path) -> None:
    dashboard = pytest.importorskip("optuna_dashboard")
    path = tmp_path / "study.log"
    study = study_of()
    study.to_optuna(path, "shown", live=True)
    for i in range(20):
        study.tell(study.ask(), float(i))
    study.ask().report(0.5, 0)
    update(study)

    class Silent(WSGIRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

    backend = optuna.storages.journal.JournalFileBackend(str(path))
    app = dashboard.wsgi(optuna.storages.JournalStorage(backend))
    with make_server("127.0.0.1", 0, app, handler_class=Silent) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/api/studies"

        def get(url: str) -> Any:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return json.load(answer)

        (summary,) = get(address)["study_summaries"]
        assert summary["study_name"] == "shown"
        shown = get(f"{address}/{summary['study_id']}")
        states = [trial["state"] for trial in shown["trials"]]
        assert states.count("Complete") == 20 and states.count("Running") == 1
        server.shutdown()
    study.close()
