"""On a Ray cluster: each trial is a Ray task, the study stays in the driver, and an actor carries reports and answers.

A trial's task speaks to the actor, and the driver has one call to it open all the time, which returns as soon as
something was said. Results are collected in bulk, so that the study keeps up with thousands of short trials.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any, NamedTuple

import ray
from ray.exceptions import OutOfMemoryError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fasthpo.errors import TrialStateError, WorkersFailed
from fasthpo.execution.backends.base import Backend, Ended, FailureKind, Job, Limits
from fasthpo.execution.gpu_memory import MemoryCleaner
from fasthpo.execution.limits import over_memory
from fasthpo.execution.main_module import Source, own_main, remove_files, use_main
from fasthpo.execution.messages import CorruptMessage, Message, Says, Told, pack_ended, unpack_ended
from fasthpo.execution.objective import OutcomeSpec
from fasthpo.execution.remote_trial import read_reply
from fasthpo.execution.study_server import StudyServer
from fasthpo.execution.unpickling import Unloadable, load
from fasthpo.execution.worker_main import work
from fasthpo.system.forked import renew_in_forked
from fasthpo.system.headline import headline
from fasthpo.trials.trial import Trial

_WAIT = 0.2  # seconds that Ray is waited for at a time, so that Ctrl-C is noticed
_DELAY = 0.1  # seconds that a report may wait for the next one, to go along with it
_LOOK = 0.05  # seconds between two looks at a trial's memory
_LEAVE = 0.2  # seconds for a task's result to be on its way, before its process ends
_MAIL = 2.0  # seconds for what a trial said to arrive, after it was lost
_MOST = 100_000  # trials that may wait for the actor at the same time
_REFRESH = 10.0  # seconds between two looks at how large the cluster is


class MessageQueue:
    """The actor between trials and the driver."""

    def __init__(self) -> None:
        self._arrived: list[tuple[int, int, list[Message]]] = []
        self._bell = asyncio.Event()
        self._waiting: dict[tuple[int, int], asyncio.Future[Any]] = {}

    async def post(self, number: int, ticket: int, messages: list[Message], wants_reply: bool) -> Any:
        """Called by a trial: leave messages; the reply to the last of them, if it wants one."""
        self._arrived.append((number, ticket, messages))
        self._bell.set()
        if not wants_reply:
            return None
        reply = self._waiting[number, ticket] = asyncio.get_running_loop().create_future()
        return await reply

    async def collect(self, replies: list[tuple[int, int, Any]]) -> list[tuple[int, int, list[Message]]]:
        """Called by the driver: hand out replies, and wait for what arrives next."""
        for number, ticket, reply in replies:
            waiting = self._waiting.pop((number, ticket), None)
            if waiting is not None and not waiting.done():
                waiting.set_result(reply)
        await self._bell.wait()
        self._bell.clear()
        arrived, self._arrived = self._arrived, []
        return arrived


# --- in Ray's workers


class Order(NamedTuple):
    """What the tasks of a run have in common; Ray hands it to each of its processes once."""

    mailbox: Any
    objective: bytes
    spec: OutcomeSpec
    limits: Limits


class _Loaded(NamedTuple):
    """The run that this process has worked for last."""

    run: bytes
    order: Order
    objective: Any
    main: ModuleType  # the `__main__` that came with it


_loaded: _Loaded | None = None
_tidier = MemoryCleaner()


class _MessageChannel:
    """A `Channel` through the mailbox. Reports wait for a moment, so that many go at once; nothing overtakes."""

    def __init__(self, mailbox: Any, job: Job) -> None:
        self._mailbox = mailbox
        self._job = job
        self._waiting: list[Message] = []
        self._since = 0.0
        self._lock = threading.Lock()
        renew_in_forked(self, _lock=threading.Lock)
        self.broken: str | None = None  # why nothing can be said any more

    def send(self, message: Message) -> None:
        with self._lock:
            now = time.monotonic()
            if not self._waiting:
                self._since = now
            self._waiting.append(message)
            if now - self._since >= _DELAY:
                self._post(False)

    def request(self, message: Message) -> Any:
        with self._lock:
            self._waiting.append(message)
            return read_reply(self._post(True))

    def flush(self) -> None:
        """Post what waits, and wait until the driver has dealt with it; if anything was ever said."""
        if self._since:
            self.request([Says.SYNC])

    def _post(self, wants_reply: bool) -> Any:
        messages, self._waiting = self._waiting, []
        try:
            return ray.get(self._mailbox.post.remote(self._job.number, self._job.ticket, messages, wants_reply))
        except RayError as error:
            self.broken = f"the run that this trial belongs to can't be reached: {error}"
            raise TrialStateError(self.broken) from None


def run_task(call: tuple[bytes, Any, tuple[Any, ...]]) -> Message:
    """What Ray calls: run one attempt at a trial; how it ended, as plain values.

    Args:
        call: which run this is; a reference to its `Order`, which Ray would fetch for each task if it stood alone; and
            the `Job`. All in one argument, as Ray takes a while for each.
    """
    run, reference, job = call[0], call[1], Job(*call[2])
    with own_main:
        return _run(run, reference, job)


def _run(run: bytes, reference: Any, job: Job) -> Message:
    global _loaded  # noqa: PLW0603  (one a process, for all trials of a run)
    if _loaded is None or _loaded.run != run:
        fetched: Order = ray.get(reference)
        try:
            objective = load(fetched.objective, Source(run, lambda: bytes(ray.get(reference).objective)))
        except Unloadable as error:
            return [Says.UNLOADABLE, str(error)]
        _loaded = _Loaded(run, fetched._replace(objective=b""), objective, sys.modules["__main__"])
    else:
        use_main(_loaded.main)
    order = _loaded.order
    line = _MessageChannel(order.mailbox, job)
    if order.limits.seconds is not None:
        line.request([Says.READY])  # from now on the time counts
    over = threading.Event()
    if order.limits.bytes is not None:
        threading.Thread(target=_watch_memory, args=(order, job, over), daemon=True).start()
    try:
        ended = work(_loaded.objective, job, line, order.spec)
        line.flush()
    finally:
        over.set()
    if line.broken is not None and ended.failure is not None:
        ended = replace(ended, failure=FailureKind.LOST, error=f"its Ray task was lost: {line.broken}")
    if _tidier.tidy():  # nothing on the GPU works in this process any more: Ray is to start another
        threading.Timer(_LEAVE, os._exit, (1,)).start()
    return pack_ended(ended)


def _watch_memory(order: Order, job: Job, over: threading.Event) -> None:
    """End this process when it takes too much; Ray starts another."""
    import psutil

    process = psutil.Process()
    while not over.wait(_LOOK):
        taken = process.memory_info().rss
        if taken > (order.limits.bytes or 0):
            ray.get(order.mailbox.post.remote(job.number, job.ticket, [[Says.OVER, taken]], False))
            os._exit(1)


# --- in the driver


class RayTasks(Backend):
    """Runs each trial as a Ray task, in the cluster that Ray is connected to, or else in one that it starts here.

    Args:
        objective: pickled by cloudpickle.
        spec: what is to be made of that which the objective returns.
        server: the study's.
        workers: how many tasks Ray is given at the same time; None for as many as fit into the cluster.
        needs: what a trial needs, by Ray's names: "CPU", "GPU", "memory" in bytes, or the cluster's own.
        limits: what a trial may take.

    Raises:
        WorkersFailed: the cluster has no room for a single trial.
    """

    def __init__(
        self,
        objective: bytes,
        spec: OutcomeSpec,
        server: StudyServer,
        workers: int | None,
        needs: Mapping[str, float],
        limits: Limits,
    ) -> None:
        self._needs = needs
        self._server = server
        self._limits = limits
        self._workers = workers
        self._tasks: dict[Any, tuple[int, int]] = {}  # trial and ticket, by reference
        self._tickets = 0
        self._refs: dict[int, Any] = {}
        self._deadlines: dict[int, float] = {}
        self._verdicts: dict[int, Ended] = {}  # of trials whose tasks were ended, or have ended themselves
        self._replies: list[tuple[int, int, Any]] = []
        self._owns_ray = not ray.is_initialized()
        if self._owns_ray:
            ray.init(**({} if os.environ.get("RAY_ADDRESS") else {"include_dashboard": False}))
        try:
            self._fits = self._room()
            if not self._fits:
                raise WorkersFailed(
                    f"a trial needs {self._needs}, but the Ray cluster has only {ray.cluster_resources()}; if it is to "
                    "grow, say how many trials are to run at the same time, workers=..."
                )
            here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
            actor = ray.remote(MessageQueue).options(
                num_cpus=0, max_restarts=-1, max_concurrency=_MOST, scheduling_strategy=here
            )
            self._mailbox = actor.remote()
            self._run = secrets.token_bytes(16)
            self._order = ray.put(Order(self._mailbox, objective, spec, limits))
            self._task = ray.remote(run_task).options(max_retries=0, **_options(self._needs))
            self._mail = self._mailbox.collect.remote([])
        except BaseException:
            if self._owns_ray:
                ray.shutdown()
            raise

    def _room(self) -> int:
        """How many trials fit into the cluster."""
        self._looked = time.monotonic()
        if self._workers is not None:
            return self._workers
        there = ray.cluster_resources()
        return min((int(there.get(name, 0.0) / need) for name, need in self._needs.items() if need), default=1)

    @property
    def capacity(self) -> int:
        return self._fits

    def submit(self, trial: Trial, alone: bool = False) -> None:
        self._tickets += 1
        reference = self._task.remote((self._run, self._order, tuple(Job.of(trial, self._tickets, alone))))
        self._tasks[reference] = trial.number, self._tickets
        self._refs[trial.number] = reference

    def wait(self, timeout: float | None = None) -> list[Ended]:
        now = time.monotonic()
        if self._workers is None and now > self._looked + _REFRESH:
            self._fits = max(1, self._room())  # a machine that is lost may come back
        moments = [now + (_WAIT if timeout is None else min(timeout, _WAIT)), *self._deadlines.values()]
        ready = self._ready(max(0.0, min(moments) - now))
        if self._mail in ready:
            self._read_mail()
        for number, deadline in list(self._deadlines.items()):
            if time.monotonic() >= deadline:
                seconds = self._limits.seconds
                error = f"it took longer than trial_timeout={seconds:g} seconds, and its process was ended"
                self._condemn(Ended(number, failure=FailureKind.TIMEOUT, error=error))
        return self._collect([reference for reference in ready if reference in self._tasks])

    def _ready(self, timeout: float) -> list[Any]:
        references = [self._mail, *self._tasks]
        ready: list[Any] = ray.wait(references, num_returns=1, timeout=timeout)[0]
        if ready and len(references) > 1:
            ready = ray.wait(references, num_returns=len(references), timeout=0)[0]
        return ready

    # --- messages

    def _read_mail(self) -> None:
        try:
            arrived = ray.get(self._mail)
        except RayError:  # the actor was lost, and starts again; trials that wait for it will say so
            arrived = []
        replies = []
        for number, ticket, messages in arrived:
            reply = self._take(number, ticket, messages)
            if reply is not None:
                replies.append((number, ticket, reply))
        self._mail = self._mailbox.collect.remote(replies)

    def _take(self, number: int, ticket: int, messages: list[Message]) -> Message | None:
        """Deal with messages of a trial; the reply to the last of them, if it wants one."""
        if self._tasks.get(self._refs.get(number)) != (number, ticket):
            return [Told.REFUSED, "TrialStateError", f"trial {number} was given up"]
        reply = None
        try:
            for message in messages:
                match message:
                    case [Says.READY]:
                        assert self._limits.seconds is not None
                        self._deadlines[number] = time.monotonic() + self._limits.seconds
                        reply = [Told.REPLY, True]
                    case [Says.OVER, int(taken)]:
                        self._condemn(over_memory(number, taken, self._limits.bytes or 0))
                    case _:
                        reply = self._server.take(number, message)
        except CorruptMessage as error:
            why = f"its worker process was ended, because {error}"
            self._condemn(Ended(number, failure=FailureKind.LOST, error=why))
        return reply

    # --- results

    def _condemn(self, verdict: Ended) -> None:
        self._deadlines.pop(verdict.number, None)
        self._verdicts.setdefault(verdict.number, verdict)
        ray.cancel(self._refs[verdict.number], force=True)

    def _collect(self, references: list[Any]) -> list[Ended]:
        try:
            results = ray.get(references)
        except RayError:  # at least one of them was lost
            results = [_result(reference) for reference in references]
        return [self._end(reference, result) for reference, result in zip(references, results, strict=True)]

    def _end(self, reference: Any, result: Any) -> Ended:
        number, _ = self._tasks[reference]
        if self._limits.bytes is not None and isinstance(result, RayError):
            until = time.monotonic() + _MAIL  # for what it said with its last breath
            while number not in self._verdicts and (left := until - time.monotonic()) > 0:
                if ray.wait([self._mail], timeout=left)[0]:
                    self._read_mail()
        del self._tasks[reference], self._refs[number]
        self._deadlines.pop(number, None)
        verdict = self._verdicts.pop(number, None)
        if verdict is not None and (isinstance(result, RayError) or verdict.failure is FailureKind.LOST):
            return verdict
        if isinstance(result, RayError):
            kind = FailureKind.MEMORY if isinstance(result, OutOfMemoryError) else FailureKind.LOST
            why = headline(str(result))
            return Ended(number, failure=kind, error=f"its Ray task was lost: {type(result).__name__}: {why}")
        try:
            match result:
                case [Says.UNLOADABLE, str(why)]:
                    raise WorkersFailed(f"a worker {why}")
            ended = unpack_ended(result, number)
        except CorruptMessage as error:
            return Ended(number, failure=FailureKind.LOST, error=f"its Ray task was given up, because {error}")
        return replace(ended, shared=0 < self._needs["GPU"] < 1)

    def abort(self) -> None:
        for reference in self._tasks:
            ray.cancel(reference, force=True)

    def close(self) -> None:
        self.abort()
        ray.kill(self._mailbox)
        if self._owns_ray:
            ray.shutdown()
        remove_files(self._run)


def _result(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except RayError as error:
        return error


def _options(needs: Mapping[str, float]) -> dict[str, Any]:
    """What a trial needs as arguments of a Ray task."""
    own = {name: amount for name, amount in needs.items() if name not in ("CPU", "GPU", "memory")}
    memory = {"memory": needs["memory"]} if "memory" in needs else {}
    return {"num_cpus": needs["CPU"], "num_gpus": needs["GPU"], "resources": own, **memory}
