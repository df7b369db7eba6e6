"""The Wilcoxon pruner: a trial against the best one, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np

from fasthpo.errors import InvalidValue
from fasthpo.pruners.base import Pruner
from fasthpo.trials.reports import NONE
from fasthpo.trials.table import TrialTable
from fasthpo.values import FloatArray, IntArray, as_number, check_count, grow_unset

_FIRST_CAPACITY = 16
_MOST_CURVES = 4096  # kept at once: trials may be running, or paused, in any number


class _Curve:
    """A trial's losses in the order of their steps; `kernels` is `fasthpo.kernels.pruning.wilcoxon`."""

    __slots__ = ("count", "kernels", "losses", "steps")

    def __init__(self, table: TrialTable, number: int, kernels: Any) -> None:
        reports = table.reports.of(number)
        self.kernels = kernels
        self.count = len(reports)
        self.steps: IntArray = np.fromiter(reports, np.int64, self.count)
        self.losses = table.objectives.ranked_losses(np.fromiter(reports.values(), np.float64, self.count))

    def add(self, step: int, loss: float) -> None:
        if self.count == len(self.steps):
            capacity = max(_FIRST_CAPACITY, 2 * self.count)
            self.steps = grow_unset(self.steps, capacity)  # type: ignore[assignment]
            self.losses = grow_unset(self.losses, capacity)  # type: ignore[assignment]
        self.kernels.enter(self.steps, self.losses, self.count, step, loss)
        self.count += 1


class WilcoxonPruner(Pruner):
    """Prunes a trial that is significantly worse than the best one at the steps that both have reported.

    It is for steps that are evaluations of the same parameters on different parts of a problem, such as the folds of a
    cross-validation or the instances of a benchmark, in any order: a mean over the first of them is noisy, while the
    differences to the best trial on the same ones are less so.

    The values of the trial and of the best complete trial (`Study.best_trial`) at their common steps are compared in
    pairs by the signed-rank test of Wilcoxon 1945, doi 10.2307/3001968. The trial is pruned if its mean over the
    common steps is worse and p < `p_threshold`, one-sided. Up to 50 pairs without equal differences are judged by the
    exact distribution, others by the normal one. NaN ranks with the worst infinity. Optuna's pruner of the name
    compares the means over all steps of both trials, and prunes no trial that has reported a NaN or an infinity.

    A question costs O(s log s) for a trial of s reports.

    Args:
        p_threshold: 0 to 1; the larger, the more is pruned.
        n_startup_steps: no pruning of a trial that has fewer steps in common with the best one.

    Raises:
        InvalidValue: an argument is out of its range.

    Example:
        >>> import fasthpo
        >>> study = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, pruner=fasthpo.WilcoxonPruner(p_threshold=0.1))
        >>> best, other = study.ask(), study.ask()
        >>> for fold, (loss, worse) in enumerate([(0.31, 0.36), (0.12, 0.14), (0.25, 0.28), (0.40, 0.41)]):
        ...     best.report(loss, fold)
        ...     other.report(worse, fold)
        >>> _ = study.tell(best, 0.27)
        >>> other.should_prune()  # worse on all of four folds: p = 1/16
        True
    """

    name = "wilcoxon"

    def __init__(self, p_threshold: float = 0.1, n_startup_steps: int = 2) -> None:
        threshold = as_number("p_threshold", p_threshold)
        if not 0 <= threshold <= 1:
            raise InvalidValue(f"p_threshold must be between 0 and 1, got p_threshold={threshold}")
        self.p_threshold = threshold
        self.n_startup_steps = check_count("n_startup_steps", n_startup_steps)
        self._tails: FloatArray | None = None
        self._forget()

    def _forget(self) -> None:
        self._curves: dict[int, _Curve] = {}  # of running trials that have reported
        self._best_number: int | None = None
        self._best: _Curve | None = None

    def attach(self, table: TrialTable) -> None:
        """Take up `table`; a trial's reports so far are read, once, when it reports or is asked about."""
        self._forget()

    def on_report(self, table: TrialTable, number: int, step: int, value: float) -> None:
        curve = self._curves.get(number)
        if curve is None:
            self._read(table, number)  # finds this report in the table
        else:
            curve.add(step, table.objectives.ranked_loss(value))

    def on_end(self, table: TrialTable, number: int) -> None:
        self._curves.pop(number, None)

    def _read(self, table: TrialTable, number: int) -> _Curve:
        from fasthpo.kernels.pruning import wilcoxon  # imports numba

        if len(self._curves) >= _MOST_CURVES:
            self._curves.clear()  # each is read again when it is needed
        self._curves[number] = curve = _Curve(table, number, wilcoxon)
        return curve

    def should_prune(self, table: TrialTable, number: int) -> bool:
        best = table.best_number
        if best is None or table.reports.latest(number) == NONE:
            return False
        curve = self._curves.get(number) or self._read(table, number)
        if self._best is None or self._best_number != best:
            self._best_number, self._best = best, _Curve(table, best, curve.kernels)
        if self._tails is None:
            self._tails = curve.kernels.exact_tails()
        return bool(
            curve.kernels.is_worse(
                curve.steps, curve.losses, curve.count, self._best.steps, self._best.losses,
                self._tails, self.n_startup_steps, self.p_threshold,
            )
        )  # fmt: skip

    def options(self) -> dict[str, Any]:
        return {"p_threshold": self.p_threshold, "n_startup_steps": self.n_startup_steps}
