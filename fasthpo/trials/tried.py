"""Which points of a finite space, or of the finite part of a space, have been suggested: none is suggested twice."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from fasthpo.space.search_space import SearchSpace
from fasthpo.values import FloatArray, IntArray

_BITMAP_LIMIT = 2**22  # cells up to which one byte a cell is kept
_COUNTABLE = 2**40  # cells; a larger space is never used up, and a hash of the row stands for the cell
_WORD = 2**64 - 1
_EMPTY = _WORD
_GOLDEN = 0x9E3779B97F4A7C15  # 2**64 / golden ratio: its multiples spread evenly (Knuth, TAOCP 3, 6.4)


class Points(Protocol):
    """Points that are numbered, such as a finite space's or a grid's."""

    size: int

    def point(self, index: int) -> FloatArray: ...
    def index(self, rows: FloatArray) -> Sequence[int] | IntArray: ...


class TriedPoints:
    """A set of cell indices of a finite space: a byte a cell in a small space, an open-addressing table in a large one.

    In an infinite space only points count of which no active parameter has infinitely many values.

    Args:
        cells: the enumeration of the points that count: a space's, or a grid's.
        continua: the parameters that have infinitely many values, int64 (e,).
    """

    def __init__(self, cells: Points, continua: IntArray | None = None) -> None:
        self.cells = cells
        self.continua: IntArray = np.empty(0, np.int64) if continua is None else continua
        self._length = 0
        self._small = cells.size <= _BITMAP_LIMIT
        self._huge = cells.size > _COUNTABLE
        self._flags = np.zeros(cells.size if self._small else 0, np.bool_)
        self._slots = np.full(0 if self._small else 256, _EMPTY, np.uint64)

    def __len__(self) -> int:
        return self._length

    @property
    def is_counted(self) -> bool:
        """Whether the points that count have numbers."""
        return not isinstance(self.cells, _Uncounted)

    @property
    def is_full(self) -> bool:
        """Whether every point that counts has been suggested."""
        return self._length >= self.cells.size

    @property
    def is_exhausted(self) -> bool:
        """Whether no point of the space is left."""
        return self.is_full and not len(self.continua)

    def _key(self, cell: int) -> int:
        return self._hash(self.cells.point(cell)) if self._huge else cell

    def _hash(self, row: FloatArray) -> int:
        # NaN comes with either sign; no value is infinite
        canonical = np.where(np.isnan(row), np.inf, row)
        digest = hashlib.blake2b(canonical.tobytes(), digest_size=8).digest()
        return int.from_bytes(digest, "little") >> 1

    def _slot(self, key: int) -> int:
        mask = len(self._slots) - 1
        # the upper bits of the product, which depend on every bit of the key
        place = (key * _GOLDEN & _WORD) >> (64 - mask.bit_length())
        while self._slots[place] != _EMPTY and self._slots[place] != key:
            place = (place + 1) & mask
        return place

    def __contains__(self, cell: int) -> bool:
        return bool(self._flags[cell]) if self._small else self._has_key(self._key(cell))

    def _has_key(self, key: int) -> bool:
        return bool(self._slots[self._slot(key)] == key)

    def holds(self, row: FloatArray) -> bool:
        """Whether the point `row` (d,) counts, and was suggested."""
        if not np.isnan(row[self.continua]).all():
            return False
        if self._huge:
            return self._has_key(self._hash(row))
        return int(self.cells.index(row[None, :])[0]) in self

    def add(self, rows: FloatArray) -> None:
        """Count the points `rows` (n, d) as suggested."""
        if len(self.continua):
            rows = rows[np.isnan(rows[:, self.continua]).all(axis=1)]
        if self._huge:
            for row in rows:
                self._add_key(self._hash(row))
            return
        for cell in self.cells.index(rows):
            self.add_cell(int(cell))

    def add_cell(self, cell: int) -> None:
        """Count one point as suggested."""
        if not self._small:
            self._add_key(self._key(cell))
        elif not self._flags[cell]:
            self._flags[cell] = True
            self._length += 1

    def _add_key(self, key: int) -> None:
        if self._has_key(key):
            return
        self._length += 1
        if 2 * self._length > len(self._slots):
            old = self._slots[self._slots != _EMPTY]
            self._slots = np.full(2 * len(self._slots), _EMPTY, np.uint64)
            for kept in old.tolist():
                self._slots[self._slot(kept)] = kept
        self._slots[self._slot(key)] = key

    def next_untried(self, cell: int) -> int:
        """The first untried cell from `cell` on, around the end; the caller has made sure that there is one."""
        if self._small:
            after = np.argmin(self._flags[cell:])
            if not self._flags[cell + after]:
                return int(cell + after)
            return int(np.argmin(self._flags))
        while cell in self:
            cell = (cell + 1) % self.cells.size
        return cell


class _Uncounted:
    """Points of which nobody knows how many there are: they are told apart by their rows, and are never used up."""

    size = 2**64

    def point(self, index: int) -> FloatArray:
        raise AssertionError("points that are not counted have no numbers")

    def index(self, rows: FloatArray) -> IntArray:
        raise AssertionError("points that are not counted have no numbers")


def tried_points(space: SearchSpace) -> TriedPoints | None:
    """An empty set of the points of `space` that are not to be suggested twice; None if none is finite."""
    if space.finite_cells is None:
        # what relations leave of a finite space may be too much to count
        return TriedPoints(_Uncounted()) if space.is_finite else None
    continua = [j for j, parameter in enumerate(space.parameters) if parameter.count is None]
    return TriedPoints(space.finite_cells, np.array(continua, np.int64))
