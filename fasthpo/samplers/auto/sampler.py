"""Which of several samplers makes a suggestion: a model, CMA-ES where it goes further, a model of a single branch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from fasthpo.samplers.auto.account import Arm, account
from fasthpo.samplers.auto.branch_model import BranchModel
from fasthpo.samplers.auto.branches import Branch, Branches, branches_of
from fasthpo.samplers.base import Sampler
from fasthpo.samplers.cma_es.evolution import Evolution, Share
from fasthpo.samplers.encoding import encode_space
from fasthpo.samplers.tpe import TPESampler
from fasthpo.space.search_space import SearchSpace
from fasthpo.trials.table import NO_DRAW, TrialTable
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray, IntArray

_WAITING = int(TrialState.WAITING)
_EACH, _LEAST, _MOST = 20, 100, 200  # draws before CMA-ES begins: so many a parameter, within these bounds
_MODEL_EVERY = 8  # draws: one of them stays the model's; not one that TPE would make its own way
_LATER = (1000, 64), (10_000, 512)  # from so many draws on it is one of so many: each costs what 40 others do
_FIRST_WITH_CHOICES, _MODEL_EVERY_WITH_CHOICES = 500, 2  # the same where there are choices: the first draw, the share
_MOST_PARAMETERS = 200  # where CMA-ES takes part: its cost grows with the square of their number


class AutoSampler(Sampler):
    """One sampler for every space and any number of trials: it lets others suggest, by the first rule that holds.

    |   | Space or study | Draws, from 0 on | Who suggests |
    |---|---|---|---|
    | 1 | several objectives; a multi-fidelity strategy; finitely many points; `cost_aware` | all | `TPESampler` |
    | 2 | any | the first 10 | `TPESampler`: a Latin hypercube |
    | 3 | numbers, no conditions | from 20 d on (100 to 200) 7 of 8, see below | CMA-ES from the best |
    | 4 | also choices, no conditions | from 500 on: every second | CMA-ES, choices included |
    | 5 | choices that open branches | while one was tried less than twice: every second | a model of it |
    | 6 | the same | from 30 on: 1/8, rising to 1/4 in five trials without a better one | a model of another branch |
    | 7 | any | all others | `TPESampler` |

    Regret / that of 20 random trials, arithmetic mean / geometric mean over tasks, beside `TPESampler`'s:

    Rule 3: .038 / .00008 against .053 / .0027 on BBOB after 3,000 trials, .094 / .00002 against .287 / .0008 on real
    tasks. From draw 1,000 on CMA-ES makes 63 of 64, from 10,000 on 511 of 512: the model's cost as much as 40 of its.
    Rule 4: .046 / .0030 against .049 / .0043 on mixed functions after 1,000 trials; from draw 200 on it does harm.
    Rules 5 and 6: .318 / .071 against .371 / .100 after 100 trials, .251 / .055 against .322 / .089 after 300, when 1 %
    of 96 runs are worse than 20 random trials; with `TPESampler` 3 % are.

    In rule 6 that branch is, in one of four, the one that was tried least, else the one with the best trial.
    A parameter is a choice that opens branches if others depend on it and it is `Categorical` with at most 64 choices,
    and not itself under a range of a continuum; what has an order opens none, as near values are alike.
    Where several are, the one that is changed is drawn. A branch's model is TPE's: candidates from the density of that
    branch's best trials, compared by the Gaussian process of all trials while it holds all of them (128), later by one
    of the branch's own. How each figure was measured, and what was left out, is in `benchmarks/ABLATIONS.md`.

    So no sampler ever gets all suggestions of a long study, and none is left without. CMA-ES learns from other trials
    only if they are better than all of its present search. Failures count as the worst, as with its parts.

    What it knows is a function of the trials in the order of their tells: a study that was loaded goes on as if it had
    never stopped. A suggestion costs the same however many trials there are.

    Args:
        seed: 0 to 2**64 - 1; None draws one.
        cost_aware: look for improvement per cost, see `TPESampler`, which then makes all suggestions.

    Raises:
        InvalidValue: an argument is not what it must be.

    References:
        See `TPESampler` and `CmaEsSampler`.

    Example:
        >>> import fasthpo
        >>> space = fasthpo.SearchSpace({"x": fasthpo.Continuous(-5.0, 5.0), "y": fasthpo.Continuous(-5.0, 5.0)})
        >>> study = fasthpo.Study(space, sampler=fasthpo.AutoSampler(seed=0))
        >>> for _ in range(500):
        ...     trial = study.ask()
        ...     _ = study.tell(trial, (trial["x"] - 2) ** 2 + 100 * (trial["y"] + 1) ** 2)
        >>> study.best_value < 1e-9
        True
    """

    name: ClassVar[str] = "auto"
    has_batches = True
    has_several_objectives = True
    _derived = ("_evolution", "_branch_search", "_table", "_share")

    def __init__(self, seed: int | None = None, cost_aware: bool = False) -> None:
        super().__init__(seed)
        self._model = TPESampler(seed=self.seed, cost_aware=cost_aware)
        self.cost_aware = self._model.cost_aware
        self.forget()

    def options(self) -> dict[str, Any]:
        return {**super().options(), "cost_aware": True} if self.cost_aware else super().options()

    def forget(self) -> None:
        self._model.forget()
        # of one table each, and looked at once a call: another study's thread may put its own there meanwhile
        self._evolution: Evolution | None = None
        self._branch_search: BranchSearch | None = None
        self._table: TrialTable | None = None
        self._share: tuple[SearchSpace, Share | None] | None = None

    def heed_pruner(self, table: TrialTable, prunes_by_rank: bool) -> None:
        self._model.heed_pruner(table, prunes_by_rank)

    def check_space(self, space: SearchSpace) -> None:
        self._model.check_space(space)

    def suggest(self, table: TrialTable, draw: int) -> FloatArray:
        self._table = table
        if not self._is_models_own(table) and draw >= self._model.n_startup_trials:
            share = self._share_of(table.space)
            if share is not None and share.has(draw):
                return self._evolution_of(table, share).row(draw)
            if table.space.is_conditional:
                row = self._in_branch(table, draw)
                if row is not None:
                    return row
        return self._model.suggest(table, draw)

    def suggest_batch(self, table: TrialTable, draws: IntArray) -> FloatArray:
        self._table = table
        if table.objectives.count > 1 or self.cost_aware:
            return self._model.suggest_batch(table, draws)
        share = None if len(table.segments) else self._share_of(table.space)
        first = int(draws[0])
        if share is None:  # models of branches look at each trial that was asked for
            return self.suggest(table, first)[None]
        draws = draws[: share.alike(first)]
        if first < self._model.n_startup_trials or not share.has(first):
            return self._model.suggest_batch(table, draws)
        return self._evolution_of(table, share).rows(draws)

    def _share_of(self, space: SearchSpace) -> Share | None:
        """See `strategys_share`."""
        known = self._share
        if known is None or known[0] is not space:
            self._share = known = space, strategys_share(space)
        return known[1]

    def _evolution_of(self, table: TrialTable, share: Share) -> Evolution:
        """CMA-ES of this table."""
        evolution = self._evolution
        if evolution is None or not evolution.follows(table):
            self._evolution = evolution = Evolution(table, self.seed, None, None, share)
        return evolution

    def _in_branch(self, table: TrialTable, draw: int) -> FloatArray | None:
        """A row (d,) from the model of a branch; None if the draw is the whole space's model's."""
        search = self._branch_search
        if search is None or search.table is not table:
            self._branch_search = search = BranchSearch(table, self.seed)
        if not search.branches.records:
            return None
        search.catch_up()
        branch = search.branches.chosen(draw)
        if branch is None:
            return None
        model = self._model._ready_model(table, draw)
        common = None if model is None or not model.has_below else model._current_gaussian_process()
        return search.model(branch).suggest(draw, common)

    def summary(self, table: TrialTable | None = None) -> str:
        """What each of the samplers has brought, as text: suggestions, best value, and how often it improved the best.

        Nothing is stored of who suggested a trial: it follows from the trial's draw and, where there are branches, from
        the order of starts and ends. So with several workers, and clocks that were set, a few may be counted wrongly.

        Args:
            table: the trials; by default those of the study that was last asked.

        Example:
            >>> import fasthpo
            >>> sampler = fasthpo.AutoSampler(seed=0)
            >>> study = fasthpo.Study(fasthpo.SearchSpace({"x": fasthpo.Continuous(-5.0, 5.0)}), sampler=sampler)
            >>> for _ in range(12):
            ...     trial = study.ask()
            ...     _ = study.tell(trial, trial["x"] ** 2)
            >>> print(sampler.summary().splitlines()[0])
            AutoSampler: 12 trials
        """
        table = self._table if table is None else table
        if table is None:
            return "AutoSampler: no trials"
        return account(table, self.arms(table))

    def arms(self, table: TrialTable) -> list[Arm]:
        """Who suggested each trial."""
        is_models_own = self._is_models_own(table)
        share = None if is_models_own else strategys_share(table.space)
        startup = self._model.n_startup_trials
        in_branches = frozenset(() if is_models_own else _draws_in_branches(table, self.seed, startup))
        arms = []
        for draw in table.draws.tolist():
            if draw == NO_DRAW:
                arms.append(Arm.GIVEN)
            elif draw < self._model.n_startup_trials:
                arms.append(Arm.STARTUP)
            elif draw in in_branches:
                arms.append(Arm.BRANCH)
            elif share is not None and share.has(draw):
                arms.append(Arm.CMA_ES)
            else:
                arms.append(Arm.MODEL)
        return arms

    def _is_models_own(self, table: TrialTable) -> bool:
        """Whether all suggestions are the model's, whatever the space."""
        return self.cost_aware or len(table.segments) > 0 or table.objectives.count > 1


def strategys_share(space: SearchSpace) -> Share | None:
    """The draws that CMA-ES makes; None if it takes no part."""
    varying = [parameter for parameter in space.parameters if parameter.count != 1]
    if space.is_conditional or space.is_finite or len(varying) > _MOST_PARAMETERS:
        return None
    if not all(parameter.is_ordered for parameter in varying):
        return Share(((_FIRST_WITH_CHOICES, _MODEL_EVERY_WITH_CHOICES),))
    return Share(((min(max(_EACH * len(varying), _LEAST), _MOST), _MODEL_EVERY), *_LATER))


class BranchSearch:
    """The branches of one table's space with their models; a function of its trials and their order of tells."""

    def __init__(self, table: TrialTable, seed: int) -> None:
        self.table = table
        self.branches = Branches(table, seed)
        self._seed = seed
        self._encoded = encode_space(table.space)
        self._models: dict[Branch, BranchModel] = {}
        self._seen = 0
        self._told = 0
        self._waiting: list[int] = []

    def model(self, branch: Branch) -> BranchModel:
        """The model of a branch."""
        model = self._models.get(branch)
        if model is None:
            model = self._models[branch] = BranchModel(self.table, self._encoded, branch, self._seed)
        return model

    def catch_up(self) -> None:
        """Take in the trials asked for and told since the last call."""
        table, branches = self.table, self.branches
        asked = np.array([*self._waiting, *range(self._seen, len(table))], np.int64)
        self._seen = len(table)
        if len(asked):
            waits = table.states[asked] == _WAITING
            self._waiting = asked[waits].tolist()
            branches.take_asked(asked[~waits].tolist())
        order = table.tell_order
        for number in order[self._told :].tolist():
            told = branches.take_told(number)
            if told is not None:
                key, of = told
                for branch in of:
                    self.model(branch).add(key)
        self._told = len(order)


def _draws_in_branches(table: TrialTable, seed: int, startup: int) -> Iterator[int]:
    """The draws that models of branches made, so far as the order of starts and ends tells."""
    if not table.space.is_conditional or not branches_of(table.space):
        return
    branches = Branches(table, seed)
    order = table.tell_order
    ends = np.fmax.accumulate(np.nan_to_num(table.ends[order], nan=-np.inf)) if len(order) else np.empty(0)
    started = np.flatnonzero(table.states != _WAITING)
    place = np.full(len(table), len(order))
    place[order] = np.arange(len(order))
    starts = np.nan_to_num(table.starts, nan=-np.inf)
    told = 0
    for number in started[np.argsort(starts[started], kind="stable")].tolist():
        # not its own end, nor what was told after it
        known = min(int(np.searchsorted(ends, starts[number], side="right")), int(place[number]))
        for ended in order[told:known].tolist():
            branches.take_told(ended)
        told = max(told, known)
        draw = int(table.draws[number])
        if draw >= startup and branches.chosen(draw) is not None:
            yield draw
        branches.take_asked([number])
