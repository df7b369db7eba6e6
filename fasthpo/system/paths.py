"""Paths as users give them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fasthpo.errors import InvalidValue, StorageError
from fasthpo.values import exact, shown


def given_path(name: str, path: Any, rule: str = "the path of a file or directory") -> Path:
    """A path that was given as the argument `name`; `~` at its beginning is the home directory, `~ada` Ada's.

    Raises:
        InvalidValue: it is no path, or nobody knows that home directory.
    """
    text = exact(os.fspath(path)) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text or not _is_encodable(text):
        raise InvalidValue(f"{name} must be {rule}, got {name}={shown(path)}")
    expanded = os.path.expanduser(text)
    if expanded.startswith("~"):
        raise InvalidValue(
            f"{name} begins with a home directory that is not known here, got {name}={shown(path)}; for a file whose "
            "name begins with ~, give its absolute path"
        )
    return Path(expanded)


def _is_encodable(text: str) -> bool:
    """Whether the system can have a file of that name."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:  # a lone surrogate that stands for no byte
        return False


def absolute(path: Path) -> Path:
    """The path seen from the root, which stays the same wherever the process goes.

    Raises:
        StorageError: it is a relative one, and the working directory has been removed.
    """
    try:
        return path.absolute()
    except OSError as error:
        raise StorageError(
            error.errno,
            "a relative path leads nowhere, as the working directory has been removed; give an absolute one. It is",
            str(path),
        ) from error
