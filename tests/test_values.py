"""Values and columns of other libraries: NumPy's, pandas', Polars', Arrow's, torch's, and anything that is a number."""

from __future__ import annotations

import array
import math
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo import TrialState
from fasthpo.execution.attempt import run_attempt
from fasthpo.execution.objective import OutcomeSpec, read_outcome
from fasthpo.values import steady_repr, steady_str

pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")
torch = pytest.importorskip("torch")

NAN = math.nan


class HasFloat:
    """As a number of a library that is not known here."""

    def __float__(self) -> float:
        return 1.5


class HasArray:
    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.array([1.5])


class Broken:
    """As a tensor whose memory was freed."""

    shape = (1,)

    def item(self) -> float:
        raise RuntimeError("deleted")

    def __float__(self) -> float:
        raise RuntimeError("deleted")

    def __repr__(self) -> str:
        raise RuntimeError("deleted")


class Lost:
    """As an array on a machine that is gone."""

    @property
    def dtype(self) -> Any:
        raise RuntimeError("gone")

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise RuntimeError("gone")


NUMBERS = [
    1.5, np.float64(1.5), np.float32(1.5), np.float16(1.5), np.longdouble(1.5), np.array(1.5), np.array([1.5]), np.array([[1.5]]),
    np.array([1.5], object), np.ma.array([1.5]), Decimal("1.5"), Fraction(3, 2), HasFloat(), HasArray(),
    torch.tensor(1.5), torch.tensor([[1.5]]), torch.tensor(1.5, requires_grad=True) * 1, torch.nn.Parameter(torch.tensor([1.5])),
    torch.tensor(1.5, dtype=torch.bfloat16), torch.tensor(1.5).to(torch.float8_e4m3fn),
    pd.Series([1.5], index=[7]), pd.DataFrame({"loss": [1.5]}), pa.scalar(1.5), pa.array([1.5]),
]  # fmt: skip
MISSING = [
    NAN, np.ma.masked, np.ma.array(5.0, mask=True), np.ma.array([5], mask=[True]), np.longdouble("nan"), Decimal("NaN"), pd.NA,
    pd.Series([pd.NA], dtype="Float64"), pa.scalar(None, pa.float64()), pa.array([None], pa.float64()),
]  # fmt: skip
NO_NUMBERS = [
    "1.5", b"1", True, np.True_, 1 + 0j, np.complex128(1), [1.5], {"loss": 1.5}, np.array([1.0, 2.0]), np.array([]), np.array([None]),
    np.datetime64("2020-01-01", "ns"), np.timedelta64(5, "ns"), np.array(5, "m8[ns]"), pd.NaT, pd.Timestamp("2020-01-01"),
    pd.Series([1.0, 2.0]), torch.tensor([1.0, 2.0]), torch.tensor(True), torch.tensor(1j), torch.empty((), device="meta"),
    pa.scalar("x"), Decimal("sNaN"), 10**400, 10**6000, Decimal("1e400"), Fraction(10**400), np.longdouble("1e4000"), float, object(), Broken(), Lost(),
]  # fmt: skip
if np.finfo(np.longdouble).max == np.finfo(np.float64).max:  # on Windows and on Apple's machines
    NO_NUMBERS = [one for one in NO_NUMBERS if not isinstance(one, np.longdouble)]


def study() -> fasthpo.Study:
    return fasthpo.Study({"x": fasthpo.Continuous(0.0, 5.0)}, sampler=fasthpo.RandomSampler(seed=0))


def told(s: fasthpo.Study, value: Any) -> tuple[TrialState, float | None]:
    trial = s.ask()
    s.tell(trial, value)
    return trial.state, trial.value


def told_in_a_batch(s: fasthpo.Study, value: Any) -> tuple[TrialState, float | None]:
    trial = s.ask()
    s.tell_batch([trial.number], [value])
    return trial.state, trial.value


def added(s: fasthpo.Study, value: Any) -> tuple[TrialState, float | None]:
    trial = s.trials[int(s.add_trials({"x": [0.5]}, [value])[0])]
    return trial.state, trial.value


def returned(s: fasthpo.Study, value: Any) -> tuple[TrialState, float | None]:
    return told(s, read_outcome(value, OutcomeSpec()).value or NAN)


def returned_by_name(s: fasthpo.Study, value: Any) -> tuple[TrialState, float | None]:
    return told(s, read_outcome({"loss": value}, OutcomeSpec(("loss",))).value or NAN)


def returned_as_metrics(s: fasthpo.Study, value: Any) -> tuple[TrialState, float | None]:
    metrics = fasthpo.TrialMetrics(value)
    assert type(metrics.value) in (float, tuple)  # of several numbers
    return told(s, read_outcome(fasthpo.TrialResult.success(metrics), OutcomeSpec()).value or NAN)


WAYS = [told, told_in_a_batch, added, returned, returned_by_name, returned_as_metrics]


@pytest.mark.parametrize("way", WAYS)
def test_a_number_of_any_library_is_a_value(way: Callable[..., Any]) -> None:
    s = study()
    for value in NUMBERS:
        assert way(s, value) == (TrialState.COMPLETE, 1.5), repr(value)


@pytest.mark.parametrize("way", WAYS)
def test_a_missing_number_is_a_failure(way: Callable[..., Any]) -> None:
    s = study()
    for value in MISSING:
        assert way(s, value) == (TrialState.FAILED, None), repr(value)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_no_number_is_refused_in_our_words_and_nothing_is_lost(way: Callable[..., Any]) -> None:
    s = study()
    for value in NO_NUMBERS:
        if way is returned and isinstance(value, dict):
            continue  # metrics
        with pytest.raises(fasthpo.InvalidValue, match=r"must (be a number|fit into a float), got") as caught:
            way(s, value)
        assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)
    assert set(s.states) <= {TrialState.RUNNING}


def test_reports_metrics_and_parameters_agree_on_what_is_a_number() -> None:
    s = study()
    for value in NUMBERS:
        trial = s.ask()
        trial.report(value, np.array(3))
        s.tell(trial, 0.0, metrics={"f1": value})
        assert (trial.reports, trial.metrics) == ({3: 1.5}, {"f1": 1.5})
        assert s.trials[s.enqueue({"x": value})].params == {"x": 1.5}
        assert s.trials[int(s.add_trials({"x": [value]}, [0.0])[0])].params == {"x": 1.5}
        assert (
            run_attempt(lambda trial, value=value: (trial.report(value, 0), value)[1], s.ask(), OutcomeSpec()).value
            == 1.5
        )
    for value in [*NO_NUMBERS, None]:
        trial = s.ask()
        with pytest.raises(fasthpo.InvalidValue, match="value must"):
            trial.report(value, 0)
        with pytest.raises(fasthpo.InvalidValue, match="metric 'f1' must"):
            s.tell(trial, 0.0, metrics={"f1": value})
        with pytest.raises(fasthpo.InvalidParameters, match="'x' must"):
            s.enqueue({"x": value})
        with pytest.raises(fasthpo.InvalidParameters, match="'x' at position 1 must"):
            s.add_trials({"x": [0.5, value]}, [0.0, 0.0])
    for value in MISSING:
        trial = s.ask()
        trial.report(value, 0)
        assert list(map(math.isnan, trial.reports.values())) == [True]


def test_early_stopping_takes_the_same_numbers() -> None:
    for value in NUMBERS:
        stopper = fasthpo.EarlyStopping(fasthpo.EarlyStoppingConfig(patience=2), "minimize")
        stopper.update(value, step=torch.tensor(7))
        assert (stopper.best_value, stopper.best_step) == (1.5, 7)


def test_a_state_that_is_none_is_refused() -> None:
    s = study()
    trial = s.ask()
    for state in (pd.NA, np.array([1, 2]), "FAILED", TrialState.PAUSED, 9):
        with pytest.raises(fasthpo.InvalidValue, match=r"a trial can be told COMPLETE, PRUNED or FAILED, .*got state="):
            s.tell(trial, state=state)
    assert s.tell(trial, state=np.int8(3)) == TrialState.FAILED


def test_metrics_that_are_no_mapping_are_refused() -> None:
    s = study()
    trial = s.ask()
    for metrics in (pd.Series({"f1": 1.0}), [1.0], 1.0):
        with pytest.raises(fasthpo.InvalidValue, match="metrics must map names to numbers, got"):
            s.tell(trial, 0.0, metrics=metrics)
    assert s.tell(trial, 0.0, metrics={}) == TrialState.COMPLETE


# --- columns

COLUMNS: dict[str, Callable[[], Any]] = {
    "list": lambda: [3.0, NAN, 1.0],
    "tuple of several types": lambda: (3, np.float32(NAN), Decimal(1)),
    "generator": lambda: (one for one in [3.0, NAN, 1.0]),
    "values of a dict": lambda: {"a": 3.0, "b": NAN, "c": 1.0}.values(),
    "deque": lambda: deque([3.0, NAN, 1.0]),
    "array.array": lambda: array.array("d", [3.0, NAN, 1.0]),
    "memoryview": lambda: memoryview(np.array([3.0, NAN, 1.0])),
    "array": lambda: np.array([3.0, NAN, 1.0]),
    "column of a matrix": lambda: np.array([[3.0], [NAN], [1.0]]),
    "float16": lambda: np.array([3.0, NAN, 1.0], np.float16),
    "long doubles": lambda: np.array([3.0, NAN, 1.0], np.longdouble),
    "objects": lambda: np.array([3.0, pd.NA, 1], object),
    "masked array": lambda: np.ma.array([3.0, -5.0, 1.0], mask=[False, True, False]),
    "masked integers": lambda: np.ma.array([3, -5, 1], mask=[False, True, False]),
    "masked column": lambda: np.ma.array([[3.0], [-5.0], [1.0]], mask=[[False], [True], [False]]),
    "masked long doubles": lambda: np.ma.array([3, -5, 1], np.longdouble, mask=[False, True, False]),
    "entries of a masked array": lambda: list(np.ma.array([3.0, -5.0, 1.0], mask=[False, True, False])),
    "tensor": lambda: torch.tensor([3.0, NAN, 1.0]),
    "tensor with gradients": lambda: torch.tensor([[3.0], [NAN], [1.0]], requires_grad=True),
    "bfloat16": lambda: torch.tensor([3.0, NAN, 1.0], dtype=torch.bfloat16, requires_grad=True),
    "float8": lambda: torch.tensor([3.0, NAN, 1.0]).to(torch.float8_e4m3fn),
    "tensors": lambda: [torch.tensor([3.0], requires_grad=True), torch.tensor(NAN), torch.tensor([[1.0]])],
    "sorted series": lambda: pd.Series([1.0, 3.0, NAN], index=[5, 0, 2]).iloc[[1, 2, 0]],
    "nullable floats": lambda: pd.Series([3.0, None, 1.0], dtype="Float64", index=[2, 0, 1]),
    "nullable integers": lambda: pd.Series([3, None, 1], dtype="Int64"),
    "series of Arrow's": lambda: pd.Series([3.0, None, 1.0], dtype="double[pyarrow]"),
    "series of objects": lambda: pd.Series([3.0, pd.NA, 1.0], dtype=object),
    "series of categories": lambda: pd.Series([3.0, NAN, 1.0], dtype="category"),
    "index": lambda: pd.Index([3.0, NAN, 1.0]),
    "data frame of one column": lambda: pd.DataFrame({"loss": [3.0, NAN, 1.0]}, index=[2, 1, 0]),
    "Arrow array": lambda: pa.array([3.0, None, 1.0]),
    "Arrow integers": lambda: pa.chunked_array([[3, None], [1]]),
    "Arrow decimals": lambda: pa.array([Decimal(3), None, Decimal(1)]),
    "Arrow scalars": lambda: list(pa.array([3.0, None, 1.0])),
}


@pytest.mark.parametrize("make", COLUMNS.values(), ids=COLUMNS)
def test_columns_of_all_kinds_are_taken_by_position_and_what_is_missing_has_failed(make: Callable[[], Any]) -> None:
    s = fasthpo.Study({"c": fasthpo.Categorical(["y", "n"]), "x": fasthpo.Continuous(0, 5, when={"c": "y"})})
    s.add_trials({"c": ["y", "n", "y"], "x": make()}, make())
    s.tell_batch(s.ask_batch(3).numbers, make())
    np.testing.assert_array_equal(s.values, [3.0, NAN, 1.0] * 2)
    assert s.states.tolist() == [TrialState.COMPLETE, TrialState.FAILED, TrialState.COMPLETE] * 2
    assert [trial.params for trial in s.trials[:3]] == [{"c": "y", "x": 3.0}, {"c": "n"}, {"c": "y", "x": 1.0}]


def test_polars_series_are_taken_by_position_and_a_null_has_failed() -> None:
    pl = pytest.importorskip("polars")
    series = [pl.Series([3.0, None, 1.0]), pl.Series([3, None, 1]), pl.Series([Decimal(3), None, Decimal(1)])]
    for column in [*series, pl.DataFrame({"loss": [3.0, None, 1.0]})]:
        s = study()
        s.tell_batch(pl.Series(s.ask_batch(3).numbers), column)
        assert s.states.tolist() == [TrialState.COMPLETE, TrialState.FAILED, TrialState.COMPLETE]
        assert s.values[[0, 2]].tolist() == [3.0, 1.0]
    assert told(study(), pl.Series([None], dtype=pl.Float64)) == (TrialState.FAILED, None)
    s = fasthpo.Study({"c": fasthpo.Categorical(["a", None, "b"])})
    s.add_trials({"c": pl.Series(["b", None, "a"], dtype=pl.Enum(["a", "b"]))}, [1.0, 2.0, 3.0])
    assert [trial["c"] for trial in s.trials] == ["b", None, "a"]


class OnADevice:
    """As a tensor, or an array of CuPy's, that NumPy can't see."""

    def __init__(self, *held: float) -> None:
        self.held = held
        self.shape = (len(held),)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise TypeError("can't convert a tensor on a device: copy it to the host first")

    def __len__(self) -> int:
        return len(self.held)

    def item(self) -> float:
        (value,) = self.held
        return value

    def tolist(self) -> list[float]:
        return list(self.held)


def test_tensors_on_a_device_are_values_and_columns() -> None:
    s = study()
    assert told(s, OnADevice(1.5)) == (TrialState.COMPLETE, 1.5)
    s.add_trials({"x": OnADevice(3.0, 4.0)}, OnADevice(1.0, NAN))
    assert s.columns["x"][1:].tolist() == [3.0, 4.0] and s.states.tolist() == [1, 1, 3]
    with pytest.raises(fasthpo.InvalidValue, match="value must be a number"):
        told(s, OnADevice(1.0, 2.0))


@pytest.mark.gpu
def test_tensors_on_a_gpu_are_values_and_columns() -> None:
    s = study()
    losses = torch.tensor([[3.0], [NAN]], device="cuda", dtype=torch.bfloat16, requires_grad=True)
    s.add_trials({"x": losses.detach()[:1, 0].repeat(2)}, losses)
    trial = s.ask()
    trial.report(losses[0], torch.tensor(1, device="cuda"))
    assert told(s, losses[0, 0]) == (TrialState.COMPLETE, 3.0) and trial.reports == {1: 3.0}
    assert s.states.tolist()[:2] == [TrialState.COMPLETE, TrialState.FAILED]


def test_choices_are_taken_by_position_from_every_kind_of_column() -> None:
    chosen: list[Any] = ["b", None, "a"]
    columns = [
        chosen, iter(chosen), np.array(chosen, object), np.ma.array(["b", "z", "a"], mask=[False, True, False]),
        pd.Series(chosen, index=[2, 0, 1]), pd.Series(chosen, dtype=object), pd.Series(chosen, dtype="category"), pd.Series(chosen, dtype="string"),
        pa.array(chosen), pa.array(chosen).dictionary_encode(), pa.chunked_array([chosen]),
    ]  # fmt: skip
    for column in columns:
        s = fasthpo.Study({"c": fasthpo.Categorical(["a", None, "b"])})
        s.add_trials({"c": column}, pd.Series([1.0, 2.0, 3.0], index=[1, 2, 0]))
        assert [trial["c"] for trial in s.trials] == chosen, repr(column)
        with pytest.raises(fasthpo.InvalidParameters, match="'c' at position 1 must be one of"):
            fasthpo.Study({"c": fasthpo.Categorical(["a", "b"])}).add_trials({"c": chosen}, [1.0, 2.0, 3.0])
    for column in (
        [True, False],
        np.array([True, False]),
        pd.Series([True, False], dtype="boolean"),
        torch.tensor([True, False]),
    ):
        s = fasthpo.Study({"c": fasthpo.Categorical([0, 1, True, False])})
        s.add_trials({"c": column}, [1.0, 2.0])
        assert [trial["c"] for trial in s.trials] == [True, False] and all(type(t["c"]) is bool for t in s.trials)
    s = fasthpo.Study({"c": fasthpo.Categorical([1.0, 1, 2.5])})
    s.add_trials({"c": [1, 2.5, 1.0]}, [1.0, 2.0, 3.0])
    assert [repr(trial["c"]) for trial in s.trials] == ["1", "2.5", "1.0"]


def test_a_sorted_data_frame_keeps_its_rows() -> None:
    frame = pd.DataFrame({"opt": ["adam", "sgd", "adam"], "lr": [0.1, 0.2, 0.3], "loss": [2.0, 1.0, 3.0]})
    for runs in (frame.sort_values("loss"), frame[frame.loss < 2.5], frame.set_index("opt", drop=False).sort_index()):
        s = fasthpo.Study({"opt": fasthpo.Categorical(["adam", "sgd"]), "lr": fasthpo.Continuous(0, 1)})
        s.add_trials({name: runs[name] for name in ("opt", "lr")}, runs["loss"])
        assert [tuple(trial.params.values()) for trial in s.trials] == list(zip(runs.opt, runs.lr, strict=True))
        assert s.best_params == {"opt": "sgd", "lr": 0.2}
    with pytest.raises(fasthpo.InvalidParameters, match=r"must map names to columns.*make it \{name: frame\[name\]"):
        s.add_trials(frame[["opt", "lr"]], frame["loss"])


def test_trial_numbers_come_in_every_container() -> None:
    columns = [
        [2, 0, 1], iter([2, 0, 1]), (np.int8(2), 0, torch.tensor(1)), np.array([2, 0, 1], np.uint64), np.array([2.0, 0.0, 1.0]),
        np.array([[2], [0], [1]]), np.ma.array([2, 0, 1]), torch.tensor([2, 0, 1]), pd.Series([2, 0, 1], index=[0, 1, 2]), pd.Index([2, 0, 1]),
        pd.Series([2, 0, 1], dtype="Int64"), pd.Series([2.0, 0.0, 1.0]), pa.array([2, 0, 1]),
    ]  # fmt: skip
    for numbers in columns:
        s = study()
        s.ask_batch(3)
        s.tell_batch(numbers, pd.Series([1.0, 2.0, 3.0], index=[2, 1, 0]))
        assert s.values.tolist() == [2.0, 3.0, 1.0], repr(numbers)
    s = study()
    s.ask_batch(5)
    for row in (3.0, np.int64(1), np.array(2), torch.tensor(0)):
        s.tell(row, 1.0)
    for bad in (0.5, NAN, True, "4", None, np.ma.masked, 2**64, np.datetime64(4, "ns"), Decimal(4)):
        with pytest.raises(fasthpo.InvalidValue, match=r"trial numbers must be integers, got numbers\[1\]="):
            s.tell_batch([4, bad], [1.0, 2.0])
    assert s.trials[4].state == TrialState.RUNNING


BAD_COLUMNS = [
    ("abc", "values must be a one-dimensional array or a list, got 'abc'"),
    ({"a": 1.0}, "values must be a one-dimensional array or a list, got {'a': 1.0}"),
    ({1.0, 2.0}, "values must be a one-dimensional array or a list"),
    (3.0, "values must be a one-dimensional array or a list, got 3.0"),
    (None, "values must be a one-dimensional array or a list, got None"),
    (np.array(1.0), r"values must be one-dimensional, got an array of shape \(\)"),
    (np.zeros((1, 3)), r"values must be one-dimensional, got an array of shape \(1, 3\)"),
    (pd.DataFrame(np.zeros((3, 2))), r"values must be one-dimensional, got an array of shape \(3, 2\)"),
    (torch.empty(3, device="meta"), "values must be a one-dimensional array or a list, got tensor"),
    ([1.0, 2.0], r"values must be 3 numbers, got an array of shape \(2,\)"),
    ([1.0, None, 2.0], r"values\[1\] must be a number, got None; a trial that failed has NaN"),
    ([1.0, 2.0, True], r"values\[2\] must be a number, got True"),
    ([1.0, [2.0], 3.0], r"values\[1\] must be a number, got \[2.0\]"),
    (np.array([True, False, True]), r"values\[0\] must be a number, got np.True_"),
    (np.array([1.0, 1j, 2.0]), r"values\[0\] must be a number"),
    (np.array(["1", "x", "2"]), r"values\[0\] must be a number, got np.str_\('1'\)"),
    (np.array([1, 2, 3], "M8[ns]"), r"values\[0\] must be a number, got np.datetime64"),
    (pd.Series([True, None, False], dtype="boolean"), r"values\[0\] must be a number, got True"),
    (pd.to_timedelta([1, 2, 3]), r"values\[0\] must be a number, got np.timedelta64"),
    (pa.array(["1", None, "2"]), r"values\[0\] must be a number, got '1'"),
    ([1.0, 10**400, 2.0], r"values\[1\] must fit into a float, got 1000"),
    (Lost(), "values must be a one-dimensional array or a list, got <"),
    ([1.0, 2.0, Broken()], r"values\[2\] must be a number, got <Broken>"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "message"), BAD_COLUMNS)
def test_a_column_that_is_none_is_refused_by_name_and_index(values: Any, message: str) -> None:
    s = study()
    numbers = s.ask_batch(3).numbers
    with pytest.raises(fasthpo.InvalidValue, match=message):
        s.tell_batch(numbers, values)
    with pytest.raises(fasthpo.InvalidValue, match=message):
        s.add_trials({"x": [0, 1, 2]}, values)
    assert s.states.tolist() == [TrialState.RUNNING] * 3


def test_nothing_of_these_libraries_is_imported_to_tell_what_a_value_is() -> None:
    program = (
        "import sys, numpy as np, fasthpo as f\n"
        "s = f.Study({'x': f.Continuous(0, 5)}, sampler=f.RandomSampler(seed=0))\n"
        "s.tell(s.ask(), np.ma.masked)\n"
        "s.add_trials({'x': (i for i in range(3))}, np.ma.array([1, 2, 3], mask=[1, 0, 0]))\n"
        "try: s.tell(s.ask(), object())\n"
        "except f.InvalidValue: pass\n"
        "assert not {'torch', 'pandas', 'polars', 'pyarrow', 'jax'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_sets_read_the_same_in_every_process_and_all_else_as_python_writes_it() -> None:
    one, same = frozenset([8, 0, 16]), frozenset([16, 8, 0])
    assert repr(one) != repr(same)
    for wrap in (lambda x: x, lambda x: (x,), lambda x: [1, x], lambda x: {"a": (x, "b")}, lambda x: frozenset([x])):
        assert steady_repr(wrap(one)) == steady_repr(wrap(same))
        assert eval(steady_repr(wrap(one))) == wrap(one)
    for value in ("a'b", 1, 1.5, None, True, (), (1,), ("a", (2,)), [], {}, {"a": [1]}, frozenset(), frozenset([1])):
        assert steady_repr(value) == repr(value) and steady_str(value) == str(value)
