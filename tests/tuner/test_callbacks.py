"""The hooks of a run: which, when, and with what."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fasthpo.errors import InvalidValue, TrialPruned
from fasthpo.space.kinds import Continuous
from fasthpo.trials.trial import Trial, TrialResult, TrialState
from fasthpo.tuner.callbacks import HyperparameterCallback, LoggingCallback
from fasthpo.tuner.config import PruningConfig, TunerConfig
from fasthpo.tuner.tuner import HyperparameterTuner

SPACE = {"x": Continuous(0.0, 1.0)}


class Recorder(HyperparameterCallback):
    """Writes down every call, and the state that the trial had then."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def on_study_start(self, config: TunerConfig) -> None:
        self.calls.append(("study_start", config.study_name))

    def on_trial_start(self, trial: Trial) -> None:
        assert trial.state == TrialState.RUNNING
        self.calls.append(("start", trial.number))

    def on_new_best(self, trial: Trial, improvement: float) -> None:
        assert trial.state == TrialState.COMPLETE
        self.calls.append(("best", trial.number, improvement))

    def on_trial_complete(self, trial: Trial) -> None:
        assert trial.state == TrialState.COMPLETE
        self.calls.append(("complete", trial.number))

    def on_trial_pruned(self, trial: Trial, reason: str) -> None:
        assert trial.state == TrialState.PRUNED
        self.calls.append(("pruned", trial.number, reason))

    def on_trial_failed(self, trial: Trial, error: str) -> None:
        assert trial.state == TrialState.FAILED
        self.calls.append(("failed", trial.number, error))

    def on_study_end(self, config: TunerConfig, statistics: Any) -> None:
        self.calls.append(("study_end", statistics.total_trials))

    def of(self, *kinds: str) -> list[tuple[Any, ...]]:
        return [call for call in self.calls if call[0] in kinds]


def tuner(n: int, recorder: HyperparameterCallback | None = None, **config: Any) -> HyperparameterTuner:
    made = HyperparameterTuner.with_random_search(TunerConfig("s", max_trials=n, seed=0, **config), SPACE)
    return made.remove_callback(LoggingCallback) if recorder is None else made.add_callback(recorder)


def script(*steps: Any) -> Callable[[Trial], Any]:
    """An objective that for trial k returns, or raises, step k."""

    def objective(trial: Trial) -> Any:
        step = steps[trial.number]
        if isinstance(step, BaseException):
            raise step
        return step

    return objective


def test_order_and_arguments() -> None:
    recorder = Recorder()
    values = [3.0, 1.0, TrialResult.failure("no luck"), TrialPruned("too slow"), 2.0]
    tuner(5, recorder).optimize(script(*values))
    assert recorder.calls == [
        ("study_start", "s"),
        ("start", 0), ("best", 0, math.inf), ("complete", 0),
        ("start", 1), ("best", 1, 2.0), ("complete", 1),
        ("start", 2), ("failed", 2, "no luck"),
        ("start", 3), ("pruned", 3, "too slow"),
        ("start", 4), ("complete", 4),
        ("study_end", 5),
    ]  # fmt: skip


def test_new_best_when_maximizing_is_a_positive_amount() -> None:
    recorder = Recorder()
    tuner(4, recorder, direction="maximize").optimize(script(1.0, 3.5, 2.0, 3.5))
    assert recorder.of("best") == [("best", 0, math.inf), ("best", 1, 2.5)]


def test_infinite_values_complete_but_are_never_new_bests() -> None:
    recorder = Recorder()
    tuner(4, recorder).optimize(script(math.inf, -math.inf, 5.0, 5.0))
    assert recorder.of("best") == [("best", 2, math.inf)]
    assert len(recorder.of("complete")) == 4


def test_pruning_says_where_and_by_what() -> None:
    recorder = Recorder()

    def objective(trial: Trial) -> float:
        for step in range(5):
            trial.report(float(trial.number), step)
            if trial.should_prune():
                raise TrialPruned
        return float(trial.number)

    tuner(3, recorder, pruning=PruningConfig(min_steps=2, n_startup_trials=2)).optimize(objective)
    assert recorder.of("pruned") == [("pruned", 2, "at step 2, by MedianPruner")]
    recorder = Recorder()
    tuner(1, recorder).optimize(script(TrialPruned()))
    assert recorder.of("pruned") == [("pruned", 0, "before its first report, by the objective")]


def test_no_false_new_best_after_a_resume(tmp_path: Path) -> None:
    first = tuner(2, output_dir=tmp_path, save_checkpoints=True)
    first.optimize(script(5.0, 1.0))
    recorder = Recorder()
    second = tuner(5, recorder, output_dir=tmp_path, save_checkpoints=True)
    second.load_checkpoint(tmp_path / "s").optimize(script(None, None, 3.0, 1.0, 0.75))
    assert recorder.of("best") == [("best", 4, 0.25)]


def test_no_new_best_for_a_tie_of_a_trial_with_a_lower_number(tmp_path: Path) -> None:
    made = tuner(3)
    made.study.ask()  # number 0 runs when the study is saved, and is asked again after
    trial = made.study.ask()
    made.study.tell(trial, 1.0)
    made.study.save(tmp_path / "c.msgpack")
    recorder = Recorder()
    resumed = tuner(3, recorder).load_checkpoint(tmp_path / "c.msgpack")
    result = resumed.optimize(script(1.0, None, 1.0))
    assert recorder.of("start") == [("start", 0), ("start", 2)]
    assert result.best_trial.number == 0
    assert recorder.of("best") == []


def test_callbacks_in_the_order_added_and_removal() -> None:
    order: list[str] = []

    class Named(HyperparameterCallback):
        def __init__(self, name: str) -> None:
            self.name = name

        def on_trial_start(self, trial: Trial) -> None:
            order.append(self.name)

    class Other(HyperparameterCallback):
        def on_trial_start(self, trial: Trial) -> None:
            order.append("other")

    one, two = Named("one"), Named("two")
    made = tuner(1)
    assert made.add_callback(one).add_callback(Other()).add_callback(two) is made
    made.optimize(script(1.0))
    assert order == ["one", "other", "two"]
    made.remove_callback(one).remove_callback(Other)
    with pytest.raises(InvalidValue, match="no callback"):
        made.remove_callback(one)
    with pytest.raises(InvalidValue, match="no callback"):
        made.remove_callback(LoggingCallback)
    made.remove_callback(Named)
    assert made._callbacks == []


@pytest.mark.parametrize("wrong", [None, print, Recorder])
def test_only_instances_of_callbacks_are_taken(wrong: Any) -> None:
    with pytest.raises(InvalidValue, match="must be an instance of HyperparameterCallback"):
        tuner(1).add_callback(wrong)


@pytest.mark.parametrize(
    ("hook", "trials", "states"),
    [
        ("on_study_start", 0, []),
        ("on_trial_start", 2, ["COMPLETE", "FAILED"]),
        ("on_new_best", 2, ["COMPLETE", "COMPLETE"]),
        ("on_trial_complete", 2, ["COMPLETE", "COMPLETE"]),
        ("on_trial_failed", 3, ["COMPLETE", "COMPLETE", "FAILED"]),
        ("on_trial_pruned", 4, ["COMPLETE", "COMPLETE", "FAILED", "PRUNED"]),
        ("on_study_end", 5, ["COMPLETE", "COMPLETE", "FAILED", "PRUNED", "COMPLETE"]),
    ],
)
def test_an_error_in_a_callback_ends_the_run_and_loses_nothing(
    hook: str, trials: int, states: list[str], tmp_path: Path
) -> None:
    """The error comes with trial 1 or later; the trial keeps its result, and the files are written."""

    class Broken(HyperparameterCallback):
        pass

    def fail(*arguments: Any) -> None:
        if not isinstance(arguments[0], Trial) or arguments[0].number > 0:
            raise ZeroDivisionError("in the callback")

    broken, recorder = Broken(), Recorder()
    setattr(broken, hook, fail)
    made = tuner(5, broken, output_dir=tmp_path, save_checkpoints=True).add_callback(recorder)
    objective = script(2.0, 1.0, ValueError("bad"), TrialPruned(), 3.0)
    with pytest.raises(ZeroDivisionError, match="in the callback"):
        made.optimize(objective)
    assert [trial.state.name for trial in made.study.trials] == states
    assert recorder.calls[-1] == ("study_end", trials)  # those after the broken one are told as well
    assert (tmp_path / "s" / "statistics.json").exists()
    made.remove_callback(broken)
    assert len(made.optimize(script(2.0, 1.0, ValueError("bad"), TrialPruned(), 3.0)).trials) == 5
    assert made.study.table.counts[TrialState.RUNNING] == 0


def test_an_error_in_on_study_end_does_not_hide_an_earlier_one(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(HyperparameterCallback):
        def on_trial_complete(self, trial: Trial) -> None:
            raise ZeroDivisionError("first")

        def on_study_end(self, config: TunerConfig, statistics: Any) -> None:
            raise KeyError("second")

    with pytest.raises(ZeroDivisionError, match="first"):
        tuner(1, Broken()).optimize(script(1.0))
    assert "second" in caplog.text


# --- logging


def test_logging_callback_tells_everything(caplog: pytest.LogCaptureFixture) -> None:
    made = tuner(4, LoggingCallback())
    with caplog.at_level(logging.DEBUG, "fasthpo"):
        made.optimize(script(3.0, 1.0, ValueError("no such file"), TrialPruned("slow")))
    records = [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "fasthpo"]
    levels, messages = [level for level, _ in records], "\n".join(message for _, message in records)
    assert "study s begins: minimize, at most 4 trials" in messages
    assert "trial 0 begins with {'x': " in messages
    assert "new best: trial 0 with value 3: {'x': " in messages
    assert "new best: trial 1 with value 1, better by 2: {'x': " in messages
    assert "trial 1 completed with value 1 in " in messages
    assert "trial 2 failed: ValueError: no such file; its traceback is in study.trials[2].error" in messages
    assert "trial 3 pruned: slow" in messages
    assert "study s ends: 4 trials (2 complete, 1 pruned, 1 failed) in " in messages
    assert levels.count("WARNING") == 1
    assert messages.count("new best: trial 0") == 1  # it took the place of the tuner's own, not a place beside it


def test_every_tuner_logs_until_told_otherwise(caplog: pytest.LogCaptureFixture) -> None:
    def warnings(made: HyperparameterTuner) -> int:
        caplog.clear()
        made.optimize(script(TrialResult.failure("why"), 1.0))
        return sum("failed: why" in record.getMessage() for record in caplog.records)

    assert warnings(tuner(2, Recorder())) == 1
    assert warnings(tuner(2).add_callback(LoggingCallback())) == 1
    assert warnings(tuner(2)) == 0


def test_logging_configures_no_handlers() -> None:
    root, ours = logging.getLogger(), logging.getLogger("fasthpo")
    before = list(root.handlers), list(ours.handlers), ours.level, ours.propagate
    tuner(2, Recorder()).optimize(script(1.0, 2.0))
    assert before == (root.handlers, ours.handlers, ours.level, ours.propagate)
