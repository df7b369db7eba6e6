"""torch's SGD, Adam and AdamW for many models at once, each with rates of its own: one update of a matrix of weights.

The weights of k models are the rows of a matrix (k, p), and so are gradients and moments; what differs between the
models is a column (k, 1). The formulas are those of `torch.optim`, in as few passes over memory as torch's operations
allow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from fasthpo.torch.arguments import TrainingArguments


class StackedOptimizer:
    """Steps k models.

    Args:
        weights: (k, p), changed in place by each step.
        args: of each model; `optimizer`, `adam_beta1`, `adam_beta2`, `adam_epsilon` and `max_grad_norm` must be the
            same, `learning_rate`, `weight_decay` and `momentum` need not.
    """

    def __init__(self, weights: torch.Tensor, args: Sequence[TrainingArguments]) -> None:
        self._args = args[0]
        self._weights = weights
        self._steps = 0
        self._decayed: torch.Tensor | None = None  # which weights decay; None: all
        self._moments: list[torch.Tensor] = []
        self.set(args)

    def set(self, args: Sequence[TrainingArguments]) -> None:
        """From now on each model has the rates of these arguments."""

        def column(values: list[float]) -> torch.Tensor:
            return torch.tensor(values, dtype=self._weights.dtype, device=self._weights.device).unsqueeze(1)

        self._rates = column([one.learning_rate for one in args])
        self._decays = column([one.weight_decay for one in args])
        if self._decayed is not None:
            self._decays = self._decays * self._decayed
        self._momenta = column([one.momentum for one in args])
        self._decaying = any(one.weight_decay for one in args)
        sgd = self._args.optimizer == "sgd"
        if not self._moments and (not sgd or any(one.momentum for one in args)):
            self._moments = [torch.zeros_like(self._weights) for _ in range(1 if sgd else 2)]

    @property
    def moments(self) -> list[torch.Tensor]:
        """What is kept of earlier gradients, (k, p) each."""
        return self._moments

    def state_dict(self) -> dict[str, Any]:
        """Copies of what a training goes on from, besides the rates."""
        return {"steps": self._steps, "moments": [one.clone() for one in self._moments], "decayed": self._decayed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` said, whose tensors may be on another device."""
        device, decayed = self._weights.device, state["decayed"]
        self._steps, self._decayed = state["steps"], None if decayed is None else decayed.to(device)
        self._moments = [one.to(device, copy=True) for one in state["moments"]]

    def keep(self, rows: torch.Tensor, weights: torch.Tensor) -> None:
        """Go on with some of the models only: rows (j,) of the old matrices; `weights` (j, p) are theirs."""
        self._weights = weights
        self._rates, self._decays, self._momenta = self._rates[rows], self._decays[rows], self._momenta[rows]
        self._moments = [one[rows] for one in self._moments]

    def decay_only(self, some: torch.Tensor) -> None:
        """Let weights decay only where `some`, bool (p,), says so: torch's do not without a gradient."""
        self._decayed = some
        self._decays = self._decays * some

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self, grads: torch.Tensor, factor: float) -> None:
        """One step.

        Args:
            grads: (k, p); used up.
            factor: what the schedule multiplies the learning rates with.
        """
        self._steps += 1
        if self._args.max_grad_norm is not None:
            norms = torch.linalg.vector_norm(grads, dim=1, keepdim=True)
            grads.mul_((self._args.max_grad_norm / (norms + 1e-6)).clamp_(max=1.0))
        rates = self._rates * factor
        decoupled = self._args.optimizer == "adamw"
        if self._decaying and decoupled:
            self._weights.mul_(1 - rates * self._decays)
        elif self._decaying:
            grads.addcmul_(self._weights, self._decays)
        if self._args.optimizer == "sgd":
            self._sgd(grads, rates)
        else:
            self._adam(grads, rates)

    def _sgd(self, grads: torch.Tensor, rates: torch.Tensor) -> None:
        if self._moments:
            grads = self._moments[0].mul_(self._momenta).add_(grads)
        self._weights.addcmul_(grads, rates, value=-1)

    def _adam(self, grads: torch.Tensor, rates: torch.Tensor) -> None:
        first, second = self._moments
        beta1, beta2 = self._args.adam_beta1, self._args.adam_beta2
        first.lerp_(grads, 1 - beta1)
        second.mul_(beta2).addcmul_(grads, grads, value=1 - beta2)
        # sqrt(v / c2) + eps = (sqrt(v) + eps sqrt(c2)) / sqrt(c2), whose divisor goes into the rates
        correction = math.sqrt(1 - beta2**self._steps)
        torch.sqrt(second, out=grads)
        grads.add_(self._args.adam_epsilon * correction)
        torch.div(first, grads, out=grads)
        self._weights.addcmul_(grads, rates * (correction / (1 - beta1**self._steps)), value=-1)
