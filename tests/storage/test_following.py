"""A study that follows a live writer: no damage is seen where there is none, and none for longer than it is there."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import fasthpo
from fasthpo.storage import directory as folder
from fasthpo.storage.directory import CHECKPOINT_FILE, JOURNAL_FILE

SPACE = {"x": fasthpo.Continuous(0.0, 1.0)}
TRIALS = 2000
WRITER = """
import sys
import fasthpo

study = fasthpo.Study.load(sys.argv[1])
print(flush=True)
sys.stdin.readline()
for i in range(60):
    study.tell(study.ask(), float(i))
    study.compact()
study.close()
"""


def begun(path: Path) -> None:
    with fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=0), storage=path) as study:
        study.add_trials({"x": [0.5] * TRIALS}, [1.0] * TRIALS)


def test_a_writer_who_makes_checkpoints_all_the_time_is_followed(tmp_path: Path) -> None:
    begun(tmp_path / "study")
    command = [sys.executable, "-c", WRITER, str(tmp_path / "study")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdin is not None and writer.stdout is not None
        writer.stdout.readline()
        follower = fasthpo.Study.load(tmp_path / "study", read_only=True)
        writer.stdin.write(b"\n")
        writer.stdin.flush()
        seen = [len(follower)]
        while writer.poll() is None:
            follower.refresh()
            seen.append(len(follower))
    assert writer.returncode == 0
    follower.refresh()
    assert len(follower) == TRIALS + 60 and seen == sorted(seen)
    assert follower.values.tolist()[TRIALS:] == [float(i) for i in range(60)]


def test_files_that_are_replaced_while_they_are_read_belong_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer who makes a checkpoint whenever the reader has come to its own."""
    begun(tmp_path / "study")
    writer = fasthpo.Study.load(tmp_path / "study")
    real, made = folder._read_checkpoint, 0

    def slow(*args: object) -> object:
        nonlocal made
        made += 1
        writer.tell(writer.ask(), 1.0)
        writer.compact()
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(folder, "_read_checkpoint", slow)
    follower = fasthpo.Study.load(tmp_path / "study", read_only=True)
    assert len(follower) == TRIALS and made == 1
    assert follower.refresh() and len(follower) == TRIALS + 1
    writer.close()


@pytest.mark.parametrize("name", [CHECKPOINT_FILE, JOURNAL_FILE])
@pytest.mark.parametrize("harm", ["torn", "changed", "empty", "missing"])
def test_a_follower_goes_on_once_a_damaged_file_is_whole(name: str, harm: str, tmp_path: Path) -> None:
    begun(tmp_path / "study")
    writer = fasthpo.Study.load(tmp_path / "study")
    writer.compact()
    follower = fasthpo.Study.load(tmp_path / "study", read_only=True)
    for i in range(3):
        writer.tell(writer.ask(), float(i))
    writer.sync()
    path = tmp_path / "study" / name
    whole = path.read_bytes()
    damaged = {
        "torn": whole[: len(whole) - 5],
        "changed": whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1 :],
        "empty": b"",
    }
    for _ in range(2):
        if harm == "missing":
            path.unlink()
        else:
            path.write_bytes(damaged[harm])
        for _ in range(2):
            with suppress(fasthpo.CorruptCheckpoint):
                follower.refresh()
            assert TRIALS <= len(follower) <= TRIALS + 3
        path.write_bytes(whole)
        follower.refresh()
        assert len(follower) == TRIALS + 3
        assert follower.values.tolist()[TRIALS:] == [0.0, 1.0, 2.0]
