"""Copies of directories of weights, in which links such as `latest` may lie."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
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
