"""Compiled kernels: arrays and scalars in, arrays and scalars out.

Kernels never validate and never raise; whoever calls them has checked shapes, bounds and NaN. Importing a kernel's
module imports numba (half a second), so the rest of fasthpo imports it when it is first needed.
"""
