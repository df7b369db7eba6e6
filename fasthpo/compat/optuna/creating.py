"""Making, finding and deleting studies by name."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fasthpo.compat.optuna.exceptions import DuplicatedStudyError
from fasthpo.compat.optuna.logging import get_logger
from fasthpo.compat.optuna.pruners import MedianPruner, own_pruner
from fasthpo.compat.optuna.samplers import own_sampler
from fasthpo.compat.optuna.storages.places import Storage, storage_of
from fasthpo.compat.optuna.study import Study, StudyDirection, StudySummary
from fasthpo.errors import InvalidValue
from fasthpo.samplers.base import Sampler
from fasthpo.study.study import Study as OwnStudy
from fasthpo.values import shown


def create_study(
    *,
    storage: Any = None,
    sampler: Any = None,
    pruner: Any = None,
    study_name: str | None = None,
    direction: str | StudyDirection | None = None,
    load_if_exists: bool = False,
    directions: Sequence[str | StudyDirection] | None = None,
) -> Study:
    """A new study.

    Args:
        storage: None: in memory; "sqlite:///name.db": in the directory name.db.fasthpo; a path; or one of
            `optuna.storages`.
        sampler: one of `optuna.samplers` or of fasthpo's; by default `AutoSampler`.
        pruner: one of `optuna.pruners` or of fasthpo's; by default the median pruner.
        study_name: None: one is made up.
        direction: "minimize" (as it is by default) or "maximize".
        load_if_exists: go on with a study of that name, if there is one; with its directions, as in Optuna.
        directions: of several objectives.

    Raises:
        DuplicatedStudyError: there is a study of that name.
        InvalidValue: an argument is not what it must be.
    """
    if direction is not None and directions is not None:
        raise InvalidValue("give direction or directions, not both")
    wanted = [_direction(one) for one in (directions or [direction or "minimize"])]
    place = storage_of(storage)
    name = f"no-name-{uuid.uuid4()}" if study_name is None else study_name
    if name in place.names():
        if not load_if_exists:
            raise DuplicatedStudyError(
                f"there is a study {name!r} in {place!r} already; load_if_exists=True goes on with it"
            )
        get_logger().info("Using an existing study with name '%s' instead of creating a new one.", name)
        known = load_study(study_name=name, storage=place, sampler=sampler, pruner=pruner)
        if (direction or directions) and wanted != list(known.own.directions):
            get_logger().warning("The study %r goes on with its directions %s", name, list(known.own.directions))
        return known
    if pruner is None and len(wanted) == 1:
        decides = own_pruner(MedianPruner())
    else:
        decides = None if pruner is None else own_pruner(pruner)
    own = OwnStudy(sampler=own_sampler(sampler), directions=wanted, pruner=decides, storage=place.place_of(name))
    if pruner is None:
        own._state.followers.pruner.has_shown = True  # nobody asked for one: an objective need not report
    place.keep(name, own)
    get_logger().info("A new study created in %s with name: %s", place.root or "memory", name)
    return Study(name, place, own, sampler, pruner)


def load_study(*, study_name: str | None, storage: Any, sampler: Any = None, pruner: Any = None) -> Study:
    """A study that was created before, to go on with.

    Args:
        study_name: None: the only one that there is.
        storage: as of `create_study`.
        sampler, pruner: to go on with; None: with the ones that it has.

    Raises:
        KeyError: there is no such study.
        InvalidValue: there are several, and none is named.
        StudyInUse: another process has it open.
    """
    place = storage_of(storage)
    names = place.names()
    if study_name is None:
        if len(names) != 1:
            raise InvalidValue(f"study_name may be None where there is one study only, and there are {shown(names)}")
        study_name = names[0]
    if study_name not in names:
        raise KeyError(f"there is no study {study_name!r} in {place!r}; there are {shown(names)}")
    own = place.opened(study_name)
    if own is None:
        path = place.place_of(study_name)
        assert path is not None
        own = _loaded(path, sampler)
        place.keep(study_name, own)
    elif sampler is not None and not _is_alike(own.sampler, own_sampler(sampler)):
        get_logger().warning(
            "The study %r is open in this program already, and its %r goes on", study_name, own.sampler
        )
    if pruner is not None:
        own.pruner = own_pruner(pruner)
    own._state.followers.pruner.has_shown = True
    return Study(study_name, place, own, sampler, pruner)


def _loaded(path: Path, sampler: Any) -> OwnStudy:
    """A study of a directory; with its own sampler and seed, if the one given is of its kind and has no seed."""
    if sampler is None:
        return OwnStudy.load(path)
    given = own_sampler(sampler)
    if sampler.seed is None:
        with OwnStudy.load(path, read_only=True, sampler=None) as known:
            if _is_alike(known.sampler, given):
                given = known.sampler
    return OwnStudy.load(path, sampler=given)


def _is_alike(sampler: Sampler, other: Sampler) -> bool:
    """Whether two samplers differ by their seeds at most."""
    options = [{**one.options(), "seed": None} for one in (sampler, other)]
    return type(sampler) is type(other) and options[0] == options[1]


def delete_study(*, study_name: str, storage: Any) -> None:
    """A study and all that is kept of it goes.

    Raises:
        KeyError: there is no such study.
    """
    place = storage_of(storage)
    if study_name not in place.names():
        raise KeyError(f"there is no study {study_name!r} in {place!r}")
    place.delete(study_name)


def get_all_study_names(storage: Any) -> list[str]:
    """The names of the studies of one place."""
    return storage_of(storage).names()


def get_all_study_summaries(storage: Any, include_best_trial: bool = True) -> list[StudySummary]:
    """What is known of all studies of one place."""
    place = storage_of(storage)
    return [StudySummary(_looked_at(place, name), include_best_trial) for name in place.names()]


def copy_study(*, from_study_name: str, from_storage: Any, to_storage: Any, to_study_name: str | None = None) -> None:
    """The trials and attributes of a study as a new one, there or elsewhere.

    Raises:
        KeyError: there is no such study.
        DuplicatedStudyError: there is one of the new name.
    """
    source = _looked_at(storage_of(from_storage), from_study_name)
    copy = create_study(
        study_name=to_study_name or from_study_name,
        storage=to_storage,
        directions=source.directions,
        sampler=source.sampler,
    )
    for key, value in source.user_attrs.items():
        copy.set_user_attr(key, value)
    for key, value in source.system_attrs.items():
        copy.set_system_attr(key, value)
    copy.add_trials(trial for trial in source.trials if trial.state.is_finished())


def _looked_at(place: Storage, name: str) -> Study:
    """A study to be read."""
    if name not in place.names():
        raise KeyError(f"there is no study {name!r} in {place!r}")
    own, path = place.opened(name), place.place_of(name)
    if own is None:
        assert path is not None
        own = OwnStudy.load(path, read_only=True)
    return Study(name, place, own)


def _direction(given: Any) -> str:
    if isinstance(given, StudyDirection) and given != StudyDirection.NOT_SET:
        return given.name.lower()
    if given not in ("minimize", "maximize"):
        raise InvalidValue(f"a direction must be 'minimize' or 'maximize', got {shown(given)}")
    return str(given)
