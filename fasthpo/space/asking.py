"""Parameters as a running objective asks for them: `trial.suggest_float("x", 0, 1)` and its kin."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fasthpo.errors import InvalidSearchSpace
from fasthpo.space.choice_values import choice_key
from fasthpo.space.kinds import Categorical, Continuous, Discrete, LogUniform
from fasthpo.space.parameter import Parameter, check_boolean, check_finite, check_integer
from fasthpo.system.log import logger
from fasthpo.values import shown

_MOST_KNOWN = 4096  # definitions that are kept, so that asking for one again costs no checks


def float_parameter(low: float, high: float, step: float | None, log: bool) -> Parameter:
    """A float from `low` to `high`.

    Raises:
        InvalidSearchSpace: a bound or the step is not what it must be, or both `step` and `log` are given.
    """
    try:
        return _float(low, high, step, log)
    except TypeError:  # what can't be looked up, such as an array
        return _float.__wrapped__(low, high, step, log)


@functools.lru_cache(_MOST_KNOWN, typed=True)
def _float(low: float, high: float, step: float | None, log: bool) -> Parameter:
    low, high = check_finite("low", low), check_finite("high", high)
    if check_boolean("log", log):
        if step is not None:
            raise InvalidSearchSpace(f"give step or log, not both, got step={shown(step)}, log=True")
        return LogUniform(low, high)
    if step is None:
        return Continuous(low, high)
    step = check_finite("step", step)
    if step > 0 and low < high:
        high = _fitting(low, high, step)
    return Continuous(low, high, step)


def int_parameter(low: int, high: int, step: int, log: bool) -> Parameter:
    """An integer from `low` to `high`.

    Raises:
        InvalidSearchSpace: a bound or the step is not what it must be, or `log` goes with a step.
    """
    try:
        return _int(low, high, step, log)
    except TypeError:
        return _int.__wrapped__(low, high, step, log)


@functools.lru_cache(_MOST_KNOWN, typed=True)
def _int(low: int, high: int, step: int, log: bool) -> Parameter:
    low, high, step = check_integer("low", low), check_integer("high", high), check_integer("step", step)
    if check_boolean("log", log) and step != 1:
        raise InvalidSearchSpace(f"give step or log, not both, got step={step}, log=True")
    if step > 0 and low < high and (beyond := (high - low) % step):
        _say_shortened(low, high, step, high - beyond)
        high -= beyond
    return Discrete(low, high, step, log)


def choice_parameter(choices: Sequence[Any]) -> Parameter:
    """One of several choices.

    Raises:
        InvalidSearchSpace: they are not what choices must be.
    """
    if isinstance(choices, (str, bytes, set, frozenset, Mapping)):
        return Categorical(choices)  # which says what is wrong with it
    try:
        listed = tuple(choices)
        return _choice(listed, choice_key(listed))  # 1 and True are one key, unless their types are part of it
    except TypeError:
        return Categorical(choices)


@functools.lru_cache(_MOST_KNOWN)
def _choice(choices: tuple[Any, ...], key: Any) -> Parameter:
    return Categorical(choices)


def _fitting(low: float, high: float, step: float) -> float:
    """The largest bound up to `high` that lies whole steps above `low`."""
    steps = (high - low) / step
    if not math.isfinite(steps) or abs(steps - round(steps)) <= 1e-8 * max(1.0, steps):
        return high
    fit = low + math.floor(steps) * step
    _say_shortened(low, high, step, fit)
    return fit


def _say_shortened(low: float, high: float, step: float, fit: float) -> None:
    logger.warning("step=%s does not divide high - low (low=%s, high=%s): values go up to %s", step, low, high, fit)
