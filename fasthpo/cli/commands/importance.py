"""`fasthpo importance`: which parameters matter."""

from __future__ import annotations

from pathlib import Path

import click

from fasthpo.cli.options import json_option, objective_option, study_argument

_BAR = 40  # characters


@click.command("importance", short_help="Say how much each parameter matters.")
@study_argument
@click.option(
    "--method", type=click.Choice(["fanova", "ped-anova"]), default="fanova", show_default=True,
    help="The share of the variance that each explains, or what set the best tenth apart.",
)  # fmt: skip
@objective_option
@json_option
def command(study: Path, method: str, objective: int, as_json: bool) -> None:
    """Say how much each parameter matters for the objective, found from the completed trials.

    The exit code is 1 if fewer than two trials have completed.

    \b
    Example:
      fasthpo importance hyperopt_results/digits
    """
    from fasthpo.analysis import importance
    from fasthpo.cli.exits import Failed, one_line
    from fasthpo.cli.studies import look_at
    from fasthpo.cli.text import is_terminal, print_json, print_table
    from fasthpo.errors import NoCompletedTrials

    looked = look_at(study)
    try:
        found = importance(looked.study, method.replace("-", "_"), objective)
    except NoCompletedTrials as error:
        raise Failed(one_line(error)) from error
    shares = found.to_dict()
    if as_json:
        print_json(
            {"study": looked.name, "method": method, "objective": objective, "trials": found.trials, "shares": shares}
        )
        return
    most = max(shares.values(), default=0.0) or 1.0
    rows = [[name, f"{100 * share:.1f} %"] for name, share in shares.items()]
    if is_terminal():
        rows = [
            [*row, "\N{FULL BLOCK}" * round(_BAR * share / most)]
            for row, share in zip(rows, shares.values(), strict=True)
        ]
    print_table(["parameter", "share", ""][: len(rows[0])], rows, left=[0, 2])
