"""Where objectives run: in this process, in threads, in processes of our own, in an executor, on Ray.

A backend (`base.Backend`, one a file) takes trials and says how they ended; while they run it passes what they report
to the study and the study's answers back (`desk.py`). The run loop above it (`fasthpo.tuner.run`) decides what starts.
Workers never hold a copy of the study: they speak with it over a line (`line.py`, `messages.py`).
"""
