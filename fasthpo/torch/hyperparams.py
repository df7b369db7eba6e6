"""From a trial's parameters to the arguments of its training."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from fasthpo.errors import InvalidParameters, InvalidValue

Arguments = TypeVar("Arguments")

ALIASES = {
    "batch_size": "per_device_train_batch_size",
    "num_epochs": "num_train_epochs",
    "warmup_ratio": "warmup_steps",  # transformers 5 has no ratio: its steps are a share of all steps if less than 1
}
"""Other names in search spaces, and the arguments that they stand for where the arguments lack the name itself."""


def hyperparams_to_training_args(base: Arguments, params: Mapping[str, Any], strict: bool = True) -> Arguments:
    """`base` with the values of `params` in it; a new object of the same class, checked as any other of it.

    `batch_size` stands for `per_device_train_batch_size`, `num_epochs` for `num_train_epochs`, and with Hugging Face's
    arguments of version 5 `warmup_ratio` (less than 1) for `warmup_steps`.

    Args:
        base: a `fasthpo.torch.TrainingArguments`, Hugging Face's `transformers.TrainingArguments`, or any other
            dataclass of arguments.
        params: a trial, or any mapping of names to values.
        strict: an unknown name is an error; with False it is ignored, for spaces that also describe the model.

    Raises:
        InvalidParameters: an unknown name, or two names of one argument.
        InvalidValue: a value that the arguments refuse (as `base`'s own class says it), or a `base` that is no
            arguments.

    Example:
        >>> from fasthpo.torch import TrainingArguments, hyperparams_to_training_args
        >>> base = TrainingArguments("./output", num_train_epochs=5)
        >>> args = hyperparams_to_training_args(base, {"learning_rate": 0.01, "batch_size": 64})
        >>> args.learning_rate, args.per_device_train_batch_size, args.num_train_epochs
        (0.01, 64, 5.0)
    """
    if not dataclasses.is_dataclass(base) or isinstance(base, type):
        raise InvalidValue(f"base must be an object with training arguments, such as TrainingArguments(), got {base!r}")
    if not isinstance(params, Mapping):
        raise InvalidValue(f"params must be a trial or a mapping of names to values, got {params!r}")
    known = [field.name for field in dataclasses.fields(base) if field.init]
    changes: dict[str, Any] = {}
    for given, value in params.items():
        name = given if given in known else ALIASES.get(given, given)
        if name not in known:
            if strict:
                raise InvalidParameters(_unknown(given, known, type(base).__name__))
            continue
        if name in changes:
            raise InvalidParameters(f"{name!r} is given twice, by two names; params have {list(params)}")
        changes[name] = value
    return dataclasses.replace(base, **changes)


def split_params(params: Mapping[str, Any], names: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """`params` that are arguments of the names given, by their full names, and the others."""
    mine: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for given, value in params.items():
        name = given if given in names else ALIASES.get(given, given)
        if name in names:
            mine[name] = value
        else:
            others[given] = value
    return mine, others


def _unknown(name: str, known: list[str], kind: str) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    return f"{kind} has no argument {name!r}{hint} To leave names out that are none, pass strict=False. It has {known}"
