"""`fasthpo best`: the best parameters."""

from __future__ import annotations

from pathlib import Path

import click

from fasthpo.cli.options import json_option, study_argument


@click.command("best", short_help="Print the best parameters.")
@study_argument
@json_option
def command(study: Path, as_json: bool) -> int:
    """Print the best trial and its parameters; of several objectives the trials on the front.

    The exit code is 1 if there is none.

    \b
    Example:
      fasthpo best hyperopt_results/digits --json > best.json
    """
    from fasthpo.cli.best import best_record, print_best
    from fasthpo.cli.exits import DONE, NO
    from fasthpo.cli.studies import look_at
    from fasthpo.cli.text import print_json

    found = look_at(study).study
    if as_json:
        print_json(best_record(found))
    else:
        print_best(found)
    return DONE if len(found.best_trials) else NO
