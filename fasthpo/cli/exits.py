"""Exit codes, and an error as one line."""

from __future__ import annotations

import click

from fasthpo.cli.text import printable

DONE = 0
NO = 1  # it was done, and the answer is no: no trial has completed, files are damaged, all trials failed
WRONG = 2  # wrong input, or a study that is missing or can't be read
INTERRUPTED = 130  # by Ctrl-C; as shells have it: 128 + SIGINT


class Wrong(click.ClickException):
    """Wrong input that no option checks by itself."""

    exit_code = WRONG


class Failed(click.ClickException):
    """What was asked for was done, and came to nothing."""

    exit_code = NO


def one_line(error: BaseException) -> str:
    """What an error says, in a line."""
    if isinstance(error, click.ClickException):
        text = error.format_message().removesuffix(".")
    elif isinstance(error, OSError) and error.strerror:
        text = error.strerror if error.filename is None else f"{error.strerror}: {error.filename}"
    else:
        text = str(error) or type(error).__name__
    return printable(" ".join(text.split()))
