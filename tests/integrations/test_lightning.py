"""The callback for Lightning's Trainer, with the real library."""

from __future__ import annotations

import logging
import re
import runpy
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch import nn

import fasthpo
from fasthpo.errors import InvalidValue, TrialPruned
from fasthpo.integrations.lightning import LightningCallback
from tests.support.torch_training import FakeTrial, classes, mlp, same, weights

TRAIN, EVAL = classes(), classes(40, seed=1)
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
pytestmark = [  # Lightning's own
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning"),
]


class Module(lightning.LightningModule):
    def __init__(self, learning_rate: float = 0.01) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net, self.rate = mlp(), learning_rate

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]), sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=self.rate)


def fit(trial: Any, module: Any = None, monitor: str = "val_loss", resume: Path | None = None, **options: Any) -> Any:
    fields: dict[str, Any] = {
        "max_epochs": 3, "accelerator": "cpu", "logger": False, "enable_checkpointing": False,
        "enable_progress_bar": False, "enable_model_summary": False,
    }  # fmt: skip
    trainer = lightning.Trainer(**{**fields, **options}, callbacks=[LightningCallback(trial, monitor)])
    train = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*TRAIN), batch_size=19)
    valid = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*EVAL), batch_size=40)
    module = module or Module()
    trainer.fit(module, train, valid, ckpt_path=resume)
    return trainer


def test_reports_by_epoch_and_by_step() -> None:
    trial = FakeTrial()
    trainer = fit(trial)
    assert list(trial.reports) == [1, 2, 3]
    assert trial.reports[3] == trainer.callback_metrics["val_loss"].item() < trial.reports[1]
    trial = FakeTrial()
    fit(trial, val_check_interval=2)
    assert list(trial.reports) == [2, 4, 6, 8, 10, 12]


def test_a_pruned_trial_ends_the_training() -> None:
    trial, module = FakeTrial(prune_at=2), Module()
    with pytest.raises(TrialPruned, match=r"at step 2, with val_loss=\d"):
        fit(trial, module, max_epochs=20)
    assert list(trial.reports) == [1, 2] and module.trainer.global_step == 8


def test_wrong_names_and_no_trial() -> None:
    with pytest.raises(
        InvalidValue, match=r"monitor must be a metric that is logged, one of \['val_loss'\], got 'loss'"
    ):
        fit(FakeTrial(), monitor="loss")
    with pytest.raises(InvalidValue, match="trial must be a Trial, at least on rank 0, got None"):
        fit(None)


def test_a_promoted_trial_goes_on(tmp_path: Path) -> None:
    whole, expected = FakeTrial(), Module()
    fit(whole, expected)
    first, second = FakeTrial(resource=1), FakeTrial(resource=3, start_resource=1)
    trainer = fit(first)
    assert trainer.global_step == 4
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    module = Module()
    assert fit(second, module, resume=tmp_path / "last.ckpt").global_step == 12
    assert {**first.reports, **second.reports} == whole.reports
    assert same(weights(module), weights(expected))
    with pytest.raises(InvalidValue, match="resource must not be beyond max_epochs, got 9 of 3 epochs"):
        fit(FakeTrial(resource=9))


def test_a_study() -> None:
    pruning = fasthpo.PruningConfig(min_steps=1, n_startup_trials=2)
    config = fasthpo.TunerConfig("s", max_trials=8, pruning=pruning, seed=0)
    space = {"learning_rate": fasthpo.LogUniform(1e-6, 1e-1)}

    def objective(trial: fasthpo.Trial) -> float:
        return fit(trial, Module(**trial)).callback_metrics["val_loss"].item()

    result = fasthpo.HyperparameterTuner.with_random_search(config, space).optimize(objective)
    assert result.statistics.failed_trials == 0 and result.statistics.pruned_trials > 0
    assert result.best_value < 0.7


def test_the_example_keeps_the_weights_of_the_best_trial(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here and not with the other examples, as most of what it takes is to import Lightning."""
    options = {"--trials": 4, "--epochs": 2, "--workers": 1, "--output-dir": tmp_path}
    monkeypatch.setattr("sys.argv", ["tune_lightning.py", *(str(one) for option in options.items() for one in option)])
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")  # which it sets: so it is taken back
    threads = torch.get_num_threads()
    try:
        runpy.run_path(str(repository / "examples" / "tune_lightning.py"), run_name="__main__")
    finally:
        torch.set_num_threads(threads)
    last = capsys.readouterr().out.splitlines()[-1]
    assert float(re.fullmatch(r"held-out accuracy: ([01]\.\d{4})", last).group(1)) > 0.5
    study = fasthpo.Study.load(tmp_path / "lightning-0", read_only=True)
    assert [list(trial.reports) for trial in study.trials] == [[1, 2]] * 4
    (kept,) = (tmp_path / "lightning-0").glob("checkpoints/*/*.ckpt")
    assert kept == study.best_trial.checkpoint_dir / "best.ckpt"
