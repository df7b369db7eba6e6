"""What a training is told before it starts. Everything is checked here, when it is made; torch is not needed for it."""

from __future__ import annotations

import math
import os
from dataclasses import KW_ONLY, asdict, dataclass, fields
from typing import Any, NamedTuple

from fasthpo.errors import InvalidValue
from fasthpo.system.paths import given_path
from fasthpo.values import as_number, check_flag, plain

OPTIMIZERS = ("adamw", "adam", "sgd")
SCHEDULES = ("constant", "linear", "cosine")
PRECISIONS = ("fp32", "fp16", "bf16")


class _Range(NamedTuple):
    """Which numbers a field may hold."""

    low: float
    high: float = math.inf  # never reached: every number is finite
    low_open: bool = False
    high_open: bool = False
    optional: bool = False

    def check(self, name: str, value: Any) -> float | None:
        if value is None and self.optional:
            return None
        number = as_number(name, value)
        above = number > self.low if self.low_open else number >= self.low
        below = number < self.high if self.high_open else number <= self.high
        if not (above and below and math.isfinite(number)):
            raise InvalidValue(f"{name} must be {self}, got {name}={number:g}")
        return number

    def __str__(self) -> str:
        least = f"{'greater than' if self.low_open else 'at least'} {self.low:g}"
        if math.isinf(self.high):
            return f"finite and {least}"
        return f"{least} and {'less than' if self.high_open else 'at most'} {self.high:g}"


_NUMBERS = {
    "learning_rate": _Range(0.0),
    "weight_decay": _Range(0.0),
    "num_train_epochs": _Range(0.0, low_open=True),
    "warmup_ratio": _Range(0.0, 1.0),
    "adam_beta1": _Range(0.0, 1.0, high_open=True),
    "adam_beta2": _Range(0.0, 1.0, high_open=True),
    "adam_epsilon": _Range(0.0, low_open=True),
    "momentum": _Range(0.0, 1.0, high_open=True),
    "max_grad_norm": _Range(0.0, low_open=True, optional=True),
}
_INTEGERS = {  # name -> the least it may be
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "dataloader_num_workers": 0,
}
_OPTIONAL_INTEGERS = {"max_steps": 1, "eval_steps": 1, "save_steps": 1}
_CHOICES = {"optimizer": OPTIMIZERS, "lr_scheduler_type": SCHEDULES, "precision": PRECISIONS}
_BOOLEANS = ("do_eval", "dataloader_drop_last")


@dataclass(frozen=True)
class TrainingArguments:
    """How a model is trained; the names are those of Hugging Face's class, where it has them.

    A step is one step of the optimizer, over `per_device_train_batch_size * gradient_accumulation_steps` samples.

    Args:
        output_dir: where checkpoints go, unless the trial has a `checkpoint_dir` of its own; a trial without one
            writes to `output_dir/trial-<number>`. `~` at its beginning is the home directory. None: nowhere.
        learning_rate: the rate at the top of the schedule.
        weight_decay: decoupled for "adamw"; for "adam" and "sgd" the gradient of an L2 penalty, as in torch.
        per_device_train_batch_size: samples of a batch.
        per_device_eval_batch_size: samples of a batch of the evaluation.
        num_train_epochs: passes over the training data; may be fractional. The schedule runs over them.
        max_steps: steps in all, instead of `num_train_epochs`.
        optimizer: "adamw", "adam" or "sgd". Sparse gradients, as of `nn.Embedding(..., sparse=True)`, stay sparse with
            plain "sgd", and become dense where there is momentum, weight decay, clipping or Adam.
        lr_scheduler_type: what comes after the warmup: "constant", "linear" (to zero) or "cosine" (half a wave to
            zero).
        warmup_ratio: the share of all steps over which the rate rises linearly from zero, 0 to 1.
        adam_beta1, adam_beta2, adam_epsilon: of "adamw" and "adam".
        momentum: of "sgd".
        max_grad_norm: the gradient's norm is clipped to this; None: it is not clipped.
        gradient_accumulation_steps: batches whose gradients are averaged, sample by sample, into one step; or by the
            trainer's `loss_weight`.
        do_eval: evaluate while training.
        eval_steps: steps between two evaluations; None: one at the end of each epoch.
        save_steps: steps between two checkpoints; None: none, except at the end of a multi-fidelity trial's share.
        precision: "fp32", or "fp16" and "bf16" for automatic mixed precision.
        dataloader_drop_last: leave out an epoch's last batch if it is smaller than the others.
        dataloader_num_workers: processes that load data sets; 0: this one does. Tensors are never loaded by others. A
            data set that draws from the global generators draws the same with any number of them, but not with 0.
        device: such as "cpu" or "cuda:1"; None: the GPU if there is one.
        seed: of the weights (where the trainer makes the model), the order of the data and dropout, 0 to 2**63 - 1.

    Raises:
        InvalidValue: an argument is out of its range, or of the wrong kind.

    Example:
        >>> args = TrainingArguments("./output", learning_rate=3e-4, num_train_epochs=10, warmup_ratio=0.1)
        >>> args.optimizer
        'adamw'
    """

    output_dir: str | os.PathLike[str] | None = None
    _: KW_ONLY
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    per_device_train_batch_size: int = 32
    per_device_eval_batch_size: int = 256
    num_train_epochs: float = 3.0
    max_steps: int | None = None
    optimizer: str = "adamw"
    lr_scheduler_type: str = "constant"
    warmup_ratio: float = 0.0
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    momentum: float = 0.0
    max_grad_norm: float | None = None
    gradient_accumulation_steps: int = 1
    do_eval: bool = True
    eval_steps: int | None = None
    save_steps: int | None = None
    precision: str = "fp32"
    dataloader_drop_last: bool = False
    dataloader_num_workers: int = 0
    device: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        checked: dict[str, Any] = {}
        for name, numbers in _NUMBERS.items():
            checked[name] = numbers.check(name, getattr(self, name))
        for name, least in _INTEGERS.items():
            checked[name] = _integer(name, getattr(self, name), least)
        for name, least in _OPTIONAL_INTEGERS.items():
            value = getattr(self, name)
            checked[name] = None if value is None else _integer(name, value, least)
        checked["seed"] = _integer("seed", self.seed, 0)
        if checked["seed"] >= 2**63:
            raise InvalidValue(f"seed must be at most 2**63 - 1, got seed={self.seed}")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise InvalidValue(f"{name} must be one of {list(choices)}, got {name}={getattr(self, name)!r}")
        for name in _BOOLEANS:
            checked[name] = check_flag(name, getattr(self, name))
        if self.device is not None and not isinstance(self.device, str):
            raise InvalidValue(f'device must be None or a string such as "cuda:0", got device={self.device!r}')
        if self.output_dir is not None:
            checked["output_dir"] = given_path("output_dir", self.output_dir, "None or a directory's path")
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def to_dict(self) -> dict[str, Any]:
        """The arguments in plain values."""
        return {**asdict(self), "output_dir": None if self.output_dir is None else str(self.output_dir)}

    @classmethod
    def names(cls) -> list[str]:
        """The names of all arguments."""
        return [one.name for one in fields(cls)]


def _integer(name: str, value: Any, least: int) -> int:
    number = plain(value)
    if isinstance(number, float) and number.is_integer():  # as other libraries' samplers give them
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        raise InvalidValue(f"{name} must be an integer of at least {least}, got {name}={value!r}")
    return number
