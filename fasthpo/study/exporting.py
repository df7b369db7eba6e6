"""A study for other programs: as JSON, CSV, Arrow and Parquet, and as a study of Optuna's and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from fasthpo.exchange.json_files import write_json
from fasthpo.pruners.base import Pruner
from fasthpo.samplers.base import Sampler
from fasthpo.space.search_space import SearchSpace
from fasthpo.storage.durability import Durability
from fasthpo.study.trial_views import TrialViews
from fasthpo.system.paths import absolute, given_path

if TYPE_CHECKING:
    import optuna


class Exporting(TrialViews):
    """Writes a study in other forms, and reads Optuna's."""

    def to_json(self, path: str | Path) -> Path:
        """Write all trials as JSON, one a line, with the direction and the search space; the path.

        What JSON lacks becomes a string: "NaN", "Infinity", "-Infinity".

        Args:
            path: the file; compressed if its name ends with ".gz".

        Raises:
            OSError: the file can't be written.
        """
        path = given_path("path", path)
        with self._lock:
            write_json(absolute(path), self.table, {"direction": self.table.direction})
        return path

    def to_csv(self, path: str | Path) -> Path:
        """Write all trials as a table, a row each; the path.

        Columns are number, state, value, params_..., metrics_..., start_time, end_time, duration, reports (a JSON
        object of step to value) and error, and under a multi-fidelity strategy resource and rungs. What a trial does
        not have is empty; the choice None is "None".

        Args:
            path: the file; compressed if its name ends with ".gz".

        Raises:
            OSError: the file can't be written.
        """
        from fasthpo.exchange.tables import write_csv

        path = given_path("path", path)
        with self._lock:
            write_csv(absolute(path), self.table)
        return path

    def to_arrow(self) -> Any:
        """All trials as a `pyarrow.Table` with the columns of `to_csv`, typed; `.to_pandas()` makes it a data frame.

        Choices of one type keep it, others are JSON text. Reports are lists of (step, value). Needs `fasthpo[arrow]`.

        Raises:
            MissingPackage: pyarrow is not installed.
        """
        from fasthpo.exchange.tables import to_arrow

        with self._lock:
            return to_arrow(self.table)

    def to_parquet(self, path: str | Path) -> Path:
        """Write the table of `to_arrow` as Parquet; the path.

        Raises:
            MissingPackage: pyarrow is not installed.
            OSError: the file can't be written.
        """
        from fasthpo.exchange.tables import write_parquet

        path = given_path("path", path)
        with self._lock:
            write_parquet(absolute(path), self.table)
        return path

    def to_optuna(self, storage: Any = None, study_name: str | None = None) -> optuna.Study:
        """A study of Optuna's with the same trials, for its plots, its dashboard and its analyses.

        See `fasthpo.exchange.optuna.to_optuna`.

        Args:
            storage: of Optuna's: a URL such as "sqlite:///study.db" or a storage object; None: in memory.
            study_name: the study's name there; None: Optuna makes one up.

        Raises:
            MissingPackage: Optuna is not installed.
        """
        from fasthpo.exchange.optuna import to_optuna

        with self._lock:
            return to_optuna(self, storage, study_name)  # type: ignore[arg-type]

    @classmethod
    def from_optuna(
        cls,
        study: optuna.Study,
        *,
        space: SearchSpace | None = None,
        sampler: Sampler | None = None,
        pruner: Pruner | None = None,
        storage: str | Path | None = None,
        durability: Durability = "interval",
    ) -> Self:
        """A study with the trials of one of Optuna's, to go on here.

        Optuna's space is made up as it runs. A parameter that all completed trials have is taken to be there always,
        with the widest bounds that it was given. Any other is conditional: on the first parameter with countable values
        of which it depends, which is to say that it was there exactly when that one had certain values. If there is
        none, say the space yourself. See `fasthpo.exchange.optuna.from_optuna`.

        Args:
            study: Optuna's, with one objective.
            space: the search space; None: as above, or the one that `to_optuna` noted down.
            sampler, pruner, storage, durability: as of a `Study`.

        Raises:
            MissingPackage: Optuna is not installed.
            InvalidSearchSpace: the space can't be found out, or a trial is no point of it.
            InvalidValue: the study has several objectives.
        """
        from fasthpo.exchange.optuna import from_optuna

        made = from_optuna(cls, study, space, sampler, pruner)  # type: ignore[type-var]
        if storage is not None:
            made.keep_at(storage, durability)  # type: ignore[attr-defined]
        return made
