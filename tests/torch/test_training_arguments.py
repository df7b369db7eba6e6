"""Training arguments, and how a trial's parameters get into them."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import transformers

import fasthpo
from fasthpo.errors import InvalidParameters, InvalidValue
from fasthpo.torch import TrainingArguments, hyperparams_to_training_args

BASE = TrainingArguments("./output", eval_steps=100, save_steps=500)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"learning_rate": -0.1}, "learning_rate must be finite and at least 0, got learning_rate=-0.1"),
        ({"learning_rate": float("nan")}, "learning_rate must be finite and at least 0, got learning_rate=nan"),
        ({"learning_rate": float("inf")}, "learning_rate must be finite and at least 0, got learning_rate=inf"),
        ({"learning_rate": "fast"}, "learning_rate must be a number, got 'fast'"),
        ({"learning_rate": None}, "learning_rate must be a number, got None"),
        ({"warmup_ratio": 1.5}, "warmup_ratio must be at least 0 and at most 1, got warmup_ratio=1.5"),
        ({"adam_beta1": 1.0}, "adam_beta1 must be at least 0 and less than 1, got adam_beta1=1"),
        ({"adam_epsilon": 0}, "adam_epsilon must be finite and greater than 0, got adam_epsilon=0"),
        ({"num_train_epochs": 0}, "num_train_epochs must be finite and greater than 0"),
        ({"max_grad_norm": 0.0}, "max_grad_norm must be finite and greater than 0"),
        ({"per_device_train_batch_size": 0}, "per_device_train_batch_size must be an integer of at least 1"),
        ({"per_device_train_batch_size": 2.5}, "per_device_train_batch_size must be an integer of at least 1, got .*2.5"),
        ({"gradient_accumulation_steps": True}, "gradient_accumulation_steps must be an integer"),
        ({"eval_steps": 0}, "eval_steps must be an integer of at least 1, got eval_steps=0"),
        ({"seed": -1}, "seed must be an integer of at least 0, got seed=-1"),
        ({"seed": 2**63}, r"seed must be at most 2\*\*63 - 1"),
        ({"optimizer": "lion"}, r"optimizer must be one of \['adamw', 'adam', 'sgd'\], got optimizer='lion'"),
        ({"lr_scheduler_type": "step"}, r"lr_scheduler_type must be one of \['constant', 'linear', 'cosine'\]"),
        ({"precision": "fp8"}, r"precision must be one of \['fp32', 'fp16', 'bf16'\], got precision='fp8'"),
        ({"do_eval": 1}, "do_eval must be True or False, got do_eval=1"),
        ({"device": 0}, 'device must be None or a string such as "cuda:0", got device=0'),
        ({"output_dir": ""}, "output_dir must be None or a directory's path, got output_dir=''"),
        ({"output_dir": 3}, "output_dir must be None or a directory's path, got output_dir=3"),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        TrainingArguments(**fields)


def test_arguments_are_normalised_and_frozen() -> None:
    args = TrainingArguments(
        "out", learning_rate=np.float32(0.5), per_device_train_batch_size=np.int64(16), num_train_epochs=2, seed=7.0
    )
    assert (type(args.learning_rate), type(args.per_device_train_batch_size)) == (float, int)
    assert (args.num_train_epochs, args.seed, args.output_dir) == (2.0, 7, Path("out"))
    assert TrainingArguments(**args.to_dict()) == args
    with pytest.raises(dataclasses.FrozenInstanceError):
        args.learning_rate = 1.0  # type: ignore[misc]


def test_importing_and_making_arguments_needs_no_torch() -> None:
    program = "import sys; from fasthpo.torch import TrainingArguments, hyperparams_to_training_args as h\nh(TrainingArguments(), {'seed': 1}); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True).stdout == "False\n"


def test_names_of_the_package() -> None:
    import fasthpo.torch as package

    assert {getattr(package, name).__name__ for name in package.__all__} == set(package.__all__) == set(dir(package))
    with pytest.raises(AttributeError, match=r"module 'fasthpo.torch' has no attribute 'Trianer'"):
        package.Trianer  # noqa: B018


def test_params_of_a_trial_become_arguments() -> None:
    space = (
        fasthpo.SearchSpaceBuilder()
        .log_uniform("learning_rate", 1e-5, 1e-2)
        .discrete("per_device_train_batch_size", 8, 32, 8)
        .continuous("weight_decay", 0.0, 0.1)
        .discrete("num_train_epochs", 3, 10, 1)
        .continuous("warmup_ratio", 0.0, 0.3)
        .build()
    )
    trial = fasthpo.Study(space, sampler=fasthpo.RandomSampler(seed=0)).ask()
    args = hyperparams_to_training_args(BASE, trial)
    assert {name: getattr(args, name) for name in trial} == trial.params
    assert (args.output_dir, args.eval_steps, args.save_steps) == (Path("output"), 100, 500)
    assert BASE.learning_rate == TrainingArguments().learning_rate  # the base is left alone


def test_short_names() -> None:
    args = hyperparams_to_training_args(BASE, {"batch_size": 64, "num_epochs": 5})
    assert (args.per_device_train_batch_size, args.num_train_epochs) == (64, 5.0)
    with pytest.raises(InvalidParameters, match="'per_device_train_batch_size' is given twice"):
        hyperparams_to_training_args(BASE, {"batch_size": 64, "per_device_train_batch_size": 32})


def test_unknown_names() -> None:
    with pytest.raises(InvalidParameters) as raised:
        hyperparams_to_training_args(BASE, {"learning_rat": 0.1})
    message = str(raised.value)
    assert message.startswith(
        "TrainingArguments has no argument 'learning_rat'; did you mean 'learning_rate'? To leave names out"
    )
    assert all(repr(name) in message for name in TrainingArguments.names())
    with pytest.raises(InvalidParameters, match=r"has no argument 'width'\. To leave .*pass strict=False\. It has \["):
        hyperparams_to_training_args(BASE, {"width": 3})
    args = hyperparams_to_training_args(BASE, {"width": 3, "learning_rate": 0.5}, strict=False)
    assert args == dataclasses.replace(BASE, learning_rate=0.5)


def test_bad_values_and_bases_are_refused() -> None:
    with pytest.raises(InvalidValue, match="learning_rate must be finite"):
        hyperparams_to_training_args(BASE, {"learning_rate": -1.0}, strict=False)
    with pytest.raises(InvalidValue, match="base must be an object with training arguments"):
        hyperparams_to_training_args({"learning_rate": 0.1}, {})
    with pytest.raises(InvalidValue, match="base must be an object with training arguments"):
        hyperparams_to_training_args(TrainingArguments, {})
    with pytest.raises(InvalidValue, match="params must be a trial or a mapping"):
        hyperparams_to_training_args(BASE, [("learning_rate", 0.1)])


def test_arguments_of_hugging_face(tmp_path: Path) -> None:
    base = transformers.TrainingArguments(str(tmp_path), use_cpu=True, eval_strategy="steps", eval_steps=50)
    args = hyperparams_to_training_args(base, {"learning_rate": 0.25, "batch_size": 4, "warmup_ratio": 0.1})
    assert type(args) is transformers.TrainingArguments
    assert (args.learning_rate, args.per_device_train_batch_size, args.eval_steps) == (0.25, 4, 50)
    assert args.get_warmup_steps(200) == 20
    assert base.learning_rate == 5e-5
    again = hyperparams_to_training_args(args, {"learning_rate": 0.5})
    assert (again.learning_rate, again.per_device_train_batch_size) == (0.5, 4)
    with pytest.raises(InvalidParameters, match=r"no argument 'dropout'.*'label_smoothing_factor'"):
        hyperparams_to_training_args(base, {"dropout": 0.1})
