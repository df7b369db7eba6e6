"""`FastSearchCV` as a search of scikit-learn's: its checks, its results beside `GridSearchCV`'s, pruning, resuming."""

from __future__ import annotations

import copy
import pickle
import threading
from concurrent.futures import BrokenExecutor, Future
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.stats
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, cross_val_score, cross_validate
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import check_estimator

import fasthpo
from fasthpo import TrialState
from fasthpo.errors import InvalidSearchSpace, InvalidValue
from fasthpo.integrations.sklearn import FastSearchCV
from fasthpo.integrations.sklearn_candidates import CandidateSearch, Plan
from fasthpo.integrations.sklearn_space import EstimatorSpace

X, Y = load_iris(return_X_y=True)
SMOOTHING = {"var_smoothing": fasthpo.LogUniform(1e-9, 1e1)}


class Scripted(ClassifierMixin, BaseEstimator):
    """Has the score that it is given, less a bit for each fold; fails above 2."""

    fits: list[float] = []  # noqa: RUF012  (of all clones)
    interrupt_at: int | None = None

    def __init__(self, quality: float = 0.0) -> None:
        self.quality = quality

    def fit(self, X: Any, y: Any) -> Scripted:
        self.fits.append(self.quality)
        if len(self.fits) == self.interrupt_at:
            raise KeyboardInterrupt
        if self.quality > 2:
            raise RuntimeError("too good to be true")
        self.classes_ = np.unique(y)
        return self

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.classes_[0])

    def score(self, X: Any, y: Any) -> float:
        return self.quality


@pytest.fixture(autouse=True)
def no_fits() -> None:
    Scripted.fits, Scripted.interrupt_at = [], None


def scripted(choices: list[float], **options: Any) -> FastSearchCV:
    """Tries the qualities in their order, on 4 folds."""
    given = {"trials": None, "sampler": fasthpo.GridSampler(), "cv": 4, **options}
    return FastSearchCV(Scripted(), {"quality": choices}, **given)


def naive(**options: Any) -> FastSearchCV:
    return FastSearchCV(GaussianNB(), SMOOTHING, **{"trials": 4, "cv": 3, "random_state": 0, **options})


# --- the contract


@pytest.mark.filterwarnings("ignore")  # of numbers that some checks hand over
def test_scikit_learns_own_checks_pass() -> None:
    check_estimator(naive(trials=1, cv=2, error_score="raise"), on_skip=None)


@pytest.mark.parametrize(("scoring", "refit"), [("neg_log_loss", True), (["accuracy", "f1_macro"], "f1_macro")])
def test_a_grid_gives_what_grid_search_gives(scoring: Any, refit: Any) -> None:
    grid = [{"var_smoothing": [1e-9, 1e-2, 1.0]}, {"priors": [(0.2, 0.3, 0.5), None]}]
    options = {"scoring": scoring, "refit": refit, "cv": 3, "return_train_score": True}
    theirs = GridSearchCV(GaussianNB(), grid, **options).fit(X, Y)
    ours = FastSearchCV(GaussianNB(), grid, trials=None, sampler=fasthpo.GridSampler(), **options).fit(X, Y)
    assert list(ours.cv_results_) == list(theirs.cv_results_)
    order = [ours.cv_results_["params"].index(params) for params in theirs.cv_results_["params"]]
    for name, values in theirs.cv_results_.items():
        if name == "params" or "time" in name:
            continue
        assert ours.cv_results_[name].dtype == values.dtype, name
        np.testing.assert_array_equal(ours.cv_results_[name][order], values, name)
    assert ours.best_score_ == theirs.best_score_ == pytest.approx(ours.study_.best_value)
    assert ours.multimetric_ == theirs.multimetric_ and ours.n_splits_ == 3
    assert ours.score(X, Y) == theirs.score(X, Y)
    np.testing.assert_array_equal(ours.predict_proba(X), theirs.predict_proba(X))
    assert set(vars(theirs)) - set(vars(ours)) <= {"param_grid", "pre_dispatch", "_checked_cv_orig"}


def test_one_seed_gives_one_search_and_fit_begins_anew() -> None:
    one, other = naive(), naive()
    first = one.fit(X, Y).cv_results_["params"]
    assert other.fit(X, Y).cv_results_["params"] == first == one.fit(X, Y).cv_results_["params"]
    sampler = fasthpo.RandomSampler(3)
    drawn = [naive(sampler=sampler, random_state=None).fit(X, Y).cv_results_["params"] for _ in range(2)]
    assert drawn[0] == drawn[1] != first


def test_data_frames_labels_weights_and_groups_go_where_they_belong() -> None:
    frame, labels = pd.DataFrame(X, columns=list("abcd")), pd.Series(np.array(["x", "y", "z"])[Y])
    search = naive(cv=GroupKFold(3), scoring="accuracy")
    search.fit(frame, labels, groups=np.arange(len(X)) % 5, sample_weight=np.linspace(0, 1, len(X)))
    assert list(search.feature_names_in_) == list("abcd") and list(search.classes_) == ["x", "y", "z"]
    assert search.n_features_in_ == 4 and set(search.predict(frame)) <= {"x", "y", "z"}
    with sklearn.config_context(enable_metadata_routing=True):
        model = GaussianNB().set_fit_request(sample_weight=True).set_score_request(sample_weight=False)
        routed = FastSearchCV(model, SMOOTHING, trials=1, cv=GroupKFold(3))
        routed.fit(X, Y, groups=np.arange(len(X)) % 5, sample_weight=np.ones(len(X)))
        assert routed.n_splits_ == 3


def test_it_stands_in_pipelines_and_in_other_searches() -> None:
    pipeline = Pipeline([("scale", StandardScaler()), ("model", GaussianNB())])
    space = {
        "model": [GaussianNB(), SVC(), DecisionTreeClassifier(random_state=0)],
        "scale": ["passthrough", StandardScaler()],
        "model__var_smoothing": fasthpo.LogUniform(1e-9, 1e-2, when={"model": ["GaussianNB"]}),
        "model__C": fasthpo.LogUniform(1e-1, 1e1, when={"model": ["SVC"]}),
    }
    search = FastSearchCV(pipeline, space, trials=8, cv=2, random_state=0)
    found = cross_validate(search, X, Y, cv=2, return_estimator=True)
    assert min(found["test_score"]) > 0.85
    fitted = found["estimator"][0]
    slack = fitted.cv_results_["param_model__C"]
    assert slack.mask.tolist() == [not isinstance(one, SVC) for one in fitted.cv_results_["param_model"]]
    assert not slack.mask.all() and slack.mask.any()
    assert fitted.study_.best_params["model"] == type(fitted.best_params_["model"]).__name__
    assert fitted.best_estimator_.named_steps["model"] is not fitted.best_params_["model"]


def test_what_is_not_there_is_said_as_scikit_learn_says_it() -> None:
    with pytest.raises(NotFittedError):
        naive().predict(X)
    assert not hasattr(naive(), "study_") and not hasattr(naive(), "set_callbacks")
    search = naive(refit=False).fit(X, Y)
    assert search.best_params_ in search.cv_results_["params"]
    for name in ("predict", "best_estimator_", "classes_", "n_features_in_"):
        assert not hasattr(search, name)
    several = naive(scoring=["accuracy", "f1_macro"], refit=False).fit(X, Y)
    assert not hasattr(several, "best_index_") and len(several.study_) == 4
    assert several.study_.best_value == pytest.approx(max(several.cv_results_["mean_test_accuracy"]))
    with pytest.raises(ValueError, match="refit"):
        naive(scoring=lambda model, X, y: {"a": 1.0, "b": 2.0}).fit(X, Y)
    with pytest.raises(ValueError, match="Was the CV iterator empty"):
        naive(cv=iter(())).fit(X, Y)
    with pytest.raises(ValueError, match="Invalid parameter 'nothing'"):
        FastSearchCV(GaussianNB(), {"nothing": [1]}).fit(X, Y)


def test_a_fitted_search_is_pickled_copied_and_cloned() -> None:
    search = naive().fit(X, Y)
    for again in (pickle.loads(pickle.dumps(search)), copy.deepcopy(search)):
        np.testing.assert_array_equal(again.predict(X), search.predict(X))
        assert again.study_.best_params == search.study_.best_params
        assert pickle.loads(pickle.dumps(again)).study_.best_value == search.best_score_
    assert not hasattr(clone(search), "cv_results_")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"trials": 0}, "trials must be"),
        ({"trials": None}, "would never end"),
        ({"timeout": 0}, "timeout must be a positive"),
        ({"sampler": fasthpo.RandomSampler(0)}, "give one of them"),
        ({"pruner": "median"}, "pruner must be"),
        ({"cv": KFold(600), "path": "never"}, "at most 1000"),
    ],
)
def test_arguments_are_checked(wrong: dict[str, Any], message: str) -> None:
    many = np.tile(X, (5, 1)), np.tile(Y, 5)
    with pytest.raises(InvalidValue, match=message):
        naive(**wrong).fit(*many)


def test_the_search_ends_by_time_or_when_a_finite_space_is_tried() -> None:
    assert len(scripted([0.1, 0.2, 0.3]).fit(X, Y).cv_results_["params"]) == 3
    assert len(naive(trials=None, timeout=1e-9).fit(X, Y).cv_results_["params"]) == 1


# --- pruning and failures


def test_a_candidate_that_falls_behind_is_not_fitted_on_its_last_folds(capsys: pytest.CaptureFixture[str]) -> None:
    pruner = fasthpo.MedianPruner(n_startup_trials=2, min_steps=2)
    search = scripted([0.5, 0.6, 0.1, 0.9], pruner=pruner, verbose=1, return_train_score=True).fit(X, Y)
    assert Scripted.fits.count(0.1) == 2 and Scripted.fits.count(0.6) == 4
    results = search.cv_results_
    np.testing.assert_array_equal(results["split1_test_score"], [0.5, 0.6, 0.1, 0.9])
    np.testing.assert_array_equal(results["split2_test_score"], [0.5, 0.6, np.nan, 0.9])
    np.testing.assert_array_equal(results["mean_test_score"], [0.5, 0.6, np.nan, 0.9])
    np.testing.assert_array_equal(results["mean_train_score"], [0.5, 0.6, np.nan, 0.9])
    np.testing.assert_array_equal(results["rank_test_score"], [3, 2, 4, 1])
    assert np.isfinite(results["mean_fit_time"]).all() and search.best_index_ == 3
    assert search.study_.trials[2].state == TrialState.PRUNED
    assert search.study_.trials[2].reports == {1: 0.1, 2: 0.1}
    printed = capsys.readouterr().out
    assert "Fitting 4 folds for each of candidates" in printed and "of which 1 were pruned and 0 failed" in printed


def test_a_function_that_chooses_sees_whole_candidates_only() -> None:
    pruner = fasthpo.MedianPruner(n_startup_trials=1)
    search = scripted([0.5, 0.1, 0.9], pruner=pruner, refit=lambda results: results["mean_test_score"].argmax())
    assert search.fit(X, Y).best_index_ == 2 and search.best_params_ == {"quality": 0.9}


def test_a_paired_test_gets_the_scores_of_the_folds() -> None:
    pruner = fasthpo.PatientPruner(fasthpo.WilcoxonPruner(), patience=1)
    search = naive(pruner=pruner, cv=6).fit(X, Y)
    best = search.study_.best_trial
    assert list(best.reports.values()) == [
        search.cv_results_[f"split{fold}_test_score"][best.number] for fold in range(6)
    ]


def test_what_fails_is_the_worst_and_said() -> None:
    with pytest.warns((FitFailedWarning, UserWarning)) as caught:
        search = scripted([0.5, 3.0, 0.9]).fit(X, Y)
    assert any("4 fits failed out of a total of 12" in str(one.message) for one in caught)
    np.testing.assert_array_equal(search.cv_results_["rank_test_score"], [2, 3, 1])
    failed = search.study_.trials[1]
    assert failed.state == TrialState.FAILED and "too good to be true" in failed.error
    with pytest.warns((FitFailedWarning, UserWarning)):
        scripted([0.5, 3.0], pruner=fasthpo.MedianPruner()).fit(X, Y)
    assert Scripted.fits.count(3.0) == 4 + 1  # it can't be the best any more
    with pytest.warns(FitFailedWarning):
        zero = scripted([-0.5, 3.0], error_score=0, refit=False).fit(X, Y)
    assert zero.best_score_ == 0 == zero.study_.best_value
    with pytest.raises(RuntimeError, match="too good"):
        scripted([0.5, 3.0], error_score="raise").fit(X, Y)
    with pytest.raises(ValueError, match="All the 8 fits failed"):
        scripted([3.0, 4.0]).fit(X, Y)


# --- kept in a directory


@pytest.mark.parametrize("pruner", [None, fasthpo.MedianPruner(n_startup_trials=2)])
def test_an_interrupted_search_goes_on_as_if_it_had_not_been(tmp_path: Path, pruner: Any) -> None:
    def search(**options: Any) -> FastSearchCV:
        space = {"quality": fasthpo.Continuous(0.0, 1.0)}
        scoring = {"a": lambda model, X, y: model.quality, "b": lambda model, X, y: -model.quality}
        return FastSearchCV(
            Scripted(), space, trials=14, cv=4, random_state=0, pruner=pruner, scoring=scoring, refit="a",
            return_train_score=True, **options,
        )  # fmt: skip

    whole = search().fit(X, Y)
    Scripted.fits, Scripted.interrupt_at = [], 30
    with pytest.raises(KeyboardInterrupt):
        (broken := search(path=tmp_path / "s")).fit(X, Y)
    assert 5 < len(broken.study_) < 14
    with pytest.raises(NotFittedError):
        broken.predict(X)
    Scripted.interrupt_at = None
    resumed = search(path=tmp_path / "s").fit(X, Y)
    done = len(Scripted.fits)
    assert done < len(whole.cv_results_["params"]) * 4 + 6
    assert list(resumed.cv_results_) == list(whole.cv_results_)
    for name in whole.cv_results_:
        if "time" not in name and name != "params":
            np.testing.assert_array_equal(resumed.cv_results_[name], whole.cv_results_[name], name)
    assert resumed.best_params_ == whole.best_params_ and resumed.multimetric_
    again = search(path=tmp_path / "s").fit(X, Y)  # nothing is left to do but the last fit
    assert len(Scripted.fits) == done + 1 and again.best_score_ == whole.best_score_
    np.testing.assert_array_equal(again.cv_results_["mean_fit_time"], resumed.cv_results_["mean_fit_time"])


def test_a_directory_holds_one_search(tmp_path: Path) -> None:
    kept = naive(path=tmp_path / "s", cv=KFold(3, shuffle=True, random_state=0))
    kept.fit(X, Y)
    assert len(clone(kept).set_params(trials=6).fit(X, Y).cv_results_["params"]) == 6
    for other, data, what in [
        (clone(kept), (X[1:], Y[1:]), "X, y, folds differ"),
        (clone(kept).set_params(estimator__priors=[0.2, 0.3, 0.5]), (X, Y), "estimator differ"),
        (clone(kept).set_params(scoring="f1_macro"), (X, Y), "scoring differ"),
        (clone(kept).set_params(space={"var_smoothing": [0.1]}), (X, Y), "space differ"),
        (clone(kept).set_params(cv=KFold(3, shuffle=True)), (X, Y), "folds differ.*random_state"),
    ]:
        with pytest.raises(InvalidValue, match=what):
            other.fit(*data)
    fasthpo.Study({"x": fasthpo.Continuous(0, 1)}, storage=tmp_path / "other").close()
    with pytest.raises(InvalidValue, match="not of FastSearchCV"):
        naive(path=tmp_path / "other").fit(X, Y)
    with pytest.raises(InvalidValue, match="another search"):  # each outer fold needs a path of its own
        cross_val_score(naive(path=tmp_path / "nested"), X, Y, cv=2, error_score="raise")


# --- where folds are evaluated


def test_processes_get_functions_settings_and_large_arrays_and_pass_errors_on() -> None:
    wide = np.repeat(X, 250, axis=1)  # is mapped

    def score(model: Any, X: Any, y: Any) -> float:
        if model.var_smoothing > 1:
            raise ZeroDivisionError("as asked for")
        return float(sklearn.get_config()["assume_finite"]) + np.mean(model.predict(X) == y)

    with sklearn.config_context(assume_finite=True):
        search = naive(n_jobs=2, scoring=score, error_score="raise", pruner=fasthpo.MedianPruner(), trials=3)
        search.set_params(space={"var_smoothing": fasthpo.LogUniform(1e-9, 1e-3)}).fit(wide, Y)
    assert search.best_score_ > 1.8 and len(search.study_) == 3


def test_threads_take_the_folds_of_one_candidate_before_the_next() -> None:
    at_once, lock, barrier = [], threading.Lock(), threading.Barrier(3, timeout=30)
    running: list[float] = []

    def score(model: Any, X: Any, y: Any) -> float:
        with lock:
            running.append(model.var_smoothing)
            at_once.append(len(set(running)))
        barrier.wait()  # until all three folds are here
        with lock:
            running.remove(model.var_smoothing)
        return 1.0

    with joblib.parallel_config("threading", n_jobs=3):
        naive(scoring=score, refit=False, cv=3, trials=4).fit(X, Y)
    assert len(at_once) == 12 and max(at_once[:3]) == 1

    with joblib.parallel_config("threading", n_jobs=3):
        seen: list[float] = []
        naive(scoring=lambda model, X, y: seen.append(model.var_smoothing) or 1.0, trials=3, refit=False,
              pruner=fasthpo.MedianPruner()).fit(X, Y)  # fmt: skip
    assert len(seen) == 9


class Breaking:
    """Workers of which one dies whenever it is given a quality of 1."""

    count = 2

    def __init__(self) -> None:
        self.renewed = 0
        self.waiting: list[tuple[Future[Any], float]] = []

    def submit(self, params: Any, fold: int, candidate: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append((future, params["quality"]))
        if len(self.waiting) == self.count or self.renewed > 8:
            died = any(quality == 1 for _, quality in self.waiting)
            for one, quality in self.waiting:
                if died:
                    one.set_exception(BrokenExecutor("died"))
                else:
                    times = {"fit_time": 0.0, "score_time": 0.0, "fit_error": None}
                    one.set_result({"test_scores": quality, **times})
            self.waiting = []
        return future

    def renew(self) -> None:
        self.renewed += 1


def test_a_candidate_of_which_processes_die_fails_and_others_go_on() -> None:
    space = EstimatorSpace({"quality": [0.2, 1.0, 0.3, 0.4]})
    study = fasthpo.Study(space.space, fasthpo.GridSampler(), direction="maximize")
    plan = Plan(space, 2, None, np.inf, next, np.nan, lambda: None)
    workers = Breaking()
    candidates = CandidateSearch(study, plan).run(workers)
    states = [candidate.state for candidate in candidates]
    assert states == [TrialState.COMPLETE, TrialState.FAILED, TrialState.COMPLETE, TrialState.COMPLETE]
    assert workers.renewed == 2 and "a worker process died" in study.trials[1].error
    with pytest.raises(fasthpo.WorkersFailed):
        again = fasthpo.Study(space.space, fasthpo.GridSampler(), direction="maximize")
        CandidateSearch(again, Plan(space, 2, None, np.inf, next, "raise", lambda: None)).run(Breaking())


# --- spaces


def test_lists_and_distributions_become_parameters() -> None:
    forest = RandomForestClassifier()
    space = EstimatorSpace(
        {
            "a": np.logspace(-1, 1, 3),
            "b": [1, True, 1.0, (1, 2), float("nan"), 1],
            "c": [forest, SVC(), SVC(C=2), "SVC()"],
            "d": [np.mean, np.median],
            "e": scipy.stats.loguniform(1e-3, 10.0),
            "f": scipy.stats.uniform(2, 3),
            "g": scipy.stats.randint(3, 9),
            "h": scipy.stats.norm(5, 2),
            "i": scipy.stats.poisson(30),
            "k": scipy.stats.expon(),
            "j": fasthpo.Continuous(0, 1, when={"c": ["RandomForestClassifier"]}),
        }
    )
    found = space.space
    assert found["a"] == fasthpo.Ordinal([0.1, 1.0, 10.0])
    assert found["b"] == fasthpo.Categorical([1, True, 1.0, (1, 2), float("nan")])
    assert found["c"] == fasthpo.Categorical(["SVC()", "RandomForestClassifier", "SVC() (2)", "SVC(C=2)"])
    assert found["d"] == fasthpo.Categorical(["mean", "median"])
    assert found["e"] == fasthpo.LogUniform(1e-3, 10.0) and found["f"] == fasthpo.Continuous(2.0, 5.0)
    assert found["g"] == fasthpo.Discrete(3, 8) and found["h"] == fasthpo.Normal(5.0, 2.0)
    point = {"b": True, "c": "RandomForestClassifier", "d": "median", "h": 0.5, "i": 0.5, "j": 0.3, "k": 0.5}
    params = space.params(point)
    assert params["b"] is True and params["c"] is forest and params["d"] is np.median
    assert params["k"] == pytest.approx(np.log(2)) and params["i"] == 30 and type(params["i"]) is int
    assert params["h"] == 0.5 and space.params({"b": (1, 2), "c": "SVC()"}) == {"b": (1, 2), "c": "SVC()"}


def test_of_several_mappings_a_candidate_takes_one() -> None:
    space = EstimatorSpace([{"kernel": ["rbf"], "C": [1, 10]}, {"kernel": ["poly"], "degree": fasthpo.Discrete(2, 3)}])
    study = fasthpo.Study(space.space, fasthpo.GridSampler())
    params = [space.params(study.ask().params) for _ in range(4)]
    assert sorted(params, key=lambda one: sum(map(hash, one.values()))) == sorted(
        [{"kernel": "rbf", "C": 1}, {"kernel": "rbf", "C": 10}, {"kernel": "poly", "degree": 2}, {"kernel": "poly", "degree": 3}],
        key=lambda one: sum(map(hash, one.values())),
    )  # fmt: skip


def test_relations_of_a_space_hold_in_a_list_too() -> None:
    related = fasthpo.SearchSpace({"a": fasthpo.Discrete(1, 3), "b": fasthpo.Discrete(1, 3)}).require("a < b")
    assert EstimatorSpace([related]).space == related == EstimatorSpace(related).space
    with pytest.raises(InvalidSearchSpace, match="none can have relations"):
        EstimatorSpace([related, {"a": [1]}])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "at least one parameter"),
        ([], "space must be a SearchSpace"),
        ({"a": []}, "'a' must have at least one choice"),
        ({"a": 3}, "'a' must be a parameter"),
        ({"a": "rbf"}, "'a' must be a parameter"),
        ([{"alternative": [1]}, {"b": [1]}], "'alternative'"),
        ([{"a": [1], "b": fasthpo.Discrete(1, 2, when={"a": [1]})}, {"a": [2]}], "'b' has a condition"),
    ],
)
def test_what_is_no_space_is_refused(given: Any, message: str) -> None:
    with pytest.raises(InvalidSearchSpace, match=message):
        FastSearchCV(GaussianNB(), given).fit(X, Y)
