"""Where studies are kept: fasthpo's directories in the place of databases and journal files.

`sqlite:///tuning.db` becomes the directory `tuning.db.fasthpo`, in which each study has a directory of
its own. One process at a time may have a study open; parallel trials are threads of `optimize(n_jobs=...)`.
"""

from __future__ import annotations

import re
import shutil
import weakref
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from fasthpo.compat.optuna.logging import get_logger
from fasthpo.errors import InvalidValue
from fasthpo.storage.directory import holds_study
from fasthpo.study.study import Study
from fasthpo.values import shown

_SUFFIX = ".fasthpo"
_open: weakref.WeakValueDictionary[Path, Study] = weakref.WeakValueDictionary()  # that this process has
_said: set[Path] = set()


class Storage:
    """The studies of one place, by name.

    Args:
        root: the directory; None: in memory.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root
        self._in_memory: dict[str, Study] = {}

    def names(self) -> list[str]:
        """The names of all studies."""
        if self.root is None:
            return list(self._in_memory)
        found = sorted(self.root.iterdir()) if self.root.is_dir() else []
        return [unquote(path.name) for path in found if path.is_dir() and holds_study(path)]

    def place_of(self, name: str) -> Path | None:
        """The directory of a study; None in memory."""
        if self.root is None:
            return None
        quoted = quote(name, safe=" +-_,=()[]")
        return self.root / (quoted.replace(".", "%2E") if set(quoted) <= {"."} else quoted)

    def opened(self, name: str) -> Study | None:
        """A study of that name that this process has; None if it has none."""
        place = self.place_of(name)
        if place is None:
            return self._in_memory.get(name)
        study = _open.get(place)
        return study if study is not None and study.storage is not None else None

    def keep(self, name: str, study: Study) -> None:
        """This process has a study."""
        place = self.place_of(name)
        if place is None:
            self._in_memory[name] = study
        else:
            _open[place] = study

    def delete(self, name: str) -> None:
        """A study and all that is kept of it goes."""
        known, place = self.opened(name), self.place_of(name)
        if known is not None:
            known.close()
        if place is None:
            del self._in_memory[name]
        else:
            _open.pop(place, None)
            shutil.rmtree(place)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'in memory' if self.root is None else str(self.root)!r})"


class InMemoryStorage(Storage):
    """Studies that live as long as this object."""

    def __init__(self) -> None:
        super().__init__()


class RDBStorage(Storage):
    """The directory that takes the place of a database.

    Args:
        url: of an SQLite file.
    """

    def __init__(self, url: str, *others: Any, **options: Any) -> None:
        super().__init__(_root_of_url(url))


def storage_of(given: Any) -> Storage:
    """The studies of the place that a program names.

    Raises:
        InvalidValue: it is a server, or nothing of the kind.
    """
    if given is None:
        return InMemoryStorage()
    if isinstance(given, Storage):
        return given
    if isinstance(given, Path):
        return Storage(given.absolute())
    if isinstance(given, str):
        return Storage(_root_of_url(given))
    hint = "; import the storages from fasthpo.compat.optuna, too" if "optuna" in type(given).__module__ else ""
    raise InvalidValue(f"storage must be a URL of SQLite, a path or one of optuna.storages, got {shown(given)}{hint}")


def _root_of_url(url: Any) -> Path:
    if not isinstance(url, str):
        raise InvalidValue(f"a storage's URL must be a string, got {shown(url)}")
    if "://" not in url:
        return Path(url).absolute()
    found = re.fullmatch(r"sqlite(?:\+\w+)?:///([^?]*)(?:\?.*)?", url)
    if found is None:
        kind = url.partition(":")[0]
        raise InvalidValue(
            f"fasthpo keeps studies in directories, and can't reach a server of the kind {kind!r}: give a path, or "
            "'sqlite:///name.db', in whose place there is a directory name.db.fasthpo; for workers on several machines "
            "see the guide, 'Several machines'"
        )
    path = found[1]
    if path in ("", ":memory:"):
        raise InvalidValue(f"a study in memory needs no storage, got storage={shown(url)}")
    return beside(Path(path), url)


def beside(file: Path, named: str | None = None) -> Path:
    """The directory that takes the place of a file; `named` is what the program calls that."""
    root = file.with_name(file.name + _SUFFIX).absolute()
    if root not in _said:
        _said.add(root)
        get_logger().info("Studies of %s are kept in the directory %s", named or file, root)
    return root


class RetryFailedTrialCallback:
    """Here for programs that give one: trials that were running when a program was killed are run again."""

    def __init__(self, max_retry: int | None = None, inherit_intermediate_values: bool = False) -> None:
        pass
