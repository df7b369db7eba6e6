"""`fasthpo plot`: one picture of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fasthpo.cli.options import json_option, study_argument

# by kind: the function of `fasthpo.plots`, and which of the command's options it takes
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "history": ("history", ("objective",)),
    "learning-curves": ("learning_curves", ("objective",)),
    "importance": ("importance", ("objective", "params")),
    "slices": ("slices", ("objective", "params")),
    "parallel-coordinates": ("parallel_coordinates", ("objective", "params")),
    "contour": ("contour", ("objective", "params")),
    "edf": ("edf", ("objective", "others")),
    "front": ("pareto_front", ("objectives",)),
    "hypervolume": ("hypervolume_history", ()),
    "rungs": ("rungs", ()),
    "lineages": ("lineages", ()),
    "timeline": ("timeline", ()),
    "durations": ("durations", ("params",)),
}


@click.command("plot", short_help="Draw one picture of a study.")
@study_argument
@click.argument("kind", metavar="KIND", type=click.Choice(list(KINDS)))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="PNG, SVG or PDF, by its name.  [default: KIND.png]"
)
@click.option(
    "--objective", "objectives", type=click.IntRange(0), multiple=True, metavar="INDEX",
    help="Which one, of several; for a front two or three, for each once.  [default: 0; for a front the first three]",
)  # fmt: skip
@click.option(
    "--param", "params", multiple=True, metavar="NAME",
    help="A parameter to show; for each once. For a contour the two of its axes.",
)  # fmt: skip
@click.option(
    "--with",
    "others",
    multiple=True,
    metavar="STUDY",
    type=click.Path(path_type=Path),
    help="Further studies, for edf.",
)
@click.option("--dpi", type=click.IntRange(20, 1000), default=150, show_default=True, help="Pixels an inch, of a PNG.")
@json_option
def command(
    study: Path, kind: str, output: Path | None, objectives: tuple[int, ...], params: tuple[str, ...],
    others: tuple[Path, ...], dpi: int, as_json: bool,
) -> None:  # fmt: skip
    """Draw one picture of a study with matplotlib. Needs `pip install 'fasthpo[plots]'`.

    \b
    KIND is one of
      history               values trial by trial, and the best so far
      learning-curves       what trials reported
      importance            how much each parameter matters
      slices                values against each parameter
      parallel-coordinates  trials as lines over all parameters
      contour               two parameters together
      edf                   the distribution of the values, of several studies, too
      front                 of several objectives; of three also in space
      hypervolume           how much the front dominates, as it grew
      rungs                 of a multi-fidelity study
      lineages              of a population, with the best one's schedule
      timeline              when trials ran
      durations             time a trial against each parameter

    \b
    Example:
      fasthpo plot hyperopt_results/digits history -o history.png
    """
    from fasthpo.cli.exits import Failed, Wrong, one_line
    from fasthpo.cli.studies import look_at
    from fasthpo.cli.text import print_json, printable
    from fasthpo.errors import NoCompletedTrials

    name, takes = KINDS[kind]
    for option, given in (("objective", objectives), ("params", params), ("others", others)):
        if given and option not in takes and f"{option}s" not in takes:
            shown = {"objective": "--objective", "params": "--param", "others": "--with"}[option]
            raise Wrong(f"{shown} has no effect for {kind}")
    if len(objectives) > 1 and "objectives" not in takes:
        raise Wrong(f"{kind} is of one objective, got {len(objectives)}: give --objective once")
    target = output or Path(f"{kind}.png")
    looked = look_at(study)
    options: dict[str, Any] = {}
    if objectives:
        options = {"objectives": list(objectives)} if "objectives" in takes else {"objective": objectives[0]}
    if kind == "contour":
        if len(params) not in (0, 2):
            raise Wrong(f"a contour is of two parameters, got {len(params)}: give --param twice, or not at all")
        options |= dict(zip(("x", "y"), params, strict=False))
    elif params:
        options["params"] = list(params)
    shown_study: Any = looked.study
    if others:
        shown_study = [looked.study, *(look_at(other).study for other in others)]
    try:
        _draw(name, shown_study, options, target, dpi)
    except NoCompletedTrials as error:
        raise Failed(one_line(error)) from error
    if as_json:
        print_json({"study": looked.name, "kind": kind, "output": str(target)})
    else:
        click.echo(printable(str(target)))


def _draw(name: str, study: Any, options: dict[str, Any], target: Path, dpi: int) -> None:
    import io

    from fasthpo import plots
    from fasthpo.cli.exits import Wrong
    from fasthpo.storage.atomic import atomic_file, storage_errors
    from fasthpo.system.paths import absolute, given_path

    figure = getattr(plots, name)(study, **options)
    path = given_path("--output", target)
    ending = path.suffix.lower().removeprefix(".")
    known = figure.canvas.get_supported_filetypes()
    if ending not in known:
        raise Wrong(f"a picture's name ends with one of .{', .'.join(sorted(known))}, got {str(target)!r}")
    drawn = io.BytesIO()
    figure.savefig(drawn, format=ending, dpi=dpi)
    with storage_errors(f"{path} can't be written"), atomic_file(absolute(path)) as file:
        file.write(drawn.getvalue())
