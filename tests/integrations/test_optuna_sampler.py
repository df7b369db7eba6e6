"""Samplers of fasthpo's inside Optuna: spaces that are made up as they are searched, storages, and what they share."""

from __future__ import annotations

import copy
import math
import pickle
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fasthpo

optuna = pytest.importorskip("optuna")
from fasthpo.integrations.define_by_run import learn  # noqa: E402
from fasthpo.integrations.optuna import FastPruner, FastSampler  # noqa: E402

SAMPLERS: list[Callable[[], fasthpo.Sampler]] = [
    lambda: fasthpo.AutoSampler(seed=1),
    lambda: fasthpo.TPESampler(seed=1),
    lambda: fasthpo.CmaEsSampler(seed=1),
    lambda: fasthpo.NSGAIISampler(seed=1),
    lambda: fasthpo.QMCSampler(seed=1),
    lambda: fasthpo.RandomSampler(seed=1),
]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    yield
    optuna.logging.set_verbosity(optuna.logging.INFO)


def journal(path: Path) -> Any:
    backend = optuna.storages.journal.JournalFileBackend(
        str(path), lock_obj=optuna.storages.journal.JournalFileOpenLock(str(path))
    )
    return optuna.storages.JournalStorage(backend)


def search_of(study: Any) -> Any:
    (search,) = study.sampler._searches[study._storage].values()
    return search


def mixed(trial: Any) -> float:
    """Branches, a number of parameters that is a parameter, all kinds of distributions."""
    kind = trial.suggest_categorical("kind", ["a", "b", None])
    rate = trial.suggest_float("rate", 1e-5, 1e-1, log=True)
    loss = abs(math.log10(rate) + 3)
    if kind == "b":
        loss += abs(trial.suggest_float("inner", 0.0, 1.0, step=0.1) - 0.7)
        if trial.suggest_categorical("deep", [True, False]):
            loss += 0.1 * abs(trial.suggest_int("deepest", 2, 20, step=3) - 5)
    else:
        loss += 1.0
    for i in range(trial.suggest_int("layers", 1, 3)):
        loss += 0.1 * abs(math.log2(trial.suggest_int(f"units_{i}", 4, 128, log=True)) - 5)
    trial.suggest_float("constant", 2.0, 2.0)
    return loss


def test_a_program_with_branches_is_learnt_as_a_conditional_space_and_searched_well() -> None:
    study = optuna.create_study(sampler=FastSampler(seed=0))
    study.optimize(mixed, n_trials=120)
    space = search_of(study)._model._space
    conditions = {name: {parent: list(values) for parent, values in space[name].when.items()} for name in space}
    assert {name: when for name, when in conditions.items() if when} == {
        "inner": {"kind": [1]},
        "deep": {"kind": [1]},
        "deepest": {"deep": [0]},
        "units_1": {"layers": [2, 3]},
        "units_2": {"layers": [3]},
    }
    random = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    random.optimize(mixed, n_trials=120)
    assert study.best_value < 0.5 * random.best_value


@pytest.mark.parametrize("make", SAMPLERS, ids=lambda make: type(make()).__name__)
def test_every_sampler_gives_values_of_every_kind_of_distribution(make: Callable[[], fasthpo.Sampler]) -> None:
    class Odd:
        pass

    odd = Odd()

    def objective(trial: Any) -> float:
        values = [
            trial.suggest_float("f", -1.0, 2.0),
            trial.suggest_float("log", 1e-6, 1.0, log=True),
            trial.suggest_float("step", 0.1, 0.9, step=0.2),
            trial.suggest_float("tiny", 0.0, 1.0, step=1e-7),
            trial.suggest_int("i", -3, 9),
            trial.suggest_int("i_log", 1, 1000, log=True),
            trial.suggest_int("i_step", 0, 8, step=4),
            trial.suggest_int("one", 5, 5),
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna says of some choices that not every storage can keep them
            choice = trial.suggest_categorical("c", ["a", None, True, 2.5, (1, 2), odd])
            trial.suggest_categorical("sole", [("x",)])
        assert choice is odd or choice in ("a", None, True, 2.5, (1, 2))
        assert trial.params["i_step"] in (0, 4, 8) and type(trial.params["i"]) is int
        for name, distribution in trial.distributions.items():
            if name not in ("c", "sole"):
                assert distribution._contains(trial.params[name])
        return sum(values)

    study = optuna.create_study(sampler=FastSampler(make()))
    study.optimize(objective, n_trials=25)
    assert len({repr(trial.params) for trial in study.trials}) == 25


def test_ranges_that_change_and_parameters_that_come_later_are_taken_in() -> None:
    def objective(trial: Any) -> float:
        n = trial.number
        x = trial.suggest_float("x", -1.0 - n % 5, 1.0 + n / 10)
        y = trial.suggest_float("y", 0.0, abs(x) + 0.01)  # a range that depends on another parameter
        k = trial.suggest_int("k", n % 2, 20 + 2 * n, step=2 if n % 2 == 0 and n < 50 else 1)
        s = trial.suggest_float("s", 0.0, 1.0, step=0.25 if n % 2 else None)
        late = trial.suggest_float("late", 0.0, 1.0) if n >= 40 else 0.0
        for name, distribution in trial.distributions.items():
            assert distribution._contains(trial.params[name])
        return abs(x) + y + k / 100 + s + late

    study = optuna.create_study(sampler=FastSampler(seed=3))
    study.optimize(objective, n_trials=100)
    assert study.best_value < 0.35
    search = search_of(study)
    assert set(search._alone) == {"late"}  # no parameter's values say when it is there
    late = [trial.params["late"] for trial in study.trials[70:]]
    assert sum(late) / len(late) < 0.3


def test_a_parameter_that_a_continuum_decides_on_is_searched_by_itself() -> None:
    def objective(trial: Any) -> float:
        x = trial.suggest_float("x", 0.0, 1.0)
        return x + (trial.suggest_float("y", 0.0, 1.0) if x < 0.6 else 1.0)

    study = optuna.create_study(sampler=FastSampler(seed=0))
    study.optimize(objective, n_trials=60)
    assert list(search_of(study)._alone) == ["y"] and study.best_value < 0.1


def test_known_results_without_some_parameters_do_not_spoil_the_space() -> None:
    study = optuna.create_study(sampler=FastSampler(seed=0))
    x = optuna.distributions.FloatDistribution(0.0, 1.0)
    study.add_trial(optuna.create_trial(params={"x": 0.9}, distributions={"x": x}, value=5.0))
    study.optimize(lambda t: t.suggest_float("x", 0.0, 1.0) + t.suggest_float("y", 0.0, 1.0), n_trials=40)
    assert search_of(study)._model._space.names == ("x", "y")
    assert not any(parameter.when for parameter in search_of(study)._model._space.values())


def test_no_trial_that_has_ended_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage, sampler=FastSampler(fasthpo.RandomSampler(seed=0)))

    def objective(trial: Any) -> float:
        return trial.suggest_float("x", 0.0, 1.0)  # type: ignore[no-any-return]

    study.optimize(objective, n_trials=200)
    read: list[int] = []
    get_trial = storage.get_trial
    monkeypatch.setattr(storage, "get_trial", lambda trial_id: read.append(trial_id) or get_trial(trial_id))
    get_all = storage.get_all_trials

    def get_all_trials(study_id: int, deepcopy: bool = True, states: Any = None) -> Any:
        assert states == (optuna.trial.TrialState.WAITING,)  # which Optuna itself asks for
        return get_all(study_id, deepcopy, states)

    monkeypatch.setattr(storage, "get_all_trials", get_all_trials)
    study.optimize(objective, n_trials=20)
    assert min(read) >= 199


def test_a_space_that_never_settles_is_learnt_anew_ever_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    import fasthpo.integrations.optuna as integration

    sizes: list[int] = []
    monkeypatch.setattr(integration, "learn", lambda trials: sizes.append(len(trials)) or learn(trials))
    study = optuna.create_study(sampler=FastSampler(fasthpo.RandomSampler(seed=0)))
    study.optimize(lambda t: float(t.suggest_int("x", 0, 10 + 10 * t.number)), n_trials=400)
    assert len(sizes) < 120 and sizes[-1] > 370


@pytest.mark.parametrize("kind", ["memory", "journal"])
def test_a_study_goes_on_as_if_it_had_not_stopped(kind: str, tmp_path: Path) -> None:
    def storage(name: str) -> Any:
        return optuna.storages.InMemoryStorage() if kind == "memory" else journal(tmp_path / name)

    def objective(trial: Any) -> float:
        x, kind = trial.suggest_float("x", 0.0, 1.0), trial.suggest_categorical("kind", ["a", "b"])
        if trial.number % 7 == 4:
            raise ValueError
        return x + (trial.suggest_float("z", 0.0, 1.0) if kind == "a" else 0.5)  # type: ignore[no-any-return]

    whole = optuna.create_study(study_name="s", storage=storage("whole"), sampler=FastSampler(seed=5))
    whole.optimize(objective, n_trials=30, catch=ValueError)
    study = optuna.create_study(study_name="s", storage=storage("parts"), sampler=FastSampler(seed=5))
    study.optimize(objective, n_trials=17, catch=ValueError)
    again = study._storage if kind == "memory" else storage("parts")
    study = optuna.load_study(study_name="s", storage=again, sampler=FastSampler(seed=5))
    study.optimize(objective, n_trials=13, catch=ValueError)
    assert [trial.params for trial in study.trials] == [trial.params for trial in whole.trials]


@pytest.mark.filterwarnings("ignore:Selection of the SingletonThreadPool")  # SQLAlchemy's, of a database in memory
@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_processes_that_share_a_study_know_of_each_other_and_have_draws_of_their_own(kind: str, tmp_path: Path) -> None:
    def opened() -> Any:  # as in a process of its own, with the same seed
        storage = (
            f"sqlite:///file:{tmp_path.name}?mode=memory&cache=shared&uri=true"
            if kind == "sqlite"
            else journal(tmp_path / "j")
        )
        return optuna.create_study(study_name="s", storage=storage, sampler=FastSampler(seed=1), load_if_exists=True)

    studies = [opened(), opened()]
    for i in range(6):
        asked = [study.ask() for study in studies]
        for study, trial in zip(studies, asked, strict=True):
            x = trial.suggest_float("x", 0.0, 1.0) + trial.suggest_int("n", 0, 1000) / 1000
            if i % 5 == 3:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, x)
    trials = studies[0].trials
    complete = sorted(trial.value for trial in trials if trial.value is not None)
    assert len({tuple(trial.params.values()) for trial in trials}) == len(trials)
    for study in studies:
        study.ask().suggest_float("x", 0.0, 1.0)
    tables = [search_of(study)._model._table for study in studies]
    assert all(table.counts[fasthpo.TrialState.COMPLETE] == len(complete) for table in tables)
    for table in tables:
        assert sorted(table.values[table.states == fasthpo.TrialState.COMPLETE].tolist()) == complete


def test_threads_share_one_sampler() -> None:
    study = optuna.create_study(sampler=FastSampler(seed=0))
    study.optimize(mixed, n_trials=60, n_jobs=4)
    study.ask().suggest_float("rate", 1e-5, 1e-1, log=True)
    search = search_of(study)
    assert len({repr(trial.params) for trial in study.trials}) > 55
    assert search._news.unended == {60} and len(search._suggested) == 1 and len(search._model._running) == 1


def test_trials_that_wait_fail_and_are_pruned_are_known_as_such() -> None:
    study = optuna.create_study(
        direction="maximize", sampler=FastSampler(seed=0), pruner=optuna.pruners.PercentilePruner(25.0, 5)
    )
    for x in (0.1, 0.2, 7.0):  # Optuna lets a value outside of the range through
        study.enqueue_trial({"x": x})

    def objective(trial: Any) -> float:
        x = float(trial.suggest_float("x", 0.0, 1.0))
        trial.suggest_categorical("c", ["a", "b"])
        if trial.number % 6 == 5:
            raise ValueError
        for step in range(4):
            trial.report(x * step, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return x

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study.optimize(objective, n_trials=50, catch=ValueError)
    study.ask().suggest_float("x", 0.0, 1.0)
    assert [trial.params["x"] for trial in study.trials[:3]] == [0.1, 0.2, 7.0]
    table = search_of(study)._model._table
    states = [trial.state.name for trial in study.trials if trial.params["x"] != 7.0]
    assert table.counts[fasthpo.TrialState.PRUNED] == states.count("PRUNED") > 5
    lost = sum(table.is_lost(number) for number in range(len(table)))  # suggested to trials that had other values
    assert table.counts[fasthpo.TrialState.FAILED] - lost == states.count("FAIL") == 8
    assert table.counts[fasthpo.TrialState.COMPLETE] == states.count("COMPLETE")
    assert len(table.reports) > 100
    assert sum(draw == -1 for draw in table.draws.tolist()) == 2


def test_several_objectives_and_constraints_reach_the_sampler() -> None:
    sampler = FastSampler(seed=0, constraints_func=lambda trial: [trial.params["x"] - 0.5, -1.0])
    study = optuna.create_study(directions=["minimize", "maximize"], sampler=sampler)
    study.optimize(lambda t: (t.suggest_float("y", 0, 1) ** 2, t.suggest_float("x", 0, 1) + t.params["y"]), n_trials=50)
    assert max(trial.params["x"] for trial in study.best_trials) <= 0.5
    assert study.trials[0].constraints == {"0": study.trials[0].params["x"] - 0.5, "1": -1.0}
    table = search_of(study)._model._table
    assert table.objectives.count == 2 and len(table.front.numbers) > 5
    expected = [max(trial.params["x"] - 0.5, 0.0) for trial in study.trials[:-1]]
    assert table.violations[:-1].tolist() == expected


def test_constraints_that_are_no_numbers_are_refused() -> None:
    study = optuna.create_study(sampler=FastSampler(seed=0, constraints_func=lambda trial: [math.nan]))
    with pytest.raises(fasthpo.InvalidValue, match="constraints must be numbers"):
        study.optimize(lambda t: t.suggest_float("x", 0, 1), n_trials=1)


def test_a_finite_space_is_repeated_and_a_grid_ends() -> None:
    def objective(trial: Any) -> float:
        return float(trial.suggest_int("x", 0, 2) + len(trial.suggest_categorical("c", ["a", "bb"])))

    study = optuna.create_study(sampler=FastSampler(seed=0))
    study.optimize(objective, n_trials=20)
    points = [tuple(trial.params.values()) for trial in study.trials]
    assert len(points) == 20 and len(set(points[:6])) == 6
    study = optuna.create_study(sampler=FastSampler(fasthpo.GridSampler()))
    study.optimize(objective, n_trials=20)
    assert len(study.trials) == len({tuple(trial.params.values()) for trial in study.trials}) == 6


def test_optunas_own_wrappers_work_around_it() -> None:
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        sampler = optuna.samplers.PartialFixedSampler({"layers": 2}, FastSampler(seed=0))
    study = optuna.create_study(sampler=sampler, pruner=optuna.pruners.HyperbandPruner(1, 9))

    def objective(trial: Any) -> float:
        loss = mixed(trial)
        for step in range(9):
            trial.report(loss, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return loss

    study.optimize(objective, n_trials=40)
    assert {trial.params["layers"] for trial in study.trials} == {2}


def test_a_sampler_and_its_study_can_be_pickled_and_copied() -> None:
    study = optuna.create_study(
        sampler=FastSampler(fasthpo.TPESampler(seed=7)), pruner=FastPruner(fasthpo.MedianPruner())
    )
    study.optimize(mixed, n_trials=12)
    for other in (pickle.loads(pickle.dumps(study)), copy.deepcopy(study)):
        assert other.sampler.sampler.seed == 7 and type(other.pruner.pruner) is fasthpo.MedianPruner
        other.optimize(mixed, n_trials=3)
        assert len(other.trials) == 15
    assert len(study.trials) == 12
    study.sampler.reseed_rng()
    assert "TPESampler" in repr(study.sampler) and "MedianPruner" in repr(study.pruner)


def test_one_sampler_serves_several_studies() -> None:
    sampler = FastSampler(seed=0)
    studies = [optuna.create_study(sampler=sampler), optuna.create_study(sampler=sampler, direction="maximize")]
    for _ in range(30):
        for study in studies:
            study.optimize(lambda t: t.suggest_float("x", 0.0, 1.0), n_trials=1)
    assert studies[0].best_value < 0.02 and studies[1].best_value > 0.98


def test_a_call_that_is_broken_off_loses_no_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    class Breaking(fasthpo.RandomSampler):
        def suggest(self, table: Any, draw: int) -> Any:
            if draw == 10:
                raise KeyboardInterrupt
            return super().suggest(table, draw)

    study = optuna.create_study(sampler=FastSampler(Breaking(seed=0)))
    with pytest.raises(KeyboardInterrupt):
        study.optimize(lambda t: t.suggest_float("x", 0.0, 1.0), n_trials=20)
    study.optimize(lambda t: t.suggest_float("x", 0.0, 1.0), n_trials=5)
    study.ask().suggest_float("x", 0.0, 1.0)
    assert search_of(study)._model._table.counts[fasthpo.TrialState.COMPLETE] == len(study.trials) - 2 == 15


@pytest.mark.filterwarnings("ignore:Selection of the SingletonThreadPool")  # SQLAlchemy's, of a database in memory
def test_a_study_in_the_place_of_a_deleted_one_is_not_taken_for_it() -> None:
    sampler, pruner = FastSampler(fasthpo.RandomSampler(seed=0)), FastPruner(fasthpo.MedianPruner(n_startup_trials=1))
    storage = optuna.storages.get_storage("sqlite:///file:replaced?mode=memory&cache=shared&uri=true")

    def objective(trial: Any) -> float:
        trial.report(1.0, 0)
        assert not trial.should_prune()
        return float(trial.suggest_float("x", 0.0, 1.0))

    ids = set()
    for count in (8, 4):
        study = optuna.create_study(study_name="s", storage=storage, sampler=sampler, pruner=pruner)
        study.optimize(objective, n_trials=count)
        ids.add(study._study_id)
        if count == 8:
            optuna.delete_study(study_name="s", storage=storage)
    assert len(ids) == 1  # or this would show nothing
    study.ask().suggest_float("x", 0.0, 1.0)
    assert search_of(study)._model._table.counts[fasthpo.TrialState.COMPLETE] == 4


def test_steps_that_no_column_has_are_kept() -> None:
    step = optuna.distributions.FloatDistribution(1e12, 1e12 + 0.002, step=0.0004)
    study = optuna.create_study(sampler=FastSampler(seed=0))
    for _ in range(12):
        trial = study.ask({"x": step})
        study.tell(trial, trial.params["x"])
    values = {trial.params["x"] for trial in study.trials}
    assert values <= {1e12 + i * 0.0004 for i in range(6)} and len(values) > 1


def test_wrong_arguments_are_refused_with_the_rule() -> None:
    with pytest.raises(fasthpo.InvalidValue, match="Optuna's own samplers need no FastSampler"):
        FastSampler(optuna.samplers.TPESampler())
    with pytest.raises(fasthpo.InvalidValue, match="give the seed to the sampler"):
        FastSampler(fasthpo.RandomSampler(), seed=1)
    with pytest.raises(fasthpo.InvalidValue, match="constraints_func must be a function"):
        FastSampler(constraints_func=[1.0])
    with pytest.raises(fasthpo.InvalidValue, match="Optuna's own pruners need no FastPruner"):
        FastPruner(optuna.pruners.MedianPruner())
    study = optuna.create_study(sampler=FastSampler(fasthpo.CmaEsSampler(seed=0)), directions=["minimize"] * 2)
    with pytest.raises(fasthpo.InvalidValue, match="CmaEsSampler works on one objective, got 2"):
        study.optimize(lambda t: (t.suggest_float("x", 0, 1), 1), n_trials=1)
    study = optuna.create_study(sampler=FastSampler(seed=0))
    with pytest.raises(fasthpo.InvalidSearchSpace, match=r"'x' can't be searched: .*finite"):
        study.optimize(lambda t: t.suggest_float("x", 0, math.inf), n_trials=1)
    study = optuna.create_study(sampler=FastSampler(seed=0))
    study.optimize(lambda t: 1.0, n_trials=3)  # no parameters are no mistake


def trial_of(**params: Any) -> Any:
    kinds = optuna.distributions
    known = {
        "n": kinds.IntDistribution(1, 9),
        "c": kinds.CategoricalDistribution(["a", "b", "c"]),
        "d": kinds.CategoricalDistribution([0, 1]),
    }
    distributions = {name: known.get(name, kinds.FloatDistribution(0.0, 1.0)) for name in params}
    return optuna.create_trial(params=params, distributions=distributions, value=0.0)


@pytest.mark.parametrize(
    ("trials", "when"),
    [
        ([trial_of(c="a", x=0.1), trial_of(c="b"), trial_of(c="c")], {"c": (0,)}),
        ([trial_of(c="a", x=0.1), trial_of(c="b"), trial_of(c="c", x=0.1)], {"c": (0, 2)}),
        ([trial_of(n=4, x=0.1), trial_of(n=2), trial_of(n=7, x=0.1)], {"n": (4, 5, 6, 7, 8, 9)}),
        ([trial_of(n=4, x=0.1), trial_of(n=8), trial_of(n=2)], {"n": (4,)}),
        ([trial_of(n=4, x=0.1), trial_of(n=5), trial_of(n=6, x=0.2)], {"n": (4, 6)}),
        (
            [trial_of(c=c, d=d, x=0.1) if (c, d) == ("a", 1) else trial_of(c=c, d=d) for c in "abc" for d in (0, 1)],
            {"c": (0,), "d": (1,)},
        ),
    ],
)
def test_conditions_are_found_from_the_trials(trials: list[Any], when: dict[str, Any]) -> None:
    learned = learn(trials)
    assert learned.space is not None and dict(learned.space["x"].when) == when


def test_what_follows_no_rule_is_left_out() -> None:
    trials = [trial_of(c="a", x=0.1), trial_of(c="a"), trial_of(c="b")]
    learned = learn(trials)
    assert learned.space is not None and learned.space.names == ("c",) and list(learned.columns) == ["c", "x"]
