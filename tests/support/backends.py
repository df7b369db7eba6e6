"""What must hold for every backend; test modules run it on theirs (`class TestThreads(BackendTests)`)."""

from __future__ import annotations

import copy
import dataclasses
import gc
import importlib.util
import math
import os
import pickle
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import fasthpo
from fasthpo import HyperparameterCallback, PruningConfig, StopReason, Trial, TrialPruned, WorkersFailed
from fasthpo.tuner.callbacks import LoggingCallback
from tests.support import population
from tests.support.gates import Gate, arrive
from tests.support.tuning import GRID, SPACE, make, params_of, states


class Recorder(HyperparameterCallback):
    """Writes down what it is told, and by which thread."""

    def __init__(self) -> None:
        import threading

        self.events: list[tuple[str, int]] = []
        self.errors: dict[int, str] = {}
        self.retried: dict[int, str] = {}
        self.threads = set[int]()
        self._thread = threading.get_ident

    def _add(self, event: str, trial: Trial) -> None:
        self.events.append((event, trial.number))
        self.threads.add(self._thread())

    def on_trial_start(self, trial: Trial) -> None:
        self._add("start", trial)

    def on_new_best(self, trial: Trial, improvement: float) -> None:
        self._add("best", trial)

    def on_trial_complete(self, trial: Trial) -> None:
        self._add("complete", trial)

    def on_trial_paused(self, trial: Trial) -> None:
        self._add("paused", trial)

    def on_trial_retried(self, trial: Trial, error: str) -> None:
        self._add("retried", trial)
        self.retried[trial.number] = error

    def on_trial_pruned(self, trial: Trial, reason: str) -> None:
        self._add("pruned", trial)
        self.errors[trial.number] = reason

    def on_trial_failed(self, trial: Trial, error: str) -> None:
        self._add("failed", trial)
        self.errors[trial.number] = error

    def of(self, number: int) -> list[str]:
        return [event for event, n in self.events if n == number]


class Stopper(HyperparameterCallback):
    """Ends the run when the first trial completes."""

    def __init__(self, tuner: fasthpo.HyperparameterTuner) -> None:
        self._tuner = tuner

    def on_trial_complete(self, trial: Trial) -> None:
        self._tuner.stop()


class BackendTests:
    """The tests; a subclass gives the fixture `options`, the arguments of `optimize` that choose the backend.

    It runs two trials at the same time, unless `workers` says otherwise.
    """

    workers = 2

    @pytest.fixture
    def options(self) -> dict[str, Any]:
        raise NotImplementedError

    def test_every_kind_of_result(self, options: dict[str, Any]) -> None:
        def objective(trial: Trial) -> Any:
            if trial.number == 0:
                return {"loss": trial["x"], "accuracy": 0.5}
            if trial.number == 1:
                raise ValueError("no such file")
            if trial.number == 2:
                return fasthpo.TrialResult.failure("the batch does not fit")
            if trial.number == 3:
                raise TrialPruned("of no use")
            if trial.number == 4:
                return {"loss": math.nan}
            if trial.number == 5:
                sys.exit("left")
            return fasthpo.TrialResult.success(fasthpo.TrialMetrics(7.0, {"n": trial["rate"]}))

        recorder = Recorder()
        tuner = make(8, objective_metric="loss").add_callback(recorder)
        result = tuner.optimize(objective, **options)
        assert states(tuner) == ["COMPLETE", "FAILED", "FAILED", "PRUNED", "FAILED", "FAILED", "COMPLETE", "COMPLETE"]
        trials = result.trials
        assert trials[0].metrics == {"accuracy": 0.5} and trials[0].value == trials[0]["x"]
        assert trials[6].metrics == {"n": trials[6]["rate"]} and trials[6].value == 7.0
        error = trials[1].error or ""
        assert error.startswith("Traceback") and error.endswith("ValueError: no such file") and "in objective" in error
        assert trials[2].error == "the batch does not fit" and trials[4].error == "the objective returned NaN"
        assert "SystemExit: left" in (trials[5].error or "")
        assert recorder.errors == {3: "of no use", **{n: trials[n].error for n in (1, 2, 4, 5)}}
        assert result.stop_reason == "max_trials"

    def test_values_and_constraints_of_several_objectives(self, options: dict[str, Any]) -> None:
        def objective(trial: Trial) -> Any:
            seen = trial.objective_values(), trial.constraints
            if trial.number == 0:
                assert trial.directions == ("minimize", "maximize") and not trial.should_prune()
                return {"loss": 0.5, "size": 3, "memory": 9.0}
            if trial.number == 6:
                trial.report([0.5, math.nan], 3)
                assert repr(trial.reports) == "{3: (0.5, nan)}"
                trial.report(0.5, 1)
            if trial.number == 1:
                return {"loss": 0.5, "size": math.nan, "memory": 1.0}
            if trial.number == 2:
                return {"loss": 0.5, "size": 1.0}
            if trial.number == 3:
                return fasthpo.TrialResult.success(
                    fasthpo.TrialMetrics([0.25, 2.0], {"memory": 7.0}),
                    constraints=None if seen == (None, None) else [1],
                )
            if trial.number == 4:
                return fasthpo.TrialResult.success(fasthpo.TrialMetrics([0.1, 1.0], {"memory": 7.0}), [0.5])
            return [0.5, 1.0, 2.0] if trial.number == 5 else fasthpo.TrialMetrics

        recorder = Recorder()
        both = {"objective_metric": ["loss", "size"], "direction": ["minimize", "maximize"]}
        tuner = make(7, constraints=["memory <= 8"], **both).add_callback(recorder)
        result = tuner.optimize(objective, **{**options, **({"workers": 1} if "workers" in options else {})})
        assert [t.objective_values() for t in result.trials] == [(0.5, 3.0), None, None, (0.25, 2.0), None, None, None]
        assert [t.constraints for t in result.trials][:4:3] == [(1.0,), (-1.0,)]
        assert [t.number for t in result.best_trials] == [3]
        assert recorder.of(0) == ["start", "complete"] and recorder.of(3) == ["start", "best", "complete"]
        assert "NaN" in recorder.errors[1]
        assert "needs the metric 'memory'" in recorder.errors[2]
        assert "all trials of a study have the same constraints: there were 1 so far, got 2" in recorder.errors[4]
        assert "must return a value for each of 2 objectives" in recorder.errors[5]
        assert "value must be 2 numbers" in recorder.errors[6]
        assert repr(result.trials[6].reports) == "{3: (0.5, nan)}"

    def test_callbacks_come_in_order_and_in_one_thread(self, options: dict[str, Any]) -> None:
        import threading

        recorder = Recorder()
        make(12).add_callback(recorder).optimize(lambda trial: -trial.number, **options)
        assert recorder.threads == {threading.get_ident()}
        for number in range(12):
            assert recorder.of(number) in (["start", "complete"], ["start", "best", "complete"])
        for i, (event, number) in enumerate(recorder.events):
            if event == "best":
                assert recorder.events[i + 1] == ("complete", number)
        starts = [number for event, number in recorder.events if event == "start"]
        assert starts == list(range(12))

    def test_as_many_run_at_the_same_time_as_there_are_workers(self, options: dict[str, Any]) -> None:
        with Gate(opens_at=self.workers) as gate:
            address = gate.address
            result = make(2 * self.workers).optimize(lambda trial: arrive(address) or 1.0, **options)
        assert result.statistics.completed_trials == 2 * self.workers

    def test_reports_and_pruning_are_the_studys(self, options: dict[str, Any]) -> None:
        """The same trials are pruned as by hand, one after the other, if they end in that order."""

        def objective(trial: Trial) -> float:
            for step in range(20):
                trial.report(trial["x"] + 1 / (1 + step), step)
                if trial.should_prune():
                    raise TrialPruned
            return float(trial["x"])

        pruning = PruningConfig(min_steps=5, n_startup_trials=3)
        tuner = make(20, pruning=pruning)
        result = tuner.optimize(objective, **options)
        assert result.statistics.pruned_trials >= 3
        for trial in result.trials:
            reports = {step: trial["x"] + 1 / (1 + step) for step in range(20)}
            if trial.state.name == "PRUNED":
                assert len(trial.reports) >= 6 and trial.value == reports[len(trial.reports) - 1]
                reports = {step: reports[step] for step in range(len(trial.reports))}
            assert trial.reports == reports

    def test_what_else_an_objective_sees_of_its_trial(self, options: dict[str, Any], tmp_path: Path) -> None:
        def objective(trial: Trial) -> float:
            assert isinstance(trial, fasthpo.Trial)
            assert dict(trial) == dict(**trial) == trial.params and set(trial) == {"x", "rate"}
            assert trial.state.name == "RUNNING" and trial.value is None and trial.error is None
            assert trial.start_time > 0 and math.isnan(trial.end_time) and trial.metrics == {}
            assert (trial.resource, trial.start_resource, trial.rungs) == (None, 0, {})
            trial.report(0.5, step=3)
            trial.report(0.25, step=1)
            assert trial.reports == {1: 0.25, 3: 0.5}
            assert trial.should_prune() is False
            assert f"number={trial.number}" in repr(trial)
            (trial.checkpoint_dir / "weights").write_text(str(trial.number))
            return 1.0

        tuner = make(4, output_dir=tmp_path, save_checkpoints=True)
        result = tuner.optimize(objective, **options)
        assert [trial.error for trial in result.trials] == [None] * 4
        for trial in result.trials:
            assert (trial.checkpoint_dir / "weights").read_text() == str(trial.number)
            assert trial.checkpoint_dir.is_relative_to(tmp_path)

    def test_bad_reports_fail_their_trial_only(self, options: dict[str, Any]) -> None:
        def objective(trial: Trial) -> float:
            if trial.number == 1:
                trial.report("good", 0)  # type: ignore[arg-type]
            if trial.number == 2:
                trial.report(1.0, -1)
            return 1.0

        tuner = make(4)
        tuner.optimize(objective, **options)
        assert states(tuner) == ["COMPLETE", "FAILED", "FAILED", "COMPLETE"]
        assert "InvalidValue: value must be a number, got 'good'" in (tuner.study.trials[1].error or "")
        assert "step must be an integer that is not negative, got step=-1" in (tuner.study.trials[2].error or "")

    def test_a_pruner_that_raises_fails_the_trial(self, options: dict[str, Any]) -> None:
        class Broken(fasthpo.Pruner):
            def should_prune(self, table: Any, number: int) -> bool:
                raise ZeroDivisionError("by the pruner")

        def objective(trial: Trial) -> float:
            trial.report(1.0, 0)
            return float(trial.number % 2 and trial.should_prune()) or 1.0

        tuner = make(4)
        tuner.study.pruner = Broken()
        tuner.optimize(objective, **options)
        assert states(tuner) == ["COMPLETE", "FAILED"] * 2
        assert "ZeroDivisionError: by the pruner" in (tuner.study.trials[1].error or "")

    def test_a_tuner_inside_its_objective(self, options: dict[str, Any]) -> None:
        early = fasthpo.EarlyStoppingConfig(patience=4, min_delta=0.5)
        tuner = make(1000, direction="maximize", early_stopping=early)

        def objective(trial: Trial) -> float:
            stopper = tuner.early_stopping()
            for epoch in range(100):
                if stopper.update(min(epoch, 10), step=epoch):
                    break
            assert tuner.config.early_stopping.patience == 4
            if trial.number == 4:
                tuner.stop()
            return float(epoch)

        result = tuner.optimize(objective, **options)
        assert result.stop_reason == StopReason.STOPPED
        assert 5 <= len(result.trials) < 1000
        assert set(states(tuner)) == {"COMPLETE"} and set(tuner.study.values) == {14.0}

    def test_lambdas_closures_and_classes(self, options: dict[str, Any]) -> None:
        offset = [1.0, 2.0]

        class Objective:
            def __init__(self) -> None:
                self.scale = 2.0

            def __call__(self, trial: Trial) -> float:
                return self.scale + offset[1]

        assert make(2).optimize(Objective(), **options).best_value == 4.0
        assert make(2).optimize(lambda trial: offset[0], **options).best_value == 1.0
        assert make(2).optimize(len, **options).best_value == 2.0  # of the parameters

    def test_a_copy_of_a_trial_is_a_dict_and_the_trial_goes_on(self, options: dict[str, Any]) -> None:
        @dataclasses.dataclass
        class Settings:
            trial: Any

        def objective(trial: Trial) -> float:
            copies = [copy.copy(trial), copy.deepcopy(trial), pickle.loads(pickle.dumps(trial))]
            copies += [copy.deepcopy({"trial": [trial]})["trial"][0], dataclasses.asdict(Settings(trial))["trial"]]
            for one in copies:
                assert type(one) is dict and one == trial.params
            del copies, one
            gc.collect()
            trial.report(0.5, step=0)
            assert trial.should_prune() is False and trial.reports == {0: 0.5}
            return 1.0

        tuner = make(4)
        tuner.optimize(objective, **options)
        assert [trial.error for trial in tuner.study.trials] == [None] * 4

    def test_an_initializer_is_called_before_the_first_trial(self, options: dict[str, Any]) -> None:
        def prepare(*values: float) -> None:
            import builtins

            builtins.prepared = sum(values)  # type: ignore[attr-defined]

        def objective(trial: Trial) -> float:
            import builtins

            return builtins.prepared  # type: ignore[attr-defined,no-any-return]

        result = make(4).optimize(objective, **options, initializer=prepare, initargs=(3.0, 4.0))
        assert set(result.study.values) == {7.0}

    def test_an_initializer_that_fails(self, options: dict[str, Any]) -> None:
        def prepare() -> None:
            raise ValueError("no such data")

        tuner = make(4)
        with pytest.raises(WorkersFailed, match=r"(?s)initializer.*ValueError: no such data"):
            tuner.optimize(lambda trial: 1.0, **options, initializer=prepare)
        assert set(states(tuner)) <= {"FAILED"}

    def test_an_objective_of_a_module_that_can_not_be_imported_anew(
        self, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its definitions are found under their names, too."""
        (tmp_path / "elsewhere.py").write_text(
            "import pickle\nscale = 2.0\nclass Model:\n    class Part: pass\n"
            "def half(x): return x / scale\n"
            "def objective(trial):\n"
            "    for one in (half, objective, Model, Model.Part):\n"
            "        assert pickle.loads(pickle.dumps(one)) is one\n"
            "    return half(4.0)\n"
        )
        spec = importlib.util.spec_from_file_location("not_on_the_path", tmp_path / "elsewhere.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "not_on_the_path", module)
        spec.loader.exec_module(module)
        module.scale = 4.0  # type: ignore[attr-defined]
        for objective, value in ((module.objective, 1.0), (lambda trial: module.objective(trial) + module.scale, 5.0)):
            tuner = make(2)
            tuner.optimize(objective, **options)
            assert [(trial.value, trial.error) for trial in tuner.study.trials] == [(value, None)] * 2

    def test_stop_from_a_callback_ends_after_the_running_trials(self, options: dict[str, Any]) -> None:
        tuner = make(1000)
        result = tuner.add_callback(Stopper(tuner)).optimize(lambda trial: 1.0, **options)
        assert result.stop_reason == "stopped" and set(states(tuner)) == {"COMPLETE"}
        assert 1 <= len(result.trials) <= 2 * self.workers

    def test_a_callback_that_raises_ends_the_run_and_results_are_kept(self, options: dict[str, Any]) -> None:
        class Broken(HyperparameterCallback):
            def on_trial_complete(self, trial: Trial) -> None:
                raise KeyError("mine")

        tuner = make(1000).add_callback(Broken())
        with pytest.raises(KeyError, match="mine"):
            tuner.optimize(lambda trial: 1.0, **options)
        assert "COMPLETE" in states(tuner) and set(states(tuner)) <= {"COMPLETE", "FAILED"}
        tuner.remove_callback(Broken)
        before = len(tuner.study)
        tuner.add_callback(Stopper(tuner)).optimize(lambda trial: 1.0, **options)  # it goes on
        assert len(tuner.study) > before

    def test_a_run_that_is_broken_off_waits_for_no_trial(self, options: dict[str, Any]) -> None:
        """And what was running makes place, if it can be ended at all."""

        class Broken(HyperparameterCallback):
            def on_trial_complete(self, trial: Trial) -> None:
                raise KeyError("mine")

        tuner = make(1000).add_callback(Broken())
        with Gate(opens_at=2) as both, Gate() as closed:
            begun, never = both.address, closed.address

            def objective(trial: Trial) -> float:
                arrive(begun)
                if trial.number:
                    arrive(never)
                return 1.0

            with pytest.raises(KeyError, match="mine"):
                tuner.optimize(objective, **options)
            assert states(tuner)[:2] == ["COMPLETE", "FAILED"] and set(states(tuner)[2:]) <= {"FAILED"}
            assert tuner.study.trials[1].error == "the run was broken off by KeyError: 'mine'"
            if options.get("backend") != "threads" and "executor" not in options:
                with Gate(opens_at=self.workers) as again:
                    address = again.address
                    make(self.workers).optimize(lambda trial: arrive(address) or 1.0, **options)

    def test_the_first_ten_all_failed(self, options: dict[str, Any]) -> None:
        def objective(trial: Trial) -> float:
            raise ValueError("wrong path")

        tuner = make(1000)
        with pytest.raises(
            fasthpo.AllTrialsFailed, match=r"all \d+ trials have failed, .*: ValueError: wrong"
        ) as caught:
            tuner.optimize(objective, **options)
        assert 10 <= len(tuner.study) <= 10 + self.workers and set(states(tuner)) == {"FAILED"}
        assert "ValueError: wrong path" in str(caught.value.__cause__) or isinstance(caught.value.__cause__, ValueError)

    def test_the_log_shows_what_an_exception_says_and_not_what_was_noted_with_it(
        self, options: dict[str, Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        def objective(trial: Trial) -> float:
            if trial.number == 0:
                error = ValueError("the batch\nis empty")
                error.add_note("see the manual")
                raise error
            if trial.number == 1:
                try:
                    {}["missing"]
                except KeyError as missing:
                    raise ExceptionGroup("two of them", [missing, OSError("full")]) from missing
            return 1.0

        tuner = make(3).add_callback(LoggingCallback())
        tuner.optimize(objective, **options)
        said = sorted(record.getMessage() for record in caplog.records if record.levelname == "WARNING")
        assert said == [
            "trial 0 failed: ValueError: the batch is empty; its traceback is in study.trials[0].error",
            "trial 1 failed: ExceptionGroup: two of them (2 sub-exceptions); its traceback is in study.trials[1].error",
        ]
        errors = [tuner.study.trials[number].error or "" for number in (0, 1)]
        assert "see the manual" in errors[0] and "KeyError: 'missing'" in errors[1] and "OSError: full" in errors[1]

    def test_exceptions_are_tried_again_if_asked_for(self, options: dict[str, Any], tmp_path: Path) -> None:
        """Under the same number and directory; reports of an earlier attempt stand."""

        def objective(trial: Trial) -> float:
            mark = trial.checkpoint_dir / "attempts"
            attempts = len(mark.read_text()) if mark.exists() else 0
            mark.write_text("." * (attempts + 1))
            trial.report(float(attempts), step=0)
            trial.report(float(attempts), step=attempts + 1)
            if trial.number in (1, 2) and attempts < trial.number:
                raise RuntimeError("bad luck")
            return float(attempts)

        recorder = Recorder()
        tuner = make(4, output_dir=tmp_path, save_checkpoints=True).add_callback(recorder)
        result = tuner.optimize(objective, **options, retries={"error": 1})
        assert states(tuner) == ["COMPLETE", "COMPLETE", "FAILED", "COMPLETE"]
        assert recorder.of(1) == ["start", "retried", "complete"] or recorder.of(1)[1] == "retried"
        assert recorder.of(2) == ["start", "retried", "failed"]
        assert result.trials[1].reports == {0: 0.0, 1: 0.0, 2: 1.0} and result.trials[1].value == 1.0
        assert len(result.trials) == 4

    def test_multi_fidelity_trials_pause_and_go_on(self, options: dict[str, Any], tmp_path: Path) -> None:
        def objective(trial: Trial) -> float:
            file = trial.checkpoint_dir / "epochs"
            done = int(file.read_text()) if file.exists() else 0
            assert done == trial.start_resource < trial.resource
            for epoch in range(done, trial.resource):
                trial.report(trial["x"], epoch)
            file.write_text(str(trial.resource))
            return abs(trial["x"]) + 1 / trial.resource

        config = fasthpo.TunerConfig("s", max_trials=18, seed=0, output_dir=tmp_path, save_checkpoints=True)
        tuner = fasthpo.HyperparameterTuner.with_hyperband(config, SPACE, max_resource=9)
        recorder = Recorder()
        result = tuner.remove_callback(LoggingCallback).add_callback(recorder).optimize(objective, **options)
        counts = Counter(event for event, _ in recorder.events)
        assert not result.statistics.failed_trials, recorder.errors
        assert counts["start"] == counts["paused"] + counts["complete"] > 18
        assert result.stop_reason == "max_trials" and len(result.trials) == 18
        assert result.best_trial.rungs.keys() <= {1, 3, 9} and 9 in result.best_trial.rungs

    def test_a_population_is_the_one_that_trains_alone(self, options: dict[str, Any], tmp_path: Path) -> None:
        """With the weights of parents, wherever they were trained."""
        alone = population.make(tmp_path / "alone")
        population.run(alone)
        study = population.tune(tmp_path, **options)
        population.require_same(study, alone)
        assert {trial.fork_step for trial in study.trials if trial.parent is not None} == {3, 6, 9}

    def test_max_total_resource_is_never_exceeded(self, options: dict[str, Any]) -> None:
        config = fasthpo.TunerConfig("s", max_total_resource=60, seed=0)
        tuner = fasthpo.HyperparameterTuner.with_asha(config, SPACE, max_resource=27).remove_callback(LoggingCallback)
        result = tuner.optimize(lambda trial: abs(trial["x"]), **options)
        assert result.stop_reason == "max_total_resource"
        assert 60 - 18 < result.statistics.resource_spent <= 60

    def test_a_finite_space_is_used_up_and_the_best_go_on(self, options: dict[str, Any]) -> None:
        """No point is left while trials are running: their promotions still come."""
        config = fasthpo.TunerConfig("s", max_duration=math.inf, seed=0)
        tuner = fasthpo.HyperparameterTuner.with_asha(config, GRID, max_resource=9).remove_callback(LoggingCallback)
        result = tuner.optimize(lambda trial: float(trial["a"]), **options)
        assert result.stop_reason == "space_exhausted"
        assert len({(trial["a"], trial["b"]) for trial in result.trials}) == len(result.trials) == 10
        told = [rung.told for rung in result.statistics.rungs]
        assert told[0] == 10 and told[1] >= 3 and told[2] >= 1, told  # more if one was promoted early, by luck

    @pytest.mark.parametrize("kind", ["random", "grid", "qmc"])
    def test_the_same_parameters_as_with_one_worker(self, options: dict[str, Any], kind: str) -> None:
        space = {"a": fasthpo.Discrete(0, 9), "b": fasthpo.Continuous(0.0, 1.0, n_points=5)}
        samplers = {"random": fasthpo.RandomSampler, "grid": fasthpo.GridSampler, "qmc": fasthpo.QMCSampler}

        def run(**where: Any) -> list[dict[str, Any]]:
            strategy = fasthpo.Strategy(samplers[kind](seed=3))
            return params_of(make(40, fasthpo.SearchSpace(space), strategy).optimize(lambda trial: trial["b"], **where))

        assert run(**options) == run()

    def test_max_duration_starts_no_new_trial(self, options: dict[str, Any]) -> None:
        tuner = make(None, max_duration=0.2)
        result = tuner.optimize(lambda trial: 1.0, **options)
        assert result.stop_reason == "max_duration" and set(states(tuner)) == {"COMPLETE"}


def pid_of(trial: Trial) -> dict[str, float]:
    """An objective that says where it ran."""
    return {"loss": trial["x"], "pid": float(os.getpid())}
