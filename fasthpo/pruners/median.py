"""The median pruner."""

from __future__ import annotations

from typing import Any

from fasthpo.pruners.percentile import PercentilePruner, Pool


class MedianPruner(PercentilePruner):
    """Prunes a trial whose best value so far is worse than the median of the other trials' at the same step.

    This is `PercentilePruner(50)`, known as the median stopping rule: Golovin et al. 2017, Google Vizier
    (doi 10.1145/3097983.3098043), section 3.2.2, with best values in the place of running averages.

    Under several objectives it compares non-dominated layers, as described there.

    Args:
        n_startup_trials: no pruning before so many trials have ended.
        min_steps: no pruning while a trial's step is smaller.
        pool: "all" or "completed", as in `PercentilePruner`.

    Raises:
        InvalidValue: an argument is out of its range.

    Example:
        >>> import fasthpo
        >>> space = fasthpo.SearchSpace({"x": fasthpo.Continuous(0.0, 1.0)})
        >>> study = fasthpo.Study(space, sampler=fasthpo.RandomSampler(seed=0), pruner=fasthpo.MedianPruner())
        >>> def run(trial):
        ...     for step in range(3):
        ...         trial.report(trial["x"] / (step + 1), step)
        ...         if trial.should_prune():
        ...             return study.tell(trial, state=fasthpo.TrialState.PRUNED)
        ...     return study.tell(trial, trial["x"] / 3)
        >>> fasthpo.TrialState.PRUNED in [run(study.ask()) for _ in range(20)]
        True
    """

    name = "median"

    def __init__(self, n_startup_trials: int = 5, min_steps: int = 0, pool: Pool = "all") -> None:
        super().__init__(50.0, n_startup_trials, min_steps, pool)

    def options(self) -> dict[str, Any]:
        options = super().options()
        del options["percentile"]
        return options
