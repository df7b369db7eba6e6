"""A callback for Lightning's `Trainer`: reports validations to a trial and ends the training when it is pruned."""

from __future__ import annotations

from typing import Any

try:
    import lightning
except ImportError as error:
    from fasthpo.errors import MissingPackage

    raise MissingPackage("Lightning is not installed: pip install 'fasthpo[lightning]'") from error

from fasthpo.errors import InvalidValue, TrialPruned
from fasthpo.integrations.ranks import SharedTrial


class LightningCallback(lightning.Callback):  # type: ignore[misc]
    """Reports a metric after each validation; `trainer.fit` raises `TrialPruned` once the trial should end.

    The step of a report is the number of epochs done, or, if an epoch is validated more than once, the number of
    optimizer steps. Under a multi-fidelity strategy the training ends after `trial.resource` epochs; a trial that may
    be promoted is kept by `trainer.save_checkpoint` and goes on with `trainer.fit(..., ckpt_path=...)`.

    In a distributed training rank 0 reports and decides, and all ranks stop at the same step; the others need no trial.
    Log the metric with `sync_dist=True` there, as any other that decides something.

    Args:
        trial: the trial (None on ranks other than 0).
        monitor: the name under which the module logs the metric.

    Raises:
        InvalidValue: when the training begins, if rank 0 has no trial; at a validation, if the metric was not logged.

    Example:
        The end of an objective:

            trainer = lightning.Trainer(max_epochs=10, callbacks=[LightningCallback(trial, monitor="val_loss")])
            trainer.fit(module, train_loader, validation_loader)
            return trainer.callback_metrics["val_loss"].item()
    """

    def __init__(self, trial: Any, monitor: str = "val_loss") -> None:
        self.monitor = monitor
        self._shared = SharedTrial(trial)
        self._resource: float | None = None
        self._pruned: str | None = None

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        self._shared.check()
        self._pruned = None
        self._resource = self._shared.resource(trainer.strategy.root_device)
        if self._resource is not None and trainer.max_epochs not in (None, -1) and self._resource > trainer.max_epochs:
            raise InvalidValue(
                f"trial.resource must not be beyond max_epochs, got {self._resource:g} of {trainer.max_epochs} epochs: "
                "set max_epochs to the largest resource"
            )

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        if self.monitor not in trainer.callback_metrics:
            logged = sorted(trainer.callback_metrics)
            raise InvalidValue(f"monitor must be a metric that is logged, one of {logged}, got {self.monitor!r}")
        once = trainer.val_check_interval == 1.0 and isinstance(trainer.val_check_interval, float)
        step = trainer.current_epoch + 1 if once else trainer.global_step
        value = float(trainer.callback_metrics[self.monitor])
        if self._shared.report(value, step, trainer.strategy.root_device):
            self._pruned = f"at step {step}, with {self.monitor}={value:.6g}"
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if self._resource is not None and trainer.current_epoch + 1 >= self._resource:
            trainer.should_stop = True

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        if self._pruned is not None:
            raise TrialPruned(self._pruned)
