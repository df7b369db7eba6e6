"""What the commands print of studies, and how they refuse what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fasthpo
from fasthpo.cli.commands.plot import KINDS
from fasthpo.cli.group import COMMANDS
from fasthpo.trials.trial import TrialState
from tests.support.command_line import HOSTILE, SPACE, call, hostile, kept, printed, read

READERS = [
    ["show"],
    ["best"],
    ["trials"],
    ["report"],
    ["watch", "--seconds", "0.1"],
    ["export", "--format", "csv"],
    ["check"],
]
ON_A_STUDY = [*READERS, ["compact"]]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kept(tmp_path_factory.mktemp("studies") / "digits", pruner=fasthpo.MedianPruner())


def output(arguments: list[str], tmp_path: Path) -> list[object]:
    """Where a command is to write, if it writes."""
    return {"export": ["-o", "-"], "report": ["-o", tmp_path / "report.html"]}.get(arguments[0], [])


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "fasthpo.cli", *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )


# --- what is there


def test_show_sums_a_study_up(study: Path) -> None:
    text = printed("show", study)
    found = fasthpo.Study.load(study, read_only=True)
    assert "digits" in text and "minimize" in text and "RandomSampler(seed=3)" in text and "MedianPruner(" in text
    assert "42 (1 running, 24 complete, 8 pruned, 8 failed, 1 waiting)" in text
    assert f"Best trial: {found.best_trial.number}" in text and repr(found.best_value) in text
    assert str(fasthpo.analysis.gains(found, last=10)) in text  # what the last trials have gained
    record = read("show", study)
    assert record["trials"] == {"RUNNING": 1, "COMPLETE": 24, "PRUNED": 8, "FAILED": 8, "WAITING": 1, "PAUSED": 0}
    assert record["best"]["params"] == found.best_params
    assert record["definition"]["pruner"]["name"] == "median"
    assert record["statistics"]["completed_trials"] == 24


def test_best_prints_the_parameters_exactly(study: Path) -> None:
    found = fasthpo.Study.load(study, read_only=True)
    best = found.best_trial
    assert read("best", study) == {
        "number": best.number, "value": best.value, "params": best.params, "metrics": best.metrics,
    }  # fmt: skip
    assert all(repr(value) in printed("best", study) for value in best.params.values() if isinstance(value, float))


def test_best_maximises_where_the_study_does(tmp_path: Path) -> None:
    path = kept(tmp_path / "up", direction="maximize")
    found = fasthpo.Study.load(path, read_only=True)
    numbers = [trial["number"] for trial in read("trials", path, "--sort", "best", "--head", "5")["trials"]]
    complete = np.flatnonzero((found.states == TrialState.COMPLETE) & np.isfinite(found.values))
    assert numbers == sorted(complete.tolist(), key=lambda number: (-found.values[number], number))[:5]
    assert numbers[0] == read("best", path)["number"]


def test_trials_are_listed_with_all_that_they_have(study: Path) -> None:
    listed = read("trials", study, "--all")
    found = fasthpo.Study.load(study, read_only=True)
    assert listed["total"] == listed["matching"] == len(listed["trials"]) == len(found)
    for record, trial in zip(listed["trials"], found.trials, strict=True):
        assert record["number"] == trial.number and record["state"] == trial.state.name
        assert record["value"] in (trial.value, "Infinity") and record["error"] == trial.error
        assert record["reports"] == len(trial.reports) and record["f1"] == trial.metrics.get("f1")
        params = {name: record[f"params.{name}" if name == "value" else name] for name in SPACE}
        assert {name: value for name, value in params.items() if value is not None} == {
            name: value for name, value in trial.params.items() if value is not None
        }


@pytest.mark.parametrize(
    ("filters", "fits"),
    [
        (["lr<0.001"], lambda trial: trial.params.get("lr", 1) < 0.001),
        (["layers >= 8", "state=complete"], lambda t: t.state == TrialState.COMPLETE and t.params["layers"] >= 8),
        (["optimizer=sgd"], lambda trial: trial.params.get("optimizer") == "sgd"),
        (["optimizer=None"], lambda trial: trial.params.get("optimizer", 0) is None),
        (["momentum>0"], lambda trial: trial.params.get("momentum", 0) > 0),
        (["momentum!=0.5"], lambda trial: "momentum" in trial.params),
        (["params.value=True"], lambda trial: trial.params.get("value", 0) is True),
        (["params.value=1"], lambda trial: type(trial.params.get("value")) is int),
        (["value=inf"], lambda trial: trial.value == float("inf")),
        (["error~BAD 1"], lambda trial: "bad 1" in (trial.error or "")),
        (["error!=x"], lambda trial: trial.error is not None),
        (["state!=failed"], lambda trial: trial.state != TrialState.FAILED),
        (["f1>=0.05"], lambda trial: trial.metrics.get("f1", 0) >= 0.05),
        (["reports=0"], lambda trial: not trial.reports),
        (["start<2000-01-01"], lambda trial: False),
        (["optimizer~AD"], lambda trial: trial.params.get("optimizer") == "adam"),
    ],
)
def test_filters_fit_the_trials_that_they_say(study: Path, filters: list[str], fits: object) -> None:
    found = fasthpo.Study.load(study, read_only=True)
    arguments = [one for text in filters for one in ("--filter", text)]
    numbers = [trial["number"] for trial in read("trials", study, "--all", *arguments)["trials"]]
    assert numbers == [trial.number for trial in found.trials if fits(trial)]  # type: ignore[operator]


@pytest.mark.parametrize("column", ["lr", "momentum", "value", "duration", "start", "f1", "reports", "optimizer"])
def test_sorting_puts_trials_without_a_value_last(study: Path, column: str) -> None:
    for flags in ([], ["--descending"]):
        listed = [t[column] for t in read("trials", study, "--all", "--sort", column, *flags)["trials"]]
        have = [x for x in listed if x is not None] if column != "optimizer" else []
        have = [float("inf") if x == "Infinity" else x for x in have]
        assert have == sorted(have, reverse=bool(flags))
        assert column == "optimizer" or all(x is None for x in listed[len(have) :])


def test_columns_are_chosen_by_name(study: Path) -> None:
    lines = printed("trials", study, "--columns", "number,lr,error", "--filter", "state=failed").splitlines()
    assert lines[0].split() == ["number", "lr", "error"]
    assert lines[1].endswith("ValueError: bad 3")
    assert list(read("trials", study, "--columns", "params.value,f1")["trials"][0]) == ["params.value", "f1"]


def test_a_table_says_how_many_trials_it_leaves_out(study: Path) -> None:
    result = call("trials", study, "--head", "3")
    assert len(result.stdout.splitlines()) == 4
    assert result.stderr == "(3 of 42 trials; --head N or --all for more)\n"


def test_durations_of_a_table_have_a_unit(study: Path) -> None:
    lines = printed("trials", study, "--columns", "duration", "--filter", "state=complete").splitlines()
    assert lines[0].strip() == "duration" and all(line.split()[1] in ("ms", "s") for line in lines[1:])
    assert all(isinstance(trial["duration"], float) for trial in read("trials", study, "--all")["trials"][:5])


def test_a_front_of_chosen_objectives_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with fasthpo.Study(
        {name: fasthpo.Continuous(0.0, 1.0) for name in "xyzu"}, directions=["minimize"] * 4,
        sampler=fasthpo.RandomSampler(seed=0), storage=tmp_path / "four",
    ) as four:  # fmt: skip
        for _ in range(9):
            trial = four.ask()
            four.tell(trial, list(trial.params.values()))
    for chosen in (
        [],
        ["--objective", "3", "--objective", "0"],
        ["--objective", "1", "--objective", "2", "--objective", "3"],
    ):
        assert read("plot", tmp_path / "four", "front", *chosen, "-o", tmp_path / "a.svg")["kind"] == "front"
    named = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert "objective 3" in named and "objective 0" not in named
    assert_one_line(["plot", tmp_path / "four", "front", "--objective", "1"], "objectives must list two or three")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and signals of POSIX")
def test_a_closed_pipe_and_ctrl_c_end_a_command_without_a_traceback(study: Path, tmp_path: Path) -> None:
    import signal

    command = [sys.executable, "-m", "fasthpo.cli"]
    with subprocess.Popen(
        [*command, "trials", str(study), "--all"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as cut:
        assert cut.stdout is not None and cut.stderr is not None
        cut.stdout.close()
        assert cut.stderr.read() == b"" and cut.wait(60) == 1
    (tmp_path / "waits.py").write_text(
        "import time\n\ndef objective(trial):\n    print('on', flush=True)\n    time.sleep(60)\n"
    )
    (tmp_path / "space.json").write_text('{"x": {"type": "continuous", "low": 0.0, "high": 1.0}}')
    with subprocess.Popen(
        [*command, "run", "waits:objective", "--space", "space.json", "--trials", "3"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
    ) as running:  # fmt: skip
        assert running.stdout is not None and running.stderr is not None and running.stdout.readline() == "on\n"
        running.send_signal(signal.SIGINT)
        said = running.stderr.read()
        assert running.wait(60) == 130 and "Traceback" not in said and "interrupted" in said, said
    assert read("show", tmp_path / "hyperopt_results" / "objective")["writer"] is None


def test_rungs_are_shown(tmp_path: Path) -> None:
    path = kept(tmp_path / "asha", sampler=None, strategy=fasthpo.ASHA(9, sampler=fasthpo.RandomSampler(seed=0)))
    text = printed("show", path)
    assert "ASHA(max_resource=9" in text and "promoted" in text
    assert all(trial["resource"] in (1, 3, 9, None) for trial in read("trials", path, "--all")["trials"])
    times = {t.number: t.duration for t in fasthpo.Study.load(path, read_only=True).trials}
    for trial in read("trials", path, "--all", "--sort", "duration")["trials"]:
        assert trial["duration"] == times[trial["number"]] or np.isnan(times[trial["number"]])


# --- every kind of study


@pytest.mark.parametrize("count", [0, 1])
def test_a_study_without_trials_or_with_one_is_no_special_case(tmp_path: Path, count: int) -> None:
    path = tmp_path / "small"
    with fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=0), storage=path) as study:
        for _ in range(count):
            study.tell(study.ask(), 0.5)
    for arguments in ON_A_STUDY:
        result = call(*arguments, path, *output(arguments, tmp_path))
        assert result.exit_code == (1 if arguments[0] == "best" and not count else 0), result.output
    assert ("No trial has completed" in printed("show", path)) == (not count)


class OwnSampler(fasthpo.RandomSampler):
    """A user's own."""


class OwnPruner(fasthpo.Pruner):
    def should_prune(self, table: object, number: int) -> bool:
        return False


class OwnStrategy(fasthpo.ASHA):
    """A user's own."""


def test_studies_with_parts_of_the_users_own_can_be_looked_at(tmp_path: Path) -> None:
    path = kept(tmp_path / "own", sampler=OwnSampler(seed=1), pruner=OwnPruner())
    assert "OwnSampler()" in printed("show", path) and "OwnPruner()" in printed("show", path)
    path = kept(tmp_path / "strategy", sampler=None, strategy=OwnStrategy(9, sampler=OwnSampler(seed=1)))
    assert "OwnStrategy()" in printed("show", path)
    before = fasthpo.Study.load(path, read_only=True, strategy=fasthpo.ASHA(9)).values.tobytes()
    printed("compact", path)
    assert fasthpo.Study.load(path, read_only=True, strategy=fasthpo.ASHA(9)).values.tobytes() == before


def test_a_checkpoint_file_is_a_study(study: Path, tmp_path: Path) -> None:
    file = fasthpo.Study.load(study, read_only=True).save(tmp_path / "copy.msgpack")
    assert read("show", file)["study"] == "copy"
    assert read("best", file) == read("best", study)
    assert read("check", file)["trials"] == 42


def test_a_file_of_a_studys_directory_stands_for_the_directory(study: Path) -> None:
    assert read("show", study / "checkpoint.msgpack")["study"] == "digits"


def test_a_running_study_is_looked_at_without_being_touched(tmp_path: Path) -> None:
    with fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=0), storage=tmp_path / "live") as study:
        for arguments in READERS:
            call(*arguments, tmp_path / "live", *output(arguments, tmp_path))
        record = read("show", tmp_path / "live")
        assert record["writer"]["process"] == os.getpid()
        assert f"process {os.getpid()} on" in printed("show", tmp_path / "live")
        study.tell(study.ask(), 1.0)
    assert read("show", tmp_path / "live")["writer"] is None
    assert read("best", tmp_path / "live")["value"] == 1.0


def test_nothing_that_a_user_wrote_reaches_the_terminal_as_it_is(tmp_path: Path) -> None:
    path = hostile(tmp_path / "hostile")
    for arguments in (["show"], ["best"], ["trials", "--all"], ["watch", "--seconds", "0.1"]):
        text = printed(*arguments, path)
        assert "\x1b" not in text and "\u202e" not in text and "\udcff" not in text
    numbers = [t["number"] for t in read("trials", path, "--filter", f"{HOSTILE}<0.5")["trials"]]
    found = fasthpo.Study.load(path, read_only=True)
    assert numbers == [trial.number for trial in found.trials if trial.params[HOSTILE] < 0.5]  # type: ignore[operator]
    assert list(read("trials", path, "--columns", "a<b,c,state", "--filter", "a<b,c>=0")["trials"][0]) == [
        "a<b,c",
        "state",
    ]
    assert list(read("trials", path, "--columns", "number,params.number")["trials"][0]) == ["number", "params.number"]


def test_several_objectives_have_a_front_in_the_place_of_a_best_trial(tmp_path: Path) -> None:
    path = tmp_path / "two"
    sampler = fasthpo.RandomSampler(seed=0)
    with fasthpo.Study(SPACE, sampler=sampler, directions=["minimize", "maximize"], storage=path) as study:
        for i in range(40):
            trial = study.ask()
            study.tell(trial, [trial["lr"], trial["layers"]], constraints=[-1.0 if i % 4 else 1.0])
        numbers, values = study.front()
    found = read("best", path)
    assert [one["number"] for one in found] == numbers.tolist()
    assert [one["values"] for one in found] == values.tolist() and found[0]["constraints"] == [-1.0]
    assert len(printed("best", path).splitlines()) == len(numbers) + 2
    text = printed("show", path)
    assert "directions" in text and "minimize, maximize" in text and f"On the front: {len(numbers)} trials" in text
    record = read("show", path)
    assert record["directions"] == ["minimize", "maximize"] and record["best"] == found
    listed = read("trials", path, "--sort", "values_1", "--descending", "--head", "3", "--filter", "violation=0")
    assert listed["matching"] == 30
    tops = [trial["values_1"] for trial in listed["trials"]]
    assert tops == sorted(tops, reverse=True)
    assert f"{len(numbers)} on the front" in printed("watch", path, "--seconds", "0.1")
    assert_one_line(["trials", path, "--sort", "best"], "no trial is the best: sort by values_0 or values_1")
    assert_one_line(["trials", path, "--columns", "value2"], "no column 'value2'")
    assert set(read("importance", path, "--objective", "1")["shares"]) == set(SPACE)
    assert_one_line(["importance", path, "--objective", "2"], "objective must be an index from 0 to 1")
    pytest.importorskip("matplotlib")
    printed("plot", path, "front", "-o", tmp_path / "front.svg")
    assert (tmp_path / "front.svg").read_text().startswith("<?xml")


def test_a_trial_that_breaks_a_constraint_is_not_the_best(tmp_path: Path) -> None:
    path = tmp_path / "bounded"
    with fasthpo.Study({"x": fasthpo.Continuous(0, 1)}, sampler=fasthpo.RandomSampler(seed=0), storage=path) as study:
        for value in (3.0, 1.0, 2.0):
            study.tell(study.ask(), value, constraints=[1.0 if value == 1.0 else 0.0])
    assert read("best", path)["number"] == 2
    assert [trial["number"] for trial in read("trials", path, "--sort", "best")["trials"]] == [2, 0, 1]


def test_failures_are_grouped_by_their_reason(study: Path, tmp_path: Path) -> None:
    groups = read("show", study)["failures"]
    assert sorted(group["trials"] for group in groups) == [4, 4]
    lines = printed("show", study).splitlines()
    assert any(line.split()[:2] == ["4x", "ValueError:"] for line in lines) and "Failures: 8" in lines


# --- pictures


def test_importance_is_that_of_the_library(study: Path) -> None:
    from fasthpo.analysis import importance

    found = fasthpo.Study.load(study, read_only=True)
    for method in ("fanova", "ped-anova"):
        record = read("importance", study, "--method", method)
        assert record["shares"] == importance(found, method.replace("-", "_")).to_dict() and record["trials"] == 24
    lines = printed("importance", study).splitlines()
    assert lines[0].split() == ["parameter", "share"] and len(lines) == 1 + len(SPACE)


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_kind_of_picture_is_drawn(study: Path, tmp_path: Path, kind: str) -> None:
    pytest.importorskip("matplotlib")
    target = tmp_path / "picture.png"
    result = call("plot", study, kind, "-o", target, "--dpi", "40")
    if kind in ("front", "hypervolume", "rungs", "lineages"):
        assert result.exit_code == 2 and result.stderr.count("\n") == 1 and not target.exists()
        return
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{target}\n" and target.read_bytes().startswith(b"\x89PNG")


def test_the_lineages_of_a_population_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    strategy = fasthpo.PopulationTraining(4, population=3, sampler=fasthpo.RandomSampler(seed=0))
    with fasthpo.Study({"x": fasthpo.Continuous(0, 1)}, strategy=strategy, storage=tmp_path / "members") as study:
        while (trial := study.ask_within()) is not None:
            study.tell(trial, trial["x"] / trial.resource)
    printed("plot", tmp_path / "members", "lineages", "-o", tmp_path / "lineages.png", "--dpi", "40")
    assert (tmp_path / "lineages.png").read_bytes().startswith(b"\x89PNG")


def test_pictures_take_parameters_studies_and_formats(study: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    printed("plot", study, "contour", "--param", "layers", "--param", "lr", "-o", tmp_path / "a.pdf")
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    printed("plot", study, "edf", "--with", kept(tmp_path / "other", 9), "-o", tmp_path / "a.svg")
    assert "other" in (tmp_path / "a.svg").read_text()
    assert_one_line(["plot", study, "histroy"], "'histroy' is not one of 'history'")
    assert_one_line(["plot", study, "history", "-o", tmp_path / "a.docx"], "a picture's name ends with", "a.docx")
    assert_one_line(["plot", study, "history", "--param", "lr"], "--param has no effect for history")
    assert_one_line(["plot", study, "contour", "--param", "lr"], "a contour is of two parameters, got 1")
    assert_one_line(["plot", study, "slices", "--param", "nothing"], "nothing")
    assert_one_line(["plot", study, "history", "-o", study / "checkpoint.msgpack" / "a.png"], "can't be written")
    assert_one_line(["plot", tmp_path / "nothing", "history"], "there is no study at")


def test_what_needs_completed_trials_says_that_there_are_none(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=0), storage=path).close()
    result = call("importance", path)
    assert result.exit_code == 1 and result.stderr == "fasthpo: importance needs at least 2 completed trials, got 0\n"


# --- what is wrong


def assert_one_line(arguments: list[object], *words: str) -> None:
    result = call(*arguments)
    assert result.exit_code == 2 and result.stdout == "", result.output
    assert result.stderr.count("\n") == 1 and result.stderr.startswith("fasthpo")
    assert all(word in result.stderr for word in words), result.stderr


@pytest.mark.parametrize("arguments", ON_A_STUDY, ids=lambda arguments: str(arguments[0]))
def test_a_study_that_is_missing_or_damaged_gets_one_line(arguments: list[str], study: Path, tmp_path: Path) -> None:
    assert_one_line([*arguments, tmp_path / "nothing"], "there is no study at", "nothing")
    assert_one_line([*arguments, tmp_path], "there is no study in")
    (tmp_path / "text").write_text("no study")
    (tmp_path / "damaged").mkdir()
    data = bytearray((study / "checkpoint.msgpack").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "damaged" / "checkpoint.msgpack").write_bytes(data)
    if arguments[0] == "check":
        return
    assert_one_line([*arguments, tmp_path / "text"], "text")
    assert_one_line([*arguments, tmp_path / "damaged"], "damaged at byte")


def test_studies_in_a_directory_are_named_to_who_takes_it_for_one(tmp_path: Path) -> None:
    kept(tmp_path / "mine", 1)
    assert_one_line(["show", tmp_path], "There are studies in it: ", "mine")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["shwo"], ["No such command 'shwo'"]),
        (["show"], ["Missing argument 'STUDY'", "see fasthpo show --help"]),
        (["show", "STUDY", "--jsn"], ["--jsn"]),
        (["trials", "STUDY", "--sort", "nothing"], ["no column 'nothing'", "lr", "params.value"]),
        (["trials", "STUDY", "--sort", "error"], ["can't be sorted by error"]),
        (["trials", "STUDY", "--columns", "lr,nothing"], ["no column 'nothing'"]),
        (["trials", "STUDY", "--filter", "lr"], ["a filter is a column", "'lr'"]),
        (["trials", "STUDY", "--filter", "lr<small"], ["lr is compared with a number, got 'small'"]),
        (["trials", "STUDY", "--filter", "lr<nan"], ["lr is compared with a number, got 'nan'"]),
        (["trials", "STUDY", "--filter", "optimizer=rmsprop"], ["optimizer is one of adam, sgd, None, got 'rmsprop'"]),
        (["trials", "STUDY", "--filter", "state=done"], ["a state is one of RUNNING"]),
        (["trials", "STUDY", "--filter", "optimizer<sgd"], ["optimizer has choices, compared by =, != and ~"]),
        (["trials", "STUDY", "--filter", "state>=failed"], ["state has choices"]),
        (["plot", "STUDY", "pie"], ["'pie' is not one of 'history'"]),
        (["plot", "STUDY", "history", "-o", "x.xyz"], ["a picture's name ends with one of", "'x.xyz'"]),
        (["plot", "STUDY", "history", "--objective", "0", "--objective", "1"], ["history is of one objective, got 2"]),
        (["plot", "STUDY", "history", "--objective", "3"], ["objective must be an index from 0 to 0"]),
        (["plot", "STUDY", "front"], ["a front is that of a study of several objectives"]),
        (["plot", "STUDY", "rungs", "--objective", "0"], ["--objective has no effect for rungs"]),
        (["plot", "STUDY", "slices", "--param", "nothing"], ["the space has no parameter 'nothing'"]),
        (["plot", "STUDY", "contour", "--param", "lr"], ["a contour is of two parameters, got 1"]),
        (["plot", "STUDY", "edf", "--with", "nothing"], ["there is no study at"]),
        (["importance", "STUDY", "--objective", "1"], ["objective must be an index from 0 to 0"]),
        (["report", "STUDY", "-o", "STUDY/checkpoint.msgpack/a"], ["can't be written"]),
        (["export", "STUDY", "--format", "optuna", "-o", "STUDY/nothing/a.db"], ["Optuna can't write"]),
        (["trials", "STUDY", "--filter", "error<3"], ["error is a text"]),
        (["trials", "STUDY", "--filter", "end>noon"], ["a time such as"]),
        (["trials", "STUDY", "--head", "0"], ["--head"]),
        (["watch", "STUDY", "--interval", "0"], ["--interval"]),
        (["export", "STUDY"], ["--format"]),
        (["export", "STUDY", "--format", "xlsx"], ["xlsx"]),
        (["export", "STUDY", "--format", "parquet", "-o", "-"], ["only csv and json"]),
        (["export", "STUDY", "--format", "csv", "-o", "STUDY/checkpoint.msgpack/a"], ["can't be written"]),
        (["export", "STUDY", "--format", "optuna", "-o", "no://such"], ["Optuna can't write"]),
        (["bench", "--sizes", "many"], ["--sizes", "'many'"]),
        (["run", "train:objective"], ["--space"]),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) and len(given) < 6 else None,
)
def test_wrong_input_gets_one_line(arguments: list[str], words: list[str], study: Path) -> None:
    assert_one_line([one.replace("STUDY", str(study)) for one in arguments], *words)


# --- files


def test_check_says_what_can_be_recovered(study: Path, tmp_path: Path) -> None:
    assert read("check", study)["intact"] is True
    path = tmp_path / "damaged"
    with fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=0), storage=path) as live:
        for _ in range(9):
            live.tell(live.ask(), 0.5)
        data = bytearray((path / "journal.msgpack").read_bytes())
    (path / "checkpoint.msgpack").unlink()
    data[-60] ^= 1
    (path / "journal.msgpack").write_bytes(data)
    result = call("check", path, "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 1 and not found["intact"] and "journal.msgpack is damaged at byte" in found["damage"]
    recovered = fasthpo.Study.load(path, read_only=True, recover=True)
    assert found["recoverable"]["trials"] == len(recovered) and len(recovered) in (8, 9)
    assert f"Recoverable: {len(recovered)} trials" in call("check", path).stdout
    (path / "journal.msgpack").write_bytes(b"nothing of the kind")
    assert "Nothing can be recovered." in call("check", path).stdout


def test_check_knows_of_a_writer_that_was_killed(study: Path, tmp_path: Path) -> None:
    path = kept(tmp_path / "left", 3)
    owner = {"pid": 2**31 - 1, "host": os.uname().nodename if hasattr(os, "uname") else "", "since": "2026"}
    (path / ".owner.json").write_text(json.dumps(owner))
    if owner["host"]:
        assert "which is gone" in printed("check", path)
        assert read("show", path)["writer"] is None
    (path / ".owner.json").write_text('{"pid": "x", "host": [], "since": 1}')
    assert read("check", path)["writer"] is None


def test_compact_makes_files_small_and_changes_no_trial(tmp_path: Path) -> None:
    path = tmp_path / "long"
    study = fasthpo.Study(SPACE, sampler=fasthpo.TPESampler(seed=0), storage=path, direction="maximize")
    for _ in range(300):
        study.tell(study.ask(), 0.5)
    running = study.ask()
    running.report(0.25, 7)
    assert_one_line(["compact", path], "open for writing in process")
    study.sync()
    journal = (path / "journal.msgpack").read_bytes()
    study.close()
    (path / "checkpoint.msgpack").unlink()
    (path / "journal.msgpack").write_bytes(journal)  # as after a crash
    done = read("compact", path)
    assert done["bytes_before"] == len(journal) and done["bytes_after"] < len(journal) / 3
    assert not list(path.glob(".owner*"))
    with fasthpo.Study.load(path, interrupted="fail") as again:
        assert len(again) == 301 and again.direction == "maximize"
        assert isinstance(again.sampler, fasthpo.TPESampler) and again.sampler.seed == 0
        assert again.trials[300].reports == {7: 0.25}
    file = fasthpo.Study.load(path, read_only=True).save(tmp_path / "file.msgpack")
    assert_one_line(["compact", file], "only a study's directory can be made smaller")


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_exports_are_those_of_the_library(study: Path, tmp_path: Path, kind: str) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    found = fasthpo.Study.load(study, read_only=True)
    own = getattr(found, f"to_{kind}")(tmp_path / "own").read_bytes()
    done = read("export", study, "--format", kind, "-o", tmp_path / "theirs")
    assert done["trials"] == 42 and (tmp_path / "theirs").read_bytes() == own
    if kind != "parquet":
        assert printed("export", study, "--format", kind, "-o", "-").encode().replace(b"\r\n", b"\n") == own.replace(
            b"\r\n", b"\n"
        )


def test_a_study_is_exported_to_optuna(tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    study = kept(tmp_path / "digits", 6)
    assert f"8 trials: sqlite:///{tmp_path / 'a.db'}\n" == printed(
        "export", study, "--format", "optuna", "-o", tmp_path / "a.db"
    )
    theirs = optuna.load_study(study_name="digits", storage=f"sqlite:///{tmp_path / 'a.db'}")
    assert theirs.best_value == read("best", study)["value"]
    assert_one_line(["export", study, "--format", "optuna", "-o", tmp_path / "a.db"], "Optuna can't write 'digits'")


# --- the program


def test_help_imports_next_to_nothing() -> None:
    program = """
import sys
from fasthpo.cli.__main__ import main
sys.argv = ["fasthpo", "--help"]
try:
    main()
except SystemExit as end:
    assert end.code == 0
heavy = ("numpy", "rich", "msgpack", "fasthpo.study", "fasthpo.space", "fasthpo.storage", "fasthpo.analysis")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode == 0, done.stderr
    *text, heavy = done.stdout.splitlines()
    assert heavy == "[]"
    assert all(any(line.split()[:1] == [name] for line in text) for name in COMMANDS)


def test_without_click_a_line_says_how_to_install_it() -> None:
    program = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "click" else find(name, *more)
from fasthpo.cli.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "fasthpo: the command line needs click: pip install 'fasthpo[cli]'\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_commands_help_has_an_example_and_json(name: str) -> None:
    text = printed(name, "--help")
    assert "Example:" in text and "--json" in text
    assert f"fasthpo {name} " in text or f"fasthpo {name}\n" in text


def test_the_version_is_printed() -> None:
    assert printed("--version") == f"fasthpo {fasthpo.__version__}\n"
    assert "Commands:" in printed()


def test_shells_complete_commands(study: Path) -> None:
    done = run(_FASTHPO_COMPLETE="bash_complete", COMP_WORDS="fasthpo sh", COMP_CWORD="1")
    assert done.stdout == "plain,show\n"


def test_a_process_prints_plain_text_and_exits_with_its_code(study: Path, tmp_path: Path) -> None:
    hostile(tmp_path / "hostile")
    done = run("trials", tmp_path / "hostile", PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and done.stdout.isascii() and "\x1b" not in done.stdout, done.stderr
    done = run("show", tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("fasthpo: there is no study in ")
    empty = tmp_path / "empty"
    fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=0), storage=empty).close()
    assert run("best", empty).returncode == 1
