"""What happens to a study while it is checked: trials run side by side, end in all ways, and are loaded in between.

Everything is a function of the turn and of what the study holds, so that two studies which are alike stay alike.
"""

from __future__ import annotations

import math
import random
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from fasthpo.errors import SpaceExhausted
from fasthpo.samplers.random import RandomSampler
from fasthpo.space.search_space import SearchSpace
from fasthpo.study.study import Study
from fasthpo.testing.rules import require
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import Trial, TrialState

KeptIn = Literal["file", "directory"]
PLACES: tuple[KeptIn, ...] = ("file", "directory")
_COLUMNS = ("params", "values", "states", "draws", "resources", "brackets")


def loss_of(table: TrialTable, number: int) -> float:
    """The loss of a trial's point."""
    row = table.params[:, number].tolist()
    return sum(math.sin(j + x) for j, x in enumerate(row) if x == x)


# --- trials that are told


def ask_any(study: Study) -> Trial | None:
    """What `ask` gives; None if nothing is left."""
    try:
        return study.ask()
    except SpaceExhausted:
        return None


def run(
    study: Study,
    first: int,
    last: int,
    at_once: int = 3,
    sign: float = 1.0,
    ask: Callable[[Study], Trial | None] = ask_any,
) -> None:
    """Turns `first` to `last` - 1: in each a trial ends. Some are enqueued, and some results are known already.

    Args:
        study: any.
        first, last: the turns; what is done in one depends on it.
        at_once: how many trials run at the same time.
        sign: what losses are multiplied with to be told.
        ask: asks for a trial; None: there is no further one.
    """
    for turn in range(first, last):
        if turn % 10 == 4 and len(study):
            params = study.trials[3 * turn % len(study)].params
            names = list(study.space)[: 1 + turn % 3]
            study.enqueue({name: value for name, value in params.items() if name in names})
        if turn % 16 == 9 and len(study):
            points = [study.trials[number].params for number in (0, 5 * turn % len(study))]
            study.add_trials({name: [p.get(name) for p in points] for name in study.space}, [sign * turn / 9, math.nan])
        while len(study.table.running) < at_once and ask(study) is not None:
            pass
        running = study.table.running.tolist()
        if running:
            end(study, running[7 * turn % len(running)], turn, sign)


def end(study: Study, number: int, turn: int, sign: float = 1.0) -> None:
    """A running trial reports, in some turns, and ends, in one of all ways."""
    value = sign * loss_of(study.table, number)
    kind = turn % 13
    if kind in (6, 8) or turn % 5 == 0:
        begin = 10 * (study.trials[number].resource or 0)
        for step in range(1 + turn % 3):
            study.report(number, value + sign / (1 + step), begin + step)
    if kind == 3:
        study.tell(number, math.nan)
    elif kind in (5, 11):
        study.tell(number, sign * (math.inf if kind == 5 else -math.inf))
    elif kind in (6, 12):  # with and without a report
        study.tell(number, state=TrialState.PRUNED)
    elif kind == 7:
        study.tell(number, state=TrialState.FAILED, error="it did not work")
    elif kind == 9:
        study.tell(number, state=TrialState.FAILED, infrastructure=True)
    else:
        study.tell(number, sign * 0.5 if kind in (2, 4) else value)  # some are equal


def add_known(study: Study, count: int) -> None:
    """Add results of random points."""
    batch = Study(study.space, sampler=RandomSampler(seed=1)).ask_batch(count)
    study.add_trials(batch.params, np.sin(np.arange(count)))


# --- trials that report


def report(
    study: Study,
    seed: int,
    trials: int,
    sign: float = 1.0,
    each: Callable[[Study], None] | None = None,
    asked: float = 1.0,
) -> list[tuple[int, int, bool]]:
    """Trials report, in any order of steps, also NaN and infinities, and end when they are to be pruned, or before.

    Args:
        study: one in which no trial runs, or runs that has reported.
        seed: of all that happens; the same if the decisions are.
        trials: how many are asked for.
        sign: what losses are multiplied with to be reported and told.
        each: called after each report, and after each end.
        asked: how often the pruner is asked after a report.

    Returns:
        Trial, step and decision, each time that the pruner was asked.
    """
    chance = random.Random(seed)
    running: list[Trial] = []
    decided: list[tuple[int, int, bool]] = []
    while trials or running:
        if trials and len(running) < 3 and (not running or chance.random() < 0.3):
            running.append(study.ask())
            trials -= 1
            continue
        trial = running[chance.randrange(len(running))]
        start, resource = trial.start_resource or 0, trial.resource
        step = start + max(0, len(trial.reports) - start + chance.choice([0, 0, 0, 0, 0, 1, 3, -1]))
        value = loss_of(study.table, trial.number) + chance.gauss(0.0, 0.4) - 0.1 * step
        if chance.random() < 0.08:
            value = chance.choice([math.nan, math.inf, -math.inf, 0.0, 0.0])
        if step in trial.reports:
            step = max(trial.reports) + 1
        trial.report(sign * value, step)
        if each is not None:
            each(study)
        prune = False
        if chance.random() < asked:
            prune = study.should_prune(trial.number)
            require(isinstance(prune, bool | np.bool_), f"should_prune gives {prune!r}, which is not True or False")
            decided.append((trial.number, step, bool(prune)))
        ends = chance.random()
        if prune:
            trial_state: TrialState | None = TrialState.PRUNED
        elif step >= (8 if resource is None else resource) or ends < 0.03:
            trial_state = None
        elif ends < 0.06:
            trial_state = TrialState.FAILED
        else:
            continue
        running.remove(trial)
        if trial_state is None:
            study.tell(trial, sign * (loss_of(study.table, trial.number) if chance.random() < 0.9 else math.inf))
        else:
            study.tell(trial, state=trial_state)
        if each is not None:
            each(study)
    return decided


# --- studies that are alike


def require_same(one: Study, other: Study, which: str) -> None:
    """Raise AssertionError unless two studies hold the same trials, but for the times.

    Args:
        one, other: the studies.
        which: says which two these are, such as "two studies with seed 1".
    """
    n = min(len(one), len(other))
    for name in _COLUMNS:
        mine, theirs = (getattr(study.table, name)[..., :n] for study in (one, other))
        differs = (mine != theirs) & ((mine == mine) | (theirs == theirs))  # two that are NaN don't differ
        found = np.flatnonzero(differs if differs.ndim == 1 else differs.any(0))
        if len(found):
            trials = [described(study, int(found[0])) for study in (one, other)]
            raise AssertionError(f"{which} differ in trial {found[0]}: {trials[0]} and {trials[1]}")
    require(len(one) == len(other), f"{which} have {len(one)} and {len(other)} trials")


def described(study: Study, number: int) -> str:
    """A trial in words."""
    trial = study.trials[number]
    more = "" if trial.resource is None else f" to resource {trial.resource}"
    value = study.table.values[number]
    return f"{trial.params}{more}, {trial.state.name} with value {value:g}"


class Reloaded:
    """A study that is left now and then, and loaded again; a context, which removes its files.

    Args:
        kept_in: "file": it is saved to one; "directory": it is kept there all the time, and closed.
        space, parts: of the study.

    Attributes:
        study: what there is of it now.
    """

    def __init__(self, kept_in: KeptIn, space: SearchSpace, **parts: Any) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="fasthpo-testing-")
        self._place = Path(self._temporary.name) / "study"
        self._kept_in = kept_in
        storage = self._place if kept_in == "directory" else None
        self.study = Study(space, storage=storage, durability="system", **parts)

    def reload(self, **parts: Any) -> None:
        """Go on with what was saved or kept, and with other parts; what ran runs again."""
        running = len(self.study.table.running)
        if self._kept_in == "file":
            self.study.save(self._place)
        else:
            self.study.close()
        self.study = Study.load(self._place, durability="system", **parts)
        for _ in range(running):
            self.study.ask()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.study.close()
        self._temporary.cleanup()


def loaded_copy(study: Study, **parts: Any) -> Study:
    """What was saved of a study and loaded, to read; its running trials run."""
    with tempfile.TemporaryDirectory(prefix="fasthpo-testing-") as name:
        return Study.load(study.save(Path(name) / "study"), read_only=True, **parts)


@contextmanager
def global_randomness(seed: int) -> Iterator[None]:
    """The random numbers of `random` and `numpy.random` come from a seed, and go on as before afterwards.

    Raises:
        AssertionError: some were drawn.
    """
    before = random.getstate(), np.random.get_state()
    try:
        random.seed(seed)
        np.random.seed(seed)
        seeded = _global_state()
        yield
        require(_global_state() == seeded, "numbers were drawn from, or seeds given to, `random` or `numpy.random`")
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


def _global_state() -> str:
    return repr((random.getstate(), [getattr(one, "tolist", lambda one=one: one)() for one in np.random.get_state()]))


# --- threads


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Run `work(0)` to `work(count - 1)` in threads that take turns often; raises what the first of them raised."""
    errors: list[BaseException] = []
    begin = threading.Barrier(count)

    def guarded(i: int) -> None:
        try:
            begin.wait()
            work(i)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(count)]
    interval = sys.getswitchinterval()
    try:
        sys.setswitchinterval(1e-5)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    if errors:
        raise errors[0]


def share(study: Study, threads: int = 8, trials: int = 10) -> None:
    """Several threads ask, report and tell at the same time."""

    def work(i: int) -> None:
        for turn in range(trials):
            trial = ask_any(study)
            if trial is None:
                return
            study.report(trial.number, loss_of(study.table, trial.number), 10 * (trial.resource or 0) + 9)
            study.should_prune(trial.number)
            end(study, trial.number, 13 * turn + (i % 2) * (7 if turn % 3 else 1))

    in_threads(threads, work)
