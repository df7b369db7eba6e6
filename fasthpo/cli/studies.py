"""Studies to look at: read without taking part, also while another process writes them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from fasthpo.errors import CorruptCheckpoint, InvalidValue
from fasthpo.pruners.base import Pruner
from fasthpo.samplers.random import RandomSampler
from fasthpo.storage.directory import STUDY_FILES, holds_study
from fasthpo.storage.lock import Owner, read_owner
from fasthpo.strategies.base import Strategy
from fasthpo.study.study import Study
from fasthpo.system.paths import given_path
from fasthpo.trials.table import TrialTable

_MOST_HINTS = 5


class Looked(NamedTuple):
    """A study that was opened to look at.

    Attributes:
        study: read-only. Its sampler and its pruner are not those that it is searched with, see `definition`.
        name: the study's: its directory's, or its file's.
        path: its directory or file.
        definition: what it is made of, as `storage/definition.py` has it.
    """

    study: Study
    name: str
    path: Path
    definition: dict[str, Any]

    @property
    def writer(self) -> Owner | None:
        """The process that writes the study now; None if there is none, or if it is gone."""
        owner = read_owner(self.path) if self.path.is_dir() else None
        return owner if owner is not None and owner.may_live else None


class _Unheard(Pruner):
    """Stands in the place of a study's pruner, which has nothing to decide, and would take up all reports first."""

    has_several_objectives = True

    def should_prune(self, table: TrialTable, number: int) -> bool:
        return False


def look_at(given: Path) -> Looked:
    """Open a study to look at it; parts of the user's own are not needed for that.

    Raises:
        FileNotFoundError: there is no study.
        CorruptCheckpoint: a file is damaged.
        OSError: a file can't be read.
    """
    path = given_path("STUDY", given)
    try:
        study = _loaded(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}{_hint(path)}") from None
    except CorruptCheckpoint as error:
        raise CorruptCheckpoint(f"{error}. What can be recovered, says: fasthpo check {path}") from error
    assert study._loaded is not None
    path = path.parent if not path.is_dir() and study._loaded.directory is not None else path
    return Looked(study, study_name(path), path, json.loads(study._loaded.replayer.definition))


def _loaded(path: Path) -> Study:
    """The study with parts that take up nothing: how it is searched does not matter here.

    Only its strategy does, which knows its rungs, unless that is one of the user's own.
    """
    sampler = RandomSampler(seed=0)
    try:
        return Study.load(path, read_only=True, sampler=sampler, pruner=_Unheard())
    except InvalidValue:
        return Study.load(path, read_only=True, strategy=Strategy(sampler), pruner=_Unheard())


def study_name(path: Path) -> str:
    """What a study is called: as its directory, or its file."""
    resolved = Path(os.path.abspath(path))
    if not resolved.is_file():
        return resolved.name
    return resolved.parent.name if resolved.name in STUDY_FILES else resolved.stem


def _hint(path: Path) -> str:
    """Which studies there are in a directory that is none itself."""
    try:
        found = [entry for entry in sorted(path.iterdir()) if entry.is_dir() and holds_study(entry)]
    except OSError:
        return ""
    if not found:
        return ""
    more = ", ..." if len(found) > _MOST_HINTS else ""
    return f". There are studies in it: {', '.join(map(str, found[:_MOST_HINTS]))}{more}"


def described(part: dict[str, Any] | None) -> str:
    """A sampler, a pruner or a strategy of a definition, as the call that makes it; empty for none."""
    if part is None:
        return ""
    options = [f"{name}={_option(value)}" for name, value in part["options"].items()]
    return f"{part['type']}({', '.join(options)})"


def _option(value: Any) -> str:
    return described(value["part"]) or "None" if isinstance(value, dict) and "part" in value else repr(value)
