"""Modules that stood elsewhere before: `from fasthpo.trial import Trial` in a program of a user goes on working."""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

_MOVED = {
    "fasthpo.callbacks": ("fasthpo.tuner.callbacks",),
    "fasthpo.columns": ("fasthpo.space.encoding",),
    "fasthpo.config": ("fasthpo.tuner.config",),
    "fasthpo.early_stopping": ("fasthpo.tuner.early_stopping",),
    "fasthpo.parameter": ("fasthpo.space.parameter",),
    "fasthpo.parameters": ("fasthpo.space.kinds",),
    "fasthpo.results": ("fasthpo.tuner.results",),
    "fasthpo.search_space": (
        "fasthpo.space.kinds",
        "fasthpo.space.parameter",
        "fasthpo.space.builder",
        "fasthpo.space.search_space",
    ),
    "fasthpo.trial": ("fasthpo.trials.trial",),
}


class _FormerModules:
    """Finds a module by its former name: one with what stands in the present ones."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in _MOVED else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """The usual empty module is right."""

    def exec_module(self, module: ModuleType) -> None:
        for name in _MOVED[module.__name__]:
            present = importlib.import_module(name)
            module.__doc__ = present.__doc__
            module.__dict__.update({name: value for name, value in vars(present).items() if not name.startswith("__")})


def find_former_modules() -> None:
    """Have the import system find them, after everything else."""
    if not any(isinstance(finder, _FormerModules) for finder in sys.meta_path):
        sys.meta_path.append(_FormerModules())
