"""The arguments of `optimize` that say where trials run."""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fasthpo import InvalidValue, MissingPackage
from fasthpo.execution.backends.base import Limits
from fasthpo.execution.options import Execution
from tests.support.tuning import make


def test_which_backend_is_implied() -> None:
    assert Execution.of().backend == Execution.of(1).backend == "inline"
    for arguments in ({"workers": 2}, {"devices": "cpu"}, {"trial_timeout": 3}, {"trial_memory": 2**30}):
        assert Execution.of(**arguments).backend == "processes"
    assert Execution.of(1, backend="processes").slots == Execution.of(devices=None, trial_timeout=1).slots
    assert Execution.of(4, backend="threads").workers == 4
    with ProcessPoolExecutor(1) as executor:
        assert Execution.of(executor=executor).backend == "executor"


def test_limits() -> None:
    assert Execution.of(trial_timeout=timedelta(minutes=2), trial_memory=1e9).limits == Limits(120.0, 10**9)
    assert not Limits() and Limits(1.0) and Limits(bytes=1)


def test_retries() -> None:
    assert Execution.of().retries == {"error": 0, "lost": 0, "timeout": 0, "memory": 0}
    assert Execution.of(retries=3).retries == {"error": 0, "lost": 3, "timeout": 0, "memory": 0}
    some = Execution.of(retries={"timeout": 2, "cuda_memory": 0}).retries
    assert some == {"error": 0, "lost": 0, "timeout": 2, "memory": 0, "cuda_memory": 0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backend": "fork"}, r"backend must be None or one of \['inline', .*\], got backend='fork'"),
        ({"backend": 3}, "backend must be None or one of"),
        ({"backend": "inline", "workers": 2}, "runs one trial after the other, got workers=2"),
        ({"backend": "inline", "trial_timeout": 1}, "so they need backend=\"processes\", got 'inline'"),
        ({"backend": "threads", "trial_memory": 2**30}, "so they need backend=\"processes\", got 'threads'"),
        ({"backend": "threads", "devices": "cpu"}, "need backend=\"processes\", got 'threads'"),
        ({"backend": "ray", "devices": "auto"}, r"got 'ray'; on Ray, resources_per_trial=\{\"gpu\": 1\} does it"),
        ({"resources_per_trial": {"gpu": 1}}, "resources_per_trial needs backend=\"ray\""),
        ({"executor": 4}, "executor must be a concurrent.futures.Executor, or a function .*, got executor=4"),
        ({"trial_timeout": 0}, "trial_timeout must be a positive number of seconds, got trial_timeout=0"),
        ({"trial_timeout": float("nan")}, "trial_timeout must be a positive number"),
        ({"trial_timeout": float("inf")}, "trial_timeout must be a positive number"),
        ({"trial_timeout": "1h"}, "trial_timeout must be a number, got '1h'"),
        ({"trial_memory": 4}, "trial_memory must be a number of bytes of at least 2"),
        ({"trial_memory": "4GB"}, "trial_memory must be a number, got '4GB'"),
        ({"retries": -1}, "retries must be an integer of at least 0, got retries=-1"),
        ({"retries": True}, "retries must be an integer"),
        ({"retries": {"oom": 1}}, r"retries must give numbers for some of \['error', .*, got 'oom'"),
        ({"retries": {"lost": 0.5}}, r"retries\['lost'\] must be an integer"),
    ],
)  # fmt: skip
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    tuner = make()
    with pytest.raises(InvalidValue, match=message):
        tuner.optimize(len, **arguments)
    assert len(tuner.study) == 0


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"cpu": -1}, "must be 0, or finite and at least 0.0001, got 'cpu': -1"),
        ({"gpu": float("inf")}, "must be 0, or finite and at least 0.0001, got 'gpu': inf"),
        ({"gpu": 0.00001}, "must be 0, or finite and at least 0.0001, got 'gpu': 1e-05"),
        ({"GPU": 1.5}, "of GPUs, a trial can have a part of one or a whole number, got 'GPU': 1.5"),
        ({"cpu": "all"}, r"resources_per_trial\['cpu'\] must be a number, got 'all'"),
        (2, "resources_per_trial must be a mapping such as {'cpu': 2}, got 2"),
        ({3: 1}, "resources_per_trial must be a mapping such as {'cpu': 2}, got {3: 1}"),
    ],
)
@pytest.mark.parametrize("installed", [True, False])
def test_resources_of_ray(resources: Any, message: str, installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused before anything has begun, whether Ray is there or not."""
    if not installed:
        monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InvalidValue, match=message):
        Execution.of(backend="ray", resources_per_trial=resources)


def test_ray_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    tuner = make(output_dir=tmp_path, save_checkpoints=True)
    with pytest.raises(MissingPackage, match=r'Ray is not installed: pip install "fasthpo\[ray\]"') as caught:
        tuner.optimize(len, backend="ray", resources_per_trial={"cpu": 1})
    assert isinstance(caught.value, ImportError)
    assert len(tuner.study) == 0 and not list(tmp_path.iterdir())


def test_bad_executors() -> None:
    with ThreadPoolExecutor(1) as threads, pytest.raises(InvalidValue, match='use backend="threads"'):
        make().optimize(len, executor=threads)
    with ProcessPoolExecutor(1) as processes, pytest.raises(InvalidValue, match="an executor or a backend, got both"):
        make().optimize(len, executor=processes, backend="processes")
