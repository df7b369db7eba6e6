"""Which trial runs next: one that waits, a paused one, or a new one. The study's only way to start trials."""

from __future__ import annotations

import math

import numpy as np

from fasthpo.errors import NoTrialToStart, SpaceExhausted
from fasthpo.kernels.streams import uniforms
from fasthpo.samplers.base import Sampler
from fasthpo.samplers.earlier_starts import COUNT, EVERY, EarlierStarts, can_start, is_start
from fasthpo.space.allowed import is_allowed, prior_rows
from fasthpo.space.partial import complete_row
from fasthpo.storage.weights import Checkpoints
from fasthpo.strategies.base import NextLeg, Strategy
from fasthpo.system.clock import StudyClock
from fasthpo.trials.history import History, Segment
from fasthpo.trials.lineage import NO_PARENT
from fasthpo.trials.table import NO_DRAW
from fasthpo.trials.trial import TrialState
from fasthpo.trials.tried import TriedPoints
from fasthpo.values import FloatArray, IntArray

_MOST_AHEAD = 4096  # draws of a grid that are looked at together, while their points are known already
_REDRAWS = 32  # draws of points tried or forbidden before the next untried point, or one of the prior, is taken instead
_FEW = 8  # suggestions made at once, where relations forbid nearly all
_PRIOR_STREAM = 2**17  # of the latter


class Scheduler:
    """Starts trials: enqueued ones first, then what the strategy wants next, with parameters from the sampler.

    Args:
        history: the study's trials, and which of them wait.
        sampler: where new trials look.
        strategy: which comes next, if it is a multi-fidelity one.
        checkpoints: the trials' weights, with which others may begin.

    Attributes:
        clock: says when trials start and end.
    """

    def __init__(self, history: History, sampler: Sampler, strategy: Strategy | None, checkpoints: Checkpoints) -> None:
        self.history = history
        self.table = history.table
        self.waiting = history.waiting
        self.sampler = sampler
        self.strategy = strategy if strategy is not None and strategy.is_multi_fidelity else None
        self.checkpoints = checkpoints
        self.clock = StudyClock(history.table.latest_time)
        self._starts: EarlierStarts | None = None  # of earlier studies, in the space that was seen last
        self.look_again()

    def look_again(self) -> None:
        """Take up what the sampler is to see, which of a space that is learnt may be something else by now."""
        seen = self.history.seen
        # of a grid on an infinite space, which knows itself what was tried; on a finite one the table does
        has_limit = self._has_model and seen.space.cells is None
        self._limit = self.sampler.draw_limit(seen.space) if has_limit else None

    def _start_time(self) -> float:
        if not self.table._running_length:
            self.clock.catch_up()
        return self.clock.now()

    def next(self, budget: float = math.inf, new: bool = True) -> int | None:
        """Start the next trial; its number.

        Args:
            budget: how much resource the leg may cost, under a multi-fidelity strategy.
            new: whether a trial may start that never ran.

        Returns:
            None if the next leg would cost more than `budget`, or no trial may start now.

        Raises:
            SpaceExhausted: no point is left for a new trial.
        """
        if self.waiting and (new or self._ran_before(self.waiting[0])):
            leg = self._leg_of_waiting()
            if self.strategy is None or leg is not None:
                return self._start_waiting(leg, budget)
        if self.strategy is None:
            if not new:
                return None
            again = None if self.table.evaluations is None else self.table.evaluations.due()
            return self._start_new() if again is None else self.repeat(again)
        leg = self.strategy.next_leg(new)
        if leg is not None and leg.number is None and leg.fork is None and self._is_exhausted():
            leg = self.strategy.next_leg(False) or leg
        if leg is None or self.charge(leg) > budget:
            return None
        if leg.fork is not None:
            number = self._start_member(leg)
        elif leg.number is None:
            number = self._start_new(leg)
        else:
            number = leg.number
            if self.strategy.parents_run:
                self.checkpoints.keep_as_paused(number)
            self.history.resumed(number, self._segment(leg))
        self.strategy.on_start(leg, number)
        return number

    def need_next(self) -> int:
        """Start the next trial, whatever it costs; its number.

        Raises:
            SpaceExhausted: as `next`.
            NoTrialToStart: a population waits, or has come to its end.
        """
        number = self.next()
        if number is not None:
            return number
        if self.strategy is not None and self.strategy.is_complete:
            raise NoTrialToStart(
                f"the population was trained to its end, max_resource={self.strategy.max_resource}: see "
                "study.best_trial. (study.ask_within() gives None then)"
            )
        running = self.table.running.tolist()
        raise NoTrialToStart(
            f"the population waits for {len(running)} of its members, which have to be told before others go on: "
            f"trials {running[:10]}{', ...' if len(running) > 10 else ''}. (study.ask_within() gives None then)"
        )

    def next_many(self, n: int) -> IntArray:
        """Start up to `n` trials, fewer if the space ends; their numbers."""
        numbers: list[int] = []
        while len(numbers) < n and self.waiting and (number := self.next()) is not None:
            numbers.append(number)
        is_alone = self._tried is not None or self.table.evaluations is not None or not self._has_model
        are_many = self.strategy is None and self.sampler.has_batches and not is_alone
        try:
            while len(numbers) < n and not (are_many and self._is_past_starts):
                if (number := self.next()) is None:
                    break
                numbers.append(number)
        except SpaceExhausted:  # the caller sees that there are fewer
            return np.array(numbers, np.int64)
        more = self._append_batch(n - len(numbers)) if are_many else np.empty(0, np.int64)
        return np.concatenate([np.array(numbers, np.int64), more])

    def repeat(self, number: int) -> int:
        """Start a trial at the point of another one; its number. It uses up no draw of the sampler."""
        return self.history.asked(self.table.params[:, number].copy(), NO_DRAW, self._start_time())

    # --- segments

    def charge(self, leg: NextLeg) -> int:
        """What a leg costs: the difference to what the trial has reached, or all of it if it can't resume."""
        start = 0 if leg.number is None else self.start_resource(leg.number)
        return leg.resource - (start if leg.fork is None else leg.fork.step)

    def start_resource(self, number: int) -> int:
        """From what resource on a trial is trained in its present leg, or would be in the next one."""
        return self.table.reached(number) if self.strategy is not None and self.strategy.resumable else 0

    def _segment(self, leg: NextLeg) -> Segment:
        return Segment(leg.bracket, leg.resource, self._start_time(), leg.fork)

    def state_at_end(self, number: int, state: TrialState) -> TrialState:
        """What a running trial becomes that was told `state`: PAUSED instead of COMPLETE below the last rung."""
        if self.strategy is None or state != TrialState.COMPLETE:
            return state
        return self.strategy.state_at(self.table.resource(number))

    def charge_at_end(self, number: int, state: TrialState) -> int | None:
        """What the leg of a running trial has cost that becomes `state`; None if there are no legs.

        That is all of it; of a broken off one, as many units as it made reports, if it made any.
        """
        if self.strategy is None:
            return None
        leg = self.table.resource(number) - self.start_resource(number)
        if state in (TrialState.PRUNED, TrialState.FAILED):
            reported = self.table.reports.count_since(number, self.table.segments.open[number].reports)
            return min(leg, reported) if reported else leg
        return leg

    @property
    def committed(self) -> int:
        """What has been spent, and what the running trials will cost."""
        numbers = self.table.segments.open
        running = (self.table.resource(n) - self.start_resource(n) for n in numbers)
        return self.table.segments.spent + sum(running)

    # --- trials that wait

    def _ran_before(self, number: int) -> bool:
        """Whether a WAITING trial was running when the study was saved."""
        return not np.isnan(self.table.starts[number])

    def _leg_of_waiting(self) -> NextLeg | None:
        """What the first trial that waits is to do; None without a strategy, or if that has no place for it now."""
        if self.strategy is None:
            return None
        number = self.waiting[0]
        resource = self.table.resources[number]
        if resource == resource:  # the leg that was broken off
            return NextLeg(number, int(self.table.brackets[number]), int(resource))
        return self.strategy.new_leg()

    def _start_waiting(self, leg: NextLeg | None, budget: float) -> int | None:
        number = self.waiting[0]
        if leg is not None and self.charge(leg) > budget:
            return None
        again = leg is not None and leg.number is not None
        row = self.table.params[:, number]
        if not (self.table.space.is_open and self._ran_before(number)):  # then what it lacks was not suggested
            row = complete_row(self.table.space, row, self.sampler.seed, number)
        start = self._start_time()
        if again and self.table.segments.reached(number):
            start = float(self.table.starts[number])  # of its first leg
        self.history.asked_again(number, row, start, None if leg is None else self._segment(leg))
        if leg is not None and not again and self.strategy is not None:  # or the strategy knows of it
            self.strategy.on_start(leg, number)
        return number

    # --- new trials

    def _start_new(self, leg: NextLeg | None = None) -> int:
        row, draw = self._suggest()
        start = self._start_time()
        return self.history.asked(row, draw, start, None if leg is None else self._segment(leg))

    def _start_member(self, leg: NextLeg) -> int:
        """A new trial of a population; one that is begun from another one's weights gets a copy of them."""
        assert self.strategy is not None and leg.fork is not None
        row, draw = self.strategy.row(leg.fork), NO_DRAW
        if row is None and leg.fork.parent == NO_PARENT:
            row = self._start_of_earlier()
        if row is None:
            row, draw = self._draw(wraps=True)
            if not is_allowed(self.history.seen.space, row):
                row = self._of_prior(draw, 0)
        if leg.fork.parent != NO_PARENT:
            self.checkpoints.copy(leg.fork.parent, len(self.table), self.table.state(leg.fork.parent))
            if self.strategy.parents_run:  # until it was told, others may begin with the weights that it began with
                self.checkpoints.keep_as_paused(len(self.table))
        return self.history.asked(row, draw, self._start_time(), self._segment(leg))

    def _append_batch(self, n: int) -> IntArray:
        first = len(self.table)
        if self.history.seen.space.relations:
            self._append_allowed(first + n)
            return np.arange(first, len(self.table))
        while (left := first + n - len(self.table)) and len(draws := self._next_draws(left)):
            while len(draws):
                rows = self.sampler.suggest_batch(self.history.seen, draws)
                self.history.asked_many(self._full(rows), draws[: len(rows)], self._start_time())
                self.history.next_draw = int(draws[len(rows) - 1]) + 1
                draws = draws[len(rows) :]
        return np.arange(first, len(self.table))

    def _append_allowed(self, length: int) -> None:
        """Append trials until there are `length`, or no draw is left, where relations restrict the space.

        Suggestions are taken up to the first that breaks a relation, which is drawn anew as if it were asked for alone.
        """
        some, space = length, self.history.seen.space
        while (left := length - len(self.table)) and len(draws := self._next_draws(min(left, some))):
            rows = space.put_inside(self.sampler.suggest_batch(self.history.seen, draws))
            allowed = int(np.argmin(np.append(space.allows(rows), False)))
            if allowed:
                self.history.asked_many(self._full(rows[:allowed]), draws[:allowed], self._start_time())
                self.history.next_draw = int(draws[allowed - 1]) + 1
            if allowed == len(rows):
                some *= 2
                continue
            some = 2 * allowed + _FEW  # what comes behind the next one that breaks a relation is for nothing
            self.history.next_draw = int(draws[allowed])
            try:
                self._start_new()
            except SpaceExhausted:
                return

    def _next_draws(self, n: int) -> IntArray:
        """The next draws that are worth making: at most `n`, which is at least 1, and none only if none is left."""
        history, limit, ahead = self.history, self._limit, n
        if limit is None:
            return np.arange(history.next_draw, history.next_draw + n)
        while history.next_draw < limit:
            end = min(history.next_draw + ahead, limit)
            draws = self.sampler.untried(self.history.seen, np.arange(history.next_draw, end))
            if len(draws):
                return draws[:n]
            history.next_draw = end
            ahead = min(2 * ahead, max(n, _MOST_AHEAD))
        return np.empty(0, np.int64)

    @property
    def _tried(self) -> TriedPoints | None:
        """The points that the sampler is not to suggest again."""
        tried = self.history.seen.tried
        if (
            tried is None
            or (tried.is_exhausted and self._may_repeat)
            or (len(tried.continua) and (self.sampler.repeats or self._limit is not None))
        ):
            return None
        return tried

    @property
    def _has_model(self) -> bool:
        """Whether the sampler can make suggestions: not before a space that is learnt is known."""
        return self.history.projection is not None or not self.table.space.is_open

    @property
    def _may_repeat(self) -> bool:
        """Whether a space of which all points were suggested does not end the study: it is not known to be all."""
        return self.table.space.is_open and self.sampler.draw_limit(self.history.seen.space) is None

    def _full(self, rows: FloatArray) -> FloatArray:
        """Rows (n, d) of what the sampler sees as rows of the study's space."""
        return rows if self.history.projection is None else self.history.projection.full_rows(rows)

    def _is_exhausted(self) -> bool:
        if self._limit is not None:
            return not len(self._next_draws(1))
        if not self._has_model:
            return False
        tried, limit = self._tried, self.sampler.draw_limit(self.history.seen.space)
        return (tried is not None and tried.is_exhausted) or (limit is not None and self.history.next_draw >= limit)

    def _suggest(self) -> tuple[FloatArray, int]:
        """A row of the study's space, and the draw it came from; nothing in it before a space is known."""
        if not self._has_model:
            return np.full(len(self.table.space), np.nan), NO_DRAW
        start = self._start_of_earlier()
        row, draw = self._suggest_seen() if start is None else (start, NO_DRAW)
        return (row if self.history.projection is None else self._full(row[None])[0]), draw

    @property
    def _is_past_starts(self) -> bool:
        """Whether no further trial starts at an earlier study's point."""
        return self.history.seen.earlier is None or len(self.table) >= EVERY * COUNT

    def _start_of_earlier(self) -> FloatArray | None:
        """A good point of an earlier study, where the next trial is to start there, and that was not tried."""
        seen = self.history.seen
        if seen.earlier is None or not is_start(len(self.table)) or not can_start(self.sampler):
            return None
        if self._starts is None or self._starts.space is not seen.space:
            self._starts = EarlierStarts(seen.earlier, seen.space)
        return self._starts.row(seen, self.sampler.seed)

    def _suggest_seen(self) -> tuple[FloatArray, int]:
        """A row that was not tried before, where that can be said, and the draw it came from."""
        tried, space = self._tried, self.history.seen.space
        if tried is None and not space.relations:
            return self._draw()
        if tried is not None and tried.is_exhausted:
            raise SpaceExhausted(f"all {tried.cells.size} points of the search space have been suggested")
        allowed: FloatArray | None = None
        for _ in range(_REDRAWS):
            row, draw = self._draw()
            if not is_allowed(space, row):
                continue
            if tried is None or not tried.holds(row):
                return row, draw
            allowed = row
        if allowed is None:
            allowed = self._of_prior(draw, 0)
        if tried is None or tried.is_full or not tried.holds(allowed):
            return allowed, draw
        if tried.is_counted:
            cell = int(tried.cells.index(allowed[None, :])[0])
            return tried.cells.point(tried.next_untried(cell)), draw
        others = (self._of_prior(draw, attempt) for attempt in range(1, _REDRAWS))
        return next((row for row in others if not tried.holds(row)), allowed), draw

    def _of_prior(self, draw: int, attempt: int) -> FloatArray:
        """A row (d,) of the prior that the relations allow, where the sampler's own break them or were tried."""
        seed, draws = self.sampler.seed, np.array([draw ^ attempt << 26])
        unit = uniforms(seed, draws, _PRIOR_STREAM, len(self.history.seen.space))
        row: FloatArray = prior_rows(self.history.seen.space, unit, seed, draws)[0]
        return row

    def _draw(self, wraps: bool = False) -> tuple[FloatArray, int]:
        """A row of the sampler's, inside bounds that depend on others, and the draw it came from.

        With `wraps` a sampler whose draws end begins anew.
        """
        if not wraps and self._limit is not None and len(draws := self._next_draws(1)):
            self.history.next_draw = int(draws[0])
        draw = self.history.next_draw
        seen = self.history.seen
        limit = self.sampler.draw_limit(seen.space) if wraps else None
        suggestion = self.sampler.suggest(seen, draw if limit is None else draw % limit)
        row = suggestion if isinstance(suggestion, np.ndarray) else seen.space.encode(suggestion, only_allowed=False)
        self.history.next_draw = draw + 1
        return seen.space.put_inside(row[None, :])[0], draw
