"""Schedules of parameters: of a lineage, as JSON, and where there are none."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

import fasthpo
from fasthpo import InvalidValue, Schedule, SchedulePiece
from tests.support.population import make, run

SPACE = {"x": fasthpo.Continuous(0.0, 1.0)}


def test_a_schedule_follows_the_weights_from_trial_to_trial(tmp_path: Path) -> None:
    study = make(population=8, max_resource=24, quantile=0.5)
    run(study)
    for trial in study.trials:
        schedule = study.schedule(trial.number)
        assert schedule[0].start == 0 and schedule[-1].end == max(trial.rungs) and schedule[-1].trial == trial.number
        for before, after in itertools.pairwise(schedule):
            child = study.trials[after.trial]
            assert (child.parent, child.fork_step, before.end) == (before.trial, after.start, after.start)
        assert all(piece.params == study.trials[piece.trial].params for piece in schedule)
        assert schedule.at(0) == schedule[0].params and schedule.at(99) == trial.params
        again = Schedule.from_json(schedule.to_json(tmp_path / "schedule.json"))
        assert again == schedule
    assert max(len(study.schedule(trial)) for trial in study.trials) > 2
    assert study.schedule() == study.schedule(study.best_trial)


def test_trials_of_other_strategies_have_one_piece_or_none() -> None:
    halving = fasthpo.Study(SPACE, strategy=fasthpo.SuccessiveHalving(9, sampler=fasthpo.RandomSampler(seed=0)))
    trial = halving.ask()
    with pytest.raises(InvalidValue, match="trial 0 has no schedule"):
        halving.schedule(trial)
    halving.tell(trial, 1.0)
    assert list(halving.schedule(trial)) == [SchedulePiece(0, 1, 0, trial.params)]
    plain = fasthpo.Study(SPACE)
    with pytest.raises(fasthpo.NoCompletedTrials):
        plain.schedule()
    plain.tell(plain.ask(), 0.5)
    with pytest.raises(InvalidValue, match="trial 0 has no schedule"):
        plain.schedule()
    with pytest.raises(fasthpo.FastHPOError, match="no trial 7"):
        plain.schedule(7)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": "other", "version": 1, "pieces": []}',
             '{"format": "fasthpo-schedule", "version": 1, "pieces": []}',
             '{"format": "fasthpo-schedule", "version": 1, "pieces": [{"start": 1, "end": 2, "trial": 0, "params": {}}]}',
             '{"format": "fasthpo-schedule", "version": 1, "pieces": [{"start": 0, "end": -2, "trial": 0, "params": {}}]}'],
)  # fmt: skip
def test_files_that_hold_no_schedule_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text(text)
    with pytest.raises(InvalidValue, match=r"file: .*schedule") as caught:
        Schedule.from_json(tmp_path / "file")
    assert "Error(" not in str(caught.value)  # of another library


def test_tables_have_the_lineage(tmp_path: Path) -> None:
    study = make()
    run(study)
    study.to_json(tmp_path / "study.json")
    records = json.loads((tmp_path / "study.json").read_text())["trials"]
    rows = [(r["member"], r["generation"], r["parent"], r["fork_step"]) for r in records]
    assert rows == [(t.member, t.generation, t.parent, t.fork_step) for t in study.trials]
    head, *lines = (study.to_csv(tmp_path / "study.csv")).read_text().splitlines()
    assert ",member,generation,parent,fork_step," in head and len(lines) == len(study)
    arrow = pytest.importorskip("pyarrow") and study.to_arrow()
    assert arrow.column("parent").to_pylist() == [t.parent for t in study.trials]
