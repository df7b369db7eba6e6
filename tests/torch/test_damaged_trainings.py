"""A training's checkpoint that is damaged, forged or no file at all gives a named error, or the very state it had."""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import fasthpo
from fasthpo.errors import CorruptCheckpoint, FastHPOError, InvalidValue
from fasthpo.torch import Trainer
from fasthpo.torch.checkpoints import load_training, save_training
from tests.support.torch_training import FakeTrial, arguments, classes, mlp, same, weights

TRAIN, EVAL = classes(40), classes(20, seed=1)


def make(directory: Path, optimizer: str = "adamw", epochs: int = 2, **changed: Any) -> Trainer:
    """One that goes on from its checkpoint, if there is one, and is saved after so many epochs of two."""
    args = arguments(num_train_epochs=2, optimizer=optimizer, **changed)
    stopper = fasthpo.EarlyStopping(fasthpo.EarlyStoppingConfig(patience=9))
    trial = FakeTrial(epochs, directory)
    return Trainer(lambda: mlp(0.2), args, TRAIN, EVAL, nn.CrossEntropyLoss(), trial=trial, early_stopping=stopper)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("saved")
    make(directory, epochs=1).train()
    return directory / "training.pt"


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, Mapping):
        return isinstance(b, Mapping) and a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and bool(a == b)


# --- damage


def test_every_flipped_bit_is_noticed(saved: Path, tmp_path: Path) -> None:
    data, numbers, path = saved.read_bytes(), random.Random(0), tmp_path / "training.pt"
    ends = range(8 * (len(data) - 60), 8 * len(data))  # where the checksum is
    for bit in [numbers.randrange(8 * len(data)) for _ in range(300)] + list(ends):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(CorruptCheckpoint, match=r"training\.pt"):
            load_training(path)


def test_every_file_that_was_cut_or_went_on_is_noticed(saved: Path, tmp_path: Path) -> None:
    data, path = saved.read_bytes(), tmp_path / "training.pt"
    lengths = [*range(40), *range(40, len(data), len(data) // 50), *range(len(data) - 60, len(data))]
    for part in [data[:length] for length in lengths] + [data + b"\0", data + data]:
        path.write_bytes(part)
        with pytest.raises(CorruptCheckpoint, match=r"training\.pt"):
            load_training(path)


def test_a_checkpoint_is_an_archive_that_torch_reads(saved: Path) -> None:
    state = load_training(saved)
    assert equal(torch.load(saved, weights_only=True), state)
    assert equal(torch.load(saved, weights_only=True, mmap=True), state)


def test_small_pieces_are_checked_as_large_ones_are(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = load_training(saved)
    save = torch.save

    def in_pieces(value: Any, file: Any) -> None:
        save(value, whole := tmp_path / "whole")
        data, numbers, begin = whole.read_bytes(), random.Random(0), 0
        while begin < len(data):
            end = begin + numbers.choice([0, 1, 2, 3, 100])
            file.write(data[begin:end])
            begin = end

    monkeypatch.setattr(torch, "save", in_pieces)
    save_training(tmp_path / "training.pt", state)
    assert equal(load_training(tmp_path / "training.pt"), state)


@pytest.mark.parametrize("version", [1, 2])
def test_checkpoints_of_older_versions_still_load(version: int, tmp_path: Path) -> None:
    make(tmp_path, epochs=1).train()
    path = tmp_path / "training.pt"
    saved = path.read_bytes()
    expected = make(tmp_path)
    result = expected.train()
    path.write_bytes(saved)
    state = {**torch.load(path, weights_only=True), "fasthpo": version}
    if version == 1:
        del state["loss"]
    torch.save(state, path)  # without a checksum
    resumed = make(tmp_path)
    assert resumed.train() == result and same(weights(resumed.model), weights(expected.model))
    torch.save({**state, "fasthpo": 3}, path)
    with pytest.raises(CorruptCheckpoint, match="has no checksum"):
        load_training(path)


# --- no file of torch's


@pytest.mark.parametrize("what", ["directory", "empty", "pickle", "old format", "link to nothing readable"])
def test_what_is_no_checkpoint_is_refused(what: str, tmp_path: Path) -> None:
    path = tmp_path / "training.pt"
    if what == "directory":
        path.mkdir()
    elif what == "empty":
        path.touch()
    elif what == "pickle":
        path.write_bytes(pickle.dumps({"fasthpo": 2}))
    elif what == "old format":
        torch.save({"fasthpo": 2}, path, _use_new_zipfile_serialization=False)
    elif os.name == "posix":
        path.symlink_to("/dev/zero")
    else:
        pytest.skip("there are no devices among the files")
    with pytest.raises(CorruptCheckpoint, match=r"training\.pt"):
        make(tmp_path).train()


@pytest.mark.skipif(os.name != "posix", reason="there are no pipes among the files")
def test_a_pipe_in_its_place_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "training.pt")
    code = (
        "import sys, pathlib\nfrom fasthpo.torch.checkpoints import load_training\n"
        "try:\n    load_training(pathlib.Path(sys.argv[1]))\nexcept ValueError as error:\n    print(type(error).__name__)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "training.pt")]
    assert subprocess.run(command, timeout=60, capture_output=True, text=True).stdout.strip() == "CorruptCheckpoint"


# --- forged

_FORGED: list[Any] = [
    None, True, -1, 2**70, float("nan"), "x", [], {}, {"x": 1}, [1, 2], torch.zeros(0), torch.zeros(2, 3),
    torch.zeros((), dtype=torch.complex64), torch.zeros(3).to_sparse(),
]  # fmt: skip


def places(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a state, as the keys that lead there; of a long list the first and the last."""
    if before:
        yield before
    if isinstance(value, Mapping):
        for key in value:
            yield from places(value[key], (*before, key))
    elif isinstance(value, (list, tuple)):
        for i in sorted({*range(min(5, len(value))), *range(max(0, len(value) - 1), len(value))}):
            yield from places(value[i], (*before, i))


def changed(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    """A copy with something else in a place; without it if `new` is `changed`."""
    if not place:
        return new
    key, rest = place[0], place[1:]
    if isinstance(value, Mapping):
        copy = dict(value)
        copy[key] = changed(value[key], rest, new)
    else:
        copy = list(value)
        copy[key] = changed(value[key], rest, new)
    if new is changed and not rest:
        del copy[key]
    return tuple(copy) if isinstance(value, tuple) else copy


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_forged_entries_give_named_errors(optimizer: str, tmp_path: Path) -> None:
    make(tmp_path, optimizer, 1, momentum=0.9).train()
    path = tmp_path / "training.pt"
    state, numbers = torch.load(path, weights_only=True), random.Random(0)
    refused = 0
    for place in places(state):
        for new in [changed, numbers.choice(_FORGED)]:
            save_training(path, changed(state, place, new))
            try:
                make(tmp_path, optimizer, momentum=0.9).train()
            except (CorruptCheckpoint, InvalidValue) as error:
                assert str(path) in str(error), (place, new)
                refused += 1
    assert refused > 100


def test_a_position_in_numpys_state_that_lies_outside_is_refused(saved: Path, tmp_path: Path) -> None:
    """NumPy would read the memory there."""
    for position in (-1, 625, 10**9):
        save_training(tmp_path / "training.pt", changed(load_training(saved), ("random", "numpy", 2), position))
        with pytest.raises(CorruptCheckpoint, match="position"):
            make(tmp_path).train()


def test_weights_of_another_type_are_not_rounded_silently(saved: Path, tmp_path: Path) -> None:
    forged = changed(load_training(saved), ("model", "0.bias"), torch.zeros(16, dtype=torch.float64))
    save_training(tmp_path / "training.pt", forged)
    with pytest.raises(InvalidValue, match=r"0\.bias is of torch\.float64 there, of torch\.float32 here"):
        make(tmp_path).train()


def test_an_optimizer_of_ones_own_goes_on_with_its_kind_only(tmp_path: Path) -> None:
    def own(kind: Any) -> Trainer:
        model, args = mlp(), arguments(tmp_path, save_steps=3, num_train_epochs=2)
        return Trainer(model, args, TRAIN, EVAL, nn.CrossEntropyLoss(), optimizer=kind(model.parameters(), lr=0.05))

    own(torch.optim.SGD).train()
    own(torch.optim.SGD).train(resume=True)
    with pytest.raises(FastHPOError, match="holds the weights of another model: its optimizer has the options"):
        own(torch.optim.Adam).train(resume=True)


def test_an_objective_that_was_not_measured_is_said(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "training.pt").write_bytes(saved.read_bytes())
    args = arguments(tmp_path, save_steps=3, num_train_epochs=2)
    metrics = {"accuracy": lambda outputs, targets: 1.0}
    stopper = fasthpo.EarlyStopping()
    one = Trainer(
        lambda: mlp(0.2), args, TRAIN, EVAL, nn.CrossEntropyLoss(), metrics, objective_metric="eval_accuracy",
        early_stopping=stopper,
    )  # fmt: skip
    with pytest.raises(InvalidValue, match=r"holds a training without 'eval_accuracy', only with \['step', 'eval_loss"):
        one.train(resume=True)
