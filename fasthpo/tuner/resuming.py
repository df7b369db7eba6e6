"""Taking up a saved study in the place of a new one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fasthpo import samplers, strategies
from fasthpo.errors import CorruptCheckpoint, InvalidSearchSpace
from fasthpo.storage.directory import STUDY_FILES, exists, holds_study
from fasthpo.strategies.base import Strategy
from fasthpo.study.study import Study
from fasthpo.system.log import logger


class Wanted(NamedTuple):
    """Whether a study goes on in the space of the new one.

    Attributes:
        widens: it does, if that holds every trial.
        changes: it does, whatever that holds.
        defaults: as of `Study.load`.
    """

    widens: bool = False
    changes: bool = False
    defaults: Mapping[str, Any] | None = None


def resumed(new: Study, path: Path, seed: int | None, wanted: Wanted) -> Study:
    """The study saved at `path`, going on as `new` would.

    The saved sampler goes on, with its seed and options, if it is of the same kind as that of `new`; else that of `new`
    takes over. The pruner is that of `new`.

    Args:
        new: a study without trials, as it was configured now.
        path: a checkpoint file, or a study's directory.
        seed: the seed that was configured now, None if none was.
        wanted: whether to go on in the space of `new`.

    Raises:
        FileNotFoundError: there is no study.
        CorruptCheckpoint: the file is damaged, or its search space or direction is another.
        InvalidSearchSpace: a trial does not lie in the space of `new`, which is to hold all, or lacks a parameter.
    """
    try:
        return _resumed(new, path, seed, wanted)
    except BaseException:
        new._state.take_up(
            new._state.history
        )  # a strategy of the user's own has followed the loaded study, which comes to nothing
        raise


def _resumed(new: Study, path: Path, seed: int | None, wanted: Wanted) -> Study:
    if path.is_dir() and holds_study(path):  # a file is read into memory; a directory would be opened for writing
        path = next(file for file in (path / name for name in STUDY_FILES) if exists(file))
    own_kind = type(new.sampler) not in samplers.builtin().values()
    multi_fidelity = new.strategy if new.strategy is not None and new.strategy.is_multi_fidelity else None
    own_strategy = multi_fidelity if type(multi_fidelity) not in strategies.builtin().values() else None
    space = new.space if (wanted.widens or wanted.changes) and not new.space.is_open else None
    own_sampler = new.sampler if own_kind else None
    parts: dict[str, Any] = {"pruner": new.pruner, "strategy": own_strategy}
    loaded = Study.load(path, sampler=own_sampler, space=space, defaults=wanted.defaults, **parts)
    if wanted.widens and not wanted.changes and loaded.outside.any():
        number = int(loaded.outside.argmax())
        raise InvalidSearchSpace(
            f"with widen=True the new search space must hold every trial of the study, but trial {number} is "
            f"{loaded.trials[number].params}; with change_space=True the study goes on without it and such as it: they "
            f"stay, and nothing is learnt from them. The new space is {new.space!r}"
        )
    differences = _differences(new, loaded)
    here, there = _shown(multi_fidelity), _shown(loaded.strategy)
    if here != there:
        differences.append(f"its strategy is {there}, this tuner's {here}")
    if differences:
        hint = ""
        if not _same_space(new, loaded):
            hint = (
                "; load_checkpoint(path, widen=True) goes on in this tuner's space, if that holds every trial, and "
                "load_checkpoint(path, change_space=True) in any case"
            )
        raise CorruptCheckpoint(f"{path} is of another study: {'; '.join(differences)}{hint}")
    if type(loaded.sampler) is not type(new.sampler):
        logger.info("%s goes on from where %s was", type(new.sampler).__name__, type(loaded.sampler).__name__)
        loaded = Study.load(path, sampler=new.sampler, space=space, defaults=wanted.defaults, **parts)
    elif seed not in (None, loaded.sampler.seed):
        logger.warning("the checkpoint's seed %d goes on, not %d", loaded.sampler.seed, seed)
    if new.pruner is None:
        loaded.pruner = None
    return loaded


def _same_space(new: Study, loaded: Study) -> bool:
    """Whether both search the same; spaces that are learnt are, however much is known of each."""
    return new.space == loaded.space or (new.space.is_open and loaded.space.is_open)


def _shown(strategy: Strategy | None) -> str:
    """A multi-fidelity strategy with its options; other strategies differ by their sampler only."""
    if strategy is None:
        return "one that trains each trial in full"
    options = ", ".join(f"{name}={value!r}" for name, value in strategy.options().items())
    return f"{type(strategy).__name__}({options})"


def _differences(new: Study, loaded: Study) -> list[str]:
    """In what the saved study differs from the new one, in words."""
    found = []
    if new.directions != loaded.directions:
        mine, theirs = (one[0] if len(one) == 1 else list(one) for one in (new.directions, loaded.directions))
        found.append(f"its direction is {theirs!r}, this tuner's {mine!r}")
    if new.space.is_open != loaded.space.is_open:
        kinds = ["learnt as it is met" if one.space.is_open else "declared" for one in (loaded, new)]
        found.append(f"its space is {kinds[0]}, this tuner's is {kinds[1]}")
    elif not _same_space(new, loaded):
        names = dict.fromkeys([*new.space, *loaded.space])
        for name in names:
            here, there = new.space.get(name), loaded.space.get(name)
            if here != there:
                found.append(f"its {name!r} is {there}, this tuner's {here}")
        if new.space.keys() == loaded.space.keys() and list(new.space) != list(loaded.space):
            found.append(f"its parameters are in the order {list(loaded.space)}, this tuner's {list(new.space)}")
    return found
