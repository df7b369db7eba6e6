"""What samplers make of priors: the guess first, more near it at the start, less as trials come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo import Prior

SPACE = {
    "x": fasthpo.Continuous(0.0, 1.0, prior=Prior(0.8, 0.9)),
    "kind": fasthpo.Categorical(["a", "b"], prior="b"),
    "y": fasthpo.Continuous(0.0, 1.0, when={"kind": ["b"]}, prior=0.2),
    "n": fasthpo.Discrete(0, 100),
}


def loss(params: Any) -> float:
    return float((params["x"] - 0.3) ** 2 + abs(params.get("y", 0.9) - 0.5) + params["n"] / 1000)


def run(study: fasthpo.Study, trials: int) -> None:
    for _ in range(trials):
        trial = study.ask()
        study.tell(trial, float("nan") if trial.number % 11 == 10 else loss(trial))


@pytest.mark.parametrize("sampler", [fasthpo.TPESampler, fasthpo.AutoSampler])
def test_a_wrong_prior_leads_the_start_and_is_left(sampler: Any) -> None:
    study = fasthpo.Study(SPACE, sampler=sampler(seed=0))
    run(study, 80)
    first = study.trials[0].params
    assert (first["x"], first["kind"], first["y"]) == (0.8, "b", 0.2)
    x = study.columns["x"]
    assert (np.abs(x[:10:2] - 0.8) < 0.2).all() and (np.abs(x[1:10:2] - 0.8) > 0.2).any()
    assert study.best_value < 0.06  # 0.2 where x and y are as was guessed


def test_points_that_no_prior_is_about_are_as_without_it() -> None:
    plain = {**SPACE, "x": fasthpo.Continuous(0.0, 1.0), "kind": fasthpo.Categorical(["a", "b"])}
    plain["y"] = fasthpo.Continuous(0.0, 1.0, when={"kind": ["b"]})
    two = [fasthpo.Study(space, sampler=fasthpo.TPESampler(seed=0)) for space in (SPACE, plain)]
    rows = [[study.ask().params for _ in range(10)] for study in two]
    assert rows[0][1::2] == rows[1][1::2] and rows[0][::2] != rows[1][::2]
    assert [one["n"] for one in rows[0]] == [one["n"] for one in rows[1]]


@pytest.mark.parametrize("sampler", [fasthpo.TPESampler, fasthpo.AutoSampler])
def test_a_study_with_priors_goes_on_from_its_files_bit_for_bit(tmp_path: Path, sampler: Any) -> None:
    whole = fasthpo.Study(SPACE, sampler=sampler(seed=3))
    run(whole, 36)
    study = fasthpo.Study(SPACE, sampler=sampler(seed=3), storage=tmp_path / "s")
    run(study, 7)
    study.close()
    study = fasthpo.Study.load(tmp_path / "s")
    assert study.space == fasthpo.SearchSpace(SPACE)
    run(study, 15)
    study.close()
    study = fasthpo.Study.load(tmp_path / "s")
    run(study, 14)
    assert study.table.params.tobytes() == whole.table.params.tobytes()


def test_a_batch_is_what_single_asks_are() -> None:
    one, many = (fasthpo.Study(SPACE, sampler=fasthpo.AutoSampler(seed=5)) for _ in range(2))
    for study in (one, many):
        run(study, 14)
    single = [one.ask().params for _ in range(5)]
    batch = many.ask_batch(5)
    assert [{name: x for name, x in batch[i].items() if x is not None} for i in range(5)] == single


@pytest.mark.parametrize(
    "options",
    [
        {"sampler": fasthpo.TPESampler(seed=0, multivariate=False)},
        {"sampler": fasthpo.TPESampler(seed=0, cost_aware=True)},
        {"strategy": fasthpo.ASHA(max_resource=9, sampler=fasthpo.TPESampler(seed=0))},
        {"sampler": fasthpo.TPESampler(seed=0), "directions": ["minimize", "maximize"]},
        {"sampler": fasthpo.TPESampler(seed=0), "direction": "maximize", "noisy": True},
    ],
)
def test_priors_go_with_all_else(options: dict[str, Any]) -> None:
    study = fasthpo.Study(SPACE, **options)
    for _ in range(30):
        trial = study.ask()
        study.tell(trial, [loss(trial), 1.0] if len(study.directions) > 1 else loss(trial))
    assert study.trials[0]["x"] == 0.8 and len(study) >= 15
    for trial in study.trials:
        study.space.validate(trial.params)


def test_priors_go_with_relations_and_with_bounds_that_depend_on_others() -> None:
    space = fasthpo.SearchSpace(
        {
            "low": fasthpo.Discrete(1, 50, prior=Prior(10, 0.9)),
            "high": fasthpo.Discrete("low", 50, prior=20),
            "x": fasthpo.Continuous(0.0, 1.0, prior=0.9),
            "y": fasthpo.Continuous(0.0, 1.0),
        }
    ).require("x + y <= 1.5")
    assert fasthpo.SearchSpace.from_json(space.to_json()) == space and space["high"].prior == Prior(20)
    study = fasthpo.Study(space, sampler=fasthpo.AutoSampler(seed=0))
    for _ in range(25):
        trial = study.ask()
        assert trial["low"] <= trial["high"] and trial["x"] + trial["y"] <= 1.5
        study.tell(trial, abs(trial["low"] - 12) + trial["y"])
    first = study.trials[0]
    assert (first["low"], first["high"], first["x"]) == (10, 20, 0.9) and study.best_value < 5
    with pytest.raises(fasthpo.errors.InvalidSearchSpace, match="the guess of a prior must lie"):
        fasthpo.SearchSpace({"low": fasthpo.Discrete(1, 50), "high": fasthpo.Discrete("low", 50, prior=60)})


def test_guesses_that_relations_forbid_together_lead_all_the_same() -> None:
    x, y = (fasthpo.Continuous(0.0, 1.0, prior=Prior(0.9, 0.9)) for _ in range(2))
    z = fasthpo.Continuous(0.0, 1.0, when={"kind": ["a"]}, prior=0.5)
    space = {"x": x, "y": y, "kind": fasthpo.Categorical(["a", "b"]), "z": z}
    forbidden = fasthpo.Study(fasthpo.SearchSpace(space).require("x + y <= 1.5"), sampler=fasthpo.TPESampler(seed=0))
    assert max(sum((trial["x"], trial["y"])) for trial in (forbidden.ask() for _ in range(10))) <= 1.5
    for seed in range(4):  # whether z is active is nobody's guess
        study = fasthpo.Study(fasthpo.SearchSpace(space).require("x >= z"), sampler=fasthpo.TPESampler(seed=seed))
        params = study.ask().params
        assert params["x"] == params["y"] == 0.9 and params.get("z", 0.5) == 0.5


def test_a_finite_space_with_priors_is_used_up_once() -> None:
    space = {"k": fasthpo.Discrete(1, 8, prior=2), "c": fasthpo.Categorical(["a", "b"], prior="b")}
    study = fasthpo.Study(space, sampler=fasthpo.AutoSampler(seed=0))
    for _ in range(16):
        trial = study.ask()
        study.tell(trial, float(trial["k"]))
    assert len({tuple(trial.params.items()) for trial in study.trials}) == 16
    with pytest.raises(fasthpo.SpaceExhausted):
        study.ask()


def test_what_trials_say_counts_more_than_a_prior_and_in_the_end_alone() -> None:
    rng = np.random.default_rng(0)
    points = {"x": rng.random(60), "u": rng.random(60)}
    distance = {}
    for best in (0.85, 0.1):  # of trials that agree with the prior, and of trials that do not
        studies = []
        for prior in (Prior(0.9, 0.9), None):
            space = {"x": fasthpo.Continuous(0.0, 1.0, prior=prior), "u": fasthpo.Continuous(0.0, 1.0)}
            study = fasthpo.Study(space, sampler=fasthpo.TPESampler(seed=0))
            study.add_trials(points, (points["x"] - best) ** 2 + points["u"])
            studies.append(study)
        led, plain = ([study.ask()["x"] for _ in range(208)] for study in studies)
        distance[best] = np.abs(np.array(led[10:50]) - 0.9).mean() - np.abs(np.array(plain[10:50]) - 0.9).mean()
        assert np.abs(np.array(led[200:]) - best).mean() < 0.3
    assert distance[0.85] < -0.01 and abs(distance[0.1]) < 0.1
