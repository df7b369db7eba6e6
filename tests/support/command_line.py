"""Studies on disk for the tests of the command line, and how its commands are called in this process."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

import fasthpo
from fasthpo import TrialState
from fasthpo.cli.group import commands

HOSTILE = "</script><script>window.hacked = 1</script><b onclick=alert(1)>\"'&amp;`${1}\x1b[31m\u202e"
SPACE = fasthpo.SearchSpace(
    {
        "lr": fasthpo.LogUniform(1e-5, 1e-1),
        "layers": fasthpo.Discrete(1, 64, log=True),
        "optimizer": fasthpo.Categorical(["adam", "sgd", None]),
        "momentum": fasthpo.Continuous(0.0, 0.99, when={"optimizer": "sgd"}),
        "value": fasthpo.Categorical([True, False, 1, 1.5]),  # called as another column is
    }
)


def call(*arguments: object) -> Result:
    """What `fasthpo` prints and exits with; an exception that it lets through is raised here."""
    result = CliRunner().invoke(commands, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def printed(*arguments: object) -> str:
    """What a command prints that succeeds."""
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def read(*arguments: object) -> Any:
    """The JSON that a command prints."""
    return json.loads(printed(*arguments, "--json"))


def fill(study: fasthpo.Study, count: int) -> None:
    """Trials that end in all ways, with reports and metrics, and some that have not ended."""
    for i in range(count):
        trial = study.ask()
        value = math.log10(trial["lr"]) ** 2 + trial["layers"] / 100  # type: ignore[arg-type, operator]
        for step in range(3):
            trial.report(value + 1 / (1 + step), step)
        if i % 5 == 3:
            error = f"Traceback (most recent call last):\n  File 'a.py', line 3\nValueError: bad {i}"
            study.tell(trial, state=TrialState.FAILED, error=error if i % 10 == 3 else f"lost {HOSTILE}")
        elif i % 5 == 4:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, math.inf if i == 6 else value, metrics={"f1": 1 / (1 + value)})
    study.ask().report(0.5, 0)
    study.enqueue({"optimizer": "adam"})


def kept(path: Path, count: int = 40, **options: Any) -> Path:
    """A study in a directory, which is closed; its path."""
    options.setdefault("sampler", fasthpo.RandomSampler(seed=3))
    with fasthpo.Study(options.pop("space", SPACE), storage=path, **options) as study:
        fill(study, count)
    return path


def hostile(path: Path, count: int = 12) -> Path:
    """A study in whose names, choices, errors, metrics and attributes a user has written the worst."""
    space = {
        HOSTILE: fasthpo.Continuous(0.0, 1.0),
        "choice": fasthpo.Categorical([HOSTILE, "</style>", "<img src=x onerror=alert(1)>"]),
        "number": fasthpo.Discrete(1, 9),  # called as another column is
        "a<b,c": fasthpo.Continuous(0.0, 1.0),
    }
    with fasthpo.Study(space, sampler=fasthpo.RandomSampler(seed=0), storage=path) as study:
        for i in range(count):
            trial = study.ask()
            if i % 3 == 2:
                study.tell(trial, state=TrialState.FAILED, error=f"Error{i}: {HOSTILE}\n{HOSTILE}\udcff")
            else:
                study.tell(trial, trial[HOSTILE], metrics={HOSTILE: 1.0})  # type: ignore[arg-type]
        study.set_attribute(HOSTILE, HOSTILE)
    return path


def assert_no_control(text: str) -> None:
    """Nothing in a text moves a terminal's cursor, or changes colours or the direction of writing."""
    found = [one for one in text if not one.isprintable() and one != "\n"]
    assert not found, found
