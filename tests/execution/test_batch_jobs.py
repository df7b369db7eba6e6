"""Trials in batch jobs, on a cluster of this machine's processes; examples/tune_on_slurm.py uses submitit's own."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

import fasthpo
from fasthpo import InvalidValue, Trial, WorkersFailed
from fasthpo.errors import TrialStateError
from fasthpo.execution.backends.base import Ended, Limits
from fasthpo.execution.batch_worker import FROM_JOB, HEARTBEAT, TO_JOB, FileChannel
from fasthpo.execution.message_files import MessageFile, append
from fasthpo.execution.messages import CorruptMessage, Says, Told
from fasthpo.execution.objective import OutcomeSpec
from fasthpo.execution.pickling import pickle_objective
from fasthpo.execution.study_server import StudyServer
from fasthpo.execution.submission import seconds_of
from tests.support.backends import Recorder
from tests.support.gates import Gate, arrive
from tests.support.tuning import SPACE, make, states

submitit = pytest.importorskip("submitit")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="submitit is for POSIX")


@pytest.fixture
def executor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    from tests.support.batch_jobs import ClusterExecutor

    monkeypatch.setattr("fasthpo.execution.submission._LOOK", 0.05)
    return ClusterExecutor(tmp_path / "jobs")


def test_a_job_for_each_trial_and_what_becomes_of_lost_ones(executor: Any, tmp_path: Path) -> None:
    """A job that is killed costs its trial one attempt, and so does one that is told to end."""

    def objective(trial: Trial) -> float:
        mark = trial.checkpoint_dir / "begun"
        first = not mark.exists()
        mark.write_text("")
        trial.report(float(trial.number), step=0)
        if trial.should_prune():
            raise fasthpo.TrialPruned
        if trial.number in (1, 2) and (first or trial.number == 2):
            print("the node caught fire", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        if trial.number == 3 and first:
            os.kill(os.getpid(), signal.SIGUSR2)
        if trial.number == 4:
            raise ValueError("mine")
        return float(first)

    recorder = Recorder()
    executor.update_parameters(mem_gb=1)
    pruning = fasthpo.PruningConfig(strategy="threshold", upper=4.5)
    tuner = make(6, output_dir=tmp_path, save_checkpoints=True, pruning=pruning).add_callback(recorder)
    result = tuner.optimize(objective, executor=executor, workers=2, retries=1)
    assert states(tuner) == ["COMPLETE", "COMPLETE", "FAILED", "COMPLETE", "FAILED", "PRUNED"]
    assert [trial.value for trial in result.trials][:4] == [1.0, 0.0, None, 0.0]  # what it had written was there
    assert [trial.reports for trial in result.trials] == [{0: float(number)} for number in range(6)]
    assert "has ended (FAILED): the node caught fire" in recorder.errors[2]
    assert "told to end" in recorder.retried[3] and "mine" in recorder.errors[4]
    assert sorted(executor.names) == sorted(f"s-{n}" for n in (0, 1, 1, 2, 2, 3, 3, 4, 5))
    assert executor.parameters == {"mem_gb": 1}  # as they were
    for job in executor.jobs:
        job.wait()  # its trial's result may be here a moment before it ends
    assert not any((tmp_path / "jobs" / "fasthpo").iterdir())


def test_a_job_that_trains_many_trials(executor: Any) -> None:
    """As few jobs as workers; and each ends when its share is done, or its time would not do for another trial."""
    counts = []
    for per_job, minutes in ((None, None), (2, None), (None, 1.5)):
        executor.jobs.clear()
        if minutes:
            executor.update_parameters(timeout_min=minutes)
        tuner = make(3, objective_metric="loss")
        result = tuner.optimize(
            lambda trial: {"loss": 1.0, "pid": os.getpid()}, executor=executor, workers=1, trials_per_job=per_job
        )
        pids = {trial.metrics["pid"] for trial in result.trials}
        assert states(tuner) == ["COMPLETE"] * 3 and len(pids) == len(executor.jobs)
        counts.append(len(pids))
    assert counts == [1, 2, 3]


def test_a_trial_with_a_limit_asks_the_study_all_that_others_may(executor: Any) -> None:
    """Its process speaks to the job, and that to the study; of a space that is learnt, too."""

    def objective(trial: Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        trial.report(x, step=0)
        trial.set_attribute("seen", [trial.reports[0], trial.should_prune()])
        return x

    tuner = fasthpo.HyperparameterTuner.with_random_search(fasthpo.TunerConfig("s", max_trials=2, seed=0))
    result = tuner.optimize(objective, executor=executor, workers=1, trials_per_job=None, trial_timeout=60)
    assert states(tuner) == ["COMPLETE"] * 2, tuner.study.trials[0].error
    for trial in result.trials:
        assert trial.params == {"x": trial.value} and trial.attributes == {"seen": [trial.value, False]}


def test_a_job_that_the_cluster_starts_once_more(executor: Any, tmp_path: Path) -> None:
    """As SLURM does with jobs that it preempts: its first attempt is lost, and nothing of it counts as the second's."""
    with Gate(opens_at=2) as gate:
        address = gate.address

        def objective(trial: Trial) -> float:
            trial.report(float(trial.number), step=0)
            trial.should_prune()
            if not (tmp_path / "again").exists():
                arrive(address)
            return 1.0

        def requeue() -> None:
            gate.wait_for(1)
            (tmp_path / "again").write_text("")
            old = executor.jobs[0].process
            executor.jobs[0].process = executor.start(executor.jobs[0].function).process
            old.kill()
            old.join()

        thread = threading.Thread(target=requeue)
        thread.start()
        tuner = make(1)
        tuner.optimize(objective, executor=executor, workers=1, retries=1)
        thread.join()
    assert states(tuner) == ["COMPLETE"] and len(executor.names) == 1  # which gets it once more
    assert tuner.study.trials[0].reports == {0: 0.0}


# --- when the program is gone


class Study:
    """What a backend knows of a study."""

    def __init__(self, place: Path) -> None:
        self.identity = b"study", place
        self.reports: dict[int, list[float]] = {}
        self.repeated: list[int] = []

    def take(self, number: int, message: list[Any]) -> list[Any] | None:
        if message[0] == Says.REPORT:
            self.reports.setdefault(number, []).append(message[1])
            return None
        return [Told.REPLY, False]

    def repeat(self, number: int) -> None:
        self.repeated.append(number)


def test_a_program_that_goes_on_takes_over_jobs_and_results(executor: Any, tmp_path: Path) -> None:
    """Of jobs that run, that ended well while nobody was there, and that were killed meanwhile."""
    from fasthpo.execution.backends.submitit import BatchJobs

    with Gate() as gate, Gate() as alone:
        addresses = [gate.address, alone.address, gate.address]

        def objective(trial: Trial) -> float:
            trial.report(1.0, step=0)
            trial.should_prune()
            if not (tmp_path / "killed").exists():
                arrive(addresses[trial.number])
            trial.report(2.0, step=1)
            if trial.number != 1:  # which nobody could answer
                trial.should_prune()
            return float(trial.number)

        def backend(study: Study) -> BatchJobs:
            given = pickle_objective(objective), OutcomeSpec(), study, executor, 3, Limits(), 1, study.identity
            return BatchJobs(*given)

        asked = fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=0))
        trials = [asked.ask() for _ in range(3)]
        first = backend(Study(tmp_path))
        for trial in trials:
            first.submit(trial)
        deadline = time.monotonic() + 60
        reports = [first._folder / str(name) / FROM_JOB for name in (1, 2, 3)]
        while not (gate.has(2) and alone.has(1)):
            assert first.wait(0.05) == [] and time.monotonic() < deadline
        first._over.set()  # as if it had been killed
        first._submission._calls.put(None)
        executor.jobs[2].cancel()
        executor.jobs[2].process.join()
        (tmp_path / "killed").write_text("")

        second, study = None, Study(tmp_path)
        try:
            alone.open()
            while not any(message[3][0] == Says.DONE for message in MessageFile(reports[1]).read()):
                assert time.monotonic() < deadline
            second = backend(study)
            ended: list[Ended] = []
            for trial in trials:
                second.submit(trial)
            gate.open()
            while len(ended) < 3 and time.monotonic() < deadline:
                ended += second.wait(1.0)
            assert {one.number: one.value for one in ended} == {0: 0.0, 1: 1.0, 2: 2.0}
            assert study.repeated == [2] and len(executor.jobs) == 4  # only what was killed was submitted anew
            assert {number: said[-2:] for number, said in study.reports.items()} == {
                number: [1.0, 2.0] for number in range(3)
            }
        finally:
            if second is not None:
                second.close()
    assert not any((tmp_path / "jobs" / "fasthpo").iterdir())


def test_what_a_trial_had_asked_for_is_known_to_the_program_that_takes_it_over(executor: Any, tmp_path: Path) -> None:
    """Of a space that is learnt: a parameter that a trial was given before counts as one that it asks for later."""
    from fasthpo.execution.backends.submitit import BatchJobs

    with Gate() as gate:
        address = gate.address

        def objective(trial: Trial) -> float:
            x = trial.suggest_float("x", 0, 1)
            trial.set_attribute("seen", x)
            arrive(address)
            return x + trial.suggest_int("n", 1, 3)

        def backend(study: fasthpo.Study) -> BatchJobs:
            server = StudyServer(study, lambda: None)
            given = pickle_objective(objective), OutcomeSpec(), server, executor, 1, Limits(), 1, server.identity
            return BatchJobs(*given)

        study = fasthpo.Study(sampler=fasthpo.RandomSampler(seed=0), storage=tmp_path / "study")
        first = backend(study)
        trial = study.ask()
        trial.suggest_float("x", 0, 1)  # in an attempt before this one
        first.submit(trial)
        deadline = time.monotonic() + 60
        while not gate.has(1):
            assert first.wait(0.05) == [] and time.monotonic() < deadline
        first._over.set()  # as if it had been killed
        first._submission._calls.put(None)
        study.close()
        study = fasthpo.Study.load(tmp_path / "study")
        second = backend(study)
        try:
            second.submit(study.ask())
            gate.open()
            ended: list[Ended] = []
            while not ended and time.monotonic() < deadline:
                ended = second.wait(1.0)
        finally:
            second.close()
        study.tell(0, ended[0].value)
    (trial,) = study.trials
    assert len(executor.jobs) == 1 and set(trial.params) == {"x", "n"}
    assert trial.value == trial["x"] + trial["n"] and trial.attributes == {"seen": trial["x"]}
    study.close()


def channel_of(folder: Path, patience: float) -> FileChannel:
    (folder / "1").mkdir()
    for name in (FROM_JOB, TO_JOB):
        (folder / "1" / name).touch()
    (folder / HEARTBEAT).write_text("a")
    return FileChannel(folder / "1", patience)


def test_a_trial_goes_on_when_the_program_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fasthpo.execution.batch_worker._LOOK", 0.02)
    channel = channel_of(tmp_path, 0.1)
    channel.send([Says.REPORT, 1.0, 0])
    assert channel.request([Says.PRUNE]) is False and not channel.missed
    with pytest.raises(TrialStateError, match="is gone, and can't be asked"):
        channel.request([Says.READ, "trial_state"])
    assert channel.missed
    said = [message[3] for message in MessageFile(tmp_path / "1" / FROM_JOB, bounded=True).read()]
    assert said == [[Says.REPORT, 1.0, 0], [Says.PRUNE], [Says.READ, "trial_state"]]
    (tmp_path / HEARTBEAT).write_text("b")
    assert channel.is_heard()
    (tmp_path / "1" / FROM_JOB).unlink()
    with pytest.raises(TrialStateError, match="the run that this trial belongs to is over"):
        channel.request([Says.PRUNE])


def test_reports_in_quick_succession_are_written_together_and_soon(tmp_path: Path) -> None:
    channel = channel_of(tmp_path, 60.0)
    file = MessageFile(tmp_path / "1" / FROM_JOB, bounded=True)
    for step in range(100):
        channel.send([Says.REPORT, 1.0, step])
    said = file.read()
    assert len(said) < 100
    deadline = time.monotonic() + 30
    while len(said) < 100 and time.monotonic() < deadline:
        said += file.read()
    assert [message[3][2] for message in said] == list(range(100))


def test_a_report_that_could_not_be_written_is_written_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Path, messages: Any) -> None:
        raise OSError("stale file handle")

    channel = channel_of(tmp_path, 60.0)
    channel.send([Says.REPORT, 1.0, 0])
    with monkeypatch.context() as patch:
        patch.setattr("fasthpo.execution.batch_worker.append", failing)
        channel.send([Says.REPORT, 1.0, 1])
        channel._flush_late()  # as its timer does, where nobody could be told
        with pytest.raises(TrialStateError, match="can't be told of this trial: stale file handle"):
            channel.request([Says.PRUNE])
    channel.end([Says.DONE])
    said = [message[3] for message in MessageFile(tmp_path / "1" / FROM_JOB, bounded=True).read()]
    assert said == [[Says.REPORT, 1.0, 0], [Says.REPORT, 1.0, 1], [Says.PRUNE], [Says.DONE]]


def test_messages_that_are_not_there_yet_are_read_later(tmp_path: Path) -> None:
    """The beginning of one, and the zeros that a network file system shows before it shows what was written."""
    path, whole = tmp_path / "file", tmp_path / "whole"
    whole.touch()
    append(whole, [[1, "a"], [2, "b"]])
    data = whole.read_bytes()
    file = MessageFile(path)
    with pytest.raises(FileNotFoundError):
        file.read()
    for shown in (data[:3], bytes(len(data) // 2) + data[len(data) // 2 :], bytes(len(data))):
        path.write_bytes(shown)
        assert file.read() == []
    path.write_bytes(data[: len(data) // 2 + 3])
    assert file.read() == [[1, "a"]] and file.read() == []
    path.write_bytes(data)
    assert file.read() == [[2, "b"]] and file.read() == []
    append(path, [["x", {"y": {"z": 1}}] * 10])
    bounded = MessageFile(path, bounded=True)
    with pytest.raises(CorruptMessage):
        bounded.read()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a file that is always full")
def test_writing_is_tried_again_and_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fasthpo.execution.message_files.PAUSES", (0.01, 0.01))
    path = tmp_path / "file"
    path.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        append(path, [[1]])
    path.unlink()
    path.touch()
    written: list[int] = []
    write = FileIO.write

    class Failing(FileIO):
        def write(self, data: Any) -> int:
            written.append(len(data))
            if len(written) == 2:
                raise OSError("full")
            return write(self, data[: len(data) // 2] if len(written) == 1 else data)

    monkeypatch.setattr("builtins.open", lambda path, mode, buffering: Failing(path, mode))
    append(path, [[1], [2]])
    monkeypatch.undo()
    assert len(written) == 3 and MessageFile(path).read() == [[1], [2]]


# --- clusters that are of no use


def test_submissions_that_fail(
    executor: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At first they end the run; later they are tried again, for a while."""
    executor.refusals.append(OSError("sbatch: error: invalid partition"))
    tuner = make(2)
    with pytest.raises(WorkersFailed, match="can't submit a job: OSError: sbatch: error: invalid partition"):
        tuner.optimize(lambda trial: 1.0, executor=executor, workers=1)

    class Full(fasthpo.HyperparameterCallback):
        def on_trial_start(self, trial: Trial) -> None:
            if trial.number == 1:
                while not executor.jobs:
                    time.sleep(0.01)
                executor.refusals += [OSError("too many jobs")] * 3

    tuner = make(3).add_callback(Full())
    tuner.optimize(lambda trial: 1.0, executor=executor, workers=2)
    assert states(tuner) == ["COMPLETE"] * 3 and "too many jobs; it is tried again" in caplog.text
    monkeypatch.setattr("fasthpo.execution.backends.submitit._MOST_REFUSALS", 3)
    executor.jobs.clear()
    tuner = make(3).add_callback(Full())
    with pytest.raises(WorkersFailed, match="too many jobs"):
        tuner.optimize(lambda trial: 1.0, executor=executor, workers=1)
    assert states(tuner) == ["COMPLETE", "FAILED"]


def test_a_job_out_of_memory_failed_for_that(executor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.support.batch_jobs import ClusterJob

    monkeypatch.setattr(ClusterJob, "state", "OUT_OF_MEMORY")
    recorder = Recorder()

    def objective(trial: Trial) -> float:
        if trial.number == 0:
            os._exit(1)
        return 1.0

    tuner = make(2).add_callback(recorder)
    tuner.optimize(objective, executor=executor, workers=1, retries={"lost": 5, "memory": 1})
    assert states(tuner) == ["FAILED", "COMPLETE"] and recorder.of(0) == ["start", "retried", "failed"]


def test_a_job_of_which_only_the_queue_tells_that_it_is_gone(
    executor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """submitit says of a preempted job, or where SLURM keeps no accounts, that it has not ended."""
    from tests.support.batch_jobs import ClusterJob

    monkeypatch.setattr(ClusterJob, "done", lambda job, force_check=False: False)
    monkeypatch.setattr(ClusterJob, "state", "PREEMPTED")
    squeue = tmp_path / "bin" / "squeue"
    squeue.parent.mkdir()
    squeue.write_text("#!/bin/sh\nps -e -o pid=\n", encoding="utf-8")
    squeue.chmod(0o700)
    monkeypatch.setenv("PATH", str(squeue.parent), prepend=os.pathsep)
    tuner = make(2)
    tuner.optimize(lambda trial: os._exit(1) if trial.number == 0 else 1.0, executor=executor, workers=2)
    assert states(tuner) == ["FAILED", "COMPLETE"] and "(PREEMPTED)" in (tuner.study.trials[0].error or "")


def test_arguments_that_do_not_go_together(executor: Any, tmp_path: Path) -> None:
    from concurrent.futures import ProcessPoolExecutor

    debug = submitit.AutoExecutor(tmp_path, cluster="debug")
    local = submitit.AutoExecutor(tmp_path, cluster="local")
    with ProcessPoolExecutor(1) as library:
        for options, message in (
            ({"executor": local}, "needs the number of jobs at the same time: workers="),
            ({"executor": debug, "workers": 1}, 'cluster="debug" runs jobs in this process'),
            ({"executor": local, "workers": 1, "trials_per_job": 0}, "trials_per_job must be an integer of at least 1"),
            ({"executor": library, "trials_per_job": 2}, "trials_per_job needs a submitit executor, got trials"),
            ({"executor": lambda: local, "workers": 1}, "an executor of submitit's is given as it is"),
            ({"executor": local, "workers": 1, "devices": "cpu"}, "devices bind worker processes of this machine"),
            ({"executor": local, "workers": 1, "backend": "threads"}, "give an executor or a backend, got both"),
        ):
            with pytest.raises(InvalidValue, match=message):
                make().optimize(len, **options)
    local.update_parameters(timeout_min=10)
    assert seconds_of(local) == 510.0
