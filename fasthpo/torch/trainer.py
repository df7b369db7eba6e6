"""A training loop for any `torch.nn.Module`, which reports to its trial and can be stopped and taken up at any step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from fasthpo.errors import CorruptCheckpoint, InvalidValue, TrialPruned, TrialStateError
from fasthpo.system.log import logger
from fasthpo.torch.arguments import TrainingArguments
from fasthpo.torch.batches import Batches, Collate, as_dataset, check_collate_fn, split_batch
from fasthpo.torch.checkpoints import FILE_NAME, Weights, check_like, check_same, load_training, save_training
from fasthpo.torch.evaluation import (
    LOSS,
    Loss,
    LossWeight,
    Metrics,
    batch_weight,
    check_loss,
    check_trained,
    evaluate,
    evaluating,
)
from fasthpo.torch.optimizers import Schedule, accepting, check_optimizer, load_made, make_optimizer
from fasthpo.torch.randomness import RandomStream, kept_random_state, seed_all, set_random_state
from fasthpo.trials.trial import takes_one_value
from fasthpo.tuner.early_stopping import EarlyStopping
from fasthpo.values import as_number

_FORKED = "a population can't change it while it trains; leave its parameter out of mutable"
_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
# what may differ between a checkpoint and the training that goes on from it
_FREE = {
    "output_dir", "num_train_epochs", "max_steps", "do_eval", "eval_steps", "per_device_eval_batch_size", "save_steps",
    "device", "dataloader_num_workers",
}  # fmt: skip

# what may differ in a trial of a population from the one with whose weights it begins
_MUTABLE = {
    "learning_rate", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "momentum", "max_grad_norm",
    "lr_scheduler_type", "warmup_ratio",
}  # fmt: skip
# the same of an optimizer that was passed: its options, but not what it counts
_OPTIONS = ("lr", "initial_lr", "weight_decay", "momentum", "dampening", "nesterov", "betas", "eps", "alpha", "rho")


def pick_device(name: str | None) -> torch.device:
    """The device of that name; with None the GPU if there is one.

    Raises:
        InvalidValue: torch knows no such device, or has none here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter from a torch without CUDA
        reason = str(error).splitlines()[0]
        raise InvalidValue(f"device must be one that torch has here, got device={name!r}: {reason}") from None
    return device


class Trainer:
    """Trains a model, evaluates it, reports to a trial, stops early, and keeps checkpoints to go on from.

    A batch is `(*inputs, targets)`, for `loss(model(*inputs), targets)`, or a mapping with the targets under "labels",
    for `loss(model(**others), labels)`. Inputs and targets are tensors, or mappings, tuples and dataclasses of such.

    With the same seed, data and initial weights a training on the CPU ends with the same weights, bit by bit, however
    often it was interrupted and resumed, and beside whatever other trainings in threads of the process; also if model,
    loss or data set draw from the global generators of Python, NumPy or torch. These are afterwards where they were
    before. As all threads of a process share them, only one of the trainings in threads computes at a time: to use
    several CPUs or GPUs, run them in processes.

    A `loss` that is a module is trained, too, where its parameters require a gradient: they are optimized, saved, and
    restored with the best weights as the model's are.

    Reports carry the number of epochs done as their step, or the number of optimizer steps with `args.eval_steps`.
    Under a multi-fidelity strategy (`trial.resource` is set) the training goes on from what
    `trial.checkpoint_dir` holds, ends after `trial.resource` epochs in all, and is saved there again. Its schedule runs
    over `args.num_train_epochs` all the same, so that a promoted trial goes on exactly as one that never stopped.
    A trial of a population that begins from another one's weights takes up the state of its optimizer and its place in
    the schedule, with learning rate, weight decay, momentum, betas, clipping, warmup and kind of schedule of its own.

    Args:
        model: the module, which is trained in place; or a function that makes it, called after seeding.
        args: how to train.
        train_data: a tuple `(*inputs, targets)` of tensors, arrays or lists of numbers of the same length (or mappings
            and tuples of such); or samples: a list of them, or a map-style data set.
        eval_data: the same, to evaluate on; None only with `args.do_eval=False`.
        loss: the mean loss of a batch, from outputs and targets; a function or a module.
        metrics: name -> a function of all outputs and all targets, or an object of torchmetrics; or one
            `torchmetrics.MetricCollection`. Other objects with update, compute and reset do as well.
        trial: what is reported to, and asked whether to go on; not with several objectives, of
            which a training watches one only.
        optimizer: over the model's and the loss's parameters; by default as `args` say. The schedule multiplies its
            rates.
        objective_metric: which of "eval_loss" and the metrics (with "eval_" before them) is reported and watched.
        early_stopping: a new `EarlyStopping`, such as `tuner.early_stopping()`; its direction is that of the metric.
        collate_fn: makes a batch of a list of samples, for data sets, such as one that pads, or a data collator of
            transformers; by default torch's `default_collate`, but with Python's numbers, and lists of them, as tensors
            of the default type.
        loss_weight: what `loss` takes the mean over in a batch, if not over its samples: a function of outputs and
            targets, which returns a number. Batches count by it in "eval_loss", and among the batches that are
            accumulated to a step, whose gradient is then that of the mean over all that they count (as with the
            `num_items_in_batch` of transformers). For a loss over valid tokens it is
            `lambda outputs, targets: (targets != -100).sum()`. A batch of weight 0 counts nowhere.

    Attributes:
        model: the model.
        step: steps of the optimizer done.
        history: a dict an evaluation: "step" as reported, then loss and metrics by name.

    Raises:
        InvalidValue: an argument of the wrong kind, or two that exclude each other.

    Example:
        >>> import torch
        >>> from fasthpo.torch import Trainer, TrainingArguments
        >>> x = torch.linspace(-1, 1, 64)[:, None]
        >>> args = TrainingArguments(num_train_epochs=50, learning_rate=0.1)
        >>> trainer = Trainer(lambda: torch.nn.Linear(1, 1), args, (x, 2 * x), (x, 2 * x), torch.nn.MSELoss())
        >>> trainer.train()["eval_loss"] < 0.01
        True
    """

    def __init__(
        self,
        model: torch.nn.Module | Callable[[], torch.nn.Module],
        args: TrainingArguments,
        train_data: Any,
        eval_data: Any,
        loss: Loss,
        metrics: Any = None,
        trial: Any = None,
        *,
        optimizer: torch.optim.Optimizer | None = None,
        objective_metric: str = LOSS,
        early_stopping: EarlyStopping | None = None,
        collate_fn: Collate | None = None,
        loss_weight: LossWeight | None = None,
    ) -> None:
        if not isinstance(args, TrainingArguments):
            raise InvalidValue(f"args must be a fasthpo.torch.TrainingArguments, got {args!r}")
        check_loss(loss, loss_weight)
        if eval_data is None and args.do_eval:
            raise InvalidValue("eval_data must not be None, unless args.do_eval is False")
        if early_stopping is not None and not isinstance(early_stopping, EarlyStopping):
            raise InvalidValue(f"early_stopping must be an EarlyStopping, got {early_stopping!r}")
        if early_stopping is not None and early_stopping.best_value is not None:
            raise InvalidValue("early_stopping must be new, got one that has watched a training already")
        if early_stopping is not None and not args.do_eval:
            raise InvalidValue("early_stopping watches evaluations, but args.do_eval is False")
        self.args, self.trial, self.early_stopping = args, trial, early_stopping
        self._reports = trial is not None and takes_one_value(trial)
        self.device = pick_device(args.device)
        self._metrics = Metrics(metrics)
        if objective_metric not in self._metrics.names:
            raise InvalidValue(
                f"objective_metric must be one of {self._metrics.names}, got objective_metric={objective_metric!r}"
            )
        self._objective = objective_metric
        self._train_data = as_dataset("train_data", train_data)
        self._eval_data = None if eval_data is None else as_dataset("eval_data", eval_data)
        self._collate_fn = check_collate_fn(collate_fn, self._train_data, self._eval_data)
        self._eval_batches: Batches | None = None
        self._loss = loss.to(self.device) if isinstance(loss, torch.nn.Module) else loss
        self._loss_weight = loss_weight
        self.model = self._made(model).to(self.device)
        self._modules = [one for one in (self.model, self._loss) if isinstance(one, torch.nn.Module)]
        self._weights = Weights(*self._modules)
        unique = {id(one): one for module in self._modules for one in module.parameters()}  # a loss may hold the model
        parameters = list(unique.values())
        check_trained(loss, parameters)
        self._optimizer = check_optimizer(optimizer, parameters) or make_optimizer(parameters, args)
        self._made_optimizer = optimizer is None
        self._batches = Batches(
            self._train_data,
            args.per_device_train_batch_size,
            self.device,
            args.seed,
            args.dataloader_drop_last,
            args.dataloader_num_workers,
            collate_fn,
        )
        self._steps_an_epoch = -(-len(self._batches) // args.gradient_accumulation_steps)
        total = args.max_steps or math.ceil(args.num_train_epochs * self._steps_an_epoch)
        self._last_step = self._share(total)
        self._schedule = Schedule(self._optimizer, args, total)
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=args.precision == "fp16")
        # a trial's directory comes into being when it is asked for, so only if something is saved or resumed
        self._saves = args.save_steps is not None or getattr(trial, "resource", None) is not None
        if args.save_steps is not None and self._checkpoint_path() is None:
            raise InvalidValue("save_steps needs an output_dir, or a trial with a checkpoint_dir, to save to")
        self._random = RandomStream(self.device)
        self.step = 0
        self.history: list[dict[str, float]] = []
        self._begun = False

    # --- what was given

    def _made(self, model: Any) -> torch.nn.Module:
        if not isinstance(model, torch.nn.Module) and callable(model):
            with kept_random_state(self.device):
                seed_all(self.args.seed, self.device)
                try:
                    model = model()
                except TypeError as error:
                    raise InvalidValue(f"model must be made by calling it without arguments: {error}") from error
        if not isinstance(model, torch.nn.Module):
            raise InvalidValue(f"model must be a torch.nn.Module, or a function that makes one, got {model!r}")
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise InvalidValue("model has no parameter that requires a gradient")
        return model

    def _share(self, total: int) -> int:
        """The step after which this training ends: `total`, or what the trial's resource says."""
        resource = getattr(self.trial, "resource", None)
        if resource is None:
            return total
        share = math.ceil(as_number("trial.resource", resource) * self._steps_an_epoch)
        falls = self.args.lr_scheduler_type != "constant" or self.args.warmup_ratio > 0
        if share > total and falls:
            raise InvalidValue(
                f"trial.resource must not be beyond the epochs over which the schedule runs, got {resource:g} of "
                f"{total / self._steps_an_epoch:g} epochs: set num_train_epochs to the largest resource"
            )
        return share

    def _checkpoint_path(self) -> Path | None:
        directory = getattr(self.trial, "checkpoint_dir", None)
        if directory is not None:
            return Path(directory) / FILE_NAME
        if self.args.output_dir is None:
            return None
        base = Path(self.args.output_dir)
        return (base if self.trial is None else base / f"trial-{self.trial.number}") / FILE_NAME

    # --- training

    def train(self, resume: bool | None = None) -> dict[str, float]:
        """Train to the end; loss and metrics of the weights that the model has then.

        These are the best ones if `early_stopping` restores them, else the last. With `do_eval=False`: an empty dict.

        Args:
            resume: whether to go on from the checkpoint, if there is one. None: only from the trial's own directory,
                and only if this training is saved, too.

        Raises:
            TrialPruned: the trial should end.
            CorruptCheckpoint: the checkpoint is damaged.
            InvalidValue: the checkpoint is of another training.
            TrialStateError: `train` was called before.
        """
        if self._begun:
            raise TrialStateError("train was called before; make a new Trainer, which can go on from a checkpoint")
        self._begun = True
        try:
            with self._random.use():
                seed_all(self.args.seed, self.device)
            self._load(resume)
            if self.args.do_eval:
                self._batches_to_evaluate().check()  # not only after an epoch
            self.model.train()
            while self.step < self._last_step and not self._stopped:
                self._train_epoch()
            if self.args.do_eval and not self.history:
                self._evaluate()
            if self._saves and self._checkpoint_path() is not None:
                self.save()
        finally:
            self._random.close()
        return self._finish()

    @property
    def _stopped(self) -> bool:
        return self.early_stopping is not None and self.early_stopping.should_stop

    def _train_epoch(self) -> None:
        """Train to the end of the epoch, or less if the training ends before."""
        epoch, done = divmod(self.step, self._steps_an_epoch)
        group = self.args.gradient_accumulation_steps
        sizes = self._batches.sizes()[done * group :]
        batches = self._batches.epoch(epoch, done * group)
        for start in range(0, len(sizes), group):
            with self._random.use():
                self._train_step(batches, sizes[start : start + group])
            self.step += 1
            self._after_step()
            if self.step >= self._last_step or self._stopped:
                return

    def _train_step(self, batches: Iterator[Any], sizes: list[int]) -> None:
        """One step of the optimizer, over the next batches, of those sizes."""
        self._schedule.set(self._optimizer, self.step)
        # the gradient is that of the mean over the whole step, though its batches may differ in weight; what they weigh
        # together is known in advance only if samples count, else the sum is in units of the first batch at first
        unit = float(sum(sizes)) if self._loss_weight is None else 0.0
        total = 0.0
        for size in sizes:
            inputs, named, targets = split_batch(next(batches))
            with self._autocast():
                outputs = self.model(*inputs, **named)
                loss = self._loss(outputs, targets)
            weight = batch_weight(self._loss_weight, outputs, targets, size)
            if not weight:  # the loss may be a mean over nothing, NaN
                continue
            unit, total = unit or weight, total + weight
            if weight != unit:
                loss = loss * (weight / unit)
            self._scaler.scale(loss).backward()
        if not total:
            return
        parameters = [one for group in self._optimizer.param_groups for one in group["params"]]
        if total != unit:
            for one in parameters:
                if one.grad is not None:
                    one.grad.mul_(unit / total)
        if self._made_optimizer:
            self._optimizer = accepting(self._optimizer, self.args, parameters)
        if self.args.max_grad_norm is not None:
            self._scaler.unscale_(self._optimizer)
            torch.nn.utils.clip_grad_norm_(parameters, self.args.max_grad_norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad()

    def _autocast(self) -> AbstractContextManager[Any]:
        dtype = _DTYPES.get(self.args.precision)
        return nullcontext() if dtype is None else torch.autocast(self.device.type, dtype)

    def _after_step(self) -> None:
        every = self.args.eval_steps or self._steps_an_epoch
        if self.args.do_eval and (self.step % every == 0 or self.step >= self._last_step):
            self._evaluate()
        if self.args.save_steps is not None and self.step % self.args.save_steps == 0:
            self.save()

    # --- evaluation

    def evaluate(self, data: Any = None) -> dict[str, float]:
        """Loss and metrics of the model as it is, by name with "eval_" before it.

        Args:
            data: as `eval_data`, which it is by default.

        Raises:
            InvalidValue: there is no data.
        """
        if data is None and self._eval_data is None:
            raise InvalidValue("evaluate needs data: the trainer was made without eval_data")
        batches = self._batches_to_evaluate() if data is None else self._to_evaluate(as_dataset("data", data))
        with kept_random_state(self.device), evaluating(*self._modules), self._autocast():
            measured: dict[str, float] = evaluate(self.model, batches, self._loss, self._metrics, self._loss_weight)
        return measured

    def _batches_to_evaluate(self) -> Batches:
        if self._eval_batches is None:
            self._eval_batches = self._to_evaluate(self._eval_data)
        return self._eval_batches

    def _to_evaluate(self, data: Any) -> Batches:
        size, workers = self.args.per_device_eval_batch_size, self.args.dataloader_num_workers
        return Batches(data, size, self.device, workers=workers, collate_fn=self._collate_fn)

    def _evaluate(self) -> None:
        """Evaluate, report, and see whether to go on."""
        with self._random.use():
            metrics = self.evaluate()
        step = self.step if self.args.eval_steps else -(-self.step // self._steps_an_epoch)
        value = metrics[self._objective]
        self.history.append({"step": step, **metrics})
        if self.early_stopping is not None:
            self.early_stopping.update(value, self._weights, step)
        if self._reports:
            self.trial.report(value, step)
            if self.trial.should_prune():
                raise TrialPruned(f"at step {step}, with {self._objective}={value:.6g}")

    def _finish(self) -> dict[str, float]:
        """Restore the best weights, if that is wanted; what they, or else the last ones, reached."""
        if not self.history:
            return {}
        step = self.history[-1]["step"]
        stopper = self.early_stopping
        if stopper is not None and stopper.restore(self._weights):
            assert stopper.best_step is not None
            step = stopper.best_step
        reached = next(one for one in reversed(self.history) if one["step"] == step)
        return {name: value for name, value in reached.items() if name != "step"}

    # --- checkpoints

    def save(self) -> Path:
        """Write a checkpoint to the trial's directory, or else to `output_dir`; the file's path.

        Raises:
            InvalidValue: there is neither.
            StorageError: it can't be written.
        """
        path = self._checkpoint_path()
        if path is None:
            raise InvalidValue("save needs an output_dir, or a trial with a checkpoint_dir")
        stopper = self.early_stopping
        state = {
            "step": self.step,
            **self._weights.both(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "random": self._random.state(),
            "early_stopping": None if stopper is None else stopper.state_dict(),
            "history": self.history,
            **self._identity(),
        }
        save_training(path, state)
        return path

    def _identity(self) -> dict[str, dict[str, Any]]:
        """What must be the same where a training goes on."""
        arguments = {name: value for name, value in self.args.to_dict().items() if name not in _FREE}
        schedule = self._schedule.state_dict()
        if schedule["kind"] == "constant" and not schedule["warmup"]:
            del schedule["total"]  # it decides nothing then
        return {"data": {"samples": self._batches.samples}, "arguments": arguments, "schedule": schedule}

    def _load(self, resume: bool | None) -> None:
        path = None
        if resume or (resume is None and self._saves and getattr(self.trial, "checkpoint_dir", None) is not None):
            path = self._checkpoint_path()
        if path is None or not path.exists():
            if resume is not False and (getattr(self.trial, "start_resource", 0) or 0) > 0:
                logger.warning(
                    "trial %s begins anew: there is no checkpoint of what it was trained before", self.trial.number
                )
            return
        state = load_training(path)
        is_forked = getattr(self.trial, "parent", None) is not None
        for what, now in self._identity().items():
            if not is_forked:
                check_same(path, what, state[what], now)
            elif what != "schedule":
                check_same(path, what, state[what], {k: v for k, v in now.items() if k not in _MUTABLE}, _FORKED)
        if (state["early_stopping"] is None) != (self.early_stopping is None):
            raise InvalidValue(f"{path} holds a training that differs in having early_stopping")
        for one in state["history"]:
            if self._objective not in one:
                raise InvalidValue(f"{path} holds a training without {self._objective!r}, only with {list(one)}")
        try:
            self._take_up(state)
        except (RuntimeError, ValueError) as error:
            raise InvalidValue(f"{path} holds the weights of another model: {error}") from error
        except Exception as error:  # whatever torch makes of what no training has saved
            raise CorruptCheckpoint(f"{path} holds no state of a training: {error!r}") from error
        try:
            self._take_up_rest(state)
        except Exception as error:
            raise CorruptCheckpoint(f"{path} holds no state of a training: {error}") from error
        self.step, self.history = state["step"], state["history"]
        if self._reports:  # what was reported before a crash is not known any more; else it stands
            inherited = (getattr(self.trial, "fork_step", None) or 0) * self._steps_an_epoch
            for one in self.history:
                done = one["step"] if self.args.eval_steps else one["step"] * self._steps_an_epoch
                if done > inherited:
                    self.trial.report(one[self._objective], int(one["step"]))

    def _take_up(self, state: Mapping[str, Any]) -> None:
        """Go on from saved weights, and the optimizer's state.

        Raises:
            RuntimeError, ValueError: they are of another model.
            Exception: of any other kind, if they are of none.
        """
        stopper = state["early_stopping"]
        if stopper is not None and stopper.get("weights") is not None:
            self._weights.load_state_dict(stopper["weights"])  # to see now that they can be restored later
        self._weights.load_both(state)
        if self._made_optimizer:
            load_made(self._optimizer, state["optimizer"])
            return
        before = [dict(group) for group in self._optimizer.param_groups]
        self._optimizer.load_state_dict(state["optimizer"])
        for group, own in zip(self._optimizer.param_groups, before, strict=True):
            group["fused"] = own.get("fused")  # as this one was made, not that
            if not own.keys() <= group.keys():
                raise ValueError(f"its optimizer has the options {list(group)}, this one {list(own)}")
            if getattr(self.trial, "parent", None) is not None:
                group.update({name: own[name] for name in _OPTIONS if name in own})

    def _take_up_rest(self, state: Mapping[str, Any]) -> None:
        """Go on from all that is saved besides weights.

        Raises:
            Exception: of any kind, if it is of no training.
        """
        if self.early_stopping is not None:
            self.early_stopping.load_state_dict(state["early_stopping"])
            best = self.early_stopping.best_step
            if best is not None and all(one["step"] != best for one in state["history"]):
                raise ValueError(f"its best step, {best}, is not in its history")
        if self._scaler.is_enabled():
            check_like("the scaler's state", state["scaler"], self._scaler.state_dict())
        self._scaler.load_state_dict(state["scaler"])
        with kept_random_state(self.device):  # to see now that it can be taken up at the next step
            set_random_state(state["random"], self.device)
        self._random.set_state(state["random"])
