"""Many models at once come to what each would come to alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fasthpo
from fasthpo.errors import InvalidParameters, InvalidValue
from fasthpo.torch import Trainer, TrainingArguments, VectorizedTrainer, hyperparams_to_training_args
from tests.support.torch_training import Transformer, accuracy, arguments, classes, mlp

TRAIN, EVAL = classes(), classes(40, seed=1)
LOSS = nn.CrossEntropyLoss()
RATES = [
    {"learning_rate": 0.1, "weight_decay": 0.0, "momentum": 0.0},
    {"learning_rate": 0.02, "weight_decay": 0.1, "momentum": 0.9},
    {"learning_rate": 0.001, "weight_decay": 0.01, "momentum": 0.5},
    {"learning_rate": 0.0, "weight_decay": 0.3, "momentum": 0.0},
    {"learning_rate": 0.05, "weight_decay": 0.3, "momentum": 0.99},
]


def plain_arguments(**changed: Any) -> TrainingArguments:
    return arguments(**{"gradient_accumulation_steps": 1, **changed})


def many(model: Any = mlp, args: TrainingArguments | None = None, loss: Any = LOSS, **others: Any) -> VectorizedTrainer:
    return VectorizedTrainer(model, args or plain_arguments(), TRAIN, EVAL, loss, {"accuracy": accuracy}, **others)


def alone(model: Any, args: TrainingArguments, rates: Mapping[str, Any], loss: Any = LOSS) -> Trainer:
    own = hyperparams_to_training_args(args, rates)
    one = Trainer(model, own, TRAIN, EVAL, loss, {"accuracy": accuracy})
    one.train()
    return one


class Spy(dict):
    """A configuration that is told what a trial is told."""

    def __init__(self, params: Mapping[str, Any], prune_at: int | None = None) -> None:
        super().__init__(params)
        self.reports: dict[int, float] = {}
        self._prune_at = prune_at

    def report(self, value: float, step: int) -> None:
        assert step not in self.reports
        self.reports[step] = value

    def should_prune(self) -> bool:
        return self._prune_at is not None and max(self.reports) >= self._prune_at


def conv(bias: bool = False) -> nn.Module:
    """A bias before batch norm has no gradient but rounding errors, which Adam would blow up."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 4)),
        nn.Conv2d(1, 4, 3, padding=1, bias=bias), nn.BatchNorm2d(4), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip


def deep() -> nn.Module:
    """Layers over more than one dimension, a layer without bias, layer norm, a layer used twice, a frozen weight."""

    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.inner = nn.Linear(2, 6, bias=False), nn.Linear(6, 6)
            self.norm, self.head = nn.LayerNorm(6), nn.Linear(24, 3)
            self.head.bias.requires_grad_(False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.embed(x.unflatten(1, (4, 2)))
            x = self.norm(x + torch.tanh(self.inner(torch.tanh(self.inner(x)))))
            return self.head(x.flatten(1))

    return Deep()


# --- the same as one by one


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("model", [mlp, conv, deep])
def test_losses_are_those_of_one_by_one(model: Any, optimizer: str) -> None:
    """At every evaluation, to 1e-5; with schedule, warmup and clipping."""
    args = plain_arguments(optimizer=optimizer)
    spies = [Spy(rates) for rates in RATES]
    results = many(model, args).train(spies)
    for spy, result in zip(spies, results, strict=True):
        one = alone(model, args, dict(spy))
        expected = [entry["eval_loss"] for entry in one.history]
        assert list(spy.reports) == [1, 2, 3]
        assert list(spy.reports.values()) == pytest.approx(expected, rel=1e-5)
        assert result.value == spy.reports[3] and result.step == one.step == 24
        assert result.metrics["eval_accuracy"] == one.history[-1]["eval_accuracy"]
        assert result.state == fasthpo.TrialState.COMPLETE


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_no_clipping_and_steps_of_evaluation(optimizer: str) -> None:
    args = plain_arguments(
        optimizer=optimizer, max_grad_norm=None, max_steps=13, eval_steps=5, lr_scheduler_type="linear"
    )
    spies = [Spy(rates) for rates in RATES[:3]]
    many(mlp, args).train(spies)
    for spy in spies:
        one = alone(mlp, args, dict(spy))
        assert list(spy.reports) == [5, 10, 13]
        assert list(spy.reports.values()) == pytest.approx([entry["eval_loss"] for entry in one.history], rel=1e-5)


IGNORING = (TRAIN[0], TRAIN[1].where(TRAIN[1] != 2, -100))


@pytest.mark.parametrize(("loss", "train"), [
    (nn.functional.cross_entropy, TRAIN), (LOSS, IGNORING), (nn.CrossEntropyLoss(label_smoothing=0.2), TRAIN),
    (nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0])), TRAIN),
    (nn.MSELoss(), (TRAIN[0], nn.functional.one_hot(TRAIN[1]).float())), (LOSS, (TRAIN[0], nn.functional.one_hot(TRAIN[1]).float())),
])  # fmt: skip
def test_losses_of_other_kinds(loss: Any, train: Any) -> None:
    args = plain_arguments()
    results = VectorizedTrainer(mlp, args, train, train, loss).train(RATES)
    for rates, result in zip(RATES, results, strict=True):
        expected = Trainer(mlp, hyperparams_to_training_args(args, rates), train, train, loss).train()
        assert result.value == pytest.approx(expected["eval_loss"], rel=1e-5)


def test_a_transformer() -> None:
    """Attention, too, by operations that vmap knows: a fallback would warn, and warnings are errors here."""

    def model() -> nn.Module:
        made = Transformer()
        for one in made.modules():
            if isinstance(one, (nn.Dropout, nn.MultiheadAttention)):
                setattr(one, "dropout" if isinstance(one, nn.MultiheadAttention) else "p", 0.0)
        return made

    args = plain_arguments(optimizer="sgd")
    for rates, result in zip(RATES, many(model, args).train(RATES), strict=True):
        expected = alone(model, args, rates).history[-1]["eval_loss"]
        assert result.value == pytest.approx(expected, rel=1e-5)
    assert torch.backends.mha.get_fastpath_enabled()
    (result,) = many(Transformer, args).train([{}])  # with its own dropout, which does not vary
    assert result.value < 1.2


def test_dropout_in_distribution() -> None:
    """Rates differ within a stack; over 40 seeds the mean loss is that of one-by-one trainings with the same rate."""
    args = plain_arguments(optimizer="sgd", learning_rate=0.2, lr_scheduler_type="constant", warmup_ratio=0.0)
    rates = [0.0, 0.4, 0.8]

    def together(seed: int) -> list[float]:
        configurations = [{"dropout": rate, "seed": seed} for rate in rates]
        return [result.value for result in many(lambda: mlp(0.1), args).train(configurations)]

    def by_one(seed: int) -> list[float]:
        own = hyperparams_to_training_args(args, {"seed": seed})
        return [alone(lambda rate=rate: mlp(rate), own, {}).history[-1]["eval_loss"] for rate in rates]

    ours = np.array([together(seed) for seed in range(40)])
    theirs = np.array([by_one(seed) for seed in range(40)])
    assert ours[:, 0] == pytest.approx(theirs[:, 0], rel=1e-5)
    # the initial weights are the same, so that the differences are dropout's alone
    difference = ours - theirs
    error = difference.std(axis=0) / math.sqrt(len(difference))
    assert (error[1:] > 0).all()
    assert (np.abs(difference.mean(axis=0))[1:] < 3.5 * error[1:]).all()
    assert ours.std(axis=0)[1:] == pytest.approx(theirs.std(axis=0)[1:], rel=0.25)
    assert ours.mean(axis=0)[2] - ours.mean(axis=0)[1] > 10 * error.max()  # and the rates make a difference


def test_dropout_drops_at_its_rate() -> None:
    from fasthpo.torch.stacking import RateDropout

    x = torch.ones(100_000)
    for rate in (0.0, 0.25, 0.9, 1.0):
        module = RateDropout(rate)
        kept = module(x)
        assert set(kept.unique().tolist()) <= {
            0.0,
            float(np.float32(1) / (np.float32(1) - np.float32(rate))) if rate < 1 else 0.0,
        }
        assert (kept > 0).float().mean().item() == pytest.approx(1 - rate, abs=0.01)
        module.eval()
        assert module(x) is x


def test_each_model_draws_for_itself() -> None:
    """Two models that are alike in everything drop different units."""
    first, second = many(lambda: mlp(0.5)).train([{"learning_rate": 0.05}] * 2)
    assert first.value != second.value
    again, _ = many(lambda: mlp(0.5)).train([{"learning_rate": 0.05}] * 2)
    assert again.value == first.value  # the seed decides


# --- stacks


def test_configurations_of_any_kind_at_once() -> None:
    """Architecture, optimizer and batch size decide the stack; the results are in the order of the configurations."""

    def model(width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(8, width), nn.Tanh(), nn.Linear(width, 3))

    space = fasthpo.SearchSpace({
        "learning_rate": fasthpo.LogUniform(1e-3, 1e-1), "weight_decay": fasthpo.LogUniform(1e-5, 1e-1),
        "optimizer": fasthpo.Categorical(["adamw", "sgd"]), "momentum": fasthpo.Continuous(0, 0.9, when={"optimizer": ["sgd"]}),
        "batch_size": fasthpo.Categorical([10, 20]), "width": fasthpo.Discrete(2, 6, 2),
    })  # fmt: skip
    study = fasthpo.Study(space, sampler=fasthpo.RandomSampler(seed=0))
    batch = study.ask_batch(30)
    results = many(model, stack_size=4).train(batch[i] for i in range(30))
    for i, result in enumerate(results):
        params = batch[i]
        width = params.pop("width")
        expected = alone(lambda width=width: model(width), plain_arguments(), params).history[-1]
        assert result.metrics == {
            "eval_loss": pytest.approx(expected["eval_loss"], rel=1e-5),
            "eval_accuracy": expected["eval_accuracy"],
        }
    study.tell_batch(batch.numbers, [result.value for result in results])
    assert study.best_value == min(result.value for result in results)


def test_what_leaves_does_not_hurt_the_others() -> None:
    """Pruned and diverged models leave the stack; the others end as if they had never been there."""
    args = plain_arguments(optimizer="sgd", max_grad_norm=None)
    configurations = [
        Spy(RATES[0]), Spy(RATES[1], prune_at=2), Spy({**RATES[0], "learning_rate": 1e38}), Spy(RATES[2]),
        Spy(RATES[3], prune_at=1), Spy(RATES[4]),
    ]  # fmt: skip
    trainer = many(conv, args)
    sizes: list[int] = []
    inner = trainer._evaluate

    def watched(training: Any, *others: Any) -> None:
        sizes.append(len(training.stack))
        assert len(training.stack.weights) == len(training.stack)
        inner(training, *others)

    trainer._evaluate = watched  # type: ignore[method-assign]
    results = trainer.train(configurations)
    assert sizes == [6, 4, 3]
    assert [one.state.name for one in results] == ["COMPLETE", "PRUNED", "FAILED", "COMPLETE", "PRUNED", "COMPLETE"]
    assert [len(one.reports) for one in configurations] == [3, 2, 1, 3, 1, 3]
    assert math.isnan(results[2].value) and results[1].value == configurations[1].reports[2]
    assert [one.step for one in results] == [24, 16, 8, 24, 8, 24]
    for i in (0, 3, 5):
        expected = alone(conv, args, dict(configurations[i])).history[-1]["eval_loss"]
        assert results[i].value == pytest.approx(expected, rel=1e-5)


def test_an_accuracy_does_not_hide_that_the_weights_are_gone() -> None:
    args = plain_arguments(optimizer="sgd", max_grad_norm=None)
    (result,) = many(args=args, objective_metric="eval_accuracy").train([{"learning_rate": 1e38}])
    assert result.state == fasthpo.TrialState.FAILED and math.isnan(result.value)


def test_stacks_are_cut_to_memory() -> None:
    """The larger a model and its batches, the fewer are trained together; each size comes to the same."""

    def size(width: int, batch: int) -> int:
        def model() -> nn.Module:
            return nn.Sequential(nn.Linear(8, width), nn.Tanh(), nn.Linear(width, 3))

        args = plain_arguments(per_device_train_batch_size=batch)
        return many(model, args)._stack_size({}, args, False)

    assert size(16, 64) > 100 > size(4096, 64) > size(65536, 64) >= 1
    assert size(512, 10) > size(512, 70)
    rates = [{"learning_rate": 0.01 * i} for i in range(1, 8)]
    values = [[one.value for one in many(stack_size=k).train(rates)] for k in (1, 3, 7)]
    assert all(some == pytest.approx(values[0], rel=1e-5) for some in values)


def test_the_model_and_random_states_are_left_alone() -> None:
    model = mlp(0.3)
    before = [one.clone() for one in model.parameters()]
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    many(lambda: model).train([{"dropout": 0.5}])
    assert torch.equal(torch.rand(1), expected)
    assert all(map(torch.equal, before, model.parameters()))
    assert [type(one) for one in model] == [nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    assert model[2].p == 0.3


# --- a study


def test_a_study_in_few_lines() -> None:
    space = {
        "learning_rate": fasthpo.LogUniform(1e-6, 10.0),
        "momentum": fasthpo.Continuous(0.0, 0.99),
        "dropout": fasthpo.Continuous(0.0, 0.9),
    }
    study = fasthpo.Study(
        space, sampler=fasthpo.TPESampler(seed=0), pruner=fasthpo.MedianPruner(), direction="maximize"
    )
    trainer = many(
        lambda: mlp(0.1), plain_arguments(optimizer="sgd", num_train_epochs=4), objective_metric="eval_accuracy"
    )
    trainer.tune(study, n_trials=120, ask=40)
    assert len(study) == 120
    counts = study.table.counts
    assert counts[fasthpo.TrialState.PRUNED] > 10 and counts[fasthpo.TrialState.COMPLETE] > 20
    assert sum(counts[state] for state in fasthpo.TrialState if state.is_finished) == 120
    best = study.best_trial
    assert best.value > 0.7
    assert best.reports[4] == best.value == best.metrics["eval_accuracy"] and best.metrics["eval_loss"] > 0
    pruned = next(trial for trial in study.trials if trial.state == fasthpo.TrialState.PRUNED)
    assert pruned.value == list(pruned.reports.values())[-1]


def test_a_diverged_trial_fails_and_a_used_up_space_ends() -> None:
    space = {"learning_rate": fasthpo.Categorical([1e38, 0.01, 0.1])}
    study = fasthpo.Study(space, sampler=fasthpo.GridSampler())
    many(args=plain_arguments(optimizer="sgd", max_grad_norm=None)).tune(study, n_trials=10, ask=2)
    assert [trial.state.name for trial in study.trials] == ["FAILED", "COMPLETE", "COMPLETE"]
    assert study.trials[0].error == "diverged by step 8"


def test_an_error_ends_the_trials_that_were_asked_for() -> None:
    study = fasthpo.Study({"width": fasthpo.Discrete(1, 4)}, sampler=fasthpo.GridSampler())
    with pytest.raises(
        InvalidParameters, match=r"model can't be made with {'width': 1}: .* unexpected keyword argument"
    ):
        many(lambda: mlp()).tune(study, n_trials=4, ask=2)
    assert [trial.state.name for trial in study.trials] == ["FAILED", "FAILED"]


# --- what it refuses


@pytest.mark.parametrize(("change", "message"), [
    ({"model": mlp()}, "model must be a function that makes a torch.nn.Module"),
    ({"args": None}, "args must be a fasthpo.torch.TrainingArguments"),
    ({"loss": 3}, "loss must be a function"),
    ({"args": plain_arguments(precision="bf16")}, "VectorizedTrainer needs precision='fp32', got precision='bf16'"),
    ({"args": arguments()}, "VectorizedTrainer needs gradient_accumulation_steps=1, got gradient_accumulation_steps=3"),
    ({"args": plain_arguments(output_dir="out", save_steps=5)}, "VectorizedTrainer needs save_steps=None, got save_steps=5"),
    ({"args": plain_arguments(do_eval=False)}, "VectorizedTrainer needs do_eval=True, got do_eval=False"),
    ({"objective_metric": "f1"}, r"objective_metric must be one of \['eval_loss'\]"),
    ({"stack_size": 0}, "stack_size must be an integer of at least 1, got stack_size=0"),
])  # fmt: skip
def test_bad_arguments(change: dict, message: str) -> None:
    given = {"model": mlp, "args": plain_arguments(), "train_data": TRAIN, "eval_data": EVAL, "loss": LOSS, **change}
    with pytest.raises(InvalidValue, match=message):
        VectorizedTrainer(**given)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.LSTM(1, 3, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.cells(x[..., None])[0][:, -1]


class OfHyperband(dict):
    resource = 3


@pytest.mark.parametrize(("model", "configuration", "error", "message"), [
    (mlp, 3, InvalidParameters, "a configuration must be a trial or a mapping"),
    (mlp, OfHyperband(), InvalidValue, "can't follow a multi-fidelity strategy"),
    (mlp, {"learning_rate": -1}, InvalidValue, "learning_rate must be finite and at least 0"),
    (mlp, {"precision": "bf16"}, InvalidValue, "VectorizedTrainer needs precision='fp32'"),
    (lambda: nn.Linear(8, 3), {"dropout": 0.5}, InvalidValue, '"dropout" is given, but the model has no nn.Dropout'),
    (lambda: mlp(0.1), {"dropout": 1.5}, InvalidParameters, "dropout must lie between 0 and 1, got dropout=1.5"),
    (Transformer, {"dropout": 0.5}, InvalidValue, '"dropout" can only vary in nn.Dropout, but the model has MultiheadAttention as'),
    (lambda: nn.Sequential(nn.Dropout1d(0.2), nn.Linear(8, 3)), {"dropout": 0.5}, InvalidValue, "the model has Dropout1d as '0'"),
    (lambda: nn.Flatten(), {}, InvalidValue, "model has no parameter that requires a gradient"),
    (Recurrent, {}, InvalidValue, "model must do only what torch.vmap can do .*; train it with Trainer: .*lstm"),
    (lambda: 3, {}, InvalidValue, "model must make a torch.nn.Module, got 3"),
])  # fmt: skip
def test_bad_configurations(model: Any, configuration: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        many(model).train([configuration])


def test_a_multi_fidelity_study_is_refused_before_it_is_asked() -> None:
    study = fasthpo.Study({"learning_rate": fasthpo.LogUniform(1e-3, 1.0)}, strategy=fasthpo.ASHA(max_resource=9))
    with pytest.raises(InvalidValue, match="can't follow a multi-fidelity strategy"):
        many().tune(study, n_trials=4)
    assert len(study) == 0


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    args = plain_arguments(device="cuda", optimizer="adamw")
    values = [one.value for one in many(mlp, args).train(RATES)]
    expected = [one.value for one in many(mlp, plain_arguments(optimizer="adamw")).train(RATES)]
    assert values == pytest.approx(expected, rel=1e-3)


def test_a_study_of_several_objectives_is_refused() -> None:
    study = fasthpo.Study(
        {"learning_rate": fasthpo.LogUniform(1e-4, 1e-1)}, fasthpo.RandomSampler(0), directions=["minimize", "maximize"]
    )
    with pytest.raises(InvalidValue, match="VectorizedTrainer tells one value, 'eval_loss', but the study has 2 objec"):
        many().tune(study, n_trials=2)
    assert len(study) == 0
