"""Guesses with their confidence: stated with a parameter, kept with the space, and as distributions."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo import Prior
from fasthpo.errors import InvalidSearchSpace

SPACE = fasthpo.SearchSpace(
    {
        "rate": fasthpo.LogUniform(1e-5, 1.0, prior=Prior(1e-3, confidence=0.8)),
        "kind": fasthpo.Categorical(["a", "b", None], prior=Prior(None, confidence=0.6)),
        "momentum": fasthpo.Continuous(0.0, 1.0, when={"kind": ["b"]}, prior=0.9),
        "layers": fasthpo.Discrete(1, 9, prior=3),
        "width": fasthpo.Discrete(1, 512, log=True, prior=512),
        "step": fasthpo.Continuous(0.0, 1.0, step=0.1, prior=0.3),
        "size": fasthpo.Ordinal(["small", "medium", "large"], prior="large"),
        "betas": fasthpo.Categorical([(0.9, 0.99), (0.9, 0.999)], prior=Prior((0.9, 0.999), 0.7)),
        "rest": fasthpo.Continuous(0.0, 1.0),
    }
)


def test_a_prior_is_kept_with_its_parameter() -> None:
    assert SPACE["rate"].prior == Prior(1e-3, 0.8) and SPACE["layers"].prior == Prior(3) and SPACE["rest"].prior is None
    for same in (
        fasthpo.SearchSpace.from_json(SPACE.to_json()),
        pickle.loads(pickle.dumps(SPACE)),
        copy.deepcopy(SPACE),
    ):
        assert same == SPACE and [one.prior for one in same.parameters] == [one.prior for one in SPACE.parameters]
    assert "prior=Prior(value=3, confidence=0.5)" in repr(SPACE["layers"])
    assert fasthpo.Discrete(1, 9) != fasthpo.Discrete(1, 9, prior=3) != fasthpo.Discrete(1, 9, prior=4)
    assert "prior" not in fasthpo.Discrete(1, 9).to_dict() and fasthpo.SearchSpace({"x": SPACE["rest"]}).priors is None


def test_the_builder_takes_priors() -> None:
    builder = fasthpo.SearchSpaceBuilder().log_uniform("rate", 1e-5, 1.0, prior=Prior(1e-3, 0.8))
    builder.categorical("kind", ["a", "b", None], prior=Prior(None, 0.6))
    builder.continuous("momentum", 0.0, 1.0, when={"kind": ["b"]}, prior=0.9).discrete("layers", 1, 9, prior=3)
    space = builder.ordinal("size", ["small", "medium", "large"], prior="large").build()
    assert space == fasthpo.SearchSpace({name: SPACE[name] for name in space})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: fasthpo.LogUniform(1e-5, 1.0, prior=2.0),
            "the guess of a prior must lie between 1e-05 and 1.0, got 2.0",
        ),
        (
            lambda: fasthpo.Continuous(0.0, 1.0, prior=Prior(float("nan"))),
            "the guess of a prior must be a finite number",
        ),
        (lambda: fasthpo.Discrete(1, 9, prior=2.5), "the guess of a prior must be low"),
        (lambda: fasthpo.Categorical(["a", "b"], prior="c"), "the guess of a prior must be one of"),
        (lambda: fasthpo.Discrete(1, 9, prior={"guess": 3}), "a value and a confidence"),
        (lambda: Prior(1, confidence=1.0), "confidence must be a probability above 0 and below 1, got confidence=1.0"),
        (lambda: Prior(1, confidence=0), "confidence must be a probability above 0 and below 1"),
    ],
)
def test_a_prior_outside_of_its_parameter_is_refused(make: Any, message: str) -> None:
    with pytest.raises(InvalidSearchSpace, match=message):
        make()


def test_the_distribution_is_what_the_confidence_says() -> None:
    priors = SPACE.priors
    assert priors is not None
    units = np.repeat((np.arange(20_000)[:, None] + 0.5) / 20_000, len(SPACE), axis=1)
    moved = priors.shifted(units)
    column = {name: SPACE[name].from_unit(moved[:, j]) for j, name in enumerate(SPACE.names)}
    np.testing.assert_array_equal(moved[:, SPACE.position["rest"]], units[:, 0])
    # 5 % are spread evenly; of the others so many are near as is believed, and a bound cuts off what lies beyond it
    near = np.abs(np.log10(column["rate"]) + 3) <= 0.5
    assert near.mean() == pytest.approx(0.95 * 0.8 + 0.05 * 0.2, abs=0.01)
    assert (column["kind"] == 2).mean() == pytest.approx(0.6, abs=0.001)
    assert (column["kind"] == 0).mean() == pytest.approx(0.2, abs=0.001)
    assert np.bincount(column["layers"].astype(int)).argmax() == 3
    assert np.median(column["width"]) > 150  # half a normal, and a bound cuts off the other half
    # the density is that of the draws: its mean over the range is 1, and over the draws of any part it fits
    rows = np.full((len(units), len(SPACE)), np.nan)
    for k, name in enumerate(name for name in SPACE.names if SPACE[name].prior is not None):
        j = SPACE.position[name]
        rows[:] = np.nan
        rows[:, j] = SPACE[name].from_unit(units[:, j])
        densities = np.exp(priors.logarithms(rows)[:, k])
        assert densities.mean() == pytest.approx(1.0, abs=0.03), name
        part = rows[:, j] <= np.median(rows[:, j])
        share = (column[name] <= np.median(rows[:, j])).mean()
        assert densities[part].sum() / len(units) == pytest.approx(share, abs=0.03), name
    rows[:] = np.nan
    assert (priors.logarithms(rows) == 0).all()  # what is inactive says nothing


def test_a_constant_and_a_single_choice_may_have_a_prior() -> None:
    space = fasthpo.SearchSpace(
        {
            "sure": fasthpo.Continuous(0.0, 1.0, prior=Prior(0.5, 1 - 1e-16)),
            "c": fasthpo.Continuous(1.0, 1.0, prior=1.0),
            "k": fasthpo.Categorical(["a"], prior=Prior("a", 1e-300)),
            "u": fasthpo.Discrete(1, 9, prior=Prior(1, 1e-300)),
            "x": SPACE["rest"],
        }
    )
    study = fasthpo.Study(space, sampler=fasthpo.AutoSampler(seed=0))
    for _ in range(15):
        trial = study.ask()
        study.tell(trial, trial["x"])
    assert trial["c"] == 1.0 and trial["k"] == "a"


def test_a_prior_of_an_extreme_range_is_a_distribution_too() -> None:
    space = fasthpo.SearchSpace(
        {
            "wide": fasthpo.Continuous(-8e307, 8e307, prior=0.0),
            "narrow": fasthpo.Continuous(-1e-320, 1e-320, prior=0.0),
            "all": fasthpo.LogUniform(5e-324, 1.7e308, prior=1.0),
            "neighbours": fasthpo.LogUniform(1.0, float(np.nextafter(1.0, 2.0)), prior=1.0),
            "many": fasthpo.Discrete(0, 2**52, prior=7),
            "few": fasthpo.Discrete(1, 3, log=True, prior=1),
        }
    )
    priors = space.priors
    assert priors is not None
    units = np.repeat((np.arange(2001)[:, None] + 0.5) / 2001, len(space), axis=1)
    with np.errstate(all="raise"):
        moved, densities = priors.shifted(units), np.exp(priors.logarithms(space.from_unit(units)))
    assert ((moved >= 0) & (moved < 1)).all() and np.isfinite(densities).all()
    some = [space.position[name] for name in space.names if name != "neighbours"]  # which are two floats
    np.testing.assert_allclose(densities[:, some].mean(axis=0), 1.0, atol=0.01)
