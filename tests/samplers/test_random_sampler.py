"""Random search and the streams behind it, by distribution, and by the published vectors of Philox."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chisquare, kstest

import fasthpo
from fasthpo import Categorical, Continuous, Discrete, LogUniform, RandomSampler, SearchSpace, Study
from fasthpo.kernels.streams import philox, uniforms

# Random123's known answers for philox4x32 with 10 rounds: counter, key, result
KNOWN = [
    ([0, 0, 0, 0], [0, 0], [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_philox_gives_the_published_answers(counter: list[int], key: list[int], expected: list[int]) -> None:
    words = philox(*(np.uint64(w) for w in counter + key))
    assert [int(w) for w in words] == expected


def test_uniforms_depend_on_seed_draw_and_stream_only() -> None:
    whole = uniforms(7, np.arange(100), 3, 5)
    assert np.array_equal(uniforms(7, np.array([42]), 3, 5)[0], whole[42])
    assert np.array_equal(uniforms(7, np.arange(99, -1, -1), 3, 5), whole[::-1])
    assert np.array_equal(uniforms(7, np.arange(100), 3, 2), whole[:, :2])
    for other in (
        uniforms(8, np.arange(100), 3, 5),
        uniforms(7 + 2**32, np.arange(100), 3, 5),
        uniforms(7, np.arange(100), 4, 5),
    ):
        assert not np.isin(other, whole).any()
    assert whole.min() >= 0 and whole.max() < 1
    assert uniforms(7, np.empty(0, np.int64), 3, 5).shape == (0, 5)


@pytest.mark.parametrize("axis", [0, 1])
def test_uniforms_are_uniform_and_uncorrelated(axis: int) -> None:
    numbers = uniforms(1, np.arange(20_000), 0, 4)
    assert all(kstest(numbers[:, j], "uniform").pvalue > 0.001 for j in range(4))
    correlation = np.corrcoef(numbers.T if axis else np.stack([numbers[:-1, 0], numbers[1:, 0]]))
    assert np.abs(correlation - np.eye(len(correlation))).max() < 0.03


SPACE = SearchSpace(
    {
        "u": Continuous(-2, 6),
        "l": LogUniform(1e-4, 1),
        "n": Discrete(1, 10),
        "g": Discrete(1, 100, log=True),
        "c": Categorical(["a", "b", "c"]),
        "m": Continuous(0, 1, when={"c": ["b"]}),
    }
)


def test_each_parameter_has_its_prior() -> None:
    n = 30_000
    batch = Study(SPACE, sampler=RandomSampler(seed=0)).ask_batch(n).params
    assert kstest(batch["u"], "uniform", (-2, 8)).pvalue > 0.001
    assert kstest(np.log10(batch["l"]), "uniform", (-4, 4)).pvalue > 0.001
    assert chisquare(np.bincount(batch["n"].astype(int))[1:]).pvalue > 0.001
    assert chisquare([(batch["c"] == c).sum() for c in "abc"]).pvalue > 0.001
    cells = np.arange(1, 101)
    share = np.log((cells + 0.5) / (cells - 0.5)) / np.log(100.5 / 0.5)
    assert chisquare(np.bincount(batch["g"].astype(int), minlength=101)[1:], n * share).pvalue > 0.001
    active = ~np.isnan(batch["m"])
    assert (active == (batch["c"] == "b")).all()
    assert kstest(batch["m"][active], "uniform").pvalue > 0.001


def test_the_same_points_whatever_the_number_of_workers() -> None:
    one, four = (Study(SPACE, sampler=RandomSampler(seed=9)) for _ in range(2))
    sequential = []
    for _ in range(40):
        trial = one.ask()
        sequential.append(trial.params)
        one.tell(trial, 0.0)
    parallel = []
    for _ in range(10):
        trials = [four.ask() for _ in range(4)]
        parallel += [t.params for t in trials]
        for trial in reversed(trials):
            four.tell(trial, 1.0)
    assert parallel == sequential
    batch = Study(SPACE, sampler=RandomSampler(seed=9)).ask_batch(40)
    assert [batch[i] for i in range(40)] == sequential


def test_seeds_are_honoured_drawn_and_kept() -> None:
    points = [Study(SPACE, sampler=RandomSampler(seed=s)).ask().params for s in (0, 0, 1, 2**64 - 1)]
    assert points[0] == points[1] and len({repr(p) for p in points}) == 3
    drawn = RandomSampler()
    assert Study(SPACE, sampler=drawn).ask().params == Study(SPACE, sampler=RandomSampler(drawn.seed)).ask().params
    assert RandomSampler().seed != drawn.seed
    for bad in (-1, 2**64, 1.5, "0", True):
        with pytest.raises(fasthpo.InvalidValue, match="seed must be None or an integer from 0"):
            RandomSampler(seed=bad)


def test_a_million_cells_are_never_repeated_early() -> None:
    space = SearchSpace({"a": Discrete(0, 9_999_999)})  # a table, not a bitmap
    study = Study(space, sampler=RandomSampler(seed=0))
    values = [study.ask()["a"] for _ in range(20_000)]
    assert len(set(values)) == 20_000
    repeated = len(values) - len(np.unique(RandomSampler(seed=0).suggest_batch(study.table, np.arange(20_000))))
    assert repeated > 0  # so there was something to avoid
