"""Data of any structure: what a loss and a metric get, what samples weigh, and what is no data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from transformers import BatchEncoding
from transformers.utils import ModelOutput

from fasthpo.errors import InvalidValue
from fasthpo.torch import Trainer, TrainingArguments, VectorizedTrainer
from tests.support.torch_training import Pairs, mlp

# of a model whose output is 0: the mean of 0, 1, 4, ... 81 is 28.5; of the batches 0-7 and 8-9 the means are 17.5, 72.5
X, Y = torch.zeros(10, 1), torch.arange(10.0)[:, None]
ROWS = range(10)
MEAN = 28.5


class Zero(nn.Linear):
    def __init__(self) -> None:
        super().__init__(1, 1)
        nn.init.zeros_(self.weight), nn.init.zeros_(self.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)


class Named(NamedTuple):
    a: Any
    b: Any


@dataclass
class Fields:
    a: Any


@dataclass(frozen=True)
class Frozen:
    a: Any


@dataclass
class Output(ModelOutput):
    a: Any = None
    b: Any = None


@dataclass
class Batch:
    x: Any
    labels: Any


def arguments(**changed: Any) -> TrainingArguments:
    fields = {"learning_rate": 0.0, "num_train_epochs": 1, "per_device_eval_batch_size": 8, "device": "cpu"}
    return TrainingArguments(**{**fields, **changed})


def column(samples: list[Any], place: int) -> torch.Tensor:
    return torch.stack([one[place] for one in samples])


def by(structure: Any) -> Any:
    """A function that makes batches whose targets have the structure."""
    return lambda samples: (column(samples, 0), structure(column(samples, 1)))


class Table(torch.utils.data.Dataset):
    def __init__(self, samples: list[Any]) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, row: int) -> Any:
        return self._samples[row]

    def to_numpy(self) -> Any:
        return np.array([one[1].item() for one in self._samples])


def itself(targets: Any) -> Any:
    return targets


PAIRS = [(X[i], Y[i]) for i in ROWS]
STRUCTURES: dict[str, tuple[Any, Any, Any]] = {  # data, collate_fn, where the numbers are in the targets
    "tensors": ((X, Y), None, itself),
    "pairs": (PAIRS, None, itself),
    "dict": ([(X[i], {"a": Y[i]}) for i in ROWS], None, lambda t: t["a"]),
    "tuple": ([(X[i], (Y[i], Y[i])) for i in ROWS], None, lambda t: t[1]),
    "nested": ([(X[i], {"q": [{"a": Y[i]}]}) for i in ROWS], None, lambda t: t["q"][0]["a"]),
    "named tuple": ([(X[i], Named(Y[i], Y[i])) for i in ROWS], None, lambda t: t.b),
    "dataclass": (PAIRS, by(Fields), lambda t: t.a),
    "frozen dataclass": (PAIRS, by(Frozen), lambda t: t.a),
    "ModelOutput": (PAIRS, by(lambda y: Output(a=y)), lambda t: t.a),
    "BatchEncoding": (PAIRS, by(lambda y: BatchEncoding({"a": y})), lambda t: t.a),
    "a mapping with labels": ([{"x": X[i], "labels": {"a": Y[i]}} for i in ROWS], None, lambda t: t["a"]),
    "all a BatchEncoding": (PAIRS, lambda s: BatchEncoding({"x": column(s, 0), "labels": column(s, 1)}), itself),
    "all a dataclass": (PAIRS, lambda s: Batch(column(s, 0), column(s, 1)), itself),
    "columns in a dict": ((X, {"a": Y}), None, lambda t: t["a"]),
    "columns in a named tuple": ((X, Named(Y, Y.numpy())), None, lambda t: t.b),
    "columns in a dataclass": ((X, Fields(Y)), None, lambda t: t.a),
    "columns as lists": ((X.tolist(), Y.tolist()), None, itself),
    "columns as lists of arrays": ((list(X.numpy()), list(Y)), None, itself),
    "samples as lists": ([(X[i].tolist(), Y[i].tolist()) for i in ROWS], None, itself),
    "samples as numbers": ([([0.0], float(i)) for i in ROWS], None, lambda t: t[:, None]),
    "samples as lists of lists": ([([0.0], [[float(i)], [0.0]]) for i in ROWS], None, lambda t: t[:, 0]),
    "a data set with a method of tables": (Table(PAIRS), None, itself),
    "samples as arrays": ([(X[i].numpy(), Y[i].numpy()) for i in ROWS], None, itself),
}


@pytest.mark.parametrize("kind", [Trainer, VectorizedTrainer])
@pytest.mark.parametrize("name", STRUCTURES)
def test_samples_weigh_the_same_in_any_structure(name: str, kind: Any) -> None:
    """In the loss, and in a metric of all targets at once, though the last batch is smaller."""
    data, collate_fn, numbers = STRUCTURES[name]

    def loss(outputs: Any, targets: Any) -> torch.Tensor:
        return nn.functional.mse_loss(outputs, numbers(targets))

    def largest(outputs: Any, targets: Any) -> float:
        assert len(outputs) == len(numbers(targets)) == 10
        return numbers(targets).max().item()

    given = {} if collate_fn is None else {"collate_fn": collate_fn}
    made = kind(Zero, arguments(), data, data, loss, {"largest": largest}, **given)
    measured = made.train() if kind is Trainer else made.train([{}])[0].metrics
    assert measured == {"eval_loss": pytest.approx(MEAN), "eval_largest": 9.0}


def test_outputs_of_any_structure_for_metrics() -> None:
    class Wrapped(Zero):
        def forward(self, x: torch.Tensor) -> Any:
            return Output(a=super().forward(x))

    def error(outputs: Any, targets: Any) -> float:
        return nn.functional.mse_loss(outputs.a, targets).item()

    def loss(outputs: Any, targets: Any) -> torch.Tensor:
        return nn.functional.mse_loss(outputs["a"], targets)

    reached = Trainer(Wrapped, arguments(), (X, Y), (X, Y), loss, {"error": error}).train()
    assert reached == {"eval_loss": pytest.approx(MEAN), "eval_error": pytest.approx(MEAN)}


@pytest.mark.parametrize("structure", [
    lambda samples: [{"a": one[1]} for one in samples],  # one for each sample, as for boxes in images
    lambda samples: [one[1].repeat(2) for one in samples],
    lambda samples: {"a": column(samples, 1), "names": ["x"] * len(samples)},
])  # fmt: skip
def test_targets_that_are_no_columns_are_refused_for_plain_metrics(structure: Any) -> None:
    def collate_fn(samples: list[Any]) -> Any:
        return column(samples, 0), structure(samples)

    def loss(outputs: Any, targets: Any) -> torch.Tensor:
        return outputs.sum()

    args = arguments(per_device_eval_batch_size=5)  # all batches are alike
    Trainer(Zero, args, PAIRS, PAIRS, loss, collate_fn=collate_fn).train()
    with pytest.raises(InvalidValue, match="a metric that is a plain function needs all outputs and targets as one"):
        Trainer(Zero, args, PAIRS, PAIRS, loss, {"m": lambda o, t: 0.0}, collate_fn=collate_fn).train()


def test_samples_of_different_lengths_with_a_collate_fn() -> None:
    """They are padded; the results are those of the padded tensors."""
    texts = [(torch.ones(1 + i % 3), i % 2) for i in range(20)]

    def pad(samples: list[Any]) -> Any:
        x = nn.utils.rnn.pad_sequence([one[0] for one in samples], batch_first=True)
        return nn.functional.pad(x, (0, 8 - x.shape[1])), torch.tensor([one[1] for one in samples])

    args = arguments(learning_rate=0.1, num_train_epochs=2, per_device_train_batch_size=6)
    padded = pad(texts)
    loss = nn.CrossEntropyLoss()
    expected = Trainer(mlp, args, padded, padded, loss).train()
    assert Trainer(mlp, args, texts, texts, loss, collate_fn=pad).train() == expected
    (result,) = VectorizedTrainer(mlp, args, texts, texts, loss, collate_fn=pad).train([{}])
    assert result.metrics == pytest.approx(expected, rel=1e-5)


def test_packed_sequences_move_as_a_whole() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells = nn.RNN(1, 3)

        def forward(self, x: Any) -> torch.Tensor:
            return self.cells(x)[1][0]

    def collate_fn(samples: list[Any]) -> Any:
        packed = nn.utils.rnn.pack_sequence([one[0][:, None] for one in samples], enforce_sorted=False)
        return packed, torch.tensor([one[1] for one in samples])

    texts = [(torch.ones(1 + i % 3), i % 3) for i in range(20)]
    reached = Trainer(Recurrent, arguments(), texts, texts, nn.CrossEntropyLoss(), collate_fn=collate_fn).train()
    assert 0 < reached["eval_loss"] < 3


def test_a_tensor_data_set_that_does_more_than_its_tensors_say() -> None:
    class Shifted(TensorDataset):
        def __getitem__(self, row: int) -> Any:
            x, y = super().__getitem__(row)
            return x, y + 1

    reached = Trainer(Zero, arguments(), (X, Y), Shifted(X, Y), nn.MSELoss()).train()
    assert reached == {"eval_loss": pytest.approx(38.5)}  # the mean of 1, 4, ... 100


# --- what is refused, before anything is trained


class Endless(IterableDataset):
    def __iter__(self) -> Iterator[Any]:
        yield from PAIRS


def generator() -> Iterator[Any]:
    yield from PAIRS


FRAME = pd.DataFrame({"x": np.zeros(10), "y": np.arange(10.0)})
NO_LENGTH = (
    r"must be \(inputs, targets\) or a data set with __len__ and __getitem__, got .*list\(...\) makes a data set"
)
NOT_ALIKE = "samples must be alike, .*; else give collate_fn"


@pytest.mark.parametrize("place", ["train_data", "eval_data"])
@pytest.mark.parametrize(("data", "message"), [
    (Endless(), NO_LENGTH), (generator(), NO_LENGTH), (generator, NO_LENGTH), (zip(X, Y, strict=True), NO_LENGTH),
    (X, NO_LENGTH), (Y.numpy(), NO_LENGTH), ("mnist", NO_LENGTH), (TensorDataset, NO_LENGTH),
    (DataLoader(Pairs(X, Y, False)), "got a DataLoader; give its .dataset, and its collate_fn as collate_fn="),
    (FRAME, r"got a DataFrame; make tensors of its columns, such as torch.tensor\(frame\[names\].to_numpy\(\), dtype"),
    (FRAME["x"], "got a Series; make tensors of its columns"), ((FRAME[["x"]], FRAME["y"]), "got a DataFrame; make tensors"),
    ([], "must not be empty"), ((), "must be inputs and targets of the same length"),
    (tuple((X[i], i) for i in ROWS), "lists of numbers, or mappings and tuples of such, got a int among them"),
    (tuple((X[i], Y[i, 0]) for i in ROWS), "samples that are pairs must stand in a list, not in a tuple"),
    ((X, {"a": Y[:5]}), r"of the same length, got lengths \[10, 5\]"), ((X, None), "got a NoneType among them"),
    ((X, ["text"] * 10), "that tensors can be made of: .*give a list of samples"),
    (([[0.0] * i for i in ROWS], Y), "that tensors can be made of: .*give a list of samples"),
    ([(torch.zeros(i + 1), Y[i]) for i in ROWS], NOT_ALIKE), ([(X[i], object()) for i in ROWS], NOT_ALIKE),
    ([([0.0] * i, Y[i]) for i in ROWS], NOT_ALIKE),
    ([({"ab"[i % 2]: X[i]}, Y[i]) for i in ROWS], NOT_ALIKE), ([(X[i], Y[i])[:1 + i % 2] for i in ROWS], NOT_ALIKE),
    ([1.0] * 10, r"a batch must be \(\*inputs, targets\) or a mapping with \"labels\", got a Tensor"),
    ([{"x": X[i]} for i in ROWS], r"a batch must be .*, got a mapping of \['x'\]"),
])  # fmt: skip
@pytest.mark.parametrize("kind", [Trainer, VectorizedTrainer])
def test_what_is_no_data(kind: Any, data: Any, message: str, place: str) -> None:
    made: Any = None
    given = {"train_data": (X, Y), "eval_data": (X, Y), place: data}
    with pytest.raises(InvalidValue, match=message):
        made = kind(Zero, arguments(), **given, loss=nn.MSELoss())
        made.train() if kind is Trainer else made.train([{}])
    assert kind is VectorizedTrainer or made is None or made.step == 0
