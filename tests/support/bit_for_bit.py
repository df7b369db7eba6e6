"""Twelve studies of 500 trials each, and all that is public of them, to compare two commits bit for bit.

A change that is to change nothing is checked so, here against the commit before it:

    git worktree add ../before HEAD~1
    PYTHONPATH=../before python tests/support/bit_for_bit.py before.jsonl
    PYTHONPATH=. python tests/support/bit_for_bit.py --against before.jsonl

Both runs use this script, and PYTHONPATH says whose fasthpo; it prints where that lies. `--only NAME` makes one study.
Both have to take place on the same machine with the same libraries, as mathematical functions differ between these. A
run takes about 15 s, and a minute more where kernels have to be compiled.

Written are: of each trial all that its handle tells but the times; of each study what every call returned and in which
order, the errors of wrong calls, warnings, columns, attributes, the best trial and the resource spent. Floats are
written by `float.hex`. Only public names are used (`fasthpo.*`), and neither a clock nor threads, so that two runs differ only
if fasthpo does. What runs in worker processes is not compared.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import math
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

import fasthpo
from fasthpo import Categorical, Continuous, Discrete, LogUniform, SearchSpace, Study, Trial, TrialState

TRIALS = 500

# --- what is compared


def exact(value: Any) -> Any:
    """A value as JSON that tells apart whatever differs, to the last bit."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, np.generic):
        return exact(value.item())
    if isinstance(value, np.ndarray):
        return [str(value.dtype), exact(value.tolist())]
    if isinstance(value, Mapping):
        return {str(key): exact(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [exact(one) for one in value]
    assert value is None or isinstance(value, bool | int | str), value
    return value


def trial_content(trial: Trial) -> dict[str, Any]:
    """All that the handle of a trial tells, but for the times and the directory of its weights."""
    names = ("params", "state", "value", "reports", "metrics", "error", "resource", "start_resource", "rungs")
    return {"trial": trial.number} | {name: exact(getattr(trial, name)) for name in names}


def study_content(study: Study) -> dict[str, Any]:
    """What a study tells as a whole."""
    best: Any = None
    if any(trial.state == TrialState.COMPLETE and math.isfinite(trial.value or 0.0) for trial in study.trials):
        best = [study.best_trial.number, study.best_value, study.best_params]
    columns = {"values": study.values, "states": study.states, **study.columns}
    return {
        "trials": len(study),
        "direction": study.direction,
        "best": exact(best),
        "columns": {name: [str(c.dtype), hashlib.sha256(c.tobytes()).hexdigest()] for name, c in columns.items()},
        "attributes": exact(study.attributes),
        "resource": [study.resource_spent, study.resource_committed],
        "summary": None if study.strategy is None else study.strategy.summary(),
        "parts": [repr(study), repr(study.sampler), repr(study.strategy), repr(study.pruner)],
    }


# --- the studies

MIXED = SearchSpace(
    {
        "x": Continuous(-3.0, 5.0),
        "rate": LogUniform(1e-5, 1.0),
        "step": Continuous(0.0, 1.0, step=0.125),
        "units": Discrete(1, 256, log=True),
        "even": Discrete(2, 20, 2),
        "kind": Categorical(["a", True, 1, 1.5, None]),
        "momentum": Continuous(0.0, 0.99, when={"kind": ["a", 1]}),
        "depth": Discrete(1, 6, when={"kind": [None, 1.5], "even": [2, 4, 6, 8]}),
    }
)
NUMERIC = SearchSpace({"x": Continuous(-3.0, 5.0), "y": Continuous(0.0, 2.0), "rate": LogUniform(1e-5, 1.0),
                       "units": Discrete(1, 64), "kind": Categorical(["a", "b", "c"])})  # fmt: skip
GRID = SearchSpace({"x": Continuous(-3.0, 5.0, n_points=12), "rate": LogUniform(1e-5, 1.0, n_points=10),
                    "even": Discrete(2, 8, 2), "kind": Categorical(["a", "b"])})  # fmt: skip
FINITE = SearchSpace({"step": Continuous(0.0, 1.0, step=0.125), "even": Discrete(2, 20, 2),
                      "kind": Categorical(["a", "b", None]), "depth": Discrete(1, 6, when={"kind": ["a"]})})  # fmt: skip


class OwnSampler(fasthpo.Sampler):
    """A user's own; it says what it was told."""

    def __init__(self, calls: list[Any]) -> None:
        super().__init__(seed=12)
        self.calls = calls

    def suggest(self, table: Any, draw: int) -> dict[str, Any]:
        generator = random.Random(1000 * draw + self.seed)
        return {"x": 8.0 * generator.random() - 3.0, "y": 2.0 * generator.random(), "rate": 0.5 + len(table) / 2000,
                "units": generator.randrange(1, 65), "kind": generator.choice("abc")}  # fmt: skip

    def observe(self, table: Any, number: int) -> None:
        self.calls.append(["sampler observes", number])


class OwnPruner(fasthpo.Pruner):
    """A user's own; it says what it was told, and gives up what is far behind the best at a step."""

    def __init__(self, calls: list[Any]) -> None:
        self.calls = calls

    def attach(self, table: Any) -> None:
        self.calls.append(["pruner attached", len(table)])
        self.best: dict[int, float] = {}
        self.latest: dict[int, tuple[int, float]] = {}

    def on_report(self, table: Any, number: int, step: int, value: float) -> None:
        self.best[step] = min(value, self.best.get(step, value))
        self.latest[number] = step, value

    def on_end(self, table: Any, number: int) -> None:
        self.calls.append(["pruner hears of the end", number])

    def should_prune(self, table: Any, number: int) -> bool:
        step, value = self.latest[number]
        return value > 4.0 * self.best[step]


class OwnStrategy(fasthpo.Hyperband):
    """A user's own; it says what it was told."""

    def __init__(self, calls: list[Any]) -> None:
        super().__init__(27, sampler=OwnSampler(calls), asynchronous=True)
        self.calls = calls

    def on_start(self, leg: Any, number: int) -> None:
        self.calls.append(["strategy starts", list(leg), number])
        super().on_start(leg, number)

    def on_end(self, number: int) -> None:
        self.calls.append(["strategy ends", number])
        super().on_end(number)


@dataclass(frozen=True)
class Plan:
    """One study.

    Attributes:
        space, direction: of the study.
        parts: makes its sampler or strategy, and its pruner.
        at_once: how many trials run at once; they are told in another order than they were asked for.
        batch: of how many trials a batch is; 0: there are none.
        reloads: how the study is loaded again, once a third of the trials is there, and two thirds; see `reload`.
        own: whether its parts are a user's own, which `Study.load` has to be given.
    """

    space: SearchSpace
    parts: Callable[[list[Any]], dict[str, Any]]
    direction: str = "minimize"
    at_once: int = 1
    batch: int = 0
    reloads: tuple[str, str] = ("closed", "crashed")
    own: bool = False


PLANS = {
    "tpe": Plan(MIXED, lambda _: {"sampler": fasthpo.TPESampler(seed=1), "pruner": fasthpo.MedianPruner()}),
    "tpe, univariate": Plan(
        MIXED,
        lambda _: {
            "sampler": fasthpo.TPESampler(n_startup_trials=25, multivariate=False, seed=2),
            "pruner": fasthpo.PercentilePruner(70.0, n_startup_trials=3, pool="completed"),
        },
        direction="maximize", at_once=4, reloads=("failed", "saved"),
    ),
    "tpe, finite": Plan(
        FINITE, lambda _: {"sampler": fasthpo.TPESampler(n_ei_candidates=10, seed=3)}, at_once=3, batch=4
    ),
    "random": Plan(
        MIXED,
        lambda _: {"sampler": fasthpo.RandomSampler(seed=4), "pruner": fasthpo.WilcoxonPruner(0.3)},
        at_once=3, batch=12, reloads=("saved", "compacted"),
    ),
    "grid": Plan(
        GRID,
        lambda _: {
            "sampler": fasthpo.GridSampler(shuffle=True, seed=5),
            "pruner": fasthpo.PatientPruner(fasthpo.MedianPruner(n_startup_trials=2), 1, min_delta=0.01),
        },
        at_once=2, batch=6,
    ),
    "quasi-random": Plan(
        MIXED,
        lambda _: {"sampler": fasthpo.QMCSampler(seed=6), "pruner": fasthpo.ThresholdPruner(upper=9.0, min_steps=1)},
        direction="maximize", batch=9, reloads=("crashed", "failed"),
    ),
    "cma-es": Plan(
        NUMERIC,
        lambda _: {"sampler": fasthpo.CmaEsSampler(seed=7), "pruner": fasthpo.SuccessiveHalvingPruner(1, 2)},
        at_once=5, reloads=("compacted", "closed"),
    ),
    "successive halving": Plan(
        MIXED,
        lambda _: {"strategy": fasthpo.SuccessiveHalving(9, sampler=fasthpo.RandomSampler(seed=8))},
        direction="maximize", at_once=4, batch=10,
    ),
    "bohb": Plan(
        MIXED,
        lambda _: {
            "strategy": fasthpo.Hyperband(27, sampler=fasthpo.TPESampler(seed=9)),
            "pruner": fasthpo.MedianPruner(n_startup_trials=8, min_steps=3),
        },
        at_once=3, reloads=("crashed", "saved"),
    ),
    "asha": Plan(
        NUMERIC,
        lambda _: {"strategy": fasthpo.ASHA(16, 2, 2, sampler=fasthpo.CmaEsSampler(6, seed=10), resumable=False)},
        direction="maximize", at_once=6, batch=5, reloads=("failed", "compacted"),
    ),
    "own parts": Plan(
        NUMERIC, lambda calls: {"strategy": OwnStrategy(calls), "pruner": OwnPruner(calls)}, at_once=3, own=True
    ),
}  # fmt: skip


# --- a study's course


def loss_of(trial: Trial) -> float:
    """Something to minimise: plain arithmetic, which is the same everywhere."""
    total = 0.0
    for i, value in enumerate(trial.params.values()):
        number = float(value) if isinstance(value, int | float) else float(len(str(value)))
        total += (number - 0.5 * i) * (number - 0.5 * i) / (1.0 + number * number)
    return total


def leg(study: Study, trial: Trial, calls: list[Any]) -> Iterator[None]:
    """Trains a trial to its end, or to the next rung; others may run after each report."""
    sign = 1.0 if study.direction == "minimize" else -1.0
    loss, begin = loss_of(trial), trial.start_resource
    end = begin + 4 if trial.resource is None else trial.resource
    kind = (7 * trial.number + (trial.resource or 0)) % 31
    for step in range(begin, end):
        trial.report(math.nan if kind == 1 else sign * (loss + (1 + trial.number % 3) / (step + 1)), step)
        yield
        if trial.should_prune():
            calls.append(["pruned", trial.number, step, exact(study.tell(trial, state=TrialState.PRUNED))])
            return
    value: float | None = sign * (loss + 1 / end)
    options: dict[str, Any] = {}
    if kind == 2:
        value = math.nan
    elif kind == 3:
        value, options = None, {"state": TrialState.FAILED, "error": "Traceback:\n  boom \udcff"}
    elif kind == 4:
        value, options = None, {"state": TrialState.FAILED, "error": "a worker was lost", "infrastructure": True}
    elif kind == 5:
        value, options = None, {"state": TrialState.FAILED, "error": "infrastructure: the disk was full"}
    elif kind == 6:
        value, options = None, {"state": TrialState.FAILED}
    elif kind == 7:
        options = {"state": TrialState.PRUNED}
    elif kind in (8, 9):
        value = sign * math.inf if kind == 8 else -sign * math.inf
    elif kind % 3 == 0:
        options = {"metrics": {"accuracy": 1 / (1 + loss), f"metric {kind}": trial.number}}
    calls.append(["told", trial.number, exact(study.tell(trial, value, **options))])


class Course:
    """Drives a study by rules that depend on nothing but the number of the turn."""

    def __init__(self, plan: Plan, directory: Path) -> None:
        self.plan, self.directory = plan, directory
        self.calls: list[Any] = []
        self.turn = 0
        self.running: list[Iterator[None]] = []
        self.study = Study(plan.space, direction=plan.direction, storage=directory / "0", **plan.parts(self.calls))

    def run(self) -> None:
        first, second = self.plan.reloads
        self.go_on(TRIALS // 3)
        self.reload(first)
        self.go_on(2 * TRIALS // 3)
        self.reload(second)
        self.go_on(TRIALS)
        self.refuse()
        self.end()
        self.check_files()

    def go_on(self, until: int) -> None:
        """Until the study has so many trials: one thing a turn, mostly one of the running trials goes on."""
        while len(self.study) < until:
            self.turn += 1
            study, turn = self.study, self.turn
            if turn % 101 == 40:
                names = list(self.plan.space)
                params = study.trials[turn % len(study)].params
                partly = {name: value for name, value in params.items() if name in names[: 1 + turn % 3]}
                self.calls.append(["enqueued", study.enqueue(partly)])
            elif turn % 97 == 50:
                study.set_attribute(f"turn {turn % 5}", [turn, {"half": turn / 2, "no": None}])
            elif turn % 307 == 60:
                some = [study.trials[number].params for number in (0, turn % len(study))]
                known = {name: [params.get(name) for params in some] for name in self.plan.space}
                self.calls.append(["added", exact(study.add_trials(known, [turn / 100, math.nan]))])
            elif self.plan.batch and turn % 151 == 70:
                batch = study.ask_batch(self.plan.batch)
                values = [math.nan if i == 2 else loss_of(study.trials[n]) for i, n in enumerate(batch.numbers)]
                told = study.tell_batch(batch.numbers, values)
                self.calls.append(["batch", exact([batch.numbers, batch.params, batch[0], batch.resources, told])])
            else:
                self.advance()

    def advance(self) -> None:
        while len(self.running) < self.plan.at_once:
            trial = self.study.ask()
            self.calls.append(["asked", trial.number, trial.resource, trial.start_resource])
            self.running.append(leg(self.study, trial, self.calls))
        chosen = self.running.pop(5 * self.turn % len(self.running))
        for _ in range(1 + self.turn % 3):
            if next(chosen, chosen) is chosen:  # it has ended
                return
        self.running.append(chosen)

    def reload(self, how: str) -> None:
        """Leaves the study while trials run, and goes on with what is on the disk, or in a file."""
        before, self.running = self.study, []
        place = before.storage
        assert place is not None
        if how == "compacted":
            before.compact()
        before.sync()
        again = self.directory / how
        if how == "saved":
            before.save(again)
        elif how in ("crashed", "compacted"):
            shutil.copytree(place, again, ignore=shutil.ignore_patterns(".lock"))
        else:  # closed, failed
            again = place
        before.close()
        self.calls.append([how, *self.refusals(before.ask)])
        parts = self.plan.parts(self.calls) if self.plan.own else {}
        self.study = Study.load(again, interrupted="fail" if how == "failed" else "retry", **parts)
        if how == "saved":
            self.study.keep_at(self.directory / "kept again")

    def refuse(self) -> None:
        """Wrong calls: what they say, and that they change nothing."""
        study, name = self.study, next(iter(self.plan.space))
        ended = next(trial for trial in study.trials if trial.state.is_finished)
        self.calls += self.refusals(
            lambda: study.tell(ended, 1.0), lambda: study.tell(10**6, 1.0), lambda: study.tell("a", 1.0),
            lambda: ended.report(1.0, 1), lambda: ended.should_prune(), lambda: study.ask_batch(-1),
            lambda: study.enqueue({name: "nothing"}), lambda: study.enqueue({"nothing": 1}),
            lambda: study.tell_batch([0, 0], [1.0, 2.0]), lambda: study.add_trials({}, []),
            lambda: study.set_attribute("set", {1}), lambda: study.report(ended.number, 1.0, -1), lambda: study.refresh(),
        )  # fmt: skip

    @staticmethod
    def refusals(*calls: Callable[[], Any]) -> list[Any]:
        said = []
        for call in calls:
            try:
                said.append(["not refused", repr(call())])
            except fasthpo.FastHPOError as error:
                said.append([type(error).__name__, [base.__name__ for base in type(error).__mro__], str(error)])
        return said

    def end(self) -> None:
        """What has begun is trained to the end, the rest of a finite space is used up, and a few trials are left."""
        study, calls = self.study, self.calls
        while self.running:
            for _ in self.running.pop():
                pass
        if study.strategy is not None:
            for budget in (1, 2, 5, math.inf, math.inf, math.inf):
                trial = study.ask_within(budget, new=False)
                calls.append(["asked within", budget, None if trial is None else [trial.number, trial.resource]])
                if trial is not None:
                    for _ in leg(study, trial, calls):
                        pass
        if self.plan.space is FINITE:
            rest = study.ask_batch(500)
            calls += [["rest", exact(rest.numbers)], *self.refusals(study.ask)]
        for _ in range(0 if self.plan.space is FINITE else 3):
            trial = study.ask()
            trial.report(0.5, trial.start_resource + 2)
        study.enqueue({})

    def check_files(self) -> None:
        """What is on the disk is the same, for one who follows and for one who loads, open and closed."""
        place, own = self.study.storage, self.plan.parts([]) if self.plan.own else {}
        assert place is not None
        follower = Study.load(place, read_only=True, **own)
        self.study.set_attribute("last", True)
        assert follower.refresh()
        loaded = [follower]
        self.study.close()
        loaded.append(Study.load(place, read_only=True, **self.plan.parts([]) if self.plan.own else {}))
        for one in loaded:
            for mine, theirs in zip(self.study.trials, one.trials, strict=True):
                assert trial_content(mine) == trial_content(theirs)
            assert study_content(self.study) == study_content(one)


def planned(plan: Plan, directory: Path) -> tuple[Study, dict[str, Any]]:
    course = Course(plan, directory)
    course.run()
    return course.study, {"calls": course.calls}


# --- the twelfth: a tuner


class Recording(fasthpo.HyperparameterCallback):
    """Notes down what it is told, in its order."""

    def __init__(self, calls: list[Any]) -> None:
        self.calls = calls

    def on_study_start(self, config: fasthpo.TunerConfig) -> None:
        self.calls.append(["begins", config.study_name])

    def on_trial_start(self, trial: Trial) -> None:
        self.calls.append(["starts", trial.number])

    def on_new_best(self, trial: Trial, improvement: float) -> None:
        self.calls.append(["new best", trial.number, exact(improvement)])

    def on_trial_complete(self, trial: Trial) -> None:
        self.calls.append(["complete", trial.number])

    def on_trial_pruned(self, trial: Trial, reason: str) -> None:
        self.calls.append(["pruned", trial.number, reason])

    def on_trial_failed(self, trial: Trial, error: str) -> None:
        self.calls.append(["failed", trial.number, last_line(error)])

    def on_study_end(self, config: fasthpo.TunerConfig, statistics: fasthpo.StudyStatistics) -> None:
        self.calls.append(["ends", statistics.total_trials])


def last_line(error: str) -> str:
    """Of a traceback, which names files and lines of fasthpo, the last line."""
    return error.strip().splitlines()[-1]


def without_times(value: Any) -> Any:
    """What was read from JSON, without what differs from run to run, and of errors the last line."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if "duration" not in k and "time" not in k}
        return {k: last_line(v) if k == "error" and v else without_times(v) for k, v in kept.items()}
    return [without_times(one) for one in value] if isinstance(value, list) else exact(value)


def tuned(directory: Path) -> tuple[Study, dict[str, Any]]:
    """A tuner that is stopped, goes on in another one from its files, and says what it has reached."""
    calls: list[Any] = []

    def tuner_of(trials: int) -> fasthpo.HyperparameterTuner:
        config = fasthpo.TunerConfig(
            "tuned", direction="maximize", objective_metric="score", max_trials=trials, seed=11, output_dir=directory,
            pruning=fasthpo.PruningConfig(strategy="percentile", percentile=0.7, min_steps=1),
            early_stopping=fasthpo.EarlyStoppingConfig(patience=3, min_delta=0.01), save_checkpoints=True,
        )  # fmt: skip
        made = fasthpo.HyperparameterTuner.with_bayesian_optimization(config, MIXED)
        return made.remove_callback(fasthpo.LoggingCallback).add_callback(Recording(calls))

    def objective(trial: Trial) -> Any:
        stopper = tuner.early_stopping()
        kind, loss = trial.number % 29, loss_of(trial)
        for step in range(12):
            value = -loss - 1 / (1 + step * (trial.number % 4))
            trial.report(value, step)
            if trial.should_prune():
                raise fasthpo.TrialPruned
            if stopper.update(value, step=step):
                break
        if kind == 3:
            raise ValueError(f"trial {trial.number} is unlucky")
        if kind == 5:
            return fasthpo.TrialResult.failure("no luck either")
        if kind == 7:
            return {"score": math.nan}
        if kind == 9:
            return fasthpo.TrialResult.success(fasthpo.TrialMetrics(stopper.best_value, {"loss": loss}))
        return {"score": stopper.best_value, "steps": step, "loss": loss}

    results = []
    tuner = tuner_of(TRIALS // 2)
    tuner.study.enqueue({"x": 1.0, "kind": None})
    results.append(tuner.optimize(objective))
    tuner = tuner_of(TRIALS).load_checkpoint(directory / "tuned")
    results.append(tuner.optimize(objective))
    files = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(directory.glob("tuned/*.json"))}
    return tuner.study, {
        "calls": calls,
        "results": [[exact(one.stop_reason), without_times(asdict(one.statistics))] for one in results],
        "files": without_times(files),
    }


# --- writing and comparing


class Warnings(logging.Handler):
    """The warnings of fasthpo, without the directory where the study lies."""

    def __init__(self, directory: Path) -> None:
        super().__init__(logging.WARNING)
        self.directory, self.said = str(directory), list[str]()

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(f"{record.levelname}: {record.getMessage()}".replace(self.directory, "DIRECTORY"))


def lines_of(name: str) -> Iterator[str]:
    """One study: a line a trial, and one for the study."""
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary).resolve()
        warnings, logger = Warnings(directory), logging.getLogger("fasthpo")
        logger.addHandler(warnings)
        logger.propagate = False
        study, told = tuned(directory) if name == "tuner" else planned(PLANS[name], directory)
        logger.removeHandler(warnings)
        trials = [{"study": name, **trial_content(trial)} for trial in study.trials]
        if name == "tuner":
            trials = [one | {"error": one["error"] and last_line(one["error"])} for one in trials]
        for one in trials:
            yield json.dumps(one)
        text = json.dumps({"study": name, **study_content(study), **told, "warnings": warnings.said})
        yield text.replace(json.dumps(str(directory))[1:-1], "DIRECTORY")


def difference(before: Any, now: Any, where: str = "") -> str:
    """The first place where two JSON values differ, in words."""
    if isinstance(before, dict) and isinstance(now, dict) and list(before) == list(now):
        pairs = [(f"{where}.{key}", before[key], now[key]) for key in before]
    elif isinstance(before, list) and isinstance(now, list):
        pairs = [(f"{where}[{i}]", *pair) for i, pair in enumerate(zip_longest(before, now, fillvalue="(nothing)"))]
    else:
        return f"{where}: before {json.dumps(before)[:200]}, now {json.dumps(now)[:200]}"
    return next((difference(a, b, place) for place, a, b in pairs if json.dumps(a) != json.dumps(b)), "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("write_to", nargs="?", type=Path, help="a JSON lines file to write")
    parser.add_argument("--against", type=Path, help="a file that was written so, to compare with")
    parser.add_argument("--only", choices=[*PLANS, "tuner"], help="only one study")
    options = parser.parse_args()
    if options.write_to is None and options.against is None:
        parser.error("give a file to write to, or --against FILE")
    print(f"fasthpo is {Path(fasthpo.__file__).parent}")
    found: dict[str, list[str]] = {name: [] for name in ([options.only] if options.only else [*PLANS, "tuner"])}
    for name, lines in found.items():
        lines.extend(lines_of(name))
        print(f"{name}: {len(lines) - 1} trials")
    if options.write_to is not None:
        text = "".join(f"{line}\n" for lines in found.values() for line in lines)
        options.write_to.write_text(text, encoding="utf-8", newline="\n")
    if options.against is None:
        return 0
    kept = options.against.read_text(encoding="utf-8").splitlines()
    differs = False
    for name, lines in found.items():
        before = [line for line in kept if json.loads(line)["study"] == name]
        for old, new in zip_longest(before, lines, fillvalue="null"):
            if old != new:
                line = json.loads(old if old != "null" else new)
                where = f"trial {line['trial']}" if "trial" in line else "study"
                print(f"{name}: {where}{difference(json.loads(old), json.loads(new))}")
                differs = True
                break
    print("They differ: the first difference of each study is shown." if differs else "Equal bit for bit.")
    return int(differs)


if __name__ == "__main__":
    sys.exit(main())
