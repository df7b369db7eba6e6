"""What a study is made of while it lives, and calls that change it: each is done wholly or not at all.

A call that is broken off, by Ctrl-C, a signal handler that raises or an error, leaves the study as it was before the
call, or as the call has changed it. What was begun is taken back (see `Savepoint`), and whoever follows the history
takes it up anew, as if the study had been loaded.
"""

from __future__ import annotations

import sys
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from fasthpo.errors import FastHPOError, StorageError, StudyBusy, StudyClosed, StudyReadOnly
from fasthpo.samplers.base import Sampler
from fasthpo.storage.store import ClosedStore, MemoryStore, Store
from fasthpo.storage.weights import Checkpoints
from fasthpo.strategies.base import Strategy
from fasthpo.study.asking import AskedParameters
from fasthpo.study.followers import Followers
from fasthpo.study.learning import is_due, learn, project
from fasthpo.study.scheduler import Scheduler
from fasthpo.system.forked import in_forked
from fasthpo.trials.history import History
from fasthpo.trials.rebuilding import settled

# where a call stands that changes the study
IDLE = 0  # there is none
CHANGING = 1  # the history, and what follows it
WRITING = 2  # in memory all is done
REPORTING = 3  # a report is being added
_CALLS = frozenset(
    ("ask", "ask_for", "ask_within", "ask_batch", "enqueue", "suggest", "report", "should_prune", "tell", "tell_batch",
     "add_trials", "set_attribute", "set_trial_attribute", "keep_checkpoints", "keep_at", "pruner", "sync", "compact",
     "let_go")
)  # fmt: skip


class StudyState:
    """A study's history, who follows it, and where it is kept.

    Args:
        owner: the study, whose calls these are.
        history: its trials.
        sampler, strategy: its parts.
        followers: all who follow the history.
        checkpoints: its trials' weights.

    Attributes:
        lock: held by every call.
        scheduler: starts trials.
        store: where the study is kept.
        asked: what running trials have asked for, of a study that learns its space.
        stage: where the call stands that is under way, or that was broken off.
        is_torn: whether a call within the one under way was broken off.
        closes: whether the study is to be closed as soon as that call has ended.
        weights_left_in: where weights were copied to in vain, and could not be removed.
    """

    def __init__(
        self,
        owner: object,
        history: History,
        sampler: Sampler,
        strategy: Strategy | None,
        followers: Followers,
        checkpoints: Checkpoints,
    ) -> None:
        self.lock = threading.RLock()
        self.followers = followers
        self.checkpoints = checkpoints
        self.store: Store = MemoryStore()
        self.stage = IDLE
        self.asked = AskedParameters()
        self.is_torn = False
        self._owner = weakref.ref(owner)
        self._sampler = sampler
        self._strategy = strategy
        self.closes = False
        self._with_strategy: bool | None = None  # whether its strategy is still its own, while a break is made good
        self.weights_left_in: Path | None = None
        self._is_rolled_back = False  # in a forked process, where a call of another thread was taken back
        self.take_up(history)
        in_forked(self, StudyState._disown)

    def take_up(self, history: History, with_strategy: bool = True) -> None:
        """Go on with a history, and have all who follow it do so."""
        self.history = history
        self.table = history.table
        project(history, self._sampler.seed)
        self.scheduler = Scheduler(history, self._sampler, self._strategy, self.checkpoints)
        self.followers.attach(history, with_strategy)

    def learn(self, count: int) -> None:
        """Learn the space anew, if it is one that is learnt and there is something new.

        Within a call that asks for so many trials, before all else. If all of them wait already, nothing is learnt:
        those that were broken off when a study was killed are asked for once more than they would have been.
        """
        if not self.table.space.is_open or count <= len(self.history.waiting) or not is_due(self.history):
            return
        learn(self.history, self._sampler)
        self.history.begin()  # that stands, whatever becomes of the call
        project(self.history, self._sampler.seed)
        self.scheduler.look_again()
        self.followers.look_again(self.history)

    def keep_in(self, store: Store) -> None:
        """The study, as it is, is kept in a store from now on."""
        self.store = store
        store.attach(self.history)

    # --- in a process that was forked off

    def _disown(self) -> None:
        """The study can be read as it was, and is changed by the process from which this one was just forked only.

        What another thread was changing, which goes on there, is taken back. Nothing of the user's is called here, nor
        anything compiled. A call that this very thread is in goes on, and is refused at its end.
        """
        self.lock = threading.RLock()
        if self.store.refusal is None and self.store.directory is None:
            why = StudyReadOnly(
                "the study belongs to the process that this one was forked from; only that can change it. To go on "
                "with a copy here, write it with study.save(path), and take that up with Study.load(path)"
            )
            self.store = ClosedStore(why, may_move=True)
        is_changing = self.table.savepoint.extent is not None  # also while `refresh` takes up what is new
        if (self.stage == IDLE and not is_changing) or self._is_within_a_call(own=0):
            return
        if self.stage != WRITING:
            if is_changing:
                self.followers.sampler.withdraw()
            self._is_rolled_back = True
            self.history = self.scheduler.history = settled(self.history)
            self.table = self.scheduler.table = self.history.table
            self.scheduler.waiting = self.history.waiting
        self.is_torn, self.stage = False, IDLE

    def own(self) -> None:
        """From now on the study is this process's own: all follow the history that is left of it."""
        if self._is_rolled_back:
            self.break_off()
            self._is_rolled_back = False

    # --- calls; all with the lock held

    def change(self, moves: bool = False, notes_only: bool = False) -> Change:
        """A call that changes the study, as a context.

        Args:
            moves: the call moves the study to another place; then it does not matter what the one before can do.
            notes_only: the call changes no trials, and may be made by a sampler that is asked for one.

        Raises:
            TrialStateError, StudyClosed, StudyReadOnly, StudyBusy: on entering: it can't be changed.
        """
        return Change(self, moves, notes_only)

    def writing(self) -> Writing:
        """A call that writes what the study is, and changes nothing of it, as a context.

        Raises:
            StudyBusy: on entering: it can't be made in the middle of another call.
        """
        return Writing(self)

    def settle(self, own: int = 0) -> None:
        """Make good whatever a call that was broken off has left.

        Args:
            own: how many of `_CALLS` this is part of.

        Raises:
            StudyBusy: that call goes on: this is called by a signal handler, or by a part of the user's own, within it.
        """
        if self.stage != IDLE:
            if self._is_within_a_call(own):
                _refuse_within()
            self.break_off()
            self.close_if_wanted()

    def settled_history(self) -> History:
        """The history, without what a call has changed so far within which this one is made."""
        if self.stage != IDLE and self._is_within_a_call(own=0):
            return self.history if self.stage == WRITING else settled(self.history)
        self.settle()
        return self.history

    def _is_within_a_call(self, own: int) -> bool:
        """Whether this thread is in a call that changes the study, besides the `own` one that asks.

        The lock keeps other threads out, not what runs in the middle of a call: a signal handler, or a sampler.
        """
        frame, found = sys._getframe(1), 0
        owner = self._owner()
        while frame is not None and found <= own:
            if frame.f_code.co_name in _CALLS:
                caller = frame.f_locals.get("self")
                found += caller is owner or caller is self
            frame = frame.f_back  # type: ignore[assignment]
        return found > own

    def enter_within(self, notes_only: bool = False) -> int:
        """Where the call stands within which this one is made; IDLE if it was broken off, and is made good now.

        Args:
            notes_only: whether this one changes no trials.

        Raises:
            StudyBusy: this one can't be made now.
        """
        if not self._is_within_a_call(own=1):
            self.break_off()
            self.close_if_wanted()
            return IDLE
        is_complete = self.stage == CHANGING and self.table.savepoint.extent is None
        if not is_complete and not (notes_only and self.stage == CHANGING and self.history.is_untouched):
            _refuse_within()
        return self.stage

    def ended(self, numbers: list[int]) -> None:
        """Trials have ended or paused: that stands from here on, and all who follow the history hear of it."""
        self.followers.sampler.announce(numbers)
        self.history.commit()
        self.followers.on_end(numbers)

    def hand_over(self, strict: bool = False) -> None:
        """The change is complete in memory; have it written, if the study is kept."""
        self.stage = WRITING
        self.store.hand_over(strict, now=strict)
        if strict and self.checkpoints.has_due:
            self.checkpoints.clean()  # not before what makes weights useless has been written

    def leave(self, error: BaseException, outer: int) -> None:
        """A call does not come to its end that was made within another one, which stands at `outer`, if at all."""
        if outer == IDLE:
            self.break_off(error)
        else:  # so that one is broken off, too, whatever becomes of the error
            self.is_torn = True
            self.stage = outer
        self.close_if_wanted()

    def let_go(self) -> None:
        """Write everything and let others have the study's directory; the study goes on in memory."""
        with self.lock, self.writing():
            self.keep_in(self.store.release())

    def close(self) -> None:
        """Write everything and let others have the study, which can't be changed any more; see `Study.close`."""
        with self.lock:
            self.closes = self.stage != IDLE and self._is_within_a_call(own=0)
            if self.closes:
                return
            self.let_go()
            if self.store.refusal is None:
                self.keep_in(ClosedStore(StudyClosed("the study was closed; load it again to change it")))

    def close_if_wanted(self) -> None:
        """Called at the end of each call, in which a signal handler may have closed the study."""
        if self.closes and self.stage == IDLE:
            self.close()

    def break_off(self, error: BaseException | None = None) -> None:
        """A call does not come to its end: what it has begun is taken back; what was complete stands."""
        followers, store, savepoint = self.followers, self.store, self.table.savepoint
        if self.stage == WRITING:
            if not isinstance(error, StorageError):
                store.must_catch_up()
        elif not (isinstance(error, FastHPOError) and savepoint.extent is not None and self.history.is_untouched):
            if savepoint.extent is not None:
                followers.sampler.withdraw()
            elif isinstance(error, Exception):
                followers.sampler.skip_failed()
            if self._with_strategy is None:  # else a break came into this, too, and it may follow either table
                self._with_strategy = not followers.strategy.goes_elsewhere()
            history = settled(self.history)
            store.follow(history)
            self.take_up(history, self._with_strategy)
            self._with_strategy = None
            followers.sampler.forget()
            followers.sampler.observe_rest()
            followers.weights.recount()
        self.history.commit()
        if not isinstance(error, StorageError):
            self.stage = WRITING  # at once: the program may end now
            with suppress(FastHPOError):
                store.open()
                store.hand_over(strict=False)
        self.stage = IDLE


class Change:
    """See `StudyState.change`."""

    __slots__ = ("_moves", "_notes_only", "_outer", "_state")

    def __init__(self, state: StudyState, moves: bool, notes_only: bool) -> None:
        self._state = state
        self._moves = moves
        self._notes_only = notes_only
        self._outer = IDLE  # where the call stands within which this one is made

    def __enter__(self) -> None:
        state = self._state
        if state.stage != IDLE:
            self._outer = state.enter_within(self._notes_only)
        state.stage = CHANGING  # from here on no signal handler changes or closes it
        try:
            state.store.open(self._moves)
            if state.scheduler.strategy is not None:
                state.followers.strategy.check()
            if self._outer == IDLE or state.table.savepoint.extent is None:
                state.history.begin()
        except BaseException:  # nothing has changed
            if self._outer == IDLE:
                state.table.savepoint.extent = None
            state.stage = self._outer
            state.close_if_wanted()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        state = self._state
        if self._outer != IDLE:
            if error is None:
                state.stage = self._outer
            else:
                state.leave(error, self._outer)
            return
        try:
            if error is None and not state.is_torn:
                state.history.commit()
                state.stage = IDLE
            else:
                state.is_torn = False
                state.stage = state.stage if state.stage != IDLE else CHANGING
                state.break_off(error)
        except BaseException as late:  # a signal handler's
            if state.stage != IDLE:
                state.break_off(late)
            raise
        finally:
            if state.closes:
                state.close_if_wanted()


class Writing:
    """See `StudyState.writing`."""

    __slots__ = ("_state",)

    def __init__(self, state: StudyState) -> None:
        self._state = state

    def __enter__(self) -> None:
        state = self._state
        state.settle(own=1)
        state.store.wait()  # others may have the lock meanwhile
        state.stage = WRITING

    def __exit__(self, *_: object) -> None:
        self._state.stage = IDLE
        self._state.close_if_wanted()


def _refuse_within() -> None:
    raise StudyBusy(
        "the study is in the middle of another call, from which this one was made: a signal handler may note "
        "something down for later, raise an exception, or call study.save(path)"
    )
