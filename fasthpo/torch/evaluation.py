"""A model's loss and metrics on a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import torch

from fasthpo.errors import InvalidValue
from fasthpo.torch.batches import split_batch
from fasthpo.trial import as_number

Loss: TypeAlias = Callable[[Any, Any], torch.Tensor]
Metric: TypeAlias = Callable[[torch.Tensor, torch.Tensor], Any]

PREFIX = "eval_"
LOSS = "eval_loss"


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

    def compute(self, outputs: torch.Tensor | None, targets: torch.Tensor | None) -> dict[str, float]:
        """All metrics, of the batches taken in, and of all outputs and targets."""
        values: dict[str, Any] = {}
        for name, metric in self._batchwise.items():
            values |= metric.compute() if name == "" else {name: metric.compute()}
        for name, function in self._whole.items():
            assert outputs is not None and targets is not None
            values[name] = function(outputs, targets)
        return {PREFIX + str(name): as_number(f"metric {name!r}", value) for name, value in values.items()}


@torch.no_grad()  # type: ignore[untyped-decorator]
def evaluate(
    predict: Callable[..., Any], batches: Iterable[Any], loss: Loss, metrics: Metrics, device: torch.device
) -> dict[str, float]:
    """The mean loss over the samples, and the metrics, by name with "eval_" before it.

    Args:
        predict: the model in evaluation mode.
        batches: of the data set.
        loss: the mean loss of a batch, of outputs and targets.
        metrics: what else to measure.
        device: where the batches are.
    """
    total = torch.zeros((), dtype=torch.float64 if device.type != "mps" else torch.float32, device=device)
    samples = 0
    kept: list[tuple[torch.Tensor, torch.Tensor]] = []
    metrics.reset(device)
    for batch in batches:
        inputs, named, targets = split_batch(batch)
        outputs = predict(*inputs, **named)
        size = len(targets)
        total += loss(outputs, targets) * size  # stays on the device: nothing waits for it here
        samples += size
        metrics.update(outputs, targets)
        if metrics.needs_outputs:
            if not isinstance(outputs, torch.Tensor):
                raise InvalidValue(
                    "a metric that is a plain function needs a model whose output is one tensor, got "
                    f"{type(outputs).__name__}; use an object with update, compute and reset"
                )
            kept.append((outputs, targets))
    joined = [torch.cat(parts) for parts in zip(*kept, strict=True)] if kept else [None, None]
    return {LOSS: (total / samples).item(), **metrics.compute(*joined)}
