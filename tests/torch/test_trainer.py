"""The training loop: what it computes, reports and refuses."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import nn

import fasthpo
from fasthpo.errors import InvalidValue, TrialPruned, TrialStateError
from fasthpo.torch import Trainer, TrainingArguments
from fasthpo.torch.batches import Batches
from tests.support.torch_training import MODELS, FakeTrial, Pairs, accuracy, arguments, classes, mlp, same, weights

TRAIN, EVAL = classes(), classes(40, seed=1)
LOSS = nn.CrossEntropyLoss()


def trainer(model: Any = mlp, args: TrainingArguments | None = None, **others: Any) -> Trainer:
    return Trainer(model, args or arguments(), TRAIN, EVAL, others.pop("loss", LOSS), **others)


# --- what it computes


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_it_is_the_plain_loop(optimizer: str) -> None:
    """Bit by bit what a loop written by hand with torch's own optimizer comes to, in the same order of the data."""
    args = arguments(
        optimizer=optimizer, momentum=0.8, gradient_accumulation_steps=1, lr_scheduler_type="constant", warmup_ratio=0
    )
    trained = trainer(args=args)
    trained.train()
    torch.manual_seed(args.seed)
    model = mlp()
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimizer]
    options = {"momentum": 0.8} if optimizer == "sgd" else {}
    by_hand = kind(model.parameters(), lr=0.05, weight_decay=0.01, fused=True, **options)
    seen = []
    for epoch in range(3):
        for inputs, targets in Batches(TRAIN, 10, torch.device("cpu"), seed=args.seed).epoch(epoch):
            by_hand.zero_grad()
            LOSS(model(inputs), targets).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            by_hand.step()
            seen.append(inputs)
    assert same(weights(trained.model), weights(model))
    for epoch in range(3):  # each epoch has every sample once, in an order of its own
        rows = torch.cat(seen[8 * epoch : 8 * epoch + 8])
        assert torch.equal(rows.sort(0).values, TRAIN[0].sort(0).values)
    assert not torch.equal(seen[0], seen[8])


@pytest.mark.parametrize("batches", [2, 4, 100])
def test_accumulated_batches_are_one_large_batch(batches: int) -> None:
    """To rounding: the mean over all samples, though the last batch is smaller."""
    small = trainer(
        args=arguments(gradient_accumulation_steps=batches, per_device_train_batch_size=10, optimizer="sgd")
    )
    size = min(10 * batches, 76)
    large = trainer(args=arguments(gradient_accumulation_steps=1, per_device_train_batch_size=size, optimizer="sgd"))
    small.train(), large.train()
    assert small.step == large.step
    for a, b in zip(small.model.parameters(), large.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
def test_the_schedule_is_that_of_hugging_face(kind: str, ratio: float) -> None:
    args = arguments(lr_scheduler_type=kind, warmup_ratio=ratio, optimizer="sgd", gradient_accumulation_steps=1)
    rates = []

    class Recording(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            rates.append(self.param_groups[0]["lr"])

    model = mlp()
    trainer(model, args, optimizer=Recording(model.parameters(), lr=0.05)).train()
    steps = 3 * 8
    plain = torch.optim.SGD(model.parameters(), lr=0.05)
    name = "constant_with_warmup" if kind == "constant" else kind
    schedule = transformers.get_scheduler(name, plain, math.ceil(ratio * steps), steps)
    expected = []
    for _ in range(steps):
        expected.append(plain.param_groups[0]["lr"])
        plain.step(), schedule.step()
    assert rates == expected


@pytest.mark.parametrize("name", MODELS)
def test_the_seed_decides(name: str) -> None:
    runs = [trainer(MODELS[name], arguments(seed=seed)) for seed in (0, 0, 1)]
    results = [one.train() for one in runs]
    first, again, other = (weights(one.model) for one in runs)
    assert same(first, again) and results[0] == results[1]
    assert not same(first, other)


def test_random_states_are_given_back() -> None:
    torch.manual_seed(5), random.seed(5), np.random.seed(5)
    expected = torch.rand(3), random.random(), np.random.rand()
    torch.manual_seed(5), random.seed(5), np.random.seed(5)
    trainer(MODELS["mlp"]).train()
    assert torch.equal(torch.rand(3), expected[0]) and (random.random(), np.random.rand()) == expected[1:]


def test_evaluation() -> None:
    """Loss and metrics are those of all outputs at once, in evaluation mode, and the model is in training mode after."""
    one = trainer(lambda: mlp(0.5), arguments(per_device_eval_batch_size=7), metrics={"accuracy": accuracy})
    one.model.train()
    measured = one.evaluate()
    assert one.model.training
    one.model.eval()
    with torch.no_grad():
        outputs = one.model(EVAL[0])
    assert measured == {
        "eval_loss": pytest.approx(LOSS(outputs, EVAL[1]).item(), rel=1e-6),
        "eval_accuracy": accuracy(outputs, EVAL[1]),
    }
    few = one.evaluate((EVAL[0][:5], EVAL[1][:5]))
    assert few["eval_accuracy"] == accuracy(outputs[:5], EVAL[1][:5])


def test_metrics_of_torchmetrics_and_plain_functions() -> None:
    from torchmetrics import MetricCollection
    from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

    def macro_f1(outputs: torch.Tensor, targets: torch.Tensor) -> float:
        found, scores = outputs.argmax(1), []
        for one in range(3):
            hits = ((found == one) & (targets == one)).sum().item()
            scores.append(2 * hits / max(1, (found == one).sum().item() + (targets == one).sum().item()))
        return sum(scores) / 3

    args = arguments(per_device_eval_batch_size=7)
    mixed = {"f1": MulticlassF1Score(3), "by_hand": macro_f1, "accuracy": accuracy}
    reached = trainer(args=args, metrics=mixed, objective_metric="eval_f1").train()
    assert reached["eval_f1"] == pytest.approx(reached["eval_by_hand"], rel=1e-6)
    collection = MetricCollection({"f1": MulticlassF1Score(3), "accuracy": MulticlassAccuracy(3, average="micro")})
    again = trainer(args=args, metrics=collection, objective_metric="eval_f1").train()
    assert again == {name: pytest.approx(reached[name], rel=1e-6) for name in ("eval_loss", "eval_f1", "eval_accuracy")}


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision(precision: str) -> None:
    """The model computes in the low precision, weights stay in the high one, and it learns about the same."""
    kinds = set()

    class Watched(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out = super().forward(x)
            kinds.add(out.dtype)
            return out

    def model() -> nn.Module:
        return nn.Sequential(Watched(8, 16), nn.ReLU(), Watched(16, 3))

    low = trainer(model, arguments(precision=precision))
    result = low.train()
    assert kinds == {torch.bfloat16 if precision == "bf16" else torch.float16}
    assert {one.dtype for one in low.model.parameters()} == {torch.float32}
    full = trainer(model).train()
    assert result != full
    assert result["eval_loss"] == pytest.approx(full["eval_loss"], rel=0.1)


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("workers", [0, 1])
def test_data_sets_train_as_tensors_do(named: bool, workers: int) -> None:
    class Named(nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return super().forward(input)

    def model() -> nn.Module:
        return Named(8, 3)

    tensors = trainer(model)
    args = arguments(dataloader_num_workers=workers, num_train_epochs=1 if workers else 3)
    data = Trainer(model, args, Pairs(*TRAIN, named), EVAL, LOSS)
    if workers:
        tensors = trainer(model, arguments(num_train_epochs=1))
    assert data.train() == tensors.train()
    assert same(weights(data.model), weights(tensors.model))
    wrapped = torch.utils.data.TensorDataset(*TRAIN)
    assert same(weights(data.model), weights(_trained(Trainer(model, args, wrapped, EVAL, LOSS)).model))


def _trained(one: Trainer) -> Trainer:
    one.train()
    return one


def test_several_inputs() -> None:
    data = (TRAIN[0][:, :4], TRAIN[0][:, 4:], TRAIN[1])

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 3)

        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return self.layer(torch.cat([a, b], 1))

    two, one = (
        Trainer(Two, arguments(), data, data, LOSS),
        Trainer(lambda: nn.Linear(8, 3), arguments(), TRAIN, TRAIN, LOSS),
    )
    assert two.train() == one.train()


def test_numpy_arrays_are_data_too() -> None:
    arrays = tuple(one.numpy() for one in TRAIN)
    assert Trainer(mlp, arguments(), arrays, EVAL, LOSS).train() == trainer().train()


@pytest.mark.parametrize(("fields", "steps"), [
    ({"num_train_epochs": 3}, 9), ({"num_train_epochs": 0.5}, 2), ({"max_steps": 4}, 4), ({"max_steps": 20}, 20),
    ({"gradient_accumulation_steps": 1, "num_train_epochs": 1}, 8),
    ({"gradient_accumulation_steps": 1, "num_train_epochs": 1, "dataloader_drop_last": True}, 7),
    ({"per_device_train_batch_size": 500, "num_train_epochs": 2, "dataloader_drop_last": True}, 2),
])  # fmt: skip
def test_how_long_it_trains(fields: dict, steps: int) -> None:
    one = trainer(args=arguments(**fields))
    one.train()
    assert one.step == steps


def test_without_evaluation() -> None:
    one = Trainer(mlp, arguments(do_eval=False), TRAIN, None, LOSS)
    assert one.train() == {} and one.history == []
    assert same(weights(one.model), weights(_trained(trainer()).model))
    with pytest.raises(InvalidValue, match="evaluate needs data"):
        one.evaluate()
    assert one.evaluate(EVAL)["eval_loss"] > 0


# --- what it tells its trial


def test_reports_by_epoch_and_by_step() -> None:
    trial = FakeTrial()
    one = trainer(trial=trial, metrics={"accuracy": accuracy}, objective_metric="eval_accuracy")
    reached = one.train()
    assert list(trial.reports) == [1, 2, 3]
    assert trial.reports[3] == reached["eval_accuracy"] == one.history[-1]["eval_accuracy"]
    trial = FakeTrial()
    trainer(args=arguments(eval_steps=4), trial=trial).train()
    assert list(trial.reports) == [4, 8, 9]  # and at the end


def test_pruning_ends_the_training() -> None:
    trial = FakeTrial(prune_at=2)
    one = trainer(trial=trial)
    with pytest.raises(TrialPruned, match=r"at step 2, with eval_loss=\d"):
        one.train()
    assert list(trial.reports) == [1, 2] and one.step == 6


def test_a_study_of_trainings() -> None:
    """Through the tuner: the median prunes what the others leave behind, and the mapping's metric is the objective."""
    config = fasthpo.TunerConfig(
        "s", direction="maximize", objective_metric="eval_accuracy", max_trials=12, seed=0,
        pruning=fasthpo.PruningConfig(min_steps=2, n_startup_trials=3), early_stopping=fasthpo.EarlyStoppingConfig(patience=3),
    )  # fmt: skip
    space = {"learning_rate": fasthpo.LogUniform(1e-6, 1.0), "batch_size": fasthpo.Discrete(8, 32, 8)}
    tuner = fasthpo.HyperparameterTuner.with_random_search(config, space)

    def objective(trial: fasthpo.Trial) -> dict[str, float]:
        args = fasthpo.torch.hyperparams_to_training_args(arguments(num_train_epochs=8), trial)
        return trainer(
            args=args, metrics={"accuracy": accuracy}, trial=trial, objective_metric="eval_accuracy", early_stopping=tuner.early_stopping()
        ).train()  # fmt: skip

    result = tuner.optimize(objective)
    assert result.statistics.failed_trials == 0
    assert result.statistics.pruned_trials > 0
    assert result.best_value > 0.6 and result.best_trial.metrics["eval_loss"] < 1


# --- early stopping


@pytest.mark.parametrize("name", MODELS)
def test_early_stopping_restores_the_best_weights(name: str) -> None:
    kept: list[dict[str, torch.Tensor]] = []

    class Spying(FakeTrial):
        def report(self, value: float, step: int) -> None:
            super().report(value, step)
            kept.append(weights(one.model))

    stopper = fasthpo.EarlyStopping(fasthpo.EarlyStoppingConfig(patience=3))
    trial = Spying()
    args = arguments(num_train_epochs=40, learning_rate=0.3, lr_scheduler_type="constant")
    one = trainer(MODELS[name], args, trial=trial, early_stopping=stopper)
    result = one.train()
    best = min(trial.reports, key=trial.reports.__getitem__)
    assert len(kept) == best + 3 < 40  # it stopped for lack of patience
    assert stopper.best_step == best
    assert same(weights(one.model), kept[best - 1]) and not same(weights(one.model), kept[-1])
    assert result["eval_loss"] == trial.reports[best] == one.evaluate()["eval_loss"]


def test_early_stopping_may_leave_the_last_weights() -> None:
    stopper = fasthpo.EarlyStopping(fasthpo.EarlyStoppingConfig(patience=2, restore_best_weights=False))
    args = arguments(num_train_epochs=40, learning_rate=0.3, lr_scheduler_type="constant")
    one = trainer(args=args, early_stopping=stopper)
    result = one.train()
    assert result == {name: value for name, value in one.history[-1].items() if name != "step"} == one.evaluate()


# --- what it refuses


@pytest.mark.parametrize(("change", "message"), [
    ({"model": 3}, "model must be a torch.nn.Module, or a function that makes one, got 3"),
    ({"model": lambda: 3}, "model must be a torch.nn.Module, or a function that makes one, got 3"),
    ({"args": {"seed": 0}}, "args must be a fasthpo.torch.TrainingArguments"),
    ({"train_data": (TRAIN[0], TRAIN[1][:5])}, r"train_data must be inputs and targets of the same length, got lengths \[76, 5\]"),
    ({"train_data": (TRAIN[0],)}, "train_data must be inputs and targets"),
    ({"train_data": (TRAIN[0][:0], TRAIN[1][:0])}, "train_data must not be empty"),
    ({"train_data": iter([1])}, "train_data must be .* or a data set with __len__ and __getitem__, got list_iterator"),
    ({"train_data": torch.utils.data.DataLoader(Pairs(*TRAIN, False))}, "train_data must be a data set, got a DataLoader; give its .dataset"),
    ({"eval_data": None}, "eval_data must not be None, unless args.do_eval is False"),
    ({"loss": 3}, "loss must be a function of outputs and targets, got 3"),
    ({"metrics": accuracy}, "metrics must be a mapping of names to metrics"),
    ({"metrics": {"accuracy": 0.5}}, "metrics must map names to functions or metrics, got 'accuracy': 0.5"),
    ({"metrics": {"loss": accuracy}}, 'no metric may be named "loss"'),
    ({"objective_metric": "accuracy"}, r"objective_metric must be one of \['eval_loss'\], got objective_metric='accuracy'"),
    ({"early_stopping": fasthpo.EarlyStoppingConfig()}, "early_stopping must be an EarlyStopping, got EarlyStoppingConfig"),
    ({"args": arguments(save_steps=1)}, "save_steps needs an output_dir, or a trial with a checkpoint_dir"),
    ({"train_data": {"input": TRAIN[0], "labels": TRAIN[1]}}, r"train_data must be .* got a mapping of columns, \['input', 'labels'\]"),
    ({"model": torch.nn.Linear}, "model must be made by calling it without arguments: .*in_features"),
    ({"model": torch.nn.Flatten()}, "model has no parameter that requires a gradient"),
    ({"args": arguments(device="abacus")}, "device must be one that torch has here, got device='abacus'"),
    ({"args": arguments(device="cuda:99")}, "device must be one that torch has here, got device='cuda:99'"),
    ({"args": arguments(do_eval=False), "early_stopping": fasthpo.EarlyStopping()}, "early_stopping watches evaluations"),
    ({"optimizer": torch.optim.SGD(mlp().parameters(), lr=1)}, "optimizer must be made of this model's parameters"),
    ({"optimizer": "sgd"}, "optimizer must be a torch.optim.Optimizer, got 'sgd'"),
    ({"trial": FakeTrial(resource=4)}, "trial.resource must not be beyond the epochs .*, got 4 of 3 epochs: set num_train_epochs"),
])  # fmt: skip
def test_bad_input(change: dict, message: str) -> None:
    given = {"model": mlp, "args": arguments(), "train_data": TRAIN, "eval_data": EVAL, "loss": LOSS, **change}
    with pytest.raises(InvalidValue, match=message):
        Trainer(**given)


def test_what_shows_only_while_training() -> None:
    with pytest.raises(InvalidValue, match="metric 'shares' must be a number"):
        trainer(metrics={"shares": lambda outputs, targets: outputs.mean(0)}).train()
    with pytest.raises(InvalidValue, match=r"a batch must be .* got a mapping of \[\'input\'\]"):
        Trainer(mlp, arguments(), [{"input": TRAIN[0][0]}], EVAL, LOSS).train()
    one = trainer()
    one.train()
    with pytest.raises(TrialStateError, match="train was called before"):
        one.train()
    used = fasthpo.EarlyStopping()
    used.update(1.0)
    with pytest.raises(InvalidValue, match="early_stopping must be new"):
        trainer(early_stopping=used)


def test_a_trial_of_several_objectives_is_trained_without_reports() -> None:
    """A training watches one value only; all else is as with one objective."""
    study = fasthpo.Study(
        {"learning_rate": fasthpo.LogUniform(1e-4, 1e-1)},
        fasthpo.RandomSampler(seed=0),
        directions=["minimize", "minimize"],
    )
    trial = study.ask()
    metrics = trainer(args=arguments(save_steps=10), trial=trial).train()
    study.tell(trial, [metrics["eval_loss"], 1.0])
    assert trial.reports == {} and study.best_trials[0].number == 0
    assert metrics == trainer().train()
