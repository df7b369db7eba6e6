"""Training and evaluation data in batches: their order depends on the seed and the epoch only.

So a training can go on in the middle of an epoch without reading what it has seen already.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset
from torch.utils.data._utils.collate import collate, default_collate_fn_map

from fasthpo.errors import InvalidValue
from fasthpo.torch.nested import mapped, parts_of, rebuilt, tensors
from fasthpo.torch.randomness import kept_random_state

Collate: TypeAlias = Callable[[list[Any]], Any]

LABELS = "labels"  # the targets' name in a batch that is a mapping
_FEW = 32  # samples that are looked at before the training


# --- what is data


def as_dataset(name: str, data: Any) -> Any:
    """`data` as a data set: a tuple of columns becomes one of tensors, a map-style data set stays as it is.

    A column is a tensor, an array, a list of numbers, or a mapping, tuple or dataclass of such.

    Raises:
        InvalidValue: it is neither, or it is empty, or its columns differ in length.
    """
    if isinstance(data, DataLoader):
        raise InvalidValue(
            f"{name} must be a data set, got a DataLoader; give its .dataset, and its collate_fn as collate_fn=...: "
            "the arguments say the batch size, and the trainer the order"
        )
    if isinstance(data, Mapping):
        raise InvalidValue(
            f"{name} must be (inputs, targets) or a data set of samples, got a mapping of columns, {list(data)}; "
            "datasets.Dataset.from_dict makes a data set of it"
        )
    _refuse_frame(name, data)
    if type(data) is TensorDataset:  # one of a class derived from it may do more than its tensors say
        data = data.tensors
    if isinstance(data, tuple) or (isinstance(data, list) and data and all(map(_is_array, data))):
        return _columns(name, tuple(data))
    indexed = hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, IterableDataset)
    if not indexed or _is_array(data) or isinstance(data, (str, bytes, type)):
        raise InvalidValue(
            f"{name} must be (inputs, targets) or a data set with __len__ and __getitem__, got {type(data).__name__}; "
            "of what can only be iterated over, list(...) makes a data set, or a torch.utils.data.Dataset that reads "
            "sample i: then a training can be resumed anywhere, and its order depends on the seed only"
        )
    if len(data) == 0:
        raise InvalidValue(f"{name} must not be empty")
    return data


def check_collate_fn(collate_fn: Any, *data: Any) -> Collate | None:
    """The function itself.

    Args:
        collate_fn: what may be given.
        data: what `as_dataset` returned, or None.

    Raises:
        InvalidValue: it can't be called, or there are no samples to put together.
    """
    if collate_fn is not None and not callable(collate_fn):
        raise InvalidValue(f"collate_fn must be None or a function of a list of samples, got {collate_fn!r}")
    if collate_fn is not None and all(one is None or isinstance(one, tuple) for one in data):
        raise InvalidValue("collate_fn puts samples together, but the data are tensors: give a list of samples")
    return collate_fn  # type: ignore[no-any-return]


def _is_array(data: Any) -> bool:
    return isinstance(data, (torch.Tensor, np.ndarray))


def _refuse_frame(name: str, data: Any) -> None:
    """Refuse a table of whatever library: its columns differ in type, and none is the targets."""
    if not isinstance(data, Dataset) and (hasattr(data, "to_numpy") or hasattr(data, "__dataframe__")):
        raise InvalidValue(
            f"{name} must be tensors or arrays (*inputs, targets), or a data set, got a {type(data).__name__}; make "
            "tensors of its columns, such as torch.tensor(frame[names].to_numpy(), dtype=torch.float32)"
        )


def _columns(name: str, data: tuple[Any, ...]) -> tuple[Any, ...]:
    columns = tuple(_column(name, one) for one in data)
    lengths = [len(one) if one.ndim else 0 for one in tensors(columns)]
    if len(columns) < 2 or len(set(lengths)) != 1:
        raise InvalidValue(
            f"{name} must be inputs and targets of the same length, got lengths {lengths}; "
            "samples that are pairs must stand in a list, not in a tuple"
        )
    if lengths[0] == 0:
        raise InvalidValue(f"{name} must not be empty")
    return columns


def _column(name: str, column: Any) -> Any:
    """A column's tensors."""
    _refuse_frame(name, column)
    try:
        if _is_array(column):
            return torch.as_tensor(column)
        if isinstance(column, list):
            if any(map(_is_array, column)):
                return torch.stack([torch.as_tensor(one) for one in column])
            return _of_numbers(column)
    except (TypeError, ValueError, RuntimeError) as error:  # text, or rows that differ in length
        raise InvalidValue(
            f"{name} must be tensors, or arrays and lists of numbers that tensors can be made of: {error}; where "
            "samples differ in size, give a list of samples (*inputs, target), and collate_fn"
        ) from None
    parts = parts_of(column)
    if parts is None:
        raise InvalidValue(
            f"{name} must be tensors, arrays, lists of numbers, or mappings and tuples of such, got a "
            f"{type(column).__name__} among them"
        )
    return rebuilt(column, {key: _column(name, part) for key, part in parts.items()})


def _of_numbers(numbers: list[Any]) -> torch.Tensor:
    """Numbers, or lists of them, as a tensor; fractions of torch's default type, as the weights of a model are.

    Raises:
        TypeError, ValueError: the lists differ in length (which torch overlooks if the first is empty), or hold others.
    """
    made = torch.from_numpy(np.array(numbers))
    return made.to(torch.get_default_dtype()) if made.is_floating_point() else made


# --- from samples to batches


def _floats(numbers: list[float], *, collate_fn_map: Any = None) -> torch.Tensor:
    return _of_numbers(numbers)  # where torch makes float64 of them


def _numeric(one: Any) -> bool:
    return all(map(_numeric, one)) if isinstance(one, list) else isinstance(one, (int, float))


def _lists(lists: list[list[Any]], *, collate_fn_map: Any) -> Any:
    if _numeric(lists[0]):  # torch would make a tensor of each place in them
        return _of_numbers(lists)
    return collate(lists, collate_fn_map={kind: one for kind, one in collate_fn_map.items() if kind is not list})


_COLLATE_MAP = {**default_collate_fn_map, float: _floats, list: _lists}


def default_collate(samples: list[Any]) -> Any:
    """torch's `default_collate`, but numbers become tensors of the default type, and so do lists of them.

    Raises:
        InvalidValue: the samples don't fit together, or hold what no tensor can be made of.
    """
    try:
        return collate(samples, collate_fn_map=_COLLATE_MAP)
    except (TypeError, ValueError, RuntimeError, KeyError) as error:
        raise InvalidValue(
            "samples must be alike, of tensors of the same shapes, arrays, numbers, or tuples and mappings of such, so "
            f"that a batch can be made of them; else give collate_fn, which makes one of a list of samples: {error}"
        ) from error


class _Batch:
    """A batch on its way; torch's loader asks it to pin its memory, where it would treat some structures wrongly."""

    def __init__(self, content: Any) -> None:
        self.content = content

    def pin_memory(self) -> _Batch:
        return _Batch(mapped(lambda one: one.pin_memory(), self.content, "pin_memory"))


class _Job(NamedTuple):
    """A batch to load."""

    rows: list[int]
    seed: list[int] | None  # of the random numbers that its samples draw; None: they go on from where they are


class _Loading:
    """Loads batches; a data set of batches, so that a worker process knows which one it loads.

    A worker's generators are seeded anew for each: what a batch draws depends on the seed, the epoch and its place in
    it, not on which worker loads it after which others. So a training that goes on in the middle of an epoch has what
    an uninterrupted one would have.
    """

    def __init__(self, data: Any, collate_fn: Collate) -> None:
        self._data, self._collate = data, collate_fn

    def __getitem__(self, job: _Job) -> _Batch:
        if job.seed is not None:
            numbers = np.random.SeedSequence(job.seed).generate_state(4, np.uint64)
            random.seed(int(numbers[0]))
            np.random.seed(numbers[1:3].astype(np.uint32))
            torch.manual_seed(int(numbers[3]))
        several = getattr(self._data, "__getitems__", None)
        samples = several(job.rows) if several else [self._data[row] for row in job.rows]
        return _Batch(self._collate(samples))


def _as_is(batch: _Batch) -> _Batch:
    return batch


class Batches:
    """A data set cut into batches.

    Args:
        data: what `as_dataset` returned.
        size: samples of a batch.
        device: where the batches go. Tensors are moved there once, as a whole.
        seed: of the order; None: the data's own order.
        drop_last: leave out the last batch if it is smaller.
        workers: processes that load a data set (not tensors).
        collate_fn: makes a batch of a list of samples; None: `default_collate`.
    """

    def __init__(
        self,
        data: Any,
        size: int,
        device: torch.device,
        seed: int | None = None,
        drop_last: bool = False,
        workers: int = 0,
        collate_fn: Collate | None = None,
    ) -> None:
        self.device = device
        self._columns = isinstance(data, tuple)
        self.samples = len(next(tensors(data))) if self._columns else len(data)
        self._size, self._seed, self._workers = size, seed, workers
        self._kept = self.samples - self.samples % size if drop_last and self.samples > size else self.samples
        self._data = to_device(data, device) if self._columns else data
        self._collate = collate_fn or default_collate

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
        chosen = order[: self._kept].split(self._size)
        if self._columns:
            for rows in chosen[start:]:
                here = rows.to(self.device)
                yield mapped(lambda one: one[here], self._data)  # noqa: B023  (called at once)
            return
        seed = [self._seed or 0, epoch] if self._workers else None
        jobs = [_Job(rows.tolist(), None if seed is None else [*seed, i]) for i, rows in enumerate(chosen)]
        yield from self._load(jobs[start:], generator)

    def _load(self, jobs: Sequence[_Job], generator: torch.Generator) -> Iterator[Any]:
        loader = DataLoader(
            _Loading(self._data, self._collate),
            sampler=jobs,
            batch_size=None,
            collate_fn=_as_is,
            num_workers=min(self._workers, len(jobs)),
            pin_memory=self.device.type == "cuda",
            generator=generator,  # or the loader would draw from the global one, which belongs to the training
        )
        for batch in loader:
            yield to_device(batch.content, self.device)

    def check(self) -> None:
        """Load a few samples, so that what is wrong with all of them shows before a training has begun.

        Raises:
            InvalidValue: no batch can be made of them.
        """
        if self._columns:
            return
        rows = list(range(min(_FEW, self._size, self.samples)))
        with kept_random_state(self.device):
            for batch in self._load([_Job(rows, None)], torch.Generator()):
                split_batch(batch)


def to_device(batch: Any, device: torch.device) -> Any:
    """The batch with all of its tensors on the device."""

    def move(one: Any) -> Any:
        return one.to(device, non_blocking=True) if isinstance(one, torch.Tensor) else one.to(device)

    return mapped(move, batch, "to")


def split_batch(batch: Any) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
    """A batch's positional inputs, its inputs by name, and its targets.

    A batch is `(*inputs, targets)`, or a mapping or dataclass of inputs by name with the targets under "labels".

    Raises:
        InvalidValue: it is neither.
    """
    if isinstance(batch, (tuple, list)):
        if len(batch) > 1:
            return tuple(batch[:-1]), {}, batch[-1]
        found = f"{len(batch)} in a {type(batch).__name__}"
    else:
        named = parts_of(batch)
        if named is not None and LABELS in named:
            return (), {name: one for name, one in named.items() if name != LABELS}, named[LABELS]
        found = f"a {type(batch).__name__}" if named is None else f"a mapping of {sorted(named)}"
    raise InvalidValue(f'a batch must be (*inputs, targets) or a mapping with "{LABELS}", got {found}')
