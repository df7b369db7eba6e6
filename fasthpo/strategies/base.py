"""What every strategy is: it decides which trial comes next and how far it goes."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from fasthpo.samplers.base import Sampler
from fasthpo.strategies.summary import RungStatistics
from fasthpo.trials.lineage import Fork
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray


class NextLeg(NamedTuple):
    """What comes next under a multi-fidelity strategy."""

    number: int | None  # a paused trial that goes on; None for a new one
    bracket: int
    resource: int  # to train to
    fork: Fork | None = None  # of a new trial of a population


class Strategy:
    """Which trial next, and how far; its sampler decides where.

    This base trains every trial in full. A multi-fidelity strategy also says how far (`is_multi_fidelity`): it is asked
    `next_leg` before a trial starts or goes on, and told `on_start` and `on_end`. What it keeps is derived from the
    table, so that a loaded study goes on as it would have. A strategy belongs to one study at a time.
    `fasthpo.testing.check_strategy` says whether one of your own does what studies rely on.

    Args:
        sampler: where new trials look.
    """

    name: ClassVar[str | None] = None  # of a built-in multi-fidelity strategy, for checkpoints
    is_multi_fidelity: ClassVar[bool] = False
    has_several_objectives: ClassVar[bool] = (
        False  # of a multi-fidelity strategy: whether trials may have several values
    )
    is_population: ClassVar[bool] = False  # new trials begin from the weights of others, and there is an end
    max_resource: int = 0  # of a multi-fidelity strategy
    resumable: bool = True  # a trial that goes on is trained from where it paused, not from its beginning

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler

    def attach(self, table: TrialTable) -> None:
        """Forget everything and take up `table`, which may already hold trials."""

    def follows(self, table: TrialTable) -> bool:
        """Whether `table` is the one that was attached last."""
        return True

    def next_leg(self, new: bool = True) -> NextLeg | None:
        """What comes next: a paused trial, or a new one.

        Args:
            new: whether new trials may start; if not, rungs go on with the trials that there are.

        Returns:
            None if no new trial may start, and no paused one can go on before a running one has ended. With `new` that
            may be only if `is_population`.
        """
        raise NotImplementedError(f"{type(self).__name__} trains every trial in full")

    def new_leg(self) -> NextLeg | None:
        """The first leg of a trial that starts whatever `next_leg` would say, such as an enqueued one.

        Returns:
            None if there is no place for one; only if `is_population`.
        """
        raise NotImplementedError(f"{type(self).__name__} trains every trial in full")

    def row(self, fork: Fork) -> FloatArray | None:
        """The parameters (d,) of a new trial of a population; None: the sampler suggests them."""
        return None

    @property
    def is_complete(self) -> bool:
        """Whether no trial will ever start or go on again, if nobody enqueues one."""
        return False

    @property
    def parents_run(self) -> bool:
        """Whether a trial may begin from weights of one that is already on its way from there."""
        return False

    def rung_statistics(self) -> list[RungStatistics]:
        """What has happened at each resource at which legs end; empty of a strategy that has none."""
        return []

    def on_start(self, leg: NextLeg, number: int) -> None:
        """Trial `number` runs; `leg` is what `next_leg` or `new_leg` said, its number filled in or not."""

    def state_at(self, resource: int) -> TrialState:
        """What a trial becomes that was told a value at `resource`: PAUSED, or COMPLETE at the last rung."""
        return TrialState.COMPLETE

    def on_end(self, number: int) -> None:
        """A trial's leg has ended; it is the trial's latest in the table."""

    def take_retired(self) -> list[int]:
        """The paused trials of which it has become certain, since the last call, that they will never go on."""
        return []

    def may_go_on(self, number: int) -> bool:
        """Whether a paused trial may still be promoted."""
        return True

    def summary(self) -> str:
        """What the strategy plans and what has happened so far, as text."""
        return f"{type(self).__name__}: every trial is trained in full"

    def options(self) -> dict[str, Any]:
        """The constructor's arguments but the sampler, in plain values, to make a built-in strategy again."""
        return {}

    def __repr__(self) -> str:
        options = {**self.options(), "sampler": self.sampler}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in options.items())})"
