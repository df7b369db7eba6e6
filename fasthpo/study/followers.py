"""The parts that follow a study's history: its strategy, its pruner, its sampler, and its trials' weights.

Each has the same few methods. What they keep is derived from the history, so that they can take it up at any time. The
journal hears of the history's transitions itself (`fasthpo.trials.history.Recorder`), as it must miss none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from fasthpo.errors import TrialStateError
from fasthpo.pruners.base import Claim, Pruner
from fasthpo.samplers.base import Sampler
from fasthpo.storage.weights import Checkpoints
from fasthpo.strategies.base import Strategy
from fasthpo.system.log import logger
from fasthpo.trials.history import History
from fasthpo.trials.table import NO_BRACKET, TrialTable
from fasthpo.trials.trial import TrialState


class Follower:
    """Hears of what has happened, after it has."""

    def attach(self, history: History) -> None:
        """Forget everything and take up a history, which may already hold trials."""

    def check(self) -> None:
        """Called before anything changes; raises `TrialStateError` if the part follows another study by now."""

    def on_end(self, numbers: Sequence[int]) -> None:
        """Trials have ended or paused, in this order; that stands, whatever is raised here."""


class StrategyFollower(Follower):
    """Has a strategy hear of the trials that it started.

    Args:
        strategy: the study's; one that trains every trial in full follows nothing.
    """

    def __init__(self, strategy: Strategy | None) -> None:
        self._strategy = strategy if strategy is not None and strategy.is_multi_fidelity else None
        self._table: TrialTable | None = None
        self._retired: list[int] = []

    @property
    def follows_any(self) -> bool:
        """Whether there is a strategy that follows trials."""
        return self._strategy is not None

    def attach(self, history: History) -> None:
        self._table = history.table
        self._retired.clear()
        if self._strategy is not None:
            self._strategy.attach(history.table)

    def goes_elsewhere(self) -> bool:
        """Whether the strategy was given to another study since it was attached."""
        return self._strategy is not None and self._table is not None and not self._strategy.follows(self._table)

    def detach(self, history: History) -> None:
        """Another history takes the place of the one before, which the strategy does not follow."""
        self._table = history.table

    def check(self) -> None:
        if self.goes_elsewhere():
            raise TrialStateError(
                f"this study's {type(self._strategy).__name__} follows another study, to which it was given later: "
                "make a strategy of its own for each study"
            )

    def on_end(self, numbers: Sequence[int]) -> None:
        if self._strategy is None or self._table is None:
            return
        for number in numbers:
            if self._table.bracket(number) != NO_BRACKET:
                self._strategy.on_end(number)
                self._retired.extend(self._strategy.take_retired())

    def may_go_on(self, number: int) -> bool:
        """Whether a paused trial may still be promoted."""
        return self._strategy is None or self._strategy.may_go_on(number)

    def take_retired(self) -> list[int]:
        """The paused trials of which it has become certain, since the last call, that they will never go on."""
        retired, self._retired = self._retired, []
        return retired


class WeightsFollower(Follower):
    """Has the weights of trials go that are of no use any more.

    Args:
        checkpoints: where they are.
        strategy: knows which trials may go on.
    """

    def __init__(self, checkpoints: Checkpoints, strategy: StrategyFollower) -> None:
        self._checkpoints = checkpoints
        self._strategy = strategy
        self._table: TrialTable | None = None

    def attach(self, history: History) -> None:
        self._table = history.table

    def recount(self) -> None:
        """Find out anew whose weights may go."""
        assert self._table is not None
        self._checkpoints.recount(self._table, self._strategy.may_go_on)

    def on_end(self, numbers: Sequence[int]) -> None:
        if self._table is not None:
            self._checkpoints.after_end(self._table, numbers, self._strategy.take_retired())


class PrunerFollower(Follower):
    """Has a pruner hear of ends. Of reports, each of which costs two microseconds, the study tells it itself.

    Args:
        pruner: the study's; None: no trial is pruned.

    Attributes:
        pruner: the same, or one like it if that follows another study.
        claim: to it.
        has_shown: whether the objective reports, or it has turned out that it does not.
    """

    def __init__(self, pruner: Pruner | None) -> None:
        self.pruner = pruner
        self.claim = Claim()
        self._table: TrialTable | None = None
        self.has_shown = pruner is None

    def attach(self, history: History) -> None:
        self._table = history.table
        if self.pruner is not None and self.claim.lost is None:
            from fasthpo.pruners.claims import claimed

            self.pruner = claimed(self.pruner, self.claim)
            self.pruner.attach(history.table)

    def check(self) -> None:
        if self.claim.lost is not None:
            raise TrialStateError(
                f"this study's {type(self.claim.lost).__name__} follows another study, to which it was given later: "
                "make a pruner of its own for each study"
            )

    @property
    def prunes_by_rank(self) -> bool:
        """Whether trials are given up that rank low at their step."""
        if self.pruner is None:
            return False
        from fasthpo.pruners.claims import any_prunes_by_rank

        return any_prunes_by_rank(self.pruner)

    def replace(self, pruner: Pruner | None, history: History) -> None:
        """From now on another pruner follows the history, or none."""
        self.pruner = pruner
        self.claim = Claim()
        self.has_shown = pruner is None or len(history.table.reports) > 0
        self.attach(history)

    def on_end(self, numbers: Sequence[int]) -> None:
        table = self._table
        if self.pruner is None or table is None or self.claim.lost is not None:
            return
        for number in numbers:
            if table.state(number) != TrialState.PAUSED:
                self.pruner.on_end(table, number)

    def look_for_reports(self, numbers: Sequence[int]) -> None:
        """Warn of a pruner that hears of nothing; once, when the first trial that has run comes to its end."""
        table = self._table
        if self.has_shown or table is None:
            return
        for number in numbers:
            if table.state(number) in (TrialState.COMPLETE, TrialState.PAUSED):
                self.has_shown = True
                if not len(table.reports):
                    logger.warning(
                        "trial %d has ended, and no trial has reported a value, so that %s can't prune any: the "
                        "objective has to call trial.report(value, step), or to give its trial to what does, as "
                        "Trainer(..., trial=trial) does when it evaluates", number, type(self.pruner).__name__,
                    )  # fmt: skip
                return


class SamplerFollower(Follower):
    """Has a sampler observe trials that have ended, each once, and in their order.

    Args:
        sampler: the study's.

    Attributes:
        observes: whether it does anything of the kind.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self.observes = type(sampler).observe is not Sampler.observe
        self._table: TrialTable | None = None
        self._unobserved: deque[int] = deque()  # trials that have ended, of which the sampler is still to be told
        self._observing: int | None = None  # the one of which it is being told

    def attach(self, history: History) -> None:
        """Trials that have ended, and were not observed yet, still are to be."""
        self._table = history.seen
        self._observing = None

    def heed(self, prunes_by_rank: bool) -> None:
        """Tell the sampler how trials are pruned."""
        if self._table is not None:
            self._sampler.heed_pruner(self._table, prunes_by_rank)

    def announce(self, numbers: Sequence[int]) -> None:
        """Trials are about to end: if their end stands, they are to be observed, even if the call is broken off."""
        if self.observes:
            self._unobserved.extend(numbers)

    def withdraw(self) -> None:
        """What was announced does not stand."""
        self._unobserved.clear()

    def skip_failed(self) -> None:
        """The observation that is under way has raised an error of the sampler's own, and is not made again."""
        if self._observing is not None:
            self._unobserved.remove(self._observing)

    def forget(self) -> None:
        """A call was broken off: what the sampler derives may be half done."""
        self._sampler.forget()
        if self._forgets_observations():
            self._unobserved.clear()
            self.replay()

    def _forgets_observations(self) -> bool:
        """Whether the sampler's `forget` is of the class that observes, or of one derived from it."""
        classes = type(self._sampler).__mro__
        observes = next(i for i, one in enumerate(classes) if "observe" in one.__dict__)
        return any("forget" in one.__dict__ for one in classes[: observes + 1]) and classes[observes] is not Sampler

    def on_end(self, numbers: Sequence[int]) -> None:
        self.observe_rest()

    def observe_rest(self) -> None:
        """Tell the sampler of the trials that have ended."""
        while self._unobserved and self._table is not None:
            self._observing = self._unobserved[0]
            self._sampler.observe(self._table, self._observing)
            self._unobserved.popleft()
        self._observing = None

    def replay(self) -> None:
        """Tell the sampler of all that has happened, in order."""
        table = self._table
        if self.observes and table is not None:
            order = table.segments.column("trial") if len(table.segments) else table.tell_order
            for number in order.tolist():
                self._sampler.observe(table, number)


class Followers:
    """All who follow one study.

    Args:
        sampler, strategy, pruner: the study's parts.
        checkpoints: its trials' weights.
    """

    def __init__(
        self, sampler: Sampler, strategy: Strategy | None, pruner: Pruner | None, checkpoints: Checkpoints
    ) -> None:
        self.strategy = StrategyFollower(strategy)
        self.weights = WeightsFollower(checkpoints, self.strategy)
        self.pruner = PrunerFollower(pruner)
        self.sampler = SamplerFollower(sampler)
        # the pruner before the strategy, as that may be one of the user's own that asks it
        self._all: tuple[Follower, ...] = (self.pruner, self.strategy, self.weights, self.sampler)

    def attach(self, history: History, with_strategy: bool = True) -> None:
        """All take up a history; without the strategy, if that follows another study."""
        for follower in self._all:
            if follower is self.strategy and not with_strategy:
                self.strategy.detach(history)
            else:
                follower.attach(history)
        self.sampler.heed(self.pruner.prunes_by_rank)
        self._list_who_hears()

    def look_again(self, history: History) -> None:
        """The sampler takes up trials in a space that was learnt anew."""
        self.sampler.attach(history)
        self.sampler.heed(self.pruner.prunes_by_rank)
        self.sampler.forget()

    def _list_who_hears(self) -> None:
        """Those to whom an end matters, in the order in which they hear of it: each costs every tell a call."""
        strategy, pruner, sampler = self.strategy.follows_any, self.pruner.pruner is not None, self.sampler.observes
        candidates = ((self.strategy, strategy), (self.weights, True), (self.pruner, pruner), (self.sampler, sampler))
        self._hearing = tuple(follower.on_end for follower, hears in candidates if hears)

    def replace_pruner(self, pruner: Pruner | None, history: History) -> None:
        """Another pruner follows the history, or none."""
        self.pruner.replace(pruner, history)
        self.sampler.heed(self.pruner.prunes_by_rank)
        self._list_who_hears()

    def on_end(self, numbers: Sequence[int]) -> None:
        """All hear that trials have ended or paused."""
        for hear in self._hearing:
            hear(numbers)
