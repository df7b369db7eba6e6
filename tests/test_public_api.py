"""The public names keep their signatures: `tests/data/public_api.txt` says what they are."""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Iterator
from enum import Enum
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import fasthpo

FILE = Path(__file__).parent / "data" / "public_api.txt"
AGAIN = "if that is meant, make the file anew with `python tests/test_public_api.py`, and say so in the changelog"

KNOWN = ("builtins", "collections.abc", "enum")  # classes of these that a public one is derived from are listed


class Plain(str):
    """An annotation, written without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def signature(function: Any, is_method: bool = False) -> str:
    """The signature with its annotations as they stand in the source; of a method without `self` or `cls`."""
    found = inspect.signature(function)
    parameters = [
        one.replace(annotation=Plain(one.annotation)) if isinstance(one.annotation, str) else one
        for one in list(found.parameters.values())[is_method:]
    ]
    returned = found.return_annotation
    return str(
        inspect.Signature(parameters, return_annotation=Plain(returned) if isinstance(returned, str) else returned)
    )


def members(kind: type) -> Iterator[str]:
    """The public methods and properties of a class, those included that it has from other classes of fasthpo."""
    own = [base for base in kind.__mro__ if base.__module__.split(".")[0] == "fasthpo"]
    found = {name: value for base in reversed(own) for name, value in vars(base).items() if not name.startswith("_")}
    for name, value in sorted(found.items()):
        if isinstance(value, property | cached_property):
            read = value.fget if isinstance(value, property) else value.func
            yield f".{name} -> {inspect.signature(read).return_annotation}"
        elif isinstance(value, classmethod | staticmethod):
            made = signature(value.__func__, is_method=isinstance(value, classmethod))
            yield f".{name}{made}  [{type(value).__name__}]"
        elif inspect.isfunction(value):
            yield f".{name}{signature(value, is_method=True)}"


def described(name: str, value: Any) -> Iterator[str]:
    """A public name: a line for itself, and one for each of its members."""
    if not isinstance(value, type):
        yield name + signature(value)
        return
    if issubclass(value, Enum):
        yield f"class {name}: {', '.join(f'{one.name} = {one.value!r}' for one in value)}"
    elif issubclass(value, BaseException):
        yield f"class {name}"
    else:
        yield f"class {name}{signature(value)}"
    kinds = [base for base in value.__mro__[1:-1] if base.__module__ in KNOWN or base.__name__ in fasthpo.__all__]
    if kinds:
        yield f"    is a {', '.join(base.__name__ for base in kinds)}"
    yield from (f"    {name}{line}" for line in members(value))


def public_api(*modules: ModuleType) -> list[str]:
    """All public names of the modules, a line each, and one for each method of a class."""
    lines = []
    for module in modules:
        for name in module.__all__:
            lines += described(f"{module.__name__}.{name}", getattr(module, name))
    return lines


def test_the_public_names_keep_their_signatures() -> None:
    pytest.importorskip("torch")
    import fasthpo.analysis
    import fasthpo.plots
    import fasthpo.report
    import fasthpo.torch

    kept = FILE.read_text(encoding="utf-8").splitlines()
    now = public_api(fasthpo, fasthpo.analysis, fasthpo.plots, fasthpo.report, fasthpo.torch)
    changed = [line for line in difflib.ndiff(kept, now) if line[0] in "-+"]
    assert not changed, "\n".join(["the public API has changed:", *changed, AGAIN])


if __name__ == "__main__":
    import fasthpo.analysis
    import fasthpo.plots
    import fasthpo.report
    import fasthpo.torch

    text = "".join(
        f"{line}\n" for line in public_api(fasthpo, fasthpo.analysis, fasthpo.plots, fasthpo.report, fasthpo.torch)
    )
    FILE.write_text(text, encoding="utf-8", newline="\n")
    print(f"{FILE} written from {Path(fasthpo.__file__).parent}", file=sys.stderr)
