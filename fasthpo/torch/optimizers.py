"""The optimizer and the schedule that training arguments describe."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch

from fasthpo.errors import InvalidValue
from fasthpo.torch.arguments import TrainingArguments


def make_optimizer(parameters: Iterable[torch.nn.Parameter], args: TrainingArguments) -> torch.optim.Optimizer:
    """torch's own optimizer, as `args` say; fused where torch can, which is a third of a small model's time."""
    chosen = list(parameters)
    fused = all(one.is_floating_point() and one.device.type in ("cpu", "cuda") for one in chosen)
    common = {"lr": args.learning_rate, "weight_decay": args.weight_decay, "fused": fused}
    if args.optimizer == "sgd":
        return torch.optim.SGD(chosen, momentum=args.momentum, **common)
    kind = torch.optim.AdamW if args.optimizer == "adamw" else torch.optim.Adam
    return kind(chosen, betas=(args.adam_beta1, args.adam_beta2), eps=args.adam_epsilon, **common)


def check_optimizer(optimizer: Any, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer | None:
    """The optimizer itself, or None.

    Raises:
        InvalidValue: it is none, or has other parameters than these.
    """
    if optimizer is None:
        return None
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise InvalidValue(f"optimizer must be a torch.optim.Optimizer, got {optimizer!r}")
    mine = {id(parameter) for parameter in parameters}
    if any(id(parameter) not in mine for group in optimizer.param_groups for parameter in group["params"]):
        raise InvalidValue("optimizer must be made of this model's parameters (and the loss's); it has others")
    return optimizer


def load_made(optimizer: torch.optim.Optimizer, state: Any) -> None:
    """Have an optimizer that `make_optimizer` made go on from the state of one that was made of the same arguments.

    Raises:
        ValueError: it is of one with other parameters.
        TypeError: it has what no such optimizer has. (Or whatever torch raises.)
    """
    own = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, options in zip(optimizer.param_groups, own, strict=True):
        parameters = group["params"]
        group.clear()
        group.update(options, params=parameters)  # as this one was made
    names = {"momentum_buffer"} if isinstance(optimizer, torch.optim.SGD) else {"step", "exp_avg", "exp_avg_sq"}
    for parameter, entries in optimizer.state.items():
        if not isinstance(parameter, torch.Tensor):
            raise TypeError(f"the optimizer's state has an entry of no parameter, {parameter!r}")
        if entries and set(entries) != names:
            raise TypeError(f"the optimizer's state must have {sorted(names)} of a parameter, not {list(entries)}")
        for name, value in entries.items():
            shape = () if name == "step" else parameter.shape
            if value is None and optimizer.defaults.get("momentum") == 0:  # older torch notes it down even so
                continue
            if not isinstance(value, torch.Tensor) or value.shape != shape or value.is_sparse:
                raise TypeError(f"{name} in the optimizer's state must be a tensor of shape {tuple(shape)}")
    if optimizer.state and optimizer.defaults.get("momentum"):
        for parameter in (one for group in optimizer.param_groups for one in group["params"]):
            # the same as none, which torch's fused kernel takes for all parameters only
            optimizer.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))


def accepting(
    optimizer: torch.optim.Optimizer, args: TrainingArguments, parameters: list[torch.nn.Parameter]
) -> torch.optim.Optimizer:
    """What `make_optimizer` made, as an optimizer that can make a step with the gradients that there are.

    torch's optimizers refuse sparse ones, but for SGD if it is neither fused nor has momentum or a penalty. All others
    change every row of a parameter in each step, so that a gradient of every row costs no more than they do: sparse
    gradients become dense ones for them, and for clipping.

    Args:
        optimizer: what was made.
        args: of what.
        parameters: with their gradients, which are changed.
    """
    sparse = [one for one in parameters if one.grad is not None and one.grad.is_sparse]
    if sparse and (args.optimizer != "sgd" or args.momentum or args.weight_decay or args.max_grad_norm):
        for one in sparse:
            one.grad = one.grad.to_dense()
    elif sparse and optimizer.param_groups[0]["fused"]:
        return torch.optim.SGD([{**group, "fused": False} for group in optimizer.param_groups])
    return optimizer


def rate_factor(step: int, kind: str, warmup: int, total: int) -> float:
    """What the learning rate is multiplied with at a step; the same as `transformers.get_scheduler` has.

    Args:
        step: steps done so far.
        kind: "constant", "linear" or "cosine".
        warmup: steps over which the rate rises from zero.
        total: steps at which a falling rate reaches zero.
    """
    if step < warmup:
        return step / warmup
    if kind == "constant":
        return 1.0
    if kind == "linear":
        return max(0.0, (total - step) / max(1, total - warmup))
    progress = (step - warmup) / max(1, total - warmup)
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * progress)))


def warmup_steps(args: TrainingArguments, total: int) -> int:
    """Steps of the warmup: the share `warmup_ratio` of `total`, rounded up."""
    return math.ceil(args.warmup_ratio * total)


class Schedule:
    """Sets an optimizer's learning rates for the step to come, from the rates that it had when this was made.

    torch's own `LambdaLR` refers to its optimizer, which refers to it: a trial's weights would stay in (a GPU's)
    memory after the trial, until Python looks for cycles.

    Args:
        optimizer: whose rates to set.
        args: the kind of schedule, and its warmup.
        total: the steps over which it runs.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, args: TrainingArguments, total: int) -> None:
        self._kind, self._warmup, self._total = args.lr_scheduler_type, warmup_steps(args, total), total
        self._rates = [group["lr"] for group in optimizer.param_groups]
        self.set(optimizer, 0)

    def set(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Set the rates with which step number `step`, counted from 0, is to be done."""
        factor = rate_factor(step, self._kind, self._warmup, self._total)
        for group, rate in zip(optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor

    def state_dict(self) -> dict[str, Any]:
        """What decides the rates, in plain values; another training goes on with it only if it has the same."""
        return {"kind": self._kind, "warmup": self._warmup, "total": self._total, "rates": self._rates}
