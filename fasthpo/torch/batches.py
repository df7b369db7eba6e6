"""Training and evaluation data in batches: their order depends on the seed and the epoch only.

So a training can go on in the middle of an epoch without reading what it has seen already.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from fasthpo.errors import InvalidValue

LABELS = "labels"  # the targets' name in a batch that is a mapping


def as_dataset(name: str, data: Any) -> Any:
    """`data` as a data set: tensors or NumPy arrays become a tuple of tensors, a map-style data set stays as it is.

    Raises:
        InvalidValue: it is neither, or it is empty, or its parts differ in length.
    """
    if isinstance(data, DataLoader):
        raise InvalidValue(
            f"{name} must be a data set, got a DataLoader; give its .dataset: the arguments say the batch size, and "
            "the trainer the order"
        )
    if isinstance(data, Mapping):
        raise InvalidValue(
            f"{name} must be (inputs, targets) or a data set of samples, got a mapping of columns, {list(data)}; "
            "datasets.Dataset.from_dict makes a data set of it"
        )
    if isinstance(data, TensorDataset):
        data = data.tensors
    if isinstance(data, (tuple, list)) and data and all(isinstance(one, (torch.Tensor, np.ndarray)) for one in data):
        tensors = tuple(torch.as_tensor(one) for one in data)
        lengths = [len(one) if one.ndim else 0 for one in tensors]
        if len(tensors) < 2 or len(set(lengths)) != 1:
            raise InvalidValue(f"{name} must be inputs and targets of the same length, got lengths {lengths}")
        data = tensors
    elif isinstance(data, IterableDataset) or not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        raise InvalidValue(
            f"{name} must be (inputs, targets) or a data set with __len__ and __getitem__, got {type(data).__name__}"
        )
    if _length(data) == 0:
        raise InvalidValue(f"{name} must not be empty")
    return data


def _length(data: Any) -> int:
    return len(data[0]) if isinstance(data, tuple) else len(data)


class Batches:
    """A data set cut into batches.

    Args:
        data: what `as_dataset` returned.
        size: samples of a batch.
        device: where the batches go. Tensors are moved there once, as a whole.
        seed: of the order; None: the data's own order.
        drop_last: leave out the last batch if it is smaller.
        workers: processes that load a data set (not tensors).
    """

    def __init__(
        self,
        data: Dataset[Any] | tuple[torch.Tensor, ...],
        size: int,
        device: torch.device,
        seed: int | None = None,
        drop_last: bool = False,
        workers: int = 0,
    ) -> None:
        self.device = device
        self.samples = _length(data)
        self._size, self._seed, self._workers = size, seed, workers
        self._kept = self.samples - self.samples % size if drop_last and self.samples > size else self.samples
        self._data = tuple(one.to(device) for one in data) if isinstance(data, tuple) else data

    def __len__(self) -> int:
        """Batches of an epoch."""
        return math.ceil(self._kept / self._size)

    def sizes(self) -> list[int]:
        """Samples of each batch of an epoch."""
        return [min(self._size, self._kept - start) for start in range(0, self._kept, self._size)]

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """The batches of an epoch from number `start` on, on the device."""
        generator = torch.Generator()
        if self._seed is None:
            order = torch.arange(self.samples)
        else:
            # two numbers make one seed, so that epoch 1 of seed 0 is not epoch 0 of seed 1
            seeds = np.random.SeedSequence([self._seed, epoch]).generate_state(1, np.uint64)
            generator.manual_seed(int(seeds[0]))
            order = torch.randperm(self.samples, generator=generator)
        chosen = order[: self._kept].split(self._size)[start:]
        if isinstance(self._data, tuple):
            for rows in chosen:
                here = rows.to(self.device)
                yield tuple(one[here] for one in self._data)
            return
        loader = DataLoader(
            self._data,
            batch_sampler=[rows.tolist() for rows in chosen],
            num_workers=self._workers,
            pin_memory=self.device.type == "cuda",
            generator=generator,  # or the loader would draw from the global one, which belongs to the training
        )
        for batch in loader:
            yield to_device(batch, self.device)


def to_device(batch: Any, device: torch.device) -> Any:
    """The batch with all of its tensors on the device."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {name: to_device(one, device) for name, one in batch.items()}
    if isinstance(batch, Sequence) and not isinstance(batch, (str, bytes)):
        return tuple(to_device(one, device) for one in batch)
    return batch


def split_batch(batch: Any) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
    """A batch's positional inputs, its inputs by name, and its targets.

    A batch is `(*inputs, targets)`, or a mapping of inputs by name with the targets under "labels".

    Raises:
        InvalidValue: it is neither.
    """
    if isinstance(batch, Mapping) and LABELS in batch:
        return (), {name: one for name, one in batch.items() if name != LABELS}, batch[LABELS]
    if isinstance(batch, tuple) and len(batch) > 1:
        return batch[:-1], {}, batch[-1]
    found = f"a mapping of {sorted(batch)}" if isinstance(batch, Mapping) else f"a {type(batch).__name__}"
    raise InvalidValue(f'a batch must be (*inputs, targets) or a mapping with "{LABELS}", got {found}')
