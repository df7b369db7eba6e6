"""An executor of the user's, or one after the other that a function of the user's makes, as they break."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from typing import Any, TypeAlias

from fasthpo.errors import InvalidValue, WorkersFailed
from fasthpo.system.headline import message_of
from fasthpo.system.log import logger

Given: TypeAlias = Executor | Callable[[], Executor]

_BARREN = 3  # executors in a row that broke before a trial began, after which the run ends
_GRACE = 5.0  # seconds for tasks whose trials have ended to return


def check_executor(executor: Any) -> Executor:
    """The executor itself.

    Raises:
        InvalidValue: it is none, or runs threads.
    """
    if not isinstance(executor, Executor):
        raise InvalidValue(
            "executor must be a concurrent.futures.Executor, or a function without arguments that makes one, got "
            f"executor={executor!r}; an executor of submitit's is given as it is"
        )
    if isinstance(executor, ThreadPoolExecutor):
        raise InvalidValue('an executor of threads would run copies of the objective; use backend="threads"')
    return executor


class Pool:
    """Takes tasks as an executor does. One that has broken is replaced, if it is known how.

    Args:
        given: an executor, which stays the caller's; or a function that makes one, each of which is shut down here.

    Raises:
        InvalidValue: the function does not make an executor of processes.
        WorkersFailed: it fails.
    """

    def __init__(self, given: Given) -> None:
        self._make = None if isinstance(given, Executor) else given
        self.executor = given if isinstance(given, Executor) else self._made(given)
        self._barren = 0
        self._unfinished: set[Future[Any]] = set()

    @staticmethod
    def _made(make: Callable[[], Executor]) -> Executor:
        try:
            executor = make()
        except Exception as error:
            raise WorkersFailed(f"the function given as executor has failed: {error!r}") from error
        return check_executor(executor)

    @property
    def is_replaceable(self) -> bool:
        """Whether another executor can be made."""
        return self._make is not None

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """As an executor's `submit`, of another one if this one takes no more tasks.

        Raises:
            WorkersFailed: there is no other, or it takes none either.
        """
        try:
            future = self.executor.submit(function, *arguments)
        except Exception as error:
            self._replace(error)
            try:
                future = self.executor.submit(function, *arguments)
            except Exception as again:
                raise WorkersFailed(f"a new executor takes no trials: {in_a_line(again)}") from again
        self._unfinished.add(future)
        return future

    def _replace(self, error: Exception) -> None:
        """Make another executor, as this one has answered with an error."""
        if self._make is None:
            raise WorkersFailed(
                f"the executor takes no more trials: {in_a_line(error)}; to have one that breaks replaced, give a "
                "function that makes one, such as executor=lambda: ProcessPoolExecutor(4)"
            ) from error
        self._barren += 1
        if self._barren >= _BARREN:
            raise WorkersFailed(
                f"{_BARREN} executors in a row have broken before a trial began; the last one with: {in_a_line(error)}"
            ) from error
        logger.warning("the executor has broken and is replaced: %s: %s", type(error).__name__, in_a_line(error))
        self._shut_down(at_once=False, wait=False)
        self.executor = self._made(self._make)

    def look(self) -> None:
        """Have the executor notice that a worker has ended.

        The standard library's does not watch the worker that it has started last before something else happens.
        """
        if isinstance(self.executor, ProcessPoolExecutor):
            with contextlib.suppress(Exception):  # it has noticed already
                self.executor.submit(int)

    def has_begun(self) -> None:
        """A trial has begun, so that the executor is of use."""
        self._barren = 0

    def has_finished(self, future: Future[Any]) -> None:
        """A task has ended, whatever became of it."""
        self._unfinished.discard(future)

    def close(self, at_once: bool = False) -> None:
        """Shut the executor down, unless it is the caller's.

        Args:
            at_once: end what is running, as far as the executor can do that.
        """
        if self.is_replaceable:
            left = () if at_once else wait_for(self._unfinished, _GRACE).not_done
            self._shut_down(at_once or bool(left), wait=True)

    def _shut_down(self, at_once: bool, wait: bool) -> None:
        shutdown: Callable[..., Any] = self.executor.shutdown
        with contextlib.suppress(Exception):  # it is of no use any more
            if at_once and "kill_workers" in inspect.signature(shutdown).parameters:  # loky's
                shutdown(wait=wait, kill_workers=True)
            elif at_once and hasattr(self.executor, "kill_workers"):  # the standard library's, from Python 3.14 on
                self.executor.kill_workers()
            else:
                shutdown(wait=wait and not at_once)


def workers_of(executor: Executor) -> int:
    """How many tasks an executor runs at the same time.

    Raises:
        InvalidValue: it does not say.
    """
    for name in ("_max_workers", "num_workers"):  # of the standard library's and loky's; of mpi4py's
        count = getattr(executor, name, None)
        if isinstance(count, int) and count > 0:
            return count
    raise InvalidValue(
        f"{type(executor).__name__} does not say how many workers it has: give optimize the number of trials that are "
        "to run at the same time, workers=..."
    )


def is_local(executor: Executor) -> bool:
    """Whether all of an executor's workers are on this machine."""
    return isinstance(executor, ProcessPoolExecutor) or type(executor).__module__.split(".")[0] in ("loky", "joblib")


def in_a_line(error: BaseException) -> str:
    """An error's text, of which executors' have several lines."""
    return " ".join(message_of(error).split())
