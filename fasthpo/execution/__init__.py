"""Where objectives run: in this process, in threads, in processes of our own, in an executor, on Ray.

A backend (`backends/`, one a file) takes trials and says how they ended; while they run it passes what they report to
the study and the study's answers back (`study_server.py`). The run loop above it (`fasthpo.tuner.run`) decides what
starts. Workers never hold a copy of the study: they speak with it as a `RemoteTrial` does (`messages.py`).
"""
