"""A callback for MLflow: a parent run for the study, a nested run for each trial."""

from __future__ import annotations

import math
import re
import time
from typing import Any

from fasthpo.integrations.tracking import TrackedStudy, TrackedTrial, TrackingCallback, package
from fasthpo.trials.trial import TrialState
from fasthpo.values import check_text, steady_str

_FORBIDDEN = re.compile(r"[^\w\-. ]")  # in names of params and metrics; slashes would be directories
_LONGEST_NAME = 200
_LONGEST_TEXT = 5000  # of a param or a tag
_MOST_METRICS, _MOST_PARAMS = 800, 90  # in one request, which has at most 1,000 entries in all
_STATUS = {
    TrialState.RUNNING: "RUNNING",
    TrialState.WAITING: "SCHEDULED",
    TrialState.PAUSED: "SCHEDULED",
    TrialState.COMPLETE: "FINISHED",
    TrialState.PRUNED: "KILLED",
    TrialState.FAILED: "FAILED",
}


class MLflowCallback(TrackingCallback):
    """Writes the study as a run of MLflow, and each trial as a run nested in it.

    A trial's run has its active parameters; what it reports, as the metric "reported_value" by step (or with the
    objective's name in the place of "value", see `TunerConfig.objective_metric`); at its end the metric "value" and
    further ones; the tags "fasthpo.state" and, for failed and pruned ones, "fasthpo.reason"; and the status FINISHED,
    FAILED or, if it was pruned, KILLED. The parent has "best_value" by trial. Of names, what MLflow allows not becomes
    "_". A study that is kept and resumed finds its runs again; the run of a trial that was lost with its process, and
    has begun anew, is replaced. The fluent API (`mlflow.start_run`, `mlflow.log_metric`) is not touched.

    Needs `fasthpo[mlflow]`. See `TrackingCallback` for what it costs and for ask and tell.

    Args:
        tracking_uri: "sqlite:///mlflow.db", "http://...", or another store; None: as MLflow is configured.
        experiment_name: made if it is missing; None: the study's name.
        study_name: None: the tuner's.

    Raises:
        MissingPackage: MLflow is not installed.
        InvalidValue: an argument is not what it must be.

    Example::

        tuner.add_callback(MLflowCallback("sqlite:///mlflow.db")).optimize(objective)
    """

    def __init__(
        self, tracking_uri: str | None = None, experiment_name: str | None = None, study_name: str | None = None
    ) -> None:
        uri = None if tracking_uri is None else check_text("tracking_uri", tracking_uri)
        experiment = None if experiment_name is None else check_text("experiment_name", experiment_name)
        super().__init__(_Runs(uri, experiment), study_name)


class _Runs:
    """Runs of a store.

    Args:
        uri: of the store.
        experiment: its name.
    """

    title = "MLflow"

    def __init__(self, uri: str | None, experiment: str | None) -> None:
        self._entities = package("mlflow.entities", "mlflow")
        self._errors = package("mlflow.exceptions", "mlflow")
        self._make_client = package("mlflow.tracking", "mlflow").MlflowClient
        self._uri, self._experiment_name = uri, experiment
        self._client: Any = None
        self._study: TrackedStudy
        self._experiment: str
        self._parent: str
        self._names: _Names
        self._open: dict[int, _Run] = {}
        self._highest = -1  # number of a trial that has a run
        self._best = math.inf  # loss

    def open(self, study: TrackedStudy) -> list[int]:
        if self._client is None:
            self._client = self._make_client(tracking_uri=self._uri)
        self._study, self._open, self._highest, self._best = study, {}, -1, math.inf
        self._names = _Names([*study.objectives, *(f"reported_{name}" for name in study.objectives)], study.space.names)
        self._experiment = self._find_experiment(self._experiment_name or study.name)
        found = self._search("fasthpo.kind = 'study'")
        if found is not None:
            self._parent = found.info.run_id
            self._highest = 2**63  # any trial may be there
            best = found.data.metrics.get("best_value")
            self._best = math.inf if best is None else self._loss(best)
            self._client.update_run(self._parent, status="RUNNING")
            return self._lacking()
        tags = {
            "mlflow.runName": study.name,
            "fasthpo.study": study.identity,
            "fasthpo.kind": "study",
            "fasthpo.directions": ", ".join(study.directions),
            "fasthpo.sampler": study.sampler,
        }
        self._parent = self._client.create_run(self._experiment, tags=tags, run_name=study.name).info.run_id
        return []

    def _lacking(self) -> list[int]:
        """Trials whose runs are open, and those that started after the last one that has a run."""
        mine = f"tags.fasthpo.study = '{self._study.identity}' and tags.fasthpo.kind = 'trial'"
        running = self._client.search_runs(
            [self._experiment], f"{mine} and attributes.status = 'RUNNING'", max_results=1000
        )
        latest = self._client.search_runs(
            [self._experiment], mine, max_results=1, order_by=["attributes.start_time DESC"]
        )
        first = max((int(one.data.tags["fasthpo.trial"]) for one in latest), default=-1) + 1
        return [*(int(one.data.tags["fasthpo.trial"]) for one in running), *range(first, self._study.trials)]

    def _find_experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name))
            except self._errors.MlflowException:  # somebody else has made it meanwhile
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _search(self, which: str) -> Any:
        """A run of this study, or None."""
        wanted = f"tags.fasthpo.study = '{self._study.identity}' and tags.{which}"
        found = self._client.search_runs([self._experiment], wanted, max_results=1)
        return found[0] if found else None

    def _loss(self, value: float) -> float:
        return -value if self._study.directions[0] == "maximize" else value

    def write(self, trial: TrackedTrial) -> None:
        run = self._open.get(trial.number) or self._run_of(trial)
        self._open[trial.number] = run
        now = round(1000 * time.time())
        steps = [step for step in trial.reports if step not in run.steps]
        metrics = [
            self._entities.Metric(self._names.objectives[f"reported_{name}"], value, now, step)
            for step in steps
            for name, value in zip(self._study.objectives, trial.reports[step], strict=True)
        ]
        if trial.state == TrialState.RUNNING:
            self._send(run, trial, steps, metrics, [])
            if run.status != "RUNNING":
                self._client.update_run(run.identity, status="RUNNING")
                run.status = "RUNNING"
            return
        self._send(run, trial, steps, metrics + self._final(run, trial, now), self._tags(trial))
        end = now if math.isnan(trial.end) else round(1000 * trial.end)
        self._client.set_terminated(run.identity, status=_STATUS[trial.state], end_time=end)
        if trial.state == TrialState.COMPLETE and trial.is_feasible and len(trial.values or ()) == 1:
            self._note_best(trial)
        del self._open[trial.number]

    def _send(self, run: _Run, trial: TrackedTrial, steps: list[int], metrics: list[Any], tags: list[Any]) -> None:
        """Add to a run, in one request if that is allowed."""
        params = [] if run.has_params else [
            self._entities.Param(self._names.params[name], steady_str(value)[:_LONGEST_TEXT])
            for name, value in trial.params.items()
        ]  # fmt: skip
        count = max(-(-len(metrics) // _MOST_METRICS), -(-len(params) // _MOST_PARAMS), bool(tags))
        for i in range(count):
            some = metrics[i * _MOST_METRICS : (i + 1) * _MOST_METRICS]
            self._client.log_batch(
                run.identity,
                metrics=some,
                params=params[i * _MOST_PARAMS : (i + 1) * _MOST_PARAMS],
                tags=tags if i == count - 1 else [],
            )
        run.has_params = True
        run.steps.update(steps)
        run.metrics.update({one.key: one.value for one in metrics})

    def _run_of(self, trial: TrackedTrial) -> _Run:
        """The run of a trial: the one that there is already, or a new one."""
        if trial.number <= self._highest:
            found = self._search(f"fasthpo.trial = '{trial.number}'")
            if found is not None:
                history: dict[int, list[float]] = {}
                for name in self._study.objectives:
                    key = self._names.objectives[f"reported_{name}"]
                    if key in found.data.metrics:
                        for one in self._client.get_metric_history(found.info.run_id, key):
                            history.setdefault(one.step, []).append(one.value)
                if all(_is_same(values, trial.reports.get(step)) for step, values in history.items()):
                    return _Run(found.info.run_id, found.info.status, set(history), dict(found.data.metrics))
                self._client.delete_run(found.info.run_id)  # of an attempt that was lost
        tags = {
            "mlflow.runName": trial.name,
            "mlflow.parentRunId": self._parent,
            "fasthpo.study": self._study.identity,
            "fasthpo.kind": "trial",
            "fasthpo.trial": str(trial.number),
            "fasthpo.state": trial.state.name,
        }
        start = None if math.isnan(trial.start) else round(1000 * trial.start)
        made = self._client.create_run(self._experiment, start_time=start, tags=tags, run_name=trial.name).info
        self._highest = max(self._highest, trial.number)
        return _Run(made.run_id, made.status, set(), {})

    def _final(self, run: _Run, trial: TrackedTrial, now: int) -> list[Any]:
        """The metrics of a trial that has ended or pauses; those that the run has already are left out."""
        metrics = {self._names.metric(name): value for name, value in trial.metrics.items()}
        for name, value in zip(self._study.objectives, trial.values or (), strict=False):
            metrics[self._names.objectives[name]] = value
        for j, value in enumerate(trial.constraints or ()):
            metrics[self._names.metric(f"constraints_{j}")] = value
        step = max(trial.reports, default=0)
        return [
            self._entities.Metric(key, value, now, step)
            for key, value in metrics.items()
            if key not in run.metrics or not _is_same([run.metrics[key]], (value,))
        ]

    def _tags(self, trial: TrackedTrial) -> list[Any]:
        tags = {"fasthpo.state": trial.state.name}
        if trial.reason is not None:
            tags["fasthpo.reason"] = trial.reason[-_LONGEST_TEXT:]
        if trial.resource is not None:
            tags["fasthpo.resource"] = str(trial.resource)
        return [self._entities.RunTag(name, text) for name, text in tags.items()]

    def _note_best(self, trial: TrackedTrial) -> None:
        assert trial.values is not None
        loss = self._loss(trial.values[0])
        if loss < self._best and math.isfinite(loss):
            self._client.log_metric(self._parent, "best_value", trial.values[0], step=trial.number)
            self._best = loss

    def close(self) -> None:
        for run in self._open.values():
            self._client.set_terminated(run.identity, status="KILLED")
        self._open = {}
        self._client.set_terminated(self._parent, status="FINISHED")


class _Run:
    """What is known of a trial's run.

    Args:
        identity: its run id.
        status: as MLflow has it.
        steps: of the reports that it has.
        metrics: the latest it has.
    """

    def __init__(self, identity: str, status: str, steps: set[int], metrics: dict[str, float]) -> None:
        self.identity, self.status, self.steps, self.metrics = identity, status, steps, metrics
        self.has_params = False  # at least not from here; the same ones may be written again


class _Names:
    """What params and metrics are called, so that MLflow takes the names, and none stands for two.

    Args:
        objectives: the metrics that all trials have.
        params: the parameters.
    """

    def __init__(self, objectives: list[str], params: tuple[str, ...]) -> None:
        self._taken: set[str] = set()
        self.objectives = {name: self._free(name) for name in objectives}
        self._metrics: dict[str, str] = {}
        taken, self._taken = self._taken, set()
        self.params = {name: self._free(name) for name in params}
        self._taken = taken

    def metric(self, name: str) -> str:
        """What a further metric is called."""
        if name not in self._metrics:
            self._metrics[name] = self._free(name)
        return self._metrics[name]

    def _free(self, name: str) -> str:
        allowed = _FORBIDDEN.sub("_", name)[:_LONGEST_NAME]
        if not allowed.strip(". "):  # a path of its own meaning
            allowed = f"_{allowed}"
        found, count = allowed, 2
        while found in self._taken:
            found, count = f"{allowed}-{count}", count + 1
        self._taken.add(found)
        return found


def _is_same(kept: list[float], values: tuple[float, ...] | None) -> bool:
    """Whether a store has kept these values: some keep an infinity as the largest number there is."""
    if values is None or len(kept) != len(values):
        return False
    return all(
        a == b or (a != a and b != b) or math.isclose(a, b, rel_tol=1e-9) or (math.isinf(b) and abs(a) > 1e308)
        for a, b in zip(kept, values, strict=True)
    )
