"""The hooks of a run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from fasthpo.system.headline import has_traceback, headline
from fasthpo.system.log import logger
from fasthpo.trials.trial import Trial

if TYPE_CHECKING:
    from fasthpo.tuner.config import TunerConfig
    from fasthpo.tuner.results import StudyStatistics


class HyperparameterCallback:
    """Told what happens in a run. Subclass it and override the hooks you need; the others do nothing.

    For each trial the order is `on_trial_start`, then `on_new_best` if it is the best so far, then one of
    `on_trial_complete`, `on_trial_pruned` and `on_trial_failed`. The trial has ended for good when any of these but
    the first is called. Under a multi-fidelity strategy a trial may pause instead (`on_trial_paused`), and start again
    later. A callback may call `tuner.stop()`. With several workers the calls for different trials mix; all of them come
    in the thread that called `optimize`.

    An exception in a callback ends the run: the trial keeps its result, files are written, and `optimize` raises it.

    Example:
        >>> class Printing(HyperparameterCallback):
        ...     def on_trial_complete(self, trial):
        ...         print(f"trial {trial.number} completed with value {trial.objective_value():.4f}")
    """

    def on_study_start(self, config: TunerConfig) -> None:
        """`optimize` begins."""

    def on_trial_start(self, trial: Trial) -> None:
        """The objective is about to be called with `trial`, for the first time or to go on (`trial.start_resource`)."""

    def on_new_best(self, trial: Trial, improvement: float) -> None:
        """`trial` is better than all before it, by `improvement` (positive; infinite for the first value).

        With several objectives: no trial before it is as good in all, so that it is on the front; `improvement` is
        infinite, as no number says by how much.
        """

    def on_trial_complete(self, trial: Trial) -> None:
        """`trial` has its value."""

    def on_trial_paused(self, trial: Trial) -> None:
        """`trial` has reached a rung below the last; it goes on later if it is among the best there."""

    def on_trial_retried(self, trial: Trial, error: str) -> None:
        """An attempt at `trial` has failed with `error`; it is tried again, under its number (`retries`)."""

    def on_trial_pruned(self, trial: Trial, reason: str) -> None:
        """`trial` was given up."""

    def on_trial_failed(self, trial: Trial, error: str) -> None:
        """`trial` has no usable value; `error` is a message, or a traceback where there is one.

        A traceback that does not end with the exception's message, because of notes for instance, stands below it.
        """

    def on_study_end(self, config: TunerConfig, statistics: StudyStatistics) -> None:
        """`optimize` ends, whatever the reason; files have been written."""


class LoggingCallback(HyperparameterCallback):
    """Writes what happens to the logger "fasthpo": failures as warnings, starts of trials for debugging, else info.

    Every tuner begins with one. Python shows warnings unless told otherwise; to see the rest, configure logging:
    `logging.basicConfig(level=logging.INFO)`. `tuner.remove_callback(LoggingCallback)` takes it out.

    Warnings that are equal but for numbers are said once in a run, and at its end how many more there were; at level
    DEBUG every one is said.
    """

    def on_study_start(self, config: TunerConfig) -> None:
        logger.info("study %s begins: %s, at most %s trials", config.study_name, ", ".join(config.directions),
                    "any number of" if config.max_trials is None else config.max_trials)  # fmt: skip

    def on_trial_start(self, trial: Trial) -> None:
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("trial %d begins with %s", trial.number, trial.params)

    def on_new_best(self, trial: Trial, improvement: float) -> None:
        if logger.isEnabledFor(logging.INFO):
            better = "" if improvement == float("inf") else f", better by {improvement:.6g}"
            logger.info("new best: trial %d with %s%s: %s", trial.number, _reached(trial), better, trial.params)

    def on_trial_complete(self, trial: Trial) -> None:
        if logger.isEnabledFor(logging.INFO):
            logger.info("trial %d completed with %s in %.3g s", trial.number, _reached(trial), trial.duration)

    def on_trial_paused(self, trial: Trial) -> None:
        if logger.isEnabledFor(logging.INFO):
            logger.info("trial %d pauses at resource %s with value %.6g", trial.number, trial.resource, trial.value)

    def on_trial_retried(self, trial: Trial, error: str) -> None:
        logger.warning("trial %d is tried again: %s", trial.number, headline(error))
        logger.debug("trial %d is tried again, as it failed with\n%s", trial.number, error)

    def on_trial_pruned(self, trial: Trial, reason: str) -> None:
        logger.info("trial %d pruned: %s", trial.number, headline(reason))

    def on_trial_failed(self, trial: Trial, error: str) -> None:
        line = headline(error)
        where = f"study.trials[{trial.number}].error"
        more = "" if line == error.strip() else f"; all of it is in {where}"
        if has_traceback(error):
            more = f"; its traceback is in {where}"
        logger.warning("trial %d failed: %s%s", trial.number, line or "no reason given", more)

    def on_study_end(self, config: TunerConfig, statistics: StudyStatistics) -> None:
        best = "best value none" if statistics.best_value is None else f"best value {statistics.best_value:.6g}"
        if statistics.front_trials is not None:
            best = f"{len(statistics.front_trials)} on the front"
        logger.info(
            "study %s ends: %d trials (%d complete, %d pruned, %d failed) in %.3g s, %s",
            config.study_name, statistics.total_trials, statistics.completed_trials, statistics.pruned_trials,
            statistics.failed_trials, statistics.total_duration, best,
        )  # fmt: skip


def _reached(trial: Trial) -> str:
    """A trial's value or values, and whether it breaks a constraint, as text."""
    values = [f"{value:.6g}" for value in trial.objective_values() or ()]
    breaks = any(one > 0 for one in trial.constraints or ())
    return f"value{'s' if len(values) > 1 else ''} {', '.join(values)}{', which breaks a constraint' if breaks else ''}"
