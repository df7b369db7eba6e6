"""Optuna's side of the guide's ten tasks, on `fasthpo.compat.optuna`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.guide import blocks

PAGE = Path(__file__).parents[2] / "docs" / "from-optuna.md"


def test_optunas_side_of_the_guide_runs_with_its_import_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    program = "".join(block.text for block in blocks(PAGE) if block.title == "Optuna")
    assert program.count("import optuna\n") == 1
    names: dict[str, Any] = {}
    exec(program.replace("import optuna\n", "import fasthpo.compat.optuna as optuna\n"), names)
    assert len(names["study"].trials) == 6
    assert capsys.readouterr().out.splitlines()[1:] == ["10", "True"]
