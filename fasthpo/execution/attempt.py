"""One call of an objective, and what became of it; the same wherever it runs."""

from __future__ import annotations

import sys
from typing import Any

from fasthpo.errors import TrialPruned
from fasthpo.execution.backends.base import Ended, FailureKind
from fasthpo.execution.forks import forks_end
from fasthpo.execution.objective import Objective, OutcomeSpec, read_outcome, traceback_text
from fasthpo.system.headline import message_of
from fasthpo.trials.trial import Trial

PEAK = "peak_gpu_memory"  # the metric of a trial that ran out of GPU memory, in bytes
_CUDA_MESSAGES = ("CUDA out of memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def run_attempt(objective: Objective, trial: Trial, spec: OutcomeSpec) -> Ended:
    """Call the objective; what it returned or raised. `sys.exit()` ends the trial only; Ctrl-C goes through."""
    try:
        with forks_end():
            outcome = read_outcome(objective(trial), spec)
    except TrialPruned as raised:
        return Ended(trial.number, pruned=message_of(raised))
    except (Exception, SystemExit) as raised:
        return failed(trial.number, raised)
    if outcome.error is not None:
        return Ended(trial.number, metrics=outcome.metrics, failure=FailureKind.ERROR, error=outcome.error)
    return Ended(trial.number, outcome.value, outcome.metrics, constraints=outcome.constraints)


def failed(number: int, raised: BaseException) -> Ended:
    """A trial whose objective raised an exception."""
    metrics, more = {}, ""
    if is_cuda_memory(raised):
        kind = FailureKind.CUDA_MEMORY
        if peak := peak_gpu_memory():
            metrics[PEAK] = float(peak)
            more = f"Its peak was {peak / 2**30:.2f} GiB of GPU memory."
    else:
        kind = FailureKind.MEMORY if isinstance(raised, MemoryError) else FailureKind.ERROR
    return Ended(number, metrics=metrics, failure=kind, error=traceback_text(raised, more), cause=raised)


def is_cuda_memory(raised: BaseException) -> bool:
    """Whether an exception, or one that it was raised from, says that a GPU had no memory left; without torch."""
    seen: set[int] = set()
    one: BaseException | None = raised
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        for kind in type(one).__mro__:
            if kind.__name__ == "OutOfMemoryError" and kind.__module__.split(".")[0] == "torch":
                return True
        if isinstance(one, RuntimeError) and any(text in message_of(one) for text in _CUDA_MESSAGES):
            return True
        one = one.__cause__ or one.__context__
    return False


def torch_with_cuda() -> Any:
    """The module torch if a program has imported it and used a GPU; else None."""
    torch = sys.modules.get("torch")
    try:
        return torch if torch is not None and torch.cuda.is_initialized() else None
    except AttributeError:  # a torch that is still being imported, or something else of its name
        return None


def peak_gpu_memory() -> int:
    """The most bytes that this process had in tensors on its GPUs, since `forget_peak`; 0 without a GPU."""
    torch = torch_with_cuda()
    return 0 if torch is None else sum(torch.cuda.max_memory_allocated(i) for i in range(torch.cuda.device_count()))


def forget_peak() -> None:
    """Begin to measure the peak anew."""
    if (torch := torch_with_cuda()) is not None:
        for i in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(i)
