"""Whose a temporary file is. Its name says which process made it, so that others can tell when nobody needs it.

Who makes one removes it, also after an error. What a process leaves that was killed is removed by the next one on the
same machine that writes the same file, opens the same study or needs the directory for temporary files.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import zlib
from contextlib import suppress
from pathlib import Path

OWNER = r"(?P<process>[1-9][0-9]{0,9})-(?P<host>[0-9a-f]{8})"  # what `owner` returns, as a pattern
_SLACK = 60.0  # seconds by which the clocks of a file system and of the machine may differ


def owner() -> str:
    """The part of a name that says that this process made the file."""
    return f"{os.getpid()}-{_host()}"


def _host() -> str:
    return f"{zlib.crc32(platform.node().encode()):08x}"


def remove_abandoned(directory: Path, names: re.Pattern[str]) -> None:
    """Remove temporary files, and directories, whose process is gone; not those of other machines or other users.

    Args:
        directory: where to look, which need not exist.
        names: which names to look at; contains `OWNER`.
    """
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            found = names.fullmatch(entry.name)
            if found is None or found["host"] != _host() or not _is_abandoned(entry.path, int(found["process"])):
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                with suppress(OSError):
                    os.unlink(entry.path)


def _is_abandoned(path: str, process: int) -> bool:
    import psutil

    try:
        status = os.lstat(path)
        if hasattr(os, "getuid") and status.st_uid != os.getuid():
            return False
        found = psutil.Process(process)
        if found.status() == psutil.STATUS_ZOMBIE:
            return True
        return bool(status.st_mtime < found.create_time() - _SLACK)  # another process has the number by now
    except psutil.NoSuchProcess:
        return True
    except (OSError, psutil.Error):
        return False
