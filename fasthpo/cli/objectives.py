"""What `fasthpo run` is given as text: an objective by its module's name, and a search space in a file."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from fasthpo.cli.exits import Wrong, one_line
from fasthpo.cli.text import printable
from fasthpo.errors import InvalidSearchSpace
from fasthpo.space.search_space import SearchSpace
from fasthpo.system.headline import headline_of

if TYPE_CHECKING:
    from fasthpo.execution.objective import Objective


def load_space(path: Path) -> SearchSpace:
    """The search space that a file describes, as `SearchSpace.to_dict` does, in TOML or in JSON.

    Raises:
        Wrong: there is no such file, or no such space.
    """
    try:
        text = path.read_text(encoding="utf-8")
        definition = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
    except OSError as error:
        raise Wrong(f"the space can't be read: {one_line(error)}") from error
    except (ValueError, RecursionError) as error:  # also of what is no UTF-8
        kind = "TOML" if path.suffix.lower() == ".toml" else "JSON (a TOML file's name ends with .toml)"
        raise Wrong(f"{path} is no {kind}: {one_line(error)}") from error
    try:
        return SearchSpace.from_dict(definition)
    except InvalidSearchSpace as error:
        raise Wrong(f"{path}: {one_line(error)}") from error


def load_objective(given: str) -> Objective:
    """The function that `module:name` or `file.py:name` means.

    Raises:
        Wrong: there is none, or its module can't be imported.
    """
    of, _, name = given.rpartition(":")
    if not of or not name:
        raise Wrong(f"an objective is given as module:function or file.py:function, got {printable(given)!r}")
    module = _module(of)
    found: object = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise Wrong(f"{printable(of)} has no {printable(name)}")
        found = getattr(found, part)
    if not callable(found):
        raise Wrong(f"{printable(given)} is no function, but {type(found).__name__}")
    return found


def _module(of: str) -> ModuleType:
    """The module of a name, from where the command was called, or of a file."""
    path = Path(of)
    if path.suffix == ".py":
        if not path.is_file():
            raise Wrong(f"there is no file {printable(of)}")
        folder, name = str(path.parent.absolute()), path.stem
    else:
        folder, name = str(Path.cwd()), of
    if folder not in sys.path:
        sys.path.insert(0, folder)  # workers get it, too
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise Wrong(f"there is no module {printable(of)}, seen from {printable(folder)}") from error
        raise Wrong(f"{printable(of)} can't be imported: {headline_of(error)}") from error
    except Exception as error:
        raise Wrong(f"{printable(of)} can't be imported: {headline_of(error)}") from error
    if path.suffix == ".py" and Path(module.__file__ or "").resolve() != path.resolve():
        raise Wrong(f"{printable(of)} has the name of another module, {module.__file__}: give it another one")
    return module
