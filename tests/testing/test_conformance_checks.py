"""Each check of `fasthpo.testing` finds what breaks its rule, and lets parts of a user's own pass that break none."""

from __future__ import annotations

import heapq
import math
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo.strategies.base import NextLeg
from fasthpo.testing import (
    check_pruner,
    check_sampler,
    check_strategy,
    pruner_checks,
    sampler_checks,
    strategy_checks,
)
from fasthpo.trials.reports import NONE
from fasthpo.trials.trial import TrialState

# --- samplers


class Own(fasthpo.Sampler):
    """Draws from the prior."""

    def unit(self, table: Any, draw: int) -> Any:
        return np.random.default_rng([self.seed, draw]).random((1, len(table.space)))

    def suggest(self, table: Any, draw: int) -> Any:
        return table.space.from_unit(self.unit(table, draw))[0]


class Climber(Own):
    """Goes on from the best point, as a mapping; keeps what it observes."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(seed)
        self.forget()

    def forget(self) -> None:
        self.best: tuple[float, int] | None = None

    def observe(self, table: Any, number: int) -> None:
        loss = self.loss(table, number)
        if math.isfinite(loss) and (self.best is None or (loss, number) < self.best):
            self.best = loss, number

    def loss(self, table: Any, number: int) -> float:
        return table.objectives.loss(float(table.values[number]))

    def suggest(self, table: Any, draw: int) -> Any:
        row = super().suggest(table, draw)
        if self.best is not None and draw % 2:
            best = table.params[:, self.best[1]]
            both = np.where(np.isnan(best) | (np.arange(len(row)) % 3 == draw % 3), row, best)
            if table.space.contains(table.space.decode(both)):
                row = both
        return table.space.decode(row)


class Seven(Own):
    def __init__(self, seed: int | None = None) -> None:
        super().__init__(7)


class BeyondItsBounds(Own):
    def suggest(self, table: Any, draw: int) -> Any:
        return super().suggest(table, draw) + 3.0 * (draw == 5)


class OffItsSteps(Own):
    def suggest(self, table: Any, draw: int) -> Any:
        row = super().suggest(table, draw)
        return np.where(np.abs(row - 5) < 4, row + 1e-9, row)


class InactiveToo(Own):
    def suggest(self, table: Any, draw: int) -> Any:
        rows = self.unit(table, draw)
        return np.array([p.from_unit(rows[:, j])[0] for j, p in enumerate(table.space.parameters)])


class NothingButNan(Own):
    def suggest(self, table: Any, draw: int) -> Any:
        return super().suggest(table, draw) * math.nan


class OneForAll(Own):
    def suggest(self, table: Any, draw: int) -> Any:
        return super().suggest(table, draw)[:1]


class SinglePrecision(Own):
    def suggest(self, table: Any, draw: int) -> Any:
        return super().suggest(table, draw).astype(np.float32)


class LeavesOneOut(Own):
    def suggest(self, table: Any, draw: int) -> Any:
        return dict(list(table.space.decode(super().suggest(table, draw)).items())[1:])


class EachOnce(Own):
    """Thinks that a trial ends once."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(seed)
        self.forget()

    def forget(self) -> None:
        self.seen: set[int] = set()

    def observe(self, table: Any, number: int) -> None:
        if number in self.seen:
            raise ValueError("again")
        self.seen.add(number)


class Counts(Own):
    """Each suggestion is another one."""

    count = 0

    def suggest(self, table: Any, draw: int) -> Any:
        self.count += 1
        return super().suggest(table, self.count)


class TrustsValues(Own):
    def suggest(self, table: Any, draw: int) -> Any:
        values = table.values[table.states == TrialState.COMPLETE]
        if len(values) > 3 and not np.isfinite(values).all():
            raise ZeroDivisionError("no spread")
        return super().suggest(table, draw)


class InOrder(Own):
    def observe(self, table: Any, number: int) -> None:
        if number < table.tell_order[:-1].max(initial=-1):
            raise ValueError("out of order")


class Downhill(Climber):
    """Minimizes whatever the direction."""

    def loss(self, table: Any, number: int) -> float:
        return float(table.values[number])


class EndsEarly(Own):
    def suggest(self, table: Any, draw: int) -> Any:
        if draw >= 3:
            raise fasthpo.SpaceExhausted("that is all")
        return super().suggest(table, draw)


class Shared(Own):
    """All of the class share a counter."""

    draws: list[int] = []  # noqa: RUF012

    def unit(self, table: Any, draw: int) -> Any:
        self.draws.append(draw)
        return super().unit(table, len(self.draws))


class FewBits(Own):
    def unit(self, table: Any, draw: int) -> Any:
        return np.random.default_rng([self.seed % 2**32, draw]).random((1, len(table.space)))


class Global(Own):
    def unit(self, table: Any, draw: int) -> Any:
        return np.random.rand(1, len(table.space))


class GlobalToo(Own):
    def unit(self, table: Any, draw: int) -> Any:
        random.random()
        return super().unit(table, draw)


class Hashes(Own):
    def unit(self, table: Any, draw: int) -> Any:
        return np.random.default_rng([self.seed, draw, abs(hash("salt"))]).random((1, len(table.space)))


class Remembers(Own):
    """Has a stream of random numbers, which a loaded study begins anew."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(seed)
        self.stream = np.random.default_rng(self.seed)

    def unit(self, table: Any, draw: int) -> Any:
        return self.stream.random((1, len(table.space)))


class OtherBatches(Own):
    has_batches = True

    def suggest_batch(self, table: Any, draws: Any) -> Any:
        return np.array([self.suggest(table, int(draw) + (len(draws) > 5)) for draw in draws])


class LongBatches(Own):
    has_batches = True

    def suggest_batch(self, table: Any, draws: Any) -> Any:
        return np.array([self.suggest(table, int(draw)) for draw in [*draws, *draws]])


class OfItsThread(Own):
    def __init__(self, seed: int | None = None) -> None:
        super().__init__(seed)
        self.own = threading.local()

    def unit(self, table: Any, draw: int) -> Any:
        self.own.count = getattr(self.own, "count", 0) + 1
        return super().unit(table, self.own.count)


class HalfDone(Own):
    """Keeps two lists that must be as long as each other, and forgets neither."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(seed)
        self.seen: list[int] = []
        self.known: list[int] = []

    def observe(self, table: Any, number: int) -> None:
        self.seen.append(number)
        self.known.append(number)

    def unit(self, table: Any, draw: int) -> Any:
        return super().unit(table, draw + 1000 * (len(self.seen) - len(self.known)) + len(self.seen))


class LooksAtAll(Own):
    def suggest(self, table: Any, draw: int) -> Any:
        best = min((v for v in table.values if v == v), default=0.0)
        return super().suggest(table, draw + (best < -(10**9)))


class Sorts(Own):
    def suggest(self, table: Any, draw: int) -> Any:
        np.argsort(table.values)
        return super().suggest(table, draw)


class Named(Own):
    name = "named"

    def __init__(self, spread: float = 1.0, seed: int | None = None) -> None:
        super().__init__(seed)
        self.spread = spread

    def unit(self, table: Any, draw: int) -> Any:
        return super().unit(table, draw) ** self.spread


class NoPlainOptions(Named):
    name = "not plain"

    def options(self) -> dict[str, Any]:
        return {"spread": np.float64(self.spread), "seed": self.seed}


ONE = Own(0)
SAMPLERS = [
    ("makes_a_new_sampler", Seven, "has the seed 7"),
    ("makes_a_new_sampler", lambda seed: "sampler", "which is no fasthpo.Sampler"),
    ("makes_a_new_sampler", lambda seed: ONE if seed == 0 else Own(seed), "two calls give the same object"),
    ("suggests_points_of_the_space", BeyondItsBounds, "which is not between|which is no index"),
    ("suggests_points_of_the_space", OffItsSteps, "which is no step of|which is no index"),
    ("suggests_points_of_the_space", InactiveToo, "though it is inactive"),
    ("suggests_points_of_the_space", NothingButNan, "is nan, though it is active"),
    ("suggests_points_of_the_space", OneForAll, r"shape \(1,\) is suggested for 6 parameters"),
    ("suggests_points_of_the_space", LeavesOneOut, "'x' is missing; the space needs it here"),
    ("suggests_points_of_the_space", SinglePrecision, "not a mapping or an array of float64"),
    ("suggests_points_under_a_multi_fidelity_strategy", EachOnce, "again"),
    ("suggests_from_a_draw_the_same_again", Counts, "and then"),
    ("takes_any_values", TrustsValues, "trials that are .* it raises ZeroDivisionError"),
    ("takes_trials_in_any_order", InOrder, "out of order"),
    ("mirrors_maximize", Downhill, "if values are minimized"),
    ("uses_a_finite_space_up", EndsEarly, "3 of 45 points of the space 'finite' are suggested"),
    ("gives_equal_studies_for_equal_seeds", Shared, "on the space 'conditional' with samplers of seed 9 differ in trial"),
    ("gives_other_studies_for_other_seeds", FewBits, f"seeds 0 and {2**32} give the same"),
    ("leaves_global_randomness_alone", Global, "numbers were drawn from"),
    ("leaves_global_randomness_alone", GlobalToo, "numbers were drawn from"),
    ("suggests_the_same_in_other_processes", Hashes, "values differ between two processes"),
    ("goes_on_in_a_loaded_study", Remembers, "loaded from a file differ in trial"),
    ("suggests_batches_as_single_points", OtherBatches, r"ask_batch\(9\) differ in trial"),
    ("suggests_batches_as_single_points", LongBatches, r"shape \(2, 6\) for 1 draws of 6 parameters"),
    ("may_be_used_by_threads", OfItsThread, "a new thread in each turn differ"),
    ("survives_calls_that_are_broken_off", HalfDone, "whose tell was broken off before its line"),
    ("does_the_same_however_many_trials", LooksAtAll, "instructions of Python after 200 trials"),
    ("takes_as_long_however_many_trials", Sorts, "us after 1,000 trials"),
    ("is_made_again_from_its_options", lambda seed: Named(2.0, seed), "one of a sampler made from its options differ"),
    ("is_made_again_from_its_options", NoPlainOptions, "option 'spread' is .*, of float64, not None"),
]  # fmt: skip


# --- pruners


class Far(fasthpo.Pruner):
    """Prunes a trial that is worse than the best report so far by more than 0.5."""

    def attach(self, table: Any) -> None:
        self.best = math.inf
        for value in table.reports.value.tolist():
            self.best = min(self.best, self.loss(table, value))

    def loss(self, table: Any, value: float) -> float:
        loss = table.objectives.ranked_loss(value)
        return loss if math.isfinite(loss) else math.inf

    def on_report(self, table: Any, number: int, step: int, value: float) -> None:
        self.best = min(self.best, self.loss(table, value))

    def should_prune(self, table: Any, number: int) -> bool:
        reports = table.reports
        if reports.latest(number) == NONE:
            return False
        return self.loss(table, reports.value_at(reports.top.item(number))) > self.best + 0.5


class AtOnce(Far):
    def should_prune(self, table: Any, number: int) -> bool:
        return True


class NumpyBool(Far):
    def should_prune(self, table: Any, number: int) -> Any:
        return np.bool_(super().should_prune(table, number))


class ReadsNothing(Far):
    def attach(self, table: Any) -> None:
        self.best = math.inf


class CountsQuestions(Far):
    def attach(self, table: Any) -> None:
        super().attach(table)
        self.asked = 0

    def should_prune(self, table: Any, number: int) -> bool:
        self.asked += 1
        return self.asked > 50


class NeverForgets(Far):
    best = math.inf

    def attach(self, table: Any) -> None:
        before = self.best
        super().attach(table)
        self.best = min(before, self.best)


class OneForEveryStudy(Far):
    known: dict[str, float] = {}  # noqa: RUF012

    def attach(self, table: Any) -> None:
        super().attach(table)
        self.known["best"] = self.best

    def on_report(self, table: Any, number: int, step: int, value: float) -> None:
        self.best = self.known["best"] = min(self.known["best"], self.loss(table, value))


class Lowest(Far):
    def loss(self, table: Any, value: float) -> float:
        return value if math.isfinite(value) else math.inf


class WholeNumbers(Far):
    def on_report(self, table: Any, number: int, step: int, value: float) -> None:
        super().on_report(table, number, step, float(int(10 * value)) / 10)


class SinceItBegan(Far):
    """Counts the reports of a trial, those before a pause only while it follows the study."""

    def attach(self, table: Any) -> None:
        self.counts = {n: len(table.reports.of(n)) for n in table.running.tolist() if len(table.segments.of(n)) == 0}

    def on_report(self, table: Any, number: int, step: int, value: float) -> None:
        self.counts[number] = self.counts.get(number, 0) + 1

    def should_prune(self, table: Any, number: int) -> bool:
        return self.counts.get(number, 0) > 4


class Chance(Far):
    def should_prune(self, table: Any, number: int) -> bool:
        return random.random() < 0.2


class FarInItsThread(Far):
    def attach(self, table: Any) -> None:
        self.own = threading.local()
        super().attach(table)

    @property
    def best(self) -> float:  # type: ignore[override]
        return getattr(self.own, "best", math.inf)

    @best.setter
    def best(self, value: float) -> None:
        self.own.best = value


class CountsTwice(Far):
    count = 0

    def attach(self, table: Any) -> None:
        self.count += len(table.reports)

    def on_report(self, table: Any, number: int, step: int, value: float) -> None:
        self.count += 1

    def should_prune(self, table: Any, number: int) -> bool:
        return self.count % 7 == 3


class LooksAtAllReports(Far):
    def should_prune(self, table: Any, number: int) -> bool:
        return sum(value > 10**9 for value in table.reports.value) > 0


class SortsReports(Far):
    def should_prune(self, table: Any, number: int) -> bool:
        np.sort(table.reports.value)
        return super().should_prune(table, number)


class NamedFar(Far):
    name = "far"

    def __init__(self, distance: float = 0.5) -> None:
        self.distance = distance

    def should_prune(self, table: Any, number: int) -> bool:
        reports = table.reports
        if reports.latest(number) == NONE:
            return False
        return self.loss(table, reports.value_at(reports.top.item(number))) > self.best + self.distance


ONE_PRUNER = Far()
PRUNERS = [
    ("makes_a_new_pruner", lambda: ONE_PRUNER, "two calls give the same object"),
    ("makes_a_new_pruner", lambda: None, "is no fasthpo.Pruner"),
    ("keeps_a_trial_of_which_nothing_is_known", AtOnce, "should_prune gives True for a trial that has reported nothing"),
    ("decides_by_the_table_alone", ReadsNothing, "and one that is attached now says False"),
    ("decides_the_same_however_often_it_is_asked", CountsQuestions, "asked often before"),
    ("forgets_the_table_before", NeverForgets, "one that followed other tables before and a new one decide"),
    ("keeps_two_studies_apart", OneForEveryStudy, "one that is alone and one beside another study's decide"),
    ("mirrors_maximize", Lowest, "minimizing and maximizing the negative decide"),
    ("takes_any_reports", WholeNumbers, "with reports that are NaN only it raises ValueError"),
    ("takes_any_reports", NumpyBool, "which is not True or False"),
    ("works_under_a_multi_fidelity_strategy", SinceItBegan, "one that is attached now says False"),
    ("goes_on_in_a_loaded_study", ReadsNothing, "loaded from a file decide"),
    ("decides_for_readers_as_for_the_writer", ReadsNothing, "for the writer and .* for a reader"),
    ("leaves_global_randomness_alone", Chance, "numbers were drawn from"),
    ("may_be_used_by_threads", FarInItsThread, "a study used by one thread and one used by four decide"),
    ("survives_calls_that_are_broken_off", CountsTwice, "was broken off before its line"),
    ("does_the_same_however_many_trials", LooksAtAllReports, "instructions of Python after 200 trials"),
    ("takes_as_long_however_many_trials", SortsReports, "us after 1,000 trials"),
    ("is_made_again_from_its_options", lambda: NamedFar(0.1), "made from its options decide"),
]  # fmt: skip


# --- strategies


class Thirds(fasthpo.Strategy):
    """Each trial is trained to 1, and one of three, the best that waits, to 3."""

    is_multi_fidelity = True
    max_resource = 3

    def __init__(self, sampler: fasthpo.Sampler | None = None) -> None:
        super().__init__(sampler or fasthpo.RandomSampler(seed=1))
        self.table: Any = None

    def attach(self, table: Any) -> None:
        self.table = table
        self.told = self.gone = 0
        self.heap: list[tuple[float, int]] = []
        self.read(table)

    def read(self, table: Any) -> None:
        segments = table.segments
        for i in range(len(segments)):
            if (
                table.bracket(int(segments.trial[i])) >= 0
                and segments.resource[i] == 1
                and segments.state[i] == TrialState.PAUSED
            ):
                self.enter(int(segments.trial[i]), segments.value[i].item())
        gone = np.flatnonzero((table.brackets >= 0) & (table.resources == 3)).tolist()
        self.gone += len(gone)
        self.heap = [entry for entry in self.heap if entry[1] not in gone]
        heapq.heapify(self.heap)

    def enter(self, number: int, value: float) -> None:
        self.told += 1
        loss = self.loss(value)
        if math.isfinite(loss):
            heapq.heappush(self.heap, (loss, number))

    def loss(self, value: float) -> float:
        return self.table.objectives.loss(value)

    def follows(self, table: Any) -> bool:
        return self.table is table

    def next_leg(self, new: bool = True) -> NextLeg | None:
        if self.heap and self.gone < max(not new, self.told // 3):
            return NextLeg(self.heap[0][1], 0, 3)
        return self.new_leg() if new else None

    def new_leg(self) -> NextLeg:
        return NextLeg(None, 0, 1)

    def on_start(self, leg: NextLeg, number: int) -> None:
        if leg.resource == 3:
            heapq.heappop(self.heap)
            self.gone += 1

    def state_at(self, resource: int) -> TrialState:
        return TrialState.COMPLETE if resource == 3 else TrialState.PAUSED

    def on_end(self, number: int) -> None:
        if self.table.resource(number) == 1 and self.table.state(number) == TrialState.PAUSED:
            self.enter(number, float(self.table.values[number]))

    def may_go_on(self, number: int) -> bool:
        return math.isfinite(self.table.values[number])


class OnTheSpot(Thirds):
    def next_leg(self, new: bool = True) -> NextLeg | None:
        leg = super().next_leg(new)
        return leg if leg is None or leg.number is None else leg._replace(resource=1)


class OtherBracket(Thirds):
    def next_leg(self, new: bool = True) -> NextLeg | None:
        leg = super().next_leg(new)
        return leg if leg is None or leg.number is None else leg._replace(bracket=1)


class NotPaused(Thirds):
    def on_start(self, leg: NextLeg, number: int) -> None:
        pass  # it stays the next one


class TakesByAsking(Thirds):
    def next_leg(self, new: bool = True) -> NextLeg | None:
        leg = super().next_leg(new)
        if leg is not None and leg.number is not None:
            heapq.heappop(self.heap)
        return leg

    def on_start(self, leg: NextLeg, number: int) -> None:
        self.gone += leg.resource == 3


class Waits(Thirds):
    def next_leg(self, new: bool = True) -> NextLeg | None:
        return None if len(self.table.running) else super().next_leg(new)


class CompleteAtOnce(Thirds):
    def state_at(self, resource: int) -> TrialState:
        return TrialState.COMPLETE


class LeavesAll(Thirds):
    def next_leg(self, new: bool = True) -> NextLeg | None:
        return super().next_leg(new) if new else None


class StartsNewOnes(Thirds):
    def next_leg(self, new: bool = True) -> NextLeg | None:
        return super().next_leg(True)


class RetiresTooEarly(Thirds):
    def take_retired(self) -> list[int]:
        return [max(self.heap)[1]] if self.heap else []


class GivesUpAll(Thirds):
    def may_go_on(self, number: int) -> bool:
        return False


class NowAndThenResumable(Thirds):
    reads = 0

    @property
    def resumable(self) -> bool:  # type: ignore[override]
        self.reads += 1
        return self.reads % 3 > 0


class Endless(Thirds):
    def state_at(self, resource: int) -> TrialState:
        return TrialState.PAUSED

    def on_end(self, number: int) -> None:
        if self.table.state(number) == TrialState.PAUSED:
            self.enter(number, float(self.table.values[number]))
            self.told += 3


class LowestGoesOn(Thirds):
    def loss(self, value: float) -> float:
        return value


class FollowsAll(Thirds):
    def follows(self, table: Any) -> bool:
        return True


class CountsForAll(Thirds):
    counts: list[int] = []  # noqa: RUF012

    def on_end(self, number: int) -> None:
        self.counts.append(number)
        super().on_end(number)

    def next_leg(self, new: bool = True) -> NextLeg | None:
        leg = super().next_leg(new)
        return self.new_leg() if new and len(self.counts) % 3 else leg


class ReadsNoTrials(Thirds):
    def read(self, table: Any) -> None:
        pass


class DrawsAtStart(Thirds):
    def on_start(self, leg: NextLeg, number: int) -> None:
        random.random()
        super().on_start(leg, number)


class ThirdsOfItsThread(Thirds):
    def attach(self, table: Any) -> None:
        self.own = threading.local()
        super().attach(table)

    @property
    def told(self) -> int:  # type: ignore[override]
        return getattr(self.own, "told", 0)

    @told.setter
    def told(self, value: int) -> None:
        self.own.told = value


class CountsAgain(Thirds):
    told = gone = 0

    def attach(self, table: Any) -> None:
        self.table, self.heap = table, []
        self.read(table)


class LooksAtAllTrials(Thirds):
    def next_leg(self, new: bool = True) -> NextLeg | None:
        assert all(state >= 0 for state in self.table.states)
        return super().next_leg(new)


class Silent(Thirds):
    def summary(self) -> Any:
        return None


class NamedThirds(Thirds):
    name = "thirds"

    def __init__(self, share: int = 3, sampler: fasthpo.Sampler | None = None) -> None:
        super().__init__(sampler)
        self.share = share

    def next_leg(self, new: bool = True) -> NextLeg | None:
        if self.heap and self.gone < max(not new, self.told // self.share):
            return NextLeg(self.heap[0][1], 0, 3)
        return self.new_leg() if new else None


ONE_SAMPLER = fasthpo.RandomSampler(seed=1)
STRATEGIES = [
    ("makes_a_new_strategy", lambda: Thirds(ONE_SAMPLER), "share the strategy or its sampler"),
    ("makes_a_new_strategy", lambda: Thirds(fasthpo.RandomSampler()), "samplers of the seeds"),
    ("gives_resources_that_ascend", OnTheSpot, "which has reached 1 of 3, is to be trained to 1"),
    ("gives_resources_that_ascend", OtherBracket, "goes on in bracket 1, and began in 0"),
    ("lets_paused_trials_go_on_only", NotPaused, "has trial .* go on, which is .*, not PAUSED"),
    ("lets_paused_trials_go_on_only", TakesByAsking, r"next_leg\(\) gives .* and then"),
    ("lets_paused_trials_go_on_only", Waits, r"next_leg\(\) gives None while 1 trials run"),
    ("pauses_below_the_largest_resource", CompleteAtOnce, r"state_at\(1\) is .*COMPLETE.* of max_resource 3"),
    ("trains_one_trial_to_the_end", LeavesAll, "of 1 trials none was trained to the end"),
    ("trains_one_trial_to_the_end", StartsNewOnes, "starts, though new ones may not"),
    ("never_calls_retired_trials_back", RetiresTooEarly, "may_go_on says that it may go on"),
    ("never_calls_retired_trials_back", GivesUpAll, "goes on, of which may_go_on said that it may not"),
    ("keeps_within_a_budget", NowAndThenResumable, "the legs so far cost"),
    ("ends_with_the_space", Endless, "there is still another one"),
    ("mirrors_maximize", LowestGoesOn, "of the trials differ between minimizing values and maximizing"),
    ("follows_one_study", FollowsAll, r"follows\(\) is true of a study after another one was attached"),
    ("follows_one_study", CountsForAll, "a study that is alone and one beside another differ"),
    ("goes_on_from_the_table_alone", ReadsNoTrials, "for one that is attached now"),
    ("goes_on_in_a_loaded_study", ReadsNoTrials, "loaded from a file differ in trial"),
    ("leaves_global_randomness_alone", DrawsAtStart, "numbers were drawn from"),
    ("may_be_used_by_threads", ThirdsOfItsThread, "a new thread in each turn differ"),
    ("survives_calls_that_are_broken_off", CountsAgain, "was broken off before its line"),
    ("does_the_same_however_many_trials", LooksAtAllTrials, "instructions of Python after 200 trials"),
    ("says_what_it_plans", Silent, r"summary\(\) gives None"),
    ("is_made_again_from_its_options", lambda: NamedThirds(2), "made from its options differ"),
]  # fmt: skip

SUITES: list[tuple[Callable[..., None], list[Any], list[Any], list[Any]]] = [
    (check_sampler, sampler_checks(), SAMPLERS, [Own, Climber]),
    (check_pruner, pruner_checks(), PRUNERS, [Far]),
    (check_strategy, strategy_checks(), STRATEGIES, [Thirds]),
]


def cases() -> list[Any]:
    found = []
    for suite, checks, broken, _ in SUITES:
        by_name = {check.__name__: check for check in checks}
        for i, (name, make, words) in enumerate(broken):
            label = getattr(make, "__name__", "").replace("<lambda>", f"function {i}")
            found.append(pytest.param(by_name[name], make, words, id=f"{suite.__name__}-{name}-{label}"))
    return found


@pytest.mark.parametrize(("check", "make", "words"), cases())
def test_what_breaks_a_rule_is_found_by_its_check(check: Any, make: Any, words: str) -> None:
    with pytest.raises((AssertionError, ValueError), match=words) as caught:
        check(make)
    rule = " ".join(check.__doc__.split())
    said = str(caught.value) + "".join(getattr(caught.value, "__notes__", []))
    assert check.__name__ in said and rule in said


@pytest.mark.parametrize(("suite", "checks", "broken", "good"), SUITES, ids=["sampler", "pruner", "strategy"])
def test_each_check_can_fail(suite: Any, checks: Any, broken: Any, good: Any) -> None:
    assert {name for name, *_ in broken} == {check.__name__ for check in checks}


@pytest.mark.parametrize(
    ("suite", "make"), [(suite, make) for suite, _, _, good in SUITES for make in good], ids=lambda one: one.__name__
)
def test_what_breaks_no_rule_passes(suite: Any, make: Any) -> None:
    suite(make)


def test_a_check_is_left_out_by_its_name() -> None:
    with pytest.raises(AssertionError, match="mirrors_maximize: To maximize values is to minimize them"):
        check_pruner(Lowest)
    check_pruner(Lowest, skip=["mirrors_maximize"])
    with pytest.raises(
        fasthpo.InvalidValue, match=r"skip must name checks, such as 'makes_a_new_pruner', got 'mirror'"
    ):
        check_pruner(Lowest, skip=["mirror"])


def test_a_sampler_that_takes_no_space_of_the_checks_hears_of_it() -> None:
    class Choosy(Own):
        def check_space(self, space: fasthpo.SearchSpace) -> None:
            raise fasthpo.InvalidSearchSpace("not this one")

    with pytest.raises(AssertionError, match="check_space refuses every space that the checks have"):
        check_sampler(Choosy)


def test_neither_pytest_nor_anything_heavy_is_needed() -> None:
    program = """
import sys, fasthpo, fasthpo.testing
names = [getattr(fasthpo.testing, name).__name__ for name in fasthpo.testing.__all__]
assert names == fasthpo.testing.__all__ == dir(fasthpo.testing), names
assert not {"pytest", "torch", "scipy.stats", "matplotlib", "pandas"} & set(sys.modules)
try:
    fasthpo.testing.check_smapler
except AttributeError as error:
    assert str(error) == "module 'fasthpo.testing' has no attribute 'check_smapler'"
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=120)
