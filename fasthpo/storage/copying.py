"""Directories of weights are copied and removed, with links such as `latest` in them, and with what is read-only."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path


def copy_tree(source: Path, target: Path, exist_ok: bool = False) -> None:
    """Copy a directory.

    A link that leads to another place in it is a link in the copy, too, and leads to that place of the copy. What other
    links lead to is copied in their place, and those that lead nowhere are left out.

    Args:
        source: what is copied.
        target: its copy, whose parent is there.
        exist_ok: whether that may be there already.

    Raises:
        OSError, shutil.Error: something can't be copied.
    """
    top = os.path.realpath(source)
    links: list[tuple[str, str, bool]] = []

    def inner(directory: str, names: Collection[str]) -> list[str]:
        found = []
        for name in names:
            path = os.path.join(directory, name)
            if not os.path.islink(path):
                continue
            real = os.path.realpath(path)
            if real == top or real.startswith(top + os.sep):
                place = os.path.relpath(path, source)
                leads_to = os.path.relpath(real, os.path.realpath(directory))
                links.append((place, leads_to, os.path.isdir(real)))
                found.append(name)
        return found

    shutil.copytree(source, target, ignore=inner, ignore_dangling_symlinks=True, dirs_exist_ok=exist_ok)
    for place, leads_to, is_directory in links:
        (target / place).symlink_to(leads_to, target_is_directory=is_directory)


def remove_tree(directory: Path, ignore_errors: bool = False) -> None:
    """Remove a directory, also if there are directories in it that are read-only, or, on Windows, such files.

    Args:
        directory: which; no link.
        ignore_errors: whether what can't be removed may stay.

    Raises:
        OSError: something can't be removed.
    """
    try:
        shutil.rmtree(directory)
    except FileNotFoundError:
        if not ignore_errors:
            raise
    except OSError:
        _make_writable(directory)
        shutil.rmtree(directory, ignore_errors=ignore_errors)


def _make_writable(directory: Path) -> None:
    """Let what is in a directory be removed, as far as that goes."""
    with suppress(OSError):
        os.chmod(directory, stat.S_IRWXU)
    for place, directories, files in os.walk(directory):
        # a file's own mode matters on Windows only, and elsewhere it may be that of others' hard links, too
        for name in (*directories, *(files if os.name == "nt" else ())):
            path = os.path.join(place, name)
            if not os.path.islink(path):
                with suppress(OSError):
                    os.chmod(path, stat.S_IRWXU)
