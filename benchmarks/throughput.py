"""Compare how fast samplers suggest, on your machine: a table, and a picture of time against trials.

    pip install -c constraints.txt -e ".[benchmark]"
    python benchmarks/throughput.py                       # about ten minutes; saves throughput.png
    python benchmarks/throughput.py --params 5 --seconds 10

What is measured is the median of one ask and one tell by TPE, in a study that has so many trials already. A library is
not measured at larger sizes once filling a study, or a single suggestion, took longer than --seconds.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from libraries import AskTell, Make, fasthpo, history, hyperopt, optuna, rustuna

# name -> the package that it needs, how to make it
SAMPLERS: dict[str, tuple[str, Make]] = {
    "fasthpo": ("fasthpo", fasthpo("TPESampler")),
    "fasthpo, univariate": ("fasthpo", fasthpo("TPESampler", multivariate=False)),
    "fasthpo, exact": ("fasthpo", fasthpo("TPESampler", exact=True)),
    "Optuna": ("optuna", optuna("TPESampler")),
    "Optuna, univariate": ("optuna", optuna("TPESampler", multivariate=False)),
    "Rustuna": ("rustuna", rustuna("TPESampler")),
    "Hyperopt": ("hyperopt", hyperopt()),
}
COLOURS = {"fasthpo": "#d6423b", "optuna": "#3a6ea5", "rustuna": "#8a6d3b", "hyperopt": "#5b8c5a"}
ROUNDS = 51  # measurements a point, where they are quick


def median_seconds(ask_tell: AskTell, limit: float) -> float:
    """Of one call, after the first ones, in at most `limit` seconds."""
    start = time.perf_counter()
    ask_tell()  # compiles, imports, catches up with the history
    ask_tell()
    seconds: list[float] = []
    while len(seconds) < ROUNDS and (len(seconds) < 3 or time.perf_counter() - start < limit):
        before = time.perf_counter()
        ask_tell()
        seconds.append(time.perf_counter() - before)
    return float(np.median(seconds))


def measure(make: Make, sizes: list[int], params: int, limit: float) -> dict[int, float]:
    """Seconds an ask and a tell, by size."""
    measured: dict[int, float] = {}
    for size in sizes:
        start = time.perf_counter()
        ask_tell = make(*history(size, params))
        filled = time.perf_counter() - start
        measured[size] = median_seconds(ask_tell, limit)
        # the next size costs at least as much more as it is larger
        if filled > limit / 10 or measured[size] > limit / 10:
            break
    return measured


def shown(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.0f} us"


def print_table(results: dict[str, dict[int, float]], sizes: list[int]) -> None:
    width = max(map(len, results)) + 2
    print("\nmedian of one ask and one tell, by trials in the study")
    print(" " * width + "".join(f"{size:>12,d}" for size in sizes))
    for name, measured in results.items():
        print(f"{name:{width}s}" + "".join(f"{shown(measured.get(size)):>12s}" for size in sizes))


def draw(results: dict[str, dict[int, float]], params: int, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FuncFormatter

    figure, axes = plt.subplots(figsize=(8.5, 5.2), layout="constrained")
    ends = []
    for name, measured in results.items():
        package = SAMPLERS[name][0]
        ours = package == "fasthpo"
        style = {"univariate": "--", "exact": ":"}.get(name.partition(", ")[2], "-")
        x, y = list(measured), list(measured.values())
        axes.plot(
            x, y, style, marker="o", markersize=4, color=COLOURS[package], linewidth=2.4 if ours else 1.4,
            zorder=3 if ours else 2,
        )  # fmt: skip
        ends.append((y[-1], x[-1], name, COLOURS[package], ours))
    axes.set(xscale="log", yscale="log", xlabel="trials in the study", ylabel="time of one ask and one tell")
    axes.set_title(f"TPE, {params} parameters", loc="left")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.grid(which="major", color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    low, high = axes.get_xlim()
    axes.set_xlim(low, high * 6)  # room for the names at the lines' ends
    height = 0.0
    for y, x, name, colour, ours in sorted(ends):
        height = max(y, 1.35 * height)  # names that would lie on each other move up
        axes.annotate(
            name, (x, height), xytext=(7, 0), textcoords="offset points", va="center", color=colour,
            fontweight="bold" if ours else "normal", fontsize=9,
        )  # fmt: skip
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=int, default=20, help="parameters of the space (20)")
    parser.add_argument(
        "--sizes", default="100,1000,10000,100000,1000000", help="trials in the study, ascending, comma separated"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="time limit of a measurement (60)")
    parser.add_argument("--output", type=Path, default=Path("throughput.png"), help="the picture (throughput.png)")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.sizes.split(",")]
    missing = sorted({package for package, _ in SAMPLERS.values() if importlib.util.find_spec(package) is None})
    if missing:
        print(f"left out, as they are not installed: {', '.join(missing)} (pip install {' '.join(missing)})")
    results = {}
    for name, (package, make) in SAMPLERS.items():
        if package not in missing:
            print(f"{name} ...", flush=True)
            results[name] = measure(make, sizes, arguments.params, arguments.seconds)
    print_table(results, sizes)
    draw(results, arguments.params, arguments.output)
    print(f"\npicture: {arguments.output}")


if __name__ == "__main__":
    main()
