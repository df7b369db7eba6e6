"""What stands where: rooms, the imports between them, and the names under which older programs know the modules."""

from __future__ import annotations

import ast
import importlib
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import fasthpo

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "fasthpo"
AT_THE_TOP = {"__init__", "errors", "values"}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(REPOSITORY).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imported(name: str, path: Path, known: set[str]) -> set[str]:
    """The modules of ours that one imports, wherever in it, for type checkers, too."""
    found = set()
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, node.module] if node.module else above)
            found |= {f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base for alias in node.names}
    return found & known - {name}


def test_no_module_stands_loose_at_the_top() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} <= AT_THE_TOP


def test_no_imports_form_a_circle() -> None:
    known = dict(modules())
    # a package that hands names on lazily imports its modules for type checkers; it is no circle that these are in it
    graph = {
        name: {
            other for other in imported(name, path, set(known))
            if not (path.stem == "__init__" and other.startswith(f"{name}."))
        }
        for name, path in known.items()
    }  # fmt: skip
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_the_contract_names_every_room_and_has_no_exceptions() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    layers, *others = project["tool"]["importlinter"]["contracts"]
    named = {name for layer in layers["layers"] for name in layer.split(" | ")}
    rooms = {f"fasthpo.{path.name}" for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert rooms - named <= {"fasthpo.compat"}  # which `fasthpo` itself imports, and nobody else
    assert len(layers["layers"]) <= 20
    assert not any("ignore_imports" in contract for contract in (layers, *others))


def test_every_room_says_what_is_in_it_and_is_installed() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    installed = set(project["tool"]["setuptools"]["packages"])
    for path in PACKAGE.rglob("__init__.py"):
        name = ".".join(path.parent.relative_to(REPOSITORY).parts)
        assert name in installed
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        assert text.count(".") >= (1 if "kernels" in name else 2), name


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("study", "Study"),
        ("tuner", "HyperparameterTuner"),
        ("trial", "Trial"),
        ("trial", "TrialState"),
        ("search_space", "SearchSpace"),
        ("search_space", "SearchSpaceBuilder"),
        ("search_space", "LogUniform"),
        ("parameters", "Discrete"),
        ("parameter", "Parameter"),
        ("columns", "Batch"),
        ("config", "TunerConfig"),
        ("callbacks", "HyperparameterCallback"),
        ("early_stopping", "EarlyStopping"),
        ("results", "TuningResult"),
        ("samplers.tpe", "TPESampler"),
        ("pruners.median", "MedianPruner"),
        ("strategies.hyperband", "Hyperband"),
    ],
)
def test_names_stay_where_a_program_may_look_for_them(module: str, name: str) -> None:
    assert getattr(importlib.import_module(f"fasthpo.{module}"), name) is getattr(fasthpo, name)


def test_functions_for_optuna_stay_where_they_were() -> None:
    pytest.importorskip("optuna")
    from fasthpo.exchange.optuna import to_optuna

    assert importlib.import_module("fasthpo.integrations.optuna").to_optuna is to_optuna
