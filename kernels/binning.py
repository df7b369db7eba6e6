"""Points counted in the cells of a plane: a picture of a hundred thousand trials is drawn from a few thousand."""

from __future__ import annotations

from .arrays import FloatArray, IntArray
from .compiling import kernel

NOBODY = -1


@kernel
def count_in_cells(
    x: FloatArray,
    y: FloatArray,
    rank: FloatArray,
    x_low: float,
    x_high: float,
    y_low: float,
    y_high: float,
    count: IntArray,
    best: IntArray,
) -> None:
    """Count points in the cells of a rectangle, and find the point of the lowest rank in each, the first of equals.

    Args:
        x, y: points (n,); those that are NaN are left out, those outside the rectangle belong to its outermost cells.
        rank: of each point (n,), no NaN.
        x_low, x_high, y_low, y_high: the rectangle, not empty.
        count: int64 (rows, columns) of zeros, written; row 0 is at `y_low`.
        best: int64 (rows, columns) of -1, written: the index of a point, or -1.
    """
    rows, columns = count.shape
    across, up = columns / (x_high - x_low), rows / (y_high - y_low)
    for i in range(len(x)):
        if x[i] != x[i] or y[i] != y[i]:
            continue
        column = int(min(max((x[i] - x_low) * across, 0.0), columns - 1.0))
        row = int(min(max((y[i] - y_low) * up, 0.0), rows - 1.0))
        count[row, column] += 1
        if best[row, column] == NOBODY or rank[i] < rank[best[row, column]]:
            best[row, column] = i
