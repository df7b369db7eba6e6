"""A training interrupted at any step and taken up again ends as one that never stopped, bit by bit."""

from __future__ import annotations

import gc
import os
import random
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fasthpo
from fasthpo.errors import CorruptCheckpoint, InvalidValue
from fasthpo.torch import Trainer, TrainingArguments
from tests.support.torch_training import MODELS, FakeTrial, Noisy, accuracy, arguments, classes, mlp, same, weights

TRAIN, EVAL = classes(), classes(40, seed=1)
STEPS, BATCHES = 9, 24  # of three epochs: 8 batches an epoch, in groups of 3, 3 and 2


class Killed(BaseException):
    """Ends a training as a kill does, from inside."""


class Loss(nn.CrossEntropyLoss):
    """Raises at the n-th batch that is trained on."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            self.left -= 1
            if self.left < 0:
                raise Killed
        return super().forward(outputs, targets)


def make(model: Any, args: TrainingArguments, batches: int = BATCHES, **others: Any) -> Trainer:
    return Trainer(model, args, TRAIN, EVAL, Loss(batches), {"accuracy": accuracy}, **others)


def stopper() -> fasthpo.EarlyStopping:
    return fasthpo.EarlyStopping(fasthpo.EarlyStoppingConfig(patience=2))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Trainer, dict[str, float]]]:
    runs = {}
    for name, model in MODELS.items():
        one = make(model, arguments(tmp_path_factory.mktemp(name), save_steps=1), early_stopping=stopper())
        runs[name] = (one, one.train())
    return runs


@pytest.mark.parametrize("save_steps", [1, 2, 4])
@pytest.mark.parametrize("name", MODELS)
def test_killed_at_every_batch(name: str, save_steps: int, uninterrupted: dict, tmp_path: Path) -> None:
    expected, result = uninterrupted[name]
    for batch in range(BATCHES):
        args = arguments(tmp_path / str(batch), save_steps=save_steps)
        with pytest.raises(Killed):
            make(MODELS[name], args, batch, early_stopping=stopper()).train()
        torch.manual_seed(batch), random.seed(batch), np.random.seed(batch)  # another process would have others
        # other weights to begin with: all must come from the checkpoint, if there is one
        resumed = make(MODELS[name], args, early_stopping=stopper())
        done = [0, 3, 6, 8, 11, 14, 16, 19, 22, 24]  # batches behind each step
        saved = max(step for step in range(STEPS + 1) if done[step] <= batch and step % save_steps == 0)
        if saved:
            with torch.no_grad():
                for one in resumed.model.parameters():
                    one.fill_(batch)
        assert resumed.train(resume=True) == result
        assert same(weights(resumed.model), weights(expected.model))
        assert resumed.history == expected.history
        assert resumed._loss.left == done[saved]  # batches before the checkpoint were not trained on again


def test_killed_over_and_over(tmp_path: Path, uninterrupted: dict) -> None:
    """Each attempt comes one step further."""
    expected, result = uninterrupted["transformer"]
    args = arguments(tmp_path, save_steps=1)
    for _ in range(STEPS - 1):
        with pytest.raises(Killed):
            make(MODELS["transformer"], args, 4, early_stopping=stopper()).train(resume=True)
    last = make(MODELS["transformer"], args, early_stopping=stopper())
    assert last.train(resume=True) == result
    assert same(weights(last.model), weights(expected.model))


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_other_optimizers_and_precisions(optimizer: str, precision: str, tmp_path: Path) -> None:
    args = arguments(optimizer=optimizer, momentum=0.9, precision=precision, learning_rate=0.01)
    expected = make(MODELS["cnn"], args)
    result = expected.train()
    kept = arguments(tmp_path, optimizer=optimizer, momentum=0.9, precision=precision, learning_rate=0.01, save_steps=1)
    with pytest.raises(Killed):
        make(MODELS["cnn"], kept, 13).train()
    resumed = make(MODELS["cnn"], kept)
    assert resumed.train(resume=True) == result
    assert same(weights(resumed.model), weights(expected.model))


def test_data_that_draws_at_random_and_steps_of_evaluation(tmp_path: Path) -> None:
    """Augmentation with any of the three generators; evaluations in the middle of an epoch draw, too."""

    def run(batches: int = BATCHES, **fields: Any) -> Trainer:
        return Trainer(mlp, arguments(eval_steps=2, **fields), Noisy(*TRAIN), Noisy(*TRAIN), Loss(batches))

    expected = run()
    result = expected.train()
    with pytest.raises(Killed):
        run(13, output_dir=tmp_path, save_steps=1).train()
    resumed = run(output_dir=tmp_path, save_steps=1)
    assert resumed.train(resume=True) == result
    assert same(weights(resumed.model), weights(expected.model))


def test_worker_processes_that_draw_at_random(tmp_path: Path) -> None:
    """What a batch draws depends neither on which worker loads it nor on how many there are, nor on interruptions."""

    def run(batches: int = BATCHES, workers: int = 2, **fields: Any) -> Trainer:
        args = arguments(dataloader_num_workers=workers, num_train_epochs=2, **fields)
        return Trainer(lambda: mlp(0.2), args, Noisy(*TRAIN), Noisy(*EVAL), Loss(batches))

    expected = run()
    result = expected.train()
    for batch in (3, 11):  # in the middle of an epoch
        path = tmp_path / str(batch)
        with pytest.raises(Killed):
            run(batch, output_dir=path, save_steps=1).train()
        resumed = run(output_dir=path, workers=2 if batch == 3 else 1)
        assert resumed.train(resume=True) == result
        assert same(weights(resumed.model), weights(expected.model))
    augmented = [inputs for epoch in (0, 1) for inputs, _ in expected._batches.epoch(epoch)]
    assert len({one.sum().item() for one in augmented}) == 16  # each batch draws anew, in each epoch


def test_early_stopping_goes_on_counting(tmp_path: Path) -> None:
    args = arguments(tmp_path, num_train_epochs=40, learning_rate=0.3, lr_scheduler_type="constant", save_steps=1)
    expected = make(mlp, args, 1000, early_stopping=stopper())
    result = expected.train()
    last = len(expected.history)
    assert last < 40
    (tmp_path / "training.pt").unlink()
    with pytest.raises(Killed):
        make(mlp, args, 8 * last - 9, early_stopping=stopper()).train()  # between its last two evaluations
    resumed = make(mlp, args, early_stopping=stopper())
    assert resumed.train(resume=True) == result
    assert len(resumed.history) == last
    assert same(weights(resumed.model), weights(expected.model))
    # and once it has stopped, it stays so
    again = make(mlp, args, 0, early_stopping=stopper())
    assert again.train(resume=True) == result
    assert same(weights(again.model), weights(expected.model))


# --- under a multi-fidelity strategy


@pytest.mark.parametrize("name", MODELS)
def test_a_promoted_trial_goes_on(name: str, tmp_path: Path) -> None:
    """1, then 3, then 9 epochs in all come to what 9 epochs at once do; each share is trained on once."""
    args = arguments(num_train_epochs=9)
    whole = FakeTrial(resource=9)
    expected = make(MODELS[name], args, 72, trial=whole)
    result = expected.train()
    reached, reports = 0, {}
    for resource in (1, 3, 9):
        trial = FakeTrial(resource, tmp_path, start_resource=reached)
        one = make(MODELS[name], args, 72, trial=trial)
        last = one.train()
        assert one.step == 3 * resource and one._loss.left == 72 - 8 * (resource - reached)
        assert list(trial.reports) == list(range(1, resource + 1))  # again what was reported before
        reached, reports = resource, trial.reports
    assert last == result and reports == whole.reports
    assert same(weights(one.model), weights(expected.model))
    assert [path.name for path in tmp_path.iterdir()] == ["training.pt"]


@pytest.mark.parametrize("kind", ["successive_halving", "asha", "hyperband"])
def test_under_real_strategies(kind: str, tmp_path: Path) -> None:
    """Promoted trials go on: all in all as many batches as the study says, and results as of trainings in one go."""
    config = fasthpo.TunerConfig("s", max_trials=12, seed=0, objective_metric="eval_loss", output_dir=tmp_path)
    space = {"learning_rate": fasthpo.LogUniform(1e-4, 0.3)}
    tuner = getattr(fasthpo.HyperparameterTuner, f"with_{kind}")(config, space, max_resource=9)
    base = arguments(num_train_epochs=9)
    trained = 0

    def objective(trial: fasthpo.Trial) -> dict[str, float]:
        nonlocal trained
        one = make(MODELS["cnn"], fasthpo.torch.hyperparams_to_training_args(base, trial), 72, trial=trial)
        result = one.train()
        trained += 72 - one._loss.left
        return result

    result = tuner.optimize(objective)
    assert trained == 8 * result.statistics.resource_spent
    complete = [trial for trial in result.trials if trial.state == fasthpo.TrialState.COMPLETE]
    assert 0 < len(complete) < 12
    for trial in complete:
        whole = make(MODELS["cnn"], fasthpo.torch.hyperparams_to_training_args(base, trial), 72)
        assert trial.value == whole.train()["eval_loss"]
        assert list(trial.reports.values()) == [one["eval_loss"] for one in whole.history]


def test_a_promoted_trial_without_its_checkpoint_begins_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    args = arguments(num_train_epochs=9)
    one = make(mlp, args, 24, trial=FakeTrial(3, tmp_path, start_resource=1))
    one.train()
    assert one._loss.left == 0
    assert "trial 7 begins anew: there is no checkpoint" in caplog.text


def test_early_stopping_between_shares(tmp_path: Path) -> None:
    """The checkpoint holds where the training was, not the best weights that were restored."""
    args = arguments(num_train_epochs=9, learning_rate=0.3, lr_scheduler_type="constant")
    expected = make(mlp, args, 72, trial=FakeTrial(9), early_stopping=stopper())
    result = expected.train()
    for resource in (2, 4, 9):
        one = make(mlp, args, 72, trial=FakeTrial(resource, tmp_path), early_stopping=stopper())
        last = one.train()
    assert last == result and one.history == expected.history
    assert same(weights(one.model), weights(expected.model))


def test_a_constant_schedule_has_no_end(tmp_path: Path) -> None:
    args = arguments(num_train_epochs=1, lr_scheduler_type="constant", warmup_ratio=0.0)
    one = make(mlp, args, trial=FakeTrial(resource=3.0, checkpoint_dir=tmp_path))
    one.train()
    assert one.step == 9


# --- where checkpoints are, and which are taken


def test_trials_do_not_share_a_checkpoint(tmp_path: Path) -> None:
    """Without a directory of its own a trial writes beside the others, and does not go on unless it is told to."""
    args = arguments(tmp_path, save_steps=4)
    one = make(mlp, args, trial=FakeTrial())
    result = one.train()
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.pt")] == ["trial-7/training.pt"]
    again = make(mlp, args, trial=FakeTrial())
    assert again.train() == result and again._loss.left == 0
    again = make(mlp, args, trial=FakeTrial())
    assert again.train(resume=True) == result and again._loss.left == 24


def test_nothing_is_written_unasked(tmp_path: Path) -> None:
    """Not even a trial's directory, which comes into being when it is asked for."""

    class Watched(FakeTrial):
        @property
        def checkpoint_dir(self) -> Path:
            raise AssertionError("nobody needs it")

        @checkpoint_dir.setter
        def checkpoint_dir(self, value: Any) -> None:
            pass

    make(mlp, arguments(tmp_path / "out"), trial=Watched()).train()
    assert list(tmp_path.iterdir()) == []


def test_checkpoints_of_other_trainings_are_refused(tmp_path: Path) -> None:
    make(mlp, arguments(tmp_path, save_steps=3)).train()

    def resumed(model: Any = mlp, train: Any = TRAIN, **fields: Any) -> None:
        stop = fields.pop("early_stopping", None)
        args = arguments(tmp_path, **fields)
        Trainer(model, args, train, EVAL, nn.CrossEntropyLoss(), early_stopping=stop).train(resume=True)

    resumed(eval_steps=5, per_device_eval_batch_size=3)  # these do not matter
    with pytest.raises(InvalidValue, match=r"another arguments: learning_rate=0\.05 there, learning_rate=0\.1 here"):
        resumed(learning_rate=0.1)
    with pytest.raises(InvalidValue, match="another schedule: warmup=2 there, warmup=3 here"):
        resumed(num_train_epochs=5)
    with pytest.raises(InvalidValue, match="another data: samples=76 there, samples=40 here"):
        resumed(train=EVAL)
    with pytest.raises(InvalidValue, match="holds the weights of another model"):
        resumed(model=lambda: nn.Linear(8, 3))
    with pytest.raises(InvalidValue, match="differs in having early_stopping"):
        resumed(early_stopping=stopper())


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "code", "foreign", "version"])
def test_damaged_checkpoints(damage: str, tmp_path: Path) -> None:
    args = arguments(tmp_path, save_steps=3)
    make(mlp, args).train()
    path = tmp_path / "training.pt"
    data = path.read_bytes()
    ran = tmp_path / "ran"

    class Code:
        def __reduce__(self) -> Any:
            return Path.touch, (ran,)

    if damage == "code":
        torch.save({"fasthpo": 1, "step": Code()}, path)
    elif damage == "foreign":
        torch.save({"step": 3}, path)
    elif damage == "version":
        torch.save({"fasthpo": 99}, path)
    else:
        path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "text": b"weights"}[damage])
    with pytest.raises(CorruptCheckpoint, match=r"training\.pt"):
        make(mlp, args).train(resume=True)
    assert not ran.exists()


def test_a_failed_save_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    args = arguments(tmp_path, save_steps=3)
    expected = make(mlp, args)
    result = expected.train()
    before = (tmp_path / "training.pt").read_bytes()
    monkeypatch.setattr(torch, "save", lambda state, file: (file.write(b"half"), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        make(mlp, args).train()
    monkeypatch.undo()
    assert (tmp_path / "training.pt").read_bytes() == before
    assert make(mlp, args, 0).train(resume=True) == result
    assert len(list(tmp_path.iterdir())) == 1


# --- memory


@pytest.mark.parametrize("name", MODELS)
def test_a_trial_leaves_nothing_behind(name: str) -> None:
    """The weights go with the last reference, without waiting for the collector of cycles."""
    gc.collect()
    gc.disable()
    try:
        one = make(MODELS[name], arguments(), early_stopping=stopper())
        one.train()
        watched = [weakref.ref(one.model), weakref.ref(one._optimizer), *map(weakref.ref, one.model.parameters())]
        del one
        assert [ref() for ref in watched] == [None] * len(watched)
    finally:
        gc.enable()


def test_memory_after_50_trials() -> None:
    """Grows by less than 5 MB, with models of 4 MB and twice as much of the optimizer's.

    What a process holds goes up and down by a few tensors that the C library keeps for later, here small ones only: the
    least of ten trials is compared with the least of ten others, 50 later.
    """
    program = """
import psutil, torch, fasthpo
from fasthpo.torch import Trainer, TrainingArguments, hyperparams_to_training_args
torch.set_num_threads(1)
x, y = torch.randn(64, 256), torch.randint(10, (64,))
config = fasthpo.TunerConfig("memory", max_trials=65, seed=0, pruning=fasthpo.PruningConfig(),
                             early_stopping=fasthpo.EarlyStoppingConfig(patience=1))
tuner = fasthpo.HyperparameterTuner.with_random_search(config, {"learning_rate": fasthpo.LogUniform(1e-4, 1.0)})
memory = []
def objective(trial):
    memory.append(psutil.Process().memory_info().rss)
    args = hyperparams_to_training_args(TrainingArguments(num_train_epochs=3), trial)
    model = lambda: torch.nn.Sequential(torch.nn.Linear(256, 4096), torch.nn.ReLU(), torch.nn.Linear(4096, 10))
    return Trainer(model, args, (x, y), (x, y), torch.nn.CrossEntropyLoss(), trial=trial,
                   early_stopping=tuner.early_stopping()).train()["eval_loss"]
tuner.optimize(objective)
assert len({trial.state for trial in tuner.study.trials}) == 2  # some were pruned
print(min(memory[55:]) - min(memory[5:15]))
"""
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "100000"}  # which glibc raises to 32 MB by itself
    command = [sys.executable, "-P", "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=250)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 5e6


@pytest.mark.gpu
def test_gpu_memory_after_50_trials() -> None:
    """It is back to where it was, and a training on the GPU goes on where it was killed, to rounding."""
    data = tuple(one.cuda() for one in TRAIN)

    def trial(seed: int) -> None:
        args = arguments(device="cuda", seed=seed, precision="fp16", dataloader_num_workers=0)
        Trainer(MODELS["cnn"], args, data, EVAL, nn.CrossEntropyLoss(), early_stopping=stopper()).train()

    trial(0)
    before = torch.cuda.memory_allocated()
    for seed in range(50):
        trial(seed)
    assert torch.cuda.memory_allocated() == before


@pytest.mark.gpu
def test_resume_on_a_gpu(tmp_path: Path) -> None:
    args = arguments(device="cuda", output_dir=tmp_path, save_steps=1)
    expected = make(MODELS["cnn"], arguments(device="cuda"))
    expected.train()
    with pytest.raises(Killed):
        make(MODELS["cnn"], args, 13).train()
    resumed = make(MODELS["cnn"], args)
    resumed.train(resume=True)
    for a, b in zip(resumed.model.parameters(), expected.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
