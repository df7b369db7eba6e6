"""What a user believes of a parameter before the first trial: a guess, and how sure of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, ClassVar, Protocol

import numpy as np

from fasthpo.errors import InvalidParameters, InvalidSearchSpace
from fasthpo.values import FloatArray, IntArray, masked, plain, shown

_NEAR = 0.1  # of the range, within which a number lies near the guess
_ELSEWHERE = 0.05  # of the probability, which is spread evenly: a guess may be wrong
_LEAST_CONFIDENCE = 1e-6  # in a number: less, and less doubt, make no difference
_PARTS = 1024  # of a range, of which each has a density of its own: twenty of them to the least standard deviation
_NARROW = 1e-6  # of the range: a value that owns less has the density of its middle


class Believed(Protocol):
    """What a prior is about: a parameter."""

    is_ordered: ClassVar[bool]
    prior: Prior | None
    lattice: Any  # where its values lie, see `parameter.Lattice`; None for a continuum

    @property
    def count(self) -> int | None: ...
    @property
    def bounds(self) -> tuple[float, float]: ...
    def encode(self, value: Any) -> float: ...
    def decode(self, column_value: float) -> Any: ...


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
            raise InvalidSearchSpace(
                f"confidence must be a probability above 0 and below 1, got confidence={shown(self.confidence)}"
            )
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


class _Numbers:
    """The distributions of the ordered parameters that have priors, (p,).

    Each is normal over the quantiles of its parameter's range, cut off at the ends.
    """

    def __init__(self, parameters: Sequence[Believed], priors: Sequence[Prior]) -> None:
        bounds = np.array([one.bounds for one in parameters]).reshape(-1, 2)
        # a value of a lattice owns the range from half a step below it to half a step above, as in `from_unit`
        self._half = np.array([0.0 if one.lattice is None else one.lattice.step / 2 for one in parameters])
        self._is_log = np.array([getattr(one, "log", False) and one.count != 1 for one in parameters], bool)
        self._offset = self._scaled(bounds[:, 0] - self._half)
        span = self._scaled(bounds[:, 1] + self._half) - self._offset
        self._span = np.where(span > 0, span, 1.0)  # none between neighbouring floats, on a log scale
        guesses = np.array([one.encode(prior.value) for one, prior in zip(parameters, priors, strict=True)])
        first, end = self._stretch(guesses)
        self.centers = np.minimum((first + end) / 2, 1.0 - 2.0**-53)
        confidences = [min(max(one.confidence, _LEAST_CONFIDENCE), 1 - _LEAST_CONFIDENCE) for one in priors]
        deviations = np.array([_NEAR / NormalDist().inv_cdf((1 + confidence) / 2) for confidence in confidences])
        grid = np.arange(_PARTS + 1) / _PARTS
        density = np.exp(-0.5 * ((grid - self.centers[:, None]) / deviations[:, None]) ** 2)
        cumulated = np.zeros(density.shape)
        np.cumsum((density[:, 1:] + density[:, :-1]) / (2 * _PARTS), axis=1, out=cumulated[:, 1:])
        mass = cumulated[:, -1:]
        self._density = (1 - _ELSEWHERE) * density / mass + _ELSEWHERE
        self._cumulated = (1 - _ELSEWHERE) * cumulated / mass + _ELSEWHERE * grid
        self._places = np.arange(len(parameters))
        self._flat = (self._cumulated + self._places[:, None]).ravel()  # of all parameters, ascending

    @masked
    def _scaled(self, values: FloatArray) -> FloatArray:
        found: FloatArray = np.where(self._is_log, np.log(np.where(self._is_log, values, 1.0)), values)
        return found

    @masked
    def _stretch(self, columns: FloatArray) -> tuple[FloatArray, FloatArray]:
        """From which quantile on, and up to which, column values (..., p) stand for."""
        ends = [(self._scaled(columns + side) - self._offset) / self._span for side in (-self._half, self._half)]
        return np.clip(ends[0], 0.0, 1.0), np.clip(ends[1], 0.0, 1.0)

    def _at(self, table: FloatArray, quantiles: FloatArray) -> FloatArray:
        """The entries of a table (p, _PARTS + 1) at quantiles (n, p)."""
        part = np.minimum((quantiles * _PARTS).astype(np.int64), _PARTS - 1)
        low, high = table[self._places, part], table[self._places, part + 1]
        found: FloatArray = low + (quantiles * _PARTS - part) * (high - low)
        return found

    def shifted(self, units: FloatArray) -> FloatArray:
        place = self._flat.searchsorted(units + self._places, side="right") - 1
        part = np.clip(place - self._places * (_PARTS + 1), 0, _PARTS - 1)
        low, high = self._cumulated[self._places, part], self._cumulated[self._places, part + 1]
        quantiles = (part + np.clip((units - low) / (high - low), 0.0, 1.0)) / _PARTS
        inside: FloatArray = np.minimum(quantiles, 1.0 - 2.0**-53)
        return inside

    def logarithms(self, columns: FloatArray) -> FloatArray:
        first, end = self._stretch(columns)
        width = end - first
        mean = (self._at(self._cumulated, end) - self._at(self._cumulated, first)) / np.maximum(width, _NARROW)
        middle = self._at(self._density, (first + end) / 2)
        found: FloatArray = np.log(np.where(width > _NARROW, mean, middle))
        return found


class _Choices:
    """The distributions of the parameters without an order that have priors, (p,)."""

    def __init__(self, parameters: Sequence[Believed], priors: Sequence[Prior]) -> None:
        counts = [one.count or 1 for one in parameters]
        self._counts = np.array(counts, np.int64)
        self._firsts = np.cumsum(self._counts) - self._counts
        ends, logarithms, self.centers = [], [], np.empty(len(counts))
        for k, (one, prior, count) in enumerate(zip(parameters, priors, counts, strict=True)):
            guess = int(one.encode(prior.value))
            probabilities = np.full(count, (1 - prior.confidence) / max(count - 1, 1))
            probabilities[guess] = prior.confidence if count > 1 else 1.0
            ends.append(np.cumsum(probabilities) / probabilities.sum() + k)
            logarithms.append(np.log(probabilities * count))
            self.centers[k] = (guess + 0.5) / count
        self._flat = np.concatenate(ends)  # of all parameters, ascending
        self._logarithms = np.concatenate(logarithms)

    def shifted(self, units: FloatArray) -> FloatArray:
        place = self._flat.searchsorted(units + np.arange(len(self._counts)), side="right")
        middles: FloatArray = (np.clip(place - self._firsts, 0, self._counts - 1) + 0.5) / self._counts
        return middles

    def logarithms(self, columns: FloatArray) -> FloatArray:
        found: FloatArray = self._logarithms[self._firsts + columns.astype(np.int64)]
        return found


class Priors:
    """The priors of a space's parameters, as samplers use them: of all parameters at once.

    Args:
        parameters: of the space, in order; at least one has a prior.

    Attributes:
        parameters: the places of those that have priors, ascending, int64 (p,).
        guesses: the column values of the guesses, (p,).
        centers: their quantiles, (p,).
    """

    def __init__(self, parameters: Sequence[Believed]) -> None:
        believed = [(j, one, one.prior) for j, one in enumerate(parameters) if one.prior is not None]
        self.parameters: IntArray = np.array([j for j, _, _ in believed], np.int64)
        self.guesses: FloatArray = np.array([one.encode(prior.value) for _, one, prior in believed])
        self.centers: FloatArray = np.empty(len(believed))
        is_ordered = np.array([one.is_ordered for _, one, _ in believed])
        # which of the priors are of numbers, or of choices, and their distributions
        self._kinds: list[tuple[IntArray, _Numbers | _Choices]] = []
        for some, kind in ((np.flatnonzero(is_ordered), _Numbers), (np.flatnonzero(~is_ordered), _Choices)):
            if len(some):
                made = kind([believed[k][1] for k in some], [believed[k][2] for k in some])
                self.centers[some] = made.centers
                self._kinds.append((some, made))

    def shifted(self, units: FloatArray) -> FloatArray:
        """Quantiles (n, d) of all parameters, those with a prior at quantiles of what is believed."""
        moved = units.copy()
        for some, kind in self._kinds:
            moved[:, self.parameters[some]] = kind.shifted(units[:, self.parameters[some]])
        return moved

    def logarithms(self, rows: FloatArray) -> FloatArray:
        """How much more likely rows (n, d) are than if nothing were believed, as a logarithm for each prior, (n, p).

        An inactive parameter says nothing.
        """
        columns = rows[:, self.parameters]
        active = columns == columns
        columns = np.where(active, columns, self.guesses)
        found = np.zeros(columns.shape)
        for some, kind in self._kinds:
            found[:, some] = kind.logarithms(columns[:, some])
        return np.where(active, found, 0.0)
