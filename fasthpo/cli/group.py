"""The command `fasthpo` itself: it finds its subcommands, and turns errors into one line and an exit code."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import click

from fasthpo.cli.exits import INTERRUPTED, WRONG, one_line
from fasthpo.errors import FastHPOError

COMMANDS = (
    "show", "best", "trials", "importance", "plot", "report", "watch",
    "export", "check", "compact",
    "run", "bench", "warmup",
)  # fmt: skip


class Commands(click.Group):
    """Subcommands in modules of their own, imported when they are used. Errors are a line on stderr, and never a
    traceback unless the fault is ours.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        found: click.Command = importlib.import_module(f"fasthpo.cli.commands.{name}").command
        return found

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, **extra)
        try:
            code = super().main(args, prog_name, complete_var, False, **extra)
        except click.exceptions.Abort:  # Ctrl-C
            click.echo("fasthpo: interrupted", err=True)
            sys.exit(INTERRUPTED)
        except click.UsageError as error:
            of = "fasthpo" if error.ctx is None else error.ctx.command_path
            click.echo(f"{of}: {one_line(error)} (see {of} --help)", err=True)
            sys.exit(WRONG)
        except (click.ClickException, FastHPOError, OSError, MemoryError) as error:
            click.echo(f"fasthpo: {one_line(error)}", err=True)
            sys.exit(error.exit_code if isinstance(error, click.ClickException) else WRONG)
        sys.exit(code if isinstance(code, int) else 0)


@click.group(
    "fasthpo", cls=Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option("--version", is_flag=True, help="Print the version and exit.")
@click.pass_context
def commands(ctx: click.Context, version: bool) -> None:
    """Look at studies of hyperparameters, and operate them.

    STUDY is a study's directory, also of one that is running, or a checkpoint file.

    \b
    Exit codes:
      0    done
      1    done, and the answer is no: no trial has completed, or files are damaged
      2    wrong input, or no study that can be read
      130  interrupted

    \b
    Completion of commands and options, for bash (for zsh and fish likewise):
      eval "$(_FASTHPO_COMPLETE=bash_source fasthpo)"
    """
    if version:
        from fasthpo import __version__

        click.echo(f"fasthpo {__version__}")
    elif ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
