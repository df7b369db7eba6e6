"""`fasthpo export`: all trials, for other programs."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fasthpo.cli.options import json_option, study_argument

if TYPE_CHECKING:
    from fasthpo.study.study import Study

_ENDINGS = {"csv": "csv", "parquet": "parquet", "json": "json", "optuna": "db"}


@click.command("export", short_help="Write all trials as CSV, Parquet, JSON, or for Optuna.")
@study_argument
@click.option("--format", "kind", type=click.Choice(list(_ENDINGS)), required=True, help="The format.")
@click.option(
    "-o", "--output", metavar="FILE",
    help="Where to; `-`: to standard output (csv, json). For optuna a file for SQLite, or a URL. [default: the study's "
    "name, here]",
)  # fmt: skip
@json_option
def command(study: Path, kind: str, output: str | None, as_json: bool) -> None:
    """Write all trials as CSV, Parquet or JSON, or as a study of Optuna's.

    A file whose name ends with .gz is compressed (csv, json). Parquet needs `pip install 'fasthpo[arrow]'`.

    \b
    Example:
      fasthpo export hyperopt_results/digits --format csv -o digits.csv
      fasthpo export hyperopt_results/digits --format optuna -o sqlite:///digits.db
    """
    from fasthpo.cli.exits import Wrong
    from fasthpo.cli.studies import look_at
    from fasthpo.cli.text import print_json, printable

    if output == "-" and kind not in ("csv", "json"):
        raise Wrong(f"only csv and json can go to standard output, not {kind}; give a file with -o")
    looked = look_at(study)
    if output == "-":
        _print(looked.study, kind)
        return
    target = output or f"{looked.name}.{_ENDINGS[kind]}"
    if kind == "optuna":
        target = _to_optuna(looked.study, looked.name, target)
    else:
        _write(looked.study, kind, Path(target))
    if as_json:
        print_json({"study": looked.name, "format": kind, "output": target, "trials": len(looked.study)})
    else:
        click.echo(f"{len(looked.study)} trials: {printable(target)}")


def _write(study: Study, kind: str, path: Path) -> None:
    {"csv": study.to_csv, "parquet": study.to_parquet, "json": study.to_json}[kind](path)


def _print(study: Study, kind: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"study.{kind}"
        _write(study, kind, path)
        with open(path, encoding="utf-8", newline="") as file:
            shutil.copyfileobj(file, sys.stdout)


def _to_optuna(study: Study, name: str, target: str) -> str:
    """Write a study of Optuna's; its storage."""
    from fasthpo.cli.exits import Wrong, one_line

    with contextlib.suppress(ImportError):  # which `to_optuna` says better
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would tell of every study that it makes
    url = target if "://" in target else f"sqlite:///{target}"
    try:
        study.to_optuna(url, name)
    except ImportError:
        raise
    except Exception as error:  # Optuna's, SQLAlchemy's or a database's
        raise Wrong(f"Optuna can't write {name!r} to {url}: {one_line(error)}") from error
    return url
