"""Ask, report, tell: what they do, what they refuse, and that a refused call changes nothing."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo import TrialState

SPACE = fasthpo.SearchSpace(
    {
        "lr": fasthpo.LogUniform(1e-5, 1e-1),
        "layers": fasthpo.Discrete(1, 4),
        "optimizer": fasthpo.Categorical(["adam", "sgd", None]),
        "momentum": fasthpo.Continuous(0.0, 0.99, when={"optimizer": ["sgd"]}),
    }
)


def study(direction: str = "minimize", **options: Any) -> fasthpo.Study:
    return fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=1), direction=direction, **options)


def snapshot(s: fasthpo.Study) -> list[Any]:
    table = s.table
    columns = [table.params, table.values, table.states, table.draws, table.tell_order, table.running]
    return [c.tolist() for c in columns] + [dict(table.counts), table.best_number, len(table.reports)]


def same(a: list[Any], b: list[Any]) -> bool:
    return repr(a) == repr(b)  # NaN is NaN here


def test_ask_and_tell() -> None:
    s = study()
    trial = s.ask()
    assert trial.number == 0 and trial.state == TrialState.RUNNING and len(s) == 1
    SPACE.validate(trial.params)
    assert s.tell(trial, 0.5) == TrialState.COMPLETE
    assert (trial.value, trial.objective_value(), trial.state) == (0.5, 0.5, TrialState.COMPLETE)
    assert trial.duration >= 0 and trial.start_time <= trial.end_time
    assert s.best_trial == trial and s.best_value == 0.5 and s.best_params == trial.params


def test_trial_is_a_read_only_mapping_of_plain_values() -> None:
    trial = study().ask()
    assert dict(trial) == dict(**trial) == trial.params
    assert {type(v) for v in trial.params.values()} <= {int, float, str, bool, type(None)}
    assert trial["lr"] == trial.params["lr"] and len(trial) == len(trial.params)
    with pytest.raises(TypeError):
        trial["lr"] = 1  # type: ignore[index]
    with pytest.raises(KeyError):
        trial["unknown"]
    trial.params["lr"] = -1
    assert trial["lr"] > 0


@pytest.mark.parametrize(("direction", "best"), [("minimize", 1), ("maximize", 2)])
def test_best_of_both_directions_and_ties_go_to_the_earlier_trial(direction: str, best: int) -> None:
    s = study(direction)
    trials = [s.ask() for _ in range(5)]
    for i in (4, 3, 2, 1, 0):
        s.tell(trials[i], [2.0, 1.0, 3.0, 1.0, 3.0][i])
    assert s.best_trial.number == best


def test_infinity_is_complete_and_never_best_and_nan_fails() -> None:
    s = study()
    assert s.tell(s.ask(), -math.inf) == TrialState.COMPLETE
    assert s.tell(s.ask(), math.inf) == TrialState.COMPLETE
    failed = s.ask()
    assert s.tell(failed, math.nan) == TrialState.FAILED
    assert failed.value is None and "nan" in str(failed.error)
    with pytest.raises(fasthpo.NoCompletedTrials, match="finite"):
        s.best_trial  # noqa: B018
    s.tell(s.ask(), 7.0)
    assert s.best_value == 7.0


def test_pruned_keeps_its_last_valid_report() -> None:
    s = study()
    trial = s.ask()
    for step, value in [(0, 3.0), (2, 1.0), (1, 2.0), (3, math.nan)]:
        trial.report(value, step)
    assert s.tell(trial, state=TrialState.PRUNED) == TrialState.PRUNED
    assert trial.value == 1.0
    assert list(trial.reports) == [0, 1, 2, 3]
    bare = s.ask()
    s.tell(bare, state=TrialState.PRUNED)
    assert bare.value is None
    with pytest.raises(fasthpo.NoCompletedTrials):
        s.best_value  # noqa: B018


def test_first_report_at_a_step_stands(caplog: pytest.LogCaptureFixture) -> None:
    trial = study().ask()
    trial.report(1.0, 0)
    trial.report(1.0, 0)
    assert not caplog.records
    trial.report(2.0, 0)
    assert "ignored" in caplog.text
    assert trial.reports == {0: 1.0}


REFUSED = [
    (lambda s, t: s.tell(1, 0.0), fasthpo.TrialStateError, "told already"),
    (lambda s, t: s.tell(99, 0.0), fasthpo.UnknownTrial, "no trial 99"),
    (lambda s, t: s.tell(-1, 0.0), fasthpo.UnknownTrial, "no trial -1"),
    (lambda s, t: s.tell(t, "good"), fasthpo.InvalidValue, "'good'"),
    (lambda s, t: s.tell(t, True), fasthpo.InvalidValue, "True"),
    (lambda s, t: s.tell(t, None), fasthpo.InvalidValue, "None"),
    (lambda s, t: s.tell(t, [1.0, 2.0]), fasthpo.InvalidValue, "list"),
    (lambda s, t: s.tell("0", 1.0), fasthpo.InvalidValue, "'0'"),
    (lambda s, t: s.tell(t, 1.0, TrialState.RUNNING), fasthpo.InvalidValue, "RUNNING"),
    (lambda s, t: s.tell(t, 1.0, TrialState.FAILED), fasthpo.InvalidValue, "no value"),
    (lambda s, t: s.tell(t, math.nan, TrialState.COMPLETE), fasthpo.InvalidValue, "NaN"),
    (lambda s, t: s.tell(t, 1.0, metrics={"f1": "x"}), fasthpo.InvalidValue, "f1"),
    (lambda s, t: s.tell(study().ask(), 1.0), fasthpo.UnknownTrial, "another study"),
    (lambda s, t: s.report(1, 0.0, 0), fasthpo.TrialStateError, "told already"),
    (lambda s, t: t.report("x", 0), fasthpo.InvalidValue, "'x'"),
    (lambda s, t: t.report(1.0, -1), fasthpo.InvalidValue, "-1"),
    (lambda s, t: t.report(1.0, 0.5), fasthpo.InvalidValue, "0.5"),
    (lambda s, t: t.report(1.0, True), fasthpo.InvalidValue, "True"),
    (lambda s, t: s.tell_batch([0, 0], [1.0, 1.0]), fasthpo.InvalidValue, "repeat"),
    (lambda s, t: s.tell_batch([0, 1], [1.0, 1.0]), fasthpo.TrialStateError, "trial 1"),
    (lambda s, t: s.tell_batch([0, 9], [1.0, 1.0]), fasthpo.UnknownTrial, "trial 9"),
    (lambda s, t: s.tell_batch([0], [1.0, 2.0]), fasthpo.InvalidValue, r"shape \(2,\)"),
    (lambda s, t: s.tell_batch([0], ["x"]), fasthpo.InvalidValue, r"values\[0\] must be a number, got 'x'"),
    (lambda s, t: s.tell_batch([0.5], [1.0]), fasthpo.InvalidValue, "integers"),
    (lambda s, t: s.enqueue({"lr": 1.0}), fasthpo.InvalidParameters, "1.0"),
    (lambda s, t: s.enqueue({"depth": 1}), fasthpo.InvalidParameters, "depth"),
    (lambda s, t: s.enqueue({"optimizer": "adam", "momentum": 0.5}), fasthpo.InvalidParameters, "momentum"),
    (lambda s, t: s.add_trials({"lr": [1e-3]}, [1.0]), fasthpo.InvalidParameters, "layers"),
    (lambda s, t: s.ask_batch(-1), fasthpo.InvalidValue, "-1"),
    (lambda s, t: s.ask_batch(1.5), fasthpo.InvalidValue, "1.5"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_bad_input_is_refused_and_changes_nothing(call: Any, error: type[Exception], message: str) -> None:
    s = study()
    trial = s.ask()
    s.tell(s.ask(), 1.0)
    before = snapshot(s)
    with pytest.raises(error, match=message) as caught:
        call(s, trial)
    assert isinstance(caught.value, fasthpo.FastHPOError)
    assert same(snapshot(s), before)


def test_constructor_refuses() -> None:
    with pytest.raises(fasthpo.InvalidValue, match="direction='down'"):
        study("down")
    with pytest.raises(fasthpo.InvalidValue, match="both"):
        study(strategy=fasthpo.RandomSearch())
    with pytest.raises(fasthpo.InvalidValue, match=r"such as TPESampler\(\), got .*: call it, RandomSampler\(...\)"):
        fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler)  # type: ignore[arg-type]


def test_numbers_of_all_kinds_are_values() -> None:
    torch = pytest.importorskip("torch")
    s = study()
    for value in (1, 1.0, np.float32(1), np.int64(1), np.array(1.0), np.array([1.0]), torch.tensor(1.0)):
        assert s.tell(s.ask(), value) == TrialState.COMPLETE
    assert set(s.values) == {1.0}


def test_batch_equals_single_asks() -> None:
    single, batch = study(), study()
    points = [single.ask().params for _ in range(20)]
    asked = batch.ask_batch(20)
    assert [asked[i] for i in range(20)] == points
    assert asked.numbers.tolist() == list(range(20)) and len(asked) == 20
    sgd = np.array([p["optimizer"] == "sgd" for p in points])
    assert (asked.active["momentum"] == sgd).all()
    assert np.isnan(asked.params["momentum"][~sgd]).all()
    assert asked.params["optimizer"].dtype == object
    assert asked.params["layers"].dtype == np.float64
    states = batch.tell_batch(asked.numbers, np.where(np.arange(20) == 3, np.nan, np.arange(20.0)))
    assert states[3] == TrialState.FAILED and (np.delete(states, 3) == TrialState.COMPLETE).all()
    assert batch.best_trial.number == 0 and batch.table.counts[TrialState.COMPLETE] == 19
    assert len(batch.table.running) == 0


def test_batch_of_tpe_is_aware_of_itself() -> None:
    single, batch = (fasthpo.Study(SPACE, sampler=fasthpo.TPESampler(seed=3)) for _ in range(2))
    for s in (single, batch):
        for _ in range(15):
            trial = s.ask()
            s.tell(trial, math.log10(trial["lr"]) ** 2)
    points = [single.ask().params for _ in range(6)]
    asked = batch.ask_batch(6)
    assert [asked[i] for i in range(6)] == points
    assert len({repr(p) for p in points}) == 6


def test_add_trials_counts_and_informs() -> None:
    s = study("maximize")
    n = 50
    source = study().ask_batch(n)
    values = np.linspace(0, 1, n)
    values[7] = np.nan
    numbers = s.add_trials(source.params, values)
    assert numbers.tolist() == list(range(n))
    assert s.best_trial.number == n - 1 and s.best_params == source[n - 1]
    assert s.table.counts[TrialState.FAILED] == 1
    assert (s.table.draws == -1).all()
    assert s.ask().params == study().ask().params  # a known result uses up no draw
    assert [t.params for t in s.trials[:n]] == [source[i] for i in range(n)]


def test_enqueued_comes_first_and_the_rest_is_sampled() -> None:
    s = study()
    first = s.enqueue({"lr": 3e-4})
    second = s.enqueue({"momentum": 0.5})  # its parent must then be "sgd"
    assert s.trials[first].state == TrialState.WAITING and s.trials[first].params == {"lr": 3e-4}
    with pytest.raises(fasthpo.TrialStateError, match="ask for it first"):
        s.tell(first, 1.0)
    trials = [s.ask() for _ in range(3)]
    assert [t.number for t in trials] == [first, second, 2]
    assert trials[0]["lr"] == 3e-4 and trials[1]["momentum"] == 0.5 and trials[1]["optimizer"] == "sgd"
    for t in trials:
        SPACE.validate(t.params)
    assert trials[2].params == study().ask().params


def test_views_are_read_only_and_have_no_copy() -> None:
    s = study()
    batch = s.ask_batch(10)
    s.tell_batch(batch.numbers, np.arange(10.0))
    assert s.columns["lr"].tolist() == batch.params["lr"].tolist()
    assert set(s.columns) == set(SPACE)
    assert np.shares_memory(s.columns["lr"], s.table.params)
    assert s.values.tolist() == list(range(10)) and (s.states == TrialState.COMPLETE).all()
    for view in (s.columns["lr"], s.values, s.states):
        with pytest.raises(ValueError, match="read-only"):
            view[0] = 1


def test_trials_are_a_lazy_sequence() -> None:
    s = study()
    s.ask_batch(100)
    assert len(s.trials) == 100 and s.trials[-1].number == 99
    assert [t.number for t in s.trials[10:13]] == [10, 11, 12]
    with pytest.raises(IndexError):
        s.trials[100]


def test_metrics_are_kept() -> None:
    s = study()
    s.tell(s.ask(), 1.0, metrics={"f1": 0.5, "loss": 2})
    s.tell(s.ask(), 1.0)
    s.tell(s.ask(), 1.0, metrics={"f1": 0.7})
    assert [t.metrics for t in s.trials] == [{"f1": 0.5, "loss": 2.0}, {}, {"f1": 0.7}]


def test_finite_space_is_used_up_without_repetition() -> None:
    stepped = fasthpo.Continuous(0, 1, step=0.5, when={"b": ["x"]})
    space = fasthpo.SearchSpace({"a": fasthpo.Discrete(1, 3), "b": fasthpo.Categorical(["x", "y"]), "c": stepped})
    assert space.size == 12
    for sampler in (
        fasthpo.RandomSampler(seed=0),
        fasthpo.TPESampler(seed=0),
        fasthpo.QMCSampler(seed=0),
        fasthpo.CmaEsSampler(4, seed=0),
        fasthpo.GridSampler(),
    ):
        s = fasthpo.Study(space, sampler=sampler)
        s.enqueue({"a": 2, "b": "y"})
        seen = set()
        for _ in range(12):
            trial = s.ask()
            s.tell(trial, float(trial["a"]) if trial["b"] == "x" else math.nan)
            seen.add(repr(trial.params))
        assert len(seen) == 12
        before = snapshot(s)
        with pytest.raises(fasthpo.SpaceExhausted, match="12 points"):
            s.ask()
        assert len(s.ask_batch(5)) == 0
        assert same(snapshot(s), before)


def test_batch_returns_what_is_left() -> None:
    space = fasthpo.SearchSpace({"a": fasthpo.Discrete(0, 9)})
    s = fasthpo.Study(space, sampler=fasthpo.RandomSampler(seed=0))
    assert len(s.ask_batch(7)) == 7
    assert len(s.ask_batch(7)) == 3
    grid = fasthpo.Study(
        fasthpo.SearchSpace({"a": fasthpo.Continuous(0, 1, n_points=10)}), sampler=fasthpo.GridSampler()
    )
    assert len(grid.ask_batch(7)) == 7 and len(grid.ask_batch(7)) == 3 and len(grid.ask_batch(7)) == 0


def test_many_threads_ask_report_and_tell() -> None:
    s = study(pruner=fasthpo.MedianPruner())
    errors = []

    def work() -> None:
        try:
            for _ in range(100):
                trial = s.ask()
                trial.report(trial["lr"], 0)
                trial.should_prune()
                s.tell(trial, trial["lr"])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors and len(s) == 800
    assert s.table.counts[TrialState.COMPLETE] == 800 and len(s.table.running) == 0
    assert sorted(s.table.draws) == list(range(800))
    assert s.best_value == s.values.min() == s.columns["lr"].min()


def test_own_sampler_by_two_methods() -> None:
    class Counting(fasthpo.Sampler):
        seen: list[int] = []  # noqa: RUF012

        def suggest(self, table: Any, draw: int) -> dict[str, Any]:
            return {"lr": 1e-3, "layers": draw % 4 + 1, "optimizer": "adam"}

        def observe(self, table: Any, number: int) -> None:
            self.seen.append(number)

    s = fasthpo.Study(SPACE, sampler=Counting())
    trials = [s.ask() for _ in range(3)]
    for i in (2, 0, 1):
        s.tell(trials[i], 1.0)
    assert [t["layers"] for t in trials] == [1, 2, 3]
    assert Counting.seen == [2, 0, 1]

    class Wrong(fasthpo.Sampler):
        def suggest(self, table: Any, draw: int) -> dict[str, Any]:
            return {"lr": 7.0, "layers": 1, "optimizer": "adam"}

    s = fasthpo.Study(SPACE, sampler=Wrong())
    with pytest.raises(fasthpo.InvalidParameters, match=r"'lr' must lie between"):
        s.ask()
    assert len(s) == 0


def test_metrics_beyond_a_thousand_names_are_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    study = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, sampler=fasthpo.RandomSampler(seed=0))
    study.tell(study.ask(), 1.0, metrics={f"m{i}": float(i) for i in range(998)})
    study.tell(study.ask(), 1.0, metrics={"a": 1.0, "m3": 2.0, "b": 3.0, "c": 4.0})
    study.tell(study.ask(), 1.0, metrics={"d": 1.0, "m4": 2.0})
    assert len(study.table.metrics) == 1000
    assert study.trials[1].metrics == {"a": 1.0, "m3": 2.0, "b": 3.0} and study.trials[2].metrics == {"m4": 2.0}
    assert "metric 'c' is not kept: a study has at most 1000 different ones" in caplog.text and "'d'" in caplog.text


@pytest.mark.parametrize("error", [ValueError("boom"), b"boom", 3, True, ["boom"]])
def test_an_error_that_is_no_string_is_refused_at_the_door_and_the_study_can_still_be_closed(
    error: object, tmp_path: Path
) -> None:
    with fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, storage=tmp_path / "study") as study:
        trial = study.ask()
        with pytest.raises(fasthpo.InvalidValue, match=r"error must be a string, such as str\(error\)"):
            study.tell(trial, state=TrialState.FAILED, error=error)  # type: ignore[arg-type]
        assert trial.state == TrialState.RUNNING
        study.tell(trial, state=TrialState.FAILED, error="boom\udcff" + "x" * 100_000 + "end")
    with fasthpo.Study.load(tmp_path / "study") as loaded:
        kept = loaded.trials[0].error
        assert kept == study.trials[0].error and kept.startswith("boom\udcffx") and kept.endswith("xend")
        assert "... (40008 characters are left out) ..." in kept and len(kept) < 70_000


def test_another_pruner_takes_up_what_has_happened_and_is_kept(tmp_path: Path) -> None:
    def go_on(study: fasthpo.Study, count: int) -> list[Any]:
        seen = []
        for _ in range(count):
            trial = study.ask()
            for step in range(3):
                trial.report(abs(trial["x"]) + step, step)
                if trial.should_prune():
                    study.tell(trial, state=TrialState.PRUNED)
                    break
            else:
                study.tell(trial, abs(trial["x"]))
            seen.append((trial.params, trial.state))
        return seen

    studies = [
        fasthpo.Study({"x": fasthpo.Continuous(-1, 1)}, sampler=fasthpo.TPESampler(seed=1), storage=tmp_path / str(i))
        for i in range(2)
    ]
    for study in studies:
        go_on(study, 30)
        study.pruner = fasthpo.MedianPruner()
        with pytest.raises(fasthpo.InvalidValue, match="pruner must be a Pruner"):
            study.pruner = 3  # type: ignore[assignment]
        go_on(study, 20)
    studies[1].close()
    with fasthpo.Study.load(tmp_path / "1") as loaded:
        assert isinstance(loaded.pruner, fasthpo.MedianPruner)
        assert go_on(loaded, 40) == go_on(studies[0], 40)
        assert loaded.table.counts[TrialState.PRUNED] > 10
        loaded.pruner = None
    with fasthpo.Study.load(tmp_path / "1") as loaded:
        assert loaded.pruner is None
    with pytest.raises(fasthpo.StudyClosed):
        loaded.pruner = fasthpo.MedianPruner()
