"""When a study has dried up: `TunerConfig(stop_when=NoImprovement(...))`."""

import itertools
import math

import numpy as np
import pytest

import fasthpo
from fasthpo import NoImprovement, TrialState

SPACE = {"x": fasthpo.Continuous(0.0, 1.0)}


def told(values, **options):
    study = fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=0), **options)
    if len(values):
        study.add_trials({"x": np.linspace(0, 1, len(values))}, values)
    return study


def stopped_by(count, patience, share):
    """The exact probability that a search with values drawn alike is stopped within `count` trials: over its records.

    The next record after one at m comes at j with probability m / (j (j - 1)), and later than n with m / n.
    """
    alive, stopped = np.zeros(count + 2), 0.0
    alive[1] = 1.0
    for m in range(1, count + 1):
        looks = (n for n in range(m + 1, count + 1) if n - max(patience, math.ceil(share * n)) >= m)
        end = next(looks, count + 1)
        j = np.arange(m + 1, min(end, count) + 1)
        alive[j] += alive[m] * m / (j * (j - 1))
        stopped += alive[m] * m / end if end <= count else 0.0
    return stopped


def test_the_rates_of_false_stops_that_the_docstring_states_are_exact():
    found = [stopped_by(400, *rule) for rule in ((60, 0.5), (100, 0.5), (100, 0.8), (50, 0.9))]
    assert np.round(found, 2).tolist() == [0.97, 0.92, 0.45, 0.29]
    for number in ("0.97", "0.92", "0.45", "0.29"):
        assert number in NoImprovement.__doc__


def test_one_look_at_a_random_search_stops_it_as_often_as_stated():
    stop = NoImprovement(patience=1, share=0.8, min_improvement=0)
    rng = np.random.default_rng(0)
    stops = [stop.is_reached(told(rng.normal(size=50))) for _ in range(400)]
    assert abs(np.mean(stops) - 0.2) < 0.06  # three standard deviations


def test_all_looks_at_a_random_search_stop_it_as_often_as_computed():
    stop = NoImprovement(patience=20, share=0.8, min_improvement=0)
    rng = np.random.default_rng(1)
    stops = 0
    for _ in range(120):
        study = told([])
        while len(study) < 100 and not stop.is_reached(study):
            study.tell(study.ask(), rng.exponential())
        stops += stop.is_reached(study)
    assert abs(stops / 120 - stopped_by(100, 20, 0.8)) < 0.14


def test_a_tuner_ends_when_its_trials_bring_nothing_more_and_begins_no_trial_when_called_again():
    config = fasthpo.TunerConfig("dry", max_trials=500, seed=0, stop_when=NoImprovement(patience=15, share=0))
    tuner = fasthpo.HyperparameterTuner.with_bayesian_optimization(config, SPACE)
    result = tuner.optimize(lambda trial: 1.0)
    assert result.stop_reason == "no_improvement" == fasthpo.StopReason.NO_IMPROVEMENT
    assert len(result.trials) == 16
    assert "ended by no_improvement" in str(result)
    assert tuner.optimize(lambda trial: 1.0).stop_reason == "no_improvement"
    assert len(tuner.study) == 16


def test_with_workers_the_trials_that_run_still_end():
    config = fasthpo.TunerConfig("dry", max_trials=500, seed=0, stop_when=NoImprovement(patience=15, share=0))
    tuner = fasthpo.HyperparameterTuner.with_random_search(config, SPACE)
    result = tuner.optimize(lambda trial: 1.0, workers=3, backend="threads")
    assert result.stop_reason == "no_improvement"
    assert 16 <= len(result.trials) <= 19
    assert all(trial.state == TrialState.COMPLETE for trial in result.trials)


def test_a_study_that_was_loaded_decides_as_the_one_that_went_on(tmp_path):
    stop = NoImprovement(patience=10)
    rng = np.random.default_rng(3)
    decisions = set()
    study = told([])
    for count in range(60):
        study.tell(study.ask(), [rng.normal(), math.inf, math.nan][0 if count % 5 else count % 3])
        if count % 6 == 0:
            study.save(tmp_path / f"{count}.msgpack")
            loaded = fasthpo.Study.load(tmp_path / f"{count}.msgpack")
            assert stop.is_reached(loaded) == stop.is_reached(study)
            decisions.add(stop.is_reached(study))
    assert decisions == {True, False}


def test_what_is_decided_for_many_trials_depends_on_their_number_only():
    from fasthpo.tuner.no_improvement import scheduled

    looks = [scheduled(count) for count in range(1, 100_001)]
    assert looks[:200] == list(range(1, 201))
    assert all(look <= count for count, look in enumerate(looks, 1))
    assert all(before <= after for before, after in itertools.pairwise(looks))
    assert all(scheduled(look) == look or look > 200 for look in looks)
    assert 300 < len(set(looks)) < 1000
    assert min(look / count for count, look in enumerate(looks, 1)) > 0.97


def test_maximising_mirrors_minimising_with_one_objective_and_with_two():
    rng = np.random.default_rng(4)
    found = []
    for _ in range(60):
        values = np.minimum.accumulate(rng.exponential(size=40)) + 0.05 * rng.random(40)
        stop = NoImprovement(patience=15, min_improvement=0.02)
        down = stop.is_reached(told(values))
        assert stop.is_reached(told(-values, direction="maximize")) == down
        pairs = np.stack([values, rng.permutation(values)], axis=1)
        both = stop.is_reached(told(pairs, directions=["minimize", "minimize"]))
        assert stop.is_reached(told(pairs * [-1, 8], directions=["maximize", "minimize"])) == both
        found.append((down, both))
    assert all(0 < total < 60 for total in np.sum(found, axis=0))


def test_a_front_that_grows_only_within_what_it_covers_has_dried_up_and_one_that_gets_further_has_not():
    stop = NoImprovement(patience=10, share=0, min_improvement=0.05)
    x = np.random.default_rng(0).permutation(np.linspace(0, 1, 40))
    line = np.stack([x, 1 - x], axis=1)
    between = line[:10] + np.linspace(-0.012, 0.012, 10)[:, None] * [1, -1] - 1e-4  # fills gaps
    assert stop.is_reached(told(np.concatenate([line, between]), directions=["minimize", "minimize"]))
    further = np.concatenate([line, between - 0.2])
    assert not stop.is_reached(told(further, directions=["minimize", "minimize"]))
    ends = np.tile([[0.0, 1.0], [1.0, 0.0]], (15, 1))  # nothing is better than the medians
    assert stop.is_reached(told(ends, directions=["minimize", "minimize"]))
    assert stop.is_reached(told(np.ones((15, 2)), directions=["minimize", "minimize"]))


def test_trials_without_a_usable_value_are_no_improvement_and_failed_ones_do_not_count():
    stop = NoImprovement(patience=10, share=0)
    assert not stop.is_reached(told([]))
    assert not stop.is_reached(told([1.0]))
    assert not stop.is_reached(told([math.inf] * 50))  # nothing to improve on
    assert not stop.is_reached(told([1.0] + [math.nan] * 50))  # failed: no evidence
    assert stop.is_reached(told([1.0] + [math.inf] * 10))
    assert not stop.is_reached(told([1.0] + [math.inf] * 9))
    pruned = told([1.0])
    for _ in range(10):
        pruned.tell(pruned.ask(), 0.5, TrialState.PRUNED)
    assert stop.is_reached(pruned)
    infeasible = told([2.0])
    for _ in range(10):
        infeasible.tell(infeasible.ask(), 1.0, constraints=[1.0])
    assert stop.is_reached(infeasible)
    infeasible.tell(infeasible.ask(), 1.0, constraints=[0.0])
    assert not stop.is_reached(infeasible)


def test_values_as_large_as_floats_get_do_not_overflow():
    stop = NoImprovement(patience=5, share=0)
    assert not stop.is_reached(told([1.7e308, 1.6e308, 1.7e308, 0.0, 0.0, 0.0, 0.0, -1.7e308]))
    assert stop.is_reached(told([-1.7e308, 1.7e308, 1.7e308, 0.0, 0.0, 0.0, 0.0, 0.0]))


def test_an_improvement_within_the_noise_does_not_count_unless_every_one_is_to():
    values = [3.0, 1.0, 2.0, 4.0] * 5 + np.linspace(1.0, 0.99, 10).tolist()
    assert NoImprovement(patience=10, share=0, min_improvement=0.01).is_reached(told(values))
    assert not NoImprovement(patience=10, share=0, min_improvement=0).is_reached(told(values))


def test_under_a_strategy_with_rungs_paused_trials_do_not_count():
    study = fasthpo.Study(SPACE, strategy=fasthpo.SuccessiveHalving(9, sampler=fasthpo.RandomSampler(seed=0)))
    for _ in range(60):
        study.tell(study.ask(), 1.0)
    complete = study.table.counts[TrialState.COMPLETE]
    assert study.table.counts[TrialState.PAUSED] > 0 < complete
    assert not NoImprovement(patience=complete, share=0).is_reached(study)
    assert NoImprovement(patience=complete - 1, share=0).is_reached(study)


@pytest.mark.parametrize(
    "options",
    [{"patience": 0}, {"patience": 2.5}, {"share": 1.0}, {"share": -0.1}, {"share": math.nan}, {"share": "x"},
     {"min_improvement": -1}, {"min_improvement": math.inf}],
)  # fmt: skip
def test_an_option_out_of_its_range_is_refused(options):
    with pytest.raises(fasthpo.InvalidValue, match=next(iter(options))):
        NoImprovement(**options)


def test_it_goes_through_plain_values_and_other_things_are_refused():
    config = fasthpo.TunerConfig("s", max_trials=5, stop_when=NoImprovement(patience=7))
    assert fasthpo.TunerConfig.from_dict(config.to_dict()) == config
    with pytest.raises(fasthpo.InvalidValue, match="stop_when must be None or a NoImprovement"):
        fasthpo.TunerConfig("s", max_trials=5, stop_when=20)
    with pytest.raises(fasthpo.InvalidValue, match="study must be a Study"):
        NoImprovement().is_reached("directory")
