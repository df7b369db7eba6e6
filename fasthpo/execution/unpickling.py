"""An objective from bytes, in a worker: the script's world first, then the initializer, then what it is made from."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import pickle
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

from fasthpo.execution.forks import forks_end
from fasthpo.execution.initializing import Initializer
from fasthpo.execution.main_module import Source, module_named, received, receiving
from fasthpo.execution.objective import Objective, traceback_text
from fasthpo.system.forked import renew_in_forked


class Head(NamedTuple):
    """What is to be known before anything is unpickled, as that imports modules."""

    arguments: list[str]  # the script's `sys.argv`
    start_method: str | None  # of `multiprocessing`, if the script has chosen one
    modules: tuple[str, ...]  # that can't be imported, besides `__main__`


class Unloadable(Exception):
    """The objective can't be loaded here; the message says what has failed, with the traceback."""


_loading = threading.RLock()
renew_in_forked(sys.modules[__name__], _loading=threading.RLock)


def load(pickled: bytes, source: Source) -> Objective:
    """The objective. The initializer is called before the modules are imported that the objective is made from.

    Args:
        pickled: what `pickle_objective` has made.
        source: where to get the same once more.

    Raises:
        Unloadable: that fails.
    """
    with _loading, receiving(source):
        file = io.BytesIO(pickled)
        head = Head(*pickle.load(file))
        sys.argv[:] = head.arguments
        _use_start_method(head.start_method)
        unpickler = pickle.Unpickler(file)
        with _or_unloadable("load the initializer"):
            initializer: Initializer | None = unpickler.load()
        if initializer is None:
            set_up: dict[str, dict[str, Any]] = {}
        else:
            with _or_unloadable("call the initializer"), forks_end():
                set_up = _call(initializer)
        with _or_unloadable("load the objective"):
            objective = _finish(unpickler)
        for name, attributes in set_up.items():
            vars(module_named(name, {})).update(attributes)
    return objective


def load_definitions(pickled: bytes) -> None:
    """Only what goes by value, into this process, which a worker has spawned."""
    with _loading:
        file = io.BytesIO(pickled)
        pickle.load(file)
        unpickler = pickle.Unpickler(file)
        unpickler.load()
        _finish(unpickler)


def read_head(pickled: bytes) -> Head:
    """What the bytes begin with."""
    return Head(*pickle.loads(pickled))


def _use_start_method(method: str | None) -> None:
    """Have `multiprocessing` start processes as the script does."""
    known = method is None or method in multiprocessing.get_all_start_methods()
    if known and (method is not None or multiprocessing.get_start_method(allow_none=True) == "loky"):
        multiprocessing.set_start_method(method, force=True)  # None: the usual one, as only loky's know "loky"


def _call(initializer: Initializer) -> dict[str, dict[str, Any]]:
    """Call the initializer; which names it has bound in the script's modules.

    The objective brings these along once more, as they are in the script.
    """
    before = {name: dict(attributes) for name, attributes in received().items()}
    initializer.function(*initializer.arguments)
    nothing = object()
    return {
        name: {key: value for key, value in received()[name].items() if value is not attributes.get(key, nothing)}
        for name, attributes in before.items()
    }


def _finish(unpickler: pickle.Unpickler) -> Objective:
    """The objective, and all definitions that come with it under their names."""
    objective: Objective = unpickler.load()
    main, definitions = unpickler.load()
    module_named("__main__", main)  # also if nothing of it came along, so that no script is run in its place
    for module, qualified_name, definition in definitions:
        place: Any = module_named(module, {})
        *outer, name = qualified_name.split(".")
        for part in outer:
            if part not in vars(place):  # the class around this one did not come along
                setattr(place, part, SimpleNamespace())
            place = vars(place)[part]
        if vars(place).get(name) is not definition:
            setattr(place, name, definition)
        if definition.__qualname__ != qualified_name:  # which cloudpickle does not keep of a class
            definition.__qualname__ = qualified_name
    return objective


@contextlib.contextmanager
def _or_unloadable(what: str) -> Iterator[None]:
    try:
        yield
    except BaseException as raised:
        frames = raised.__traceback__
        text = traceback_text(raised.with_traceback(frames and frames.tb_next))
        hint = ""
        if isinstance(raised, ImportError):
            hint = "\nA worker imports modules anew, from the same sys.path; what the script defines goes along."
        raise Unloadable(f"can't {what}:\n{text}{hint}") from None
