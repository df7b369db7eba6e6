"""A callback for TensorBoard: each trial is a run, and the study opens in the HParams tab."""

from __future__ import annotations

import json
import math
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fasthpo.integrations.tracking import TrackedStudy, TrackedTrial, TrackingCallback, package
from fasthpo.space.kinds import Categorical
from fasthpo.space.parameter import Parameter, Value
from fasthpo.system.paths import absolute, given_path
from fasthpo.trials.trial import TrialState
from fasthpo.values import steady_repr, steady_str

_SUFFIX = ".fasthpo"  # of the names of event files that are ours, and may be written anew
_LATEST = 200  # runs that are looked at whether they have ended, when a study goes on
_STUDY_FILE = "fasthpo-study.json"


class TensorBoardCallback(TrackingCallback):
    """Writes each trial as a run of TensorBoard: `tensorboard --logdir LOG_DIR`, and then the tab HPARAMS.

    A run has the trial's parameters, those that are active; what it reports, as the scalar "reported_value" (or with
    the objective's name in the place of "value", see `TunerConfig.objective_metric`); at its end "value" and further
    metrics; and as text why it failed or was pruned. Scalars are float32, as TensorBoard's are. A study that is resumed
    goes on in its directory, and a run is written anew if its trial goes on, so that no value is there twice.

    Needs `fasthpo[tensorboard]`, but not TensorFlow. See `TrackingCallback` for what it costs and for ask and tell.

    Args:
        log_dir: the directory of the runs; the study's go to `log_dir/study_name`.
        study_name: None: the tuner's.

    Raises:
        MissingPackage: TensorBoard is not installed.
        InvalidValue: an argument is not what it must be.

    Example::

        tuner.add_callback(TensorBoardCallback("runs")).optimize(objective)
    """

    def __init__(self, log_dir: str | Path, study_name: str | None = None) -> None:
        super().__init__(_Runs(absolute(given_path("log_dir", log_dir, "the path of a directory"))), study_name)


class _Runs:
    """A directory of runs, one a trial.

    Args:
        directory: of all studies.
    """

    title = "TensorBoard"

    def __init__(self, directory: Path) -> None:
        package("tensorboard", "tensorboard")
        self._tb = package("tensorboard.plugins.hparams.summary_v2", "tensorboard")
        self._directory = directory
        self._study: TrackedStudy
        self._root: Path
        self._files: dict[int, _EventFile] = {}
        self._metrics: list[str] = []

    def open(self, study: TrackedStudy) -> list[int]:
        self._study, self._files, self._metrics = study, {}, []
        self._root = self._free_directory(study)
        self._root.mkdir(parents=True, exist_ok=True)
        (self._root / _STUDY_FILE).write_text(json.dumps({"study": study.identity}))
        self._describe()
        return self._lacking()

    def _lacking(self) -> list[int]:
        """The latest trials that have no run, or one without an end, if there are runs already."""
        there = {
            int(path.name[len("trial-") :]): path for path in self._root.glob("trial-*") if path.name[6:].isdigit()
        }
        latest = sorted(there)[-_LATEST:]
        ended = {number for number in latest if _has_ended(there[number])}
        return [number for number in range(latest[0], self._study.trials) if number not in ended] if latest else []

    def _free_directory(self, study: TrackedStudy) -> Path:
        """Where this study's runs are, or may be: beside those of another one of the same name."""
        plain = "".join(c if c.isalnum() or c in "-_. " else "_" for c in study.name).strip(". ") or "study"
        count = 1
        while True:
            found = self._directory / (plain if count == 1 else f"{plain}-{count}")
            try:
                if json.loads((found / _STUDY_FILE).read_text()).get("study") == study.identity:
                    return found
            except (OSError, ValueError, AttributeError):
                if not found.exists():
                    return found
            count += 1

    def _describe(self) -> None:
        """Say once for all runs which parameters and metrics there are, or TensorBoard takes those of the first run."""
        study, tb = self._study, self._tb
        params = [tb.HParam(name, _domain(tb, parameter)) for name, parameter in study.space.items()]
        names = [*study.objectives, *(f"reported_{name}" for name in study.objectives), *self._metrics]
        _remove(self._root)
        with _EventFile(self._root) as file:
            file.summary(tb.hparams_config_pb(params, [tb.Metric(name) for name in names]), time.time())

    def write(self, trial: TrackedTrial) -> None:
        try:
            self._write(trial)
        except Exception:
            if file := self._files.pop(trial.number, None):  # the run is written anew
                file.close()
            raise

    def _write(self, trial: TrackedTrial) -> None:
        study, now = self._study, time.time()
        file = self._files.get(trial.number)
        if file is None:
            directory = self._root / trial.name
            directory.mkdir(parents=True, exist_ok=True)
            _remove(directory)
            file = self._files[trial.number] = _EventFile(directory)
            params = {name: _plain(study.space[name], value) for name, value in trial.params.items()}
            file.summary(self._tb.hparams_pb(params, f"{self._root.name}/{trial.name}", _moment(trial.start)), now)
        for step, values in trial.reports.items():
            if step not in file.steps:
                for name, value in zip(study.objectives, values, strict=True):
                    if not math.isnan(value) or len(values) == 1:
                        file.scalar(f"reported_{name}", value, step, now)
                file.steps.add(step)
        if trial.state != TrialState.RUNNING:
            self._end(file, trial)
            file.close()
            del self._files[trial.number]
        else:
            file.flush()

    def _end(self, file: _EventFile, trial: TrackedTrial) -> None:
        from tensorboard.plugins.text.summary_v2 import text_pb

        end, step = _moment(trial.end), max(trial.reports, default=0)
        metrics = {**trial.metrics, **dict(zip(self._study.objectives, trial.values or (), strict=False))}
        metrics.update({f"constraints_{j}": value for j, value in enumerate(trial.constraints or ())})
        if new := [name for name in metrics if name not in (*self._study.objectives, *self._metrics)]:
            self._metrics += new
            self._describe()
        for name, value in metrics.items():
            file.scalar(name, value, step, end)
        said = trial.state.name
        if trial.reason is not None:  # as a block of code: the page takes it for Markdown
            said += "\n\n    " + trial.reason.replace("\n", "\n    ")
        if trial.state != TrialState.COMPLETE:
            file.summary(text_pb("state", said), end)
        if trial.state != TrialState.PAUSED:
            file.summary(_session_end(trial.state == TrialState.FAILED, end), end)

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files = {}


class _EventFile:
    """An event file, which TensorBoard reads while it grows.

    Args:
        directory: of the run.
    """

    def __init__(self, directory: Path) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event: Any = Event
        self.steps: set[int] = set()  # that were reported
        now = time.time()
        name = f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{time.monotonic_ns()}{_SUFFIX}"
        self._file = (directory / name).open("wb")
        self._records = RecordWriter(self._file)
        self._write(Event(wall_time=now, step=0, file_version="brain.Event:2"))

    def _write(self, event: Any) -> None:
        self._records.write(event.SerializeToString())

    def summary(self, summary: Any, at: float) -> None:
        self._write(self._event(wall_time=at, step=0, summary=summary))

    def scalar(self, name: str, value: float, step: int, at: float) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        single = Summary(value=[Summary.Value(tag=name, simple_value=_single(value))])
        self._write(self._event(wall_time=at, step=step, summary=single))

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> _EventFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _session_end(failed: bool, at: float) -> Any:
    """The summary that ends a run; TensorBoard's own function for it needs TensorFlow."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    status = api_pb2.STATUS_FAILURE if failed else api_pb2.STATUS_SUCCESS
    data = plugin_data_pb2.HParamsPluginData(
        session_end_info=plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=at)
    )
    described = metadata.create_summary_metadata(data)
    return Summary(
        value=[Summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=described, tensor=metadata.NULL_TENSOR)]
    )


def _has_ended(directory: Path) -> bool:
    from tensorboard.plugins.hparams import metadata

    mark = metadata.SESSION_END_INFO_TAG.encode()
    return any(mark in file.read_bytes() for file in directory.glob(f"events.out.tfevents.*{_SUFFIX}"))


def _single(value: float) -> float:
    """What a float32 can hold."""
    return math.copysign(math.inf, value) if abs(value) > 3.4e38 else value


def _moment(at: float) -> float:
    return time.time() if math.isnan(at) else at


def _remove(directory: Path) -> None:
    """Remove our event files, and no others, from a run."""
    for file in directory.glob(f"events.out.tfevents.*{_SUFFIX}"):
        file.unlink()


def _kind(choices: Sequence[Value]) -> type:
    """What a column of choices can be: numbers, booleans, or else texts."""
    if all(isinstance(choice, bool) for choice in choices):
        return bool
    if all(isinstance(choice, (int, float)) and not isinstance(choice, bool) for choice in choices):
        return float
    return str


def _domain(tb: Any, parameter: Parameter) -> Any:
    if isinstance(parameter, Categorical):
        return tb.Discrete([_plain(parameter, choice) for choice in parameter.choices], _kind(parameter.choices))
    return tb.RealInterval(*parameter.reach)


def _plain(parameter: Parameter, value: Value) -> Value:
    """A value as TensorBoard can have it: all of a parameter of one kind."""
    if not isinstance(parameter, Categorical):
        return float(value)  # type: ignore[arg-type]
    kind = _kind(parameter.choices)
    if kind is not str:
        return kind(value)  # type: ignore[no-any-return]
    texts = [steady_str(choice) for choice in parameter.choices]
    return steady_str(value) if len(set(texts)) == len(texts) else steady_repr(value)
