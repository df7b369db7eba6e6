"""The machine and the process around the library: paths, clocks, the log, imports that nothing may break off.

What stands here knows nothing of hyperparameters, and would serve any other library as well.
"""
