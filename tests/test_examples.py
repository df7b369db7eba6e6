"""The examples run, in short form, and do what they promise."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the examples run: empty at first."""
    return tmp_path_factory.mktemp("examples")


@pytest.fixture(scope="module")
def run_example(repository: Path, directory: Path):
    """Runs an example with warnings as errors; its output in lines."""

    def run(name: str, *options: object) -> list[str]:
        command = [sys.executable, "-W", "error", repository / "examples" / name, *map(str, options)]
        done = subprocess.run(command, cwd=directory, capture_output=True, encoding="utf-8", timeout=280)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


def read_json(path: Path):
    return json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)


def test_quickstart_beats_the_default_settings(run_example) -> None:
    (line,) = run_example("quickstart.py")
    default, tuned = map(int, re.search(r"to (\d+) by default, to (\d+) with", line).groups())
    assert tuned < default


def test_quickstart_has_about_20_lines(repository: Path) -> None:
    lines = (repository / "examples" / "quickstart.py").read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line.strip()]) <= 24


SHORT = ("--trials", 4, "--epochs", 2, "--output-dir", "out")


@pytest.fixture(scope="module")
def digits(run_example) -> list[str]:
    """What the example prints in its short form."""
    return run_example("tune_digits.py", *SHORT)


@pytest.fixture
def history(directory: Path, digits: list[str]):
    """Reads the trials that the example wrote."""
    return lambda: read_json(directory / "out" / "digits-tpe-0" / "trial_history.json")["trials"]


def without_durations(lines: list[str]) -> list[str]:
    return [line for line in lines if not re.search(r"\d s\b", line)]


def test_tune_digits(digits: list[str], history, directory: Path) -> None:
    assert re.fullmatch(r"held-out accuracy: [01]\.\d{4}", digits[-1])
    shown = {line.split()[0] for line in digits if line.startswith("  ")}
    assert shown >= {"learning_rate", "weight_decay", "batch_size", "optimizer", "width"}
    study_dir = directory / "out" / "digits-tpe-0"
    statistics, best = (read_json(study_dir / f"{name}.json") for name in ("statistics", "best_parameters"))
    trials = history()
    assert len(trials) == statistics["total_trials"] == 4
    assert statistics["best_value"] == best["value"]
    sgd = [trial["params"]["optimizer"] == "sgd" for trial in trials]
    assert ["momentum" in trial["params"] for trial in trials] == sgd


def test_tune_digits_again_is_the_same_and_resumes(run_example, digits: list[str], history) -> None:
    """A second run replaces the first one's files and comes to the same; --resume adds trials to it."""
    assert without_durations(run_example("tune_digits.py", *SHORT)) == without_durations(digits)
    before = history()
    run_example("tune_digits.py", *SHORT, "--trials", 6, "--resume")
    after = history()
    assert len(after) == 6
    assert after[:4] == before


def test_tune_digits_of_two_objectives_ends_with_a_front(run_example, directory: Path) -> None:
    lines = run_example("tune_digits.py", *SHORT, "--objectives", "accuracy,parameters")
    assert lines[1].endswith("best accuracy first (maximize accuracy, minimize parameters)")
    assert lines[2].split()[:4] == ["trial", "accuracy", "parameters", "width"]
    study_dir = directory / "out" / "digits-accuracy-parameters-tpe-0"
    front = read_json(study_dir / "best_parameters.json")["front"]
    shown = [(float(line.split()[1]), float(line.split()[2])) for line in lines[3 : 3 + len(front)]]
    assert shown == sorted(((round(a, 6), n) for a, n in (one["values"] for one in front)), reverse=True)
    pytest.importorskip("matplotlib")
    assert (study_dir / "front.png").read_bytes().startswith(b"\x89PNG")


def test_tune_digits_by_random_search_with_two_workers(run_example, directory: Path) -> None:
    lines = run_example("tune_digits.py", *SHORT, "--sampler", "random", "--workers", 2)
    assert re.fullmatch(r"held-out accuracy: [01]\.\d{4}", lines[-1])
    trials = read_json(directory / "out" / "digits-random-0" / "trial_history.json")["trials"]
    assert len(trials) == 4 and {trial["state"] for trial in trials} <= {"COMPLETE", "PRUNED"}


def test_tune_on_ray(run_example) -> None:
    pytest.importorskip("ray")
    lines = run_example("tune_on_ray.py", "--trials", 4, "--epochs", 10, "--output-dir", "out")
    assert lines[0].startswith("Study digits-on-ray: 4 trials") and "0 failed" in lines[0]
    assert float(lines[-1].removeprefix("held-out accuracy: ")) > 0.8


def test_tune_on_slurm_runs_on_submitits_local_cluster(run_example, directory: Path) -> None:
    pytest.importorskip("submitit")
    lines = run_example("tune_on_slurm.py", "--cluster", "local", "--trials", 2, "--jobs", 1, "--folder", "slurm")
    assert lines[0].startswith("Study digits: 2 trials") and "0 failed" in lines[0]
    assert lines[-1] == "jobs that completed trials: 1"
    assert read_json(directory / "slurm" / "digits" / "statistics.json")["total_trials"] == 2


@pytest.mark.gpu
def test_tune_digits_on_a_gpu(run_example) -> None:
    import torch

    before = torch.cuda.memory_allocated()
    lines = run_example("tune_digits.py", *SHORT)
    assert lines[-1].startswith("held-out accuracy: ")
    assert torch.cuda.memory_allocated() == before


def test_cross_validation_saves_folds_by_pruning(run_example) -> None:
    lines = run_example("cross_validation.py", "--trials", 20)
    fitted, planned = map(int, re.search(r"folds trained: (\d+) of (\d+)", lines[-1]).groups())
    assert fitted < planned == 160


def test_the_walk_through_the_guide(run_example, directory: Path) -> None:
    lines = run_example("seed_walkthrough.py", "--trials", 8, "--output-dir", "out")
    assert "Total trials: 8" in lines
    assert any(re.fullmatch(r"Best value: 0\.\d{4}", line) for line in lines)
    completed = [int(line.split()[1]) for line in lines if re.match(r"Trial \d+ completed with value: ", line)]
    assert completed and set(completed) <= set(range(8, 13))  # the resumed part only
    assert lines.count("Trial failed: the batch does not fit") == 2
    assert any(line.startswith("Success rate: 75.0%") for line in lines)
    assert any(line.startswith("Evaluated at steps: [100, 200, ") for line in lines)
    (metrics,) = [line for line in lines if line.startswith("Several metrics: ")]
    assert set(re.findall(r"'(\w+)': 0\.\d+", metrics)) == {"eval_accuracy", "eval_f1", "eval_loss"}
    assert {file.name for file in (directory / "out" / "my_study").iterdir()} >= {
        "trial_history.json",
        "statistics.json",
        "best_parameters.json",
        "checkpoint.msgpack",
    }


def test_a_transformer_under_asha_with_two_workers(run_example, directory: Path) -> None:
    pytest.importorskip("wordfreq")
    lines = run_example("tune_transformer.py", "--budget", 4, "--words", 100, "--output-dir", "out")
    assert re.fullmatch(r"10 languages, words never seen: \d+\.\d% told right", lines[-1])
    assert any(re.fullmatch(r" +0 +9 +[1-9] .*", line) for line in lines)  # a trial went all the way
    assert list((directory / "out" / "languages-0").glob("checkpoints/trial-*/checkpoint-*"))


def test_many_small_networks(run_example) -> None:
    lines = run_example("tune_many_small.py", "--trials", 96, "--epochs", 4)
    assert re.match(r"96 trials in \d+ s, \d+ a second: best 0\.\d{4}", lines[0])
    assert int(re.match(r"(\d+) were pruned", lines[1]).group(1)) > 0
    assert float(re.fullmatch(r"held-out accuracy: ([01]\.\d{4})", lines[-1]).group(1)) > 0.9


def test_hyperband_goes_on_from_weights_on_disk(run_example, directory: Path) -> None:
    lines = run_example("tune_hyperband.py", "--max-epochs", 9, "--budget", 12, "--output-dir", "out")
    resumed, epochs = map(int, re.match(r"(\d+) trainings went on .* saved (\d+) epochs", lines[-2]).groups())
    assert resumed > 5 and epochs >= resumed
    assert float(lines[-1].removeprefix("validation accuracy: ")) > 0.6
    assert "bracket  resource  told  promoted  pruned  failed  running  best value  spent" in lines
    study = directory / "out" / "hyperband-tpe-0"
    statistics = read_json(study / "statistics.json")
    assert statistics["resource_spent"] <= 12 * 9 and statistics["stop_reason"] == "max_total_resource"
    assert list((study / "checkpoints").glob("trial-*/weights.pt"))


def test_a_population_learns_a_schedule_in_its_short_form(run_example, directory: Path) -> None:
    lines = run_example("tune_population.py", "--stacked", "--population", 3, "--epochs", 4, "--output-dir", "out")
    pieces = read_json(directory / "out" / "population-0" / "schedule.json")["pieces"]
    assert pieces[-1]["end"] == 4 and lines[0].startswith("epochs   0 to ")
    assert float(lines[-1].removeprefix("held-out accuracy: ")) > 0.7
