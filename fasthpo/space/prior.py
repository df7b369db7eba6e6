"""What a user believes of a parameter before the first trial: a guess, and how sure of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, ClassVar, Protocol

import numpy as np

from fasthpo.errors import InvalidParameters, InvalidSearchSpace
from fasthpo.values import FloatArray, IntArray, plain, shown

_NEAR = 0.1  # of the range, within which a number lies near the guess
_ELSEWHERE = 0.05  # of the probability, which is spread evenly: a guess may be wrong
_LEAST_CONFIDENCE = 1e-6  # in a number: less, and less doubt, make no difference
_POINTS = 4096  # quantiles at which a parameter's values are looked up


class Believed(Protocol):
    """What a prior is about: a parameter."""

    is_ordered: ClassVar[bool]
    prior: Prior | None

    @property
    def count(self) -> int | None: ...
    def encode(self, value: Any) -> float: ...
    def decode(self, column_value: float) -> Any: ...
    def from_unit(self, unit: FloatArray) -> FloatArray: ...


@dataclass(frozen=True)
class Prior:
    """A guess of the best value of a parameter, and the probability that it is about right.

    Args:
        value: the guess, one of the parameter's values.
        confidence: above 0 and below 1. Of a number, that the best value is no further from the guess than a tenth of
            the range, on the parameter's own scale: of `LogUniform(1e-5, 1.0)`, within a factor of about 3. Of a
            choice, that it is the best one; the others share the rest.

    Raises:
        InvalidSearchSpace: `confidence` is not that.

    Example:
        >>> LogUniform(1e-5, 1.0, prior=Prior(1e-3, confidence=0.8)).prior.value
        0.001
    """

    value: Any
    confidence: float = 0.5

    def __post_init__(self) -> None:
        confidence = plain(self.confidence)
        if isinstance(confidence, bool) or not isinstance(confidence, (int, float)) or not 0 < confidence < 1:
            raise InvalidSearchSpace(f"confidence must lie between 0 and 1, got confidence={shown(self.confidence)}")
        object.__setattr__(self, "confidence", float(confidence))

    @classmethod
    def of(cls, parameter: Believed, given: Any) -> Prior | None:
        """What was given as a parameter's prior: a `Prior`, a guess alone, or what `to_dict` wrote.

        Raises:
            InvalidSearchSpace: the guess is none of the parameter's values.
        """
        prior = cls.stated(given)
        if prior is None:
            return None
        try:
            value = parameter.decode(parameter.encode(prior.value))
        except InvalidParameters as error:
            raise InvalidSearchSpace(f"the guess of a prior {error}") from None
        return cls(value, prior.confidence)

    @classmethod
    def stated(cls, given: Any) -> Prior | None:
        """The same, whatever the guess is.

        Raises:
            InvalidSearchSpace: it is described by something else than a value and a confidence.
        """
        if isinstance(given, dict):
            if set(given) != {"value", "confidence"}:
                raise InvalidSearchSpace(f"a prior is described by a value and a confidence, got {shown(given)}")
            given = cls(**given)
        return given if given is None or isinstance(given, Prior) else cls(given)


class _Distribution:
    """The distribution of one parameter that has a prior.

    That of a number is normal over the quantiles of the parameter's range, cut off at its ends.
    """

    def __init__(self, parameter: Believed, prior: Prior) -> None:
        self.guess = parameter.encode(prior.value)
        self._values = parameter.from_unit((np.arange(_POINTS) + 0.5) / _POINTS)
        self._probabilities: FloatArray | None = None
        if not parameter.is_ordered:
            count = parameter.count or 1
            self._probabilities = np.full(count, (1 - prior.confidence) / max(count - 1, 1))
            self._probabilities[int(self.guess)] = prior.confidence if count > 1 else 1.0
            self.center = (self.guess + 0.5) / count
            return
        first, end = self._quantiles(np.array([self.guess]))
        self.center = min(float(first[0] + end[0]) / (2 * _POINTS), 1.0 - 2.0**-53)
        confidence = min(max(prior.confidence, _LEAST_CONFIDENCE), 1 - _LEAST_CONFIDENCE)
        deviation = _NEAR / NormalDist().inv_cdf((1 + confidence) / 2)
        self._grid = np.arange(2 * _POINTS + 1) / (2 * _POINTS)
        density = np.exp(-0.5 * ((self._grid - self.center) / deviation) ** 2)
        cumulated = np.append(0.0, np.cumsum((density[1:] + density[:-1]) / 2)) / (2 * _POINTS)
        self._cumulated = (1 - _ELSEWHERE) * cumulated / cumulated[-1] + _ELSEWHERE * self._grid
        self._density = (1 - _ELSEWHERE) * density / cumulated[-1] + _ELSEWHERE

    def _quantiles(self, column: FloatArray) -> tuple[IntArray, IntArray]:
        """From where on, and up to where, column values stand at the quantiles."""
        return self._values.searchsorted(column), self._values.searchsorted(column, side="right")

    def shifted(self, units: FloatArray) -> FloatArray:
        """Quantiles (n,) of the parameter's range at quantiles of what is believed."""
        if self._probabilities is not None:
            ends = np.cumsum(self._probabilities)
            choice = np.minimum(np.searchsorted(ends, units * ends[-1], side="right"), len(ends) - 1)
            middles: FloatArray = (choice + 0.5) / len(ends)
            return middles
        quantiles: FloatArray = np.minimum(np.interp(units, self._cumulated, self._grid), 1.0 - 2.0**-53)
        return quantiles

    def logarithms(self, column: FloatArray) -> FloatArray:
        """The logarithm of how much more likely column values (n,) are than if nothing were believed."""
        if self._probabilities is not None:
            known: FloatArray = np.log(self._probabilities[column.astype(np.int64)] * len(self._probabilities))
            return known
        first, end = self._quantiles(column)
        share = np.maximum(end - first, 1) / _POINTS  # of the quantiles that one of few values stands for
        mean = (self._cumulated[2 * end] - self._cumulated[2 * first]) / share
        logarithms: FloatArray = np.log(np.where(end - first > 1, mean, self._density[first + end]))
        return logarithms


class Priors:
    """The priors of a space's parameters, as samplers use them.

    Args:
        parameters: of the space, in order; at least one has a prior.
    """

    def __init__(self, parameters: Sequence[Believed]) -> None:
        self._believed = {j: _Distribution(one, one.prior) for j, one in enumerate(parameters) if one.prior is not None}

    @property
    def parameters(self) -> IntArray:
        """The places of the parameters that have priors, ascending, int64 (p,)."""
        return np.array(list(self._believed), np.int64)

    def guesses(self) -> dict[int, float]:
        """The column values of the guesses, by parameter."""
        return {j: one.guess for j, one in self._believed.items()}

    def centers(self) -> dict[int, float]:
        """The quantiles of the guesses, by parameter."""
        return {j: one.center for j, one in self._believed.items()}

    def shifted(self, units: FloatArray) -> FloatArray:
        """Quantiles (n, d) of all parameters, those with a prior at quantiles of what is believed."""
        moved = units.copy()
        for j, one in self._believed.items():
            moved[:, j] = one.shifted(units[:, j])
        return moved

    def logarithms(self, rows: FloatArray) -> FloatArray:
        """How much more likely rows (n, d) are than if nothing were believed, as a logarithm for each prior, (n, p).

        An inactive parameter says nothing.
        """
        found = np.zeros((len(rows), len(self._believed)))
        for k, (j, one) in enumerate(self._believed.items()):
            column = rows[:, j]
            active = column == column
            found[active, k] = one.logarithms(column[active])
        return found
