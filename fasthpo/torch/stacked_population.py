"""A population that trains as one stack: one that begins from another one's weights is a copied row.

All that happens to the rows follows from the study's trials: which of them holds each place in which generation. So a
population that was broken off is trained again from the last snapshot, or from its beginning, to where it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fasthpo.errors import InvalidValue
from fasthpo.storage.atomic import atomic_file, storage_errors
from fasthpo.strategies.population import Population
from fasthpo.study.study import Study
from fasthpo.system.log import logger
from fasthpo.torch.arguments import TrainingArguments
from fasthpo.torch.randomness import RandomStream, seed_all
from fasthpo.torch.stacked_training import StackedTraining
from fasthpo.trials.lineage import NO_PARENT, Fork
from fasthpo.trials.trial import Trial, TrialState
from fasthpo.values import IntArray

SNAPSHOT = "population.pt"
MODEL = "model.pt"
Configuration = tuple[TrainingArguments, float | None]


def check_population(study: Study, names: Sequence[str]) -> Population:
    """The strategy of a study that can train as one stack.

    Args:
        study: the study.
        names: the parameters in which the models of a stack may differ.

    Raises:
        InvalidValue: its strategy is no synchronous population, or its parameters are others.
    """
    strategy = study.strategy
    if not isinstance(strategy, Population) or not strategy.synchronous:
        raise InvalidValue(
            "train_population needs a study under a synchronous population, such as PopulationTraining(max_resource), "
            f"got {strategy!r}"
        )
    others = [name for name in study.space if name not in names]
    if others:
        raise InvalidValue(
            f"the members of a population that trains as one stack may differ in {list(names)}, but the space has "
            f"{others}; train it with Trainer"
        )
    return strategy


class StackedPopulation:
    """Trains the members of a study's population as the rows of a stack, generation by generation.

    Args:
        study: see `check_population`.
        strategy: the study's.
        training: of a new stack with a row for each member.
        read: a trial's arguments and dropout.
        objective: which metric is told.
        identity: what must be the same where a snapshot is taken up, in plain values.
        seed: of what is drawn.
    """

    def __init__(
        self,
        study: Study,
        strategy: Population,
        training: StackedTraining,
        read: Callable[[Trial], Configuration],
        objective: str,
        identity: dict[str, Any],
        seed: int,
    ) -> None:
        self._study, self._strategy, self._training, self._read = study, strategy, training, read
        self._objective = objective
        self._boundaries = strategy.plans[0].resources
        self._identity = {**identity, "members": strategy.population, "weights": training.stack.weights.shape[1]}
        self._seed = seed
        self._device = training.stack.weights.device
        self._first = training.stack.state_dict()
        self._random = RandomStream(self._device)
        self._done = 0  # generations

    def to_the_end(self) -> None:
        """Train until every member has come to its end."""
        try:
            self._begin_anew()
            running = self._running()
            if running:
                self._take_up(self._boundaries.index(running[0].resource or 0))
            while running:
                generation = self._boundaries.index(running[0].resource or 0)
                while self._done < generation:  # what was told before, but is not in memory
                    self._train(self._done, {})
                self._train(generation, {trial.number: trial for trial in running})
                self._save_snapshot()
                running = self._running()
        finally:
            self._random.close()
        best = self._study.table.best_number
        if best is not None and self._done == len(self._boundaries):
            self._save_model(best)

    def _begin_anew(self) -> None:
        self._training.stack.load_state_dict(self._first)
        self._training.step = 0
        with self._random.use():
            seed_all(self._seed, self._device)

    def _running(self) -> list[Trial]:
        """The trials of the generation, all of which run now."""
        while self._study.ask_within() is not None:
            pass
        table = self._study.table
        return [self._study.trials[number] for number in table.running.tolist() if number in table.lineage]

    def _holders(self, generation: int) -> list[int]:
        """The trial that has each place in a generation."""
        columns = self._study.table.lineage.columns(len(self._study))
        found = [-1] * self._strategy.population
        inside: IntArray = np.flatnonzero((columns["member"] >= 0) & (columns["generation"] <= generation))
        for number in inside.tolist():
            found[int(columns["member"][number])] = number
        return found

    def _train(self, generation: int, running: dict[int, Trial]) -> None:
        """Train a generation from one boundary to the next, and tell the trials of it that run."""
        training, holders = self._training, self._holders(generation)
        self._assign(generation, holders)
        measured: list[dict[str, float]] = []
        with self._random.use():
            for shown in training.advance(self._boundaries[generation] * training.steps_an_epoch):
                measured = training.evaluate()
                for number, metrics in zip(holders, measured, strict=True):
                    if number in running:
                        running[number].report(metrics[self._objective], shown)
        for number, metrics, finite in zip(holders, measured, training.stack.finite(), strict=True):
            if number not in running:
                continue
            value = metrics[self._objective]
            if not finite or math.isnan(value):
                error = f"diverged by step {training.step}"
                self._study.tell(number, state=TrialState.FAILED, error=error)
            elif running[number].should_prune():
                self._study.tell(number, state=TrialState.PRUNED)
            else:
                self._study.tell(number, value, metrics=metrics)
        self._done = generation + 1

    def _assign(self, generation: int, holders: Sequence[int]) -> None:
        """Have the rows be those of the trials that hold the places now."""
        lineage = self._study.table.lineage
        forks = [lineage.of(number) or Fork(0, 0) for number in holders]
        new = [i for i, fork in enumerate(forks) if fork.generation == generation and generation > 0]
        if new and all(forks[i].parent == NO_PARENT for i in new):  # all members had failed
            self._begin_anew()
            new = []
        parents = [lineage.of(forks[i].parent) or Fork(0, 0) for i in new]
        configurations = [self._read(self._study.trials[number]) for number in holders]
        dropouts = [dropout for _, dropout in configurations if dropout is not None]
        arguments = [args for args, _ in configurations]
        self._training.stack.go_on(new, [one.member for one in parents], arguments, dropouts or None)

    # --- files

    @property
    def _path(self) -> Path | None:
        return None if self._study.storage is None else self._study.checkpoints.root / SNAPSHOT

    def _save_snapshot(self) -> None:
        """Write what the rows are at the end of a generation, in the place of what they were before.

        Raises:
            StorageError: it can't be written.
        """
        path = self._path
        if path is None:  # a study in memory ends with its process, as the stack does
            return
        state = {
            "identity": self._identity, "generations": self._done, "step": self._training.step,
            "stack": self._training.stack.state_dict(), "random": self._random.state(),
        }  # fmt: skip
        with storage_errors(f"the population can't be saved to {path}"):
            path.parent.mkdir(exist_ok=True)
            with atomic_file(path) as file:
                torch.save(state, file)

    def _take_up(self, generation: int) -> None:
        """Go on from a snapshot, if there is one of what came before a generation.

        Raises:
            InvalidValue: it is of another training.
        """
        path = self._path
        if path is None or not path.is_file() or generation == 0:
            return
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)  # generators' states stay there
            identity, done = state["identity"], int(state["generations"])
        except Exception as error:  # whatever torch makes of a damaged file
            logger.warning("%s can't be read, and the population is trained again from its beginning: %s", path, error)
            return
        for name, value in self._identity.items():
            if identity.get(name) != value:
                raise InvalidValue(
                    f"the population was trained with another {name}: {identity.get(name)!r:.300} there, "
                    f"{value!r:.300} here; remove {path} to have it trained again with that from its beginning"
                )
        if done <= generation:
            self._training.stack.load_state_dict(state["stack"])
            self._training.step, self._done = state["step"], done
            self._random.set_state(state["random"])

    def _save_model(self, number: int) -> None:
        """Write the weights of a trial to its directory."""
        fork = self._study.table.lineage.of(number)
        if fork is None or self._holders(len(self._boundaries) - 1)[fork.member] != number:
            return
        path = self._study.trials[number].checkpoint_dir / MODEL
        with storage_errors(f"the best model can't be saved to {path}"), atomic_file(path) as file:
            state = self._training.stack.model_state(fork.member)
            torch.save({name: one.cpu() for name, one in state.items()}, file)  # to be loaded where no GPU is, too
