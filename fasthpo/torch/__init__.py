"""Training with torch: arguments, a training loop that a trial can trust, and many small models at once.

What stands here trains models for a trial that it is given; it knows nothing of studies or tuners. Names are looked up
when they are first used, as in `fasthpo` itself: arguments can be made without importing torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fasthpo.system.lazy import lazy_attribute

if TYPE_CHECKING:
    from fasthpo.torch.arguments import TrainingArguments as TrainingArguments
    from fasthpo.torch.hyperparams import hyperparams_to_training_args as hyperparams_to_training_args
    from fasthpo.torch.replaying import replay as replay
    from fasthpo.torch.trainer import Trainer as Trainer
    from fasthpo.torch.vectorized import VectorizedResult as VectorizedResult
    from fasthpo.torch.vectorized import VectorizedTrainer as VectorizedTrainer

_HOME = {
    "Trainer": "trainer",
    "VectorizedResult": "vectorized",
    "VectorizedTrainer": "vectorized",
    "TrainingArguments": "arguments",
    "hyperparams_to_training_args": "hyperparams",
    "replay": "replaying",
}

__all__ = sorted(_HOME)  # noqa: PLE0605  (a list of str, though not a literal)


if not TYPE_CHECKING:  # or type checkers would take every misspelt name for a known one

    def __getattr__(name: str) -> Any:
        return lazy_attribute(__name__, _HOME, name)


def __dir__() -> list[str]:
    return __all__
