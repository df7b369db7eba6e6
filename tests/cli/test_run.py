"""`fasthpo run`, and the commands that look at the machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fasthpo
from fasthpo import pruners, samplers, strategies
from tests.support.command_line import call, printed, read

TRAIN = """
import os
from helper_of_train import loss
class Inner:
    @staticmethod
    def objective(trial):
        return {"loss": loss(trial), "pid": os.getpid()}
def objective(trial):
    return loss(trial)
def failing(trial):
    raise RuntimeError("no good")
def training(trial):
    return trial["x"] / trial.resource
NUMBER = 3
"""
SPACE = """
[x]
type = "continuous"
low = 0.0
high = 1.0
[kind]
type = "categorical"
choices = ["a", "b"]
[y]
type = "log_uniform"
low = 0.1
high = 1.0
when = { kind = ["b"] }
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with objectives and a space, in which the command is called."""
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "helper_of_train.py").write_text("def loss(trial):\n    return trial['x'] + len(trial.params)\n")
    (tmp_path / "space.toml").write_text(SPACE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("train", "helper_of_train"):
        sys.modules.pop(name, None)


def test_a_function_is_searched_without_a_script(project: Path) -> None:
    text = printed("run", "train:objective", "--space", "space.toml", "--trials", "12", "--seed", "4")
    assert "Study objective: 12 trials" in text and "files: hyperopt_results" in text
    study = fasthpo.Study.load(project / "hyperopt_results" / "objective", read_only=True)
    assert len(study) == 12 and isinstance(study.sampler, fasthpo.AutoSampler) and study.sampler.seed == 4
    assert study.space["y"].when == {"kind": ("b",)}
    result = call("run", "train:objective", "--space", "space.toml", "--trials", "12")
    assert result.exit_code == 2 and "--resume" in result.stderr and result.stderr.count("\n") == 1
    done = read("run", "train.py:objective", "--space", "space.toml", "--trials", "15", "--resume")
    assert done["statistics"]["total_trials"] == 15 and done["stop_reason"] == "max_trials"
    assert done["best"] == read("best", project / "hyperopt_results" / "objective")


def test_workers_are_processes_which_import_what_the_function_needs(project: Path) -> None:
    arguments = ["run", "train:Inner.objective", "--space", "space.toml", "--trials", "6", "--workers", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "fasthpo.cli", *arguments, "--metric", "loss", "--name", "two", "--json"],
        capture_output=True, encoding="utf-8", timeout=120, cwd=project,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["statistics"]["completed_trials"] == 6
    study = fasthpo.Study.load(project / "hyperopt_results" / "two", read_only=True)
    processes = {trial.metrics["pid"] for trial in study.trials}
    assert os.getpid() not in processes


@pytest.mark.parametrize("strategy", strategies.builtin())
def test_strategies_train_the_best_further(project: Path, strategy: str) -> None:
    arguments = ["--space", "space.toml", "--trials", "9", "--strategy", strategy, "--max-resource", "9", "--seed", "0"]
    done = read("run", "train:training", *arguments, "--direction", "maximize")
    assert done["statistics"]["rungs"]
    study = fasthpo.Study.load(done["path"], read_only=True)
    assert study.direction == "maximize" and isinstance(study.sampler, fasthpo.RandomSampler)


def test_several_objectives_and_constraints_are_given_as_options(project: Path) -> None:
    (project / "both.py").write_text("def objective(t): return {'a': t['x'], 'b': 1 - t['x'], 'c': t['x']}")
    done = read(
        "run", "both.py:objective", "--space", "space.toml", "--trials", "9", "--sampler", "random", "--seed", "0",
        "--direction", "minimize", "--direction", "maximize", "--metric", "a", "--metric", "b", "--constraint", "c <= 0.5",
    )  # fmt: skip
    study = fasthpo.Study.load(done["path"], read_only=True)
    assert study.directions == ("minimize", "maximize")
    assert [one["number"] for one in done["best"]] == study.front()[0].tolist()
    assert done["statistics"]["infeasible_trials"] == sum(trial["x"] > 0.5 for trial in study.trials)
    sys.modules.pop("both")


def test_the_names_that_options_take_are_those_of_the_library(project: Path) -> None:
    text = printed("run", "--help")
    for rooms in (samplers, strategies, pruners):
        assert f"[{'|'.join(rooms.builtin())}]" in text.replace("\n", "").replace(" ", "")
    (project / "space.json").write_text(json.dumps({"x": {"type": "discrete", "low": 1, "high": 3}}))
    for sampler in samplers.builtin():
        done = read(
            "run", "train:objective", "--space", "space.json", "--sampler", sampler, "--name", sampler, "--seed", "1"
        )
        assert done["statistics"]["total_trials"] == 3 and done["stop_reason"] == "space_exhausted"


def test_a_function_that_always_fails_ends_with_code_1(project: Path) -> None:
    result = call("run", "train:failing", "--space", "space.toml", "--trials", "30")
    assert result.exit_code == 1
    line = result.stderr.splitlines()[-1]
    assert line.startswith("fasthpo: all 10 trials have failed") and "RuntimeError: no good" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--space", "space.toml"], "module:function"),
        (["train:nothing", "--space", "space.toml"], "train has no nothing"),
        (["train:NUMBER", "--space", "space.toml"], "is no function, but int"),
        (["nothing:objective", "--space", "space.toml"], "there is no module nothing"),
        (["nothing.py:objective", "--space", "space.toml"], "there is no file nothing.py"),
        (["broken:objective", "--space", "space.toml"], "broken can't be imported: ZeroDivisionError"),
        (["missing:objective", "--space", "space.toml"], "missing can't be imported: ModuleNotFoundError"),
        (["json.py:dumps", "--space", "space.toml"], "json.py has the name of another module"),
        (["train:objective", "--space", "nothing.toml"], "the space can't be read: "),
        (["train:objective", "--space", "train.py"], "train.py is no JSON"),
        (["train:objective", "--space", "wrong.toml"], "low must be less than high"),
        (["train:objective", "--space", "list.json"], "a search space is a mapping"),
        (["train:objective", "--space", "space.toml"], "--trials or --max-duration"),
        (["train:objective", "--space", "space.toml", "--trials", "0"], "--trials"),
        (["train:objective", "--space", "space.toml", "--trials", "3", "--strategy", "asha"], "go together"),
        (["train:objective", "--space", "space.toml", "--trials", "3", "--max-resource", "9"], "go together"),
        (["train:objective", "--space", "space.toml", "--trials", "3", "--name", "a/b"], "study_name"),
        (["train:objective", "--space", "space.toml", "--trials", "3", "--sampler", "grid"], "grid"),
        (["train:objective", "--space", "space.toml", "--trials", "3", "--sampler", "best"], "'best' is not one of"),
        (["train:objective", "--space", "space.toml", "--trials", "3", "--resume"], "there is no study"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else None,
)
def test_wrong_input_gets_one_line_and_leaves_nothing(project: Path, arguments: list[str], words: str) -> None:
    (project / "broken.py").write_text("1 / 0")
    (project / "missing.py").write_text("import no_such_module_anywhere")
    (project / "json.py").write_text("def dumps(trial): return 0")
    (project / "wrong.toml").write_text('[x]\ntype = "continuous"\nlow = 1\nhigh = 0\n')
    (project / "list.json").write_text("[1]")
    result = call("run", *arguments)
    assert result.exit_code == 2 and result.stdout == "", result.output
    assert result.stderr.count("\n") == 1 and words in result.stderr, result.stderr
    assert not (project / "hyperopt_results").exists()


# --- the machine


def test_bench_measures_suggestions_a_second() -> None:
    done = read("bench", "--sizes", "60,120", "--params", "2", "--seconds", "0.1")
    ours = [result for result in done["results"] if result["library"] == "fasthpo"]
    assert [result["trials"] for result in ours] == [60, 120]
    assert all(result["per_second"] * result["seconds"] == pytest.approx(1) for result in done["results"])
    assert ours[0]["version"] == fasthpo.__version__


def test_bench_leaves_out_what_would_take_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    from fasthpo.cli import suggesting

    def slow(points: object, losses: object) -> suggesting.AskTell:
        clock[0] += 1.0
        return tick

    def tick() -> None:
        clock[0] += 0.01

    clock = [0.0]
    monkeypatch.setattr(suggesting, "installed", lambda: {"fasthpo": "0", "optuna": "1"})
    monkeypatch.setitem(suggesting._MAKE, "optuna", slow)
    monkeypatch.setitem(
        suggesting._MAKE, "fasthpo", lambda points, losses: lambda: clock.__setitem__(0, clock[0] + 0.01)
    )
    monkeypatch.setattr(suggesting.time, "perf_counter", lambda: clock[0])
    lines = printed("bench", "--sizes", "1000,100000", "--seconds", "0.5").splitlines()
    assert lines[2].split() == ["fasthpo", "0", "100", "100"] and lines[3].split()[-1] == "-"


def test_after_warmup_nothing_is_left_to_compile() -> None:
    """Samplers, pruners and strategies as other tests use them compile nothing that was not compiled before."""
    program = """
import sys
from fasthpo.cli.compiling import compile_all, dispatchers
from fasthpo.report.pictures import pictures_of
from tests.support import studies
def signatures():
    return {(d.py_func.__module__, d.py_func.__name__, str(s)) for d in dispatchers() for s in d.signatures}
done = compile_all()
before = signatures()
for sampler, pruner, strategy in (
    *((name, "median", "in-full") for name in studies.SAMPLERS),
    *(("random", name, "in-full") for name in studies.PRUNERS),
    *((sampler, "none", name) for name in studies.STRATEGIES for sampler in ("random", "tpe", "cma-es")),
):
    study = studies.make(sampler, pruner, strategy)
    for i in range(60):
        studies.step(study, i)
    pictures_of(study)
print(sorted(signatures() - before), done.kernels >= 30, done.compiled + done.found >= done.kernels)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, encoding="utf-8", timeout=280,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.stdout == "[] True True\n", done.stderr


def test_warmup_says_that_nothing_is_compiled_where_that_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    result = call("warmup")
    assert result.exit_code == 2 and "NUMBA_DISABLE_JIT" in result.stderr
