"""Trials in threads, in worker processes and in loky's executor."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

import fasthpo
from tests.support.backends import BackendTests
from tests.support.tuning import make, params_of


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """No process, thread or open file is left behind."""
    me = psutil.Process()
    before = {child.pid for child in me.children(recursive=True)}
    sockets = len(me.net_connections())
    yield
    assert {child.pid for child in me.children(recursive=True)} == before
    ours = [thread for thread in threading.enumerate() if thread.name.startswith("fasthpo")]
    for thread in ours:  # one that is about to end
        thread.join(5)
    assert not [thread for thread in ours if thread.is_alive()]
    assert len(me.net_connections()) <= sockets


@pytest.mark.usefixtures("nothing_left")
class TestThreads(BackendTests):
    @pytest.fixture
    def options(self) -> dict[str, Any]:
        return {"backend": "threads", "workers": 2}


@pytest.mark.usefixtures("nothing_left")
class TestProcesses(BackendTests):
    @pytest.fixture
    def options(self) -> dict[str, Any]:
        return {"workers": 2}


@pytest.mark.parametrize("kind", ["RandomSampler", "GridSampler", "QMCSampler"])
def test_the_same_parameters_with_1_and_8_workers(kind: str) -> None:
    space = fasthpo.SearchSpace({"a": fasthpo.Discrete(0, 9), "b": fasthpo.Continuous(0.0, 1.0, n_points=5)})

    def run(**where: Any) -> list[dict[str, Any]]:
        strategy = fasthpo.Strategy(getattr(fasthpo, kind)(seed=3))
        return params_of(make(45, space, strategy).optimize(lambda trial: trial["b"], **where))

    one = run()
    assert run(workers=8, backend="threads") == one
    assert run(workers=8) == one


@pytest.fixture(scope="module")
def loky_executor() -> Iterator[Any]:
    loky = pytest.importorskip("loky")
    with loky.ProcessPoolExecutor(2) as executor:
        yield executor


class TestLoky(BackendTests):
    @pytest.fixture
    def options(self, loky_executor: Any) -> dict[str, Any]:
        return {"executor": loky_executor}
