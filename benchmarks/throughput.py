"""Compare how fast TPE samplers suggest, on your machine: a table, and a picture of time against trials.

    pip install -c constraints.txt -e ".[benchmark]"
    python benchmarks/throughput.py                       # about ten minutes; saves throughput.png
    python benchmarks/throughput.py --libraries fasthpo,rustuna --params 5 --seconds 10

What is measured is the median of one ask and one tell, in a study that has so many trials already. Each measurement,
with loading the study, ends after about --seconds; what does not fit is left out, and so are larger sizes.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

# before NumPy is imported: threads of a BLAS help none of the samplers here, and make times noisy
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from libraries import Make, fasthpo, history, hyperopt, optuna, readable, rustuna

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Line:
    """A sampler: a row of the table and a line of the picture."""

    library: str
    label: str
    make: Make
    dashes: str = "-"


UNIVARIATE = "--"
EXACT = ":"
LINES = [
    Line("fasthpo", "fasthpo", fasthpo("TPESampler")),
    Line("fasthpo", "fasthpo, exact", fasthpo("TPESampler", exact=True), EXACT),
    Line("fasthpo", "fasthpo, univariate", fasthpo("TPESampler", multivariate=False), UNIVARIATE),
    Line("optuna", "Optuna", optuna("TPESampler")),
    Line("optuna", "Optuna, univariate", optuna("TPESampler", multivariate=False), UNIVARIATE),
    Line("rustuna", "Rustuna", rustuna("TPESampler")),
    Line("hyperopt", "Hyperopt, univariate", hyperopt(), UNIVARIATE),  # it has no other
]
LOOKS = {  # library -> colour, marker
    "fasthpo": ("#c8102e", "o"),
    "optuna": ("#2f6fb0", "s"),
    "rustuna": ("#b07a1e", "^"),
    "hyperopt": ("#4a8c5c", "D"),
}
SIZES = (100, 1_000, 10_000, 100_000, 1_000_000)
RIVALS_LARGEST = 100_000  # of SIZES: they keep 5 to 10 kB a trial, so that a million may not fit into memory
ROUNDS = 51  # asks a measurement, if they are quick
INSTALL = 'pip install -c constraints.txt -e ".[benchmark]"'


def timed(call: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def warm_up(line: Line, params: int) -> None:
    """Import and compile what the sampler needs, so that no measurement pays for it."""
    ask_tell = line.make(*history(50, params))  # past the random trials at the start of each sampler
    for _ in range(8):  # every fourth suggestion of fasthpo's is of another kind
        ask_tell()


def measure(line: Line, size: int, params: int, limit: float) -> tuple[float, list[float]]:
    """Seconds to load a study of `size` trials, and those of each ask and tell then; none if loading takes `limit`.

    The first two asks are part of loading: samplers catch up with the history in them.
    """
    points, losses = history(size, params)
    start = time.perf_counter()
    ask_tell = line.make(points, losses)
    for _ in range(2):
        ask_tell()
    loading = time.perf_counter() - start
    asks: list[float] = []
    while len(asks) < ROUNDS and time.perf_counter() - start < limit:
        asks.append(timed(ask_tell))
    return loading, asks


def medians(line: Line, sizes: Iterable[int], params: int, limit: float) -> dict[int, float]:
    """The median of an ask and a tell for each size, up to the first that takes too long."""
    found: dict[int, float] = {}
    expected = 0.0  # seconds to load a study of the next size, which are at least proportional to it
    loaded: tuple[int, float] | None = None
    warm_up(line, params)
    for size in sizes:
        if loaded:
            expected = loaded[1] * size / loaded[0]
        if expected > limit:
            report(line, size, f"left out: loading would take about {readable(expected)}")
            break
        loading, asks = measure(line, size, params, limit)
        gc.collect()  # a study has cycles; one left over would slow down the next by its size
        if not asks:
            report(line, size, f"left out: loading takes {readable(loading)}")
            break
        loaded = (size, loading)
        found[size] = statistics.median(asks)
        report(line, size, readable(found[size]))
        if max(asks) > limit:
            break
    return found


def report(line: Line, size: int, text: str) -> None:
    print(f"{line.label}, {size:,} trials: {text}", file=sys.stderr, flush=True)


def table(results: dict[Line, dict[int, float]]) -> str:
    """A row a sampler and a column a size; in brackets, another library's time as a multiple of the first row's."""
    sizes = sorted({size for found in results.values() for size in found})
    (top, first), *_ = results.items()
    rows = [["trials in the study", *(f"{size:,}" for size in sizes)]]
    for line, found in results.items():
        rows.append([line.label])
        for size in sizes:
            cell = readable(found[size]) if size in found else "-"
            if size in found and size in first and line.library != top.library:
                times = found[size] / first[size]
                cell += f" ({times:,.0f}x)" if times >= 10 else f" ({times:.2g}x)"
            rows[-1].append(cell)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    )


def draw(results: dict[Line, dict[int, float]], params: int, output: Path) -> None:
    """Save the picture: time of an ask and a tell against trials, both logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.5))
    axes = figure.subplots()
    for line, found in results.items():
        colour, marker = LOOKS[line.library]
        ours, default = line.library == "fasthpo", line == LINES[0]
        axes.plot(
            list(found),
            list(found.values()),
            line.dashes,
            color=colour,
            marker=marker,
            linewidth=3.5 if default else 2 if ours else 1.5,
            markersize=7.5 if default else 5,
            zorder=4 if ours else 3,
        )
    axes.set(xscale="log", yscale="log", xlabel="trials in the study", ylabel="time of one ask and one tell (median)")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.yaxis.set_major_formatter(lambda value, _: typeset(value))
    axes.set_title(f"TPE, {params} parameters: time of a suggestion", loc="left", fontsize=13, pad=14)
    axes.grid(which="major", color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.minorticks_off()
    label_ends(axes, results)
    figure.savefig(output, format="png", dpi=160, bbox_inches="tight")  # tight: labels stand right of the axes


def label_ends(axes: Axes, results: dict[Line, dict[int, float]]) -> None:
    """Name each line at its last point, moved up or down where names would overlap."""
    from matplotlib.patheffects import withStroke
    from scipy.optimize import isotonic_regression

    by_end: dict[int, list[tuple[float, Line]]] = {}
    for line, found in results.items():
        by_end.setdefault(max(found), []).append((found[max(found)], line))
    axes.set_ylim(axes.get_ylim())  # or it would change after the heights are taken
    points = 72 / axes.figure.get_figure().dpi
    for size, ends in by_end.items():
        ends.sort(key=lambda end: end[0])
        heights = [float(axes.transData.transform((size, seconds))[1]) * points for seconds, _ in ends]
        gaps = [15.0 * place for place in range(len(ends))]
        # the least shifts (in squares) that leave 15 points between neighbours
        moved = isotonic_regression([height - gap for height, gap in zip(heights, gaps, strict=True)]).x + gaps
        # faster lines go on, and may rise into what is right of a line that ends; above it there is room for one name
        above = len(ends) == 1 and size < max(by_end)
        for (seconds, line), height, label_height in zip(ends, heights, moved, strict=True):
            axes.annotate(
                f"{line.label}: {typeset(seconds)}",
                (size, seconds),
                xytext=(0, 13) if above else (11, label_height - height),
                textcoords="offset points",
                horizontalalignment="center" if above else "left",
                verticalalignment="center",
                color=LOOKS[line.library][0],
                fontweight="bold" if line == LINES[0] else "normal",
                path_effects=[withStroke(linewidth=3, foreground="white")],  # readable over another line, too
                annotation_clip=False,
                zorder=5,
            )


def typeset(seconds: float) -> str:
    return readable(seconds).replace("us", "\N{MICRO SIGN}s")


def numbers(text: str) -> list[int]:
    """`100,1000` as numbers, ascending."""
    found = sorted({int(part) for part in text.split(",")})
    if found[0] < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return found


def names(text: str) -> list[str]:
    """`fasthpo,optuna` as names of libraries."""
    if unknown := set(text.split(",")) - set(LOOKS):
        raise argparse.ArgumentTypeError(f"no library {', '.join(sorted(unknown))}; there are {', '.join(LOOKS)}")
    return text.split(",")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=int, default=20, help="parameters of the space (default: 20)")
    parser.add_argument(
        "--sizes",
        type=numbers,
        metavar="N,N,...",
        help=f"trials in the study (default: 100 to {SIZES[-1]:,} by tens; rivals: to {RIVALS_LARGEST:,}, for memory)",
    )
    parser.add_argument(
        "--libraries", type=names, default=list(LOOKS), metavar="NAME,...", help=f"of {','.join(LOOKS)} (default: all)"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="limit of a measurement (default: 60)")
    parser.add_argument("--output", type=Path, default=Path("throughput.png"), help="picture (default: throughput.png)")
    given = parser.parse_args()
    if given.params < 1:
        parser.error("--params must be at least 1")
    return given


def sizes_of(line: Line, given: list[int] | None) -> list[int]:
    """Those asked for, or as many of the usual ones as fit into memory."""
    if given:
        return given
    return [size for size in SIZES if line.library == "fasthpo" or size <= RIVALS_LARGEST]


def main() -> None:
    given = arguments()
    missing = [name for name in (*given.libraries, "matplotlib") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"Not installed, so left out: {', '.join(missing)}. To install: {INSTALL}")
    present = [name for name in given.libraries if name not in missing]
    print("Installed:", ", ".join(f"{name} {importlib.metadata.version(name)}" for name in present), flush=True)
    results: dict[Line, dict[int, float]] = {}
    for line in LINES:
        if line.library in present:
            found = medians(line, sizes_of(line, given.sizes), given.params, given.seconds)
            if found:
                results[line] = found
    if not results:
        sys.exit("Nothing could be measured; is --seconds too short?")
    print(f"\nmedian of one ask and one tell, {given.params} parameters; in brackets, multiples of the first row\n")
    print(table(results))
    if "matplotlib" not in missing:
        given.output.parent.mkdir(parents=True, exist_ok=True)
        draw(results, given.params, given.output)
        print(f"\npicture: {given.output}")


if __name__ == "__main__":
    main()
