"""The arguments of `optimize` that say where trials run: checked, and made into a backend."""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from fasthpo.errors import InvalidValue, MissingPackage
from fasthpo.execution.backends.base import Backend, FailureKind, Limits
from fasthpo.execution.backends.inline import Inline
from fasthpo.execution.devices import Slot, plan_slots
from fasthpo.execution.initializing import Initializer
from fasthpo.execution.interrupts import Interrupts
from fasthpo.execution.objective import Objective, OutcomeSpec
from fasthpo.execution.pool import Given, check_executor
from fasthpo.execution.study_server import StudyServer
from fasthpo.execution.submission import check_submitit, is_submitit
from fasthpo.values import as_number, check_count

BACKENDS = ("inline", "threads", "processes", "ray")
_LEAST_RESOURCE = 0.0001  # of which Ray counts no parts


@dataclass(frozen=True)
class Execution:
    """Where trials run, and what they may take; see `HyperparameterTuner.optimize`.

    Attributes:
        backend: one of `BACKENDS`, "executor" or "submitit".
        workers: how many trials run at the same time; None for what the executor or the cluster has.
        slots: where processes run.
        executor: the executor, or the function that makes it, if there is one.
        limits: what a trial may take.
        retries: how often a trial is tried again, by what made it fail; see `_retries`.
        needs: what a trial needs on Ray, by Ray's names; None elsewhere.
        initializer: what is called wherever trials run, before the first of them, if there is anything.
        trials_per_job: how many trials a batch job trains; None for as many as there are.
    """

    backend: str
    workers: int | None
    slots: tuple[Slot, ...]
    executor: Given | None
    limits: Limits
    retries: Mapping[FailureKind, int]
    needs: Mapping[str, float] | None
    initializer: Initializer | None
    trials_per_job: int | None = 1

    @classmethod
    def of(
        cls,
        workers: Any = None,
        devices: Any = None,
        backend: Any = None,
        executor: Any = None,
        trial_timeout: Any = None,
        trial_memory: Any = None,
        retries: Any = 0,
        resources_per_trial: Any = None,
        initializer: Any = None,
        initargs: Any = (),
        trials_per_job: Any = 1,
    ) -> Execution:
        """What the arguments say.

        Raises:
            InvalidValue: one is wrong, or two don't go together.
            MissingPackage: Ray is asked for and not installed.
        """
        count = None if workers is None else check_count("workers", workers, 1)
        limits = Limits(_seconds(trial_timeout), _bytes(trial_memory))
        chosen = _backend(backend, count, devices, executor, limits)
        if resources_per_trial is not None and chosen != "ray":
            raise InvalidValue('resources_per_trial needs backend="ray"; on this machine, devices share out GPUs')
        if devices is not None and chosen != "processes":
            raise InvalidValue(
                f'devices bind worker processes of this machine, so they need backend="processes", got {chosen!r}'
                + ('; on Ray, resources_per_trial={"gpu": 1} does it' if chosen == "ray" else "")
            )
        if limits and chosen in ("inline", "threads"):
            raise InvalidValue(
                f"trial_timeout and trial_memory end the process that a trial runs in, so they need "
                f'backend="processes", got {chosen!r}'
            )
        if chosen == "inline" and (count or 1) != 1:
            raise InvalidValue(f'backend="inline" runs one trial after the other, got workers={count}')
        per_job = None if trials_per_job in (None, math.inf) else check_count("trials_per_job", trials_per_job, 1)
        if per_job != 1 and chosen != "submitit":
            raise InvalidValue(f"trials_per_job needs a submitit executor, got trials_per_job={trials_per_job!r}")
        slots = tuple(plan_slots(devices, count)) if chosen == "processes" else ()
        if chosen in ("inline", "threads"):
            count = count or 1
        policy, needs = _retries(retries), None
        if chosen == "ray":
            needs = _needs({} if resources_per_trial is None else resources_per_trial)
            _check_ray()
        initial = Initializer.of(initializer, initargs)
        return cls(chosen, count, slots, executor, limits, policy, needs, initial, per_job)

    def make_backend(
        self, objective: Objective, spec: OutcomeSpec, server: StudyServer, interrupts: Interrupts
    ) -> Backend:
        """A backend that is ready to be entered.

        Raises:
            InvalidValue: the objective can't be sent to a worker.
            WorkersFailed: there is no such cluster, or it has not what a trial needs.
        """
        if self.backend == "inline":
            return Inline(objective, spec, server, interrupts, self.initializer)
        if self.backend == "threads":
            from fasthpo.execution.backends.threads import Threads

            assert self.workers is not None
            return Threads(objective, spec, server, self.workers, self.initializer)
        from fasthpo.execution.pickling import pickle_objective

        pickled = pickle_objective(objective, self.initializer)
        if self.backend == "processes":
            from fasthpo.execution.backends.processes import Processes

            return Processes(pickled, spec, server, self.slots, self.limits)
        if self.backend == "ray":
            from fasthpo.execution.backends.ray import RayTasks

            assert self.needs is not None
            return RayTasks(pickled, spec, server, self.workers, self.needs, self.limits)
        if self.backend == "submitit":
            from fasthpo.execution.backends.submitit import BatchJobs

            assert self.workers is not None
            return BatchJobs(
                pickled, spec, server, self.executor, self.workers, self.limits, self.trials_per_job, server.identity
            )
        from fasthpo.execution.backends.executor import Tasks

        assert self.executor is not None
        return Tasks(pickled, spec, server, self.executor, self.workers, self.limits)


def _backend(backend: Any, workers: int | None, devices: Any, executor: Any, limits: Limits) -> str:
    """The backend's name, asked for or implied."""
    if executor is not None:
        if backend is not None:
            raise InvalidValue(f"give an executor or a backend, got both, backend={backend!r}")
        if is_submitit(executor):
            check_submitit(executor, workers)
            return "submitit"
        if isinstance(executor, Executor) or not callable(executor):
            check_executor(executor)
        return "executor"
    if backend is not None:
        if backend not in BACKENDS:
            raise InvalidValue(f"backend must be None or one of {list(BACKENDS)}, got backend={backend!r}")
        return str(backend)
    return "processes" if (workers or 1) > 1 or devices is not None or limits else "inline"


def _seconds(timeout: Any) -> float | None:
    if timeout is None:
        return None
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else as_number("trial_timeout", timeout)
    if not 0 < seconds < math.inf:
        raise InvalidValue(f"trial_timeout must be a positive number of seconds, got trial_timeout={timeout!r}")
    return seconds


def _bytes(memory: Any) -> int | None:
    if memory is None:
        return None
    number = as_number("trial_memory", memory)
    if not 2**20 <= number < math.inf:
        raise InvalidValue(f"trial_memory must be a number of bytes of at least 2**20, got trial_memory={memory!r}")
    return int(number)


def _retries(retries: Any) -> dict[FailureKind, int]:
    """How often each kind of failure is tried again. A plain number is for lost workers.

    CUDA_MEMORY is there only if a number was given for it, which then always holds. Without, it is once if other trials
    may have used the same GPU, as it may have been full because of them, and else never.
    """
    policy = dict.fromkeys(FailureKind, 0)
    del policy[FailureKind.CUDA_MEMORY]
    if not isinstance(retries, Mapping):
        return {**policy, FailureKind.LOST: check_count("retries", retries, 0)}
    for kind, count in retries.items():
        if kind not in list(FailureKind):
            raise InvalidValue(
                f"retries must give numbers for some of {[str(one) for one in FailureKind]}, got {kind!r}"
            )
        policy[FailureKind(kind)] = check_count(f"retries[{str(kind)!r}]", count, 0)
    return policy


def _needs(resources: Any) -> dict[str, float]:
    """What a trial needs, by the names that Ray uses."""
    if not isinstance(resources, Mapping) or not all(isinstance(name, str) and name for name in resources):
        raise InvalidValue(f"resources_per_trial must be a mapping such as {{'cpu': 2}}, got {resources!r}")
    needs = {"CPU": 1.0, "GPU": 0.0}
    for name, amount in resources.items():
        number = as_number(f"resources_per_trial[{name!r}]", amount)
        if not 0 <= number < math.inf or 0 < number < _LEAST_RESOURCE:
            raise InvalidValue(
                f"resources_per_trial must be 0, or finite and at least {_LEAST_RESOURCE}, got {name!r}: {amount!r}"
            )
        if name.lower() == "gpu" and number > 1 and not number.is_integer():
            raise InvalidValue(f"of GPUs, a trial can have a part of one or a whole number, got {name!r}: {amount!r}")
        needs[name.upper() if name.lower() in ("cpu", "gpu") else name] = number
    return needs


def _check_ray() -> None:
    try:
        import ray  # noqa: F401
    except ImportError as error:
        raise MissingPackage('Ray is not installed: pip install "fasthpo[ray]"') from error
