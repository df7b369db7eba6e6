"""What may be tried: parameters and their kinds, conditions, the search space, points as rows and as numbers.

What stands here knows nothing of trials: it turns what a user writes into columns of float64, and back.
"""
