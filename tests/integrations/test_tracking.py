"""What trackers have in common: everything arrives, whatever becomes of the tracker, and the study does not wait."""

import gc
import logging
import math
import subprocess
import sys
import threading
import time
import weakref

import pytest

import fasthpo
from fasthpo.errors import InvalidValue, MissingPackage
from fasthpo.integrations import tracking
from fasthpo.integrations.tracking import TrackingCallback
from fasthpo.trials.trial import TrialState

SPACE = {"x": fasthpo.Continuous(0.0, 1.0)}


class Recorder:
    """A tracker that keeps what it gets."""

    title = "recorder"

    def __init__(self, fails=lambda trial: False):
        self.fails = fails
        self.lacking = []
        self.got, self.studies, self.closed, self.thread = {}, [], 0, None

    def open(self, study):
        self.studies.append(study)
        return self.lacking

    def write(self, trial):
        self.thread = threading.current_thread()
        if self.fails(trial):
            raise OSError("no such server")
        self.got.setdefault(trial.number, []).append(trial)

    def close(self):
        self.closed += 1

    @property
    def latest(self):
        return {number: trials[-1] for number, trials in self.got.items()}


def tuned(callback, objective, **options):
    config = fasthpo.TunerConfig("s", **{"max_trials": 12, "seed": 0, **options})
    tuner = fasthpo.HyperparameterTuner.with_random_search(config, SPACE)
    return tuner.add_callback(callback)


def objective(trial):
    for step in range(3):
        trial.report(trial["x"] + step, step)
    if trial["x"] < 0.3:
        raise ValueError("too small")
    if trial["x"] > 0.8:
        raise fasthpo.TrialPruned
    return trial["x"]


@pytest.mark.parametrize("options", [{}, {"workers": 2, "backend": "threads"}, {"workers": 2}])
def test_the_tracker_has_in_the_end_what_the_study_has_wherever_trials_ran(options):
    recorder = Recorder()
    result = tuned(TrackingCallback(recorder), objective).optimize(objective, **options)
    assert [trial.number for trial in result.trials] == sorted(recorder.latest)
    states = set()
    for trial in result.trials:
        got = recorder.latest[trial.number]
        assert (got.state, got.params, got.metrics) == (trial.state, trial.params, trial.metrics)
        assert got.reports == {step: (value,) for step, value in trial.reports.items()}
        assert got.values == trial.objective_values()
        assert (got.reason is None) == (trial.state == TrialState.COMPLETE)
        states.add(trial.state)
    assert states == {TrialState.COMPLETE, TrialState.FAILED, TrialState.PRUNED}
    (study,) = recorder.studies
    assert (study.name, study.objectives, recorder.closed) == ("s", ("value",), 1)
    assert recorder.thread is not threading.main_thread() and not recorder.thread.is_alive()


def test_ask_and_tell_are_tracked_by_a_call_and_trials_that_were_there_before_too():
    recorder = Recorder()
    study = fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=0), directions=["minimize", "maximize"])
    numbers = study.add_trials({"x": [0.1, 0.2]}, [[1.0, math.inf], [math.nan, 1.0]])
    with TrackingCallback(recorder, "by hand") as callback:
        for number in numbers.tolist():
            callback.log(study.trials[number])
        trial = study.ask()
        callback.log(trial)
        trial.report([1.0, math.nan], 3)
        study.tell(trial, [2.0, 3.0], constraints=[1.5], metrics={"seconds": 4.0})
        callback.log(trial)
    assert recorder.studies[0].objectives == ("values_0", "values_1")
    assert [recorder.latest[i].state.name for i in range(3)] == ["COMPLETE", "FAILED", "COMPLETE"]
    last = recorder.latest[2]
    assert (last.values, last.constraints, last.metrics, last.is_feasible) == (
        (2.0, 3.0),
        (1.5,),
        {"seconds": 4.0},
        False,
    )
    assert list(last.reports) == [3] and last.reports[3][0] == 1.0 and math.isnan(last.reports[3][1])
    other = fasthpo.Study(SPACE)  # and once more, with another study
    other.tell(other.ask(), 1.0)
    callback.log(other.trials[0])
    callback.close()
    assert len(recorder.studies) == 2 and recorder.closed == 2


def test_running_trials_show_their_reports_before_they_end(monkeypatch):
    monkeypatch.setattr(tracking, "_POLL", 0.02)
    recorder = Recorder()
    study = fasthpo.Study(SPACE)
    with TrackingCallback(recorder) as callback:
        trial = study.ask()
        callback.log(trial)
        trial.report(0.5, 7)
        end = time.monotonic() + 20
        while not (recorder.got.get(0) and recorder.latest[0].reports) and time.monotonic() < end:
            time.sleep(0.01)
        assert recorder.latest[0].reports == {7: (0.5,)}
        assert recorder.latest[0].state == TrialState.RUNNING


def test_a_tracker_that_fails_is_warned_of_once_and_gets_everything_once_it_works_again(caplog):
    failures = []

    def fails(trial):
        failures.append(trial.number)
        return len(failures) <= 3

    recorder = Recorder(fails)
    with caplog.at_level(logging.WARNING, "fasthpo"):
        result = tuned(TrackingCallback(recorder), objective).optimize(lambda trial: trial["x"])
    assert len(result.trials) == 12 == len(recorder.latest)
    assert all(trial.state == TrialState.COMPLETE for trial in recorder.latest.values())
    said = [record.message for record in caplog.records if "recorder" in record.message]
    assert said == [
        "recorder could not be written to; the study goes on, and it is tried again: OSError: no such server"
    ]


def test_a_tracker_that_never_works_costs_the_study_nothing_and_what_is_missing_is_counted(caplog):
    recorder = Recorder(lambda trial: True)
    with caplog.at_level(logging.WARNING, "fasthpo"):
        begin = time.monotonic()
        result = tuned(TrackingCallback(recorder), objective).optimize(lambda trial: trial["x"])
    assert len(result.trials) == 12 and not recorder.got
    assert time.monotonic() - begin < 10
    said = [record.message for record in caplog.records if "recorder" in record.message]
    assert len(said) == 2 and said[1] == "recorder has not got the latest of 12 trials"


def test_a_trial_that_can_not_be_written_does_not_keep_the_others_waiting(caplog):
    recorder = Recorder(lambda trial: trial.number == 5)
    tuned(TrackingCallback(recorder), objective).optimize(lambda trial: trial["x"])
    assert sorted(recorder.latest) == [number for number in range(12) if number != 5]
    assert "has not got the latest of 1 trials" in caplog.text


def test_a_tracker_that_hangs_is_left_alone_in_the_end(monkeypatch, caplog):
    monkeypatch.setattr(tracking, "_GIVE_UP", 0.2)
    wait = threading.Event()

    def hangs(trial):
        wait.wait(60)
        return False

    begin = time.monotonic()
    result = tuned(TrackingCallback(Recorder(hangs)), objective).optimize(lambda trial: trial["x"])
    assert len(result.trials) == 12
    assert time.monotonic() - begin < 20
    assert "has not got the latest of 12 trials" in caplog.text
    wait.set()


def test_a_second_run_of_the_tuner_goes_on_with_the_same_study():
    recorder = Recorder()
    tuner = tuned(TrackingCallback(recorder), objective, max_trials=100, max_duration=60)
    tuner.optimize(lambda trial: tuner.stop() or 1.0)
    tuner.optimize(lambda trial: tuner.stop() or 2.0)
    assert recorder.closed == 2 and len({study.identity for study in recorder.studies}) == 1
    assert [recorder.latest[i].values for i in range(2)] == [(1.0,), (2.0,)]


def test_what_a_killed_process_had_not_written_is_written_when_its_study_goes_on(tmp_path):
    options = {"output_dir": tmp_path, "save_checkpoints": True}
    tuned(TrackingCallback(Recorder()), objective, **options).optimize(objective)
    recorder = Recorder()
    recorder.lacking = [4, 5, 10**6]
    tuner = tuned(TrackingCallback(recorder), objective, max_trials=13, **options)
    tuner.load_checkpoint(tmp_path / "s")
    tuner.optimize(objective)
    assert sorted(recorder.latest) == [4, 5, 12]
    assert recorder.latest[4].values == tuner.study.trials[4].objective_values()


def test_trials_that_pause_and_go_on_are_written_each_time():
    recorder = Recorder()
    config = fasthpo.TunerConfig("s", max_trials=9, seed=0)
    tuner = fasthpo.HyperparameterTuner.with_successive_halving(config, SPACE, max_resource=9)

    def train(trial):
        for epoch in range(trial.start_resource, trial.resource):
            trial.report(trial["x"], epoch)
        return trial["x"]

    tuner.add_callback(TrackingCallback(recorder)).optimize(train)
    for trial in tuner.study.trials:
        assert recorder.latest[trial.number].state == trial.state
        assert list(recorder.latest[trial.number].reports) == list(trial.reports)


def test_trials_are_told_when_the_run_is_broken_off():
    recorder = Recorder()

    class Breaking(fasthpo.HyperparameterCallback):
        def on_trial_complete(self, trial):
            raise RuntimeError("stop here")

    with pytest.raises(RuntimeError, match="stop here"):
        tuned(TrackingCallback(recorder), objective).add_callback(Breaking()).optimize(
            lambda trial: 1.0, workers=2, backend="threads"
        )
    assert all(trial.state != TrialState.RUNNING for trial in recorder.latest.values())


def test_a_program_that_forgets_to_close_writes_all_at_its_end(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import fasthpo\n"
        "from fasthpo.integrations.tracking import TrackingCallback\n"
        "class Printing:\n"
        "    title = 'printing'\n"
        "    def open(self, study): return []\n"
        "    def write(self, trial): print(trial.number, trial.state.name, flush=True)\n"
        "    def close(self): print('closed', flush=True)\n"
        "study = fasthpo.Study({'x': fasthpo.Continuous(0.0, 1.0)}, sampler=fasthpo.RandomSampler(seed=0))\n"
        "callback = TrackingCallback(Printing())\n"
        "for _ in range(5):\n"
        "    trial = study.ask()\n"
        "    study.tell(trial, 1.0)\n"
        "    callback.log(trial)\n"
    )
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:6] == [*(f"{i} COMPLETE" for i in range(5)), "closed"]


def test_a_callback_that_was_closed_is_not_kept_alive():
    callback = TrackingCallback(Recorder())
    study = fasthpo.Study(SPACE)
    callback.log(study.ask())
    callback.close()
    gone = weakref.ref(callback)
    del callback
    gc.collect()
    assert gone() is None


def test_what_is_no_trial_of_a_study_is_refused_and_a_missing_package_names_the_command(monkeypatch):
    with pytest.raises(InvalidValue, match="trial must be a Trial of a Study"):
        TrackingCallback(Recorder()).log({"x": 1})
    with pytest.raises(InvalidValue, match="study_name"):
        TrackingCallback(Recorder(), 5)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setitem(sys.modules, "mlflow.entities", None)
    monkeypatch.setitem(sys.modules, "wandb", None)
    from fasthpo.integrations.mlflow import MLflowCallback
    from fasthpo.integrations.tensorboard import TensorBoardCallback
    from fasthpo.integrations.wandb import WandbCallback

    for make, extra in (
        (lambda: TensorBoardCallback("runs"), "tensorboard"),
        (MLflowCallback, "mlflow"),
        (lambda: WandbCallback("project"), "wandb"),
    ):
        with pytest.raises(MissingPackage, match=rf"pip install 'fasthpo\[{extra}\]'"):
            make()
