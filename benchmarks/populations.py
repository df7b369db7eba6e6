"""What a population costs besides its training: stacked and one by one, an exploit, and beside Ray Tune's.

    python benchmarks/populations.py stacked            64 members of a small network on one thread of a CPU
    python benchmarks/populations.py overhead           of an objective that does nothing, and of Ray Tune's PBT with it

All figures are seconds of wall time, or their ratio, of runs that follow each other.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import fasthpo

MEMBERS, EPOCHS, INTERVAL = 64, 12, 2


def stacked() -> dict[str, float]:
    """64 members, stacked and one by one."""
    import torch
    from torch import nn

    from fasthpo.torch import Trainer, TrainingArguments, VectorizedTrainer, hyperparams_to_training_args
    from fasthpo.torch.stack import Stack

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1024, 16, generator=generator)
    y = (x[:, :4].prod(dim=1) > 0).long()
    data = (x[:768], y[:768]), (x[768:], y[768:])
    space = {"learning_rate": fasthpo.LogUniform(1e-4, 0.1), "weight_decay": fasthpo.LogUniform(1e-5, 0.1)}
    args = TrainingArguments(num_train_epochs=EPOCHS, per_device_train_batch_size=32, device="cpu")

    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 2))

    def study() -> fasthpo.Study:
        sampler = fasthpo.RandomSampler(seed=0)
        strategy = fasthpo.PopulationTraining(EPOCHS, MEMBERS, INTERVAL, sampler=sampler)
        return fasthpo.Study(space, strategy=strategy)

    exploits: list[float] = []
    go_on = Stack.go_on

    def timed(self: Stack, *arguments: Any) -> None:
        begin = time.perf_counter()
        go_on(self, *arguments)
        exploits.append(time.perf_counter() - begin)

    Stack.go_on = timed  # type: ignore[method-assign]
    loss = nn.functional.cross_entropy
    together = study()
    begin = time.perf_counter()
    VectorizedTrainer(model, args, *data, loss).train_population(together)
    of_stack = time.perf_counter() - begin
    Stack.go_on = go_on  # type: ignore[method-assign]
    alone = study()
    begin = time.perf_counter()
    while (trial := alone.ask_within()) is not None:
        own = hyperparams_to_training_args(args, trial)
        alone.tell(trial, Trainer(model, own, *data, loss, trial=trial).train()["eval_loss"])
    one_by_one = time.perf_counter() - begin
    generations = EPOCHS // INTERVAL
    return {
        "one by one": one_by_one,
        "stacked": of_stack,
        "times as fast": one_by_one / of_stack,
        "an exploit's share of a generation": sum(exploits[1:]) / (generations - 1) / (of_stack / generations),
        "same parameters": float([t.params for t in together.trials] == [t.params for t in alone.trials]),
    }


def _step(directory: Path, x: float, rate: float) -> float:
    return x * (1 - rate) + 0.01 * rate


def overhead(members: int = 4, steps: int = 10) -> dict[str, float]:
    """Seconds of a population whose objective writes and reads one small file."""

    def objective(trial: Any) -> float:
        file = trial.checkpoint_dir / "x.json"
        x = json.loads(file.read_text()) if file.exists() else 1.0
        for _ in range(trial.start_resource, trial.resource):
            x = _step(file.parent, x, trial["rate"])
        file.write_text(json.dumps(x))
        return x

    found = {}
    with tempfile.TemporaryDirectory() as directory:
        strategy = fasthpo.PopulationTraining(steps, members, 1, sampler=fasthpo.RandomSampler(seed=0))
        config = fasthpo.TunerConfig("population", output_dir=directory, save_checkpoints=True)
        tuner = fasthpo.HyperparameterTuner(config, {"rate": fasthpo.LogUniform(1e-3, 1.0)}, strategy)
        begin = time.perf_counter()
        tuner.optimize(objective, workers=2, backend="processes")
        found["fasthpo, two processes"] = time.perf_counter() - begin
    try:
        from ray import tune
    except ImportError:
        return found
    import ray
    from ray.tune.schedulers import PopulationBasedTraining

    def trainable(config: dict[str, Any]) -> None:
        x, first = 1.0, 0
        if (checkpoint := tune.get_checkpoint()) is not None:
            with checkpoint.as_directory() as directory:
                first, x = json.loads((Path(directory) / "x.json").read_text())
        for step in range(first, steps):
            x = _step(Path(), x, config["rate"])
            with tempfile.TemporaryDirectory() as directory:
                (Path(directory) / "x.json").write_text(json.dumps([step + 1, x]))
                tune.report(
                    {"x": x, "training_iteration": step + 1}, checkpoint=tune.Checkpoint.from_directory(directory)
                )

    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as directory:
        scheduler = PopulationBasedTraining(
            time_attr="training_iteration", metric="x", mode="min", perturbation_interval=1, synch=True,
            hyperparam_mutations={"rate": tune.loguniform(1e-3, 1.0)},
        )  # fmt: skip
        tuner = tune.Tuner(
            trainable,
            param_space={"rate": tune.loguniform(1e-3, 1.0)},
            tune_config=tune.TuneConfig(num_samples=members, scheduler=scheduler),
            run_config=tune.RunConfig(storage_path=directory, verbose=0, stop={"training_iteration": steps}),
        )
        begin = time.perf_counter()
        tuner.fit()
        found["Ray Tune, two CPUs"] = time.perf_counter() - begin
    ray.shutdown()
    found["Ray Tune's time, in ours"] = found["Ray Tune, two CPUs"] / found["fasthpo, two processes"]
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["stacked", "overhead"])
    for name, value in (stacked() if parser.parse_args().what == "stacked" else overhead()).items():
        print(f"{name:>40}  {value:.4g}")
