"""`FastSearchCV`: a search over an estimator's parameters by cross-validation, as scikit-learn's own are.

Its face is that of scikit-learn's `BaseSearchCV`, from which it inherits: prediction, scores, tags, routing, the layout
of `cv_results_` and the choice of the best. The loop is its own: the one that `BaseSearchCV` offers takes candidates in
batches and waits for the last fold of each, splits the data anew for each batch, and lays all results out again.
"""

from __future__ import annotations

import contextlib
import copy
import math
import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

try:
    import sklearn  # noqa: F401
except ImportError as error:
    from fasthpo.errors import MissingPackage

    raise MissingPackage("scikit-learn is not installed: pip install 'fasthpo[sklearn]'") from error

import joblib
import numpy as np
from sklearn.base import _fit_context, clone, is_classifier
from sklearn.metrics._scorer import _MultimetricScorer
from sklearn.model_selection import check_cv
from sklearn.model_selection._search import BaseSearchCV
from sklearn.model_selection._validation import _warn_or_raise_about_fit_failures
from sklearn.utils import check_random_state, indexable
from sklearn.utils.validation import _check_method_params

from fasthpo.errors import InvalidValue
from fasthpo.integrations.sklearn_candidates import Candidate, CandidateSearch, Plan
from fasthpo.integrations.sklearn_folds import Folds, open_workers
from fasthpo.integrations.sklearn_results import chosen, cv_results, scorer_names
from fasthpo.integrations.sklearn_space import EstimatorSpace
from fasthpo.pruners.base import Pruner
from fasthpo.samplers.auto import AutoSampler
from fasthpo.samplers.base import Sampler
from fasthpo.space.search_space import SearchSpace
from fasthpo.storage.directory import holds_study
from fasthpo.study.study import Study
from fasthpo.system.paths import absolute, given_path
from fasthpo.trials.metrics import MOST_METRICS
from fasthpo.trials.trial import TrialState
from fasthpo.tuner.progress import Progress
from fasthpo.values import as_number, check_count, shown

__all__ = ["FastSearchCV"]

_SEARCHED = "fasthpo.integrations.sklearn"  # the attribute in which a kept study says what was searched
_LARGEST_SEED = 2**31 - 1


class FastSearchCV(BaseSearchCV):  # type: ignore[misc]
    """Search over parameters of an estimator by cross-validation: takes the place of `RandomizedSearchCV`.

    Each candidate is suggested by what the ones before have come to. With a `pruner`, the mean score is reported after
    each fold, and a candidate that falls behind is not evaluated on the others: it has NaN there in `cv_results_`, no
    mean score, and can't be the best.

    A search is reproducible with `random_state` and one job. With several jobs, what is suggested depends on which
    fold ends first.

    Args:
        estimator: what is tuned: any estimator, or a pipeline, whose parameters are named `step__parameter`.
        space: a `SearchSpace`, or a mapping of names of parameters to what they may be:

            - `Continuous`, `LogUniform`, `Discrete`, `Categorical` or another kind, with conditions (`when`) if need
              be;
            - a list of choices, which may be anything: estimators and functions, too. Three numbers or more that rise
              or fall have an order. An estimator is called by the name of its class in conditions and in `study_`, if
              no other choice is of that class;
            - a frozen distribution of `scipy.stats`: `uniform`, `loguniform`, `randint` and `norm` as what they are,
              others with a `ppf` by their quantiles, from 0.0001 to 0.9999.

            Or a list of such mappings, of which each candidate takes one.
        trials: how many candidates are tried, pruned ones included; None: until `timeout`, or until a finite space has
            been tried wholly.
        timeout: seconds after which no further candidate begins; those that have begun are evaluated to the end.
        sampler: where to look next; by default `AutoSampler()`, seeded by `random_state`. Each `fit` takes a copy.
        pruner: when to give a candidate up; by default never. Steps are folds done, from 1. `WilcoxonPruner` is told
            the score of each fold, others the mean of the folds so far.
        path: a directory in which the search is kept. `fit` with the same estimator, data and folds goes on with what
            is there: after Ctrl-C or a crash, or with more `trials`. With other ones it raises.
        scoring: as of `GridSearchCV`. Of several metrics, that guides the search which `refit` names, else the first.
        n_jobs: how many folds are evaluated at the same time, in processes, or in threads within
            `joblib.parallel_config("threading")`; -1: one a core. With a pruner no two of one candidate.
        refit: as of `GridSearchCV`. A function is shown only candidates that were evaluated on all folds.
        cv: as of `GridSearchCV`; split once, so that all candidates have the same folds.
        random_state: the seed of the default sampler.
        verbose: 1 for a progress line on terminals and a summary, from 2 on also a line a fold, as `GridSearchCV` has.
        error_score: as of `GridSearchCV`. With NaN, the sampler takes a failed candidate for the worst, and with a
            pruner its other folds are left out.
        return_train_score: as of `GridSearchCV`.

    After `fit` there is `study_`, the `Study`, for plots and reports, whose trials are the candidates, and all that
    `GridSearchCV` has: `cv_results_`, `best_estimator_`, `best_score_`, `best_params_`, `best_index_`, `scorer_`,
    `n_splits_`, `refit_time_`, `multimetric_`, `classes_`, `n_features_in_` and `feature_names_in_`.

    Example:
        >>> import fasthpo
        >>> from fasthpo.integrations.sklearn import FastSearchCV
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.svm import SVC
        >>> X, y = load_iris(return_X_y=True)
        >>> space = {"C": fasthpo.LogUniform(1e-3, 1e3), "gamma": fasthpo.LogUniform(1e-4, 1e1)}
        >>> search = FastSearchCV(SVC(), space, trials=20, random_state=0).fit(X, y)
        >>> search.best_score_ > 0.95 and search.score(X, y) > 0.95
        True
    """

    # fasthpo's own arguments are checked by fasthpo
    _parameter_constraints = {  # noqa: RUF012  (as scikit-learn has it)
        **{name: rule for name, rule in BaseSearchCV._parameter_constraints.items() if name != "pre_dispatch"},
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any,
        space: SearchSpace | Mapping[str, Any],
        *,
        trials: int | None = 50,
        timeout: float | None = None,
        sampler: Sampler | None = None,
        pruner: Pruner | None = None,
        path: str | Path | None = None,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        random_state: Any = None,
        verbose: int = 0,
        error_score: Any = np.nan,
        return_train_score: bool = False,
    ) -> None:
        self.estimator = estimator
        self.space = space
        self.trials = trials
        self.timeout = timeout
        self.sampler = sampler
        self.pruner = pruner
        self.path = path
        self.scoring = scoring
        self.n_jobs = n_jobs
        self.refit = refit
        self.cv = cv
        self.random_state = random_state
        self.verbose = verbose
        self.error_score = error_score
        self.return_train_score = return_train_score

    @property
    def study_(self) -> Study:
        """The study, whose trials are the candidates; also after a `fit` that was broken off.

        With `path` it is closed: it can be read, and `fit` goes on with it.
        """
        study = self.__dict__.get("_study")
        if isinstance(study, bytes):  # of a search that was pickled
            with tempfile.TemporaryDirectory() as directory:
                file = Path(directory) / "study.msgpack"
                file.write_bytes(study)
                sampler, pruner = copy.deepcopy(self.sampler), copy.deepcopy(self.pruner)
                study = self._study = Study.load(file, sampler=sampler, pruner=pruner)
        if study is None:
            raise AttributeError(f"{type(self).__name__} has no study_ before fit")
        assert isinstance(study, Study)
        return study

    @property
    def set_callbacks(self) -> Any:
        """Not there, so that scikit-learn says that its callbacks are not called here."""
        raise AttributeError(f"{type(self).__name__} does not call scikit-learn's callbacks; see verbose and study_")

    def __sklearn_is_fitted__(self) -> bool:
        return "cv_results_" in vars(self)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if isinstance(study := state.get("_study"), Study):
            with tempfile.TemporaryDirectory() as directory:
                state["_study"] = study.save(Path(directory) / "study.msgpack").read_bytes()
        return state

    # --- fit

    @_fit_context(prefer_skip_nested_validation=False)  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Search, and fit the best candidate on all the data.

        Args:
            X: training data, of n samples.
            y: targets; None for unsupervised learning.
            **params: for the estimator's `fit`, the scorer, and the splitter (`groups`), as `GridSearchCV.fit` takes
                them, also with metadata routing.

        Raises:
            InvalidValue: an argument of the search is wrong, or `path` holds another search.
            InvalidSearchSpace: `space` is no search space, or the sampler can't work on it.
            ValueError: all fits failed, or an argument is not what scikit-learn expects.
            WorkersFailed: with `error_score="raise"`, a worker process died.
            StudyInUse: another process searches at `path`.
        """
        for name in [name for name in vars(self) if name.endswith("_") and not name.startswith("_")]:
            delattr(self, name)  # a search that breaks off has no results of an earlier one
        self.__dict__.pop("_study", None)
        scorers, refit_metric = self._get_scorers()
        X, y = indexable(X, y)
        params = _check_method_params(X, params=params)
        routed = self._get_routed_params_for_fit(params)
        splits = self._split(X, y, routed.splitter.split)
        folds = Folds(
            clone(self.estimator), X, y, splits,
            {
                "scorer": scorers, "fit_params": routed.estimator.fit, "score_params": routed.scorer.score,
                "return_train_score": self.return_train_score, "error_score": self.error_score,
                "verbose": self.verbose, "return_times": True,
            },
        )  # fmt: skip
        begin = time.monotonic()
        candidates = self._search(folds)
        _warn_or_raise_about_fit_failures(
            [result for candidate in candidates for result in candidate.evaluated], self.error_score
        )
        names = list(scorers._scorers) if isinstance(scorers, _MultimetricScorer) else scorer_names(candidates)
        self.multimetric_ = names is not None
        if callable(self.scoring) and names is not None:
            self._check_refit_for_multimetric(names)
            refit_metric = self.refit
        error_score = math.nan if self.error_score == "raise" else self.error_score
        self.cv_results_ = cv_results(self._format_results, candidates, names, error_score)
        self.scorer_ = scorers._scorers if isinstance(scorers, _MultimetricScorer) else scorers
        if self.refit or not self.multimetric_:
            self._choose(candidates, refit_metric)
        if self.refit:
            self._fit_best(X, y, routed.estimator.fit)
        if self.verbose > 0:
            print(self._summary(time.monotonic() - begin))
        return self

    def _split(self, X: Any, y: Any, options: Mapping[str, Any]) -> list[tuple[Any, Any]]:
        """The folds, the same for all candidates."""
        cv = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        self.n_splits_: int = cv.get_n_splits(X, y, **options)
        splits = list(cv.split(X, y, **options))
        if len(splits) != self.n_splits_:
            raise ValueError(
                "cv.split and cv.get_n_splits return inconsistent results. "
                f"Expected {self.n_splits_} splits, got {len(splits)}"
            )
        if not splits:
            raise ValueError("No fits were performed. Was the CV iterator empty?")
        return splits

    def _search(self, folds: Folds) -> list[Candidate]:
        trials = None if self.trials is None else check_count("trials", self.trials, 1)
        seconds = math.inf if self.timeout is None else as_number("timeout", self.timeout)
        if not seconds > 0:
            raise InvalidValue(f"timeout must be a positive number of seconds, got timeout={shown(self.timeout)}")
        if self.sampler is not None and self.random_state is not None:
            raise InvalidValue(
                f"random_state seeds the default sampler, but sampler={shown(self.sampler)} has a seed of its own: "
                "give one of them"
            )
        space = EstimatorSpace(self.space)
        with self._open_study(space.space, folds) as study:
            self._study = study
            ends = space.space.size is not None or study.sampler.draw_limit(space.space) is not None
            if trials is None and seconds == math.inf and not ends:
                raise InvalidValue(
                    "the search space is infinite, so the search would never end: give trials or timeout"
                )
            progress = Progress(type(self.estimator).__name__, study, trials, seconds) if self.verbose > 0 else None
            with contextlib.nullcontext() if progress is None else progress:
                plan = Plan(
                    space, len(folds.splits), trials, seconds, self._metric, self.error_score,
                    (lambda: None) if progress is None else progress.update,
                )  # fmt: skip
                search = CandidateSearch(study, plan)
                if self.verbose > 0:
                    print(self._announcement(trials, len(search.candidates)))
                missing = None if trials is None else max(trials - len(search.candidates), 0) * plan.folds
                with open_workers(folds, self.n_jobs, missing) as workers:
                    return search.run(workers)

    def _metric(self, names: Iterable[str]) -> str:
        """Which of several metrics guides the search."""
        listed = list(names)
        if callable(self.scoring):  # whose names are known only now
            self._check_refit_for_multimetric(listed)
        return self.refit if isinstance(self.refit, str) else listed[0]

    def _choose(self, candidates: list[Candidate], metric: str) -> None:
        if callable(self.refit):
            self.best_index_ = self._select_best_index(
                lambda results: chosen(self.refit, results, candidates), metric, self.cv_results_
            )
        else:
            self.best_index_ = self._select_best_index(self.refit, metric, self.cv_results_)
            self.best_score_ = self.cv_results_[f"mean_test_{metric}"][self.best_index_]
        self.best_params_ = self.cv_results_["params"][self.best_index_]

    def _fit_best(self, X: Any, y: Any, params: Mapping[str, Any]) -> None:
        # parameters are cloned, too, as they may be estimators
        self.best_estimator_ = clone(self.estimator).set_params(**clone(self.best_params_, safe=False))
        begin = time.time()
        if y is not None:
            self.best_estimator_.fit(X, y, **params)
        else:
            self.best_estimator_.fit(X, **params)
        self.refit_time_ = time.time() - begin
        if hasattr(self.best_estimator_, "feature_names_in_"):
            self.feature_names_in_ = self.best_estimator_.feature_names_in_

    # --- the study

    @contextlib.contextmanager
    def _open_study(self, space: SearchSpace, folds: Folds) -> Iterator[Study]:
        """The study, a new one or that of `path`, which is closed again when the block ends."""
        sampler, pruner = copy.deepcopy(self.sampler), copy.deepcopy(self.pruner)
        new = sampler
        if new is None:
            new = AutoSampler(int(check_random_state(self.random_state).randint(_LARGEST_SEED)))
        if self.path is None:
            yield Study(space, new, direction="maximize", pruner=pruner)
            return
        path = absolute(given_path("path", self.path))
        searched = self._searched(folds)
        if holds_study(path):
            looked_at = copy.deepcopy(sampler), copy.deepcopy(pruner)
            kept = Study.load(path, sampler=looked_at[0], pruner=looked_at[1], read_only=True)
            self._refuse_other(path, kept, space, searched)
            study = Study.load(path, sampler=sampler, pruner=pruner)
        else:
            study = Study(space, new, direction="maximize", pruner=pruner, storage=path)
        with study:
            if study.pruner is not None and pruner is None:
                study.pruner = None
            if _SEARCHED not in study.attributes:
                study.set_attribute(_SEARCHED, searched)
            yield study

    def _searched(self, folds: Folds) -> dict[str, str]:
        """What the candidates of a kept study have in common, by its name for people, as hashes."""
        names = _scorer_count(folds.options["scorer"])
        kept = len(folds.splits) * (2 + names * (2 if self.return_train_score else 1))
        if kept > MOST_METRICS:
            raise InvalidValue(
                f"with path, times and scores of all folds are kept, at most {MOST_METRICS} numbers a candidate, got "
                f"{kept} of {len(folds.splits)} folds and {names} metrics"
            )
        parameters = {name: _plainly(value) for name, value in sorted(folds.estimator.get_params().items())}
        metric = self.refit if isinstance(self.refit, str) else None
        return {
            "estimator": f"{type(folds.estimator).__qualname__}, {joblib.hash(parameters)}",
            "X": _hash(folds.X),
            "y": _hash(folds.y),
            "folds": _hash(list(folds.splits)),
            "parameters of fit": _hash([dict(folds.options["fit_params"]), dict(folds.options["score_params"])]),
            "scoring": f"{_plainly(self.scoring)}, {metric}",
        }

    def _refuse_other(self, path: Path, kept: Study, space: SearchSpace, searched: Mapping[str, str]) -> None:
        """Make sure that a kept study is of this very search.

        Raises:
            InvalidValue: it is not.
        """
        before = kept.attributes.get(_SEARCHED)
        other = "give FastSearchCV another path, or remove the directory"
        if before is None and len(kept) == 0 and kept.directions == ("maximize",):
            before = searched  # it broke off before that was noted
        if not isinstance(before, dict):
            raise InvalidValue(f"{path} holds a study that is not of FastSearchCV: {other}")
        differs = [name for name, value in searched.items() if before.get(name) != value]
        if kept.space != space:
            differs.append("space")
        if differs:
            hint = ""
            if differs == ["folds"]:
                hint = "; cv shuffles, so give it a random_state that is a number"
            raise InvalidValue(f"{path} holds another search, whose {', '.join(differs)} differ: {other}{hint}")

    # --- what is printed

    def _announcement(self, trials: int | None, known: int) -> str:
        most = "candidates" if trials is None else f"at most {trials} candidates"
        already = f", {known} of which are known" if known else ""
        return f"Fitting {self.n_splits_} folds for each of {most}{already}"

    def _summary(self, seconds: float) -> str:
        counts = self.study_.counts
        score = f", best score {self.best_score_:.6g}" if hasattr(self, "best_score_") else ""
        pruned, failed = counts[TrialState.PRUNED], counts[TrialState.FAILED]
        tried = len(self.cv_results_["params"])
        return f"{tried} candidates in {seconds:.3g} s, of which {pruned} were pruned and {failed} failed{score}"


def _scorer_count(scorer: Any) -> int:
    """How many scores a scorer gives, as far as that is known."""
    return len(scorer._scorers) if isinstance(scorer, _MultimetricScorer) else 1


def _hash(value: Any) -> str:
    try:
        return str(joblib.hash(value))
    except Exception:  # it can't be pickled
        return _plainly(value)


def _plainly(value: Any) -> str:
    """What a value looks like, the same whenever the program runs."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))
