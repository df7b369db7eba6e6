"""The callback for Hugging Face's Trainer, with the real library and a tiny model made from a config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import fasthpo
from fasthpo.errors import InvalidValue, TrialPruned
from fasthpo.integrations.huggingface import HuggingFaceCallback
from fasthpo.torch import hyperparams_to_training_args
from tests.support.torch_training import FakeTrial

CONFIG = {
    "vocab_size": 30,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}


def make_model() -> Any:
    return transformers.BertForSequenceClassification(transformers.BertConfig(**CONFIG, num_labels=2))


def data(samples: int, seed: int) -> list[dict[str, torch.Tensor]]:
    """Sequences in which one of two tokens, spread among others, is the more frequent."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(2, 30, (samples, 10), generator=generator)
    labels = torch.randint(2, (samples,), generator=generator)
    ids[:, ::2] = labels[:, None]
    return [{"input_ids": one, "labels": label} for one, label in zip(ids, labels, strict=True)]


TRAIN, EVAL = data(64, 0), data(32, 1)


def arguments(directory: Path, **changed: Any) -> Any:
    fields = {
        "eval_strategy": "epoch", "save_strategy": "no", "num_train_epochs": 3, "per_device_train_batch_size": 16,
        "learning_rate": 5e-3, "use_cpu": True, "report_to": [], "disable_tqdm": True, "dataloader_pin_memory": False,
    }  # fmt: skip
    return transformers.TrainingArguments(str(directory), **{**fields, **changed})


def make(args: Any, trial: Any, eval_data: Any = EVAL, metric: str = "eval_loss") -> Any:
    return transformers.Trainer(
        model_init=make_model, args=args, train_dataset=TRAIN, eval_dataset=eval_data, callbacks=[HuggingFaceCallback(trial, metric)]
    )  # fmt: skip


def test_reports_by_epoch_and_by_step(tmp_path: Path) -> None:
    trial = FakeTrial()
    trainer = make(arguments(tmp_path), trial)
    trainer.train()
    assert list(trial.reports) == [1, 2, 3]
    assert trial.reports[3] == trainer.evaluate()["eval_loss"] < trial.reports[1]
    assert len(trial.reports) == 3  # an evaluation after the training is no report
    trial = FakeTrial()
    make(arguments(tmp_path, eval_strategy="steps", eval_steps=5), trial).train()
    assert list(trial.reports)[:2] == [5, 10]  # some versions also evaluate at the end


def test_a_pruned_trial_ends_the_training(tmp_path: Path) -> None:
    trial = FakeTrial(prune_at=2)
    trainer = make(arguments(tmp_path), trial)
    with pytest.raises(TrialPruned, match=r"at step 2, with eval_loss=0\.\d"):
        trainer.train()
    assert trainer.state.global_step == 8 and list(trial.reports) == [1, 2]


def test_several_evaluation_sets_and_a_wrong_name(tmp_path: Path) -> None:
    trial = FakeTrial()
    sets = {"near": EVAL, "far": data(32, 2)}
    make(arguments(tmp_path, num_train_epochs=1), trial, sets, "eval_far_loss").train()
    assert list(trial.reports) == [1]
    with pytest.raises(
        InvalidValue, match=r"metric must be one that is evaluated, one of \[.*'eval_near_loss'.*\], got 'eval_loss'"
    ):
        make(arguments(tmp_path, num_train_epochs=1), trial, sets).train()
    with pytest.raises(InvalidValue, match="trial must be a Trial, at least on rank 0, got None"):
        make(arguments(tmp_path), None).train()


def test_a_promoted_trial_goes_on(tmp_path: Path) -> None:
    """Its share ends and is saved at its resource; the schedule is that of the whole training, and so are the weights."""
    whole = FakeTrial()
    expected = make(arguments(tmp_path / "whole"), whole)
    expected.train()
    base = arguments(tmp_path / "shares")
    first = FakeTrial(resource=1)
    trainer = make(base, first)
    trainer.train()
    assert trainer.state.global_step == 4
    second = FakeTrial(resource=3, start_resource=1)
    trainer = make(base, second)
    trainer.train(resume_from_checkpoint=True)
    assert trainer.state.global_step == 12
    assert {**first.reports, **second.reports} == whole.reports
    for a, b in zip(trainer.model.parameters(), expected.model.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(InvalidValue, match="resource must not be beyond num_train_epochs, got 9 of 3 epochs"):
        make(base, FakeTrial(resource=9)).train()


def test_a_study(tmp_path: Path) -> None:
    """Arguments and callback together in an objective."""
    space = {
        "learning_rate": fasthpo.LogUniform(1e-6, 1e-1),
        "batch_size": fasthpo.Discrete(8, 32, 8),
        "warmup_ratio": fasthpo.Continuous(0, 0.3),
    }
    pruning = fasthpo.PruningConfig(min_steps=1, n_startup_trials=2)
    config = fasthpo.TunerConfig("s", objective_metric="eval_loss", max_trials=6, pruning=pruning, seed=0)

    def objective(trial: fasthpo.Trial) -> dict[str, float]:
        trainer = make(hyperparams_to_training_args(arguments(tmp_path, num_train_epochs=2), trial), trial)
        trainer.train()
        return trainer.evaluate()

    result = fasthpo.HyperparameterTuner.with_random_search(config, space).optimize(objective)
    assert result.statistics.failed_trials == 0 and result.statistics.pruned_trials > 0
    assert result.best_value < 0.7


def test_a_study_by_successive_halving(tmp_path: Path) -> None:
    """Promoted trials go on from what their directory holds; the library trains no epoch twice."""
    config = fasthpo.TunerConfig("s", objective_metric="eval_loss", max_trials=3, output_dir=tmp_path, seed=0)
    space = {"learning_rate": fasthpo.LogUniform(1e-4, 1e-2)}
    tuner = fasthpo.HyperparameterTuner.with_successive_halving(config, space, max_resource=3)
    trained = []

    def objective(trial: fasthpo.Trial) -> dict[str, float]:
        trainer = make(hyperparams_to_training_args(arguments(trial.checkpoint_dir), trial), trial)
        trainer.train(resume_from_checkpoint=trial.start_resource > 0)
        trained.append((trial.number, trial.start_resource, trainer.state.global_step))
        return trainer.evaluate()

    result = tuner.optimize(objective)
    best = result.best_trial.number
    assert trained == [(0, 0, 4), (1, 0, 4), (2, 0, 4), (best, 1, 12)]
    assert list(result.best_trial.reports) == [1, 2, 3]


def test_its_own_search_takes_our_sampler_and_pruner(tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    from fasthpo.integrations.optuna import FastPruner, FastSampler

    class Second(fasthpo.Pruner):
        """Gives up the second trial."""

        def should_prune(self, table: Any, number: int) -> bool:
            return number == 1

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.InMemoryStorage()
    trainer = transformers.Trainer(
        model_init=make_model, args=arguments(tmp_path, num_train_epochs=2), train_dataset=TRAIN, eval_dataset=EVAL
    )
    best = trainer.hyperparameter_search(
        hp_space=lambda trial: {"learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-2, log=True)},
        n_trials=2, direction="minimize", sampler=FastSampler(seed=3), pruner=FastPruner(Second()), storage=storage,
        study_name="search",
    )  # fmt: skip
    trials = optuna.load_study(study_name="search", storage=storage).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE", "PRUNED"]
    assert [sorted(trial.intermediate_values) for trial in trials] == [[4, 8], [4]]  # optimizer steps
    assert best.run_id == "0" and best.objective == trials[0].intermediate_values[8]
    rate = {"learning_rate": optuna.distributions.FloatDistribution(1e-5, 1e-2, log=True)}
    alone = optuna.create_study(sampler=FastSampler(seed=3))
    assert alone.ask(rate).params == best.hyperparameters == trials[0].params
