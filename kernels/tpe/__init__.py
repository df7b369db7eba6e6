"""TPE: the densities of good and other trials, candidates drawn from them, and the candidates' scores.

What may enter is a step of TPE's suggestion; geometry of parameters that others use, too, belongs to `kernels/axes.py`.
"""
