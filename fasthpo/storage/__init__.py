"""Where a study is kept: its directory, the journal, checkpoints, the lock of its one writer, trials' weights.

What stands here reads and writes our own files, with suspicion; those of others are the business of `exchange`.
"""
