"""Devices: which worker is bound to which, seen from inside of real worker processes."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fasthpo import InvalidValue, Trial
from fasthpo.execution import devices as module
from fasthpo.execution.attempt import is_cuda_memory
from fasthpo.execution.devices import Slot, environment, plan_slots
from tests.support.backends import Recorder
from tests.support.gates import Gate, arrive
from tests.support.tuning import make, states

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS")


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretends that there are so many GPUs, and that the environment says nothing of them or of threads."""

    def pretend(count: int) -> None:
        monkeypatch.setattr(module, "gpu_count", lambda: count)
        monkeypatch.setattr(module, "cpu_count", lambda: 8)
        for name in ("CUDA_VISIBLE_DEVICES", *THREADS):
            monkeypatch.delenv(name, raising=False)

    return pretend


def test_slots(gpus: Any) -> None:
    gpus(2)
    zero, one = Slot("cuda:0"), Slot("cuda:1")
    shared = Slot("cuda:0", shared=True)
    assert plan_slots(None, 3) == [Slot(shared=True)] * 3 and plan_slots(None, None) == [Slot()]
    assert plan_slots("cpu", 3) == [Slot("cpu")] * 3
    assert plan_slots("auto", None) == plan_slots(["cuda:0", "cuda:1"], 2) == [zero, one]
    assert plan_slots("auto", 1) == [zero] and plan_slots("cuda:1", None) == [one]
    assert plan_slots({"cuda:0": 3, "cuda:1": 1}, None) == [shared, one, shared, shared]
    assert plan_slots(["cuda:0", "cuda:0"], None) == plan_slots({"cuda:0": 2}, None) == [shared] * 2
    assert plan_slots({"cuda:0": 1, "cpu": 2}, None) == [zero, Slot("cpu"), Slot("cpu")]
    gpus(0)
    assert plan_slots("auto", 3) == [Slot("cpu")] * 3 and plan_slots("auto", None) == [Slot("cpu")]


@pytest.mark.parametrize(
    ("devices", "workers", "message"),
    [
        (["cuda:2"], None, "there is no cuda:2 here; the number of GPUs that can be used is 2"),
        ("cuda", None, 'a device must be "cpu" or "cuda:" with a number, got \'cuda\''),
        (["gpu:0"], None, "a device must be"),
        ([0], None, "a device must be .*, got 0"),
        ([], None, "devices must name at least one device"),
        ({"cuda:0": 0}, None, "must give each device a number of slots from 1 on"),
        ({"cuda:0": True}, None, "must give each device a number of slots"),
        (0, None, "devices must be None, "),
        ("auto", 3, r"workers=3 needs as many slots, but devices=.* has 2; a GPU takes several with devices=\{"),
    ],
)
def test_bad_devices(devices: Any, workers: int | None, message: str, gpus: Any) -> None:
    gpus(2)
    with pytest.raises(InvalidValue, match=message):
        plan_slots(devices, workers)


def test_the_environment_of_a_slot(gpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(4)
    assert environment(Slot("cuda:3"), 3)["CUDA_VISIBLE_DEVICES"] == "3"
    assert environment(Slot("cpu"), 3)["CUDA_VISIBLE_DEVICES"] == ""
    assert "CUDA_VISIBLE_DEVICES" not in environment(Slot(), 3)
    assert {environment(Slot(), 3)[name] for name in THREADS} == {"2"}  # of 8 cores
    assert {environment(Slot(), 20)[name] for name in THREADS} == {"1"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a, GPU-b")  # the second of those that are left
    assert environment(Slot("cuda:1"), 3)["CUDA_VISIBLE_DEVICES"] == "GPU-b"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # what a user has set stays, and is a limit
    assert "OMP_NUM_THREADS" not in environment(Slot(), 2)
    assert environment(Slot(), 2)["MKL_NUM_THREADS"] == "1"


def seen(trial: Trial) -> dict[str, float]:
    """What a worker sees of its slot, when modules are imported already."""
    import numpy  # noqa: F401

    return {"loss": 1.0, "pid": os.getpid(), "gpu": float(os.environ["CUDA_VISIBLE_DEVICES"] or -1)}


def test_workers_see_the_gpu_of_their_slot(gpus: Any) -> None:
    gpus(3)
    with Gate(opens_at=3) as gate:
        address = gate.address
        tuner = make(3, objective_metric="loss")
        tuner.optimize(lambda trial: arrive(address) or seen(trial), devices={"cuda:2": 2, "cuda:0": 1})
    metrics = [trial.metrics for trial in tuner.study.trials]
    assert sorted(one["gpu"] for one in metrics) == [0, 2, 2]
    assert len({one["pid"] for one in metrics} - {os.getpid()}) == 3
    tuner = make(2, objective_metric="loss")
    tuner.optimize(seen, workers=2, devices="cpu")
    assert {trial.metrics["gpu"] for trial in tuner.study.trials} == {-1}


def test_the_environment_is_there_before_the_objective_is_loaded(
    gpus: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module that reads it when it is imported, as torch does, sees the slot's."""
    gpus(2)
    (tmp_path / "reads_on_import.py").write_text(
        "import os\nGPU = os.environ.get('CUDA_VISIBLE_DEVICES')\ndef objective(trial): return float(GPU)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import reads_on_import  # type: ignore[import-not-found]

    assert reads_on_import.GPU is None
    tuner = make(2)
    tuner.optimize(reads_on_import.objective, devices=["cuda:1"])
    assert set(tuner.study.values) == {1.0}


def test_cores_are_shared_out(gpus: Any) -> None:
    """The number of threads that torch itself uses in a worker."""
    gpus(0)

    def objective(trial: Trial) -> dict[str, float]:
        import torch

        return {"loss": 1.0, "torch": torch.get_num_threads(), "omp": float(os.environ["OMP_NUM_THREADS"])}

    for workers, threads in ((4, 2), (8, 1)):
        tuner = make(1, objective_metric="loss")
        tuner.optimize(objective, workers=workers)
        assert tuner.study.trials[0].metrics == {"torch": threads, "omp": threads}


# --- a GPU without memory


def full_gpu() -> Exception:
    """What torch raises then, without torch."""
    return type("OutOfMemoryError", (RuntimeError,), {"__module__": "torch"})("CUDA out of memory. Tried to allocate")


def test_full_gpus_are_recognised() -> None:
    import torch

    wrapped = ValueError("in my code")
    wrapped.__cause__ = full_gpu()
    later = KeyError("while cleaning up")
    later.__context__ = wrapped
    circle = ValueError()
    circle.__context__ = circle
    for error in (
        full_gpu(),
        wrapped,
        later,
        torch.cuda.OutOfMemoryError("x"),
        RuntimeError("CUDA error: out of memory"),
    ):
        assert is_cuda_memory(error)
    for error in (MemoryError(), RuntimeError("out of memory"), circle, ValueError("CUDA out of memory")):
        assert not is_cuda_memory(error)


SHARED: dict[str, dict[str, Any]] = {
    "slots": {"devices": {"cuda:0": 2}},
    "workers": {"workers": 2},
    "threads": {"backend": "threads", "workers": 2},
    "executor": {"executor": None},
}  # where the two trials that run at a time may use the same GPU


@pytest.fixture(params=list(SHARED))
def shared(request: pytest.FixtureRequest, gpus: Any) -> Iterator[dict[str, Any]]:
    gpus(1)
    if request.param != "executor":
        yield SHARED[request.param]
        return
    loky = pytest.importorskip("loky")
    with loky.ProcessPoolExecutor(2) as executor:
        yield {"executor": executor}


def test_a_full_gpu_that_may_be_shared_is_tried_again_alone(shared: dict[str, Any], tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Gate(opens_at=2) as both, Gate() as gate:
        begun, address = both.address, gate.address

        def note(what: str, trial: Trial) -> None:
            with log.open("a") as file:
                file.write(f"{what} {trial.number}\n")

        def objective(trial: Trial) -> float:
            note("begin", trial)
            if trial.number == 0:
                arrive(begun)
                arrive(address)
            mark = trial.checkpoint_dir / "tried"
            if trial.number == 1 and not mark.exists():
                mark.write_text("")
                arrive(begun)
                raise full_gpu()
            note("end", trial)
            return 1.0

        class Opening(Recorder):
            def on_trial_retried(self, trial: Trial, error: str) -> None:
                super().on_trial_retried(trial, error)
                gate.wait_for(1)
                gate.open()

            def on_trial_failed(self, trial: Trial, error: str) -> None:
                gate.open()  # so that the test fails, and does not hang

        recorder = Opening()
        tuner = make(6).add_callback(recorder)
        tuner.optimize(objective, **shared)
    assert states(tuner) == ["COMPLETE"] * 6
    assert recorder.of(1) == ["start", "retried", "complete"]
    lines = log.read_text().splitlines()
    again = lines.index("begin 1", lines.index("begin 1") + 1)
    assert lines[again + 1] == "end 1"  # nothing began meanwhile
    assert all(f"end {line.split()[1]}" in lines[:again] for line in lines[:again] if line.startswith("begin") and line != "begin 1")  # fmt: skip


def test_a_full_gpu_fails_the_trial_alone(shared: dict[str, Any]) -> None:
    def objective(trial: Trial) -> float:
        if trial.number == 1:
            raise full_gpu()
        return 1.0

    for retries, attempts in ((0, 2), ({"cuda_memory": 0}, 1), ({"cuda_memory": 3}, 4)):
        recorder = Recorder()
        tuner = make(3).add_callback(recorder)
        tuner.optimize(objective, **shared, retries=retries)
        assert states(tuner) == ["COMPLETE", "FAILED", "COMPLETE"]
        assert recorder.of(1) == ["start", *["retried"] * (attempts - 1), "failed"]


def test_a_full_gpu_that_no_other_trial_uses(gpus: Any) -> None:
    """Tried again if a number was given for it, and only then."""
    gpus(1)

    def objective(trial: Trial) -> float:
        if trial.number == 1:
            raise full_gpu()
        return 1.0

    places: list[dict[str, Any]] = [
        {"devices": {"cuda:0": 1}}, {"backend": "inline"}, {"backend": "threads", "workers": 1},
        {"backend": "processes", "workers": 1}, {"workers": 2, "devices": "cpu"},
    ]  # fmt: skip
    for place in places:
        for retries, attempts in ((5, 1), ({"cuda_memory": 2}, 3)):
            recorder = Recorder()
            tuner = make(3).add_callback(recorder)
            tuner.optimize(objective, **place, retries=retries)
            assert states(tuner) == ["COMPLETE", "FAILED", "COMPLETE"]
            assert recorder.of(1) == ["start", *["retried"] * (attempts - 1), "failed"]
            assert "OutOfMemoryError: CUDA out of memory" in (tuner.study.trials[1].error or "")


class PretendedGPU:
    """Stands for torch in a process without a GPU: counts bytes of tensors, and the cache that the driver misses."""

    OutOfMemoryError = type("OutOfMemoryError", (RuntimeError,), {"__module__": "torch"})

    def __init__(self) -> None:
        self.cuda = self
        self.taken = self.peak = self.reserved = 0

    class Tensor:
        def __init__(self, gpu: PretendedGPU, size: int) -> None:
            self.gpu, self.size = gpu, size
            gpu.taken += size
            gpu.peak = max(gpu.peak, gpu.taken)
            gpu.reserved = max(gpu.reserved, gpu.taken)

        def __del__(self) -> None:
            self.gpu.taken -= self.size

    def is_initialized(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def max_memory_allocated(self, device: int) -> int:
        return self.peak

    def reset_peak_memory_stats(self, device: int) -> None:
        self.peak = self.taken

    def synchronize(self) -> None:
        pass

    def empty_cache(self) -> None:
        self.reserved = self.taken


@pytest.mark.parametrize("backend", ["inline", "threads"])
def test_trials_in_this_process_leave_no_gpu_memory_behind(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither taken nor in the cache, and a trial's peak is its own; also after one that failed."""
    gpu = PretendedGPU()
    monkeypatch.setitem(sys.modules, "torch", gpu)
    found: list[int] = []

    def objective(trial: Trial) -> float:
        found.append(gpu.reserved)
        kept: list[Any] = [gpu.Tensor(gpu, 2**33 >> trial.number)]
        kept.append(kept)  # a cycle, which only a collection frees
        if trial.number in (1, 2):
            raise gpu.OutOfMemoryError("CUDA out of memory")
        return 1.0

    gc.disable()
    try:
        tuner = make(4)
        tuner.optimize(objective, backend=backend)
    finally:
        gc.enable()
    assert states(tuner) == ["COMPLETE", "FAILED", "FAILED", "COMPLETE"]
    assert [trial.metrics.get("peak_gpu_memory") for trial in tuner.study.trials] == [None, 2.0**32, 2.0**31, None]
    assert found == [0] * 4 and gpu.reserved == 0


def test_gpu_memory_of_threads_is_freed_when_none_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = PretendedGPU()
    monkeypatch.setitem(sys.modules, "torch", gpu)
    found: list[int] = []

    def objective(trial: Trial) -> float:
        found.append(gpu.reserved)
        tensor = gpu.Tensor(gpu, 2**30)
        if trial.number == 0:
            raise gpu.OutOfMemoryError("CUDA out of memory")
        return float(tensor.size)

    make(1).optimize(objective, backend="threads", workers=2)
    assert found == [0, 0] and gpu.reserved == 0  # the second attempt is alone


@pytest.mark.parametrize("backend", ["inline", "threads"])
def test_torch_is_not_imported_to_free_memory(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # an import would fail
    tuner = make(3)
    tuner.optimize(lambda trial: 1.0, backend=backend)
    assert states(tuner) == ["COMPLETE"] * 3 and sys.modules["torch"] is None


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["inline", "threads"])
def test_real_gpu_memory_is_back_after_a_trial_in_this_process(backend: str) -> None:
    import torch

    found: list[int] = []

    def objective(trial: Trial) -> float:
        found.append(torch.cuda.memory_reserved() if torch.cuda.is_initialized() else 0)
        kept: list[Any] = [torch.ones(2**28 >> trial.number, device="cuda")]  # 1 GiB, then half of it
        kept.append(kept)
        if trial.number == 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return 1.0

    tuner = make(3)
    tuner.optimize(objective, backend=backend)
    assert states(tuner) == ["COMPLETE", "FAILED", "COMPLETE"]
    assert tuner.study.trials[1].metrics["peak_gpu_memory"] == 2**29
    assert max(found) - min(found) < 2**26 and torch.cuda.memory_reserved() < 2**26


@pytest.mark.gpu
def test_memory_of_a_gpu_is_back_after_a_trial() -> None:
    def objective(trial: Trial) -> dict[str, float]:
        import torch

        free, _ = torch.cuda.mem_get_info()
        kept = torch.ones(2**28, device="cuda")  # 1 GiB
        cycle: list[Any] = [kept]
        cycle.append(cycle)
        return {"loss": 1.0, "free": free, "seen": torch.cuda.device_count(), "sum": float(kept.sum())}

    tuner = make(5, objective_metric="loss")
    tuner.optimize(objective, devices=["cuda:0"])
    free = [trial.metrics["free"] for trial in tuner.study.trials[1:]]
    assert max(free) - min(free) < 2**26 and tuner.study.trials[0].metrics["seen"] == 1


@pytest.mark.gpu
def test_a_gpu_without_memory_leaves_its_peak_in_the_record() -> None:
    def objective(trial: Trial) -> float:
        import torch

        kept = [torch.ones(2**28, device="cuda")]
        while trial.number == 1:
            kept.append(torch.ones(2**30, device="cuda"))
        return float(kept[0].sum())

    tuner = make(3)
    tuner.optimize(objective, devices=["cuda:0"])
    assert states(tuner) == ["COMPLETE", "FAILED", "COMPLETE"]
    assert tuner.study.trials[1].metrics["peak_gpu_memory"] >= 2**30
    assert "GiB of GPU memory" in (tuner.study.trials[1].error or "")


@pytest.mark.gpu
def test_an_error_that_spoils_the_gpu_spoils_no_other_trial() -> None:
    def objective(trial: Trial) -> float:
        import torch

        where = torch.tensor([10**6 if trial.number == 1 else 0], device="cuda")
        return float(torch.ones(3, device="cuda")[where].sum())

    tuner = make(4)
    tuner.optimize(objective, devices=["cuda:0"])
    assert states(tuner) == ["COMPLETE", "FAILED", "COMPLETE", "COMPLETE"]
