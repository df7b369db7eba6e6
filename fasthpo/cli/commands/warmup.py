"""`fasthpo warmup`: every kernel compiled, and kept on disk."""

from __future__ import annotations

import time
from typing import Any

import click

from fasthpo.cli.options import json_option


@click.command("warmup", short_help="Compile all kernels now.")
@json_option
def command(as_json: bool) -> None:
    """Compile all kernels now, so that no study has to wait for that: for the last line of a container image.

    They are kept beside the package, or where NUMBA_CACHE_DIR says; what is there already is not compiled again.

    \b
    Example:
      RUN pip install fasthpo[cli] && fasthpo warmup
    """
    import os

    from fasthpo.cli.compiling import compile_all
    from fasthpo.cli.exits import Wrong
    from fasthpo.cli.text import duration, print_json

    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        raise Wrong("NUMBA_DISABLE_JIT is set, so nothing is compiled")
    start = time.perf_counter()
    done: dict[str, Any] = compile_all()._asdict()
    seconds = time.perf_counter() - start
    if as_json:
        print_json({**done, "seconds": seconds})
    else:
        click.echo(
            f"{done['kernels']} kernels: {done['compiled']} variants compiled, {done['found']} were there already; "
            f"{duration(seconds)}"
        )
