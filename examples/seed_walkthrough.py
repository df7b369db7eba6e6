"""A walk through the framework's guide: each of its code blocks, in its order, as Python that runs.

    python examples/seed_walkthrough.py                # 50 trials; about half a minute
    python examples/seed_walkthrough.py --trials 10

The guide trains transformers; here a small network learns to read real images of digits, so that every step runs in
a moment. Blocks that need what fasthpo does not have yet (training arguments, successive halving, Hyperband) are left
out.
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
    TrialPruned,
    TrialResult,
    TrialState,
    TunerConfig,
)

EPOCHS = 40


def load_data() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images and digits to train on, then images and digits to validate with."""
    images, digits = load_digits(return_X_y=True)
    split = train_test_split(images / 16, digits, test_size=0.3, random_state=0, stratify=digits)
    train_images, validation_images, train_digits, validation_digits = map(torch.tensor, split)
    return train_images.float(), train_digits, validation_images.float(), validation_digits


def main(trials: int, output_dir: Path) -> None:
    torch.set_num_threads(1)  # the network is too small to gain from more
    train_images, train_digits, validation_images, validation_digits = load_data()

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

    def train(trial: Trial) -> dict[str, float]:
        """Train with the trial's parameters, up to `EPOCHS` epochs; metrics on the validation images."""
        torch.manual_seed(trial.number)
        model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[trial["optimizer"]]
        optimizer = kind(model.parameters(), lr=trial["learning_rate"])
        stopper = tuner.early_stopping()
        for epoch in range(EPOCHS):
            for rows in torch.randperm(len(train_digits)).split(trial["batch_size"]):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(train_images[rows]), train_digits[rows]).backward()
                optimizer.step()
            accuracy = evaluate(model)["eval_accuracy"]
            trial.report(accuracy, step=epoch)
            if stopper.update(accuracy, model):
                break
            if trial.should_prune():
                raise TrialPruned
        stopper.restore(model)
        return evaluate(model)

    @torch.no_grad()
    def evaluate(model: nn.Module) -> dict[str, float]:
        logits = model(validation_images)
        return {
            "eval_accuracy": (logits.argmax(1) == validation_digits).double().mean().item(),
            "eval_loss": nn.functional.cross_entropy(logits, validation_digits).item(),
        }

    result = tuner.optimize(train)  # the mapping's "eval_accuracy" is the objective, as the config says

    print("Best hyperparameters found:")
    for name, value in result.best_trial.params.items():
        print(f"  {name}: {value}")

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
    result = tuner.optimize(train)  # continues from where it left off

    # ------------------------------------------------------------ Example Output Files
    for file in sorted(config.study_dir.iterdir()):
        print(f"{file.name}: {file.stat().st_size} bytes")
    best = json.loads((config.study_dir / "best_parameters.json").read_text(encoding="utf-8"))
    print("best_parameters.json holds", best)

    # ------------------------------------------------------------ Error Handling and Debugging: Trial Failures
    def objective(trial: Trial) -> TrialResult:
        try:
            if trial.number % 4 == 3:
                raise MemoryError("the batch does not fit")  # as a GPU might say
            metrics = train(trial)
        except MemoryError as error:
            print(f"Trial failed: {error}")
            return TrialResult.failure(str(error))
        return TrialResult.success(TrialMetrics(metrics["eval_accuracy"], metrics={"loss": metrics["eval_loss"]}))

    careful = TunerConfig("failures", direction="maximize", max_trials=8, early_stopping=early_stopping)
    tuner = HyperparameterTuner.with_random_search(careful, search_space)

    # ------------------------------------------------------------ Error Handling and Debugging: Debugging Tips
    tuner.remove_callback(LoggingCallback)  # every tuner begins with one, for detailed output
    result = tuner.optimize(objective)
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
