"""What every pruner is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from fasthpo.trials.table import TrialTable


class Claim:
    """A study's claim to the pruners that follow its trials.

    Attributes:
        lost: one of them that was given to another study since.
    """

    lost: Pruner | None = None


class Pruner(ABC):
    """Decides when to give a running trial up. What it keeps is derived from the table.

    One that works on several objectives says so by `has_several_objectives = True`; then `value` may be (m,), and the
    table's values and reports (n, m), with NaN for what was not reported. Losses are `table.objectives.losses(values)`.

    A pruner belongs to one table at a time: `attach` is called before anything else, and again when a study is loaded.
    A built-in one may be given to several studies: each after the first makes itself one like it. One of your own
    follows the study that it was given to last, and the others refuse to go on; so it is with those that it asks, if
    they stand among its attributes, alone or in a list, tuple, set or dict. `fasthpo.testing.check_pruner` says whether
    one of your own does what studies rely on.
    """

    name: ClassVar[str | None] = None  # of a built-in pruner, for checkpoints
    has_several_objectives: bool = False  # whether it works where trials report several values at a step
    prunes_by_rank: bool = False  # whether it gives up trials that rank low, by best values, at their step

    def attach(self, table: TrialTable) -> None:  # noqa: B027  (a stateless pruner needs none)
        """Forget everything and take up `table`, which may already hold trials and reports."""

    def on_report(self, table: TrialTable, number: int, step: int, value: Any) -> None:  # noqa: B027
        """Called after a running trial's first report at `step`, a float; of several objectives (m,)."""

    def on_end(self, table: TrialTable, number: int) -> None:  # noqa: B027
        """Called after a trial has ended, not when it pauses; its state and value stand in the table."""

    @abstractmethod
    def should_prune(self, table: TrialTable, number: int) -> bool:
        """Whether the running trial `number` should end now."""

    def options(self) -> dict[str, Any]:
        """The constructor's arguments, from which a built-in pruner is made again: plain values, or pruners."""
        return {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.options().items())})"
