"""What may be read of a study while another thread asks, reports and tells."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import fasthpo
from fasthpo.tuner.results import StudyStatistics


@pytest.fixture(autouse=True)
def _often_in_turns() -> Iterator[None]:
    """Threads take turns at almost every step, so that what can come between two of them does."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


READS: dict[str, Callable[[fasthpo.Study, Path], object]] = {
    "metrics": lambda study, path: study.trials[0].metrics,
    "reports": lambda study, path: [trial.reports for trial in study.trials[-3:]],
    "errors": lambda study, path: [trial.error for trial in study.trials[-3:]],
    "handles": lambda study, path: [repr(trial) for trial in study.trials[-3:]],
    "times": lambda study, path: [(trial.duration, trial.end_time) for trial in study.trials[-3:]],
    "rungs": lambda study, path: [(trial.rungs, trial.start_resource) for trial in study.trials[-3:]],
    "columns": lambda study, path: (dict(study.columns), study.values.sum(), study.states.sum()),
    "best": lambda study, path: (repr(study), study.best_params if study.table.best_number is not None else None),
    "attributes": lambda study, path: study.attributes,
    "resource": lambda study, path: (study.resource_spent, study.resource_committed),
    "statistics": lambda study, path: StudyStatistics.of(study, 1.0),
    "summary": lambda study, path: study.strategy and study.strategy.summary(),
    "JSON": lambda study, path: study.to_json(path / "study.json"),
    "CSV": lambda study, path: study.to_csv(path / "study.csv"),
    "checkpoint": lambda study, path: study.save(path / "study.msgpack"),
}


@pytest.mark.parametrize("read", READS)
def test_all_that_is_read_of_a_study_may_be_read_while_another_thread_tells(read: str, tmp_path: Path) -> None:
    study = fasthpo.Study(
        {"x": fasthpo.Continuous(0.0, 1.0)},
        strategy=fasthpo.Hyperband(9, sampler=fasthpo.RandomSampler(seed=0), asynchronous=True),
    )
    study.tell(study.ask(), 0.5, metrics={"first": 1.0})
    running, done, wrong = [study.ask() for _ in range(5)], threading.Event(), []

    def tell() -> None:
        try:
            for i in range(250):
                running.append(study.ask())
                running[-1].report(0.5, i)
                trial, kinds = running.pop(0), {f"{i}-{k}": float(k) for k in range(3)}
                if i % 7:
                    study.tell(trial, 0.1 * (i % 5), metrics=kinds)
                else:
                    study.tell(trial, state=fasthpo.TrialState.FAILED, metrics=kinds, error=f"error {i}")
                study.set_attribute(f"at {i}", i)
        except Exception as error:
            wrong.append(error)
        finally:
            done.set()

    teller = threading.Thread(target=tell)
    teller.start()
    try:
        while not done.is_set():
            READS[read](study, tmp_path)
    finally:
        teller.join()
    assert not wrong
    READS[read](study, tmp_path)
