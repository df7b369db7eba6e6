"""Taking up a study that was kept or saved."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from fasthpo.errors import (
    CorruptCheckpoint,
    FastHPOError,
    InvalidSearchSpace,
    InvalidValue,
    StudyReadOnly,
)
from fasthpo.pruners.base import Pruner
from fasthpo.samplers.base import Sampler
from fasthpo.space.search_space import SearchSpace
from fasthpo.storage.atomic import atomic_file
from fasthpo.storage.definition import Definition, Given
from fasthpo.storage.directory import (
    Loaded,
    exists,
    holds_study,
    read_study,
    remove_leftovers,
)
from fasthpo.storage.durability import Durability, check_durability
from fasthpo.storage.following import follow
from fasthpo.storage.gate import Barred
from fasthpo.storage.keeper import Keeper
from fasthpo.storage.lock import WriterLock
from fasthpo.storage.weights import DIRECTORY
from fasthpo.strategies.base import Strategy
from fasthpo.study.keeping import Keeping
from fasthpo.system.log import logger
from fasthpo.system.paths import absolute, given_path
from fasthpo.trials.history import History
from fasthpo.trials.rebuilding import fitted, settled
from fasthpo.trials.trial import TrialState

_INTERRUPTED = "interrupted: it was running when the study broke off"


class Loading(Keeping):
    """Loads a study, and goes on with it where it was kept or only follows it. `Study` adds what changes it."""

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        sampler: Sampler | None = None,
        pruner: Pruner | None = None,
        strategy: Strategy | None = None,
        space: SearchSpace | Mapping[str, Any] | None = None,
        read_only: bool = False,
        recover: bool = False,
        interrupted: Literal["retry", "fail"] = "retry",
        durability: Durability = "interval",
    ) -> Self:
        """A study that was kept or saved; it goes on as if it had never stopped.

        A directory is opened for writing: what happens from now on is kept there. A file is read into memory.

        Args:
            path: the directory of a study, or a file that `save` wrote.
            sampler: the sampler to go on with; needed if the study used one of your own.
            pruner: the pruner to go on with; needed if the study used one of your own.
            strategy: the strategy to go on with, with its sampler; needed if the study used one of your own.
            space: another search space to go on in: with more choices, wider bounds, or new parameters that were
                inactive in all trials. It must hold every trial. A grid starts anew.
            read_only: only look; the study may be open in another process, whose progress `refresh` takes up.
            recover: of a damaged study, go on with what is intact and comes before the damage. The damaged files are
                kept under another name.
            interrupted: what becomes of trials that were running when the study broke off. "retry": they are asked
                again first, with their numbers, parameters and resources; the reports they had made are dropped.
                "fail": they have failed, and keep their reports.
            durability: see `Study`.

        Raises:
            FileNotFoundError: there is no study.
            StudyInUse: another process, or this one, has it open for writing.
            CorruptCheckpoint: a file is damaged, or not of a version known here.
            InvalidValue: the study used a part of your own and none is given, or an argument is wrong.
            InvalidSearchSpace: a trial does not lie in `space`.
            OSError: a file can't be read.
        """
        if interrupted not in ("retry", "fail"):
            raise InvalidValue(f"interrupted must be 'retry' or 'fail', got interrupted={interrupted!r}")
        if read_only and space is not None:
            raise InvalidValue("a study that is only read can't get another space")
        seconds = check_durability(durability)
        if space is not None and not isinstance(space, SearchSpace):
            space = SearchSpace(space)
        path = absolute(given_path("path", path))
        writes = path.is_dir() and holds_study(path) and not read_only
        lock = WriterLock(path) if writes else None
        try:
            loaded = read_study(path, recover)
            study, changed = cls._made(path, loaded, Given(sampler, pruner, strategy), space)
            again = study._requeue() if interrupted == "retry" and not read_only else []
            if not read_only:
                study._replay_observations()
            if lock is not None:
                study._go_on(path, lock, loaded, seconds, bool(again), changed)
        except BaseException:
            if lock is not None:
                lock.release()
            raise
        if loaded.damage is not None:
            logger.warning("%s", loaded.damage)
        if read_only:
            study._gate = Barred(StudyReadOnly(f"{path} was opened with read_only=True and can't be changed"))
            study._loaded = loaded
            return study
        if loaded.torn:
            logger.warning(
                "%s: the last %d bytes are dropped: a record that was not written to its end when the study broke off",
                loaded.journal, loaded.torn,
            )  # fmt: skip
        if interrupted == "fail":
            for number in study.table.running.tolist():
                study.tell(number, state=TrialState.FAILED, error=_INTERRUPTED, infrastructure=True)  # type: ignore[attr-defined]
        return study

    @classmethod
    def _made(cls, path: Path, loaded: Loaded, given: Given, space: SearchSpace | None) -> tuple[Self, bool]:
        """The study that was read, with its parts, and whether its trials stand there otherwise than they were read."""
        try:
            definition = Definition(loaded.replayer.definition)
            parts = definition.parts(given)
        except FastHPOError as error:
            raise type(error)(f"{path}: {error}") from error
        history = loaded.history
        changed = space is not None and space != history.table.space
        if space is not None and changed:
            history = fitted(history, space)
        # the cells of a grid have other numbers in another space, or have not been drawn at all
        is_new = changed or not definition.is_of(parts.sampler)
        if is_new and parts.sampler.draw_limit(history.table.space) is not None:
            history.next_draw, changed = 0, True
            history.table.forget_draws()
        own = None if parts.strategy is not None else parts.sampler
        try:
            made = cls(history.table.space, own, parts.strategy, history.table.direction, parts.pruner)  # type: ignore[call-arg]
        except InvalidSearchSpace as error:
            if given.sampler is not None or given.strategy is not None or space is not None:
                raise
            raise CorruptCheckpoint(f"{path}: the sampler does not go with the search space: {error}") from error
        made._id = loaded.head.study_id
        made._take_up(path, history)
        weights = (path if path.is_dir() else path.parent) / DIRECTORY
        if path.is_dir() or weights.exists():
            made.checkpoints.use(weights)
        return made, changed or space is not None

    def _take_up(self, path: Path, history: History) -> None:
        """Go on with a history that was read."""
        try:
            self._start(history)
        except (ValueError, KeyError, IndexError, TypeError, OverflowError) as error:
            raise CorruptCheckpoint(f"{path}: its {type(self.strategy).__name__} can't go on: {error}") from error

    def _requeue(self) -> list[int]:
        again = self._history.requeue_running()
        if again:
            self._start(self._history)
        return again

    def _go_on(
        self, path: Path, lock: WriterLock, loaded: Loaded, seconds: float | None, requeued: bool, changed: bool
    ) -> None:
        """Keep on keeping the study where it was read."""
        definition = self._definition()
        head = loaded.head._replace(definition=definition)
        keeper = Keeper(path, lock, self._history, self._lock, seconds, head)
        remove_leftovers(path)
        for file in loaded.damaged:
            _keep_aside(file)
        if loaded.journal is None or loaded.damage is not None or changed:
            keeper.begin_with_all(loaded.journal)
        else:
            keeper.go_on(loaded.journal, loaded.end)
            if definition != loaded.replayer.definition:
                keeper.recorder.defined(definition)
            if requeued:
                keeper.recorder.requeued()
            keeper.hand_over(strict=False)
        self._kept_by(keeper)

    def refresh(self) -> bool:
        """Take up what the writer of a study opened with `read_only=True` has done since; whether there was anything.

        Handles of trials stay valid; views of columns show what they showed.

        Raises:
            InvalidValue: the study was not opened with `read_only=True` from a directory.
            FileNotFoundError: there is no study any more.
            CorruptCheckpoint: a file is damaged, or of another study.
        """
        with self._lock:
            if self._loaded is None or self._loaded.directory is None:
                raise InvalidValue("refresh is for a study that was loaded from a directory with read_only=True")
            loaded, directory = self._loaded, self._loaded.directory
            self._loaded = loaded._replace(journal=None)  # if this is broken off, all of it is read the next time
            self._history.begin()
            try:
                newer = follow(loaded)
                if newer is not None and newer.history is not self._history:
                    self._take_up(directory, newer.history)
                elif newer is not None:  # the pruner was told of none of it
                    self._attach_pruner()
                self._history.commit()
            except BaseException:
                self._start(settled(self._history))
                raise
            self._loaded = newer or loaded
            return newer is not None


def _keep_aside(file: Path) -> None:
    """Copy a damaged file to a name of its own beside it."""
    number = 1
    while True:
        copy = file.with_name(f"{file.stem}.damaged-{number}{file.suffix}")
        if not exists(copy):
            break
        if filecmp.cmp(file, copy, shallow=False):  # from a load that failed afterwards
            return
        number += 1
    with atomic_file(copy) as target, open(file, "rb") as source:
        shutil.copyfileobj(source, target)
    logger.warning("the damaged %s is kept as %s", file, copy)
