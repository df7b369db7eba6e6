"""Random histories of all kinds: a study that was loaded asks and prunes as the one that never stopped."""

from __future__ import annotations

import base64
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo import TrialState
from tests.support.pruning import INF, NAN
from tests.support.studies import content

SPACE = {"x": fasthpo.Continuous(0.0, 1.0), "n": fasthpo.Discrete(1, 9)}
PRUNERS: dict[str, Callable[[], fasthpo.Pruner]] = {
    "median": lambda: fasthpo.MedianPruner(n_startup_trials=1),
    "percentile": lambda: fasthpo.PercentilePruner(30.0, n_startup_trials=2, min_steps=1),
    "percentile of completed": lambda: fasthpo.PercentilePruner(60.0, n_startup_trials=1, pool="completed"),
    "patient": lambda: fasthpo.PatientPruner(None, 1),
    "patient around median": lambda: fasthpo.PatientPruner(fasthpo.MedianPruner(0), 0, 0.1),
    "patient around halving": lambda: fasthpo.PatientPruner(fasthpo.SuccessiveHalvingPruner(1, 2), 0),
    "threshold": lambda: fasthpo.ThresholdPruner(lower=-1.0, upper=1.0),
    "wilcoxon": lambda: fasthpo.WilcoxonPruner(0.6, n_startup_steps=1),
    "halving": lambda: fasthpo.SuccessiveHalvingPruner(1, 2),
    "halving by thirds": lambda: fasthpo.SuccessiveHalvingPruner(2, 3),
}
STRATEGIES: dict[str, Callable[[fasthpo.Sampler], fasthpo.Strategy] | None] = {
    "in full": None,
    "successive halving": lambda sampler: fasthpo.SuccessiveHalving(4, reduction_factor=2, sampler=sampler),
    "hyperband": lambda sampler: fasthpo.Hyperband(8, reduction_factor=2, sampler=sampler),
    "asynchronous hyperband": lambda sampler: fasthpo.Hyperband(
        8, reduction_factor=2, sampler=sampler, asynchronous=True
    ),
    "asha": lambda sampler: fasthpo.ASHA(8, reduction_factor=2, sampler=sampler),
    "asha from the beginning": lambda sampler: fasthpo.ASHA(4, reduction_factor=2, sampler=sampler, resumable=False),
}


SEVERAL = ["percentile", "halving"]  # of those that work on several objectives


def made(pruner: str, strategy: str, seed: int, several: bool = False, **options: Any) -> fasthpo.Study:
    sampler, make_strategy = fasthpo.RandomSampler(seed=seed), STRATEGIES[strategy]
    parts = {"sampler": sampler} if make_strategy is None else {"strategy": make_strategy(sampler)}
    directions = ("minimize", "maximize")[:: -1 if seed % 2 else 1][: 2 if several else 1]
    return fasthpo.Study(SPACE, pruner=PRUNERS[pruner](), directions=directions, **parts, **options)


def one_value(random: np.random.Generator) -> float:
    special = random.random() < 0.15
    return float(random.choice([NAN, INF, -INF, 0.0, 1.0])) if special else round(float(random.normal()), 1)


def value_of(study: fasthpo.Study, random: np.random.Generator) -> Any:
    """A value, or a list of them."""
    m = len(study.directions)
    return one_value(random) if m == 1 else [one_value(random) for _ in range(m)]


def limits_of(study: fasthpo.Study, random: np.random.Generator, count: int) -> list[list[float]] | None:
    """Constraints of so many trials, of some of them, under several objectives."""
    if len(study.directions) == 1:
        return None
    drawn = [[one_value(random), float(random.normal())] for _ in range(count)]
    return [[NAN, NAN] if math.isnan(first) else [first, other] for first, other in drawn]


def go_on(study: fasthpo.Study, seed: int, events: int, to_the_end: bool) -> list[Any]:
    """So many random events, and the end of all running trials if it is to be; what was asked and decided."""
    random = np.random.default_rng(seed)
    running = [study.trials[number] for number in study.table.running.tolist()]
    found: list[Any] = []
    while events > 0 or (to_the_end and running):
        events -= 1
        kind = random.random()
        if events > 0 and (kind < 0.2 or not running) and len(running) < 6:
            trial = study.ask()
            running.append(trial)
            found.append(
                ("asked", trial.number, trial.params, trial.resource, trial.start_resource, repr(trial.reports))
            )
            found.append(trial.should_prune())
        elif events > 0 and kind < 0.24:
            study.enqueue({"x": float(random.random())})
        elif events > 0 and kind < 0.26:
            values = [value_of(study, random), NAN if len(study.directions) == 1 else [NAN, 1.0]]
            study.add_trials({"x": random.random(2), "n": [1, 2]}, values, constraints=limits_of(study, random, 2))
        elif running and kind < 0.75:
            trial = running[random.integers(len(running))]
            step = max(0, max(trial.reports, default=0) + int(random.choice([1, 1, 1, 1, 0, 2, 3, -1])))
            trial.report(value_of(study, random), step)
            found += [(other.number, other.should_prune()) for other in running]
        elif running and kind < 0.78:
            numbers = [trial.number for trial in running[:2]]
            values = [value_of(study, random) for _ in numbers]
            limits = limits_of(study, random, len(numbers))
            found.append(study.tell_batch(numbers, values, constraints=limits).tolist())
            running = running[2:]
        elif running:
            trial = running.pop(random.integers(len(running)))
            state = random.choice([TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED])
            value = value_of(study, random) if state == TrialState.COMPLETE else None
            state = None if value is not None and np.isnan(value).any() else TrialState(int(state))
            limits = limits_of(study, random, 1)
            limit = None if limits is None or math.isnan(limits[0][0]) else limits[0]
            found.append((trial.number, study.tell(trial, value, state, constraints=limit).name))
    return found


def copied(study: fasthpo.Study, to: Path, compact: bool) -> Path:
    """The study's files as they are now."""
    assert study.storage is not None
    if compact:
        study.compact()
    study.sync()
    shutil.copytree(study.storage, to, ignore=shutil.ignore_patterns("*lock*"))
    return to


def twice(study: fasthpo.Study, to: Path, **options: Any) -> list[fasthpo.Study]:
    """The study as it is loaded from its journal, and from a checkpoint; to look at, they decide as it does."""
    paths = [copied(study, to / name, name == "checkpoint") for name in ("journal", "checkpoint")]
    running = study.table.running.tolist()
    for path in paths:
        reader = fasthpo.Study.load(path, read_only=True)
        assert [reader.should_prune(one) for one in running] == [study.should_prune(one) for one in running]
    return [fasthpo.Study.load(path, durability="system", **options) for path in paths]


def all_alike(studies: list[fasthpo.Study], seed: int, to_the_end: bool = False) -> list[Any]:
    """What each of the studies goes on to do."""
    assert len({content(study) for study in studies}) == 1
    first, *others = [go_on(study, seed, 60, to_the_end) for study in studies]
    for other in others:
        assert other == first
    return first


@pytest.mark.parametrize("pruner", PRUNERS)
def test_a_loaded_study_asks_and_prunes_as_one_that_never_stopped(pruner: str, tmp_path: Path) -> None:
    verdicts = set()
    for strategy in STRATEGIES:
        live = made(pruner, strategy, 0, storage=tmp_path / strategy / "live", durability="system")
        go_on(live, 1, 70, to_the_end=False)
        loaded = twice(live, tmp_path / strategy, interrupted="fail")
        for number in live.table.running.tolist():
            live.tell(number, state=TrialState.FAILED, error=loaded[0].table.errors[number])
        verdicts |= {repr(found[1]) for found in all_alike([live, *loaded], 3) if isinstance(found, tuple)}
        for study in (live, *loaded):
            study.close()
    assert {"True", "False"} <= verdicts


@pytest.mark.parametrize("pruner", PRUNERS)
def test_a_study_loaded_after_a_crash_goes_on_as_any_that_is_loaded_later(pruner: str, tmp_path: Path) -> None:
    for strategy in STRATEGIES:
        live = made(pruner, strategy, 1, storage=tmp_path / strategy / "live", durability="system")
        go_on(live, 3, 70, to_the_end=False)
        assert len(live.table.running)
        loaded = twice(live, tmp_path / strategy / "first")  # what was running is asked again, its reports are dropped
        all_alike(loaded, 4, to_the_end=True)
        again = twice(loaded[0], tmp_path / strategy / "second")
        all_alike([*loaded, *again], 5)
        for study in (live, *loaded, *again):
            study.close()


@pytest.mark.parametrize("pruner", SEVERAL)
def test_a_loaded_study_of_several_objectives_asks_and_prunes_as_one_that_never_stopped(
    pruner: str, tmp_path: Path
) -> None:
    verdicts = set()
    for seed, strategy in enumerate(list(STRATEGIES)[SEVERAL.index(pruner) :: 2]):
        live = made(pruner, strategy, seed, several=True, storage=tmp_path / strategy / "live", durability="system")
        go_on(live, 1, 70, to_the_end=False)
        loaded = twice(live, tmp_path / strategy, interrupted="fail")
        for number in live.table.running.tolist():
            live.tell(number, state=TrialState.FAILED, error=loaded[0].table.errors[number])
        verdicts |= {repr(found[1]) for found in all_alike([live, *loaded], 3) if isinstance(found, tuple)}
        later = twice(loaded[1], tmp_path / strategy / "later")
        all_alike(later, 3, to_the_end=True)  # of what was running the reports are dropped
        for study in (live, *loaded, *later):
            study.close()
    assert {"True", "False"} <= verdicts


def test_a_failure_has_its_place_among_the_reports(tmp_path: Path) -> None:
    study = fasthpo.Study(SPACE, pruner=fasthpo.SuccessiveHalvingPruner(1, 2), strategy=fasthpo.ASHA(4, 1, 2))
    best, stopped, first = study.ask(), study.ask(), study.ask()
    best.report(0.1, 1)
    stopped.report(0.5, 1)
    assert stopped.should_prune()
    study.tell(stopped, 0.5)
    study.tell(first, 1.0)
    study.tell(best, state=TrialState.FAILED)
    loaded = fasthpo.Study.load(study.save(tmp_path / "study.msgpack"))
    for one in (study, loaded, fasthpo.Study.load(loaded.save(tmp_path / "again.msgpack"))):
        again = one.ask()
        assert again.number == stopped.number and again.should_prune()
        new = one.ask()
        new.report(0.6, 1)  # the first rung has nobody but the stopped one
        assert new.should_prune()
        better = one.ask()
        better.report(0.4, 1)
        assert not better.should_prune()


# a checkpoint of version 1: trial 0 failed after it had reported, trial 1 completed, trial 2 runs
VERSION_1 = (
    b"$p8QWqDHbume`f8W?^%5XmD>Wb98lNc>w^#5O1K$j3{+S$%%)#fY}HetJ(ozdm?jiVPj<?Iv{%@cp^F=dm?msaAhJoAR=RLZggpG"
    b"b#HZZA}k;xY;SiWIv_AEFf1S<XlZ9?B03;3E-)-0B6D<Qa3VS&Zgp&IEFdCoUvO_}Zgg`ZIv{R!Y;1jfEFdCeX>w&_bZKvHB03-<"
    b"ZE0?4ZE1RCA}k;xb75_8Y-MsHIv{%@ZeeX@B03-<a$#;{Z*3whAR=^maAhJoAR<y>Ze(w5Q(<jzY-MsHEFdCpaCB*JZgV0!AbTQn"
    b"Wo2X{Iv_B8eJmg%aB_8SWpW}qAbTQiVQpn1Iv^r*bz@^?b8~5SWnXAvY<6jGXCf>hB6N9hWg<EtB2#r^V`X!5X?A5uVQhA3Zf8(("
    b"b#7&HA}k;xZ*X*JZ*FrUIv{%@ZE0>_a%FRGb#h~6B03;3EFdCsWn^_@bZKvHUuI!rbZ>GZIv_HAeJmg%b98cHbY*9GB03;$b!=>X"
    b"lmh|-0F(owdwl=^!~p=r0RY4S0K@?R$p8QWI!4tA#*LQ%0|Nj60RqGs0B~A(HTsF!KR}j?l$jjwKfoMErHty6Kg1FOcmZR;06!l5"
    b"sJE{N01%=C4#Wfi0|5ZU836;hYEH?*+Ce`600000000&M00000006`p0T5`6P|3pDK?w#9000000OyfquQoj$KEx6NcmZR;06%{G"
    b"sIRXF01=u5X2cEycmZQzWMsew002b*1H=phcmezW9{~VOz6<rl5d(MuV_^Kp!0;av0RUUQ2l>Pf19$;rU}R*#1^@s>00YDh19$;r"
    b"U}R*#1^@s>00YDh0(b#qWMpK(1^@tE00hJt0GgSZnVFfnKL7v#0002sKbo1DnVFf{Kg0n5!~p=r0RY4S0K@?R!~p=r0RY4S0K^Fa"
    b"0000000000#0dZb000000002Q0|0Js"
)


def test_a_checkpoint_of_before_failures_had_a_place_is_read(tmp_path: Path) -> None:
    path = tmp_path / "study.msgpack"
    path.write_bytes(base64.b85decode(VERSION_1))
    study = fasthpo.Study.load(path, interrupted="fail")
    assert study.states.tolist() == [TrialState.FAILED, TrialState.COMPLETE, TrialState.FAILED]
    assert [trial.reports for trial in study.trials] == [{1: 0.1}, {1: 0.5}, {1: 0.4}]
    for one in (study, fasthpo.Study.load(study.save(tmp_path / "again.msgpack"))):
        for value, pruned in ((0.6, True), (0.45, False)):
            trial = one.ask()
            trial.report(value, 1)
            assert trial.should_prune() == pruned
    with fasthpo.Study.load(path) as loaded:
        loaded.keep_at(tmp_path / "kept")
        loaded.tell(loaded.ask(), 1.0)
    assert len(fasthpo.Study.load(tmp_path / "kept", read_only=True)) == 3
