"""A kind of parameter brings its own axis: no sampler and no kernel knows the kinds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo import Categorical, Continuous, Discrete, LogUniform, Parameter, SearchSpace, Study
from fasthpo.errors import InvalidParameters
from fasthpo.kernels.axes import COARSE, KIND, numeric_axis
from fasthpo.samplers.encoding import encode_space
from fasthpo.space.parameter import Lattice

SIZES = ("S", "M", "L", "XL")


class Ordinal(Parameter):
    """Choices that have an order: all that a new kind of parameter has to say."""

    __slots__ = ("choices",)
    kind = "ordinal"
    fields = ("choices",)

    def __init__(self, choices: tuple[str, ...], when: Any = None) -> None:
        super().__init__(when)
        self._set("choices", choices)
        self._set("lattice", Lattice(0.0, len(choices) - 1.0, len(choices) - 1, 1.0, 0.0, 0, False, 1.0))

    @property
    def count(self) -> int:
        return len(self.choices)

    def encode(self, value: Any) -> float:
        if value not in self.choices:
            raise InvalidParameters(f"must be one of {self.choices}, got {value}")
        return float(self.choices.index(value))

    def decode(self, column_value: float) -> str:
        return self.choices[int(column_value)]

    def from_unit(self, unit: np.ndarray) -> np.ndarray:
        return np.floor(np.minimum(unit * self.count, self.count - 1))

    def axis(self) -> list[float]:
        return numeric_axis(0.0, self.count - 1.0, 1.0, False, self.count)


SAMPLERS: dict[str, Callable[[], fasthpo.Sampler]] = {
    "tpe": lambda: fasthpo.TPESampler(5, seed=0),
    "tpe-univariate": lambda: fasthpo.TPESampler(5, seed=0, multivariate=False),
    "cma-es": lambda: fasthpo.CmaEsSampler(4, seed=0),
    "nsga-ii": lambda: fasthpo.NSGAIISampler(4, seed=0),
    "random": lambda: fasthpo.RandomSampler(seed=0),
    "quasi-random": lambda: fasthpo.QMCSampler(seed=0),
    "grid": lambda: fasthpo.GridSampler(seed=0),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_take_a_kind_of_parameter_that_they_never_heard_of(name: str) -> None:
    space = SearchSpace({"size": Ordinal(SIZES), "n": Discrete(1, 12), "c": Categorical(["a", "b"])})
    study = Study(space, sampler=SAMPLERS[name]())
    points = []
    for _ in range(40):
        trial = study.ask()
        points.append(trial.params)
        study.tell(trial, abs(SIZES.index(trial["size"]) - 2) + 0.1 * abs(trial["n"] - 4))
    assert {point["size"] for point in points} >= ({"S"} if name == "grid" else {"M", "L"})
    if name.startswith("tpe"):
        assert study.best_params["size"] == "L"


def test_an_order_is_learnt_where_there_is_one() -> None:
    """Neighbours of a good choice are looked at next: of eight choices, one half is good."""
    letters = tuple("abcdefgh")
    near = []
    for seed in range(8):
        space = SearchSpace({"o": Ordinal(letters), "x": Continuous(0, 1)})
        study = Study(space, sampler=fasthpo.TPESampler(10, seed=seed))
        for _ in range(60):
            trial = study.ask()
            study.tell(trial, abs(letters.index(trial["o"]) - 6) + trial["x"])
        near.append(np.mean([letters.index(trial["o"]) >= 4 for trial in study.trials][10:]))
    assert np.mean(near) > 0.7


def test_what_each_axis_is() -> None:
    encoded = encode_space(
        SearchSpace(
            {
                "x": Continuous(0, 1),
                "s": Continuous(0, 1, step=0.01),
                "l": LogUniform(1e-3, 1, when={"c": ["a"]}),
                "k": Discrete(1, 5),
                "c": Categorical(["a", "b", "c"]),
                "o": Ordinal(SIZES),
                "one": Discrete(3, 3),
                "only": Categorical(["a"]),
            }
        )
    )
    assert encoded.numeric.tolist() == [True, True, True, True, False, True, False, False]
    assert encoded.continuous.tolist() == [True, False, True, False, False, False, False, False]
    assert encoded.movable.tolist() == encoded.continuous.tolist()
    assert encoded.categorical.tolist() == [False] * 4 + [True] + [False] * 3
    assert encoded.cells.tolist() == [0, 0, 0, 5, 3, 4, 0, 0]
    assert encoded.stepped.tolist() == [1, 3, 5]
    assert encoded.space.axes[5, KIND] == COARSE
    assert encoded.space.conditional.tolist() == [name == 2 for name in range(8)]
    assert encoded.space.conditions.tolist() == [[2, 4, 0, 1]] and encoded.space.allowed.tolist() == [[0.0, 0.0]]
