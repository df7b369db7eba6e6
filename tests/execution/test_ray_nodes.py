"""A machine of a Ray cluster fails; here a machine is a second node of a cluster on this one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fasthpo import Trial
from tests.support.backends import Recorder
from tests.support.gates import Gate, arrive
from tests.support.tuning import make, states

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    quickly = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 200, "health_check_failure_threshold": 10}
    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": quickly}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_a_machine_fails(cluster: Any, tmp_path: Path) -> None:
    """Its trials are tried again on another, and go on from their directory."""
    machine = cluster.add_node(num_cpus=2, resources={"training": 1})
    cluster.wait_for_nodes()

    with Gate() as gate:
        address = gate.address

        def objective(trial: Trial) -> float:
            mark = trial.checkpoint_dir / "epoch"
            epoch = int(mark.read_text()) if mark.exists() else 0
            trial.report(float(epoch), epoch)
            assert not trial.should_prune()
            mark.write_text("1")
            if trial.number == 1 and epoch == 0:
                arrive(address)
            return float(epoch)

        recorder = Recorder()
        tuner = make(4, output_dir=tmp_path, save_checkpoints=True).add_callback(recorder)
        options: dict[str, Any] = {"backend": "ray", "resources_per_trial": {"training": 0.5}, "retries": 3}
        run = threading.Thread(target=lambda: tuner.optimize(objective, **options))
        run.start()
        gate.wait_for(1)  # trial 1 is in the middle of it
        cluster.remove_node(machine, allow_graceful=False)
        cluster.add_node(num_cpus=2, resources={"training": 1})
        run.join()
    assert states(tuner) == ["COMPLETE"] * 4
    assert recorder.of(1)[:2] == ["start", "retried"]
    assert "its Ray task was lost" in recorder.retried[1]
    assert tuner.study.trials[1].reports == {0: 0.0, 1: 1.0} and tuner.study.trials[1].value == 1.0
