"""Layers, hypervolumes and subset selection against slow twins, against moocore, and over nasty numbers."""

from __future__ import annotations

import math
import time

import moocore
import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasthpo import Categorical, Continuous, Discrete, LogUniform, SearchSpace
from fasthpo.kernels import gaussian_process
from fasthpo.kernels.axes import coordinate_of_value
from fasthpo.kernels.multi_objective import breeding, dominance, hypervolume, improvement, processes, ranking
from fasthpo.kernels.streams import uniforms
from fasthpo.samplers.encoding import encode_space
from tests.support import naive_multi_objective as naive

# as plain Python, NumPy warns of what compiled code does silently
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

NASTY = (0.0, -0.0, 1.0, 2.0, 3.0, -1.0, 5e-324, 1e-300, 1e300, -1e308, 1e308, math.inf, -math.inf, math.nan)


@st.composite
def tables(draw: st.DrawFn, values: st.SearchStrategy[float], most: int = 9, least_objectives: int = 1) -> np.ndarray:
    n, m = draw(st.integers(0, most)), draw(st.integers(least_objectives, 4))
    rows = draw(st.lists(st.lists(values, min_size=m, max_size=m), min_size=n, max_size=n))
    return np.array(rows, float).reshape(n, m)


def layers_of(losses: np.ndarray) -> list[int]:
    layers = np.full(len(losses), -7)
    count = dominance.non_dominated_layers(losses, layers)
    assert count == max(layers.tolist(), default=-1) + 1
    return layers.tolist()


def front_of(losses: np.ndarray) -> list[int]:
    kept = np.empty(len(losses), np.int64)
    return sorted(kept[: dominance.front(losses, kept)].tolist())


def selected(losses: np.ndarray, reference: np.ndarray, count: int) -> tuple[list[int], int]:
    chosen = np.full(count, -7)
    useful = hypervolume.select_by_hypervolume(losses, reference, chosen)
    return chosen.tolist(), useful


def contributions_of(losses: np.ndarray, reference: np.ndarray) -> np.ndarray:
    exclusive = np.full(len(losses), np.nan)
    hypervolume.contributions(losses, reference, exclusive)
    return exclusive


@given(tables(st.sampled_from(NASTY)))
def test_layers_are_those_found_by_peeling(losses: np.ndarray) -> None:
    assert layers_of(losses) == naive.layers(losses)
    whole = ~np.isnan(losses).any(axis=1)
    assert front_of(losses) == [i for i, layer in enumerate(naive.layers(losses)) if layer == 0 and whole[i]]


@given(tables(st.integers(0, 3).map(float), most=30))
def test_layers_of_many_ties_are_those_found_by_peeling(losses: np.ndarray) -> None:
    assert layers_of(losses) == naive.layers(losses)
    assert front_of(losses) == [i for i, layer in enumerate(naive.layers(losses)) if layer == 0]


@given(
    tables(st.integers(0, 3).map(float)),
    st.lists(st.sampled_from([0.0, 0.0, 1.0, 2.5, math.inf, math.nan]), min_size=9, max_size=9),
)
def test_points_with_a_penalty_come_after_all_without(losses: np.ndarray, penalties: list[float]) -> None:
    own = np.array(penalties[: len(losses)])
    layers = np.empty(len(losses), np.int64)
    count = dominance.constrained_layers(losses, own, layers)
    assert layers.tolist() == naive.constrained_layers(losses, own)
    assert count == max(layers.tolist(), default=-1) + 1


@settings(max_examples=50)
@given(tables(st.integers(-4, 4).map(float), most=7), st.integers(-2, 6))
def test_hypervolumes_of_whole_numbers_are_those_counted_cell_by_cell(losses: np.ndarray, corner: int) -> None:
    reference = np.full(losses.shape[1], float(corner))
    expected = naive.hypervolume(losses, reference)
    assert hypervolume.hypervolume(losses, reference) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    np.testing.assert_allclose(contributions_of(losses, reference), naive.contributions(losses, reference), atol=1e-9)


@settings(max_examples=40)
@given(tables(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), most=6), st.integers(0, 6))
def test_a_choice_adds_as_much_each_time_as_the_best_would(losses: np.ndarray, count: int) -> None:
    reference = np.ones(losses.shape[1])
    count = min(count, len(losses))
    chosen, useful = selected(losses, reference, count)
    assert len(set(chosen)) == count
    for k in range(count):
        before = naive.hypervolume(losses[chosen[:k]], reference)
        gain = naive.hypervolume(losses[chosen[: k + 1]], reference) - before
        best = max(naive.hypervolume(losses[[*chosen[:k], i]], reference) - before for i in range(len(losses)))
        assert gain == pytest.approx(best, abs=1e-12)
        assert (gain > 1e-12) == (k < useful)


@given(tables(st.sampled_from([x for x in NASTY if not math.isinf(x)]), least_objectives=2))
def test_nasty_numbers_leave_sound_volumes(losses: np.ndarray) -> None:
    for corner in (1e308, 3.0, 1e-300, 0.0):
        reference = np.full(losses.shape[1], corner)
        volume = hypervolume.hypervolume(losses, reference)
        assert volume >= 0
        exclusive = contributions_of(losses, reference)
        assert (exclusive >= 0).all()
        if math.isfinite(volume):
            assert exclusive.sum() <= volume * (1 + 1e-9)
        chosen, _ = selected(losses, reference, len(losses))
        assert sorted(chosen) == list(range(len(losses)))


def test_infinities_dominate_infinitely_much() -> None:
    losses = np.array([[-math.inf, 0.5], [0.5, 0.5], [math.inf, 0.0]])
    assert hypervolume.hypervolume(losses, np.ones(2)) == math.inf
    assert hypervolume.hypervolume(losses[1:], np.array([1.0, math.inf])) == math.inf
    assert hypervolume.hypervolume(losses[1:], np.ones(2)) == 0.25
    assert hypervolume.hypervolume(losses[2:], np.ones(2)) == 0.0
    assert selected(losses, np.ones(2), 3)[0] in ([0, 1, 2], [1, 0, 2])


def test_one_point_and_none() -> None:
    assert layers_of(np.empty((0, 2))) == []
    assert layers_of(np.array([[1.0, 2.0]])) == [0]
    assert hypervolume.hypervolume(np.empty((0, 3)), np.ones(3)) == 0.0
    assert hypervolume.hypervolume(np.zeros((1, 5)), np.full(5, 2.0)) == 32.0
    assert contributions_of(np.zeros((1, 3)), np.full(3, 2.0)).tolist() == [8.0]
    assert selected(np.zeros((1, 3)), np.full(3, 2.0), 0) == ([], 0)


def test_equal_points_share_a_layer_and_contribute_nothing() -> None:
    losses = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert layers_of(losses) == [0, 0, 0, 1]
    assert contributions_of(losses, np.full(2, 2.0)).tolist() == [0.0, 1.0, 0.0, 0.0]
    assert selected(losses, np.full(2, 2.0), 4) == ([0, 1, 2, 3], 2)


@pytest.mark.parametrize("m", [2, 3, 4, 5])
def test_volumes_and_layers_equal_those_of_moocore(m: int) -> None:
    random = np.random.default_rng(m)
    for n in (1, 5, 40):
        for make in (random.random, random.standard_normal):
            losses = make((n, m))
            sphere = np.abs(losses) / np.linalg.norm(losses, axis=1, keepdims=True)  # all on one front
            for points in (losses, sphere, np.round(sphere, 1)):
                reference = np.full(m, 1.1)
                expected = moocore.hypervolume(points, ref=reference)
                assert hypervolume.hypervolume(points, reference) == pytest.approx(expected, rel=1e-10)
                every = moocore.hv_contributions(points, ref=reference)
                np.testing.assert_allclose(contributions_of(points, reference), every, atol=1e-12)
                assert layers_of(points) == (moocore.pareto_rank(points)).tolist()
                assert front_of(points) == np.flatnonzero(moocore.is_nondominated(points, keep_weakly=True)).tolist()


@pytest.mark.parametrize("m", [2, 3])
def test_hypervolumes_of_tiny_and_huge_losses_equal_those_of_moocore(m: int) -> None:
    points = np.random.default_rng(0).random((30, m))
    scales = 10.0 ** np.linspace(-100, 100, m)
    expected = moocore.hypervolume(points, ref=np.ones(m)) * scales.prod()
    assert hypervolume.hypervolume(points * scales, scales) == pytest.approx(expected, rel=1e-9)


def test_crowding_distances_are_those_of_the_paper() -> None:
    random = np.random.default_rng(1)
    for n in (1, 2, 3, 20):
        losses = random.random((n, 3))
        distances = np.full(n, np.nan)
        dominance.crowding_distances(losses, np.arange(n), distances)
        np.testing.assert_allclose(distances, naive.crowding(losses))
    same = np.ones((4, 2))
    distances = np.full(4, np.nan)
    dominance.crowding_distances(same, np.arange(4), distances)
    assert distances.tolist() == [0.0] * 4


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="too slow as plain Python")
def test_a_hundred_thousand_points_take_no_pass_over_all_pairs() -> None:
    random = np.random.default_rng(0)
    for m, most in ((1, 2), (2, 2), (3, 20)):
        points = random.random((100_000, m))
        layers_of(points[:9]), hypervolume.hypervolume(points[:9], np.ones(m)), contributions_of(points[:9], np.ones(m))
        start = time.process_time()
        layers = layers_of(points)
        volume = hypervolume.hypervolume(points, np.ones(m))
        contributions_of(points, np.ones(m))
        selected(points, np.ones(m), 25)
        assert time.process_time() - start < most
        assert volume == pytest.approx(moocore.hypervolume(points, ref=np.ones(m)) if m > 1 else 1 - points.min())
        assert sorted(np.flatnonzero(np.array(layers) == 0)) == front_of(points)


@settings(max_examples=60)
@given(
    tables(st.integers(0, 3).map(float), most=8, least_objectives=2),
    st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.5, 1.5, math.inf]), min_size=8, max_size=8),
    st.integers(0, 8),
)
def test_the_first_points_are_whole_layers_and_the_best_of_the_next(
    losses: np.ndarray, penalties: list[float], count: int
) -> None:
    own = np.array(penalties[: len(losses)])
    count = min(count, len(losses))
    chosen = np.full(count, -7)
    ranking.first_by_layers(losses, own, chosen)
    expected = naive.first_by_layers(losses, own, count)
    # where two points of a layer add alike, rounding may decide
    assert sorted(losses[chosen].tolist()) == sorted(losses[expected].tolist()) or len(set(chosen)) == count
    layers = naive.constrained_layers(losses, own)
    assert sorted(layers[i] for i in chosen) == sorted(layers[i] for i in expected)


def test_of_a_layer_that_is_too_large_those_stay_that_add_most_hypervolume() -> None:
    random = np.random.default_rng(3)
    for m in (2, 3):
        losses = np.abs(random.standard_normal((12, m)))
        losses /= np.linalg.norm(losses, axis=1, keepdims=True)
        losses[8:] += 1.0
        for count in (1, 3, 5, 8, 10):
            chosen = np.empty(count, np.int64)
            ranking.first_by_layers(losses, np.zeros(12), chosen)
            assert chosen.tolist() == naive.first_by_layers(losses, np.zeros(12), count)


def test_with_many_objectives_those_of_a_layer_stay_whose_neighbours_are_furthest() -> None:
    losses = np.abs(np.random.default_rng(5).standard_normal((12, 6)))
    losses /= np.linalg.norm(losses, axis=1, keepdims=True)
    chosen = np.empty(8, np.int64)
    ranking.first_by_layers(losses, np.zeros(12), chosen)
    assert chosen.tolist() == naive.survivors(losses, np.zeros(12), 8)


def test_drawn_weights_add_to_one_and_weigh_the_worst_loss() -> None:
    draws = np.empty((2000, 3))
    for i, weights in enumerate(draws):
        improvement.draw_weights(np.array([1, 0, i, 0, 7], np.uint64), weights)
    np.testing.assert_allclose(draws.sum(axis=1), 1)
    np.testing.assert_allclose(draws.mean(axis=0), 1 / 3, atol=0.02)
    assert (np.sort(draws, axis=0)[[20, -20]] > [[0], [0.8]]).all()  # all over the simplex
    weights = np.array([0.5, 0.25, 0.25])
    assert improvement.weighted(np.array([1.0, 3.0, -1.0]), weights) == pytest.approx(-(0.75 + 0.05 * 1.0))


@settings(max_examples=60)
@given(
    tables(st.integers(0, 4).map(float), most=12),
    st.lists(st.sampled_from([0.0, 0.0, 0.5, math.inf]), min_size=12, max_size=12),
    st.integers(0, 12),
)
def test_survivors_are_those_of_the_paper(losses: np.ndarray, penalties: list[float], count: int) -> None:
    own, count = np.array(penalties[: len(losses)]), min(count, len(losses))
    chosen = np.full(count, -7)
    breeding.survivors(losses, own, chosen)
    assert chosen.tolist() == naive.survivors(losses, own, count)


SPACE = SearchSpace(
    {
        "a": Categorical(["x", "y", "z"]),
        "b": Continuous(-3, 3),
        "c": LogUniform(1e-3, 10),
        "d": Discrete(1, 5),
        "e": Discrete(0, 1000, 10, when={"a": ["x", "y"]}),
        "f": Categorical([True, False], when={"d": [1, 2]}),
        "g": Continuous(7, 7),
        "h": Continuous(0, 1, when={"f": True}),
    }
)


def test_children_have_their_parents_parameters_and_about_one_of_their_own() -> None:
    encoded = encode_space(SPACE)
    rows = SPACE.from_unit(uniforms(0, np.arange(20), 0, len(SPACE)))
    parents = np.empty(rows.shape)
    breeding.coordinates_of(encoded.space.axes, np.ascontiguousarray(rows.T), np.arange(20), parents)
    assert parents[3, 2] == coordinate_of_value(encoded.space.axes[2], rows[3, 2])
    children = np.empty((2000, len(SPACE)))
    key = np.array([7, 0, 0, 0, 1], np.uint64)
    breeding.breed(encoded.space, parents, 5.0, key, np.arange(2000, dtype=np.uint64), children)
    children = encoded.on_lattice(children)
    new = 0
    for child in children:
        assert np.array_equal(SPACE.encode(SPACE.decode(child)), child, equal_nan=True)  # active where it has to be
        known = [any(value == row[j] for row in rows) or np.isnan(value) for j, value in enumerate(child)]
        new += known.count(False)
    assert 0.2 < new / 2000 < 1.2  # choices and cells that mutate are some other parent's often
    again = np.empty((1, len(SPACE)))
    breeding.breed(encoded.space, parents, 5.0, key, np.array([1234], np.uint64), again)
    np.testing.assert_array_equal(encoded.on_lattice(again)[0], children[1234])


@pytest.mark.parametrize("m", [2, 3, 4])
def test_an_improvement_is_the_hypervolume_that_a_point_adds(m: int) -> None:
    random = np.random.default_rng(m)
    for n in (1, 2, 5):
        front = np.abs(random.standard_normal((n, m)))
        front /= np.linalg.norm(front, axis=1, keepdims=True)
        front = front[np.lexsort(front.T[::-1])]
        reference = np.full(m, 1.1)
        for _ in range(60):
            point = random.uniform(-0.5, 1.3, m)
            both = naive.hypervolume(np.vstack([front, point]), reference)
            expected = both - naive.hypervolume(front, reference)
            found = improvement.improvement(point, front, reference)
            if expected > 1e-9:
                assert found == pytest.approx(expected, rel=1e-9)
            else:
                assert found < 1e-9
                least = -found * (1 + 1e-9) + 1e-9  # so much lower, and it is no longer dominated
                assert not any(naive.dominates(other, point - least) for other in front)
                assert (point - least <= reference).all()


def test_processes_predict_what_each_of_them_predicts_alone() -> None:
    encoded = encode_space(SPACE)
    random = np.random.default_rng(0)
    d, n, pending = len(SPACE), 13, 3

    def positions(count: int, seed: int) -> np.ndarray:
        from fasthpo.kernels.axes import positions_of_values

        rows = SPACE.from_unit(uniforms(seed, np.arange(count), 0, d))
        points = np.empty((d, count))
        positions_of_values(encoded.space.axes, np.ascontiguousarray(rows.T), np.arange(count), 0, points)
        return points

    points, candidates = positions(n + pending, 1), positions(9, 2)
    hyperparameters, targets = random.normal(size=(2, d + 1)), random.normal(size=(2, n))
    cholesky, alpha, scales = np.zeros((2, n + pending, n + pending)), np.empty((2, n)), np.empty(2)
    for p in range(2):
        scales[p] = gaussian_process.fit(
            encoded.categorical, hyperparameters[p], points, targets[p], cholesky[p], alpha[p]
        )
    centers, spreads = np.array([1.0, -2.0]), np.array([3.0, 0.5])
    several = processes.Processes(
        encoded.categorical, hyperparameters, points, n + pending, scales, cholesky, alpha, centers, spreads
    )
    processes.add_pending_points(several, n, n + pending)
    means, deviations = np.empty((2, 9)), np.empty((2, 9))
    processes.predict_losses(several, candidates, means, deviations)
    for p in range(2):
        alone = gaussian_process.FittedProcess(
            encoded.categorical, hyperparameters[p], points, n + pending, scales[p], cholesky[p], alpha[p]
        )
        mean, deviation = np.empty(9), np.empty(9)
        gaussian_process.predict(alone, candidates, mean, deviation)
        np.testing.assert_allclose(means[p], centers[p] + spreads[p] * mean, rtol=1e-9)
        np.testing.assert_allclose(deviations[p], spreads[p] * deviation, rtol=1e-6, atol=1e-9)
