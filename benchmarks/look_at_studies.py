"""Every command and every picture of four studies, written into a directory to be looked at, with their times.

    python benchmarks/look_at_studies.py /tmp/looked_at [--trials 100000]

The studies are `digits` (60 trials of examples/tune_digits.py, some of them pruned), `synthetic` (100,000 trials with
conditions, failures, reports and pruning, on sixteen simulated workers), `two` (objectives, with constraints) and
`three`; those that are there already are not made again. Beside each lies what each command printed and drew, with
`report.html`, and where Chromium is installed a picture of that: wide, narrow, and dark. A last table has the seconds
of each command, its exit code, and the size of what it wrote.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import fasthpo
from fasthpo import TrialState
from fasthpo.cli.commands.plot import KINDS

SPACE = {
    "learning_rate": fasthpo.LogUniform(1e-5, 1.0),
    "weight_decay": fasthpo.LogUniform(1e-8, 1.0),
    "dropout": fasthpo.Continuous(0.0, 0.9),
    "width": fasthpo.Discrete(2, 256, 2),
    "layers": fasthpo.Discrete(1, 12),
    "optimizer": fasthpo.Categorical(["adamw", "sgd", "lion"]),
    "momentum": fasthpo.Continuous(0.0, 1.0, when={"optimizer": "sgd"}),
    "data_augmentation_probability_of_a_horizontal_flip": fasthpo.Continuous(0.0, 1.0, step=0.05),
    "warmup": fasthpo.Categorical([True, False, None]),
}
ERRORS = (
    "Traceback (most recent call last):\n  File 'train.py', line 31, in objective\ntorch.OutOfMemoryError: CUDA out of "
    "memory. Tried to allocate {n} MiB",
    "Traceback (most recent call last):\n  File 'train.py', line 44, in objective\nValueError: loss is nan at step {n}",
    "ConnectionError: worker {n} is gone",
)
WORKERS = 16


class Clock:
    """Stands in the place of a study's clock."""

    def __init__(self) -> None:
        self.time = 1.7e9

    def now(self) -> float:
        return self.time

    def catch_up(self) -> None:
        pass


def synthetic(path: Path, trials: int) -> None:
    """Trials on sixteen workers, of which a slow one is restarted; one in 17 fails, one in ten reports its epochs."""
    random = np.random.default_rng(0)
    clock = Clock()
    with fasthpo.Study(
        SPACE, sampler=fasthpo.RandomSampler(seed=0), storage=path, pruner=fasthpo.MedianPruner(n_startup_trials=5)
    ) as study:
        study._state.scheduler.clock = clock  # type: ignore[assignment]
        free = np.full(WORKERS, clock.time)
        for i in range(trials):
            worker = int(free.argmin())
            clock.time = float(free[worker])
            trial = study.ask()
            seconds = 20 * (1 + trial["width"] / 64) * trial["layers"] ** 0.5 * random.lognormal(0, 0.2)
            loss = (np.log10(trial["learning_rate"]) + 2.5) ** 2 + trial["dropout"] + 2.0 / trial["layers"]
            loss += trial.get("momentum", 0.4) + abs(random.standard_cauchy()) / 100
            pruned = False
            for epoch in range(12) if i % 10 == 0 else ():
                trial.report(float(loss + 3 * np.exp(-epoch / 3)), epoch)
                if trial.should_prune():
                    pruned = True
                    seconds *= (epoch + 1) / 12
                    break
            free[worker] = (
                clock.time + seconds
            )  # the trials of a worker don't overlap; their order of ends is simplified
            clock.time += seconds
            if i % 17 == 3:
                study.tell(trial, state=TrialState.FAILED, error=ERRORS[i % 3].format(n=i))
            elif pruned:
                study.tell(trial, state=TrialState.PRUNED)
            else:
                study.tell(trial, float(loss), metrics={"accuracy": float(np.exp(-loss))})
        study.ask()


def two(path: Path) -> None:
    """Accuracy upward, latency downward, within 8 GiB."""
    with fasthpo.Study(
        SPACE, directions=["maximize", "minimize"], sampler=fasthpo.NSGAIISampler(seed=0), storage=path
    ) as study:
        for i in range(500):
            trial = study.ask()
            size = trial["width"] * trial["layers"]
            accuracy = 1 - 1 / (1 + size / 60) - 0.02 * (np.log10(trial["learning_rate"]) + 2.5) ** 2
            if i % 23 == 7:
                study.tell(trial, state=TrialState.FAILED, error=ERRORS[i % 3].format(n=i))
            else:
                latency = 2 + size / 30 * (1 + trial["dropout"] / 4)
                study.tell(trial, [float(accuracy), float(latency)], constraints=[size / 120 - 8.0])


def three(path: Path, trials: int = 1500) -> None:
    """DTLZ2, whose front is an eighth of a sphere, with one objective upward."""
    names = ["x", "y", "z", "u"]
    with fasthpo.Study(
        {name: fasthpo.Continuous(0.0, 1.0) for name in names},
        directions=["minimize", "maximize", "minimize"],
        sampler=fasthpo.NSGAIISampler(seed=0),
        storage=path,
    ) as study:
        for _ in range(trials):
            trial = study.ask()
            x, y, z, u = (trial[name] for name in names)
            r, a, b = 1 + (z - 0.5) ** 2 + (u - 0.5) ** 2, x * np.pi / 2, y * np.pi / 2
            study.tell(trial, [r * np.cos(a) * np.cos(b), -r * np.cos(a) * np.sin(b), r * np.sin(a)])


def digits(path: Path) -> None:
    example = Path(__file__).parents[1] / "examples" / "tune_digits.py"
    subprocess.run([sys.executable, example, "--trials", "60", "--output-dir", path.parent], check=True)
    (path.parent / "digits-tpe-0").rename(path)


def commands(name: str, out: Path) -> list[tuple[str, list[str]]]:
    """What is called for each study: a file's name, and the arguments."""
    study = str(out.parent / name)
    calls = [
        ("show.txt", ["show", study]), ("show.json", ["show", study, "--json"]),
        ("best.txt", ["best", study]), ("best.json", ["best", study, "--json"]),
        ("trials.txt", ["trials", study]), ("trials.json", ["trials", study, "--json"]),
        ("failed.txt", ["trials", study, "--filter", "state=failed", "--columns", "number,duration,error"]),
        ("importance.txt", ["importance", study]), ("importance.json", ["importance", study, "--json"]),
        ("ped-anova.txt", ["importance", study, "--method", "ped-anova"]),
        ("watch.txt", ["watch", study, "--seconds", "0.2"]),
        ("watch.json", ["watch", study, "--seconds", "0.2", "--json"]),
        ("check.txt", ["check", study]), ("check.json", ["check", study, "--json"]),
        ("report.txt", ["report", study, "-o", str(out / "report.html")]),
        ("csv.txt", ["export", study, "--format", "csv", "-o", str(out / "trials.csv")]),
        ("parquet.txt", ["export", study, "--format", "parquet", "-o", str(out / "trials.parquet")]),
        ("json.txt", ["export", study, "--format", "json", "-o", str(out / "trials.json.gz")]),
        ("compact.txt", ["compact", study]),
    ]  # fmt: skip
    calls += [(f"plot-{kind}.txt", ["plot", study, kind, "-o", str(out / f"{kind}.png")]) for kind in KINDS]
    return calls


def browse(out: Path) -> None:
    """Pictures of the report: a wide and a narrow page, and a dark one."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        return
    dark = "--blink-settings=preferredColorScheme=0"
    for name, width, more in (("wide", 1280, []), ("narrow", 500, []), ("dark", 1280, [dark])):
        subprocess.run(
            [
                chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *more,
                f"--screenshot={out / f'report-{name}.png'}", f"--window-size={width},9000",
                f"--user-data-dir={out / 'profile'}", "--virtual-time-budget=5000", (out / "report.html").as_uri(),
            ],
            capture_output=True, check=True, timeout=120,
        )  # fmt: skip
    shutil.rmtree(out / "profile")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--trials", type=int, default=100_000, help="of the synthetic study")
    parser.add_argument("--only", help="the name of one study")
    args = parser.parse_args()
    root: Path = args.directory.absolute()
    root.mkdir(parents=True, exist_ok=True)
    make = {"digits": digits, "synthetic": lambda path: synthetic(path, args.trials), "two": two, "three": three}
    for name in [args.only] if args.only else make:
        if not (root / name).exists():
            make[name](root / name)
        out = root / f"{name}-seen"
        out.mkdir(exist_ok=True)
        for file, arguments in commands(name, out):
            begin = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", "fasthpo.cli", *arguments], capture_output=True, text=True, check=False
            )
            seconds = time.perf_counter() - begin
            (out / file).write_text(done.stdout + done.stderr, encoding="utf-8")
            written = out / arguments[-1] if "-o" in arguments else out / file
            size = f"{written.stat().st_size / 1e6:9.3f} MB" if written.exists() else "        -   "
            print(f"{name:10} {file:28} {seconds:7.2f} s  exit {done.returncode}  {size}", flush=True)
        browse(out)


if __name__ == "__main__":
    main()
