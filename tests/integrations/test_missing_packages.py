"""An adapter whose package is not installed says how to install it."""

from __future__ import annotations

import subprocess
import sys

_IMPORT = """
import importlib, sys
for name in sys.argv[1:]:
    sys.modules[name] = None
from fasthpo.errors import MissingPackage
for module in ("hydra", "huggingface", "lightning", "optuna", "ray_tune", "sklearn"):
    try:
        importlib.import_module("fasthpo.integrations." + module)
    except MissingPackage as error:
        print(str(error).partition(": ")[2])
"""
_EXTRAS = {
    "hydra": "hydra",
    "transformers": "transformers",
    "lightning": "lightning",
    "optuna": "optuna",
    "ray": "tune",
    "sklearn": "sklearn",
}


def test_an_adapter_without_its_package_says_what_to_install() -> None:
    run = subprocess.run([sys.executable, "-c", _IMPORT, *_EXTRAS], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == [f"pip install 'fasthpo[{extra}]'" for extra in _EXTRAS.values()]
