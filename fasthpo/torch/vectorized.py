"""Many small models at once: the trials of a study train as one computation, in one process."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from fasthpo.errors import InvalidParameters, InvalidValue
from fasthpo.study.study import Study
from fasthpo.torch.arguments import TrainingArguments
from fasthpo.torch.batches import Batches, Collate, as_dataset, check_collate_fn
from fasthpo.torch.evaluation import LOSS, Loss, LossWeight, Metrics, check_loss, check_trained
from fasthpo.torch.held_state import contents, difference
from fasthpo.torch.hyperparams import hyperparams_to_training_args, split_params
from fasthpo.torch.randomness import kept_random_state, seed_all
from fasthpo.torch.stack import Stack, mappable_attention
from fasthpo.torch.stack_check import check_stackable
from fasthpo.torch.stacked_population import StackedPopulation, check_population
from fasthpo.torch.stacked_training import StackedTraining
from fasthpo.torch.stacking import stackable
from fasthpo.torch.trainer import pick_device
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray, as_number, check_count, plain

# bytes of a stack: what exceeds a CPU's caches is slower a model, while a GPU gains from more
_MEMORY = {"cpu": 8 * 2**20}
_MEMORY_ELSEWHERE = 2**30
_ASK = 256
_OF_STACKS = ("learning_rate", "weight_decay", "momentum", "dropout")  # in which models of a stack may differ
_IN_FULL = (
    "VectorizedTrainer trains every trial from its beginning to its end, so it can't follow a multi-fidelity strategy; "
    "give the study a pruner instead, or train a population with train_population"
)


@dataclass(frozen=True)
class VectorizedResult:
    """What became of one configuration.

    Attributes:
        state: COMPLETE; PRUNED, if its trial said so; FAILED, if its weights or its objective are no numbers.
        value: the objective at its last evaluation; NaN if it failed.
        metrics: all that was measured then, by name.
        step: steps of the optimizer done.
    """

    state: TrialState
    value: float
    metrics: dict[str, float] = field(default_factory=dict)
    step: int = 0


class VectorizedTrainer:
    """Trains many configurations of small models in one process, as one computation: `torch.func.vmap` over stacks.

    What a step costs besides arithmetic (Python, calls of torch, memory) is paid once for a stack of models, not once
    for each. The models of a stack have one architecture; they begin with the same weights, see the same batches in the
    same order, and may differ in `learning_rate`, `weight_decay`, `momentum` and `dropout`. Each trains as `Trainer`
    would train it alone with the same arguments (to rounding, and except for random numbers drawn by torch).

    A model's parameters and its registered buffers are its own, also where its forward puts a new tensor into a
    buffer's place. Whatever else a module holds (counters, lists, masks that it keeps) is there once for a stack; it
    may change as long as that is the same for all models. Before a model is trained it is tried out on a batch, alone
    and stacked, and refused if both do not come to the same, or if torch can't compute it stacked (recurrent layers,
    control flow that depends on activations, `item()`). What can't be seen, and must not change, is the state of other
    objects than the module and the loss, such as of one that only a closure leads to.

    A configuration's other parameters decide in which stack it is: those that are training arguments, such as
    `optimizer` or `batch_size`, and those that are not, which are the architecture and are passed to `model`.
    A trial that is pruned, or whose weights are no longer finite, leaves its stack, which is faster from then on.

    Args:
        model: a function of the architecture's parameters that makes a module, the same one whenever it is called with
            the same parameters and seed; `dropout` is not passed to it, but set in all of its `nn.Dropout` modules.
        args: how to train, for what a configuration does not say. Only "fp32", no accumulation, no checkpoints.
        train_data, eval_data, loss, metrics, objective_metric, collate_fn, loss_weight: as `Trainer`; the model's
            output must be one tensor, and the loss can't have parameters that require a gradient.
        stack_size: models of a stack, at most; by default what 8 MB hold on a CPU, which fit into its caches, and 1 GB
            elsewhere.

    Raises:
        InvalidValue: an argument of the wrong kind, or one that does not work stacked.

    Example:
        >>> import torch, fasthpo
        >>> from fasthpo.torch import TrainingArguments, VectorizedTrainer
        >>> x = torch.linspace(-1, 1, 64)[:, None]
        >>> model = lambda width: torch.nn.Sequential(
        ...     torch.nn.Linear(1, width), torch.nn.Tanh(), torch.nn.Linear(width, 1))
        >>> args = TrainingArguments(num_train_epochs=20)
        >>> trainer = VectorizedTrainer(model, args, (x, x**2), (x, x**2), torch.nn.MSELoss())
        >>> space = {"learning_rate": fasthpo.LogUniform(1e-4, 1.0), "width": fasthpo.Categorical([4, 8])}
        >>> study = fasthpo.Study(space, sampler=fasthpo.TPESampler(seed=0), pruner=fasthpo.MedianPruner())
        >>> trainer.tune(study, n_trials=64, ask=32)
        >>> len(study), study.best_value < 0.05
        (64, True)
    """

    def __init__(
        self,
        model: Callable[..., torch.nn.Module],
        args: TrainingArguments,
        train_data: Any,
        eval_data: Any,
        loss: Loss,
        metrics: Any = None,
        *,
        objective_metric: str = LOSS,
        stack_size: int | None = None,
        collate_fn: Collate | None = None,
        loss_weight: LossWeight | None = None,
    ) -> None:
        if isinstance(model, torch.nn.Module) or not callable(model):
            raise InvalidValue(f"model must be a function that makes a torch.nn.Module, got {model!r}")
        if not isinstance(args, TrainingArguments):
            raise InvalidValue(f"args must be a fasthpo.torch.TrainingArguments, got {args!r}")
        check_loss(loss, loss_weight)
        check_trained(loss, [])
        _check_stackable(args)
        self._model, self.args = model, args
        self.device = pick_device(args.device)
        self._loss = loss.to(self.device) if isinstance(loss, torch.nn.Module) else loss
        self._metrics = Metrics(metrics)
        if objective_metric not in self._metrics.names:
            raise InvalidValue(
                f"objective_metric must be one of {self._metrics.names}, got objective_metric={objective_metric!r}"
            )
        self._objective = objective_metric
        self._train_data = as_dataset("train_data", train_data)
        self._eval_data = as_dataset("eval_data", eval_data)
        self._collate_fn = check_collate_fn(collate_fn, self._train_data, self._eval_data)
        self._loss_weight = loss_weight
        self.stack_size = None if stack_size is None else check_count("stack_size", stack_size, 1)
        self._checked: set[Any] = set()

    def tune(self, study: Study, n_trials: int, ask: int = _ASK) -> None:
        """Run trials of a study: ask for many, train them, tell what came out, until there are `n_trials` more.

        Less, if the space ends. Trials are reported to and pruned as the study's pruner says; one whose weights are no
        longer finite fails.

        Args:
            study: whose parameters are training arguments, `dropout` and the architecture's; not one of a
                multi-fidelity strategy, because every trial is trained from its beginning.
            n_trials: how many.
            ask: how many to ask for at a time. The more, the fuller the stacks of each architecture, and the less a
                sampler knows when it suggests.
        """
        left, step = check_count("n_trials", n_trials, 1), check_count("ask", ask, 1)
        if study.strategy is not None and study.strategy.is_multi_fidelity:
            raise InvalidValue(_IN_FULL)
        if len(study.directions) > 1:
            raise InvalidValue(
                f"VectorizedTrainer tells one value, {self._objective!r}, but the study has {len(study.directions)} "
                "objectives"
            )
        while left > 0:
            numbers = study.ask_batch(min(step, left)).numbers.tolist()
            if not numbers:
                return
            trials = [study.trials[number] for number in numbers]
            try:
                for ended in self._train_all(trials):  # told stack by stack: the next ones are compared with them
                    for i, result in ended.items():
                        _tell(study, trials[i], result)
            except BaseException as error:
                for trial in trials:
                    if trial.state == TrialState.RUNNING:
                        why = f"{type(error).__name__}: {error}"  # which of the trials is to blame, nobody knows
                        study.tell(trial, state=TrialState.FAILED, error=why, infrastructure=True)
                raise
            left -= len(numbers)

    def train_population(self, study: Study) -> None:
        """Train the population of a study to its end, as one stack: a row for each member.

        A member that goes on from another one's weights is a copy of a row, of weights, buffers and moments, on the
        device: no file is written. Trials are reported to and told as in `tune`; their resource are epochs.

        A study that is kept in a directory has a snapshot of all members there, which is replaced after each interval.
        What was broken off is trained again from it, and ends as if it never had been (on the CPU bit by bit). The
        weights of the best trial lie in its `checkpoint_dir` at last, as "model.pt": the `state_dict` of its model.

        Args:
            study: under a synchronous `PopulationTraining`, whose parameters are among `learning_rate`,
                `weight_decay`, `momentum` and `dropout`.

        Raises:
            InvalidValue: the study is another one, the schedule falls and `num_train_epochs` is not the population's
                max_resource, or a snapshot is of another training.
            StorageError: the snapshot can't be written.

        Example:
            >>> import torch, fasthpo
            >>> from fasthpo.torch import TrainingArguments, VectorizedTrainer
            >>> x = torch.linspace(-1, 1, 64)[:, None]
            >>> model = lambda: torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
            >>> trainer = VectorizedTrainer(model, TrainingArguments(), (x, x**2), (x, x**2), torch.nn.MSELoss())
            >>> sampler = fasthpo.RandomSampler(seed=0)
            >>> strategy = fasthpo.PopulationTraining(20, population=16, interval=2, sampler=sampler)
            >>> study = fasthpo.Study({"learning_rate": fasthpo.LogUniform(1e-4, 1.0)}, strategy=strategy)
            >>> trainer.train_population(study)
            >>> strategy.is_complete, study.best_value < 0.01
            (True, True)
        """
        strategy = check_population(study, _OF_STACKS)
        common, _ = self._configuration(study.trials[0] if len(study) else study.space.decode(_first_row(study)))
        most, falls = strategy.max_resource, common.lr_scheduler_type != "constant" or common.warmup_ratio > 0
        if falls and (common.max_steps is not None or common.num_train_epochs < most):
            raise InvalidValue(
                f"max_resource must not be beyond the epochs over which the schedule runs, got {most} of "
                f"{common.num_train_epochs:g} epochs: set num_train_epochs to max_resource"
            )
        members, any_rate = strategy.population, "dropout" in study.space
        held = self._check({}, common, any_rate)
        with self._prepared({}, [common] * members, [0.0] * members if any_rate else None, held) as training:
            free = {"num_train_epochs"} if not falls else set()
            arguments = {name: value for name, value in common.to_dict().items() if name not in {*_OF_STACKS, *free}}
            identity = {"arguments": arguments, "samples": training.samples}
            StackedPopulation(
                study, strategy, training, self._configuration, self._objective, identity, common.seed
            ).to_the_end()

    def _configuration(self, trial: Mapping[str, Any]) -> tuple[TrainingArguments, float | None]:
        """The arguments and the dropout of a trial of a population."""
        args, dropout, _ = self._read(dict(trial))
        return args, dropout

    def train(self, configurations: Iterable[Mapping[str, Any]]) -> list[VectorizedResult]:
        """Train configurations; what became of each, in their order.

        Args:
            configurations: trials, which are reported to and asked whether to go on, or other mappings of names to
                values, which are not.

        Raises:
            InvalidParameters: values that are no training arguments, or that the model's function does not take.
            InvalidValue: a model that does not come to the same in a stack as alone.
        """
        ends: dict[int, VectorizedResult] = {}
        for ended in self._train_all(list(configurations)):
            ends |= ended
        return [ends[i] for i in range(len(ends))]

    def _train_all(self, given: Sequence[Any]) -> Iterator[dict[int, VectorizedResult]]:
        """Train stack by stack; what became of a stack's configurations, by their index."""
        stacks: dict[Any, list[int]] = {}
        arguments: list[TrainingArguments] = []
        dropouts: list[float | None] = []
        for i, one in enumerate(given):
            args, dropout, architecture = self._read(one)
            arguments.append(args)
            dropouts.append(dropout)
            alike = dataclasses.replace(args, learning_rate=0.0, weight_decay=0.0, momentum=0.0)
            stacks.setdefault((alike, dropout is None, tuple(sorted(architecture.items()))), []).append(i)
        for (_, fixed, architecture), members in stacks.items():
            held = self._check(dict(architecture), arguments[members[0]], not fixed)
            size = self._stack_size(dict(architecture), arguments[members[0]], not fixed)
            for start in range(0, len(members), size):
                chosen = members[start : start + size]
                rates = None if fixed else [as_number("dropout", dropouts[i]) for i in chosen]
                trials = [given[i] for i in chosen]
                ends = self._train_stack(dict(architecture), [arguments[i] for i in chosen], rates, trials, held)
                yield dict(zip(chosen, ends, strict=True))

    def _read(self, one: Any) -> tuple[TrainingArguments, float | None, dict[str, Any]]:
        """A configuration's arguments, its dropout and its architecture."""
        if not isinstance(one, Mapping):
            raise InvalidParameters(f"a configuration must be a trial or a mapping of names to values, got {one!r}")
        if getattr(one, "resource", None) is not None:
            raise InvalidValue(_IN_FULL)
        own, others = split_params(one, TrainingArguments.names())
        args = hyperparams_to_training_args(self.args, {name: plain(value) for name, value in own.items()})
        _check_stackable(args)
        dropout = others.pop("dropout", None)
        if dropout is not None:
            dropout = as_number("dropout", dropout)
            if not 0 <= dropout <= 1:
                raise InvalidParameters(f"dropout must lie between 0 and 1, got dropout={dropout:g}")
        architecture = {name: plain(value) for name, value in others.items()}
        for name, value in architecture.items():
            if not isinstance(value, Hashable):
                raise InvalidParameters(f"a configuration's values must be hashable, got {name}={value!r}")
        return args, dropout, architecture

    def _make(self, architecture: dict[str, Any], seed: int) -> torch.nn.Module:
        seed_all(seed, self.device)
        try:
            model = self._model(**architecture)
        except TypeError as error:
            raise InvalidParameters(f"model can't be made with {architecture}: {error}") from error
        if not isinstance(model, torch.nn.Module):
            raise InvalidValue(f"model must make a torch.nn.Module, got {model!r}")
        return model.to(self.device)

    def _check(self, architecture: dict[str, Any], args: TrainingArguments, any_rate: bool) -> dict[str, Any]:
        """Refuse a model that would come to something else in a stack than alone; what it holds when it is made."""
        key = tuple(sorted(architecture.items())), any_rate, args.per_device_train_batch_size
        with kept_random_state(self.device), mappable_attention():
            model = self._make(architecture, args.seed)
            held = contents(model)
            if key not in self._checked:
                size, collate_fn = args.per_device_train_batch_size, self._collate_fn
                batches = Batches(self._train_data, size, self.device, args.seed, collate_fn=collate_fn)
                check_stackable(model, args, self._loss, next(batches.epoch(0)), any_rate, self.device)
                self._checked.add(key)
        return held

    def _stack_size(self, architecture: dict[str, Any], args: TrainingArguments, any_rate: bool) -> int:
        """How many models of this architecture a stack has; the same for the same device, whatever else runs there."""
        if self.stack_size is not None:
            return self.stack_size
        with kept_random_state(self.device), mappable_attention():
            rates = [0.5, 0.5] if any_rate else None
            model = self._make(architecture, args.seed)
            size, collate_fn = args.per_device_train_batch_size, self._collate_fn
            batches = Batches(self._train_data, size, self.device, collate_fn=collate_fn)
            with stackable(model, any_rate):
                stack = Stack(model, [args, args], rates, self._loss)
                bytes_a_model = stack.memory(next(batches.epoch(0)))
        return max(1, _MEMORY.get(self.device.type, _MEMORY_ELSEWHERE) // bytes_a_model)

    def _train_stack(
        self,
        architecture: dict[str, Any],
        args: Sequence[TrainingArguments],
        dropouts: Sequence[float] | None,
        trials: Sequence[Any],
        held: dict[str, Any],
    ) -> list[VectorizedResult]:
        ends: list[VectorizedResult] = [VectorizedResult(TrialState.FAILED, math.nan)] * len(args)
        with self._prepared(architecture, args, dropouts, held) as training:
            for shown in training.advance(training.total):
                self._evaluate(training, trials, ends, shown)
        return ends

    @contextmanager
    def _prepared(
        self,
        architecture: dict[str, Any],
        args: Sequence[TrainingArguments],
        dropouts: Sequence[float] | None,
        held: dict[str, Any],
    ) -> Iterator[StackedTraining]:
        """A new stack and what it is trained with, in the block; what is drawn there leaves the generators alone."""
        common = args[0]
        with ExitStack() as open_until_the_end:
            open_until_the_end.enter_context(kept_random_state(self.device))
            open_until_the_end.enter_context(mappable_attention())
            model = self._make(architecture, common.seed)
            path = difference(held, contents(model))
            if path is not None:
                raise InvalidValue(
                    f"model must make the same module whenever it is called with the same seed and parameters, but "
                    f"{path} differs; the models of a stack have one beginning, so train with Trainer"
                )
            open_until_the_end.enter_context(stackable(model, dropouts is not None))
            stack = Stack(model, args, dropouts, self._loss)
            seed_all(common.seed, self.device)
            yield StackedTraining(
                stack, common, self._train_data, self._eval_data, self._collate_fn, self._metrics, self._loss_weight
            )

    def _evaluate(
        self, training: StackedTraining, trials: Sequence[Any], ends: list[VectorizedResult], shown: int
    ) -> None:
        """Evaluate all models of the stack, report, and take out those that have ended."""
        stack, step, last = training.stack, training.step, training.step == training.total
        measured = training.evaluate()
        members = stack.rows.tolist()
        for member, metrics in zip(members, measured, strict=True):  # all report before any is judged
            if hasattr(trials[member], "report"):
                trials[member].report(metrics[self._objective], shown)
        going = []
        for i, (member, metrics, finite) in enumerate(zip(members, measured, stack.finite(), strict=True)):
            value, trial = metrics[self._objective], trials[member]
            state = TrialState.COMPLETE
            if not finite or math.isnan(value):
                state, value = TrialState.FAILED, math.nan
            elif hasattr(trial, "should_prune") and trial.should_prune():
                state = TrialState.PRUNED
            ends[member] = VectorizedResult(state, value, metrics, step)
            if state == TrialState.COMPLETE:
                going.append(i)
        if len(going) < len(members) and not last:
            stack.keep(going)


def _first_row(study: Study) -> FloatArray:
    """A point of a study's space."""
    row: FloatArray = study.space.from_unit(np.full((1, len(study.space)), 0.5))[0]
    return row


def _tell(study: Study, trial: Any, result: VectorizedResult) -> None:
    if result.state == TrialState.COMPLETE:
        study.tell(trial, result.value, metrics=result.metrics)
    elif result.state == TrialState.PRUNED:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, state=TrialState.FAILED, error=f"diverged by step {result.step}")


def _check_stackable(args: TrainingArguments) -> None:
    """Refuse what a stack can't do."""
    needed = {"precision": "fp32", "gradient_accumulation_steps": 1, "save_steps": None, "do_eval": True}
    for name, value in needed.items():
        if getattr(args, name) != value:
            raise InvalidValue(f"VectorizedTrainer needs {name}={value!r}, got {name}={getattr(args, name)!r}")
