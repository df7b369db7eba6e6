"""k models of one architecture in training: their weights as the rows of a matrix, one forward and backward for all."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.func import vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from fasthpo.errors import FastHPOError, InvalidValue
from fasthpo.torch.arguments import TrainingArguments
from fasthpo.torch.batches import Batches, split_batch
from fasthpo.torch.evaluation import LOSS, Loss, LossWeight, Metrics, batch_weight, joined_rows
from fasthpo.torch.held_state import Watch
from fasthpo.torch.stacked_optimizers import StackedOptimizer
from fasthpo.torch.stacking import RateDropout, stackable_loss
from fasthpo.torch.swapping import Places

# what torch's errors say when a model does something that can't be done for many at once
_OF_VMAP = ("vmap", "functorch", "atching rule", "Cannot access data pointer", "escaped from inside")


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


@contextmanager
def explained(always: bool = False) -> Iterator[None]:
    """Say of an error of torch that the models can't be computed together; `always`, or if torch says so.

    Raises:
        InvalidValue: they can't.
    """
    try:
        yield
    except (FastHPOError, Warning, torch.cuda.OutOfMemoryError):
        raise
    except Exception as error:
        if not always and not any(part in str(error) for part in _OF_VMAP):
            raise  # such as shapes that do not fit
        raise InvalidValue(
            "model must do only what torch.vmap can do for many models at once; train it with Trainer: "
            f"{type(error).__name__}: {error}"
        ) from error


def _of(rows: slice, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: one[rows] for name, one in tensors.items()}


def changes(path: str) -> str:
    """What is wrong with a model whose forward changes what is at a path of it, and what to do."""
    return (
        f"calling the model changes {path}, of which there is one for all models of a stack: only registered buffers "
        "are each model's own; register a buffer for it, or train with Trainer"
    )


def watches(model: nn.Module, loss: Loss, places: Places) -> tuple[Watch, Watch]:
    """Of the model, beside the tensors that it has in `places`, and of the loss."""
    own = [*places.trained.values(), *places.buffers.values()]
    return Watch({"model": model}, own), Watch({"loss": loss}, own)


def _storage(one: torch.Tensor) -> int:
    pointer: int = one.untyped_storage().data_ptr()
    return pointer


class Stack:
    """Models that begin with the same weights and see the same batches, but differ in their rates.

    A model's state is its weights and its buffers, in which a forward may also put new tensors: both are those of each
    model. Everything else that the module holds is there once: a forward may change it only if that comes to the same
    for all models (a counter, a mask that is kept), and each is called as often as it would be alone.

    Args:
        model: on its device, and `stackable`. Its own weights and buffers stay what they are.
        args: of each of the k models; only `learning_rate`, `weight_decay` and `momentum` may differ.
        dropout: the rate of each model's `nn.Dropout` modules; None: those that they have.
        loss: the mean loss of a batch.

    Attributes:
        weights: (k, p), the trainable parameters of each model as a row.
        buffers: (k, ...) each, by name.
        rows: (k,) which of the models it began with are still in the stack.
    """

    def __init__(
        self, model: nn.Module, args: Sequence[TrainingArguments], dropout: Sequence[float] | None, loss: Loss
    ) -> None:
        k = len(args)
        self._model = model
        self._places = Places(model)
        trained = self._places.trained
        self._shapes = {name: one.shape for name, one in trained.items()}
        first = torch.cat([one.detach().flatten() for one in trained.values()])
        self.weights = first.expand(k, -1).clone()
        self.rows = torch.arange(k)
        copies = {id(one): one.detach().expand(k, *one.shape).clone() for one in self._places.buffers.values()}
        self.buffers = {name: copies[id(one)] for name, one in self._places.buffers.items()}
        if dropout is not None:
            self._set_dropout(dropout)
        self._optimizer = StackedOptimizer(self.weights, args)
        self._loss = stackable_loss(loss)
        self._watch, self._loss_watch = watches(model, loss, self._places)
        self._all: Callable[..., Any] = vmap(self._one, in_dims=(0, 0, None), randomness="different")
        self._leaves = self._views()
        self._grads = torch.empty_like(self.weights)  # kept: fresh memory costs as much as the arithmetic
        self._idle: tuple[str, ...] | None = None
        self._modes: list[tuple[nn.Module, bool]] = []

    def __len__(self) -> int:
        return len(self.rows)

    def _set_dropout(self, dropout: Sequence[float]) -> None:
        rates = torch.tensor(list(dropout), dtype=torch.float32, device=self.weights.device)
        for name, module in self._model.named_modules():
            if isinstance(module, RateDropout):
                self.buffers[f"{name}.rate" if name else "rate"] = rates

    # --- going on

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def go_on(
        self,
        rows: Sequence[int],
        sources: Sequence[int],
        args: Sequence[TrainingArguments],
        dropout: Sequence[float] | None,
    ) -> None:
        """Some models go on from the weights, buffers and moments of others, and all with new rates.

        Args:
            rows: the models that do, counted in the stack as it is.
            sources: from which ones, none of which is in `rows`.
            args, dropout: of all models, as when the stack was made.
        """
        if rows:
            to, of = (torch.tensor(list(one), dtype=torch.int64, device=self.weights.device) for one in (rows, sources))
            tensors = (self.weights, *self._optimizer.moments, *self.buffers.values())
            for one in {id(one): one for one in tensors}.values():
                one[to] = one[of]
        self._optimizer.set(args)
        if dropout is not None:
            self._set_dropout(dropout)

    def state_dict(self) -> dict[str, Any]:
        """Copies of what the training of all models goes on from, besides their rates."""
        copies = {id(one): one.clone() for one in self.buffers.values()}
        return {
            "weights": self.weights.clone(),
            "buffers": {name: copies[id(one)] for name, one in self.buffers.items()},
            "optimizer": self._optimizer.state_dict(),
            "idle": None if self._idle is None else list(self._idle),
        }

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` said, whose tensors may be on another device."""
        self.weights.copy_(state["weights"])
        copies = {id(one): one.to(self.weights.device, copy=True) for one in state["buffers"].values()}
        self.buffers = {name: copies[id(one)] for name, one in state["buffers"].items()}
        self._optimizer.load_state_dict(state["optimizer"])
        self._idle = None if state["idle"] is None else tuple(state["idle"])

    def model_state(self, row: int) -> dict[str, torch.Tensor]:
        """The `state_dict` of one of the models."""
        weights = {name: one.detach()[row] for name, one in self._leaves.items()}
        buffers = {name: one[row] for name, one in self.buffers.items()}
        with self._places.holding(weights, buffers):
            state = self._model.state_dict()
            rates = {
                f"{name}.rate" if name else "rate"
                for name, module in self._model.named_modules()
                if isinstance(module, RateDropout)
            }
            return {name: one.detach().clone() for name, one in state.items() if name not in rates}

    def _one(self, weights: Any, buffers: Any, batch: Any) -> Any:
        """A model's loss, its output, and those of its buffers that its forward has replaced."""
        inputs, named, targets = split_batch(batch)
        with self._places.holding(weights, buffers) as replaced:  # for the loss, too: it may look at the model
            output = self._model(*inputs, **named)
            if not isinstance(output, torch.Tensor):
                raise InvalidValue(
                    f"the model's output must be one tensor, got {type(output).__name__}; train it with Trainer"
                )
            loss = self._loss(output, targets).reshape(())
        return loss, output, replaced

    def _views(self) -> dict[str, torch.Tensor]:
        """The parameters (k, ...) by name, as parts of the matrix that gradients can be taken for."""
        parts = self.weights.split([shape.numel() for shape in self._shapes.values()], dim=1)
        views = zip(self._shapes.items(), parts, strict=True)
        return {name: part.view(len(part), *shape).detach().requires_grad_() for (name, shape), part in views}

    def losses(self, batch: Any) -> torch.Tensor:
        """The loss of each model, (k,), to take `gradients` of.

        Raises:
            InvalidValue: torch can't compute the models together, or they change what they share.
        """
        losses: torch.Tensor
        with explained():
            losses, _, replaced = self._all(self._leaves, self.buffers, batch)
            self._carry([replaced])
        return losses

    def gradients(self, losses: torch.Tensor) -> dict[str, torch.Tensor | None]:
        """Those of each parameter (k, ...) by name; None: the losses do not depend on it, as torch has it."""
        with explained():
            try:
                grads = torch.autograd.grad(losses.sum(), list(self._leaves.values()), allow_unused=True)
            except RuntimeError as error:
                if "sparse" not in str(error):
                    raise
                raise InvalidValue(
                    "model must have dense gradients to be trained with many others, but has sparse ones, such as "
                    f"those of nn.Embedding(..., sparse=True): set sparse=False, or train it with Trainer: {error}"
                ) from error
        return dict(zip(self._leaves, grads, strict=True))

    def step(self, batch: Any, factor: float) -> None:
        """One step of each model's optimizer, with the schedule's factor."""
        grads = self.gradients(self.losses(batch))
        idle = tuple(name for name, one in grads.items() if one is None)
        if idle != self._idle:
            self._let_rest(idle)
        parts = [torch.zeros_like(self._leaves[name]) if one is None else one for name, one in grads.items()]
        torch.cat([one.reshape(len(self), -1) for one in parts], dim=1, out=self._grads)
        self._optimizer.step(self._grads, factor)

    def _let_rest(self, idle: tuple[str, ...]) -> None:
        """Leave parameters without a gradient as they are, as torch's optimizers do.

        Raises:
            InvalidValue: these are other ones than in the steps before.
        """
        if self._idle is not None:
            name = sorted(set(idle) ^ set(self._idle))[0]
            raise InvalidValue(
                f"a parameter must have a gradient in each step or in none, but {name} has one in some steps only; an "
                "optimizer leaves it out in the others, which a stack can't: train with Trainer"
            )
        self._idle = idle
        if idle:
            parts = [torch.full((shape.numel(),), name not in idle) for name, shape in self._shapes.items()]
            self._optimizer.decay_only(torch.cat(parts).to(self.weights.device))

    def _carry(self, parts: list[dict[str, torch.Tensor]]) -> None:
        """Take over the buffers that a forward has replaced, of consecutive rows in each part; see what else it did.

        Raises:
            InvalidValue: it changed what the models share, or a buffer is a part of something else.
        """
        if any(one.keys() != parts[0].keys() for one in parts):
            raise InvalidValue("model must do the same to its buffers in each call with the same inputs; use Trainer")
        for part in parts:
            others = [one for name, one in self.buffers.items() if name not in part] if part else []
            taken = {_storage(one) for one in (self.weights, *others)}
            for name, one in part.items():
                if _storage(one) in taken:
                    raise InvalidValue(
                        f"the model's forward puts into its buffer {name} a tensor that shares its memory with a "
                        "parameter or another buffer; put a clone() there, or train with Trainer"
                    )
                taken.add(_storage(one))
        for name in parts[0]:
            mine = [part[name] for part in parts]
            # also if there is one part: what is the same for all models is expanded, and may be memory of the batch
            self.buffers[name] = torch.cat(mine)
        for name, one in self.buffers.items():
            if one.requires_grad:
                raise InvalidValue(
                    f"the model's buffer {name} keeps the graph of a forward, and gradients would flow into earlier "
                    "steps; detach() what is put there, or train with Trainer"
                )
        path = self._watch.follow() or self._loss_watch.changed()
        if path is not None:
            raise InvalidValue(changes(path))

    def memory(self, batch: Any) -> int:
        """About how many bytes a model needs for a step: weights, gradients, moments and what backward needs again."""
        kept: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            losses = self.losses(batch)
        kept.pop(self.weights.untyped_storage().data_ptr(), None)
        del losses
        row: int = self.weights.shape[1] * self.weights.element_size()
        return sum(kept.values()) // len(self) + 4 * row

    def train(self, mode: bool) -> None:
        """Put the models into evaluation mode, or into training mode again, each part as it was before."""
        if not mode:
            self._modes = [(one, one.training) for one in self._model.modules()]
            self._model.eval()
        elif self._modes:
            for one, before in self._modes:  # a forward may have put a part of the model into evaluation mode
                one.training = before
        else:
            self._model.train()
        self._watch.renew()
        self._loss_watch.renew()

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def evaluated(self, batch: Any, at_once: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss (k,) and the output (k, ...) of each model; `at_once` of them share a computation.

        Raises:
            InvalidValue: as `losses`.
        """
        losses, outputs, replaced = [], [], []
        for start in range(0, len(self), at_once):
            rows = slice(start, start + at_once)
            # what a forward does to its input or to the module must not be what the next rows begin with
            mine = batch if at_once >= len(self) else copy.deepcopy(batch)
            if start:
                self._watch.restore()
            with explained():
                loss, output, one = self._all(_of(rows, self._leaves), _of(rows, self.buffers), mine)
            losses.append(loss)
            outputs.append(output)
            replaced.append(one)
        self._carry(replaced)
        return torch.cat(losses), torch.cat(outputs)

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
        for samples, batch in zip(batches.sizes(), batches.epoch(0), strict=True):
            aims = split_batch(batch)[2]
            losses, found = self.evaluated(batch, at_once)
            if loss_weight is None:
                total += losses * samples
                weights += samples
            else:
                each = [batch_weight(loss_weight, one, aims, samples) for one in found]
                weight = torch.tensor(each, dtype=total.dtype, device=device)
                total += torch.where(weight > 0, losses * weight, 0.0)  # a mean over nothing is NaN
                weights += weight
            if len(metrics.names) > 1:
                outputs.append(found)
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
        copies = {id(one): one[chosen] for one in self.buffers.values()}
        self.buffers = {name: copies[id(one)] for name, one in self.buffers.items()}
        self._optimizer.keep(chosen, self.weights)
        self._leaves = self._views()
        self._grads = torch.empty_like(self.weights)
