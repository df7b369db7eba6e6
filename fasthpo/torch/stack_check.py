"""Whether a model comes to the same in a stack as alone: looked at, and tried with a batch, before it is trained.

Nothing that is found in a forward is taken on trust. On the first batch the model runs alone, twice, and then in a
stack of two, with other weights than it has itself. What comes out (losses, gradients, buffers) has to be the same both
times, and the same in the stack, there only if no random numbers are drawn for it; dropout is off meanwhile.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from fasthpo.errors import InvalidValue
from fasthpo.torch.arguments import TrainingArguments
from fasthpo.torch.batches import split_batch
from fasthpo.torch.evaluation import Loss
from fasthpo.torch.held_state import Watch
from fasthpo.torch.randomness import kept_random_state, random_state, set_random_state
from fasthpo.torch.stack import Stack, changes, explained, watches
from fasthpo.torch.stacking import stackable
from fasthpo.torch.swapping import Places

_DTYPES = (torch.float32, torch.float64)
# the weights in the trial run, as shares of the model's own: another for each model, and none that of the model
_SHARES = (0.9, 1.1)
# what rounding may make of a number, as a share of it: on a GPU with products of ten bits
_CLOSE, _CLOSE_ELSEWHERE = 1e-3, 1e-2
_TINY = 1e-6
# what is compared
_TRAINED, _AGAIN = "the loss of a training step", "the loss of a second forward"
_EVALUATED = "the loss of an evaluation"
_GRADIENT, _BUFFER = "the gradient of ", "the buffer "


def check_stackable(
    model: nn.Module, args: TrainingArguments, loss: Loss, batch: Any, any_rate: bool, device: torch.device
) -> None:
    """Refuse a model that would come to something else in a stack than alone.

    The model and the random states are left as they are, but for what a model that is refused has done to itself.

    Args:
        model: on its device.
        args: of a training.
        loss: the mean loss of a batch.
        batch: of the training.
        any_rate: whether the rates of its `nn.Dropout` modules will differ.
        device: where all of these are.

    Raises:
        InvalidValue: it would, or may.
    """
    _check_at_sight(model)
    if not Places(model).trained:
        raise InvalidValue("model has no parameter that requires a gradient")
    with stackable(model, any_rate):
        pass
    _check_memory(model, loss)
    with _no_dropout(model):
        (first, random), (again, _) = (_alone(model, loss, batch, device) for _ in range(2))
        with kept_random_state(device), stackable(model, any_rate), explained(always=True):
            stacked = _stacked(model, args, loss, batch, any_rate)
    close = _CLOSE if device.type == "cpu" else _CLOSE_ELSEWHERE
    total = sum(float(one.norm()) for name, one in first.items() if one is not None and name.startswith(_GRADIENT))
    for name, expected in first.items():
        floor = 1e-4 * total if name.startswith(_GRADIENT) else _TINY
        if _differ(expected, again.get(name), close, floor):
            raise InvalidValue(
                f"model must come to the same again with the same weights, batch and random numbers, but {name} was "
                f"{_shown(expected)}, then {_shown(again.get(name))}: calling it changes something that it does not "
                "hold itself, which the models of a stack would share; train it with Trainer"
            )
        if name not in random and _differ(expected, stacked.get(name), close, floor):
            raise InvalidValue(
                f"model must come to the same in a stack as alone, but {name} is {_shown(stacked.get(name))} instead "
                f"of {_shown(expected)}; train it with Trainer"
            )


def _check_at_sight(model: nn.Module) -> None:
    trained: dict[torch.dtype, str] = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise InvalidValue(
                f"model must be made of Python code, but {name or 'it'} is a {type(module).__name__}, in which no "
                "stacked weights can be put; train it with Trainer"
            )
        if isinstance(getattr(module, "_orig_mod", None), nn.Module):
            raise InvalidValue(
                f"model must not be compiled by torch.compile, but {name or 'it'} is; make the module itself"
            )
        if module._backward_hooks or getattr(module, "_backward_pre_hooks", None):
            raise InvalidValue(
                f"model must have no backward hooks, but {name or 'it'} ({type(module).__name__}) has: they would be "
                "given the gradients of all models at once; train it with Trainer"
            )
    for name, one in [*model.named_parameters(), *model.named_buffers()]:
        if nn.parameter.is_lazy(one):
            raise InvalidValue(
                f"model must have weights, but {name} is of a lazy module that has not seen a batch yet; call the "
                "model once with one where it is made"
            )
        if one._backward_hooks or getattr(one, "_post_accumulate_grad_hooks", None):
            raise InvalidValue(f"model must have no hooks on tensors, but {name} has; train it with Trainer")
        if isinstance(one, nn.Parameter) and one.requires_grad:
            trained.setdefault(one.dtype, name)
    if len(trained) > 1 or any(dtype not in _DTYPES for dtype in trained):
        found = ", ".join(f"{str(dtype).removeprefix('torch.')} ({name})" for dtype, name in trained.items())
        raise InvalidValue(
            f"all trainable parameters of the model must be float32, or all float64, got {found}; train it with Trainer"
        )


def _extent(one: torch.Tensor) -> tuple[int, int]:
    """The first byte of a tensor and the one after its last."""
    if one.layout != torch.strided or not one.numel() or one.is_meta:
        return 0, 0
    last = sum((size - 1) * stride for size, stride in zip(one.shape, one.stride(), strict=True))
    start: int = one.data_ptr()
    return start, start + (last + 1) * one.element_size()


def _check_memory(model: nn.Module, loss: Loss) -> None:
    """Each tensor that changes must be held in its place only: another name for it, or a view, would not be stacked."""
    places = Places(model)
    free = {id(one): name for name, one in (places.trained | places.buffers).items()}
    held = Watch({"model": model, "loss": loss}).references
    for path, one, holder in held:
        if id(one) in free and not places.has(holder):
            raise InvalidValue(
                f"{path} is the {free[id(one)]} of the model under another name, which a stack would not train; use "
                "one name only, or train with Trainer"
            )
    reached, before = 0, (0, "")
    for start, end, number, path in sorted((*_extent(one), id(one), path) for path, one, _ in held):
        if start < reached and number != before[0] and (number in free or before[0] in free):
            raise InvalidValue(
                f"{path} and {before[1]} share their memory, so that training one would change the other, which it "
                "does not in a stack; train the model with Trainer"
            )
        if end > reached:
            reached, before = end, (number, path)


@contextmanager
def _no_dropout(model: nn.Module) -> Iterator[None]:
    """No dropout in the block: most models draw random numbers for nothing else, and can then be compared."""
    changed: list[tuple[nn.Module, str, float]] = []
    for one in model.modules():
        if isinstance(one, nn.modules.dropout._DropoutNd):
            changed.append((one, "p", one.p))
        elif isinstance(one, nn.MultiheadAttention):
            changed.append((one, "dropout", one.dropout))
    try:
        for one, name, _ in changed:
            setattr(one, name, 0.0)
        yield
    finally:
        for one, name, rate in changed:
            setattr(one, name, rate)


def _alone(
    model: nn.Module, loss: Loss, batch: Any, device: torch.device
) -> tuple[dict[str, torch.Tensor | None], set[str]]:
    """What the model by itself comes to, by name, and for which of these it has drawn random numbers.

    The next time it will draw the same ones.
    """
    places = Places(model)
    before, held = Watch({"model": model}), watches(model, loss, places)
    kept = [(one, one.detach().clone()) for one in model.parameters()]
    copies = {id(one): one.detach().clone() for one in places.buffers.values()}
    buffers = {name: copies[id(one)] for name, one in places.buffers.items()}
    found: dict[str, torch.Tensor | None] = {}

    def forward() -> torch.Tensor:
        inputs, named, targets = split_batch(copy.deepcopy(batch))
        with places.holding(places.trained, buffers) as replaced:
            value = loss(model(*inputs, **named), targets)
        buffers.update(replaced)
        path = held[0].follow() or held[1].changed()
        if path is not None:
            raise InvalidValue(changes(path))
        if not isinstance(value, torch.Tensor) or value.numel() != 1:
            shown = f"shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else repr(value)
            raise InvalidValue(f"loss must return one number as a tensor, got {shown}")
        return value

    random: set[str] = set()
    state = random_state(device)
    try:
        with torch.no_grad():
            for one in places.trained.values():
                one.mul_(_SHARES[0])
        model.train()
        for watch in held:
            watch.renew()
        value = forward()
        if not value.requires_grad:
            raise InvalidValue("the loss must depend on a trainable parameter of the model, but depends on none")
        grads = torch.autograd.grad(value, list(places.trained.values()), allow_unused=True)
        found[_TRAINED] = value.detach()
        for name, grad in zip(places.trained, grads, strict=True):
            found[_GRADIENT + name] = grad if grad is None else grad.to_dense()
        found[_AGAIN] = forward().detach()
        found |= {_BUFFER + name: one.detach().clone() for name, one in buffers.items()}
        trained = random_state(device)
        if not _equal(state, trained):
            random.update(found)
        model.eval()
        for watch in held:
            watch.renew()
        with torch.no_grad():
            found[_EVALUATED] = forward()
        if not _equal(trained, random_state(device)):
            random.add(_EVALUATED)
    finally:
        set_random_state(state, device)
        before.restore()
        with torch.no_grad():
            for one, values in kept:
                one.copy_(values)
    return found, random


def _equal(one: Any, other: Any) -> bool:
    """Whether two random states are the same."""
    if isinstance(one, dict):
        return all(_equal(value, other[name]) for name, value in one.items())
    if isinstance(one, tuple):
        return all(map(_equal, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else bool(one == other)


def _stacked(
    model: nn.Module, args: TrainingArguments, loss: Loss, batch: Any, any_rate: bool
) -> dict[str, torch.Tensor | None]:
    """The same of the first model of a stack of two."""
    stack = Stack(model, [args, args], [0.0, 0.0] if any_rate else None, loss)
    for row, share in zip(stack.weights, _SHARES, strict=True):
        row.mul_(share)
    stack.train(True)
    losses = stack.losses(copy.deepcopy(batch))
    found = {_TRAINED: losses[0].detach()}
    for name, grad in stack.gradients(losses).items():
        found[_GRADIENT + name] = grad if grad is None else grad[0]
    found[_AGAIN] = stack.losses(copy.deepcopy(batch))[0].detach()
    found |= {_BUFFER + name: one[0].clone() for name, one in stack.buffers.items()}
    stack.train(False)
    found[_EVALUATED] = stack.evaluated(copy.deepcopy(batch), at_once=1)[0][0]
    return found


def _differ(one: torch.Tensor | None, other: torch.Tensor | None, close: float, floor: float) -> bool:
    if one is None or other is None:
        return one is not other
    if one.numel() != other.numel():
        return True
    kind = torch.complex128 if one.is_complex() else torch.float64
    mine, others = (numbers.detach().cpu().to(kind).flatten() for numbers in (one, other))
    size = float(mine.abs().norm())
    return size < float("inf") and not float((mine - others).abs().norm()) <= close * size + floor


def _shown(one: torch.Tensor | None) -> str:
    if one is None:
        return "none"
    return f"{one.item():.6g}" if one.numel() == 1 else f"of norm {float(one.double().norm()):.6g}"
