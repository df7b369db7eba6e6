"""Values that no argument expects, or only just: of the wrong type, out of range, odd, cyclic, huge, and raising errors."""

from __future__ import annotations

import enum
import math
from collections import OrderedDict, UserDict
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any

import numpy as np

import fasthpo


class Text(str):
    """A string with a life of its own."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 7

    def __str__(self) -> str:
        return "another text"

    def encode(self, *arguments: Any) -> Any:
        raise RuntimeError("encode")


class PlainText(str):
    """As the strings of other libraries, which differ from Python's by their type only."""


class Whole(int):
    def __repr__(self) -> str:
        return "an integer?"


class Real(float):
    def __repr__(self) -> str:
        return "a float?"


class Words(enum.StrEnum):
    ONE = "one"


class Numbers(enum.IntEnum):
    ONE = 1


class Flags(enum.Flag):
    ONE = 1


class Colour(enum.Enum):
    RED = "red"


class Mapped(dict):  # type: ignore[type-arg]
    """A dict that shows something else than it holds."""

    def items(self) -> Any:
        return [(1, 2), ("x", object())]


class Listed(list):  # type: ignore[type-arg]
    pass


class Hostile:
    """Raises an error whatever it is asked."""

    def _raise(self, *arguments: Any) -> Any:
        raise RuntimeError("hostile")

    __repr__ = __str__ = __bool__ = __float__ = __int__ = __getitem__ = __array__ = __contains__ = _raise


def cyclic_list() -> list[Any]:
    made: list[Any] = []
    made.append(made)
    return made


def cyclic_dict() -> dict[str, Any]:
    made: dict[str, Any] = {}
    made["x"] = made
    return made


def deep_list() -> list[Any]:
    made: list[Any] = []
    for _ in range(5_000):
        made = [made]
    return made


def odd_values() -> dict[str, Any]:
    """The values by name, made anew."""
    return {
        "None": None, "True": True, "False": False, "0": 0, "1": 1, "3": 3, "-1": -1, "2**31": 2**31, "2**53": 2**53, "2**63 - 1": 2**63 - 1,
        "2**63": 2**63, "2**64 - 1": 2**64 - 1, "2**64": 2**64, "10**400": 10**400, "10**5000": 10**5000, "-10**5000": -(10**5000),
        "0.0": 0.0, "-0.0": -0.0, "0.5": 0.5, "1.0": 1.0, "10**4": 10**4, "10**5": 10**5, "1e8": 1e8, "1e308": 1e308, "5e-324": 5e-324, "nan": math.nan, "inf": math.inf,
        "-inf": -math.inf, "empty": "", "space": " ", "x": "x", "1 as text": "1", "surrogate": "a\ud800b", "null": "a\0b", "line": "a\nb\r\u2028",
        "formula": "=1+1", "long": "x" * 100_000, "bytes": b"x", "bytearray": bytearray(b"x"), "np.str_": np.str_("x"), "np.bytes_": np.bytes_(b"x"),
        "np.float64": np.float64(0.5), "np.float32": np.float32(0.1), "np.float16": np.float16(1), "np.longdouble": np.longdouble(0.5),
        "np.int64": np.int64(1), "np.uint64": np.uint64(2**64 - 1), "np.int8": np.int8(-1), "np.bool_": np.True_, "np.nan": np.float64("nan"),
        "complex": 1j, "np.complex128": np.complex128(1), "np.datetime64": np.datetime64("2020-01-01"), "np.void": np.void(b"x"),
        "array of none": np.array([]), "array 0-d": np.array(0.5), "array of one": np.array([1]), "array": np.arange(3.0), "array of objects": np.array([None, "x"]),
        "Text": Text("x"), "PlainText": PlainText("x"), "Whole": Whole(1), "Real": Real(0.5), "Words": Words.ONE, "Numbers": Numbers.ONE,
        "Flags": Flags.ONE, "Colour": Colour.RED, "RUNNING": fasthpo.TrialState.RUNNING, "COMPLETE": fasthpo.TrialState.COMPLETE,
        "FAILED": fasthpo.TrialState.FAILED, "Decimal": Decimal("0.5"), "Fraction": Fraction(1, 2), "datetime": datetime.now(UTC), "path": PurePosixPath("x"),
        "list of none": [], "list": [1, 2, 3], "list of text": ["x", "y"], "tuple": (1,), "set": {1}, "range": range(3), "iterator": iter([1, 2]),
        "generator": (x for x in "ab"), "dict of none": {}, "dict": {"x": 0.5}, "dict of numbers": {1: 2}, "dict of None": {None: None}, "OrderedDict": OrderedDict(x=0.5),
        "UserDict": UserDict(x=0.5), "Mapped": Mapped(x=0.5), "dict of Text": {Text("x"): 0.5}, "dict of np.str_": {np.str_("x"): np.float64(0.5)},
        "dict of surrogates": {"a\ud800b": 0.5}, "Listed": Listed([1.0]), "cyclic list": cyclic_list(), "cyclic dict": cyclic_dict(), "deep list": deep_list(),
        "object": object(), "Hostile": Hostile(), "type": int, "function": len, "error": ValueError("x"), "NotImplemented": NotImplemented, "Ellipsis": ...,
        "Continuous": fasthpo.Continuous(0.0, 1.0), "sampler": fasthpo.RandomSampler(0), "pruner": fasthpo.MedianPruner(), "strategy": fasthpo.ASHA(9),
        "sampler's type": fasthpo.TPESampler,
    }  # fmt: skip
