"""Search spaces for tests: random ones for Hypothesis, with conditions of all shapes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from hypothesis import strategies as st

from fasthpo import Categorical, Continuous, Discrete, LogUniform, SearchSpace


@st.composite
def finite_spaces(draw: Any, most_parameters: int = 5) -> SearchSpace:
    """Up to 5 finite parameters, each with conditions on some of those before it (dead ones left out)."""
    parameters: dict[str, Any] = {}
    for j in range(draw(st.integers(1, most_parameters))):
        when = {}
        for parent, source in parameters.items():
            if draw(st.integers(0, 2)) == 0:
                values = [source.decode(float(source.at(np.array(c)))) for c in range(source.count)]
                when[parent] = draw(st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True))
        kind = draw(st.integers(0, 3))
        count = draw(st.integers(1, 4))
        if kind == 0:
            parameter: Any = Discrete(1, 2 * count - 1, 2, when=when)
        elif kind == 1:
            parameter = Categorical([f"c{i}" for i in range(count)], when=when)
        elif kind == 2:
            parameter = (
                Continuous(0.0, 0.1 * (count - 1), step=0.1, when=when) if count > 1 else LogUniform(3, 3, when=when)
            )
        else:
            parameter = Discrete(1, count, log=True, when=when)
        try:
            SearchSpace({**parameters, f"p{j}": parameter})
        except ValueError:  # conditions that contradict each other
            continue
        parameters[f"p{j}"] = parameter
    return SearchSpace(parameters or {"p": Discrete(0, 1)})


def all_points(space: SearchSpace) -> set[str]:
    """Every point of a finite space, by brute force: the product of all values, inactive ones struck out."""
    values = [p.at(np.arange(p.count)) for p in space.parameters]
    rows = np.array(list(itertools.product(*values)), float)
    return {repr(space.decode(row)) for row in space.deactivate(rows)}
