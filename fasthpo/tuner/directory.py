"""The directory of a tuner's study: who may use it, and what is written there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fasthpo.errors import FastHPOError, StorageError, StudyExists
from fasthpo.exchange.json_files import export_study
from fasthpo.storage.atomic import storage_error
from fasthpo.storage.directory import CHECKPOINT_FILE, DirectoryMark, directory_mark, holds_study
from fasthpo.study.study import Study
from fasthpo.system.paths import absolute
from fasthpo.tuner.config import TunerConfig
from fasthpo.tuner.results import StopReason, StudyStatistics
from fasthpo.tuner.resuming import Wanted, resumed


class StudyFiles:
    """Keeps a study in `output_dir/study_name` while its tuner runs, and writes the files for people at the end.

    Between two runs the directory is closed, so that anyone may load the study from there.

    Args:
        config: the tuner's.
    """

    def __init__(self, config: TunerConfig) -> None:
        self._config = config
        self._absolute: Path | None = None
        with suppress(StorageError):  # the working directory is gone, which matters when something is to be written
            self._absolute = absolute(config.study_dir)  # now, wherever the objective goes
        self._left_at: DirectoryMark | None = None  # what the directory was like when this tuner last used it

    @property
    def _directory(self) -> Path:
        if self._absolute is None:
            self._absolute = absolute(self._config.study_dir)
        return self._absolute

    def hold_a_study(self) -> bool:
        """Whether the directory holds a study that may not be overwritten, so that a tuner can only go on with it.

        Raises:
            StorageError: it can't be looked at.
        """
        with self._writing("no study can be looked for"):
            return not self._config.overwrite and holds_study(self._directory)

    def _refuse_other(self, study: Study) -> None:
        """Make sure that the directory holds no study but this one, as this tuner left it."""
        with self._writing("no study can be looked for"):
            mine = self._is_open(study) or self._is_as_left
            if mine or self._config.overwrite or not holds_study(self._directory):
                return
        meanwhile = " that has changed since this tuner used it" if self._left_at is not None else " already"
        raise StudyExists(
            f"{self._directory} holds a study{meanwhile}; go on with it by "
            f"tuner.load_checkpoint({str(self._directory)!r}), choose another study_name, or set "
            "TunerConfig(overwrite=True)"
        )

    @property
    def _is_as_left(self) -> bool:
        return self._left_at is not None and self._left_at == directory_mark(self._directory)

    def _is_open(self, study: Study) -> bool:
        return study.storage == self._directory

    def prepare(self, study: Study) -> None:
        """Have the study kept as the config says, before it runs.

        Raises:
            StudyExists, StudyInUse, StorageError: as `open`.
        """
        if self._config.save_checkpoints:
            self.open(study)
        elif self._absolute is not None:
            self._refuse_other(study)
        study.keep_checkpoints(self._config.keep_checkpoints)

    def open(self, study: Study) -> None:
        """Keep the study in the directory from now on, if it is not kept there already.

        Raises:
            StudyExists: the directory holds another study.
            StudyInUse: it is open elsewhere.
            StorageError: it can't be written.
        """
        self._refuse_other(study)
        if self._is_open(study):
            return
        with self._writing("the study can't be kept"):
            if self._left_at is not None and holds_study(self._directory) and self._is_as_left:
                study._keep_again(self._directory, self._left_at)
            else:
                study.keep_at(self._directory, overwrite=self._config.overwrite)

    @contextmanager
    def _writing(self, failure: str) -> Iterator[None]:
        """Have an error of the system say what can't be written and where."""
        try:
            yield
        except FastHPOError:
            raise
        except OSError as error:
            raise storage_error(error, f"{failure} in {self._directory}") from error

    def close(self, study: Study) -> None:
        """Write all of the study, and let others have the directory. The study goes on in memory.

        Raises:
            StorageError: what was told can't be written.
        """
        study._let_go()
        self._left_at = directory_mark(self._directory)

    def save(self, study: Study) -> Path:
        """Write a checkpoint of the study as it is now; its path.

        Raises:
            StudyExists, StudyInUse, StorageError: as `open`.
        """
        was_open = self._is_open(study)
        self.open(study)
        try:
            study.compact()
        finally:
            if not was_open:
                self.close(study)
        return self._directory / CHECKPOINT_FILE

    def export(self, study: Study, statistics: StudyStatistics, reason: StopReason | None) -> None:
        """Write the files for people, unless the directory is another study's by now.

        Raises:
            StorageError: one can't be written.
        """
        if self._is_open(study) and not study._has_place:
            return
        numbers = {**statistics.to_dict(), "stop_reason": reason}
        name, compress = self._config.study_name, self._config.compress_history
        with self._writing("the files that sum up the study can't be written"), study._lock:
            export_study(self._directory, study.table, name, numbers, compress, study._whole)

    def load(self, new: Study, path: Path, wanted: Wanted) -> Study:
        """A saved study, to go on in the place of `new`; see `HyperparameterTuner.load_checkpoint`."""
        directory = path if path.is_dir() else path.parent
        mark = directory_mark(directory)
        loaded = resumed(new, path, self._config.seed, wanted)
        if self._absolute is not None and directory.resolve() == self._directory.resolve():
            self._left_at = mark
        return loaded
