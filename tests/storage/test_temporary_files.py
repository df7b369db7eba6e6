"""Temporary files go: after an error at once, after a kill at the next start, and never those of a process that lives."""

from __future__ import annotations

import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import fasthpo
from fasthpo.execution import main_module
from fasthpo.storage.atomic import atomic_file, temporary_beside
from fasthpo.storage.owner import owner
from tests.support.tuning import SPACE, make, parabola

KILLED = """
import os, sys
from pathlib import Path
import fasthpo
from fasthpo.storage.atomic import temporary_beside

def leave(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary_beside(path).write_text("half")

directory = Path(sys.argv[1])
study = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, storage=directory / "s")
leave(study.ask().checkpoint_dir / "training.pt")
for name in ("trial_history.json", "trial_history.json.gz", "statistics.json", "checkpoint.msgpack"):
    leave(directory / "s" / name)
leave(directory / "trials.csv")
in_memory = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)})
(in_memory.ask().checkpoint_dir / "weights").write_text("w")
from fasthpo.execution.main_module import Source, _files
_files.write(Source(b"key", lambda: b"definitions"))
os._exit(9)
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory for temporary files."""
    directory = tmp_path / "tmp"
    directory.mkdir()
    monkeypatch.setenv("TMPDIR", str(directory))
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory


@pytest.fixture
def killed(tmp_path: Path, temporary: Path) -> Path:
    """A directory in which a process was killed while it wrote everything that it could."""
    environment = {**os.environ, "TEMP": str(temporary), "TMP": str(temporary)}
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=environment, timeout=60)
    assert done.returncode == 9
    assert len(left(tmp_path)) == 6 and len(list(temporary.iterdir())) == 2
    return tmp_path


def left(directory: Path) -> list[str]:
    return [path.name for path in directory.rglob("*.tmp")]


def kept(directory: Path, interrupted: Any) -> None:
    with fasthpo.Study.load(directory / "s", interrupted=interrupted) as study:
        if interrupted == "retry":
            assert list(study.ask().checkpoint_dir.iterdir()) == []


@pytest.mark.parametrize("interrupted", ["retry", "fail"])
def test_what_a_killed_process_left_beside_its_study_goes_when_that_is_opened(interrupted: str, killed: Path) -> None:
    kept(killed, interrupted)
    assert [name for name in left(killed) if "trials.csv" not in name] == []


def test_a_tuner_that_goes_on_leaves_nothing_half_written(killed: Path) -> None:
    space = {"x": fasthpo.Continuous(0.0, 1.0)}
    config = fasthpo.TunerConfig("s", max_trials=2, output_dir=killed, save_checkpoints=True)
    tuner = fasthpo.HyperparameterTuner.with_bayesian_optimization(config, space).load_checkpoint(killed / "s")
    tuner.optimize(lambda trial: float(len(list(trial.checkpoint_dir.iterdir()))))
    assert left(killed / "s") == [] and tuner.study.values.tolist() == [0.0, 0.0]


def test_an_export_removes_what_an_earlier_one_left(killed: Path) -> None:
    fasthpo.Study(SPACE).to_csv(killed / "trials.csv")
    assert not [name for name in left(killed) if "trials.csv" in name]
    assert len(left(killed)) == 5  # what is in the study's directory is no business of it


def test_weights_of_a_killed_study_in_memory_go_when_another_needs_a_place(killed: Path, temporary: Path) -> None:
    foreign = temporary / "fasthpo-notes"
    foreign.mkdir()
    study = fasthpo.Study(SPACE)
    directory = study.ask().checkpoint_dir
    found = {path for path in temporary.iterdir() if path.suffix != ".pickle"}
    assert found == {foreign, directory.parent}


def test_definitions_of_a_killed_worker_go_when_another_writes_its_own(
    killed: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTHPO_DEFINITIONS", "")  # which is restored afterwards
    files = main_module._Files()
    files.write(main_module.Source(b"other", lambda: b"definitions"))
    assert [path for path in temporary.iterdir() if path.suffix == ".pickle"] == [files._path]

    def fail() -> bytes:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        files.write(main_module.Source(b"third", fail))
    assert len([path for path in temporary.iterdir() if path.is_file()]) == 1


def wait(reader: Any) -> None:
    reader.recv()


def test_files_of_processes_that_live_or_of_others_stay(tmp_path: Path) -> None:
    """And those of this very process; not one of an earlier process that had its number."""
    target = tmp_path / "training.pt"
    name = temporary_beside(target).name
    match = re.search(r"\.pt\.(\d+)-([0-9a-f]{8})-", name)
    assert match is not None
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=wait, args=(theirs,), daemon=True)
    process.start()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    kinds: dict[str, Callable[[str], str]] = {
        "own": lambda name: name,
        "living": lambda name: name.replace(match[1], str(process.pid), 1),
        "elsewhere": lambda name: name.replace(match[1], str(gone.pid), 1).replace(match[2], "00000000"),
        "without a host": lambda name: name.replace(f"-{match[2]}", ""),
        "of another file": lambda name: name.replace(match[1], str(gone.pid), 1).replace("training", "other"),
        "gone": lambda name: name.replace(match[1], str(gone.pid), 1),
    }
    paths = {kind: tmp_path / rename(temporary_beside(target).name) for kind, rename in kinds.items()}
    paths["number taken"] = temporary_beside(target)
    for path in paths.values():
        path.write_text("half")
    before = psutil.Process().create_time() - 3600
    os.utime(paths["number taken"], (before, before))
    with atomic_file(target) as file:
        file.write(b"whole")
    assert {kind for kind, path in paths.items() if not path.exists()} == {"gone", "number taken"}
    ours.send(None)
    process.join()


def test_an_error_while_a_file_is_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    study = make(3, output_dir=tmp_path, save_checkpoints=True)
    study.optimize(parabola)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr("fasthpo.storage.atomic.sync_file", fail)
    for write in (
        lambda: study.study.to_csv(tmp_path / "a.csv"),
        lambda: study.study.to_json(tmp_path / "a.json.gz"),
        lambda: study.study.to_parquet(tmp_path / "a.parquet"),
        lambda: study.study.save(tmp_path / "a.msgpack"),
    ):
        with pytest.raises(OSError, match="No space left"):
            write()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(os.name != "posix", reason="making links needs a privilege on Windows")
def test_a_link_with_such_a_name_goes_without_what_it_leads_to(tmp_path: Path, temporary: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("w")
    name = f"fasthpo-{gone.pid}-{owner().split('-')[1]}-abcd"
    (temporary / name).symlink_to(tmp_path / "precious", target_is_directory=True)
    assert fasthpo.Study(SPACE).ask().checkpoint_dir.exists()
    assert (tmp_path / "precious" / "file").exists()
