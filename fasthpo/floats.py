"""Floating-point exceptions are no errors in the library's own arithmetic, whatever a program has asked of NumPy."""

from __future__ import annotations

import numpy as np

masked = np.errstate(all="ignore")
"""Decorates what computes with numbers from outside. Ranges and losses may lie anywhere: a result that overflows is
infinite, one that underflows is zero, and either is dealt with; after `np.seterr(all="raise")` NumPy would raise
instead, and by default warn."""
