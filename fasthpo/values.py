"""Values: the types of arrays, what users hand over as plain Python values, and the checks at the door.

Users hand over values and columns of whatever library, which are taken by position. None of these libraries is
imported. They are told by what they share: an array has a `shape` and `item()`, a scalar of Arrow's has `as_py()`, a
number of any kind has `__float__()`, and a column `__array__()`.
"""

from __future__ import annotations

import array
import math
import operator
import sys
from collections.abc import Iterator, Mapping, Set
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fasthpo.errors import InvalidValue

FloatArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]
FIRST_CAPACITY = 64  # entries of an array that grows

masked = np.errstate(all="ignore")
"""Decorates what computes with numbers from outside. Ranges and losses may lie anywhere: a result that overflows is
infinite, one that underflows is zero, and either is dealt with; after `np.seterr(all="raise")` NumPy would raise
instead, and by default warn."""

_PLAIN = frozenset({float, int, str, bool, type(None)})
_EXACT: dict[type, Any] = {str: str.__str__, int: int.__index__, float: float.__float__}  # whatever a subclass has made
_UNORDERED = (str, bytes, bytearray, Mapping, Set)  # what can be iterated over, but is no column
_SHOWN = 200  # characters of a value in an error message


def steady_repr(value: Any) -> str:
    """`repr` of a value, but of a frozenset in an order that does not differ from process to process.

    So is that of the tuples, lists and dicts that hold some.
    """
    kind = type(value)
    if kind is frozenset and value:
        return f"frozenset({{{', '.join(sorted(map(steady_repr, value)))}}})"
    if kind is tuple:
        return f"({', '.join(map(steady_repr, value))}{',' if len(value) == 1 else ''})"
    if kind is list:
        return f"[{', '.join(map(steady_repr, value))}]"
    if kind is dict:
        return f"{{{', '.join(f'{key!r}: {steady_repr(one)}' for key, one in value.items())}}}"
    return repr(value)


def steady_str(value: Any) -> str:
    """`str` of a value, in the same way."""
    return steady_repr(value) if isinstance(value, (tuple, frozenset)) else str(value)


def shown(value: Any, most: int = _SHOWN) -> str:
    """A value as an error message shows it, in at most about `most` characters, however long, large or deep it is."""
    try:
        text = " ".join(steady_repr(value).split())
    except RecursionError:
        return f"a {type(value).__name__} that is nested too deeply to be shown"
    except ValueError:  # Python writes no integer of more than some thousand digits
        if not isinstance(value, int):
            return f"a {type(value).__name__} that holds too large an integer to be shown"
        return f"an integer of about {int(value.bit_length() * math.log10(2)) + 1} digits"
    except Exception:  # whatever another library raises, of a deleted array for instance
        return f"<{type(value).__name__}>"
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"


def exact(value: Any) -> Any:
    """What is an instance of a class derived from `str`, `int` or `float`, as one of these; anything else unchanged.

    Files give back the plain types only, and a derived one may say something else of itself than it holds.
    """
    if type(value) not in _PLAIN:
        for kind, convert in _EXACT.items():
            if isinstance(value, kind):
                return convert(value)
    return value


def element(value: Any) -> Any:
    """The plain Python value that something of another library stands for; anything else unchanged.

    That is what has one element, such as a NumPy scalar or a tensor, or is of a class derived from a plain one. One
    that is missing (masked, `pandas.NA`, a null of Arrow's) is NaN.
    """
    if type(value) in _PLAIN:
        return value
    if isinstance(value, np.generic):
        return scalar(value)
    if isinstance(value, (str, int, float)):
        return exact(value)
    if value is np.ma.masked or _is_na(value):
        return math.nan
    try:
        if getattr(getattr(value, "dtype", None), "kind", None) in ("m", "M"):
            return value
        shape = getattr(value, "shape", None)
        if hasattr(type(value), "as_py"):
            found = value.as_py()
        elif not isinstance(shape, tuple) or math.prod(shape) != 1:
            return value
        else:
            found = value.reshape(())[()] if isinstance(value, np.ndarray) else value.item()
        return math.nan if found is None and _has_nulls(value) else element(found)
    except Exception:  # whatever another library raises, of a tensor without data for instance
        return value


def _has_nulls(value: Any) -> bool:
    """Whether a value is Arrow's or Polars', whose None is a null, and nobody's mistake."""
    return hasattr(type(value), "as_py") or hasattr(type(value), "null_count")


def _is_na(value: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and value is getattr(pandas, "NA", None)


def scalar(value: np.generic) -> Any:
    """A NumPy scalar as the Python value that it stands for; itself if Python has none."""
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return value  # item() makes integers of times
    found = value.item()
    if isinstance(found, np.floating):  # a long double
        try:
            return _as_float(found)
        except OverflowError:
            return value
    return found


def plain(value: Any) -> Any:
    """A NumPy scalar, or what is of a class derived from a plain one, as the plain value; anything else unchanged."""
    return scalar(value) if isinstance(value, np.generic) else exact(value)


def _as_float(value: Any) -> float:
    with np.errstate(over="ignore"):
        found = float(value)
    if math.isinf(found) and value != found:
        raise OverflowError("too large for a float")
    return found


def number(value: Any) -> int | float:
    """The number that a value is, whatever its type: an int, or a float. A missing one is NaN, and a bool is none.

    Raises:
        TypeError: it is no number.
        OverflowError: it does not fit into a float.
    """
    found = element(value)
    if isinstance(found, (int, float)) and not isinstance(found, bool):
        return found
    if type(found) in _PLAIN or (isinstance(found, np.generic) and not isinstance(found, np.floating)):
        raise TypeError("no number")
    try:
        if hasattr(type(found), "__array__") and not isinstance(found, np.generic):
            held = np.asarray(found)
            if held is not found and held.size == 1:
                return number(held)
        elif hasattr(type(found), "__float__") or hasattr(type(found), "__index__"):
            return _as_float(found)
    except OverflowError:
        raise
    except Exception as error:  # whatever another library raises
        raise TypeError(str(error)) from None
    raise TypeError("no number")


def whole(value: Any) -> Any:
    """The integer that a value is, also as a float such as 3.0, which rows of data frames make of integers; or else the
    value that it stands for."""
    found = element(value)
    return int(found) if isinstance(found, float) and found.is_integer() else found


def elements(values: Any) -> npt.NDArray[Any] | list[Any]:
    """What a column holds, by position, whatever it is: an array (n,) of integers or floats, or a list of anything.

    A column is an array, a tensor, a series, a list, an iterator, or has (n, 1) elements. Labels do not count. An entry
    that is missing is NaN.

    Raises:
        TypeError: it is no column; the message says what it must be.
    """
    if isinstance(values, _UNORDERED) or not (hasattr(values, "__array__") or hasattr(values, "__iter__")):
        raise TypeError(f"must be a one-dimensional array or a list, got {shown(values)}")
    if isinstance(values, Iterator):
        return _unified(list(values))  # what goes wrong in it is its author's business
    found: Any
    try:
        if isinstance(values, np.ma.MaskedArray):
            found = np.ma.filled(values.astype(np.float64 if _is_numeric(values) else object), np.nan)
        elif hasattr(values, "__array__") or isinstance(values, array.array):
            found = _array(values)
        else:
            return _unified(list(values))
    except Exception as error:  # whatever another library raises
        raise TypeError(f"must be a one-dimensional array or a list, got {shown(values)}: {error}") from None
    if found.ndim != 1:
        if found.ndim == 0 or found.size != len(found):
            raise TypeError(f"must be one-dimensional, got an array of shape {found.shape}")
        found = found.reshape(len(found))
    if _is_numeric(found):
        return np.asarray(found)
    if _has_nulls(values):
        return [math.nan if one is None else one for one in found]
    return list(found)


def table_elements(values: Any) -> npt.NDArray[Any] | list[Any]:
    """What a table holds, by position, whatever it is: an array (n, m) of integers or floats, or a list of its rows.

    A table is a two-dimensional array, a tensor, a data frame, or a list of rows, each as `elements` takes it.

    Raises:
        TypeError: it is none; the message says what it must be.
    """
    if isinstance(values, _UNORDERED) or not (hasattr(values, "__array__") or hasattr(values, "__iter__")):
        raise TypeError(f"must be a two-dimensional array or a list of rows, got {shown(values)}")
    try:
        if not hasattr(values, "__array__") or isinstance(values, np.ma.MaskedArray):
            return list(values)
        found = _array(values)
    except Exception as error:  # whatever another library raises
        raise TypeError(f"must be a two-dimensional array or a list of rows, got {shown(values)}: {error}") from None
    if found.ndim != 2:
        raise TypeError(f"must be two-dimensional, got an array of shape {found.shape}")
    return found if _is_numeric(found) else list(found)


def _is_numeric(found: npt.NDArray[Any]) -> bool:
    return found.dtype.kind in "iuf" and found.dtype.itemsize <= 8


def _array(values: Any) -> npt.NDArray[Any]:
    try:
        found = np.asarray(values)
    except Exception:  # a tensor with gradients, on another device or of a type that NumPy does not have
        return np.asarray(values.tolist())
    if found.dtype.kind == "V" and found.dtype.names is None and found.dtype.type is not np.void:
        return np.asarray(found.tolist())  # a type that a library has added to NumPy's, such as bfloat16
    return found


def _unified(listed: list[Any]) -> npt.NDArray[Any] | list[Any]:
    """A list as an array, where all of it is of one type of numbers."""
    kinds = set(map(type, listed))
    kind = kinds.pop() if len(kinds) == 1 else object
    if kind in (int, float) or issubclass(kind, np.number):
        found = np.array(listed)
        # integers beyond 64 bits stay what they are
        if _is_numeric(found) and (kind is not int or found.dtype.kind != "f"):
            return found
    return listed


def grow(array: npt.NDArray[np.generic], capacity: int, fill: float = 0) -> npt.NDArray[np.generic]:
    """A copy with room for `capacity` entries along the last axis, the new ones set to `fill`."""
    length = array.shape[-1]
    longer = np.empty((*array.shape[:-1], capacity), array.dtype)
    longer[..., :length] = array
    longer[..., length:] = fill
    return longer


def grow_rows(array: npt.NDArray[np.generic], capacity: int, fill: float = 0) -> npt.NDArray[np.generic]:
    """As `grow`, along the first axis."""
    longer = np.empty((capacity, *array.shape[1:]), array.dtype)
    longer[: len(array)] = array
    longer[len(array) :] = fill
    return longer


def grow_unset(
    array: npt.NDArray[np.generic], capacity: int, dtype: npt.DTypeLike | None = None
) -> npt.NDArray[np.generic]:
    """As `grow_rows`, but the new entries are not written: memory that is not used is not taken."""
    longer = np.empty((capacity, *array.shape[1:]), array.dtype if dtype is None else dtype)
    longer[: len(array)] = array
    return longer


def as_number(what: str, value: Any) -> float:
    """`value` as a float, for anything that is one number: int, float, NumPy scalar, one-element tensor, `Decimal`.

    A missing number (masked, `pandas.NA`) is NaN.

    Raises:
        InvalidValue: it is no number, or does not fit into a float.
    """
    if isinstance(value, float):
        return float(value)
    try:
        return float(number(value))
    except OverflowError:
        raise InvalidValue(f"{what} must fit into a float, got {shown(value)}") from None
    except TypeError:
        raise InvalidValue(f"{what} must be a number, got {shown(value)} of type {type(value).__name__}") from None


def check_count(name: str, value: Any, least: int = 0, most: int = 2**63 - 1) -> int:
    """The integer itself.

    Args:
        name: what it is, for the message.
        value: what was given.
        least, most: the bounds. What takes memory or time for each one counted has a `most` of its own.

    Raises:
        InvalidValue: it is none, or out of bounds.
    """
    number = plain(value)
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        raise InvalidValue(f"{name} must be an integer of at least {least}, got {name}={shown(value)}")
    if number > most:
        raise InvalidValue(f"{name} must be at most {most}, got {name}={shown(value)}")
    return number


def check_flag(name: str, value: Any) -> bool:
    """The boolean itself.

    Raises:
        InvalidValue: it is none.
    """
    flag = plain(value)
    if not isinstance(flag, bool):
        raise InvalidValue(f"{name} must be True or False, got {name}={shown(value)}")
    return flag


def check_text(name: str, value: Any) -> str:
    """The string itself, as a plain one.

    Raises:
        InvalidValue: it is none.
    """
    text = plain(value)
    if not isinstance(text, str):
        raise InvalidValue(f"{name} must be a string, got {shown(value)} of type {type(value).__name__}")
    return text


def check_index(what: str, index: Any, length: int) -> int:
    """The position, from the front, that `index` means among the `length` trials of `what`.

    Raises:
        InvalidValue: it is no integer.
        IndexError: there is none; what iterates over a sequence waits for it.
    """
    try:
        place = operator.index(index)
    except TypeError:
        raise InvalidValue(f"an index must be an integer or a slice, got {shown(index)}") from None
    if not -length <= place < length:
        raise IndexError(f"{what} has {length} trials, got index {shown(place)}")
    return place % length
