"""The types of the arrays that kernels take, and a search space, whose arrays go together.

Arrays that belong together go into a kernel as a named tuple, and are taken apart there. Importing this module, or
`tpe/densities.py`, does not import numba.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
ByteArray: TypeAlias = npt.NDArray[np.int8]
WordArray: TypeAlias = npt.NDArray[np.uint64]


class Space(NamedTuple):
    """A search space: the axes of its d parameters, and their conditions; see `axes.py`.

    A condition is a row (child, parent, first, last): the child is active only if what conditions look at of the parent
    (see `axes.deciding`) lies in one of the closed ranges `allowed[first:last]`.
    """

    axes: FloatArray  # (d, 10)
    order: IntArray  # the parameters, parents first, (d,)
    conditions: IntArray  # (c, 4)
    allowed: FloatArray  # lower and upper ends of ranges of a parent, (r, 2)
    conditional: BoolArray  # whether a parameter has conditions, (d,)
