"""k models of one architecture in training: their weights as the rows of a matrix, one forward and backward for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from fasthpo.errors import InvalidValue
from fasthpo.torch.arguments import TrainingArguments
from fasthpo.torch.batches import Batches, split_batch
from fasthpo.torch.evaluation import LOSS, Loss, LossWeight, Metrics, batch_weight, joined_rows
from fasthpo.torch.stacked_optimizers import StackedOptimizer
from fasthpo.torch.stacking import RateDropout, stackable, stackable_loss


@contextmanager
def mappable_attention() -> Iterator[None]:
    """Have attention made of operations that vmap has a rule for; torch's fused ones have none."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel([SDPBackend.MATH]):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def _of(rows: slice, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: one[rows] for name, one in tensors.items()}


class Stack:
    """Models that begin with the same weights and see the same batches, but differ in their rates.

    Args:
        model: on its device; it is left as it is.
        args: of each of the k models; only `learning_rate`, `weight_decay` and `momentum` may differ.
        dropout: the rate of each model's `nn.Dropout` modules; None: those that they have.
        loss: the mean loss of a batch.

    Attributes:
        weights: (k, p), the trainable parameters of each model as a row.
        rows: (k,) which of the models it began with are still in the stack.
    """

    def __init__(
        self, model: nn.Module, args: Sequence[TrainingArguments], dropout: Sequence[float] | None, loss: Loss
    ) -> None:
        k = len(args)
        self._model = stackable(model, dropout is not None)
        trained = {name: one for name, one in self._model.named_parameters() if one.requires_grad}
        if not trained:
            raise InvalidValue("model has no parameter that requires a gradient")
        self._shapes = {name: one.shape for name, one in trained.items()}
        first = torch.cat([one.detach().flatten() for one in trained.values()])
        self.weights = first.expand(k, -1).clone()
        self.rows = torch.arange(k)
        self._buffers = {name: one.expand(k, *one.shape).clone() for name, one in self._model.named_buffers()}
        if dropout is not None:
            rates = torch.tensor(list(dropout), dtype=torch.float32, device=first.device)
            for name, module in self._model.named_modules():
                if isinstance(module, RateDropout):
                    self._buffers[f"{name}.rate" if name else "rate"] = rates
        self._optimizer = StackedOptimizer(self.weights, args)
        self._loss = stackable_loss(loss)
        self._losses = self._mapped(self._one_loss)
        self._predict = self._mapped(self._one_prediction)
        self._leaves = self._views()
        self._grads = torch.empty_like(self.weights)  # kept: fresh memory costs as much as the arithmetic

    def __len__(self) -> int:
        return len(self.rows)

    @staticmethod
    def _mapped(one: Callable[..., Any]) -> Callable[..., Any]:
        mapped: Callable[..., Any] = vmap(one, in_dims=(0, 0, None), randomness="different")
        return mapped

    def _one_prediction(self, weights: Any, buffers: Any, batch: Any) -> Any:
        inputs, named, _ = split_batch(batch)
        return functional_call(self._model, (weights, buffers), inputs, named)

    def _one_loss(self, weights: Any, buffers: Any, batch: Any) -> Any:
        return self._loss(self._one_prediction(weights, buffers, batch), split_batch(batch)[2])

    def _views(self) -> dict[str, torch.Tensor]:
        """The parameters (k, ...) by name, as parts of the matrix that gradients can be taken for."""
        parts = self.weights.split([shape.numel() for shape in self._shapes.values()], dim=1)
        views = zip(self._shapes.items(), parts, strict=True)
        return {name: part.unflatten(1, shape).detach().requires_grad_() for (name, shape), part in views}

    def _losses_of(self, batch: Any) -> torch.Tensor:
        """The loss of each model, (k,).

        Raises:
            InvalidValue: torch can't compute the models together.
        """
        try:
            losses: torch.Tensor = self._losses(self._leaves, self._buffers, batch)
        except RuntimeError as error:
            if "vmap" not in str(error) and "atching rule" not in str(error):
                raise  # such as shapes that do not fit
            raise InvalidValue(
                f"model must do only what torch.vmap can do for many models at once; train it with Trainer: {error}"
            ) from error
        return losses

    def step(self, batch: Any, factor: float) -> None:
        """One step of each model's optimizer, with the schedule's factor."""
        losses = self._losses_of(batch)
        try:
            grads = torch.autograd.grad(losses.sum(), list(self._leaves.values()), materialize_grads=True)
        except RuntimeError as error:
            if "sparse" not in str(error):
                raise
            raise InvalidValue(
                "model must have dense gradients to be trained with many others, but has sparse ones, such as those of "
                f"nn.Embedding(..., sparse=True): set sparse=False, or train it with Trainer: {error}"
            ) from error
        torch.cat([one.flatten(1) for one in grads], dim=1, out=self._grads)
        self._optimizer.step(self._grads, factor)

    def memory(self, batch: Any) -> int:
        """About how many bytes a model needs for a step: weights, gradients, moments and what backward needs again."""
        kept: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            losses = self._losses_of(batch)
        kept.pop(self.weights.untyped_storage().data_ptr(), None)
        del losses
        row: int = self.weights.shape[1] * self.weights.element_size()
        return sum(kept.values()) // len(self) + 4 * row

    def train(self, mode: bool) -> None:
        """Put the models into training or evaluation mode."""
        self._model.train(mode)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def evaluate(
        self, batches: Batches, metrics: Metrics, at_once: int, loss_weight: LossWeight | None = None
    ) -> list[dict[str, float]]:
        """What `evaluation.evaluate` says of each model; `at_once` models share a computation."""
        device = batches.device
        total = torch.zeros(len(self), dtype=torch.float64 if device.type != "mps" else torch.float32, device=device)
        weights = torch.zeros_like(total)
        outputs: list[torch.Tensor] = []
        targets: list[Any] = []
        mean = vmap(self._loss, in_dims=(0, None))
        for samples, batch in zip(batches.sizes(), batches.epoch(0), strict=True):
            aims = split_batch(batch)[2]
            parts = []
            for start in range(0, len(self), at_once):
                rows = slice(start, start + at_once)
                found = self._predict(_of(rows, self._leaves), _of(rows, self._buffers), batch)
                if not isinstance(found, torch.Tensor):
                    raise InvalidValue(f"the model's output must be one tensor, got {type(found).__name__}")
                losses = mean(found, aims)
                if loss_weight is None:
                    total[rows] += losses * samples
                    weights[rows] += samples
                else:
                    each = [batch_weight(loss_weight, one, aims, samples) for one in found]
                    weight = torch.tensor(each, dtype=total.dtype, device=device)
                    total[rows] += torch.where(weight > 0, losses * weight, 0.0)  # a mean over nothing is NaN
                    weights[rows] += weight
                parts.append(found)
            if len(metrics.names) > 1:
                outputs.append(torch.cat(parts))
                targets.append(aims)
        results = [{LOSS: value} for value in (total / weights).tolist()]
        if outputs:
            joined, aims = torch.cat(outputs, dim=1), joined_rows(targets, batches.sizes())
            for i, mine in enumerate(joined):
                metrics.reset(device)
                metrics.update(mine, aims)
                results[i] |= metrics.compute(mine, aims)
        return results

    def finite(self) -> list[bool]:
        """Whether each model's weights are all finite."""
        return torch.isfinite(self.weights).all(1).tolist()  # type: ignore[no-any-return]

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these of the models only, counted in the stack as it is; the others' memory is freed."""
        chosen = torch.tensor(rows, dtype=torch.int64, device=self.weights.device)
        self.weights = self.weights[chosen]
        self.rows = self.rows[chosen.cpu()]
        self._buffers = {name: one[chosen] for name, one in self._buffers.items()}
        self._optimizer.keep(chosen, self.weights)
        self._leaves = self._views()
        self._grads = torch.empty_like(self.weights)
