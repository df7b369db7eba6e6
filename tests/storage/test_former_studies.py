"""Studies that were kept by former commits are read as they were, and go on as they would have (`former_studies.py`)."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from fasthpo import Study
from tests.support.former_studies import DATA, SAVED, STUDIES, content, machine, next_trials

KEPT = [*STUDIES, *(f"{name}.saved.msgpack" for name in SAVED)]


def expected(kept: str) -> dict[str, Any]:
    return json.loads((DATA / f"{kept.removesuffix('.saved.msgpack')}.json").read_text(encoding="utf-8"))


def copied(kept: str, tmp_path: Path) -> Path:
    """A copy of a study's directory or file, to be changed."""
    source, target = DATA / kept, tmp_path / kept
    return shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)


def assert_close(old: Any, new: Any) -> None:
    """JSON values are the same but for the last bits of floats."""
    if isinstance(old, dict | list):
        assert type(old) is type(new) and len(old) == len(new), (old, new)
        for key in old if isinstance(old, dict) else range(len(old)):
            assert_close(old[key], new[key])
    elif isinstance(old, str) and "0x" in old:
        assert math.isclose(float.fromhex(old), float.fromhex(new), rel_tol=1e-6), (old, new)
    else:
        assert old == new


@pytest.mark.parametrize("kept", KEPT)
def test_a_former_study_is_read_as_it_was(kept: str, tmp_path: Path) -> None:
    old = expected(kept)
    del old["next"]
    new = content(Study.load(copied(kept, tmp_path), read_only=True))
    assert json.dumps(new) == json.dumps(old)


@pytest.mark.parametrize("kept", KEPT)
def test_a_former_study_goes_on_as_it_would_have(kept: str, tmp_path: Path) -> None:
    """Bit for bit on a machine like the one on which the data were made; up to rounding elsewhere."""
    old, here, there = (
        expected(kept)["next"],
        machine(),
        json.loads((DATA / "machine.json").read_text(encoding="utf-8")),
    )
    if kept == "cma-es" and (here["system"], here["libraries"]) != (there["system"], there["libraries"]):
        pytest.skip("the signs of eigenvectors are LAPACK's choice")
    with Study.load(copied(kept, tmp_path)) as study:
        new = next_trials(study)
    if here == there:
        assert json.dumps(new) == json.dumps(old)
    else:
        assert_close(old, new)


@pytest.mark.parametrize("name", STUDIES)
def test_a_former_study_that_has_gone_on_is_kept_whole(name: str, tmp_path: Path) -> None:
    """What is written behind what a former commit wrote is read with it."""
    place = copied(name, tmp_path)
    with Study.load(place) as study:
        next_trials(study)
    assert content(Study.load(place, read_only=True)) == content(study)
