"""A model's loss and metrics on a data set."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch

from fasthpo.errors import InvalidValue
from fasthpo.torch.batches import Batches, split_batch
from fasthpo.torch.nested import joined, tensors
from fasthpo.values import as_number

Loss: TypeAlias = Callable[[Any, Any], torch.Tensor]
LossWeight: TypeAlias = Callable[[Any, Any], Any]
Metric: TypeAlias = Callable[[Any, Any], Any]

PREFIX = "eval_"
LOSS = "eval_loss"


def check_loss(loss: Any, loss_weight: Any) -> None:
    """Refuse what can't be called.

    Raises:
        InvalidValue: one of them is no function.
    """
    if not callable(loss):
        raise InvalidValue(f"loss must be a function of outputs and targets, got {loss!r}")
    if loss_weight is not None and not callable(loss_weight):
        raise InvalidValue(f"loss_weight must be None or a function of outputs and targets, got {loss_weight!r}")


def check_trained(loss: Any, trained: Iterable[torch.nn.Parameter]) -> None:
    """Refuse a loss with parameters that would be left as they are in silence: a module, or a function made of one.

    Raises:
        InvalidValue: one of them requires a gradient, and is not among those that are trained.
    """
    owner = loss if isinstance(loss, torch.nn.Module) else getattr(loss, "__self__", getattr(loss, "func", None))
    known = {id(one) for one in trained}
    if isinstance(owner, torch.nn.Module) and any(
        one.requires_grad and id(one) not in known for one in owner.parameters()
    ):
        raise InvalidValue(
            "loss must have no parameters that require a gradient but would not be trained; give Trainer the module "
            f"itself, or make it a part of the model: got {loss!r}"
        )


def is_accumulating(metric: Any) -> bool:
    """Whether a metric takes one batch at a time, as torchmetrics' do."""
    return all(callable(getattr(metric, name, None)) for name in ("update", "compute", "reset"))


class Metrics:
    """What is measured beside the loss.

    Args:
        metrics: name -> a function of all outputs and all targets, or an object of torchmetrics; or one
            `torchmetrics.MetricCollection`.

    Raises:
        InvalidValue: it is none of these, or a metric is named "loss".
    """

    def __init__(self, metrics: Any = None) -> None:
        if is_accumulating(metrics):
            collection = getattr(metrics, "keys", None)
            if collection is None:
                raise InvalidValue(f"metrics must be a mapping of names to metrics, got one metric, {metrics!r}")
            self._batchwise: dict[str, Any] = {"": metrics}
            self._whole: dict[str, Metric] = {}
            names = [str(name) for name in collection()]
        else:
            if metrics is not None and not isinstance(metrics, Mapping):
                raise InvalidValue(
                    f"metrics must be a mapping of names to metrics, or a MetricCollection, got {metrics!r}"
                )
            given: dict[str, Any] = dict(metrics or {})
            for name, metric in given.items():
                if not isinstance(name, str) or not callable(metric):
                    raise InvalidValue(f"metrics must map names to functions or metrics, got {name!r}: {metric!r}")
            self._batchwise = {name: one for name, one in given.items() if is_accumulating(one)}
            self._whole = {name: one for name, one in given.items() if name not in self._batchwise}
            names = list(given)
        if "loss" in names:
            raise InvalidValue('no metric may be named "loss": that is the loss itself')
        self.names = [LOSS, *(PREFIX + name for name in names)]  #: of what is measured, the loss first
        self.needs_outputs = bool(self._whole)  #: whether `compute` needs the outputs of all batches

    def reset(self, device: torch.device) -> None:
        """Begin anew."""
        for metric in self._batchwise.values():
            if hasattr(metric, "to"):
                metric.to(device)
            metric.reset()

    def update(self, outputs: Any, targets: Any) -> None:
        """Take in a batch."""
        for metric in self._batchwise.values():
            metric.update(outputs, targets)

    def compute(self, outputs: Any, targets: Any) -> dict[str, float]:
        """All metrics, of the batches taken in, and of all outputs and targets."""
        values: dict[str, Any] = {}
        for name, metric in self._batchwise.items():
            values |= metric.compute() if name == "" else {name: metric.compute()}
        for name, function in self._whole.items():
            values[name] = function(outputs, targets)
        return {PREFIX + str(name): as_number(f"metric {name!r}", value) for name, value in values.items()}


def batch_weight(loss_weight: LossWeight | None, outputs: Any, targets: Any, samples: int) -> float:
    """How much a batch's loss counts beside those of others: what `loss_weight` says, by default its samples.

    Raises:
        InvalidValue: it is no finite number, or negative.
    """
    if loss_weight is None:
        return samples
    weight = as_number("what loss_weight returns", loss_weight(outputs, targets))
    if not 0 <= weight < math.inf:
        raise InvalidValue(f"what loss_weight returns must be finite and not negative, got {weight:g}")
    return weight


@contextmanager
def evaluating(*modules: Any) -> Iterator[None]:
    """Have modules in evaluation mode in the block; each of their parts is afterwards in the mode it was in."""
    before = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for part, mode in before:
            part.training = mode


def joined_rows(parts: Sequence[Any], samples: Sequence[int]) -> Any:
    """The outputs or targets of all batches as one, whatever structure they have.

    Args:
        parts: of each batch.
        samples: how many each batch has.

    Raises:
        InvalidValue: they can't be put together.
    """
    try:
        for part, rows in zip(parts, samples, strict=True):
            if not isinstance(part, torch.Tensor):  # one alone may have a row for each token of a sample, or the like
                for one in tensors(part):
                    if one is not None and len(one) != rows:  # such as a list of the samples' own tensors
                        raise ValueError(f"got {len(one)} rows in a batch of {rows} samples")
        return joined(parts)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidValue(
            "a metric that is a plain function needs all outputs and targets as one: tensors that fit together, or "
            "mappings, tuples and dataclasses of tensors with a row for each sample; use an object with update, "
            f"compute and reset: {error}"
        ) from error


@torch.no_grad()  # type: ignore[untyped-decorator]
def evaluate(
    predict: Callable[..., Any],
    batches: Batches,
    loss: Loss,
    metrics: Metrics,
    loss_weight: LossWeight | None = None,
) -> dict[str, float]:
    """The mean loss over the samples, and the metrics, by name with "eval_" before it.

    Args:
        predict: the model in evaluation mode.
        batches: of the data set.
        loss: the mean loss of a batch, of outputs and targets.
        metrics: what else to measure.
        loss_weight: what the mean of a batch is over, if not its samples; see `Trainer`.
    """
    device = batches.device
    total = torch.zeros((), dtype=torch.float64 if device.type != "mps" else torch.float32, device=device)
    weights = 0.0
    kept: list[tuple[Any, Any]] = []
    metrics.reset(device)
    # a batch's samples are counted where it is cut: what it holds may have any structure
    for samples, batch in zip(batches.sizes(), batches.epoch(0), strict=True):
        inputs, named, targets = split_batch(batch)
        outputs = predict(*inputs, **named)
        weight = batch_weight(loss_weight, outputs, targets, samples)
        if weight:  # else the loss may be a mean over nothing, NaN
            total += loss(outputs, targets) * weight  # stays on the device: nothing waits for it here
        weights += weight
        metrics.update(outputs, targets)
        if metrics.needs_outputs:
            kept.append((outputs, targets))
    joint = [joined_rows(parts, batches.sizes()) for parts in zip(*kept, strict=True)] if kept else [None, None]
    return {LOSS: (total / weights).item(), **metrics.compute(*joint)}
