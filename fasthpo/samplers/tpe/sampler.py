"""TPE, the tree-structured Parzen estimator: look near good trials, and compare what is found there."""

from __future__ import annotations

import enum
import weakref
from itertools import takewhile
from typing import Any, ClassVar

import numpy as np

from fasthpo.errors import InvalidSearchSpace
from fasthpo.samplers.base import Sampler
from fasthpo.samplers.latin_hypercube import LatinHypercube
from fasthpo.samplers.tpe.model import Model
from fasthpo.space.prior import Priors
from fasthpo.space.search_space import SearchSpace
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray, IntArray, check_count, check_flag

_STARTUP_STREAM = 0
_ONE_FINISHED_OF = 4  # startup trials, before the model is used while others of them still run
_OWN_EVERY = 8  # draws: one of them is TPE's own choice, where the Gaussian process makes the others
_OWN_OF_FIDELITIES = 2  # the same, under a multi-fidelity strategy
_IMPROVEMENT_UNTIL, _IMPROVEMENT_EVERY = 30, 4  # draws: up to there all, later one of so many climbs the improvement
_BELIEF = 10.0  # what a prior's logarithm is multiplied by, divided by the draw
_BELIEF_UNTIL = 200  # draws
_BOUND_WITHOUT_COST = 2  # draws: one of them takes the bound as it is, whatever the candidates cost
_MORE_CANDIDATES = 1, 4, 16  # times as many, until relations allow enough of them
_STARTUP_WITH_EARLIER = 0.6  # of the startup trials, where a study also starts at points of earlier ones
_MOST_AT_ONCE = 1000  # suggestions; then Ctrl-C is heard
_MOST_STARTUP_TRIALS, _MOST_CANDIDATES = 100_000, 10_000  # which are drawn at once
_MOST_NUMBERS = 5_000_000  # the same, times the parameters; 100 MB and more
_RANDOM_WITHOUT_BELOW = 2  # draws: one of them is random while no trial has come to a finite value
_RANDOM_EVERY = 10  # draws: one of them is random under a multi-fidelity strategy


class _Choice(enum.Enum):
    """What the candidates of a suggestion are compared by."""

    DENSITIES = enum.auto()
    BOUND = enum.auto()  # the Gaussian process's upper confidence bound
    IMPROVEMENT = enum.auto()  # its expected improvement, which the best few climb


def _belief(draw: int) -> float:
    """What the logarithm of a prior's density is multiplied by; 0 from some draw on."""
    return _BELIEF / max(draw, 1) if draw < _BELIEF_UNTIL else 0.0


class TPESampler(Sampler):
    """Draws candidates where good trials are dense, and suggests the one of the highest score.

    The first `n_startup_trials` are a Latin hypercube. Then *below* are the best tenth of the finished
    trials, at most 25; *above* are the rest and all running trials. Candidates are drawn from a density l of below, in
    which a trial weighs as much as it is better than the best of above. They are compared in one of two ways.

    TPE's own way is to take the one with the highest log l - log g, g being the density of above, where all weigh
    alike. With `multivariate=False` that is all there is, and parameters are modelled each for itself.

    With `multivariate`, one suggestion in eight is made so, by densities whose kernels are products over the
    parameters. The others ask a Gaussian process, over the logarithms of the trials' distances to the best loss where a
    parameter is continuous and over their ranks elsewhere, for the mean and the standard deviation at each candidate,
    and take the one of the highest upper confidence bound: the mean plus three deviations (two, where trials fail). A
    third of its candidates have all parameters from the neighbourhood of one trial of below, a third combine those of
    several, and a third have half of their parameters from the best trial. It sees what densities can't: which
    parameters matter, how they act together, that a plateau is known already. Up to draw 30, and in one of four draws
    later, its candidates are compared by their expected improvement instead, and the best three are moved along the
    continuous parameters to where that is highest; not where trials fail or losses repeat, nor once the process is not
    fitted to all trials. TPE's own suggestions are there for
    objectives that no smooth function follows. The Gaussian process is fitted to the best 64 and the latest 64 trials.
    Once there are more, a deviation says less, as it may be due to trials that are left out, and counts by the share of
    the trials that it is fitted to.

    Complete trials are ordered by value, and pruned ones after them by how far they came. Failed trials, and those that
    came to no finite value, are the worst there is: they are never below, count in g, and share the last rank in the
    Gaussian process. While there are no others, every second suggestion is TPE's own, which keeps away from them, and
    every second one is random. A trial whose worker was lost (`infrastructure` in `Study.tell`) is left out. The
    Gaussian process ranks what a median or percentile pruner gave up by how many were better at that step. Running
    trials push later suggestions away from them, so that parallel asks spread. A conditional parameter is modelled over
    the trials in which it was active; in the joint l and g a trial without it counts with the prior. On a finite space
    the best candidate that was not tried is suggested.

    Where relations restrict the space, only allowed candidates are compared, of up to sixteen times as many. Those that
    the improvement is climbed from are also moved by random steps of all lengths, along the border of what is allowed.

    Under a multi-fidelity strategy this is the model of BOHB: it is made of the largest resource at which more trials
    than there are parameters were told a value. Above are all other trials, also those that never came so far. The
    Gaussian process is fitted to the trials of that resource only; as these are few, it makes every second suggestion,
    not seven of eight. Every tenth is random, so that a resource that misleads can't lead the search for ever. Under
    several objectives it is the same, with what follows.

    Under several objectives below are the first non-dominated layers, and there is a process for each objective, over
    the best 48 trials and the latest 48. A candidate is worth the hypervolume that its lower confidence bounds add to
    the front; some candidates are made from the best of the others by small steps. Trials that break constraints rank
    behind those that break none, and the worth is multiplied by the probability to break none.

    Where parameters have priors (`Prior`), the first trial is the guess, and every second one of the start is drawn
    from what is believed; the other half is as without. Then each candidate's score gets 10 / draw times the logarithm
    of the prior's density, up to draw 200, and a quarter of the candidates are drawn from the prior. How far the trials
    agree with a prior weighs it, from 0 to 1, each parameter by itself: twice the correlation of its logarithm with
    their order. Under several objectives priors lead the start only.

    The cost of an ask does not depend on the number of trials. To that end the joint g holds a random sample, of 2,048
    to 4,096 trials, once there are more than 4,096: an unbiased estimate of the sum over all. With `exact` it holds
    them all, and one suggestion in eight costs about 0.04 us a trial at 20 parameters.

    Args:
        n_startup_trials: finished trials before the model is used, 1 to 100,000. Their points are chosen together, to
            cover the range of each parameter evenly. Once so many were drawn, a quarter of them finished is enough:
            others may still run, or have been lost. Six tenths of them do where a study also starts at points of
            earlier ones (`learn_from`).
        n_ei_candidates: candidates an ask, 1 to 10,000; the Gaussian process compares three times as many. More are not
            better: they only sharpen the models' errors.
        multivariate: model parameters jointly, and compare candidates by a Gaussian process; else neither.
        seed: 0 to 2**64 - 1; None draws one.
        exact: hold all trials in the joint g, however many, instead of a sample of them.
        cost_aware: look for improvement per cost, as below; for one objective, and trials that are trained in full.

    With `cost_aware` a second Gaussian process learns the logarithm of what complete trials have cost (`Study.tell`; if
    none was told a cost, the seconds that they ran), from the latest 128. From each candidate's log l - log g, or else
    from the logarithm of its expected improvement, that of its expected cost is subtracted. The improvement takes the
    place of the bound in every second suggestion that would be the bound's; the others do not look at costs, nor does
    the start: what is best may be dear. `benchmarks/ABLATIONS.md` says what it brings.

    Raises:
        InvalidValue: an argument is not what it must be.

    References:
        Bergstra, Bardenet, Bengio, Kegl: Algorithms for hyper-parameter optimization. NeurIPS 2011.
        Watanabe: Tree-structured Parzen estimator. arXiv 2304.11127, 2023.
        Falkner, Klein, Hutter: BOHB: robust and efficient hyperparameter optimization at scale. ICML 2018.
        Jones, Schonlau, Welch: Efficient global optimization of expensive black-box functions. 1998 (the improvement).
        Hvarfner, Stoll, Souza, Lindauer, Hutter, Nardi: piBO: augmenting acquisition functions with user beliefs for
            Bayesian optimization. ICLR 2022, arXiv 2204.11051 (priors; their weight by agreement is ours).
        Ponweiser, Wagner, Biermann, Vincze: Multiobjective optimization on a limited budget of evaluations using
            model-assisted S-metric selection. PPSN 2008 (several objectives).
        Snoek, Larochelle, Adams: Practical Bayesian optimization of machine learning algorithms. NeurIPS 2012 (the
            improvement per cost).
        Srinivas, Krause, Kakade, Seeger: Gaussian process optimization in the bandit setting. ICML 2010 (the bound).

    Example:
        >>> import fasthpo
        >>> space = fasthpo.SearchSpace({"x": fasthpo.Continuous(-5.0, 5.0)})
        >>> study = fasthpo.Study(space, sampler=fasthpo.TPESampler(seed=0))
        >>> study.ask()["x"] <= 5.0
        True
    """

    name: ClassVar[str] = "tpe"
    _derived = ("_model", "_pruned_by_rank", "_failed")
    has_batches = True
    has_several_objectives = True

    def __init__(
        self,
        n_startup_trials: int = 10,
        n_ei_candidates: int = 24,
        multivariate: bool = True,
        seed: int | None = None,
        exact: bool = False,
        cost_aware: bool = False,
    ) -> None:
        super().__init__(seed)
        self.n_startup_trials = check_count("n_startup_trials", n_startup_trials, 1, _MOST_STARTUP_TRIALS)
        self.n_ei_candidates = check_count("n_ei_candidates", n_ei_candidates, 1, _MOST_CANDIDATES)
        self.multivariate = check_flag("multivariate", multivariate)
        self.exact = check_flag("exact", exact)
        self.cost_aware = check_flag("cost_aware", cost_aware)
        self._pruned_by_rank: weakref.WeakSet[TrialTable] | None = None  # tables whose pruner does so
        self.forget()

    def forget(self) -> None:
        self._startup = LatinHypercube(self.seed, _STARTUP_STREAM, self.n_startup_trials)
        self._model: Model | None = None
        self._failed: tuple[TrialTable, int, int] | None = None  # of a table, how many tells, and failures among them

    def heed_pruner(self, table: TrialTable, prunes_by_rank: bool) -> None:
        if self._pruned_by_rank is None:
            self._pruned_by_rank = weakref.WeakSet()
        if (table in self._pruned_by_rank) != prunes_by_rank:
            self._model = None  # it may be this table's, and ranks otherwise
        if prunes_by_rank:
            self._pruned_by_rank.add(table)
        else:
            self._pruned_by_rank.discard(table)

    def options(self) -> dict[str, Any]:
        options = {
            "n_startup_trials": self.n_startup_trials,
            "n_ei_candidates": self.n_ei_candidates,
            "multivariate": self.multivariate,
            "exact": self.exact,
            "seed": self.seed,
        }
        return {**options, "cost_aware": True} if self.cost_aware else options

    def check_space(self, space: SearchSpace) -> None:
        for name in ("n_startup_trials", "n_ei_candidates"):
            most = _MOST_NUMBERS // len(space)
            if getattr(self, name) > most:
                raise InvalidSearchSpace(
                    f"{name} must be at most {most} for a search space of {len(space)} parameters, got "
                    f"{name}={getattr(self, name)}"
                )

    def suggest(self, table: TrialTable, draw: int) -> FloatArray:
        model = self._ready_model(table, draw)
        if model is None:
            return self._startup.row(table.space, draw)
        n, choice = self.n_ei_candidates, self._choice(model, draw)
        if table.space.relations:
            return self._allowed(model, choice, draw)
        rows, scores = self._candidates(model, choice, draw, n)
        row = model.rounded(rows[int(scores.argmax())])
        if table.tried is None or not table.tried.holds(row):
            return row
        if choice is _Choice.DENSITIES:
            rows, scores = self._candidates(model, choice, draw, n, every=True)
        best_first = [model.rounded(rows[i]) for i in np.argsort(-scores, kind="stable")]
        return next((row for row in best_first if not table.tried.holds(row)), best_first[0])

    def _candidates(
        self, model: Model, choice: _Choice, draw: int, n: int, every: bool = False
    ) -> tuple[FloatArray, FloatArray]:
        """Candidates as rows (m, d) and their scores (m,): of the densities' all if `every`, else just the best's."""
        priors, weight = self._priors(model, draw)
        is_bound = choice is _Choice.BOUND
        per_cost = self.cost_aware and not (is_bound and (weight or draw % _BOUND_WITHOUT_COST == 0))
        if choice is _Choice.DENSITIES:
            exact = every or self.cost_aware or weight > 0
            found = model.density_candidates(self.seed, draw, n, self.multivariate, exact)
        elif is_bound and not per_cost:
            found = model.gaussian_process_candidates(self.seed, draw, n)
        else:
            found = model.improvement_candidates(self.seed, draw, n, moves=not is_bound)
        if priors is not None and choice is not _Choice.DENSITIES:
            found = model.led_candidates(self.seed, draw, *found, priors, by_improvement=not is_bound)
        return self._weighed(model, draw, *found, per_cost)

    @staticmethod
    def _priors(model: Model, draw: int) -> tuple[Priors | None, float]:
        """The priors of the space, and their weight, while that is above 0."""
        priors = model.table.space.priors
        weight = 0.0 if priors is None or model.table.objectives.count > 1 else _belief(draw)
        return (priors, weight) if weight else (None, 0.0)

    def _weighed(
        self, model: Model, draw: int, rows: FloatArray, scores: FloatArray, per_cost: bool
    ) -> tuple[FloatArray, FloatArray]:
        """Candidates (m, d) and their scores (m,), with what is believed of them, and what they are likely to cost."""
        priors, weight = self._priors(model, draw)
        if priors is not None:
            scores = scores + weight * (priors.logarithms(rows) @ model.agreement(priors))
        return model.per_cost(rows, scores) if per_cost else (rows, scores)

    def _allowed(self, model: Model, choice: _Choice, draw: int) -> FloatArray:
        """The best candidate that the relations allow, of more candidates where they allow few; else the prior's."""
        table = model.table
        space, n = table.space, self.n_ei_candidates
        climbs = choice is _Choice.IMPROVEMENT
        for more in _MORE_CANDIDATES:
            count = max(min(more * n, _MOST_CANDIDATES, _MOST_NUMBERS // len(space)), n)
            rows, scores = self._candidates(model, _Choice.BOUND if climbs else choice, draw, count, every=True)
            rows = model.rounded(rows)
            if climbs:  # which scores them anew
                rows = space.put_inside(rows)
            allowed = space.allows(rows)
            if allowed.sum() >= n:
                break
        if not allowed.any():
            rows = space.put_inside(rows)
            allowed = space.allows(rows)
        rows, scores = rows[allowed], scores[allowed]
        if climbs and len(rows):
            rows, scores = self._weighed(model, draw, *model.climbed(rows, self.seed, draw), self.cost_aware)
        best_first = rows[np.argsort(-scores, kind="stable")]
        tried = table.tried
        untried = best_first if tried is None else (row for row in best_first if not tried.holds(row))
        row: FloatArray
        for row in untried:
            return row
        row = best_first[0] if len(best_first) else self._startup.row(space, draw)
        return row

    def suggest_batch(self, table: TrialTable, draws: IntArray) -> FloatArray:
        first = int(draws[0])
        model = self._ready_model(table, first)
        if model is None or not model.has_below or table.space.relations:
            return self.suggest(table, first)[None]
        if self.cost_aware or (table.space.priors is not None and _belief(first)):
            return self.suggest(table, first)[None]
        if not self.multivariate:
            return model.independent_batch(self.seed, draws[:_MOST_AT_ONCE], self.n_ei_candidates)
        if self._choice(model, first) is _Choice.BOUND and table.objectives.count == 1:
            nexts = takewhile(lambda draw: self._choice(model, draw) is _Choice.BOUND, draws[:_OWN_EVERY].tolist())
            return model.gaussian_process_batch(self.seed, draws[: len(list(nexts))], self.n_ei_candidates)
        return self.suggest(table, first)[None]

    def _ready_model(self, table: TrialTable, draw: int) -> Model | None:
        """The model of all trials so far; None if the draw is to be a random one."""
        startup, told = self.n_startup_trials, self._told(table)
        if table.earlier is not None and table.objectives.count == 1 and not len(table.segments):
            startup = max(int(_STARTUP_WITH_EARLIER * startup), 1)
        has_begun = told >= startup or (draw >= startup and _ONE_FINISHED_OF * told >= startup)
        if not has_begun or (len(table.segments) and draw % _RANDOM_EVERY == 1):
            return None
        model = self._model  # of this table, whatever another study's thread puts there meanwhile
        if model is None or model.table is not table:
            self._model = model = Model(
                table, self.multivariate, self.exact, self._pruned_by_rank is not None and table in self._pruned_by_rank
            )
        model.catch_up()
        if not model.is_ready or (not model.has_below and draw % _RANDOM_WITHOUT_BELOW == 1):
            return None
        return model

    def _told(self, table: TrialTable) -> int:
        """How many trials have ended that say something; perhaps fewer if these are as many as startup trials."""
        counts, order = table.counts, table.tell_order
        told = counts[TrialState.COMPLETE] + counts[TrialState.PRUNED] + counts[TrialState.PAUSED]
        if told >= self.n_startup_trials or not counts[TrialState.FAILED]:
            return told
        known = self._failed
        looked_at, failures = (0, 0) if known is None or known[0] is not table or known[1] > len(order) else known[1:]
        new = order[looked_at:]
        new = new[table.states[new] == TrialState.FAILED]
        failures += len(new) - int(table.are_lost(new).sum())
        self._failed = table, len(order), failures
        return told + failures

    @staticmethod
    def _choice(model: Model, draw: int) -> _Choice:
        """How a draw's candidates are compared."""
        own_every = _OWN_OF_FIDELITIES if len(model.table.segments) else _OWN_EVERY
        if not model.multivariate or not model.has_below or draw % own_every == 0:
            return _Choice.DENSITIES
        if model.table.objectives.count > 1:
            return _Choice.BOUND
        improves = draw < _IMPROVEMENT_UNTIL or draw % _IMPROVEMENT_EVERY == 1
        if improves and not len(model.table.segments) and model.sees_slopes:
            return _Choice.IMPROVEMENT
        return _Choice.BOUND
