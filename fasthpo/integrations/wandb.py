"""A callback for Weights & Biases: each trial is a run, and the study a group of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fasthpo.errors import InvalidValue
from fasthpo.integrations.tracking import TrackedStudy, TrackedTrial, TrackingCallback, package
from fasthpo.space.choice_values import choice_to_json
from fasthpo.system.paths import absolute, given_path
from fasthpo.trials.trial import TrialState
from fasthpo.values import check_text, shown

_MODES = ("online", "offline", "disabled", "shared")
_LONGEST_TEXT = 5000


class WandbCallback(TrackingCallback):
    """Writes each trial as a run of Weights & Biases, grouped by the study.

    A run's config has the trial's active parameters. What it reports is "reported_value" over "step" (or with the
    objective's name in the place of "value", see `TunerConfig.objective_metric`). Its summary has at the end "value",
    further metrics, "state", and "reason", why it failed or was pruned. A failed trial's run ends as failed. Of a study
    that is resumed, the run of a trial that goes on has the same id. `wandb.run` and the other functions of the module
    are not touched.

    With mode="offline" everything goes to `directory/wandb`, for `wandb sync` later.

    Needs `fasthpo[wandb]`. See `TrackingCallback` for what it costs and for ask and tell.

    Args:
        project: of the runs.
        entity: the user or team; None: the default one.
        mode: "online", "offline", "disabled" or "shared"; None: as the environment says (WANDB_MODE).
        directory: where files are written; None: as Weights & Biases is configured.
        study_name: the group; None: the tuner's.

    Raises:
        MissingPackage: Weights & Biases is not installed.
        InvalidValue: an argument is not what it must be.

    Example::

        tuner.add_callback(WandbCallback("digits", mode="offline")).optimize(objective)
    """

    def __init__(
        self,
        project: str,
        entity: str | None = None,
        mode: str | None = None,
        directory: str | Path | None = None,
        study_name: str | None = None,
    ) -> None:
        if mode is not None and mode not in _MODES:
            raise InvalidValue(f"mode must be None or one of {list(_MODES)}, got mode={shown(mode)}")
        options = {
            "project": check_text("project", project),
            "entity": None if entity is None else check_text("entity", entity),
            "mode": mode,
            "dir": None if directory is None else str(absolute(given_path("directory", directory))),
        }
        super().__init__(_Runs(options), study_name)


class _Runs:
    """Runs of a group.

    Args:
        options: of `wandb.init`, for all of them.
    """

    title = "Weights & Biases"

    def __init__(self, options: dict[str, Any]) -> None:
        self._wandb = package("wandb", "wandb")
        self._options = options
        self._study: TrackedStudy
        self._open: dict[int, _Run] = {}
        self._finished = bytearray()  # by number, 1 for trials whose run is complete

    def open(self, study: TrackedStudy) -> list[int]:
        self._study, self._open, self._finished = study, {}, bytearray()
        if self._options["dir"] is not None:
            Path(self._options["dir"]).mkdir(parents=True, exist_ok=True)
        return []  # what is at the server is not asked for

    def write(self, trial: TrackedTrial) -> None:
        number = trial.number
        if number < len(self._finished) and self._finished[number]:
            return
        run = self._open.get(number)
        if run is None:
            run = self._open[number] = self._begin(trial)
        objectives = self._study.objectives
        for step, values in trial.reports.items():
            if step not in run.steps and step > run.last_step:
                reported = {f"reported_{name}": value for name, value in zip(objectives, values, strict=True)}
                run.run.log({"step": step, **reported})
                run.steps.add(step)
        if trial.state == TrialState.RUNNING:
            return
        self._end(run.run, trial)
        del self._open[number]
        if trial.state.is_finished:
            self._finished.extend(bytes(max(0, number + 1 - len(self._finished))))
            self._finished[number] = 1

    def _begin(self, trial: TrackedTrial) -> _Run:
        study, wandb = self._study, self._wandb
        run = wandb.init(
            **self._options,
            group=study.name,
            job_type="trial",
            name=trial.name,
            id=f"{study.identity}-{trial.number}",
            resume="allow",
            reinit="create_new",
            config={name: choice_to_json(value) for name, value in trial.params.items()},
            settings=wandb.Settings(silent=True, console="off", disable_git=True),
        )
        for name in study.objectives:
            run.define_metric(f"reported_{name}", step_metric="step")
        last = run.summary.get("step") if run.resumed else None
        return _Run(run, last if isinstance(last, int) else -1)

    def _end(self, run: Any, trial: TrackedTrial) -> None:
        summary: dict[str, Any] = dict(trial.metrics)
        summary.update({f"constraints_{j}": value for j, value in enumerate(trial.constraints or ())})
        summary.update(zip(self._study.objectives, trial.values or (), strict=False))
        summary.update({"state": trial.state.name, "trial": trial.number})
        if trial.reason is not None:
            summary["reason"] = trial.reason[-_LONGEST_TEXT:]
        if trial.resource is not None:
            summary["resource"] = trial.resource
        run.summary.update(summary)
        run.finish(exit_code=1 if trial.state == TrialState.FAILED else 0)

    def close(self) -> None:
        for run in self._open.values():
            run.run.finish(exit_code=1)
        self._open = {}


class _Run:
    """A run that is open.

    Args:
        run: as wandb has it.
        last_step: of what it got before this process.
    """

    def __init__(self, run: Any, last_step: int) -> None:
        self.run, self.last_step = run, last_step
        self.steps: set[int] = set()
