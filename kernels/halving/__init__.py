"""Rungs of successive halving: which trial may be promoted, and which one has to stop.

What may enter is an order of the trials that reached a resource, and a decision about one of them by that order.
"""
