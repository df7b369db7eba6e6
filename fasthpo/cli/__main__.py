"""The entry point of `fasthpo` and of `python -m fasthpo.cli`."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import sys


def main() -> None:
    """Run the command line; without click, say how to install it."""
    if importlib.util.find_spec("click") is None:
        print("fasthpo: the command line needs click: pip install 'fasthpo[cli]'", file=sys.stderr)
        raise SystemExit(2)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, io.UnsupportedOperation):  # names may be anything, terminals may not
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    from fasthpo.cli.group import commands

    commands.main(prog_name="fasthpo")


if __name__ == "__main__":
    main()
