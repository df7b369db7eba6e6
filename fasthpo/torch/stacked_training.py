"""Training the models of a stack side by side: their batches, their schedule, and when they are evaluated."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from fasthpo.torch.arguments import TrainingArguments
from fasthpo.torch.batches import Batches, Collate
from fasthpo.torch.evaluation import LossWeight, Metrics
from fasthpo.torch.optimizers import rate_factor, warmup_steps
from fasthpo.torch.randomness import kept_random_state
from fasthpo.torch.stack import Stack


class StackedTraining:
    """A stack, and what it is trained with.

    Args:
        stack: the models.
        args: what all of them have in common.
        train_data, eval_data: data sets.
        collate_fn, loss_weight: as of `Trainer`.
        metrics: what is measured.

    Attributes:
        stack: the models.
        step: steps of the optimizers done.
        steps_an_epoch: how many there are.
        total: steps over which the schedule runs.
        samples: of the training data.
    """

    def __init__(
        self,
        stack: Stack,
        args: TrainingArguments,
        train_data: Any,
        eval_data: Any,
        collate_fn: Collate | None,
        metrics: Metrics,
        loss_weight: LossWeight | None,
    ) -> None:
        self.stack = stack
        self._args = args
        self._metrics, self._loss_weight = metrics, loss_weight
        self._device = stack.weights.device
        size, workers = args.per_device_train_batch_size, args.dataloader_num_workers
        drop = args.dataloader_drop_last
        self._batches = Batches(train_data, size, self._device, args.seed, drop, workers, collate_fn)
        self._held_out = Batches(
            eval_data, args.per_device_eval_batch_size, self._device, workers=workers, collate_fn=collate_fn
        )
        self._held_out.check()
        # fewer at a time where batches are larger than in the training: memory is what limits a stack
        self._at_once = max(1, len(stack) * size // args.per_device_eval_batch_size)
        self.samples = self._batches.samples
        self.steps_an_epoch = len(self._batches)
        self.total = args.max_steps or math.ceil(args.num_train_epochs * self.steps_an_epoch)
        self._every = args.eval_steps or self.steps_an_epoch
        self._warmup = warmup_steps(args, self.total)
        self.step = 0
        stack.train(True)

    def advance(self, until: int) -> Iterator[int]:
        """Train until so many steps are done, or the stack is empty; yields each time that an evaluation is due.

        Yields:
            the step as it is reported: epochs done, or with `args.eval_steps` steps.
        """
        args = self._args
        while self.step < until and len(self.stack):
            for batch in self._batches.epoch(*divmod(self.step, self.steps_an_epoch)):
                self.stack.step(batch, rate_factor(self.step, args.lr_scheduler_type, self._warmup, self.total))
                self.step += 1
                if self.step % self._every == 0 or self.step == until:
                    yield self.step if args.eval_steps else -(-self.step // self.steps_an_epoch)
                if self.step == until or not len(self.stack):
                    break

    def evaluate(self) -> list[dict[str, float]]:
        """What is measured of each model of the stack."""
        self.stack.train(False)
        with kept_random_state(self._device):
            measured: list[dict[str, float]] = self.stack.evaluate(
                self._held_out, self._metrics, self._at_once, self._loss_weight
            )
        self.stack.train(True)
        return measured
