"""Early stopping inside one trial: a training loop asks whether it still gets better."""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Protocol

from fasthpo.errors import InvalidValue
from fasthpo.trials.objectives import Objectives, check_direction
from fasthpo.tuner.config import EarlyStoppingConfig
from fasthpo.values import as_number, element, shown


class HasState(Protocol):
    """Anything with weights to keep, such as a `torch.nn.Module`."""

    def state_dict(self) -> Any: ...
    def load_state_dict(self, state: Any) -> Any: ...


class EarlyStopping:
    """Watches one value over a training loop, says when to stop, and keeps the best weights.

    A value improves if it is better than the best one by more than `min_delta`. NaN and infinities never improve and
    count against the patience. Use a new object for each trial. `tuner.early_stopping()` makes one with the study's
    direction; make one yourself to watch a value with another direction.

    Args:
        config: patience, min_delta, restore_best_weights.
        direction: "minimize" or "maximize": which values are better.

    Raises:
        InvalidValue: an unknown direction.

    Example:
        An objective that stops when the loss has not improved for 2 epochs:

        >>> import fasthpo
        >>> config = fasthpo.TunerConfig("demo", max_trials=3, early_stopping=fasthpo.EarlyStoppingConfig(patience=2))
        >>> tuner = fasthpo.HyperparameterTuner.with_random_search(config, {"rate": fasthpo.Continuous(0.1, 1.0)})
        >>> def objective(trial):
        ...     stopper = tuner.early_stopping()
        ...     for epoch in range(100):
        ...         loss = abs(1.0 - trial["rate"] * epoch)
        ...         if stopper.update(loss, step=epoch):  # with a torch model: stopper.update(loss, model)
        ...             break
        ...     return stopper.best_value  # and before it: stopper.restore(model)
        >>> tuner.optimize(objective).statistics.completed_trials
        3
    """

    def __init__(self, config: EarlyStoppingConfig | None = None, direction: str = "minimize") -> None:
        if config is not None and not isinstance(config, EarlyStoppingConfig):
            raise InvalidValue(f"config must be an EarlyStoppingConfig, got {shown(config)}")
        self.config = config or EarlyStoppingConfig()
        self.direction = check_direction(direction)
        self.best_value: float | None = None  #: the best value so far; None before the first finite one
        self.best_step: int | None = None  #: the step at which it came
        self.updates_since_best: int = 0  #: how many values in a row did not improve
        self._updates = 0
        self._weights: Any = None

    @property
    def should_stop(self) -> bool:
        """Whether `patience` values in a row have not improved."""
        return self.updates_since_best >= self.config.patience

    def update(self, value: float, model: HasState | None = None, step: int | None = None) -> bool:
        """Take the next value; whether to stop.

        Args:
            value: the value watched, such as this epoch's validation loss.
            model: whose weights to copy to the CPU's memory if this is the best value so far; only done with
                `restore_best_weights`.
            step: where the loop is, for `best_step`; by default the values are counted from 0.

        Raises:
            InvalidValue: value is no number, step no integer, or model has no weights.
        """
        number = as_number("value", value)
        step = self._updates if step is None else element(step)
        if isinstance(step, bool) or not isinstance(step, int):
            raise InvalidValue(f"step must be an integer, got step={shown(step)}")
        if model is not None and not (hasattr(model, "state_dict") and hasattr(model, "load_state_dict")):
            raise InvalidValue(f"model must have state_dict and load_state_dict, got {type(model).__name__}")
        self._updates += 1
        if not self._improves(number):
            self.updates_since_best += 1
            return self.should_stop
        self.best_value, self.best_step, self.updates_since_best = number, step, 0
        keep = model is not None and self.config.restore_best_weights
        self._weights = _copied(model.state_dict()) if keep and model is not None else None
        return False

    def _improves(self, value: float) -> bool:
        if not math.isfinite(value):
            return False
        if self.best_value is None:
            return True
        loss = Objectives(self.direction).loss
        return loss(self.best_value) - loss(value) > self.config.min_delta

    def restore(self, model: HasState) -> bool:
        """Give `model` the weights it had at the best value; whether there was something to restore.

        False with `restore_best_weights=False`, and if no value was finite.

        Raises:
            InvalidValue: the best value came with an `update` that was not given the model.
        """
        if not self.config.restore_best_weights or self.best_value is None:
            return False
        if self._weights is None:
            raise InvalidValue("no weights were kept at the best value; call update(value, model)")
        model.load_state_dict(self._weights)
        return True

    def state_dict(self) -> dict[str, Any]:
        """Where it stands, in plain values and the model's own weights, to go on from with `load_state_dict`."""
        return {
            "best_value": self.best_value,
            "best_step": self.best_step,
            "updates_since_best": self.updates_since_best,
            "updates": self._updates,
            "weights": self._weights,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned, perhaps in another process.

        Raises:
            InvalidValue: an entry is missing, or is not what `state_dict` returns. Then nothing has changed.

        Example:
            >>> stopper, again = EarlyStopping(), EarlyStopping()
            >>> _ = stopper.update(0.5)
            >>> again.load_state_dict(stopper.state_dict())
            >>> again.best_value
            0.5
        """
        if not isinstance(state, Mapping):
            raise InvalidValue(f"the state of an EarlyStopping must be a mapping, got {shown(state)}")
        missing = [name for name in self.state_dict() if name not in state]
        if missing:
            raise InvalidValue(f"the state of an EarlyStopping must have {list(self.state_dict())}, without {missing}")
        for name in ("updates_since_best", "updates"):
            if not _is_whole(state[name]) or state[name] < 0:
                raise InvalidValue(f"{name} must be an integer of at least 0, got {name}={shown(state[name])}")
        value, step = state["best_value"], state["best_step"]
        if (value is None) != (step is None):
            raise InvalidValue(f"best_value and best_step must be None together, got {shown(value)} and {shown(step)}")
        if value is not None and (not (isinstance(value, float) or _is_whole(value)) or not math.isfinite(value)):
            raise InvalidValue(f"best_value must be a finite number, got best_value={shown(value)}")
        if step is not None and not _is_whole(step):
            raise InvalidValue(f"best_step must be an integer, got best_step={shown(step)}")
        self.best_value, self.best_step = state["best_value"], state["best_step"]
        self.updates_since_best, self._updates = state["updates_since_best"], state["updates"]
        self._weights = state["weights"]


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _copied(state: Any) -> Any:
    """A copy of a state dict that shares nothing with it, tensors on the CPU; works without torch."""
    if hasattr(state, "detach") and hasattr(state, "to"):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, Mapping):
        kept = OrderedDict((name, _copied(value)) for name, value in state.items())
        if hasattr(state, "_metadata"):  # the versions that torch.nn.Module keeps beside its weights
            kept._metadata = copy.deepcopy(state._metadata)  # type: ignore[attr-defined]
        return kept
    if type(state) in (list, tuple):
        return type(state)(_copied(value) for value in state)
    return copy.deepcopy(state)
