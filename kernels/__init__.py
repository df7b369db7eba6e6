"""Compiled kernels: arrays and scalars in, arrays and scalars out.

Kernels never validate and never raise; whoever calls them has checked shapes, bounds and NaN. Importing a kernel's
module imports numba (half a second), so the rest of fasthpo imports it when it is first needed.

At the top stands what several rooms use, or what is one file; what has several files is a folder. A loop over arrays
may enter that is worth compiling, with a slow twin in the tests; nothing that knows of trials, studies or files.
"""
