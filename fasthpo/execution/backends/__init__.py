"""The places where trials run, one a file: this thread, threads, processes, an executor, batch jobs, Ray.

What stands here takes jobs and says how they ended (`base.Backend`); it knows nothing of studies.
"""
