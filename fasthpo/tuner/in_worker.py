"""What a tuner becomes when an objective that uses it is sent to a worker."""

from __future__ import annotations

from typing import Any, NoReturn

from fasthpo.errors import InvalidValue, NotCopyable, TrialStateError
from fasthpo.execution.messages import Says
from fasthpo.execution.remote_trial import current_channel
from fasthpo.tuner.config import TunerConfig
from fasthpo.tuner.early_stopping import EarlyStopping


def early_stopping(config: TunerConfig) -> EarlyStopping:
    """A new `EarlyStopping` for one trial.

    Raises:
        InvalidValue: the config has none.
    """
    if config.early_stopping is None:
        raise InvalidValue("no early stopping was configured: TunerConfig(..., early_stopping=EarlyStoppingConfig())")
    return EarlyStopping(config.early_stopping, config.directions[0])  # there is no other one


def reduced_tuner(config: TunerConfig) -> tuple[Any, ...]:
    """What `__reduce__` says of a tuner.

    Raises:
        NotCopyable: it is not sent to a worker.
    """
    from fasthpo.execution.pickling import is_sending  # imports cloudpickle

    if not is_sending.get():
        raise NotCopyable(
            "a tuner can't be pickled or copied, as its study can't: write it with tuner.save_checkpoint(), and take "
            "that up with tuner.load_checkpoint(path) or fasthpo.Study.load(path)"
        )
    return TunerInWorker, (config,)


class TunerInWorker:
    """A tuner as seen from an objective in a worker: what an objective may use of it, and no study.

    Args:
        config: the tuner's.
    """

    def __init__(self, config: TunerConfig) -> None:
        self.config = config

    def early_stopping(self) -> EarlyStopping:
        """As `HyperparameterTuner.early_stopping`."""
        return early_stopping(self.config)

    def stop(self) -> None:
        """As `HyperparameterTuner.stop`; from an objective that is running."""
        line = current_channel()
        if line is None:
            raise TrialStateError("in a worker, tuner.stop() can be called by a running objective only")
        line.send([Says.STOP])

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(
            f"in a worker a tuner has config, early_stopping() and stop() only, and no {name!r}; the study stays with "
            "the process that called optimize"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return TunerInWorker, (self.config,)
