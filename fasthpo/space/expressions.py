"""Relations between parameters as text, such as "min_layers <= max_layers": a small language of its own, no `eval`.

Python's grammar reads the text, and only what is listed here is taken: names of parameters, numbers, strings, True,
False, None, `+ - * / // % **`, comparisons and chains of them, `in`, `is None`, `and`, `or`, `not`. What has passed is
evaluated over whole columns by NumPy. Each part of an expression is a number, a truth or a label (a choice that is
neither, which can only be compared for equality), and the bounds of a number follow from those of the parameters; so a
type that does not fit, a division that may be by zero and a relation that can't hold are found before anything is
evaluated.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt

from fasthpo.errors import InvalidSearchSpace
from fasthpo.space.choice_values import choice_key
from fasthpo.space.ordinal import Ordinal
from fasthpo.space.parameter import Numeric, Parameter, Value
from fasthpo.values import FloatArray, shown

_MOST_CHARACTERS = 10_000
_MOST_DEPTH = 200
_BY_NAME = "params"  # params["a name"] is the parameter whose name is no name in Python

_Evaluate: TypeAlias = Callable[[FloatArray], Any]


class Expression(NamedTuple):
    """An expression that was checked.

    Attributes:
        text: as it was written.
        parameters: the positions of those that occur, ascending.
        evaluate: its values at rows (n, d), of which none of these parameters is NaN: (n,), or one for all.
        low, high: bounds of its values, if it is a number.
        is_whole: whether these are integers.
        certain: what it surely is, if it is a truth and that can be said.
    """

    text: str
    parameters: tuple[int, ...]
    evaluate: _Evaluate
    low: float
    high: float
    is_whole: bool
    certain: bool | None


class _Part(NamedTuple):
    """A part of an expression."""

    kind: str  # "number", "truth" or "label"
    evaluate: _Evaluate
    low: float = -math.inf
    high: float = math.inf
    is_whole: bool = False
    certain: bool | None = None
    label: _Evaluate | None = None  # where it can be compared with labels
    labels: frozenset[Any] = frozenset()  # those that it may be


_ARITHMETIC: dict[type[ast.operator], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Add: ("+", np.add),
    ast.Sub: ("-", np.subtract),
    ast.Mult: ("*", np.multiply),
    ast.Div: ("/", np.divide),
    ast.FloorDiv: ("//", np.floor_divide),
    ast.Mod: ("%", np.mod),
    ast.Pow: ("**", np.power),
}
_ORDER: dict[type[ast.cmpop], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
}
_ALLOWED = (
    "names of parameters, numbers, strings, True, False, None, + - * / // % **, comparisons, in, and, or, not "
    "are allowed"
)
# what users are likely to write: in words, and what to write instead
_INSTEAD: dict[type[ast.expr], tuple[str, str]] = {
    ast.Call: ("a function", "write abs(a) < b as -b < a < b, and min(a, b) < c as a < c or b < c"),
    ast.IfExp: ("if ... else", "write it with and, or and not"),
    ast.Tuple: ("a tuple", "a choice that is one can be named in forbid({...: (1, 2)})"),
}
_A_KIND = {"number": "a number", "truth": "true or false", "label": "a choice that is no number"}


def _constant(value: Any) -> _Evaluate:
    return lambda rows: value


def _spelt(node: ast.expr) -> str | None:
    """The name that a node spells: a name, names joined by dots, or params["name"]."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = _spelt(node.value)
        return None if before is None else f"{before}.{node.attr}"
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == _BY_NAME:
        index = node.slice
        if isinstance(index, ast.Constant) and isinstance(index.value, str):
            return index.value
    return None


def _corners(function: Callable[[Any, Any], Any], left: _Part, right: _Part) -> tuple[float, float]:
    values = [float(function(x, y)) for x in (left.low, left.high) for y in (right.low, right.high)]
    return (math.nan, math.nan) if any(map(math.isnan, values)) else (min(values), max(values))


class _Reader:
    """Reads one text."""

    def __init__(self, text: str, parameters: Mapping[str, Parameter]) -> None:
        self._text = text
        self._parameters = parameters
        self._position = {name: j for j, name in enumerate(parameters)}
        self._codes: dict[Any, float] = {}  # of labels
        self._labels: dict[Any, Value] = {}  # as they were written
        self.used: set[int] = set()

    def refuse(self, message: str, node: ast.AST | None = None) -> NoReturn:
        """Raise, showing the place."""
        start, end = 0, len(self._text)
        if node is not None:
            line = self._text.encode()
            start = len(line[: getattr(node, "col_offset", 0)].decode(errors="ignore"))
            end = len(line[: getattr(node, "end_col_offset", len(line))].decode(errors="ignore"))
        self.refuse_at(message, start, end)

    def refuse_at(self, message: str, start: int, end: int) -> NoReturn:
        mark = " " * start + "^" * max(end - start, 1)
        raise InvalidSearchSpace(f"{message}:\n    {self._text}\n    {mark}")

    def read(self) -> _Part:
        try:
            tree = ast.parse(self._text, mode="eval")
        except SyntaxError as error:
            start = (error.offset or len(self._text) + 1) - 1  # at the end, where something is missing
            hint = ""
            if error.msg == "invalid syntax":
                hint = f'; a name that is no Python name is written {_BY_NAME}["name"]'
            self.refuse_at(f"the relation can't be read, {error.msg}{hint}", start, start + 1)
        except (ValueError, RecursionError, MemoryError) as error:
            raise InvalidSearchSpace(f"the relation can't be read, {error}: {shown(self._text)}") from None
        try:
            return self._part(tree.body, 0)
        except RecursionError:
            raise InvalidSearchSpace(f"the relation is nested too deeply: {shown(self._text)}") from None

    # --- one kind of node each

    def _part(self, node: ast.expr, depth: int) -> _Part:
        if depth > _MOST_DEPTH:
            self.refuse(f"a relation must not be nested more than {_MOST_DEPTH} times", node)
        match node:
            case ast.Constant():
                return self._literal(node)
            case ast.Name() | ast.Attribute() | ast.Subscript():
                return self._parameter(node)
            case ast.UnaryOp():
                return self._unary(node, depth)
            case ast.BinOp():
                return self._arithmetic(node, depth)
            case ast.BoolOp():
                parts = [self._truth(value, depth) for value in node.values]
                return _joined(parts, all if isinstance(node.op, ast.And) else any)
            case ast.Compare():
                return self._comparison(node, depth)
        word, instead = _INSTEAD.get(type(node), (type(node).__name__, _ALLOWED))
        self.refuse(f"{word} is not allowed in a relation; {instead}", node)

    def _literal(self, node: ast.Constant) -> _Part:
        value = node.value
        if isinstance(value, bool):
            return _Part("truth", _constant(value), certain=value, **self._labelled([value], None))
        if isinstance(value, (int, float)):
            try:
                number = float(value)
            except OverflowError:
                number = math.inf
            if not math.isfinite(number):
                self.refuse("a number must be finite", node)
            same = self._labelled([value], None)
            return _Part("number", _constant(number), number, number, number.is_integer(), **same)
        if value is None or isinstance(value, str):
            same = self._labelled([value], None)
            return _Part("label", same["label"], **same)
        self.refuse(f"{type(value).__name__} is not allowed in a relation; {_ALLOWED}", node)

    def _labelled(self, values: list[Any], j: int | None) -> dict[str, Any]:
        """As a label: a value, or the choices of parameter j."""
        keys = [choice_key(value, exactly=False) for value in values]
        self._labels |= zip(keys, values, strict=True)
        codes = np.array([self._codes.setdefault(key, float(len(self._codes))) for key in keys])
        label = _constant(codes[0]) if j is None else (lambda rows: codes[rows[:, j].astype(np.int64)])
        return {"label": label, "labels": frozenset(keys)}

    def _parameter(self, node: ast.expr) -> _Part:
        name = _spelt(node)
        if name is None:
            self.refuse(f"{type(node).__name__} is not allowed in a relation; {_ALLOWED}", node)
        if name not in self._position:
            self.refuse(f"{shown(name)} is no parameter of the space, which has {shown(list(self._parameters))}", node)
        j, parameter = self._position[name], self._parameters[name]
        self.used.add(j)
        if parameter.choices is None:
            assert isinstance(parameter, Numeric)
            low, high = parameter.reach
            return _Part("number", lambda rows: rows[:, j], low, high, parameter.is_whole)
        choices = list(parameter.choices)
        same = self._labelled(choices, j)
        if all(isinstance(choice, bool) for choice in choices):
            truths = np.array(choices, np.bool_)
            return _Part("truth", lambda rows: truths[rows[:, j].astype(np.int64)], **same)
        if all(isinstance(one, (int, float)) and not isinstance(one, bool) and math.isfinite(one) for one in choices):
            numbers = np.array(choices, np.float64)
            is_whole = bool((numbers == np.floor(numbers)).all())
            return _Part(
                "number",
                lambda rows: numbers[rows[:, j].astype(np.int64)],
                float(numbers.min()),
                float(numbers.max()),
                is_whole,
                **same,
            )
        return _Part("label", same["label"], **same)

    def _truth(self, node: ast.expr, depth: int) -> _Part:
        part = self._part(node, depth + 1)
        if part.kind != "truth":
            self.refuse(f"'and', 'or' and 'not' need what is true or false, got {_A_KIND[part.kind]}", node)
        return part

    def _number(self, node: ast.expr, symbol: str, depth: int) -> _Part:
        part = self._part(node, depth + 1)
        if part.kind != "number":
            ordinal = isinstance(self._parameters.get(_spelt(node) or ""), Ordinal)
            hint = "; of an Ordinal, forbid takes a part, such as fasthpo.at_least(choice)" if ordinal else ""
            self.refuse(f"'{symbol}' needs numbers, got {_A_KIND[part.kind]}{hint}", node)
        return part

    def _unary(self, node: ast.UnaryOp, depth: int) -> _Part:
        if isinstance(node.op, ast.Not):
            truth = self._truth(node.operand, depth)
            certain = None if truth.certain is None else not truth.certain
            return _Part("truth", lambda rows: np.logical_not(truth.evaluate(rows)), certain=certain)
        if isinstance(node.op, ast.Invert):
            self.refuse(f"~ is not allowed in a relation; {_ALLOWED}", node)
        is_minus = isinstance(node.op, ast.USub)
        part = self._number(node.operand, "-" if is_minus else "+", depth)
        if not is_minus:
            return part._replace(label=None)
        if isinstance(node.operand, ast.Constant):  # a negative number, which may be a choice, too
            return self._literal(ast.copy_location(ast.Constant(-node.operand.value), node))  # type: ignore[operator]
        return _Part("number", lambda rows: -part.evaluate(rows), -part.high, -part.low, part.is_whole)

    def _arithmetic(self, node: ast.BinOp, depth: int) -> _Part:
        if type(node.op) not in _ARITHMETIC:
            self.refuse(f"{type(node.op).__name__} is not allowed in a relation; {_ALLOWED}", node)
        symbol, function = _ARITHMETIC[type(node.op)]
        left, right = self._number(node.left, symbol, depth), self._number(node.right, symbol, depth)
        is_whole = left.is_whole and right.is_whole and symbol != "/"
        with np.errstate(all="ignore"):
            if symbol in ("/", "//", "%") and right.low <= 0.0 <= right.high:
                self.refuse(
                    f"'{symbol}' must not divide by zero, which lies between the bounds of what it divides by, "
                    f"{right.low:g} and {right.high:g}; multiply the other side instead",
                    node.right,
                )
            if symbol == "**":
                low, high = self._power(node, left, right)
                is_whole = is_whole and right.low >= 0
            elif symbol == "%":
                low, high = (0.0, right.high) if right.low > 0 else (right.low, 0.0)
            else:
                low, high = _corners(function, left, right)
        if not (math.isfinite(low) and math.isfinite(high)):
            self.refuse(f"the result of '{symbol}' may be too large for a float", node)
        return _Part("number", lambda rows: function(left.evaluate(rows), right.evaluate(rows)), low, high, is_whole)

    def _power(self, node: ast.BinOp, left: _Part, right: _Part) -> tuple[float, float]:
        if left.low <= 0 and not (right.is_whole and right.low >= 0):
            self.refuse(
                "'**' needs a positive base, or an exponent that is a whole number from 0 on, got a base from "
                f"{left.low:g} on",
                node,
            )
        corners = _corners(np.power, left, right)
        if left.low > 0:
            return corners
        # even and odd exponents in between: no power is larger than that of the largest size
        most = float(np.power(max(abs(left.low), abs(left.high), 1.0), right.high))
        return -most, most

    # --- comparisons

    def _comparison(self, node: ast.Compare, depth: int) -> _Part:
        parts: list[_Part] = []
        left_node = node.left
        for op, right_node in zip(node.ops, node.comparators, strict=True):
            if isinstance(op, (ast.In, ast.NotIn)):
                part = self._membership(left_node, right_node, node, depth)
                parts.append(_negated(part) if isinstance(op, ast.NotIn) else part)
            elif isinstance(op, (ast.Is, ast.IsNot)):
                if not (isinstance(right_node, ast.Constant) and right_node.value is None):
                    self.refuse("'is' compares with None only; use ==", node)
                part = self._equal(left_node, right_node, depth)
                parts.append(_negated(part) if isinstance(op, ast.IsNot) else part)
            elif isinstance(op, (ast.Eq, ast.NotEq)):
                part = self._equal(left_node, right_node, depth)
                parts.append(_negated(part) if isinstance(op, ast.NotEq) else part)
            else:
                symbol, function = _ORDER[type(op)]
                left, right = self._number(left_node, symbol, depth), self._number(right_node, symbol, depth)
                parts.append(_compared(symbol, function, left, right))
            left_node = right_node
        return _joined(parts, all)

    def _membership(self, left: ast.expr, right: ast.expr, node: ast.AST, depth: int) -> _Part:
        if not isinstance(right, (ast.Tuple, ast.List, ast.Set)) or not right.elts:
            self.refuse("'in' needs a list of values, such as x in (1, 2, 3)", right)
        return _joined([self._equal(left, one, depth) for one in right.elts], any)

    def _equal(self, left_node: ast.expr, right_node: ast.expr, depth: int) -> _Part:
        left, right = self._part(left_node, depth + 1), self._part(right_node, depth + 1)
        if left.kind == right.kind == "number":
            certain = None
            if left.high < right.low or right.high < left.low:
                certain = False
            elif left.low == left.high == right.low == right.high:
                certain = True
            return _Part("truth", lambda rows: left.evaluate(rows) == right.evaluate(rows), certain=certain)
        if left.kind == right.kind == "truth":
            return _Part("truth", lambda rows: left.evaluate(rows) == right.evaluate(rows))
        one, other = left.label, right.label
        if one is None or other is None or "label" not in (left.kind, right.kind):
            self.refuse(f"{_A_KIND[left.kind]} can't be equal to {_A_KIND[right.kind]}", right_node)
        for known, given, node in ((left, right, right_node), (right, left, left_node)):
            missing = isinstance(node, ast.Constant) and not given.labels <= known.labels
            if missing:
                choices = ", ".join(sorted(shown(self._labels[key]) for key in known.labels))
                self.refuse(f"it is never equal to that, but one of {choices}", node)
        return _Part(
            "truth", lambda rows: one(rows) == other(rows), certain=None if left.labels & right.labels else False
        )


def _negated(part: _Part) -> _Part:
    certain = None if part.certain is None else not part.certain
    return _Part("truth", lambda rows: np.logical_not(part.evaluate(rows)), certain=certain)


def _joined(parts: list[_Part], how: Callable[[Any], bool]) -> _Part:
    """Whether all, or any, of several truths are."""
    if len(parts) == 1:
        return parts[0]
    join = np.logical_and if how is all else np.logical_or
    decisive = how is any  # what one of them must be to decide
    certain: bool | None = None
    if any(part.certain is decisive for part in parts):
        certain = decisive
    elif all(part.certain is not None for part in parts):
        certain = not decisive

    def evaluate(rows: FloatArray) -> npt.NDArray[np.bool_]:
        found = parts[0].evaluate(rows)
        for part in parts[1:]:
            found = join(found, part.evaluate(rows))
        return found  # type: ignore[no-any-return]

    return _Part("truth", evaluate, certain=certain)


def _compared(symbol: str, function: Callable[[Any, Any], Any], left: _Part, right: _Part) -> _Part:
    small, large = (left, right) if symbol[0] == "<" else (right, left)
    certain: bool | None = None
    if small.high < large.low or (small.high == large.low and len(symbol) == 2):
        certain = True
    elif small.low > large.high or (small.low == large.high and len(symbol) == 1):
        certain = False
    return _Part("truth", lambda rows: function(left.evaluate(rows), right.evaluate(rows)), certain=certain)


def _read(text: Any, parameters: Mapping[str, Parameter]) -> tuple[_Reader, _Part]:
    if not isinstance(text, str) or not text.strip():
        raise InvalidSearchSpace(f'a relation is a text such as "low <= high", got {shown(text)}')
    if len(text) > _MOST_CHARACTERS:
        raise InvalidSearchSpace(f"a relation has at most {_MOST_CHARACTERS} characters, got {len(text)}")
    reader = _Reader(" ".join(text.strip().splitlines()), parameters)
    return reader, reader.read()


def names_in(text: Any) -> set[str]:
    """The names that an expression may refer to; none if it is no expression."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    return {name for node in ast.walk(tree) if isinstance(node, ast.expr) and (name := _spelt(node)) is not None}


def read_truth(text: Any, parameters: Mapping[str, Parameter]) -> Expression:
    """What is true or false of a point of the space.

    Raises:
        InvalidSearchSpace: it is no such text; the message shows the place.
    """
    reader, part = _read(text, parameters)
    if part.kind != "truth":
        reader.refuse(f"a relation must be true or false, such as 'low <= high', got {_A_KIND[part.kind]}")
    if not reader.used:
        reader.refuse(f"a relation must name a parameter; the space has {shown(list(parameters))}")
    if part.certain is False:
        reader.refuse("this can never hold within the bounds of the parameters")
    return _expression(reader, part)


def read_number(text: Any, parameters: Mapping[str, Parameter]) -> Expression:
    """A number that follows from a point of the space.

    Raises:
        InvalidSearchSpace: it is no such text; the message shows the place.
    """
    reader, part = _read(text, parameters)
    if part.kind != "number":
        reader.refuse(f"a bound must be a number, got {_A_KIND[part.kind]}")
    if not reader.used:
        reader.refuse("a bound that is a text must name a parameter; give a number as a number")
    return _expression(reader, part)


def _expression(reader: _Reader, part: _Part) -> Expression:
    return Expression(
        reader._text, tuple(sorted(reader.used)), part.evaluate, part.low, part.high, part.is_whole, part.certain
    )
