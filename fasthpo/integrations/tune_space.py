"""A search space of Ray Tune's as one of ours, and the configs of its trials.

A space is a config in which some values are to be found: domains of Tune's, such as `tune.uniform(0, 1)`, or parameters
of ours. They may stand in dicts, lists and tuples in each other, and in what a `tune.choice` chooses from: such a
parameter is there only where the choice falls on what it stands in. A parameter's name is its path, "model/layers",
with the place of the choice that it stands in: "optimizer/1/momentum".
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NoReturn, Self, TypeAlias

import numpy as np
from ray.tune.search.sample import Categorical as TuneChoice
from ray.tune.search.sample import Domain, Float, Function, Integer, LogUniform, Normal, Quantized, Uniform

from fasthpo.errors import InvalidParameters, InvalidSearchSpace, InvalidValue
from fasthpo.space import kinds, normal
from fasthpo.space.parameter import Parameter, Value
from fasthpo.space.search_space import SearchSpace
from fasthpo.values import element, shown

_PLAIN = (str, bool, int, float, type(None))
_NOTHING: Any = object()  # what a config has where a parameter is not there

_GRID = "is a tune.grid_search, which no search algorithm takes: use tune.choice, or leave search_alg out"
_COMPUTED = "is a tune.sample_from, which may do anything: compute it in the trainable"

_When: TypeAlias = dict[str, list[Value]]
_Path: TypeAlias = tuple[Any, ...]


class TuneSpace:
    """A config with parameters in it.

    Args:
        config: of domains, parameters and constants.
        with_constants: whether the configs of trials also have what is the same in all of them. Tune itself has that of
            a `param_space`, and puts into it what differs.

    Attributes:
        space: the parameters.

    Raises:
        InvalidSearchSpace: a value can't be searched for, or there is none.
    """

    def __init__(self, config: Mapping[str, Any], with_constants: bool) -> None:
        if not isinstance(config, Mapping):
            raise InvalidSearchSpace(f"a space is a mapping of name to what is to be found, got {shown(config)}")
        builder = _Builder()
        self._root: _Node = builder.group(config, (), {}, with_constants)
        if not builder.parameters:
            raise InvalidSearchSpace(f"a space needs something to be found, such as tune.uniform, got {shown(config)}")
        # one of fasthpo's has its parameters under their own names, and relations besides
        self.space = SearchSpace(config if isinstance(config, SearchSpace) else builder.parameters)
        builder.parameters.update(self.space)  # which knows bounds that depend on other parameters

    def to_plain(self) -> Any:
        """The config, but for its parameters, in JSON values; None if there is anything in it that JSON has not."""
        try:
            return self._root.to_plain()
        except InvalidValue:
            return None

    @classmethod
    def from_plain(cls, plain: Any, space: SearchSpace) -> Self:
        """What `to_plain` has described.

        Args:
            plain: that.
            space: the parameters.

        Raises:
            InvalidValue: it is no such description, or one with other parameters.
        """
        names: list[str] = []
        try:
            root = _from_plain(plain, space, (), names)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise InvalidValue(f"a config is described in another way: {error}") from None
        if sorted(names) != sorted(space) or not isinstance(root, _Group):
            raise InvalidValue("a config is described that has other parameters than the space")
        made = cls.__new__(cls)
        made._root, made.space = root, space
        return made

    def config(self, params: Mapping[str, Value]) -> dict[str, Any]:
        """What a trial with these parameters gets."""
        filled: dict[str, Any] = self._root.fill(params)
        return filled

    def params(self, config: Mapping[str, Any]) -> dict[str, Value]:
        """The parameters of a config, or of part of one; a name such as "model/layers" may stand for a nested one.

        Raises:
            InvalidParameters: a value is not one of the space's, or the space has no such key.
        """
        if not isinstance(config, Mapping):
            raise InvalidParameters(f"a config is a dict, got {shown(config)}")
        params: dict[str, Value] = {}
        self._root.read(config, params)
        return params


def _name(path: _Path) -> str:
    return "/".join(map(str, path))


# --- what stands in a config


class _Node(ABC):
    """Something in the config of a space."""

    @abstractmethod
    def fill(self, params: Mapping[str, Value]) -> Any:
        """What stands here in the config of a trial; `_NOTHING` if its conditions do not hold."""

    @abstractmethod
    def read(self, value: Any, params: dict[str, Value]) -> int:
        """Note down the parameters of a value that stands here; how much is missing in it.

        Raises:
            InvalidParameters: it can't stand here.
        """

    @abstractmethod
    def to_plain(self) -> Any:
        """What stands here in JSON values.

        Raises:
            InvalidValue: JSON has no such thing.
        """


class _Constant(_Node):
    def __init__(self, value: Any, path: _Path) -> None:
        self._value = value
        self._path = path

    def fill(self, params: Mapping[str, Value]) -> Any:
        return self._value

    def read(self, value: Any, params: dict[str, Value]) -> int:
        if not _equal(value, self._value):
            raise InvalidParameters(f"{_name(self._path)!r} is {shown(self._value)} in all trials, got {shown(value)}")
        return 0

    def to_plain(self) -> Any:
        return _constant_to_plain(self._value)


class _Leaf(_Node):
    """A parameter that is one value of the config.

    Args:
        name: the parameter's.
        parameters: of the space, by name.
        unit: of which the config has multiples, and an integer parameter says how many; None: as the parameter has it.
    """

    def __init__(self, name: str, parameters: Mapping[str, Parameter], unit: float | None = None) -> None:
        self._name = name
        self._parameters = parameters
        self._unit = unit

    def fill(self, params: Mapping[str, Value]) -> Any:
        value = params.get(self._name, _NOTHING)
        if self._unit is None or value is _NOTHING:
            return value
        assert isinstance(value, int | float)
        count = value if isinstance(value, int) else round(value / self._unit)
        return float(f"{count * self._unit:.15g}")  # 3 * 0.1 is 0.30000000000000004

    def read(self, value: Any, params: dict[str, Value]) -> int:
        parameter, value = self._parameters[self._name], element(value)
        if self._unit is not None and type(value) in (int, float):
            count = round(value / self._unit) if math.isfinite(value) else -1
            if not math.isclose(count * self._unit, value, rel_tol=1e-6):
                raise InvalidParameters(f"{self._name!r} must be a multiple of {self._unit}, got {shown(value)}")
            value = count if isinstance(parameter, kinds.Discrete) else value
        try:
            params[self._name] = parameter.decode(parameter.encode(value))
        except InvalidParameters as error:
            raise InvalidParameters(f"{self._name!r} {error}") from None
        return 0

    def to_plain(self) -> Any:
        return {"parameter": self._name, "unit": self._unit}


class _Choice(_Node):
    """A parameter that says which of several things stands in the config.

    Args:
        name, parameter: what it is.
        options: the things, one for each of its choices.
    """

    def __init__(self, name: str, parameter: kinds.Categorical, options: list[_Node]) -> None:
        self._name = name
        self._parameter = parameter
        self._options = options

    def fill(self, params: Mapping[str, Value]) -> Any:
        value = params.get(self._name, _NOTHING)
        return value if value is _NOTHING else self._options[int(self._parameter.encode(value))].fill(params)

    def read(self, value: Any, params: dict[str, Value]) -> int:
        best: dict[str, Value] | None = None
        least = 0
        for choice, option in zip(self._parameter.choices, self._options, strict=True):
            found: dict[str, Value] = {self._name: choice}
            try:
                missing = option.read(value, found)
            except InvalidParameters:
                continue
            if best is None or missing < least:
                best, least = found, missing
        if best is None:
            raise InvalidParameters(f"{self._name!r} must be one of its choices, got {shown(value)}")
        params.update(best)
        return least

    def to_plain(self) -> Any:
        return {"choice": self._name, "options": [option.to_plain() for option in self._options]}


class _Group(_Node):
    """A dict with parameters in it.

    Args:
        path: where it stands.
        children: what is in it.
        constants: those of them that trials are not given, as they have them.
    """

    def __init__(self, path: _Path, children: Mapping[Any, _Node], constants: Mapping[Any, _Node]) -> None:
        self._path = path
        self._children = children
        self._constants = constants

    def fill(self, params: Mapping[str, Value]) -> Any:
        filled = ((key, child.fill(params)) for key, child in self._children.items())
        return {key: value for key, value in filled if value is not _NOTHING}

    def read(self, value: Any, params: dict[str, Value]) -> int:
        if not isinstance(value, Mapping):
            raise InvalidParameters(f"{_name(self._path)!r} must be a dict, got {shown(value)}")
        known = {**self._children, **self._constants}
        given = {key: one for key, one in value.items() if key in known}
        nested: dict[str, dict[str, Any]] = {}
        for key in [key for key in value if key not in known]:
            first, _, rest = key.partition("/") if isinstance(key, str) else (key, "", "")
            if not rest or first not in known:
                path = _name((*self._path, key))
                raise InvalidParameters(f"{path!r} is not in the space, which has {shown([*known])}")
            nested.setdefault(first, {})[rest] = value[key]
        for key, more in nested.items():
            given[key] = {**given[key], **more} if isinstance(given.get(key), Mapping) else more
        return len(known) - len(given) + sum(known[key].read(one, params) for key, one in given.items())

    def to_plain(self) -> Any:
        children, constants = (
            [[_key_to_plain(key), node.to_plain()] for key, node in nodes.items()]
            for nodes in (self._children, self._constants)
        )
        return {"dict": children, "constants": constants}


class _Row(_Node):
    """A list or a tuple with parameters in it; None stands for those that are not there."""

    def __init__(self, path: _Path, kind: type, children: list[_Node]) -> None:
        self._path = path
        self._kind = kind
        self._children = children

    def fill(self, params: Mapping[str, Value]) -> Any:
        filled = (child.fill(params) for child in self._children)
        return self._kind([None if value is _NOTHING else value for value in filled])

    def read(self, value: Any, params: dict[str, Value]) -> int:
        if not isinstance(value, list | tuple) or len(value) != len(self._children):
            raise InvalidParameters(
                f"{_name(self._path)!r} must be a list of {len(self._children)} values, got {shown(value)}"
            )
        return sum(child.read(one, params) for child, one in zip(self._children, value, strict=True))

    def to_plain(self) -> Any:
        return {self._kind.__name__: [child.to_plain() for child in self._children]}


def _equal(one: Any, other: Any) -> bool:
    """Whether two values of any kind are equal: 1 and 1.0 are, 1 and True are not."""
    if one is other:
        return True
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    try:
        return bool(np.all(one == other)) and np.shape(one) == np.shape(other)
    except Exception:  # whatever another library raises
        return False


# --- in JSON values

_ROWS = {"list": list, "tuple": tuple}


def _key_to_plain(key: Any) -> Any:
    if type(key) not in (str, int):
        raise InvalidValue(f"JSON has no such key as {shown(key)}")
    return key


def _constant_to_plain(value: Any) -> Any:
    if type(value) is dict:
        return {"dict": [[_key_to_plain(key), _constant_to_plain(one)] for key, one in value.items()], "constants": []}
    if type(value) in (list, tuple):
        return {type(value).__name__: [_constant_to_plain(one) for one in value]}
    if type(value) is float and not math.isfinite(value):
        return {"float": repr(value)}
    if type(value) not in _PLAIN:
        raise InvalidValue(f"JSON has no such value as {shown(value)}")
    return {"constant": value}


def _from_plain(plain: Any, space: SearchSpace, path: _Path, names: list[str]) -> _Node:
    """A node of which `to_plain` gave this; the names of its parameters are added to a list."""
    if "dict" in plain:
        children, constants = (
            {key: _from_plain(one, space, (*path, key), names) for key, one in plain[part]}
            for part in ("dict", "constants")
        )
        return _Group(path, children, constants)
    for name, kind in _ROWS.items():
        if name in plain:
            row = [_from_plain(one, space, (*path, i), names) for i, one in enumerate(plain[name])]
            return _Row(path, kind, row)
    if "parameter" in plain:
        names.append(plain["parameter"])
        unit = plain["unit"]
        return _Leaf(plain["parameter"], space, None if unit is None else float(unit))
    if "choice" in plain:
        names.append(plain["choice"])
        parameter = space[plain["choice"]]
        if not isinstance(parameter, kinds.Categorical):
            raise ValueError(f"{plain['choice']!r} is no choice")
        options = [_from_plain(one, space, (*path, i), names) for i, one in enumerate(plain["options"])]
        if len(options) != len(parameter.choices):
            raise ValueError(f"{plain['choice']!r} has {len(parameter.choices)} choices, got {len(options)}")
        return _Choice(plain["choice"], parameter, options)
    return _Constant(float(plain["float"]) if "float" in plain else plain["constant"], path)


# --- how it is made


class _Builder:
    """Reads the config of a space.

    Attributes:
        parameters: those found so far, by name.
    """

    def __init__(self) -> None:
        self.parameters: dict[str, Parameter] = {}

    def group(self, config: Mapping[Any, Any], path: _Path, when: _When, with_constants: bool) -> _Group:
        children = {key: self._node(value, (*path, key), when, with_constants) for key, value in config.items()}
        constants = {key: node for key, node in children.items() if isinstance(node, _Constant)}
        if with_constants:
            return _Group(path, children, {})
        return _Group(path, {key: node for key, node in children.items() if key not in constants}, constants)

    def _node(self, value: Any, path: _Path, when: _When, with_constants: bool) -> _Node:
        before = len(self.parameters)
        if isinstance(value, Domain):
            return self._domain(value, path, when)
        if isinstance(value, Parameter):
            if when:
                _refuse(path, f"is {shown(value)} in a tune.choice: use a domain of Tune's there, or `when` elsewhere")
            return self._leaf(_name(path), value)
        if isinstance(value, SearchSpace) and value.relations:
            _refuse(path, "is a search space with relations, whose names are others here: make it the whole space")
        if isinstance(value, Mapping):
            if len(value) == 1 and "grid_search" in value:
                _refuse(path, _GRID)
            if len(value) == 1 and "eval" in value:
                _refuse(path, _COMPUTED)
            group = self.group(value, path, when, with_constants)
            return group if len(self.parameters) > before else _Constant(value, path)
        if type(value) in (list, tuple):
            children = [self._node(one, (*path, i), when, True) for i, one in enumerate(value)]
            return _Row(path, type(value), children) if len(self.parameters) > before else _Constant(value, path)
        return _Constant(value, path)

    def _leaf(self, name: str, parameter: Parameter, unit: float | None = None) -> _Leaf:
        self._add(name, parameter)
        return _Leaf(name, self.parameters, unit)

    def _add(self, name: str, parameter: Parameter) -> None:
        if name in self.parameters:
            raise InvalidSearchSpace(f"two parameters have the path {name!r}: give one of them another key")
        self.parameters[name] = parameter

    def _domain(self, domain: Domain, path: _Path, when: _When) -> _Node:
        if isinstance(domain, Function):
            _refuse(path, _COMPUTED)
        if domain.is_grid():
            _refuse(path, _GRID)
        name = _name(path)
        sampler, step = domain.get_sampler(), None
        if isinstance(sampler, Quantized):
            sampler, step = sampler.sampler, sampler.q
        try:
            if isinstance(domain, TuneChoice) and isinstance(sampler, Uniform):
                return self._choice(domain, path, when)
            if isinstance(domain, Integer) and isinstance(sampler, Uniform | LogUniform):
                log = isinstance(sampler, LogUniform)
                return self._leaf(name, _integers(domain, step, log, when))
            if isinstance(domain, Float) and isinstance(sampler, LogUniform) and step is not None:
                multiples = kinds.Discrete(
                    math.ceil(domain.lower / step - 1e-6), math.floor(domain.upper / step + 1e-6), log=True, when=when
                )
                return self._leaf(name, multiples, step)
            if isinstance(domain, Float) and isinstance(sampler, LogUniform):
                return self._leaf(name, kinds.LogUniform(domain.lower, domain.upper, when=when))
            if isinstance(domain, Float) and isinstance(sampler, Uniform):
                return self._leaf(name, kinds.Continuous(domain.lower, domain.upper, step, when=when))
            if isinstance(domain, Float) and isinstance(sampler, Normal):
                return self._leaf(name, normal.Normal(sampler.mean, sampler.sd, when=when), step)
        except InvalidSearchSpace as error:
            raise InvalidSearchSpace(f"{name!r}: {error}") from None
        raise InvalidSearchSpace(
            f"{name!r} is a {type(domain).__name__} with a {type(sampler).__name__} of Tune's, which is not known here"
        )

    def _choice(self, domain: TuneChoice, path: _Path, when: _When) -> _Node:
        name, options = _name(path), domain.categories
        try:
            parameter = kinds.Categorical(options, when)
        except InvalidSearchSpace:  # objects, domains, or one of them twice: they are known by their places
            parameter = kinds.Categorical(range(len(options)), when)
        self._add(name, parameter)
        nodes = [
            self._node(one, (*path, i), {name: [choice]}, True)
            for i, (one, choice) in enumerate(zip(options, parameter.choices, strict=True))
        ]
        return _Choice(name, parameter, nodes)


def _integers(domain: Integer, step: int | None, log: bool, when: _When) -> Parameter:
    """Integers as Tune means them: without the upper bound, but with it where they are multiples of more than 1."""
    if step is None or step == 1:
        return kinds.Discrete(domain.lower, domain.upper - 1, log=log, when=when)
    return kinds.Discrete(-(-domain.lower // step) * step, domain.upper // step * step, step, log, when)


def _refuse(path: _Path, what: str) -> NoReturn:
    raise InvalidSearchSpace(f"{_name(path)!r} {what}")
