"""The search spaces that samplers are checked on: each kind of parameter, conditions, one point, many parameters.

Parameters without values to count have `n_points`, so that a grid can be made of them, too.
"""

from __future__ import annotations

from fasthpo.space.kinds import Categorical, Continuous, Discrete, LogUniform
from fasthpo.space.search_space import SearchSpace

SPACES = {
    "conditional": SearchSpace(
        {
            "x": Continuous(-1.0, 1.0, n_points=9),
            "kind": Categorical(["a", True, 1, 1.5, None]),
            "rate": LogUniform(1e-3, 1.0, n_points=5, when={"kind": ["a", 1]}),
            "units": Discrete(1, 100, log=True),
            "deep": Categorical([False, True], when={"kind": ["a", None]}),
            "deeper": Continuous(0.0, 1.0, step=0.25, when={"deep": [True], "kind": ["a"]}),
        }
    ),
    "continuous": SearchSpace(
        {"x": Continuous(-5.0, 5.0, n_points=9), "small": Continuous(0.1, 0.1 + 1e-9, n_points=9)}
    ),
    "logarithmic": SearchSpace({"x": LogUniform(1e-8, 1e8, n_points=9), "narrow": LogUniform(3.0, 3.1, n_points=9)}),
    "stepped": SearchSpace({"x": Continuous(0.1, 9.9, step=0.1), "y": Continuous(-1.0, 0.9, step=0.1)}),
    "discrete": SearchSpace(
        {"x": Discrete(8, 128, 8), "y": Discrete(1, 1000, log=True), "huge": Discrete(-(2**51), 2**51)}
    ),
    "categorical": SearchSpace({"x": Categorical(["a", "b", "c"]), "y": Categorical([None, False, 0.5, 7, "7", "é"])}),
    "finite": SearchSpace(
        {
            "x": Continuous(-1.0, 1.0, step=0.5),
            "units": Discrete(1, 3),
            "kind": Categorical(["a", "b"]),
            "more": Discrete(1, 2, when={"kind": ["a"]}),
        }
    ),
    "one point": SearchSpace({"x": Categorical(["only"]), "y": Discrete(3, 3), "z": Continuous(0.5, 0.5)}),
    "large": SearchSpace(
        {f"x{i}": Continuous(0.0, 1.0 + i, n_points=5) for i in range(12)}
        | {f"rate{i}": LogUniform(1e-5, 1.0, n_points=5) for i in range(6)}
        | {f"kind{i}": Categorical(["a", "b", "c"]) for i in range(6)}
        | {f"units{i}": Discrete(1, 64, when={f"kind{i}": ["a", "b"]}) for i in range(6)}
    ),
}
FINITE = ("finite", "one point")
