"""Chains of a thousand conditions, each parameter depending on the one before."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo import Categorical, Continuous, Discrete, InvalidSearchSpace, SearchSpace, SearchSpaceBuilder

DEPTH = 1000
FULL = {f"p{i}": "a" for i in range(DEPTH)}


def chain(**more: fasthpo.Parameter) -> dict[str, fasthpo.Parameter]:
    links = {f"p{i}": Categorical(["a", "b"], when={f"p{i - 1}": "a"} if i else None) for i in range(DEPTH)}
    return {**links, **more}


def built() -> SearchSpace:
    builder = SearchSpaceBuilder()
    for i in range(DEPTH):
        builder.categorical(f"p{i}", ["a", "b"], when={f"p{i - 1}": "a"} if i else None)
    return builder.build()


SPACES: dict[str, Callable[[], SearchSpace]] = {
    "mapping": lambda: SearchSpace(chain()),
    "builder": built,
    "children before parents": lambda: SearchSpace(dict(reversed(chain().items()))),
    "JSON": lambda: SearchSpace.from_json(SearchSpace(chain()).to_json()),
}


@pytest.mark.parametrize("make", SPACES.values(), ids=SPACES)
def test_a_long_chain_of_conditions_is_a_space_as_any_other(make: Callable[[], SearchSpace]) -> None:
    space = make()
    assert space.size == DEPTH + 1  # "b" at any depth, or "a" all the way
    assert space == SearchSpace.from_json(space.to_json()) and hash(space) == hash(make())
    points = [{**{f"p{i}": "a" for i in range(depth)}, f"p{depth}": "b"} for depth in (0, 1, 500, DEPTH - 1)]
    for point in [*points, FULL]:
        row = space.encode(point)
        (index,) = space.cells.index(row[None, :])
        assert (
            space.decode(row)
            == space.decode(space.cells.point(index))
            == {name: point[name] for name in space if name in point}
        )
    indices = range(DEPTH + 1)
    rows = np.array([space.cells.point(index) for index in indices])
    assert list(space.cells.index(rows)) == list(indices) and len({row.tobytes() for row in rows}) == DEPTH + 1
    for copied in (pickle.loads(pickle.dumps(space)), copy.deepcopy(space), copy.copy(space)):  # enumerated by now
        assert copied == space and copied.size == space.size
    assert copy.deepcopy(space.cells).size == space.size


@pytest.mark.parametrize(
    "sampler",
    [fasthpo.RandomSampler(seed=0), fasthpo.TPESampler(seed=0, n_startup_trials=4), fasthpo.GridSampler(), fasthpo.QMCSampler(seed=0)],
    ids=lambda sampler: type(sampler).__name__,
)  # fmt: skip
def test_a_study_searches_a_long_chain(sampler: fasthpo.Sampler, tmp_path: Path) -> None:
    space = SearchSpace(chain())
    with fasthpo.Study(space, sampler=sampler, direction="maximize", storage=tmp_path / "s") as study:
        study.enqueue({f"p{DEPTH - 1}": "a"})  # which needs all the others
        for _ in range(6):
            trial = study.ask()
            study.tell(trial, len(trial))
        study.add_trials({name: ["a"] for name in space} | {f"p{DEPTH - 1}": ["b"]}, [DEPTH])
        assert study.best_params == FULL and study.best_value == DEPTH
    with fasthpo.Study.load(tmp_path / "s") as loaded:
        assert [trial.params for trial in loaded.trials] == [trial.params for trial in study.trials]
        loaded.tell(loaded.ask(), 0.0)
    wider = SearchSpace(
        chain(
            x=Discrete(1, 3, when={f"p{DEPTH - 1}": "z"}),
            **{f"p{DEPTH - 1}": Categorical(["a", "b", "z"], when={f"p{DEPTH - 2}": "a"})},
        )
    )
    with fasthpo.Study.load(tmp_path / "s", space=wider) as wide:
        assert wide.best_params == FULL


def test_a_long_chain_ends_in_a_continuum_or_in_many_points() -> None:
    space = SearchSpace(chain(x=Continuous(0.0, 1.0, n_points=3, when={f"p{DEPTH - 1}": "a"})))
    assert space.size is None and fasthpo.GridSampler().grid_size(space) == DEPTH + 3
    study = fasthpo.Study(space, sampler=fasthpo.TPESampler(seed=0))
    study.add_trials({**{name: [choice] * 2 for name, choice in FULL.items()}, "x": [0.25, 0.75]}, [1.0, 2.0])
    study.tell(study.ask(), 0.0)
    steps = SearchSpace({f"n{i}": Discrete(1, 5, when={f"n{i - 1}": [2, 3]} if i else None) for i in range(DEPTH)})
    points = 5
    for _ in range(DEPTH - 1):
        points = 3 + 2 * points
    assert steps.size == points
    assert [int(steps.cells.index(steps.cells.point(k)[None, :])[0]) for k in (0, points // 3, points - 1)] == [
        0,
        points // 3,
        points - 1,
    ]


def test_parents_further_up_the_chain_are_counted_too() -> None:
    links = {f"p{i}": Categorical(["a", "b"], when={f"p{j}": "a" for j in range(max(0, i - 2), i)}) for i in range(300)}
    space = SearchSpace(links)
    assert space.size == 301
    assert list(space.cells.index(np.array([space.cells.point(k) for k in (0, 150, 300)]))) == [0, 150, 300]


def test_what_is_wrong_at_the_end_of_a_long_chain_is_said() -> None:
    last = f"p{DEPTH - 1}"
    wrong: list[tuple[dict[str, Any], str]] = [
        (chain(p0=Categorical(["a", "b"], when={last: "a"})), "conditions must not form a cycle, got one among 'p0', 'p1'"),
        (chain(x=Discrete(1, 3, when={last: "a", "p0": "b"})), "'x' can never be active: its conditions on 'p0', with those of its parents"),
        (chain(x=Discrete(1, 3, when={last: "z"})), f"'x' depends on '{last}'='z'"),
    ]  # fmt: skip
    for parameters, message in wrong:
        with pytest.raises(InvalidSearchSpace, match=message):
            SearchSpace(parameters)
    with pytest.raises(fasthpo.InvalidParameters, match=f"'{last}' is missing"):
        SearchSpace(chain()).encode({name: "a" for name in FULL if name != last})


def test_parameters_that_share_a_condition_share_what_it_means() -> None:
    kinds = {"kind": Categorical(["a", "b", "c"]), "n": Discrete(1, 9)}
    several = {f"p{i}": Discrete(1, 3, when={"kind": ["a", "c"], "n": fasthpo.at_least(3)}) for i in range(3)}
    other = {"q": Discrete(1, 3, when={"kind": "b", "n": [1, 2]})}
    conditions = SearchSpace({**kinds, **several, **other}).conditions
    assert conditions[3][0].allowed is conditions[2][0].allowed and conditions[4][1].allowed is conditions[2][1].allowed
    assert conditions[2][0].allowed.ends() == [(0.0, 0.0), (2.0, 2.0)] and conditions[2][1].allowed.ends() == [(3, 9)]
    assert conditions[5][0].allowed.ends() == [(1.0, 1.0)] and conditions[5][1].allowed.ends() == [(1, 2)]
