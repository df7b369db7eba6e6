"""What pruners keep of learning curves, and how they judge a trial by them.

What may enter compares reports of trials that run or have ended; rungs of successive halving have a room of their own.
"""
