"""Distributed trainings: rank 0 reports and decides, and both ranks stop at the same step. Two processes, with gloo."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

HEAD = """
import json, os, sys
import torch
sys.path.insert(0, {repository!r})
from tests.support.torch_training import FakeTrial
from fasthpo.errors import FastHPOError, TrialPruned
rank, out = int(os.environ["RANK"]), sys.argv[1]

class Broken(FakeTrial):
    def report(self, value, step):
        raise OSError("the journal is on a full disk")

def ends(name, trial, run):
    "What a run comes to on this rank; only rank 0 has a trial."
    mine = trial if rank == 0 else None
    try:
        steps = run(mine)
        end = "finished"
    except (FastHPOError, OSError) as error:
        steps, end = None, f"{{type(error).__name__}}: {{error}}"
    with open(f"{{out}}/{{name}}-{{rank}}.json", "w") as file:
        json.dump({{"end": end, "steps": steps, "reports": list(trial.reports)}}, file)
"""

SHARED = """
from fasthpo.integrations.ranks import SharedTrial
from torch import distributed
distributed.init_process_group("gloo")
device = torch.device("cpu")

def loop(trial, steps=10):
    shared = SharedTrial(trial)
    shared.check()
    resource = shared.resource(device)
    for step in range(1, steps + 1):
        if shared.report(0.5, step, device):
            raise TrialPruned(f"at {step} of {resource}")
    return step

ends("pruned", FakeTrial(resource=9, prune_at=3), loop)
ends("whole", FakeTrial(), loop)
ends("broken", Broken(), loop)
several = Broken(prune_at=1)
several.directions = "minimize", "maximize"
ends("several", several, loop)
distributed.destroy_process_group()
"""

HUGGING_FACE = """
from tests.integrations import test_huggingface as hf

def run(trial):
    trainer = hf.make(hf.arguments(f"{out}/hf", ddp_backend="gloo"), trial)
    trainer.train()
    return trainer.state.global_step

ends("pruned", FakeTrial(prune_at=2), run)
ends("share", FakeTrial(resource=1), run)
torch.distributed.destroy_process_group()
"""

LIGHTNING = """
from tests.integrations import test_lightning as pl

def run(trial):
    return pl.fit(trial, strategy="ddp", devices=2, max_epochs=4, use_distributed_sampler=True).global_step

ends("pruned", FakeTrial(prune_at=2), run)
ends("share", FakeTrial(resource=1), run)
torch.distributed.destroy_process_group()
"""


def run(program: str, tmp_path: Path) -> dict[str, list[dict]]:
    """Runs the program as ranks 0 and 1; what each of its parts came to on both."""
    script = tmp_path / "program.py"
    script.write_text(HEAD.format(repository=str(Path(__file__).parents[2])) + program, encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1",
        "TORCHELASTIC_RUN_ID": "test", "GROUP_RANK": "0", "HF_HUB_OFFLINE": "1", "USE_LIBUV": "0",
    }  # fmt: skip
    processes = [
        subprocess.Popen(
            [sys.executable, script, tmp_path],
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
        )
        for rank in (0, 1)
    ]  # fmt: skip
    try:
        outputs = [one.communicate(timeout=200)[0] for one in processes]
    finally:
        for one in processes:
            one.kill()
    assert [one.returncode for one in processes] == [0, 0], "\n".join(outputs)
    names = {path.stem[:-2] for path in tmp_path.glob("*-[01].json")}
    return {name: [json.loads((tmp_path / f"{name}-{rank}.json").read_text()) for rank in (0, 1)] for name in names}


def test_rank_zero_decides_for_all(tmp_path: Path) -> None:
    results = run(SHARED, tmp_path)
    assert [one["end"] for one in results["pruned"]] == ["TrialPruned: at 3 of 9.0"] * 2
    assert [one["reports"] for one in results["pruned"]] == [[1, 2, 3], []]
    assert [one["steps"] for one in results["whole"]] == [10, 10]
    assert [one["steps"] for one in results["several"]] == [10, 10]  # a training watches one value only
    zero, one = (result["end"] for result in results["broken"])
    assert zero == "OSError: the journal is on a full disk"
    assert one == "TrialStateError: the trial can't go on: rank 0 failed to report to it, see its error"


@pytest.mark.parametrize("program", [HUGGING_FACE, LIGHTNING], ids=["transformers", "lightning"])
def test_distributed_trainings_stop_together(program: str, tmp_path: Path) -> None:
    results = run(program, tmp_path)
    first, second = results["pruned"]
    assert first["end"] == second["end"] and first["end"].startswith("TrialPruned: at step 2, with ")
    assert (first["reports"], second["reports"]) == ([1, 2], [])
    first, second = results["share"]
    assert first["end"] == second["end"] == "finished"
    assert first["steps"] == second["steps"] == 2  # 64 or 76 samples in batches of 16 or 19, on two ranks
    assert (first["reports"], second["reports"]) == ([1], [])
