"""Times of trials, whatever becomes of the system clock."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo import RandomSampler, Study, TrialState
from fasthpo.trials.trial import Trial
from fasthpo.tuner.results import StudyStatistics, busy_seconds
from tests.support.tuning import SPACE, make

HOUR = 3600.0
EPOCH = 1.8e9  # the time at which these tests take place


class Clocks:
    """The system clock, which can be set, and the monotonic one, which can't."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.offset = 0.0

    def run(self, seconds: float) -> None:
        """So much time passes."""
        self.passed += seconds

    def set(self, seconds: float) -> None:
        """The system clock is set forward by so much."""
        self.offset += seconds

    def system(self) -> float:
        return EPOCH + self.passed + self.offset


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    made = Clocks()
    monkeypatch.setattr("time.time", made.system)
    monkeypatch.setattr("time.monotonic", lambda: made.passed)
    return made


def study(**options: Any) -> Study:
    return Study(SPACE, sampler=RandomSampler(seed=0), **options)


def durations(of: Study) -> list[float]:
    return [trial.duration for trial in of.trials]


def test_times_are_those_of_the_system_clock(clocks: Clocks) -> None:
    s = study()
    clocks.run(10.0)
    trial = s.ask()
    clocks.run(5.0)
    s.tell(trial, 1.0)
    assert (trial.start_time, trial.end_time, trial.duration) == (EPOCH + 10.0, EPOCH + 15.0, 5.0)


@pytest.mark.parametrize("jump", [-HOUR, HOUR, -(10.0**9)])
def test_a_clock_that_is_set_changes_no_duration(clocks: Clocks, jump: float) -> None:
    s = study()
    first, second = s.ask(), s.ask()
    clocks.run(5.0)
    clocks.set(jump)
    clocks.run(5.0)
    s.tell(first, 1.0)
    third = s.ask()  # while another runs
    clocks.run(1.0)
    s.tell(second, state=TrialState.FAILED)
    clocks.set(-jump)
    s.tell(third, state=TrialState.PRUNED)
    assert durations(s) == [10.0, 11.0, 1.0]
    assert StudyStatistics.of(s, 0.0).average_trial_duration == pytest.approx(22.0 / 3)
    assert busy_seconds(s.table) == pytest.approx(11.0)


def test_after_a_sleep_trials_start_at_the_time_of_the_day(clocks: Clocks) -> None:
    """While the machine sleeps the system clock goes on, and the monotonic one does not."""
    s = study()
    first = s.ask()
    clocks.run(1.0)
    clocks.set(8 * HOUR)
    clocks.run(1.0)
    s.tell(first, 1.0)
    second = s.ask()
    s.tell(second, 1.0)
    assert first.duration == 2.0 and second.start_time == clocks.system()


def test_times_never_go_back(clocks: Clocks) -> None:
    s = study()
    for jump in (0.0, HOUR, -HOUR, -HOUR, 3 * HOUR, -24 * HOUR):
        clocks.set(jump)
        trial = s.ask()
        clocks.run(1.0)
        s.tell(trial, 1.0)
    times = [time for trial in s.trials for time in (trial.start_time, trial.end_time)]
    assert times == sorted(times) and durations(s) == [1.0] * 6
    assert busy_seconds(s.table) == pytest.approx(6.0)


def test_batches_and_known_results(clocks: Clocks) -> None:
    s = study()
    batch = s.ask_batch(3)
    clocks.set(-HOUR)
    clocks.run(2.0)
    s.tell_batch(batch.numbers, [1.0, 2.0, math.nan])
    s.add_trials({"x": [0.0], "rate": [1e-3]}, [1.0])
    assert durations(s) == [2.0, 2.0, 2.0, 0.0]


def test_legs_between_rungs(clocks: Clocks) -> None:
    s = Study(SPACE, strategy=fasthpo.SuccessiveHalving(2, 1, 2, RandomSampler(seed=0)))
    first, second = s.ask(), s.ask()
    clocks.set(-HOUR)
    clocks.run(3.0)
    s.tell(first, 1.0)
    s.tell(second, 2.0)
    clocks.set(-HOUR)
    clocks.run(100.0)
    assert s.ask() == first
    clocks.set(HOUR)
    clocks.run(4.0)
    s.tell(first, 1.0)
    assert first.duration == 7.0 and first.end_time - first.start_time == 107.0


@pytest.mark.parametrize("back", [60.0, 26 * HOUR, 10.0**8])
def test_a_study_goes_on_where_the_clock_is_behind(clocks: Clocks, tmp_path: Path, back: float) -> None:
    with study(storage=tmp_path / "s") as s:
        s.tell(s.ask(), 1.0)
        clocks.run(10.0)
        trial = s.ask()
        clocks.run(10.0)
        s.tell(trial, 1.0)
        s.ask()
    clocks.set(-back)
    with Study.load(tmp_path / "s", interrupted="fail") as s:
        trial = s.ask()
        clocks.run(10.0)
        s.tell(trial, 1.0)
        assert durations(s) == [0.0, 10.0, 0.0, 10.0]
        assert busy_seconds(s.table) == pytest.approx(20.0)
    assert durations(Study.load(tmp_path / "s", read_only=True)) == [0.0, 10.0, 0.0, 10.0]


def test_durations_that_were_kept_negative_count_as_none(tmp_path: Path) -> None:
    """As versions wrote them that went by the system clock, and as Optuna does when summer time ends."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    other = optuna.create_study()
    distribution = optuna.distributions.FloatDistribution(0.0, 1.0)
    other.add_trial(
        optuna.trial.FrozenTrial(
            number=0, trial_id=0, state=optuna.trial.TrialState.COMPLETE, value=1.0, values=None, params={"x": 0.5},
            distributions={"x": distribution}, datetime_start=datetime(2026, 10, 25, 2, 59),
            datetime_complete=datetime(2026, 10, 25, 2, 1), user_attrs={}, system_attrs={}, intermediate_values={},
        )
    )  # fmt: skip
    s = Study.from_optuna(other)
    assert s.trials[0].duration == 0.0 and StudyStatistics.of(s, 0.0).average_trial_duration == 0.0
    assert '"duration": 0.0' in s.to_json(tmp_path / "s.json").read_text()


@pytest.mark.parametrize("strategy", ["random", "hyperband"])
def test_a_tuners_durations_and_limits(clocks: Clocks, strategy: str) -> None:
    jumps = iter(np.resize([HOUR, -2 * HOUR, 5 * HOUR, -30.0], 1000).tolist())

    def objective(trial: Trial) -> float:
        clocks.run(1.0)
        clocks.set(next(jumps))
        clocks.run(1.0)
        return 1.0

    made: Callable[..., Any] = make
    if strategy == "hyperband":

        def made(_: None, **options: Any) -> fasthpo.HyperparameterTuner:
            config = fasthpo.TunerConfig("s", seed=0, **options)
            return fasthpo.HyperparameterTuner.with_hyperband(config, SPACE, max_resource=9)

    result = made(None, max_duration=25.0).optimize(objective)
    assert result.stop_reason == "max_duration" and result.total_duration == pytest.approx(26.0)
    assert sum(trial.duration for trial in result.trials) == pytest.approx(26.0)
    assert min(trial.duration for trial in result.trials) >= 2.0


def test_a_resumed_tuners_total_duration(clocks: Clocks, tmp_path: Path) -> None:
    def objective(trial: Trial) -> float:
        clocks.run(10.0)
        clocks.set(-HOUR)
        return 1.0

    config = {"output_dir": tmp_path, "save_checkpoints": True}
    make(3, **config).optimize(objective)
    result = make(6, **config).load_checkpoint(tmp_path / "s").optimize(objective)
    assert result.total_duration == pytest.approx(60.0)
    again = make(6, **config).load_checkpoint(tmp_path / "s").optimize(objective)
    assert again.total_duration == pytest.approx(60.0)


@pytest.mark.parametrize("wrong", [-1.0, -1e12, math.nan, math.inf, -math.inf, 253402300799.0, 1e300])
@pytest.mark.parametrize("when", ["from the beginning", "later", "when it is loaded"])
def test_a_clock_that_tells_no_time_of_this_world_does_not_keep_a_study_from_being_loaded(
    wrong: float, when: str, clocks: Clocks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def break_clock() -> None:
        monkeypatch.setattr("time.time", lambda: wrong)

    if when == "from the beginning":
        break_clock()
    kept = study(storage=tmp_path / "study", strategy=None)
    for i in range(3):
        clocks.run(10.0)
        trial = kept.ask()
        if i == 1 and when == "later":
            break_clock()
        clocks.run(10.0)
        kept.tell(trial, 1.0)
    for end in ("journal", "checkpoint"):
        if end == "checkpoint":
            kept.close()
        assert durations(Study.load(tmp_path / "study", read_only=True)) == [10.0] * 3
    break_clock()
    with Study.load(tmp_path / "study") as loaded:
        before = loaded.table.latest_time
        clocks.run(5.0)
        loaded.tell(loaded.ask(), 1.0)
        assert loaded.trials[3].start_time >= before
        loaded.to_json(tmp_path / "study.json")
        loaded.to_csv(tmp_path / "study.csv")
        assert StudyStatistics.of(loaded, 1.0).average_trial_duration == 7.5
    assert len(Study.load(tmp_path / "study", read_only=True)) == 4
