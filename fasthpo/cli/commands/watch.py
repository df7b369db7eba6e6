"""`fasthpo watch`: a study while another process runs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fasthpo.cli.options import json_option, study_argument

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fasthpo.cli.progress import Moment


@click.command("watch", short_help="Follow a study while it runs.")
@study_argument
@click.option(
    "--interval", type=click.FloatRange(0.1, 3600), default=1.0, show_default=True, help="Seconds between two looks."
)
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="End after so many.  [default: never]")
@json_option
def command(study: Path, interval: float, seconds: float | None, as_json: bool) -> None:
    """Follow a study that another process runs, until that closes it, or until Ctrl-C.

    On a terminal it is a picture that is drawn anew; anywhere else a line whenever something has changed, and with
    --json an object a line. The study is only read: whoever runs it notices nothing.

    \b
    Example:
      fasthpo watch hyperopt_results/digits
    """
    from fasthpo.cli.progress import follow, line
    from fasthpo.cli.studies import look_at
    from fasthpo.cli.text import is_terminal

    looked = look_at(study)
    moments = follow(looked, interval, seconds)
    try:
        if as_json:
            _print_json(moments)
        elif is_terminal() and _has_rich():
            from fasthpo.cli.live import draw

            draw(looked, moments)
        else:
            last = None
            for moment in moments:
                if (now := line(moment)) != last:
                    click.echo(f"{moment.clock}  {now}")
                    last = now
    except KeyboardInterrupt:  # which is how this ends
        click.echo()


def _has_rich() -> bool:
    import importlib.util

    return importlib.util.find_spec("rich") is not None


def _print_json(moments: Iterator[Moment]) -> None:
    from fasthpo.exchange.json_files import dump_json

    last = None
    for moment in moments:
        if (now := moment._replace(clock="", rate=None)) != last:
            click.echo(dump_json(moment._asdict()))
            last = now
