"""Optuna's interface over fasthpo: `import fasthpo.compat.optuna as optuna` runs the common Optuna script unchanged.

Optuna need not be installed. Names, signatures and meanings are Optuna's; trials, samplers, pruners and storage are
fasthpo's. What is not there says so when it is imported or called. The guide, "From Optuna", lists what runs.
"""

from __future__ import annotations

import importlib
from typing import Any

from fasthpo import __version__
from fasthpo.compat.optuna import (
    distributions,
    exceptions,
    importance,
    logging,
    pruners,
    samplers,
    storages,
    study,
    trial,
)
from fasthpo.compat.optuna.creating import (
    copy_study,
    create_study,
    delete_study,
    get_all_study_names,
    get_all_study_summaries,
    load_study,
)
from fasthpo.compat.optuna.exceptions import TrialPruned
from fasthpo.compat.optuna.study import Study
from fasthpo.compat.optuna.trial import Trial, create_trial

__all__ = [
    "Study",
    "Trial",
    "TrialPruned",
    "__version__",
    "copy_study",
    "create_study",
    "create_trial",
    "delete_study",
    "distributions",
    "exceptions",
    "get_all_study_names",
    "get_all_study_summaries",
    "importance",
    "load_study",
    "logging",
    "pruners",
    "samplers",
    "storages",
    "study",
    "trial",
    "visualization",
]


def __getattr__(name: str) -> Any:
    if name == "visualization":  # which needs matplotlib
        return importlib.import_module(f"{__name__}.visualization")
    if name in ("integration", "terminator", "artifacts", "search_space", "multi_objective", "cli"):
        raise AttributeError(
            f"fasthpo.compat.optuna has no {name!r}; the guide, 'From Optuna', says what takes its place. "
            "To keep it, use Optuna itself with fasthpo.integrations.optuna.FastSampler"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
