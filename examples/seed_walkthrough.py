"""A walk through the framework's guide: each of its code blocks, in its order, as Python that runs.

    python examples/seed_walkthrough.py                # 50 trials; about half a minute
    python examples/seed_walkthrough.py --trials 10

The guide trains transformers; here a small network learns to read real images of digits, so that every step runs in
a moment.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from fasthpo import (
    BayesianOptimization,
    EarlyStoppingConfig,
    HyperparameterCallback,
    HyperparameterTuner,
    LoggingCallback,
    PruningConfig,
    SearchSpaceBuilder,
    Trial,
    TrialMetrics,
    TrialResult,
    TrialState,
    TunerConfig,
)
from fasthpo.torch import Trainer, TrainingArguments, hyperparams_to_training_args

EPOCHS = 40


Images = tuple[torch.Tensor, torch.Tensor]


def load_data() -> tuple[Images, Images]:
    """Images with their digits, to train on and to validate with."""
    images, digits = load_digits(return_X_y=True)
    split = train_test_split(images / 16, digits, test_size=0.3, random_state=0, stratify=digits)
    train_images, validation_images, train_digits, validation_digits = map(torch.tensor, split)
    return (train_images.float(), train_digits), (validation_images.float(), validation_digits)


def make_model() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def accuracy(outputs: torch.Tensor, digits: torch.Tensor) -> float:
    return (outputs.argmax(1) == digits).double().mean().item()


def main(trials: int, output_dir: Path) -> None:
    torch.set_num_threads(1)  # the network is too small to gain from more
    train_dataset, eval_dataset = load_data()

    # ------------------------------------------------------------ Key Features: Search Space Definition
    search_space = (
        SearchSpaceBuilder()
        .log_uniform("learning_rate", 1e-5, 1e-1)  # log-scale parameter
        .discrete("batch_size", 8, 128, 8)  # discrete values
        .categorical("optimizer", ["adam", "adamw"])  # categorical choices
        .continuous("weight_decay", 0.0, 0.1)  # continuous range
        .build()
    )
    print("search space:", search_space)

    # ------------------------------------------------------------ Advanced Features: Trial Pruning
    pruning = PruningConfig(strategy="median", min_steps=30, percentile=0.5)

    # ------------------------------------------------------------ Advanced Features: Early Stopping
    early_stopping = EarlyStoppingConfig(patience=5, min_delta=0.001, restore_best_weights=True)

    # ------------------------------------------------------------ Advanced Features: Study Persistence
    config = TunerConfig(
        "my_study",
        direction="maximize",
        objective_metric="eval_accuracy",
        max_trials=trials,
        pruning=pruning,
        early_stopping=early_stopping,
        output_dir=output_dir,
        save_checkpoints=True,
        overwrite=True,  # a second walk begins anew
        seed=0,
    )

    # ------------------------------------------------------------ Usage Examples: Basic Usage
    search_space = (
        SearchSpaceBuilder()
        .log_uniform("learning_rate", 1e-5, 1e-2)
        .discrete("batch_size", 16, 64, 16)
        .categorical("optimizer", ["adam", "adamw"])
        .build()
    )
    tuner = HyperparameterTuner.with_bayesian_optimization(config, search_space)

    base_args = TrainingArguments(num_train_epochs=EPOCHS)

    def objective(trial: Trial) -> dict[str, float]:
        # Convert hyperparameters to training arguments
        training_args = hyperparams_to_training_args(base_args, trial)

        # Train model with these parameters
        trainer = Trainer(
            make_model,
            training_args,
            train_dataset,
            eval_dataset,
            nn.CrossEntropyLoss(),
            {"accuracy": accuracy},
            trial,  # is reported to, and says when to give up
            objective_metric="eval_accuracy",
            early_stopping=tuner.early_stopping(),
        )
        trainer.train()

        # Extract metrics
        return trainer.evaluate(eval_dataset)  # "eval_accuracy" of these is the objective, as the config says

    # Run optimization
    result = tuner.optimize(objective)

    print("Best hyperparameters found:")
    for name, value in result.best_trial.params.items():
        print(f"  {name}: {value}")

    # ------------------------------------------------------------ Usage Examples: Integration with TrainingArguments
    steps_args = TrainingArguments(output_dir / "output", do_eval=True, eval_steps=100, save_steps=500)

    args_space = (
        SearchSpaceBuilder()
        .log_uniform("learning_rate", 1e-5, 1e-2)
        .discrete("per_device_train_batch_size", 8, 32, 8)
        .continuous("weight_decay", 0.0, 0.1)
        .discrete("num_train_epochs", 3, 10, 1)
        .continuous("warmup_ratio", 0.0, 0.3)
        .build()
    )

    def train_with_arguments(trial: Trial) -> float:
        training_args = hyperparams_to_training_args(steps_args, trial)
        trainer = Trainer(make_model, training_args, train_dataset, eval_dataset, nn.CrossEntropyLoss(), trial=trial)
        return trainer.train()["eval_loss"]  # reported every 100 steps, and saved every 500

    by_steps = TunerConfig("arguments", direction="minimize", max_trials=min(trials, 6), seed=0)
    args_result = HyperparameterTuner.with_random_search(by_steps, args_space).optimize(train_with_arguments)
    print(f"Best arguments: {args_result.best_params}")
    print(f"Evaluated at steps: {list(args_result.best_trial.reports)}")

    # ------------------------------------------------------------ Parameter Types
    every_type = (
        SearchSpaceBuilder()
        .continuous("weight_decay", 0.0, 0.1)  # Continuous Parameters
        .discrete("batch_size", 8, 128, 8)  # Discrete Parameters: 8, 16, 24, ..., 128
        .categorical("optimizer", ["adam", "adamw", "sgd"])  # Categorical Parameters
        .log_uniform("learning_rate", 1e-5, 1e-1)  # Log-Scale Parameters
        .build()
    )
    for parameter in every_type.values():
        print(parameter)

    # ------------------------------------------------------------ Study Management: Results and Statistics
    print("Study completed!")
    print(f"Best value: {result.best_trial.objective_value():.4f}")
    print(f"Total trials: {len(result.trials)}")
    print(f"Success rate: {result.statistics.success_rate:.1f}%")
    print(f"Duration: {result.total_duration:.1f} s")

    # ------------------------------------------------------------ Study Management: Checkpointing and Resuming
    checkpoint_path = tuner.save_checkpoint()

    longer = replace(config, max_trials=trials + 5, overwrite=False)
    tuner = HyperparameterTuner(longer, search_space, BayesianOptimization(seed=0))
    tuner.load_checkpoint(checkpoint_path)

    # ------------------------------------------------------------ Study Management: Custom Callbacks
    class MyCallback(HyperparameterCallback):
        def on_trial_complete(self, trial: Trial) -> None:
            print(f"Trial {trial.number} completed with value: {trial.objective_value():.4f}")

        def on_new_best(self, trial: Trial, improvement: float) -> None:
            print(f"New best! Trial {trial.number} improved by {improvement:.4f}")

    tuner = tuner.add_callback(MyCallback())
    result = tuner.optimize(objective)  # continues from where it left off

    # ------------------------------------------------------------ Example Output Files
    for file in sorted(config.study_dir.iterdir()):
        print(f"{file.name}: {file.stat().st_size} bytes")
    best = json.loads((config.study_dir / "best_parameters.json").read_text(encoding="utf-8"))
    print("best_parameters.json holds", best)

    # ------------------------------------------------------------ Integration with Existing Code
    def train_existing(trial: Trial) -> dict[str, float]:
        torch.manual_seed(trial.number)  # this model is not made by the trainer

        # Works with any torch.nn.Module
        layer = nn.TransformerEncoderLayer(8, nhead=2, dim_feedforward=16, batch_first=True)
        model = nn.Sequential(nn.Unflatten(1, (8, 8)), layer, nn.Flatten(), nn.Linear(64, 10))  # a row is a token

        # Works with existing optimizers
        optimizer = torch.optim.NAdam(model.parameters(), lr=trial["learning_rate"])

        # Works with existing loss functions
        loss_fn = nn.CrossEntropyLoss(label_smoothing=0.05)

        # Works with existing metrics
        metrics = MetricCollection({"accuracy": MulticlassAccuracy(10), "f1": MulticlassF1Score(10)})

        args = TrainingArguments(num_train_epochs=4, per_device_train_batch_size=trial["batch_size"])
        trainer = Trainer(model, args, train_dataset, eval_dataset, loss_fn, metrics, trial, optimizer=optimizer)
        return trainer.train()

    by_f1 = TunerConfig("existing", direction="maximize", objective_metric="eval_f1", max_trials=min(trials, 4), seed=0)
    existing_result = HyperparameterTuner.with_random_search(by_f1, search_space).optimize(train_existing)
    reached = {"eval_f1": existing_result.best_value, **existing_result.best_trial.metrics}
    print("Several metrics:", {name: round(value, 4) for name, value in sorted(reached.items())})

    # ------------------------------------------------------------ Error Handling and Debugging: Trial Failures
    def careful_objective(trial: Trial) -> TrialResult:
        try:
            if trial.number % 4 == 3:
                raise MemoryError("the batch does not fit")  # as a GPU might say
            metrics = objective(trial)
        except MemoryError as error:
            print(f"Trial failed: {error}")
            return TrialResult.failure(str(error))
        return TrialResult.success(TrialMetrics(metrics["eval_accuracy"], metrics={"loss": metrics["eval_loss"]}))

    careful = TunerConfig("failures", direction="maximize", max_trials=8, early_stopping=early_stopping)
    tuner = HyperparameterTuner.with_random_search(careful, search_space)

    # ------------------------------------------------------------ Error Handling and Debugging: Debugging Tips
    tuner.remove_callback(LoggingCallback)  # every tuner begins with one, for detailed output
    result = tuner.optimize(careful_objective)
    print(f"Success rate: {result.statistics.success_rate:.1f}%, pruning rate: {result.statistics.pruning_rate:.1f}%")
    for trial in result.trials:
        if trial.state == TrialState.FAILED:
            print(f"trial {trial.number} failed with {trial.params}: {trial.error}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Each code block of the framework's guide, as Python that runs.")
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--output-dir", type=Path, default=Path("hyperopt_results"))
    options = parser.parse_args()
    main(options.trials, options.output_dir)
