"""Several objectives: which points are better, how much a front is worth, and which few of its points are worth most.

What may enter compares rows of losses (n, m), each of which is to be low.
"""
