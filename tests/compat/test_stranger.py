"""A stranger's program for Optuna, of which one line is changed: it runs, is killed, and goes on where it was."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import fasthpo
from fasthpo.trials.trial import TrialState

PROGRAM = Path(__file__).with_name("stranger.py")


def test_a_program_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    text = PROGRAM.read_text(encoding="utf-8")
    assert text.count("import optuna\n") == 1
    program = tmp_path / "stranger.py"
    program.write_text(text.replace("import optuna\n", "import fasthpo.compat.optuna as optuna\n"), encoding="utf-8")
    # more trials than a pipe that nobody reads holds the lines of: it can't end by itself
    running = subprocess.Popen(
        [sys.executable, str(program), "--trials", "100000"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    assert running.stderr is not None
    lines = []
    for line in running.stderr:
        lines.append(line)
        if "Trial 12 " in line:
            break
    running.kill()
    running.communicate()
    assert "Studies of sqlite:///models.db are kept in the directory" in lines[0]
    directory = tmp_path / "models.db.fasthpo" / "models"
    with fasthpo.Study.load(directory, read_only=True) as killed:
        before = [(trial.params, trial.state, trial.value) for trial in killed.trials]
        running_then = int(killed.table.counts[TrialState.RUNNING])
    assert len(before) >= 13
    done = subprocess.run(
        [sys.executable, str(program), "--trials", "4"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    count = len(before) - running_then + 4
    assert re.search(rf"^Finished: {count} trials, \d+ pruned, \d+ complete$", done.stdout, flags=re.MULTILINE)
    with fasthpo.Study.load(directory) as study:
        after = [(trial.params, trial.state, trial.value) for trial in study.trials]
        assert [one for one in after[: len(before)] if one in before] == [
            one for one in before if one[1] != TrialState.RUNNING
        ]
        assert {state for _, state, _ in after} <= {TrialState.COMPLETE, TrialState.PRUNED}
        learnt = study.space.learnt.space  # type: ignore[attr-defined]
        assert dict(learnt["max_depth"].when) == {"model": ("forest",)}
