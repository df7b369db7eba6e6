"""A callback for Hugging Face's `Trainer`: reports evaluations to a trial and ends the training when it is pruned."""

from __future__ import annotations

from typing import Any

try:
    import transformers
except ImportError as error:
    from fasthpo.errors import MissingPackage

    raise MissingPackage("Transformers is not installed: pip install 'fasthpo[transformers]'") from error

from fasthpo.errors import InvalidValue, TrialPruned
from fasthpo.integrations.ranks import SharedTrial

_ALMOST = 1e-6  # epochs are counted in floating point


class HuggingFaceCallback(transformers.TrainerCallback):  # type: ignore[misc]
    """Reports each evaluation to a trial; `trainer.train()` raises `TrialPruned` once the trial should end.

    The step of a report is the number of epochs done with `eval_strategy="epoch"`, else the number of optimizer steps.
    Under a multi-fidelity strategy the training ends after `trial.resource` epochs, whatever `num_train_epochs` says,
    and is saved; set `num_train_epochs` to the largest resource, so that the schedule is that of a whole training.

    In a distributed training rank 0 reports and decides, and all ranks stop at the same step; the others need no trial.

    Args:
        trial: the trial (None on ranks other than 0).
        metric: which number of the evaluation to report.

    Raises:
        InvalidValue: when the training begins, if rank 0 has no trial; when it ends, if no evaluation had the metric.

    Example:
        An objective that tunes arguments, keeps its checkpoints with the trial, and goes on from them if promoted:

            def objective(trial):
                base = transformers.TrainingArguments(
                    str(trial.checkpoint_dir), eval_strategy="epoch", save_strategy="no", num_train_epochs=9
                )
                trainer = transformers.Trainer(
                    model_init=make_model,
                    args=hyperparams_to_training_args(base, trial),
                    train_dataset=train,
                    eval_dataset=valid,
                    callbacks=[HuggingFaceCallback(trial, "eval_loss")],
                )
                trainer.train(resume_from_checkpoint=trial.start_resource > 0)
                return trainer.evaluate()["eval_loss"]
    """

    def __init__(self, trial: Any, metric: str = "eval_loss") -> None:
        self.metric = metric
        self._shared = SharedTrial(trial)
        self._seen: set[str] = set()  # names in evaluations without the metric
        self._training = self._reported = False
        self._resource: float | None = None
        self._pruned: str | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._shared.check()
        self._training, self._reported, self._pruned = True, False, None
        self._seen.clear()
        self._resource = self._shared.resource(args.device)
        if self._resource is not None and self._resource > state.num_train_epochs + _ALMOST:
            raise InvalidValue(
                f"trial.resource must not be beyond num_train_epochs, got {self._resource:g} of "
                f"{state.num_train_epochs} epochs: set num_train_epochs to the largest resource"
            )

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, float] | None = None, **kwargs: Any
    ) -> None:
        if not self._training or metrics is None:
            return
        if self.metric not in metrics:  # several evaluation sets are evaluated one after the other
            self._seen.update(metrics)
            return
        step = round(state.epoch) if args.eval_strategy == "epoch" else state.global_step
        value = float(metrics[self.metric])
        self._reported = True
        if self._shared.report(value, step, args.device):
            self._pruned = f"at step {step}, with {self.metric}={value:.6g}"
            control.should_training_stop = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._resource is not None and state.epoch > self._resource - _ALMOST:
            control.should_training_stop = control.should_save = True

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._training = False
        if self._pruned is not None:
            raise TrialPruned(self._pruned)
        if self._seen and not self._reported:
            raise InvalidValue(
                f"metric must be one that is evaluated, one of {sorted(self._seen)}, got {self.metric!r}"
            )
