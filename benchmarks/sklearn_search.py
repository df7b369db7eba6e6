"""`FastSearchCV` beside scikit-learn's `RandomizedSearchCV` and Optuna's `OptunaSearchCV`: what it costs and finds.

`python benchmarks/sklearn_search.py overhead [--trials 50,200,1000]`: milliseconds a candidate that are not spent in
the estimator, which has nothing to do, on two folds. `one by one` is a search that gives `BaseSearchCV`'s loop one
candidate at a time, as one that learns from each has to: the loop lays out all results for each, which is quadratic.

`python benchmarks/sklearn_search.py quality [--seeds 10] [--trials 30]`: the best mean score of five tasks on real
data, of equally many fits. `pruned` is `FastSearchCV` with a pruner, which has as many fits, and so more candidates.
Seeds are paired: each has folds of its own, the same for all searches. What is shown is the mean over the seeds and, in
brackets, the mean difference to `RandomizedSearchCV` in standard errors of it, and on how many seeds it was better and
worse.

All run with one job.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import optuna
import scipy.stats
from optuna.distributions import FloatDistribution, IntDistribution
from optuna_integration.sklearn import OptunaSearchCV
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import KFold, RandomizedSearchCV, StratifiedKFold
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

import fasthpo
from fasthpo import Continuous, Discrete, LogUniform
from fasthpo.integrations.sklearn import FastSearchCV

FOLDS = 5
MORE = 3  # as many candidates at most where some are pruned


class Idle(RegressorMixin, BaseEstimator):
    """Has nothing to do."""

    def __init__(self, a: float = 0.0, b: float = 0.0) -> None:
        self.a, self.b = a, b

    def fit(self, X: Any, y: Any) -> Idle:
        self.is_fitted_ = True
        return self

    def predict(self, X: Any) -> Any:
        return np.zeros(len(X))

    def score(self, X: Any, y: Any) -> float:
        return -((self.a - 0.3) ** 2) - (self.b - 0.7) ** 2


class OneByOne(BaseSearchCV):
    """Asks a study for each candidate, by the loop that scikit-learn offers."""

    def __init__(self, estimator: Any, space: Any, trials: int, seed: int, cv: Any) -> None:
        super().__init__(estimator, cv=cv, return_train_score=False)
        self.space, self.trials, self.seed = space, trials, seed

    def _run_search(self, evaluate_candidates: Callable[..., Any]) -> None:
        study = fasthpo.Study(self.space, fasthpo.AutoSampler(self.seed), direction="maximize")
        for _ in range(self.trials):
            trial = study.ask()
            study.tell(trial, evaluate_candidates([trial.params])["mean_test_score"][-1])


# --- the searches, all with one job: estimator, space, candidates, folds, seed


def randomized(estimator: Any, space: Any, trials: int, cv: Any, seed: int) -> Any:
    distributions = {name: as_scipy(one) for name, one in space.items()}
    return RandomizedSearchCV(estimator, distributions, n_iter=trials, cv=cv, random_state=seed)


def fast(estimator: Any, space: Any, trials: int, cv: Any, seed: int) -> Any:
    return FastSearchCV(estimator, space, trials=trials, cv=cv, random_state=seed)


def pruned(estimator: Any, space: Any, trials: int, cv: Any, seed: int) -> Any:
    return FastSearchCV(
        estimator, space, trials=MORE * trials, cv=cv, random_state=seed, pruner=fasthpo.MedianPruner()
    )  # fmt: skip


def optunas(estimator: Any, space: Any, trials: int, cv: Any, seed: int) -> Any:
    distributions = {name: as_optuna(one) for name, one in space.items()}
    return OptunaSearchCV(
        estimator, distributions, n_trials=trials, cv=cv, random_state=seed, study=None, verbose=0
    )  # fmt: skip


def one_by_one(estimator: Any, space: Any, trials: int, cv: Any, seed: int) -> Any:
    return OneByOne(estimator, space, trials, seed, cv)


def as_scipy(parameter: Any) -> Any:
    if isinstance(parameter, Discrete):
        return scipy.stats.randint(parameter.low, parameter.high + 1)
    if isinstance(parameter, LogUniform):
        return scipy.stats.loguniform(parameter.low, parameter.high)
    return scipy.stats.uniform(parameter.low, parameter.high - parameter.low)


def as_optuna(parameter: Any) -> Any:
    if isinstance(parameter, Discrete):
        return IntDistribution(parameter.low, parameter.high)
    return FloatDistribution(parameter.low, parameter.high, log=isinstance(parameter, LogUniform))


# --- the tasks


def tasks() -> Iterator[tuple[str, Any, dict[str, Any], Any, Any]]:
    """Name, estimator, space, and data of each."""
    svm = {"svc__C": LogUniform(1e-3, 1e4), "svc__gamma": LogUniform(1e-7, 1e2)}
    yield "breast cancer, SVC", make_pipeline(StandardScaler(), SVC()), svm, *load_breast_cancer(return_X_y=True)
    images, digits = load_digits(return_X_y=True)
    yield "digits (600), SVC", make_pipeline(StandardScaler(), SVC()), svm, images[:600], digits[:600]
    linear = {
        "sgdclassifier__alpha": LogUniform(1e-7, 1e1),
        "sgdclassifier__l1_ratio": Continuous(0.0, 1.0),
        "sgdclassifier__eta0": LogUniform(1e-5, 1e1),
        "sgdclassifier__power_t": Continuous(0.0, 1.0),
    }
    sgd = SGDClassifier(penalty="elasticnet", learning_rate="invscaling", max_iter=20, tol=None, random_state=0)
    yield "wine, SGD", make_pipeline(StandardScaler(), sgd), linear, *load_wine(return_X_y=True)
    regression = {
        "svr__C": LogUniform(1e-2, 1e5),
        "svr__gamma": LogUniform(1e-6, 1e1),
        "svr__epsilon": LogUniform(1e-2, 1e2),
    }
    yield "diabetes, SVR", make_pipeline(StandardScaler(), SVR()), regression, *load_diabetes(return_X_y=True)
    boosting = {
        "learning_rate": LogUniform(1e-3, 1.0),
        "n_estimators": Discrete(10, 120),
        "max_depth": Discrete(1, 6),
        "min_samples_leaf": Discrete(1, 60),
        "subsample": Continuous(0.3, 1.0),
    }
    yield "diabetes, boosting", GradientBoostingRegressor(random_state=0), boosting, *load_diabetes(return_X_y=True)


def best_score(search: Any, fits: int) -> float:
    """The best mean score that a search had reached after so many fits."""
    if not isinstance(search, FastSearchCV):
        return float(search.best_score_)
    done = np.cumsum([sum(not np.isnan(search.cv_results_[f"split{fold}_test_score"][i]) for fold in range(FOLDS))
                      for i in range(len(search.cv_results_["params"]))])  # fmt: skip
    return float(np.nanmax(search.cv_results_["mean_test_score"][done <= fits]))


# --- what is printed


def overhead(counts: list[int]) -> None:
    X, y = np.zeros((20, 1)), np.zeros(20)
    space = {"a": Continuous(0.0, 1.0), "b": Continuous(0.0, 1.0)}
    makers = {
        "RandomizedSearchCV": randomized, "FastSearchCV": fast, "OptunaSearchCV": optunas, "one by one": one_by_one,
    }  # fmt: skip
    print(f"| Milliseconds a candidate | {' | '.join(map(str, counts))} |\n|---|{'---|' * len(counts)}")
    for name, make in makers.items():
        make(Idle(), space, 15, KFold(2), 0).fit(X, y)  # kernels are loaded
        took = []
        for trials in counts:
            begin = time.perf_counter()
            make(Idle(), space, trials, KFold(2), 1).fit(X, y)
            took.append(1000 * (time.perf_counter() - begin) / trials)
        print(f"| {name} | {' | '.join(f'{one:.2f}' for one in took)} |", flush=True)


def quality(seeds: int, trials: int) -> None:
    makers = {"RandomizedSearchCV": randomized, "FastSearchCV": fast, "pruned": pruned, "OptunaSearchCV": optunas}
    print(f"| Task, {trials} x {FOLDS} fits | {' | '.join(makers)} |\n|---|{'---|' * len(makers)}")
    all_gains: dict[str, list[float]] = {name: [] for name in makers}
    for task, estimator, space, X, y in tasks():
        found: dict[str, list[float]] = {name: [] for name in makers}
        for seed in range(seeds):
            kind = KFold if "diabetes" in task else StratifiedKFold
            cv = kind(FOLDS, shuffle=True, random_state=seed)
            for name, make in makers.items():
                search = make(estimator, space, trials, cv, seed).set_params(refit=True)
                found[name].append(best_score(search.fit(X, y), trials * FOLDS))
        first = np.array(found["RandomizedSearchCV"])
        cells = [f"{first.mean():.4f}"]
        for name in list(makers)[1:]:
            gains = np.array(found[name]) - first
            error = gains.std(ddof=1) / np.sqrt(seeds) if seeds > 1 else np.nan
            all_gains[name].append(gains.mean() / error if error > 0 else np.nan)
            better, worse = int((gains > 0).sum()), int((gains < 0).sum())
            cells.append(f"{np.mean(found[name]):.4f} ({all_gains[name][-1]:+.1f}; {better} : {worse})")
        print(f"| {task} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["overhead", "quality"])
    parser.add_argument("--trials", default="")
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if args.what == "overhead":
        overhead([int(one) for one in (args.trials or "50,200,1000").split(",")])
    else:
        quality(args.seeds, int(args.trials or 30))


if __name__ == "__main__":
    main()
