"""Studies to be looked at: a usual one, one with everything, and those at the edges."""

from __future__ import annotations

import math

import numpy as np

import fasthpo
from fasthpo import TrialState

SPACE = fasthpo.SearchSpace(
    {
        "learning_rate": fasthpo.LogUniform(1e-5, 1.0),
        "dropout": fasthpo.Continuous(0.0, 0.9),
        "width": fasthpo.Discrete(2, 32, 2),
        "optimizer": fasthpo.Categorical(["adamw", "sgd", "<b>$x$</b>"]),
        "momentum": fasthpo.Continuous(0.0, 1.0, when={"optimizer": ["sgd", "adamw"]}),
    }
)


def reported(n: int = 80, direction: str = "minimize") -> fasthpo.Study:
    """Trials that report, of which some are pruned, and some fail."""
    study = fasthpo.Study(
        SPACE, sampler=fasthpo.RandomSampler(seed=3), direction=direction,
        pruner=fasthpo.MedianPruner(n_startup_trials=5),
    )  # fmt: skip
    sign = 1.0 if direction == "minimize" else -1.0
    for i in range(n):
        trial = study.ask()
        if i % 13 == 4:
            study.tell(trial, state=TrialState.FAILED, error=f"ValueError: loss is nan at step {i}")
            continue
        loss = 0.1 + (math.log10(trial["learning_rate"]) + 2.5) ** 2 + trial["dropout"] ** 2
        for epoch in range(6):
            trial.report(sign * (loss + math.exp(-epoch)), epoch)
            if trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, sign * loss)
    return study


def many(n: int, direction: str = "minimize") -> fasthpo.Study:
    """Trials told in batches, one in 17 of which failed."""
    study = fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=3), direction=direction)
    numbers = study.ask_batch(n).numbers
    for some in np.array_split(numbers, 50):
        columns = {name: column[some] for name, column in study.columns.items()}
        loss = (np.log10(columns["learning_rate"]) + 2.5) ** 2 + columns["dropout"] + np.nan_to_num(columns["momentum"])
        loss[some % 17 == 3] = np.nan
        study.tell_batch(some, loss if direction == "minimize" else -loss)
    return study


def halving(n: int = 60) -> fasthpo.Study:
    """Trials under Hyperband, of which some fail."""
    study = fasthpo.Study(SPACE, strategy=fasthpo.Hyperband(27), direction="maximize")
    for i in range(n):
        trial = study.ask()
        if i % 11 == 3:
            study.tell(trial, state=TrialState.FAILED, error="RuntimeError: out of memory")
        else:
            study.tell(trial, (1 - trial["dropout"]) * (1 - math.exp(-(trial.resource or 0) / 9)))
    study.ask()
    return study


def told(values: list[float], direction: str = "minimize") -> fasthpo.Study:
    """Trials of two parameters with these values; NaN: failed."""
    space = {"x": fasthpo.Continuous(0.0, 1.0), "y": fasthpo.LogUniform(1e-3, 1.0)}
    study = fasthpo.Study(space, sampler=fasthpo.RandomSampler(seed=0), direction=direction)
    for value in values:
        study.tell(study.ask(), value)
    return study


def edges() -> dict[str, fasthpo.Study]:
    """Studies of which a picture may not know what to make."""
    wide = fasthpo.SearchSpace(
        {
            "x": fasthpo.Continuous(-8e307, 8e307),
            "n": fasthpo.Discrete(-(2**53), 2**53),
            "l": fasthpo.LogUniform(1e-300, 1e300),
            "d": fasthpo.Discrete(1, 2**50, log=True),
            "s": fasthpo.Continuous(0.0, 1.0, step=0.1),
        }
    )
    long = "a very long choice that goes on and on, number"
    fifty = fasthpo.SearchSpace(
        {f"a_rather_long_name_of_a_parameter_{i}": fasthpo.Continuous(0.0, 1.0) for i in range(48)}
        | {"$many_$": fasthpo.Categorical([f"{long} {i}" for i in range(30)])}
        | {"odd": fasthpo.Categorical([True, None, 1, 1.0, "", "a\nb", "\x00"])}
    )
    studies = {
        "empty": told([]),
        "failed": told([math.nan] * 5),
        "one": told([1.5]),
        "same": told([1.0] * 8),
        "huge": told([1.7e308, -1.7e308, math.inf, -math.inf, 0.0, 5e-324, 1e300, 1.0]),
        "infinite": told([math.inf] * 3),
        "decades": told([10.0 ** (i - 5) for i in range(30)], "maximize"),
    }
    constant = {"c": fasthpo.Categorical(["only"]), "k": fasthpo.Discrete(3, 3)}
    for name, space in (("wide", wide), ("fifty", fifty), ("constant", fasthpo.SearchSpace(constant))):
        study = fasthpo.Study(space, sampler=fasthpo.RandomSampler(seed=1))
        for i in range(1 if name == "constant" else 40):
            study.tell(study.ask(), float(i % 7))
        studies[name] = study
    studies["running"] = told([])
    studies["running"].ask()
    studies["running"].enqueue({"x": 0.5})
    steps = told([])
    for i in range(4):
        trial = steps.ask()
        for step in (0, 10**6, 10**12, 3):
            trial.report(math.nan if step == 3 else step * (i + 1.0), step)
        steps.tell(trial, float(i))
    studies["steps"] = steps
    return studies
