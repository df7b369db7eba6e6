"""The object that a training loop asks whether to go on."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthpo.errors import InvalidValue
from fasthpo.tuner.config import EarlyStoppingConfig, TunerConfig
from fasthpo.tuner.early_stopping import EarlyStopping


class Model:
    """The least that has weights; they are changed in place, as an optimizer does."""

    def __init__(self) -> None:
        self.weights = np.zeros(3)

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.weights, "nested": {"list": [self.weights]}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert state["nested"]["list"][0] is not self.weights
        self.weights[:] = state["weights"]


def run(values: list[float], direction: str = "minimize", **config: Any) -> tuple[EarlyStopping, int]:
    """A stopper after the values up to where it stopped, and how many those were."""
    stopper = EarlyStopping(EarlyStoppingConfig(**config), direction)
    for count, value in enumerate(values, 1):
        if stopper.update(value):
            return stopper, count
    return stopper, len(values)


def naive(values: list[float], direction: str, patience: int, min_delta: float) -> tuple[float | None, int | None, int]:
    """Best value, its step, and after how many values to stop; by the definition, with a search backwards."""
    best: list[tuple[int, float]] = []
    for step, value in enumerate(values):
        sign = 1 if direction == "minimize" else -1
        if math.isfinite(value) and (not best or sign * (best[-1][1] - value) > min_delta):
            best.append((step, value))
        if step - (best[-1][0] if best else -1) >= patience:
            break
    return (best[-1][1], best[-1][0], step + 1) if best else (None, None, step + 1)


values_with_everything = st.lists(
    st.one_of(st.integers(-3, 3).map(float), st.floats(-10, 10), st.sampled_from([math.nan, math.inf, -math.inf])),
    min_size=1, max_size=30,
)  # fmt: skip


@given(values_with_everything, st.sampled_from(["minimize", "maximize"]), st.integers(1, 5), st.sampled_from([0, 0.5]))
def test_agrees_with_the_definition(values: list[float], direction: str, patience: int, min_delta: float) -> None:
    stopper, count = run(values, direction, patience=patience, min_delta=min_delta)
    assert (stopper.best_value, stopper.best_step, count) == naive(values, direction, patience, min_delta)


def test_patience_is_read() -> None:
    worse = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert [run(worse, patience=patience)[1] for patience in (1, 2, 4)] == [2, 3, 5]
    stopper, count = run([1.0, 2.0, 0.5, 2.0, 2.0], patience=2)
    assert (count, stopper.best_value, stopper.best_step, stopper.should_stop) == (5, 0.5, 2, True)


def test_min_delta_is_read_and_must_be_exceeded() -> None:
    slow = [4.0, 3.75, 3.5, 3.25, 3.0]
    assert run(slow, patience=2, min_delta=0.0)[1] == 5
    stopper, count = run(slow, patience=2, min_delta=0.5)
    assert (count, stopper.best_value) == (3, 4.0)  # better by 0.5 is not more than 0.5
    stopper, count = run(slow, patience=3, min_delta=0.5)
    assert (count, stopper.best_value, stopper.best_step) == (5, 3.25, 3)  # small steps add up


def test_direction_is_read() -> None:
    rising = [1.0, 2.0, 3.0]
    assert run(rising, "maximize", patience=1)[0].best_value == 3.0
    assert run(rising, "minimize", patience=1)[0].best_value == 1.0


def test_equal_values_do_not_improve() -> None:
    assert run([1.0] * 10, patience=3)[1] == 4


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_values_that_are_not_finite_use_up_patience(bad: float, direction: str) -> None:
    stopper, count = run([bad, bad, 1.0, bad, bad, bad, bad], direction, patience=3)
    assert (count, stopper.best_value, stopper.best_step) == (6, 1.0, 2)
    stopper, count = run([bad] * 5, direction, patience=3)
    assert (count, stopper.best_value, stopper.best_step) == (3, None, None)


def test_best_step_is_the_one_given() -> None:
    stopper = EarlyStopping()
    for step, value in [(100, 3.0), (200, 1.0), (300, 2.0)]:
        stopper.update(value, step=step)
    assert stopper.best_step == 200


def test_weights_of_the_best_value_come_back() -> None:
    stopper, model = EarlyStopping(EarlyStoppingConfig(patience=2)), Model()
    for value in [3.0, 1.0, 2.0, 2.0]:
        model.weights += 1  # in place, so that an aliased copy would change too
        stopper.update(value, model)
    assert stopper.should_stop
    assert stopper.restore(model)
    assert model.weights.tolist() == [2.0, 2.0, 2.0]
    model.weights += 5
    assert stopper.restore(model)  # the copy is still as it was
    assert model.weights.tolist() == [2.0, 2.0, 2.0]


def test_restore_best_weights_false_keeps_nothing() -> None:
    stopper, model = EarlyStopping(EarlyStoppingConfig(restore_best_weights=False)), Model()
    model.state_dict = None  # type: ignore[assignment,method-assign]  # would raise if called
    stopper.update(1.0, model)
    model.weights += 1
    assert not stopper.restore(model)
    assert model.weights.tolist() == [1.0, 1.0, 1.0]


def test_restore_without_weights_is_an_error_and_without_a_value_is_not() -> None:
    stopper, model = EarlyStopping(), Model()
    stopper.update(math.nan, model)
    assert not stopper.restore(model)
    stopper.update(2.0, model)
    stopper.update(1.0)  # better, but without its model: the older weights are not the best ones any more
    with pytest.raises(InvalidValue, match=r"call update\(value, model\)"):
        stopper.restore(model)


def test_bad_arguments_leave_it_unchanged() -> None:
    stopper = EarlyStopping()
    stopper.update(1.0)
    for arguments, message in [
        (("low",), "value must be a number"),
        ((None,), "value must be a number"),
        ((0.5, None, 1.5), "step must be an integer"),
        ((0.5, object()), "state_dict"),
    ]:
        with pytest.raises(InvalidValue, match=message):
            stopper.update(*arguments)  # type: ignore[arg-type]
    assert (stopper.best_value, stopper.best_step, stopper.updates_since_best) == (1.0, 0, 0)
    with pytest.raises(InvalidValue, match="direction"):
        EarlyStopping(direction="down")
    with pytest.raises(InvalidValue, match="EarlyStoppingConfig"):
        EarlyStopping(TunerConfig("a"))  # type: ignore[arg-type]


def test_with_a_torch_model() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    stopper, seen = EarlyStopping(EarlyStoppingConfig(patience=2), "maximize"), []
    for accuracy in [0.1, 0.9, 0.2, 0.3]:
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        stop = stopper.update(torch.tensor([accuracy]), model)
        optimizer.zero_grad()
        model(torch.randn(8, 4)).square().sum().backward()
        optimizer.step()
    assert stop
    assert not torch.equal(model.state_dict()["0.weight"], seen[1]["0.weight"])
    assert stopper.restore(model)
    for name, value in model.state_dict().items():
        assert torch.equal(value, seen[1][name]), name
    assert all(not value.requires_grad for value in stopper._weights.values())
    assert stopper._weights._metadata == model.state_dict()._metadata


def test_does_not_import_torch() -> None:
    code = "import sys, fasthpo.tuner.early_stopping; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_going_on_from_a_state() -> None:
    """Another object with the state of the first does with all further values what the first would have done."""
    values = [5.0, 3.0, 4.0, 3.5, 2.0, 2.5, math.nan, 2.4, 9.0]
    config = EarlyStoppingConfig(patience=3)
    for cut in range(len(values)):
        model, first, second = Model(), EarlyStopping(config), EarlyStopping(config)
        for value in values[:cut]:
            model.weights[:] = value
            first.update(value, model)
        second.load_state_dict(first.state_dict())
        for value in values[cut:]:
            model.weights[:] = value
            assert first.update(value, model) == second.update(value, model)
            assert first.best_step == second.best_step
        assert second.restore(model) and (model.weights == 2.0).all()
    with pytest.raises(InvalidValue, match=r"the state of an EarlyStopping must have .*, without \['weights'\]"):
        second.load_state_dict({name: None for name in first.state_dict() if name != "weights"})
