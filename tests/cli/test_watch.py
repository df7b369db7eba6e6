"""`fasthpo watch` beside a process that writes the study."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import fasthpo
from fasthpo.cli.studies import look_at
from tests.support.command_line import HOSTILE, SPACE, assert_no_control, call, hostile, kept, printed

WRITER = """
import sys, fasthpo
space = {"x": fasthpo.Continuous(0.0, 1.0)}
with fasthpo.Study(space, sampler=fasthpo.RandomSampler(seed=0), storage=sys.argv[1]) as study:
    for i in range(50):
        study.tell(study.ask(), i)
    print("begun", flush=True)
    sys.stdin.readline()
    for i in range(50):
        study.tell(study.ask(), -i)
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """A process that has told 50 trials, and tells 50 more and ends when it gets a line."""
    path = tmp_path / "live"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        yield path, process
        process.kill()


def test_what_another_process_does_is_followed_to_its_end(writer: tuple[Path, subprocess.Popen[str]]) -> None:
    path, process = writer
    arguments = [sys.executable, "-m", "fasthpo.cli", "watch", str(path), "--interval", "0.1", "--json"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, encoding="utf-8") as watching:
        assert watching.stdout is not None and process.stdin is not None
        first = json.loads(watching.stdout.readline())
        assert first["trials"] == 50 and first["best"]["value"] == 0.0 and first["is_open"]
        process.stdin.write("\n")
        process.stdin.flush()
        *_, last = map(json.loads, watching.stdout)
        assert last["trials"] == 100 and last["best"]["value"] == -49.0 and not last["is_open"]
        assert watching.wait(60) == 0


def test_a_study_that_is_removed_while_it_is_watched_gets_one_line(tmp_path: Path) -> None:
    path = kept(tmp_path / "gone", 3)
    arguments = [sys.executable, "-m", "fasthpo.cli", "watch", str(path), "--interval", "0.1"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8") as watching:
        assert watching.stdout is not None and watching.stderr is not None
        assert "5 trials" in watching.stdout.readline()
        for file in path.glob("*.msgpack"):
            file.unlink()
        assert watching.wait(60) == 2
        error = watching.stderr.read()
        assert error.count("\n") == 1 and error.startswith("fasthpo: ")


def test_without_a_writer_it_goes_on_as_long_as_is_said(tmp_path: Path) -> None:
    text = printed("watch", kept(tmp_path / "still", 3), "--seconds", "0.3", "--interval", "0.1")
    assert text.count("\n") == 1 and "5 trials" in text and text.endswith("no process has it open\n")


def test_a_file_is_not_watched(tmp_path: Path) -> None:
    file = fasthpo.Study.load(kept(tmp_path / "a", 1), read_only=True).save(tmp_path / "file.msgpack")
    result = call("watch", file)
    assert result.exit_code == 2 and "is a file, which stays as it is" in result.stderr


def test_the_picture_for_a_terminal_shows_what_there_is(tmp_path: Path) -> None:
    rich = pytest.importorskip("rich.console")
    from fasthpo.cli.live import picture
    from fasthpo.cli.progress import follow

    empty = tmp_path / "empty"
    fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=0), storage=empty).close()
    for path in (empty, kept(tmp_path / "one", 1), kept(tmp_path / "full", 40), hostile(tmp_path / "hostile")):
        looked = look_at(path)
        (moment,) = follow(looked, 0.1, 0.0)
        for width in (40, 100):
            console = rich.Console(width=width, record=True, file=open(tmp_path / "out", "w", encoding="utf-8"))  # noqa: SIM115
            console.print(picture(looked, moment, width))
            console.file.close()
            text = console.export_text()
            assert f"{len(looked.study)} trials" in text and path.name in text
            assert HOSTILE not in text
            assert_no_control(text)
            assert max(map(len, text.splitlines())) <= width


def test_the_picture_has_the_latest_trials_as_told_also_those_outside_of_a_changed_space(tmp_path: Path) -> None:
    rich = pytest.importorskip("rich.console")
    from fasthpo.cli.live import picture
    from fasthpo.cli.progress import follow
    from fasthpo.trials import changing

    with fasthpo.Study({"x": fasthpo.Continuous(0.0, 9.0)}, storage=tmp_path / "s") as study:
        study.add_trials({"x": [1.0, 8.0]}, [0.125, 0.875])
    fasthpo.Study.load(tmp_path / "s", space={"x": fasthpo.Continuous(0.0, 4.0)}).close()
    looked = look_at(tmp_path / "s")
    (moment,) = follow(looked, 0.1, 0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(changing, "whole", None)  # no table of all trials is made anew for a picture
        shown = picture(looked, moment, 100)
    console = rich.Console(width=100, record=True, file=io.StringIO())
    console.print(shown)
    lines = console.export_text().splitlines()
    assert any("complete" in line and "0.875" in line for line in lines)
    assert any("complete" in line and "0.125" in line for line in lines)


def test_the_line_of_the_best_so_far_rises_whatever_the_values(tmp_path: Path) -> None:
    pytest.importorskip("rich")
    from fasthpo.cli.live import best_so_far

    for direction, values in (
        ("minimize", [3.0, 5.0, np.inf, np.nan, 2.0, 1.0]),
        ("maximize", [-1e308, 0.0, 1e308, -np.inf, 5.0]),
        ("minimize", [1e308, -1e308]),
    ):
        study = fasthpo.Study({"x": fasthpo.Continuous(0, 1)}, sampler=fasthpo.RandomSampler(), direction=direction)
        study.add_trials({"x": np.zeros(len(values))}, values)
        blocks = best_so_far(study.table, 10)
        assert blocks == "".join(sorted(blocks)) and len(set(blocks)) > 1 and blocks[-1] == "\N{FULL BLOCK}"
    assert best_so_far(fasthpo.Study({"x": fasthpo.Continuous(0, 1)}).table, 10) == ""
