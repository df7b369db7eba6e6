"""The sample of trials that TPE's joint density holds in a long study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo import Categorical, Continuous, Discrete, LogUniform, SearchSpace, Study, TPESampler
from fasthpo.kernels import axes
from fasthpo.kernels.tpe import above, parzen
from fasthpo.kernels.tpe.densities import Above, Tables
from fasthpo.samplers.encoding import encode_space
from fasthpo.samplers.tpe import model
from fasthpo.samplers.tpe.observations import Observations, scrambled

SPACE = SearchSpace(
    {
        "c": Categorical(["a", "b", "c"]),
        "x": Continuous(-5, 5),
        "l": LogUniform(1e-5, 1e-1, when={"c": ["b"]}),
        "n": Discrete(1, 1000, log=True),
        "k": Discrete(1, 8, when={"c": ["a", "b"]}),
    }
)


NO_TABLES = Tables(np.zeros((0, 0), np.int64), *(np.zeros(0, np.int64) for _ in range(3)))


def filled(n: int, seed: int = 0) -> Study:
    study = Study(SPACE, sampler=fasthpo.RandomSampler(seed=seed))
    batch = study.ask_batch(n)
    study.tell_batch(batch.numbers, np.arange(n, dtype=float))
    return study


def observations(study: Study, most: int | None) -> Observations:
    return Observations(encode_space(study.space).space, 0.15, most)


def in_use(kept: Observations) -> tuple[Any, ...]:
    n = kept.length
    tiles = kept.tiles.store.reshape(len(kept.tiles.store), -1, above.TILE)
    stored = np.moveaxis(tiles, 1, 0).reshape(tiles.shape[1], -1)[:, :n]
    return (
        kept._numbers[:n].tolist(),
        kept.tiles.offsets[:n].tolist(),
        kept.weight(1000),
        np.nan_to_num(stored).tolist(),
    )


def test_all_are_held_up_to_the_limit() -> None:
    study = filled(200)
    kept = observations(study, 200)
    kept.add(study.table, 0, 200)
    assert in_use(kept)[0] == list(range(200))
    assert kept.weight(200) == 1.0
    unlimited = observations(study, None)
    unlimited.add(study.table, 0, 200)
    assert in_use(kept) == in_use(unlimited)


@pytest.mark.parametrize("chunk", [1, 7, 500])
def test_what_is_held_depends_on_the_trials_only(chunk: int) -> None:
    study = filled(500)
    out = set(range(0, 500, 3))
    at_once, bit_by_bit = observations(study, 64), observations(study, 64)
    at_once.add(study.table, 0, 500)
    for number in out:
        at_once.set_counting(study.table, number, False)
    for first in range(0, 500, chunk):
        last = min(first + chunk, 500)
        bit_by_bit.add(study.table, first, last)
        for number in range(first, last):
            # a trial may leave and come back, too
            bit_by_bit.set_counting(study.table, number, False)
            bit_by_bit.set_counting(study.table, number, number not in out)
    assert in_use(at_once) == in_use(bit_by_bit)
    assert 16 <= at_once.length <= 64


def test_the_hash_is_fair() -> None:
    hashes = scrambled(np.arange(1 << 16, dtype=np.uint64))
    assert len(np.unique(hashes)) == len(hashes)
    for bit in range(12):
        share = ((hashes >> np.uint64(bit)) & np.uint64(1)).mean()
        assert abs(share - 0.5) < 4 * 0.5 / 256
        assert abs(((hashes[::4] >> np.uint64(bit)) & np.uint64(1)).mean() - 0.5) < 4 * 0.5 / 128


def test_the_sample_estimates_the_sum_without_bias() -> None:
    """The standard error that the docstring states, over many candidates and studies."""
    arrays = encode_space(SPACE)
    errors, bounds = [], []
    for seed in range(20):
        study = filled(2000, seed)
        queries = SPACE.from_unit(np.random.default_rng(seed).random((10, len(SPACE))))
        coordinates = np.array(
            [[axes.coordinate_of_value(a, v) for a, v in zip(arrays.space.axes, q, strict=True)] for q in queries]
        )
        described, cells = np.zeros((len(SPACE), 4, 10)), np.zeros((len(SPACE), 8, 8))
        parzen.describe(arrays.space.axes, coordinates, described)
        parzen.tabulate_cells(arrays.space.axes, 0.15, cells)
        sums = []
        for most in (None, 300):
            kept = observations(study, most)
            kept.add(study.table, 0, 2000)
            out = np.empty(10)
            g = Above(kept.tiles, kept.length, kept.weight(2000), NO_TABLES, cells, 1.0, 0.15)
            above.above_joint(arrays.space, g, described, np.zeros(10), True, out)
            sums.append(np.exp(-out) - 1)
        assert 150 <= kept.length <= 300
        errors.append(sums[1] / sums[0] - 1)
        bounds.append(kept.weight(2000))
    ratios = np.array(errors)
    assert abs(ratios.mean()) < 4 * ratios.mean(axis=1).std() / np.sqrt(len(ratios))
    assert 5 < np.mean(bounds) < 14


def test_waiting_trials_count_when_they_start() -> None:
    study = Study(SPACE, sampler=fasthpo.RandomSampler(seed=0))
    study.enqueue({"c": "a", "x": 1.0})
    study.ask_batch(0)
    kept = observations(study, 100)
    kept.add(study.table, 0, 1)
    assert kept.tiles.offsets[0] == -np.inf
    study.ask()
    kept.set_counting(study.table, 0, True)
    assert kept.tiles.offsets[0] > -np.inf


def loss(params: dict[str, Any]) -> float:
    return (params["x"] - 1) ** 2 + abs(params["n"] - 30) / 100 + (params["c"] != "b")


@pytest.mark.parametrize("exact", [False, True])
def test_a_long_study_goes_on_as_if_never_stopped(monkeypatch: Any, tmp_path: Path, exact: bool) -> None:
    monkeypatch.setattr(model, "MOST_OBSERVATIONS", 32)
    study = Study(SPACE, sampler=TPESampler(seed=3, exact=exact))
    for i in range(200):
        trial = study.ask()
        study.tell(trial, float("nan") if i % 11 == 0 else loss(trial.params))
    study.save(tmp_path / "study.msgpack")
    loaded = Study.load(tmp_path / "study.msgpack")
    assert loaded.sampler.options() == study.sampler.options()
    for _ in range(60):
        one, other = study.ask(), loaded.ask()
        assert one.params == other.params
        study.tell(one, loss(one.params))
        loaded.tell(other, loss(other.params))
    study.sampler._model.catch_up_above()  # type: ignore[attr-defined]
    held = study.sampler._model._observations.length  # type: ignore[attr-defined]
    assert held >= 259 if exact else held <= 32


def test_exact_and_sampled_agree_until_the_limit(monkeypatch: Any) -> None:
    monkeypatch.setattr(model, "MOST_OBSERVATIONS", 60)
    studies = [Study(SPACE, sampler=TPESampler(seed=4, exact=exact)) for exact in (True, False)]
    same = []
    for _ in range(120):
        trials = [study.ask() for study in studies]
        same.append(trials[0].params == trials[1].params)
        for study, trial in zip(studies, trials, strict=True):
            study.tell(trial, loss(trial.params))
    assert all(same[:60]) and not all(same)
