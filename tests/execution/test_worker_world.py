"""What worker processes have of the script that they work for: its arguments, flags, definitions and their names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import pytest

from fasthpo import InvalidValue, WorkersFailed
from tests.support.tuning import make, states

_HEAD = """
import json, sys
import fasthpo

def tuner(n=2):
    config = fasthpo.TunerConfig("s", max_trials=n, seed=0)
    made = fasthpo.HyperparameterTuner.with_random_search(config, {"x": fasthpo.Continuous(0.0, 1.0)})
    return made.remove_callback(fasthpo.LoggingCallback)

def say(tuner):
    print(json.dumps([[trial.value, trial.error] for trial in tuner.study.trials]))

"""


def lines(folder: Path, repository: Path, text: str, *arguments: str, flags: tuple[str, ...] = (), **more: str) -> Any:
    """What a script prints, as JSON values; it needs no `if __name__ == "__main__"`, and leaves no file behind.

    Args:
        more: further files in its folder.
    """
    for name, content in more.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(content))
    (folder / "script.py").write_text(_HEAD + textwrap.dedent(text))
    with tempfile.TemporaryDirectory() as temporary:  # the names of Unix sockets below it have to be short
        environment = {**os.environ, "PYTHONPATH": str(repository)}
        environment |= dict.fromkeys(("TMPDIR", "TEMP", "TMP"), temporary)
        command = [sys.executable, *flags, "script.py", *arguments]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=200)
        assert done.returncode == 0, done.stderr
        assert not list(Path(temporary).glob("fasthpo-*"))
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_arguments_and_flags(tmp_path: Path, repository: Path) -> None:
    """Of the interpreter, too; modules that are imported in a worker see them."""
    found = lines(
        tmp_path, repository, """
        import settings

        def objective(trial):
            print(json.dumps([
                settings.args.epochs, sys.argv, sys.flags.optimize, sys.flags.dont_write_bytecode, sys._xoptions,
                sys.warnoptions, sys.stdout.write_through, __name__, __file__,
            ]))
            return 1.0

        tuner(1).optimize(objective, trial_timeout=60)
        """,
        "--epochs", "50",
        flags=("-O", "-B", "-u", "-X", "mine=3", "-X", "other", "-W", "ignore::FutureWarning"),
        settings="""
        import argparse
        parser = argparse.ArgumentParser()
        parser.add_argument("--epochs", type=int, default=1)
        args = parser.parse_args()
        """,
    )  # fmt: skip
    options, warnings = {"mine": "3", "other": True}, ["ignore::FutureWarning"]
    file = str(tmp_path / "script.py")
    assert found == [[50, ["script.py", "--epochs", "50"], 1, 1, options, warnings, True, "__main__", file]]


def test_the_start_method_and_the_managers_of_multiprocessing(tmp_path: Path, repository: Path) -> None:
    found = lines(
        tmp_path, repository, """
        import multiprocessing

        def objective(trial):
            shared[trial.number] = trial.number
            return float(multiprocessing.get_start_method() == "spawn")

        if __name__ == "__main__":
            multiprocessing.set_start_method("spawn")
            with multiprocessing.Manager() as manager:
                shared = manager.dict()
                made = tuner()
                made.optimize(objective, workers=2)
                print(json.dumps(sorted(shared.keys())))
            say(made)
        """,
    )  # fmt: skip
    assert found == [[0, 1], [[1.0, None]] * 2]


_DEFINITIONS = """
import enum, multiprocessing, pickle
from concurrent.futures import ProcessPoolExecutor

print(json.dumps("begun"))  # a process that runs the script says so

class Base:
    pass

class Model(Base):
    class Kind(enum.Enum):
        SMALL = 1

    def __init__(self, x):
        self.kind, self.x = self.Kind.SMALL, x * factor

factor = 3

def model_of(x):
    return Model(x)

def in_a_process(x, method="spawn"):
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        return pool.submit(model_of, x).result()

class Objective:
    def __call__(self, trial):
        assert pickle.loads(pickle.dumps(self)).__class__ is Objective
        assert pickle.loads(pickle.dumps(Model.Kind.SMALL)) is Model.Kind.SMALL
        assert isinstance(in_a_process(trial.number), Base)
        return in_a_process(trial.number).x
"""


def test_definitions_of_the_script_are_found_by_their_names(tmp_path: Path, repository: Path) -> None:
    """Also in processes that a trial spawns, and in those that these spawn; the script runs once."""
    found = lines(
        tmp_path, repository, _DEFINITIONS + """
def nested(trial):
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(in_a_process, trial.number).result().x

for objective in (Objective(), nested):
    made = tuner()
    made.optimize(objective, workers=2)
    say(made)
""",
    )  # fmt: skip
    assert found == ["begun", *[[[0.0, None], [3.0, None]]] * 2]


@pytest.mark.skipif(os.name == "nt", reason="forkserver")
def test_definitions_of_the_script_with_forkserver_the_usual_way_from_python_3_14_on(
    tmp_path: Path, repository: Path
) -> None:
    found = lines(
        tmp_path, repository, _DEFINITIONS + """
made = tuner()
made.optimize(lambda trial: in_a_process(trial.number, "forkserver").x, workers=2)
say(made)
""",
    )  # fmt: skip
    assert found == ["begun", [[0.0, None], [3.0, None]]]


def test_definitions_of_the_script_in_an_executor(tmp_path: Path, repository: Path) -> None:
    """Of several runs, one after the other, each has its own."""
    pytest.importorskip("loky")
    found = lines(
        tmp_path, repository, _DEFINITIONS + """
import loky

for factor in (4, 5, 5):
    made = tuner()
    made.optimize(Objective(), executor=lambda: loky.get_reusable_executor(2))
    say(made)
""",
    )  # fmt: skip
    assert found == ["begun", *[[[0.0, None], [factor, None]] for factor in (4.0, 5.0, 5.0)]]


def test_an_executor_that_runs_the_script_itself(tmp_path: Path, repository: Path) -> None:
    """As the standard library's does, with a guard: what goes along takes the place of what is there, for trials only."""
    found = lines(
        tmp_path, repository, _DEFINITIONS.replace('print(json.dumps("begun"))', "") + """
def set_up():
    global factor
    factor = 7

if __name__ == "__main__":
    factor = 5
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), set_up) as executor:
        made = tuner()
        made.optimize(Objective(), executor=executor)
        say(made)
        print(json.dumps(executor.submit(model_of, 1).result().x))
""",
    )  # fmt: skip
    assert found == [[[0.0, None], [5.0, None]], 7]


def test_whole_models_are_saved_in_a_worker_and_loaded_by_the_script(tmp_path: Path, repository: Path) -> None:
    pytest.importorskip("torch")
    found = lines(
        tmp_path, repository, """
        import torch

        class Net(torch.nn.Linear):
            pass

        class Data(torch.utils.data.Dataset):
            def __len__(self):
                return 4
            def __getitem__(self, i):
                return torch.tensor(float(i))

        def objective(trial):
            torch.save(Net(1, 1), "net.pt")
            assert type(torch.load("net.pt", weights_only=False)) is Net
            loader = torch.utils.data.DataLoader(Data(), num_workers=1, multiprocessing_context="spawn")
            return float(sum(batch.sum() for batch in loader))

        made = tuner(1)
        made.optimize(objective, trial_timeout=100)
        say(made)
        print(json.dumps(type(torch.load("net.pt", weights_only=False)) is Net))
        """,
    )  # fmt: skip
    assert found == [[[6.0, None]], True]


def test_what_the_objective_does_not_name_is_not_there(tmp_path: Path, repository: Path) -> None:
    """And the error says so."""
    found = lines(
        tmp_path, repository, """
        import pickle

        class Lost:
            pass

        def main():
            pass

        for one in (Lost(), main):
            pickled = pickle.dumps(one)
            made = tuner(1)
            made.optimize(lambda trial: pickle.loads(pickled), workers=2)
            say(made)
        """,
    )  # fmt: skip
    for name, ((value, error),) in zip(("Lost", "main"), found, strict=True):
        assert value is None
        assert f"{name!r} on <module '__main__' of a worker, which has only what the objective uses" in error


def test_the_script_can_not_be_started_once_more(tmp_path: Path, repository: Path) -> None:
    """As Lightning's ddp does: each process would run the whole study."""
    (error,), = lines(
        tmp_path, repository, """
        def objective(trial):
            import __main__, subprocess
            command = [sys.executable, "-m", __main__.__spec__.name]
            raise ValueError(subprocess.run(command, capture_output=True, encoding="utf-8").stderr)

        made = tuner(1)
        made.optimize(objective, workers=2)
        say(made)
        """,
    )  # fmt: skip
    assert "a trial in a worker process can't start its script once more" in error[1]


def test_scripts_whose_parent_was_spawned_or_that_runpy_runs(tmp_path: Path, repository: Path) -> None:
    text = _HEAD + _DEFINITIONS.replace('print(json.dumps("begun"))', "")
    more = """
def run():
    made = tuner()
    made.optimize(Objective(), workers=2)
    say(made)

if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=run)
    process.start()
    process.join()
elif __name__ != "__mp_main__":
    run()
"""
    (tmp_path / "inner.py").write_text(text + more)
    found = lines(
        tmp_path, repository, """
        import runpy

        runpy.run_path("inner.py")
        runpy.run_path("inner.py", run_name="__main__")
        runpy.run_module("inner", run_name="other", alter_sys=True)
        """,
    )  # fmt: skip
    assert found == [[[0.0, None], [3.0, None]]] * 3


def test_relative_imports_in_functions_of_a_package_that_is_run(tmp_path: Path, repository: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "constants.py").write_text("factor = 5.0\n")
    (tmp_path / "package" / "train.py").write_text(
        _HEAD + "def objective(trial):\n    from .constants import factor\n    return factor\n"
        "made = tuner()\nmade.optimize(objective, workers=2)\nsay(made)\n"
    )
    command = [sys.executable, "-W", "error", "-m", "package.train"]
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", timeout=100)
    assert json.loads(done.stdout) == [[5.0, None]] * 2, done.stderr


# --- initializers


def test_an_initializer_sets_up_modules_and_globals_of_the_script(tmp_path: Path, repository: Path) -> None:
    """Before modules are imported that read what it sets; and what it binds stays, whatever the script's value is."""
    found = lines(
        tmp_path, repository, """
        import settings, late

        data = None

        def prepare(scale):
            global data
            data = [scale]
            settings.scale = scale

        def objective(trial):
            return late.scale * settings.scale * data[0]

        for options in ({"workers": 2}, {"backend": "processes"}, {"trial_timeout": 60}):
            made = tuner()
            made.optimize(objective, initializer=prepare, initargs=[7.0], **options)
            say(made)
        """,
        settings="scale = 1.0",
        late="from settings import scale",
    )  # fmt: skip
    assert found == [[[343.0, None]] * 2] * 3


def test_an_initializer_is_called_once_in_each_process_or_thread(tmp_path: Path) -> None:
    def note(folder: str) -> None:
        handle, _ = tempfile.mkstemp(dir=folder)
        os.close(handle)

    for options, times in (({}, 1), ({"workers": 2, "backend": "threads"}, 2), ({"backend": "processes"}, 1)):
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        make(6).optimize(lambda trial: 1.0, initializer=note, initargs=(str(folder),), **options)
        assert 1 <= len(list(folder.iterdir())) <= times


def test_an_initializer_that_exits() -> None:
    for options in ({}, {"workers": 2}, {"workers": 2, "backend": "threads"}):
        tuner = make(4)
        with pytest.raises(WorkersFailed, match=r"(?s)initializer.*SystemExit: 3"):
            tuner.optimize(lambda trial: 1.0, initializer=sys.exit, initargs=(3,), **options)
        assert set(states(tuner)) <= {"FAILED"}


@pytest.mark.parametrize(
    ("initializer", "initargs", "message"),
    [
        (3, (), "initializer must be a function, got initializer=3"),
        (None, (3,), "initargs need an initializer=, a function to call with them, got initargs=\\(3,\\)"),
        (print, "abc", "initargs must be a tuple of arguments for the initializer, got initargs='abc'"),
        (print, 3, "initargs must be a tuple of arguments for the initializer, got initargs=3"),
    ],
)
def test_initializers_that_are_none(initializer: Any, initargs: Any, message: str) -> None:
    tuner = make(2)
    with pytest.raises(InvalidValue, match=message):
        tuner.optimize(len, initializer=initializer, initargs=initargs)
    assert len(tuner.study) == 0


def test_an_initializer_that_can_not_be_sent() -> None:
    import threading

    with pytest.raises(InvalidValue, match=r"the initializer can't be sent to another process: .*lock"):
        make(2).optimize(len, workers=2, initializer=print, initargs=(threading.Lock(),))
