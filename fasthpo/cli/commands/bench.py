"""`fasthpo bench`: how fast this machine suggests."""

from __future__ import annotations

import click

from fasthpo.cli.options import json_option

_MOST = 10**7


def _sizes(ctx: click.Context, option: click.Parameter, value: str) -> list[int]:
    """Numbers of trials, such as 1000,10000."""
    try:
        sizes = sorted({int(part.replace("_", "")) for part in value.split(",")})
    except ValueError:
        sizes = []
    if not sizes or sizes[0] < 1 or sizes[-1] > _MOST:
        raise click.BadParameter(f"{value!r} is no list of numbers from 1 to {_MOST}, such as 1000,10000", ctx, option)
    return sizes


@click.command("bench", short_help="Measure suggestions a second on this machine.")
@click.option(
    "--sizes", metavar="N,N,...", callback=_sizes, default="1000,10000", show_default=True, help="Trials in the study."
)
@click.option("--params", type=click.IntRange(1, 1000), default=20, show_default=True, help="Parameters of the space.")
@click.option(
    "--seconds", type=click.FloatRange(0.1), default=5.0, show_default=True, help="For each measurement, about."
)
@json_option
def command(sizes: list[int], params: int, seconds: float, as_json: bool) -> None:
    """Measure suggestions a second with TPE, beside Optuna and Rustuna where these are installed.

    A suggestion is an ask and a tell, in a study that has so many trials already; the median of many counts. All
    samplers see the same history. What would take much longer than --seconds is left out.

    \b
    Example:
      fasthpo bench --sizes 1000,100000
    """
    from fasthpo.cli.suggesting import installed, measure
    from fasthpo.cli.text import is_terminal, print_json, print_table

    libraries = installed()
    medians: dict[str, dict[int, float]] = {}
    for name in libraries:
        for size in sizes:
            if is_terminal():
                click.echo(f"\r{name}, {size} trials ...\x1b[K", nl=False, err=True)
            median = measure(name, size, params, seconds)
            if median is None:
                break
            medians.setdefault(name, {})[size] = median
    if is_terminal():
        click.echo("\r\x1b[K", nl=False, err=True)
    if as_json:
        found = [
            {"library": name, "version": version, "trials": size, "seconds": median, "per_second": 1 / median}
            for name, version in libraries.items() for size, median in medians.get(name, {}).items()
        ]  # fmt: skip
        print_json({"params": params, "results": found})
        return
    rows = []
    for name, version in libraries.items():
        row = [f"{name} {version}"]
        for size in sizes:
            median = medians.get(name, {}).get(size)
            ours = medians["fasthpo"].get(size)
            times = "" if median is None or ours is None or name == "fasthpo" else f" (1/{median / ours:.3g})"
            row.append("-" if median is None else f"{1 / median:,.0f}{times}")
        rows.append(row)
    click.echo(f"TPE, {params} parameters: suggestions a second (an ask and a tell, median), and of fasthpo's the part")
    print_table(["trials in the study", *(f"{size:,}" for size in sizes)], rows, left=[0])
