"""What has happened: trials as columns, their reports and segments, the history that a study goes on from.

What stands here says what became of trials and how that changes; who decides it, and where it is kept, is above.
"""
