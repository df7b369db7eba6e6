"""What every sampler is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from fasthpo.errors import InvalidValue
from fasthpo.space.parameter import Value
from fasthpo.space.search_space import SearchSpace
from fasthpo.trials.table import TrialTable
from fasthpo.values import FloatArray, IntArray, plain, shown


def check_seed(seed: int | None) -> int:
    """A seed of 64 bits; None draws one.

    Raises:
        InvalidValue: not an integer from 0 to 2**64 - 1.
    """
    if seed is None:
        return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
    seed = plain(seed)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**64:
        raise InvalidValue(f"seed must be None or an integer from 0 to 2**64 - 1, got seed={shown(seed)}")
    return seed


class Sampler(ABC):
    """Decides where to look next. Write your own by subclassing it with two methods, `suggest` and `observe`.

    A sampler's randomness must depend on (`self.seed`, `draw`) only; then a resumed study goes on exactly as one that
    was never stopped. `fasthpo.testing.check_sampler` says whether one of your own does what studies rely on.

    Args:
        seed: 0 to 2**64 - 1; None draws one and stores it as `self.seed`.

    Example:
        >>> import numpy as np, fasthpo
        >>> class Halves(fasthpo.Sampler):
        ...     def suggest(self, table, draw):
        ...         return {"x": np.random.default_rng([self.seed, draw]).integers(2) / 2}
        >>> study = fasthpo.Study(fasthpo.SearchSpace({"x": fasthpo.Continuous(0, 1)}), sampler=Halves(seed=0))
        >>> study.ask()["x"] in (0.0, 0.5)
        True
    """

    name: ClassVar[str | None] = None  # of a built-in sampler, for checkpoints
    has_batches: ClassVar[bool] = False  # whether `suggest_batch` can be called
    has_several_objectives: ClassVar[bool] = False  # whether it works where trials have several values each
    repeats: ClassVar[bool] = False  # in an infinite space, whether it may suggest one point of a finite part twice

    _derived: ClassVar[tuple[str, ...]] = ()  # attributes that follow from a study's trials; None in a copy

    def __init__(self, seed: int | None = None) -> None:
        self.seed = check_seed(seed)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, **dict.fromkeys(self._derived)}

    def check_space(self, space: SearchSpace) -> None:  # noqa: B027  (most samplers take any space)
        """Raise `InvalidSearchSpace` if the sampler can't work on `space`; called when a study is made."""

    @abstractmethod
    def suggest(self, table: TrialTable, draw: int) -> FloatArray | Mapping[str, Value]:
        """The next point to try: a mapping of all active parameters, or a row (d,) of column values.

        Args:
            table: the study's trials so far.
            draw: the index of this draw, from 0 on. A point that was tried already is drawn anew with the next index,
                if all of its active parameters have finitely many values.

        Raises:
            SpaceExhausted: the sampler has nothing left to suggest.
        """

    def observe(self, table: TrialTable, number: int) -> None:  # noqa: B027  (a stateless sampler needs none)
        """Called after trial `number` has ended, and again in the same order when a study is loaded."""

    def heed_pruner(self, table: TrialTable, prunes_by_rank: bool) -> None:  # noqa: B027  (most do not care)
        """Called when a study takes up `table`: whether its pruner gives up trials that rank low at their step."""

    def forget(self) -> None:  # noqa: B027  (what a sampler of the user's own keeps is its own business)
        """Called after a call was broken off, by Ctrl-C or an error: what is derived may be half done, and goes."""

    def suggest_batch(self, table: TrialTable, draws: IntArray) -> FloatArray:
        """Rows (k, d) for the first k of several draws, k at least 1: as many as are made at once.

        They are what `suggest` would give, were the table to get each row before the next is asked for.

        Args:
            table: the study's trials so far.
            draws: consecutive indices, at least one, int64 (n,).
        """
        raise TypeError(f"{type(self).__name__} makes one suggestion at a time")

    def options(self) -> dict[str, Any]:
        """The constructor's arguments, in plain values, from which a built-in sampler is made again."""
        return {"seed": self.seed}

    def untried(self, table: TrialTable, draws: IntArray) -> IntArray:
        """Those of several draws, int64 (n,), that are worth making: a grid leaves out points that are known already.

        It is asked only where there is a `draw_limit` and the space is infinite; on a finite one the table knows.
        """
        return draws

    def draw_limit(self, space: SearchSpace) -> int | None:
        """How many draws there are on `space`; None if there is no end."""
        return None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.options().items())})"
