"""The loop of `FastSearchCV`: asks a study for candidates, has their folds evaluated, reports and tells.

A worker takes a fold, not a candidate. Without a pruner the folds of a candidate run side by side, and the next one is
asked for when a worker would have nothing to do: so few candidates run at a time that what is suggested is nearly as
well informed as one after the other. With a pruner the folds of a candidate run in turn, as each may be the last.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass
from typing import Any

import numpy as np

from fasthpo.errors import SpaceExhausted, WorkersFailed
from fasthpo.integrations.sklearn_folds import FoldResult, Workers
from fasthpo.integrations.sklearn_space import EstimatorSpace
from fasthpo.pruners.base import Pruner
from fasthpo.pruners.wilcoxon import WilcoxonPruner
from fasthpo.study.study import Study
from fasthpo.system.headline import headline_of
from fasthpo.system.log import logger
from fasthpo.trials.metrics import MOST_METRICS
from fasthpo.trials.trial import TrialState

_WAIT = 0.5  # seconds that folds are waited for at a time: on Windows, Ctrl-C is not noticed meanwhile
_TIMES = ("fit_time", "score_time")
ONLY = "score"  # what scikit-learn calls the scores where there is one scorer
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)


class Candidate:
    """A trial and what its folds have come to.

    Attributes:
        number: of the trial.
        params: for `set_params`.
        results: of each fold; None where it was not evaluated.
        begun: how many folds have begun.
        running: how many are being evaluated.
        state: of the trial.
        reported: how many folds the study has been told of, in their order.
    """

    def __init__(self, number: int, params: Mapping[str, Any], folds: int) -> None:
        self.number = number
        self.params = dict(params)
        self.results: list[FoldResult | None] = [None] * folds
        self.begun = 0
        self.running = 0
        self.state = TrialState.RUNNING
        self.reported = 0

    @property
    def evaluated(self) -> list[FoldResult]:
        """The results that there are."""
        return [one for one in self.results if one is not None]


@dataclass(frozen=True)
class Plan:
    """How to search.

    Attributes:
        space: what the study's points mean.
        folds: how many a candidate has.
        trials: how many candidates there are to be; None: until something else ends the search.
        seconds: after which no further candidate begins.
        metric: which of several scores is searched by, given their names.
        error_score: of a fold that can't be fitted or scored; "raise" has been raised already.
        meanwhile: called each time that a fold has ended.
    """

    space: EstimatorSpace
    folds: int
    trials: int | None
    seconds: float
    metric: Callable[[Iterable[str]], str]
    error_score: float | str
    meanwhile: Callable[[], None]


class CandidateSearch:
    """Evaluates candidates of a study, those that it has first.

    Args:
        study: to be maximized.
        plan: how.
    """

    def __init__(self, study: Study, plan: Plan) -> None:
        self._study = study
        self._plan = plan
        self._in_turn = study.pruner is not None
        self._by_fold = study.pruner is not None and _compares_pairs(study.pruner)
        self._open: list[Candidate] = []  # that have folds left to begin
        self._futures: dict[Future[FoldResult], tuple[Candidate, int]] = {}
        self._broken: set[tuple[int, int]] = set()  # folds whose worker has died
        self._is_over = False  # no further candidate is asked for
        self._end = time.monotonic() + plan.seconds
        self.candidates = list(self._restored())

    # --- what a study has been told before

    def _restored(self) -> Iterator[Candidate]:
        study = self._study
        for number in np.flatnonzero(np.isin(study.states, _ENDED)).tolist():
            candidate = Candidate(number, self._plan.space.params(study.trial_params(number)), self._plan.folds)
            candidate.state = study.trial_state(number)
            metrics = study.trial_metrics(number)
            for fold in range(self._plan.folds):
                if f"split{fold}_fit_time" in metrics:
                    candidate.results[fold] = _fold_result(fold, metrics)
            yield candidate

    # --- the loop

    def run(self, workers: Workers) -> list[Candidate]:
        """Search to the end; all candidates, in the order in which they were asked for.

        Raises:
            WorkersFailed: a worker process died, and errors are to be raised.
        """
        while True:
            while len(self._futures) < workers.count and (work := self._next()) is not None:
                self._begin(workers, *work)
            if not self._futures:
                return sorted(self.candidates, key=lambda one: one.number)
            done, _ = wait(self._futures, _WAIT, FIRST_COMPLETED)
            for future in done:
                if future not in self._futures:
                    continue  # of a pool that has broken: it is tried again
                try:
                    result = future.result()
                except BrokenExecutor as error:
                    self._replace(workers, error)
                    continue
                self._settle(*self._futures.pop(future), result)
            self._plan.meanwhile()

    def _next(self) -> tuple[Candidate, int] | None:
        """A fold to evaluate."""
        for candidate in self._open:
            if not (self._in_turn and candidate.running):
                return candidate, candidate.begun
        asked = self._ask()
        return None if asked is None else (asked, 0)

    def _ask(self) -> Candidate | None:
        plan, count = self._plan, len(self.candidates)
        if self._is_over or (plan.trials is not None and count >= plan.trials):
            return None
        if count and time.monotonic() >= self._end:
            return None
        try:
            trial = self._study.ask()
        except SpaceExhausted as end:
            logger.info("the search ends: %s", end)
            self._is_over = True
            return None
        candidate = Candidate(trial.number, plan.space.params(trial.params), plan.folds)
        self.candidates.append(candidate)
        self._open.append(candidate)
        return candidate

    def _begin(self, workers: Workers, candidate: Candidate, fold: int) -> None:
        candidate.begun += 1
        candidate.running += 1
        if candidate.begun == len(candidate.results):
            self._open.remove(candidate)
        self._submit(workers, candidate, fold)

    def _submit(self, workers: Workers, candidate: Candidate, fold: int) -> None:
        future = workers.submit(candidate.params, fold, (candidate.number, self._plan.trials or candidate.number + 1))
        self._futures[future] = (candidate, fold)

    def _replace(self, workers: Workers, error: BrokenExecutor) -> None:
        """A process was killed, or has crashed, and all others are gone with it: each fold is tried once more."""
        text = f"a worker process died, killed (out of memory?) or by a crash: {headline_of(error)}"
        lost = list(self._futures.values())
        self._futures.clear()
        if self._plan.error_score == "raise":
            raise WorkersFailed(text) from error
        logger.warning("%s; what was running is tried once more", text)
        workers.renew()
        for candidate, fold in lost:
            if candidate.state != TrialState.RUNNING:
                continue  # another of its folds has ended it
            if (candidate.number, fold) in self._broken:
                self._give_up(candidate, text)
            else:
                self._broken.add((candidate.number, fold))
                self._submit(workers, candidate, fold)

    # --- how folds and candidates end

    def _settle(self, candidate: Candidate, fold: int, result: FoldResult) -> None:
        candidate.results[fold] = result
        candidate.running -= 1
        self._report(candidate)
        if candidate.reported == len(candidate.results):
            self._tell(candidate)
        elif self._in_turn:
            self._look_whether_it_goes_on(candidate)

    def _give_up(self, candidate: Candidate, error: str) -> None:
        """End a candidate of which processes die: none of its folds is tried again."""
        if candidate in self._open:
            self._open.remove(candidate)
        for future in [future for future, (one, _) in self._futures.items() if one is candidate]:
            del self._futures[future]
        score = self._plan.error_score
        failed = {"test_scores": score, "train_scores": score, "fit_time": 0.0, "score_time": 0.0, "fit_error": error}
        candidate.results = [failed if result is None else result for result in candidate.results]
        self._tell(candidate)

    def _report(self, candidate: Candidate) -> None:
        """Tell the study of the folds that have been evaluated, as far as none before them is missing."""
        scores: list[float] = []
        for result in candidate.results:
            if result is None:
                return
            scores.append(self._score(result))
            if len(scores) > candidate.reported:
                candidate.reported += 1
                value = scores[-1] if self._by_fold else float(np.mean(scores))
                if not math.isnan(value):
                    self._study.report(candidate.number, value, len(scores))

    def _look_whether_it_goes_on(self, candidate: Candidate) -> None:
        """End a candidate before its last fold, if the pruner says so, or if its mean can't be a number any more."""
        if math.isnan(self._score(candidate.evaluated[-1])):
            self._tell(candidate)
        elif self._study.should_prune(candidate.number):
            self._tell(candidate, TrialState.PRUNED)
        else:
            return
        self._open.remove(candidate)

    def _tell(self, candidate: Candidate, state: TrialState | None = None) -> None:
        scores = [self._score(one) for one in candidate.evaluated]
        metrics = fold_metrics(candidate.results)
        if len(metrics) > MOST_METRICS:
            metrics = {}
        mean = float(np.mean(scores))
        if state is None and math.isnan(mean):
            errors = [one["fit_error"] for one in candidate.evaluated if one["fit_error"]]
            error = errors[0] if errors else "a score was NaN"
            state = TrialState.FAILED
            candidate.state = self._study.tell(candidate.number, state=state, error=error, metrics=metrics)
        else:
            candidate.state = self._study.tell(candidate.number, mean, state, metrics=metrics)

    def _score(self, result: FoldResult) -> float:
        """The score that is searched by."""
        scores = result["test_scores"]
        return float(scores[self._plan.metric(scores)] if isinstance(scores, dict) else scores)


def _compares_pairs(pruner: Pruner) -> bool:
    """Whether a pruner compares what trials have come to in one fold, so that it is not told means over several."""
    return isinstance(pruner, WilcoxonPruner) or any(
        isinstance(one, Pruner) and _compares_pairs(one) for one in pruner.options().values()
    )


# --- the results of folds as a trial's metrics, by the names that `cv_results_` has for them


def fold_metrics(results: Iterable[FoldResult | None]) -> dict[str, float]:
    """What is kept with a trial: the times of each fold that was evaluated, and its scores, but for NaN."""
    metrics: dict[str, float] = {}
    for fold, result in enumerate(results):
        if result is None:
            continue
        metrics |= {f"split{fold}_{name}": float(result[name]) for name in _TIMES}
        for kind in () if result["fit_error"] else ("test", "train"):
            scores = named_scores(result.get(f"{kind}_scores", {}))
            metrics |= {f"split{fold}_{kind}_{name}": float(score) for name, score in scores.items()}
    return {name: value for name, value in metrics.items() if not math.isnan(value)}


def _fold_result(fold: int, metrics: Mapping[str, float]) -> FoldResult:
    """A fold's result, of a trial's metrics; scores that are not there were none."""
    result: FoldResult = {name: metrics[f"split{fold}_{name}"] for name in _TIMES}
    for kind in ("test", "train"):
        head = f"split{fold}_{kind}_"
        result[f"{kind}_scores"] = {n.removeprefix(head): v for n, v in metrics.items() if n.startswith(head)}
    return {**result, "fit_error": None}


def named_scores(scores: Any) -> dict[str, float]:
    """Scores by the names of their scorers, also where there is only one."""
    return scores if isinstance(scores, dict) else {ONLY: scores}
