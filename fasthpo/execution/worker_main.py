"""What runs in a worker process: it loads the objective once and then runs one trial after the other."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from dataclasses import replace
from typing import NamedTuple

from fasthpo.execution.attempt import failed, forget_peak, run_attempt
from fasthpo.execution.backends.base import Ended, Job
from fasthpo.execution.connection import LOOPBACK, ConnectionChannel, connect, fetch
from fasthpo.execution.following import end_with_parent
from fasthpo.execution.gpu_memory import MemoryCleaner
from fasthpo.execution.main_module import Source
from fasthpo.execution.messages import Says, pack_ended
from fasthpo.execution.objective import Objective, OutcomeSpec
from fasthpo.execution.remote_trial import Channel, RemoteTrial
from fasthpo.execution.unpickling import Unloadable, load
from fasthpo.system.log import RepeatedWarnings
from fasthpo.trials.trial import Trial


class Order(NamedTuple):
    """What a worker process is told when it starts, through its standard input."""

    port: int  # of the run's switchboard
    key: bytes
    name: int  # how it introduces itself
    spec: OutcomeSpec
    size: int  # bytes of the pickled objective, which follow
    authentication: bytes  # of `multiprocessing` in the run's process, so that its managers know who calls
    run: int  # that process


def work(objective: Objective, job: Job, line: Channel, spec: OutcomeSpec) -> Ended:
    """Run one attempt at a trial in this process; how it ended, without references to anything that it used."""
    forget_peak()
    with RemoteTrial(job, line) as source:
        try:
            ended = run_attempt(objective, Trial(job.number, source), spec)
        except BaseException as raised:  # whatever it is, it ends the trial, not the worker
            ended = failed(job.number, raised)
    return replace(ended, cause=None)


@RepeatedWarnings()
def main() -> None:
    """Serve the run that started this process until it hangs up."""
    order = Order(*pickle.load(sys.stdin.buffer))
    end_with_parent(order.run)  # of which the thread that starts workers waits for their end
    pickled = sys.stdin.buffer.read(order.size)
    _follow_parent()
    multiprocessing.current_process().authkey = order.authentication
    wire = connect([LOOPBACK], order.port, order.key)
    wire.send([Says.HELLO, order.name])
    try:
        objective = load(pickled, Source(order.key, lambda: fetch([LOOPBACK], order.port, order.key, order.size)))
    except Unloadable as error:
        wire.send([Says.UNLOADABLE, str(error)])
        return
    del pickled
    wire.send([Says.READY])
    line, tidier = ConnectionChannel(wire), MemoryCleaner()
    spoiled = False
    while not spoiled:
        try:
            _, job = wire.receive()
        except EOFError:  # the run is over
            return
        ended = work(objective, Job(*pickle.loads(job)), line, order.spec)
        spoiled = tidier.tidy()
        wire.send([Says.DONE, pack_ended(ended), spoiled])


def _follow_parent() -> None:
    """End this process and its children when the parent ends, whose end of the standard input closes then."""
    lifeline = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)

    def watch() -> None:
        os.read(lifeline, 1)
        if os.name == "posix" and os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, name="fasthpo-lifeline", daemon=True).start()
