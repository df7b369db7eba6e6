"""A Hydra app searched by fasthpo: overrides as parameters, and the app of the guide run as its page says."""

from __future__ import annotations

import os
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fasthpo
from fasthpo import Categorical, Continuous, Discrete, InvalidSearchSpace, InvalidValue, LogUniform

pytest.importorskip("hydra")

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from fasthpo.integrations.hydra import HydraSweep, _arguments, _sampler, choices_of, current_trial, parameter_of
from tests.support.guide import blocks


@pytest.fixture(scope="module")
def parser() -> Any:
    return OverridesParser.create()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x=interval(0,1)", Continuous(0.0, 1.0)),
        ("x=interval(-1.5,1)", Continuous(-1.5, 1.0)),
        ("x=tag(log,interval(1e-5,1e-1))", LogUniform(1e-5, 1e-1)),
        ("x=int(interval(1,10))", Discrete(1, 10)),
        ("x=tag(log,int(interval(1,100)))", Discrete(1, 100, log=True)),
        ("x=range(1,10)", Discrete(1, 9)),
        ("x=range(1,10,4)", Discrete(1, 9, 4)),
        ("x=range(9,1,-4)", Discrete(5, 9, 4)),
        ("x=range(5)", Discrete(0, 4)),
        ("x=range(3,4,7)", Discrete(3, 3)),
        ("x=range(0,1000000000000)", Discrete(0, 999_999_999_999)),
        ("x=shuffle(range(1,4))", Discrete(1, 3)),
        ("x=range(0,1,0.25)", Continuous(0.0, 0.75, step=0.25)),
        ("x=range(0,0.3,0.1)", Continuous(0.0, 0.2, step=0.1)),
        ("x=range(1.0,0.0,-0.5)", Continuous(0.5, 1.0, step=0.5)),
        ("x=choice(16,32)", Categorical([16, 32])),
        ("x=a,true,null,1.5,'1.5'", Categorical(["a", True, None, 1.5, "1.5"])),
        ("x=shuffle(choice('a b',\"c,d\"))", Categorical(["a b", "c,d"])),
        ("x=choice([1,2],[3])", Categorical(["[1,2]", "[3]"])),
        ("x=a,b", Categorical(["a", "b"])),
        ("+x=choice(a)", Categorical(["a"])),
    ],
)
def test_overrides_as_parameters(parser: Any, text: str, expected: fasthpo.Parameter) -> None:
    """And each choice, as it is written, is that value again."""
    override = parser.parse_override(text)
    assert parameter_of(override) == expected
    for choice, written in choices_of(override) if override.is_choice_sweep() else ():
        again = parser.parse_override(f"x={written}")
        assert not again.is_sweep_override()
        assert again.value() == choice or written == choice


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x=interval(3,1)", "x: low must be less than high, got low=3.0, high=1.0"),
        ("x=tag(log,interval(0,1))", "x: .*positive"),
        ("x=range(3,1)", r"x: range\(3, 1, 1\) has no values"),
        ("x=range(0.5,0.1,0.1)", r"x: range\(0.5, 0.1, 0.1\) has no values"),
        ("x=range(0,5,0)", r"x: range\(0, 5, 0\) must have finite numbers and a step that is not 0"),
        ("x=range(0.5,5,0)", r"x: range\(0.5, 5, 0\) must have finite numbers"),
        ("x=range(0,inf)", r"x: range\(0, inf, 1\) must have finite numbers"),
        ("x=range(0,1,nan)", r"x: range\(0, 1, nan\) must have finite numbers"),
        ("x=range(1e999999999999)", "x: .*must"),
        ("x=range(100000000000000000000000)", "x: .*must"),
    ],
)
def test_overrides_that_can_not_be_searched(parser: Any, text: str, message: str) -> None:
    with pytest.raises(InvalidSearchSpace, match=message):
        parameter_of(parser.parse_override(text))


def test_samplers_and_pruners_by_name() -> None:
    assert _sampler("tpe", 3).seed == 3
    given = _sampler(OmegaConf.to_container(OmegaConf.create({"name": "tpe", "n_startup_trials": 4})), None)
    assert given.n_startup_trials == 4  # type: ignore[attr-defined]
    for wrong, message in (("no", "must be one of"), ({"name": "tpe", "no": 1}, "sampler: .*'no'"), (3, "a name or a")):
        with pytest.raises(InvalidValue, match=message):
            _sampler(wrong, None)
    assert _arguments("pruner", {"name": "median", "min_steps": 2}, "strategy") == {
        "strategy": "median",
        "min_steps": 2,
    }
    assert current_trial() is None


@pytest.fixture(scope="module")
def directory(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where apps are, and the plugin where Hydra finds it, as in an installed package."""
    made = tmp_path_factory.mktemp("hydra")
    shutil.copytree(repository / "fasthpo" / "integrations" / "hydra_plugins", made / "site" / "hydra_plugins")
    for block in blocks(repository / "docs" / "hydra.md"):
        if block.is_file:
            assert block.title is not None
            (made / block.title).parent.mkdir(exist_ok=True)
            (made / block.title).write_text(block.text, encoding="utf-8")
    return made


def test_the_app_of_the_guide(repository: Path, directory: Path) -> None:
    """Two processes, a directory for each job, the best as Hydra's Optuna sweeper writes it, and a study to read."""
    (command,) = (block.text for block in blocks(repository / "docs" / "hydra.md") if "app.py --multirun" in block.text)
    program, *arguments = shlex.split(command.replace("\\\n", "").replace("n_trials=20", "n_trials=4"))
    assert program == "python"
    paths = [str(directory / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments, "hydra.sweep.dir=swept", "hydra.sweeper.seed=0"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sweep = directory / "swept"
    study = fasthpo.Study.load(sweep / "fasthpo", read_only=True)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 4
    assert dict(study.space) == {
        "x": Continuous(-5.0, 5.0), "layers": Discrete(1, 3), "optimizer": Categorical(["sgd", "adam"]),
    }  # fmt: skip
    for trial in study.trials:
        config = OmegaConf.load(sweep / str(trial.number) / ".hydra" / "config.yaml")
        assert config == trial.params
        assert trial.value == (trial["x"] - 2) ** 2 + trial["layers"]
    results = OmegaConf.load(sweep / "optimization_results.yaml")
    assert results == {"name": "fasthpo", "best_params": study.best_params, "best_value": study.best_value}
    assert OmegaConf.load(sweep / "multirun.yaml").hydra.sweeper.n_jobs == 2


@pytest.fixture
def sweep(directory: Path, tmp_path: Path) -> Iterator[Any]:
    """Makes a sweep of `conf/searched.yaml` in this process, as `hydra.main` does, of a task and options."""
    from hydra import compose, initialize_config_dir
    from hydra._internal.callbacks import Callbacks
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.singleton import Singleton
    from hydra.types import HydraContext

    runpy.run_path(str(directory / "site" / "hydra_plugins" / "fasthpo_sweeper.py"))  # which tells Hydra of its options
    before = Singleton.get_state()
    quiet = ("hydra/job_logging=none", "hydra/hydra_logging=none", f"hydra.sweep.dir={tmp_path}/${{now:%f}}")
    with initialize_config_dir(str(directory / "conf"), version_base=None):

        def make(task: Any, *options: str) -> HydraSweep:
            loader = GlobalHydra.instance().config_loader()
            config = compose("searched", [*quiet, *options], return_hydra_config=True)
            chosen = {key: value for key, value in config.hydra.sweeper.items() if key != "_target_"}
            return HydraSweep(chosen, HydraContext(loader, Callbacks()), task, config)

        yield make
    Singleton.set_state(before)


def test_failures_pruning_and_going_on(sweep: Any, tmp_path: Path) -> None:
    """Parameters are those of the config, but for what the command line says."""
    from hydra.core.hydra_config import HydraConfig

    jobs: list[tuple[int, Path]] = []

    def task(config: Any) -> Any:
        job = HydraConfig.get()
        jobs.append((job.job.num, Path(job.runtime.output_dir)))
        trial = current_trial()
        assert trial is not None and (trial.number, trial["x"]) == (job.job.num, config.x) and config.layers == 3
        if trial.number == 1:
            raise KeyError("mine")
        trial.report(float(trial.number), step=0)
        if trial.should_prune():
            raise fasthpo.TrialPruned
        return {"loss": config.x}

    options = (
        "hydra.sweeper.metric=loss", f"hydra.sweeper.storage={tmp_path}/kept", "hydra.sweeper.n_jobs=1",
        "hydra.sweeper.pruner={name: threshold, upper: 2.5}",
    )  # fmt: skip
    arguments = ["x=interval(0,1)", "layers=3", "optimizer=a,'b c'"]
    study = sweep(task, *options, "hydra.sweeper.n_trials=4").run(arguments).study
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAILED", "COMPLETE", "PRUNED"]
    assert "KeyError: 'mine'" in (study.trials[1].error or "") and study.sampler.n_startup_trials == 20
    assert dict(study.space) == {"x": Continuous(0.0, 1.0), "optimizer": Categorical(["a", "b c"])}
    assert [number for number, _ in jobs] == [0, 1, 2, 3] and len({place.parent for _, place in jobs}) == 1
    assert len(sweep(task, *options, "hydra.sweeper.n_trials=6").run(arguments).trials) == 6
    assert [number for number, _ in jobs] == [0, 1, 2, 3, 4, 5] and current_trial() is None


def test_several_objectives(sweep: Any, tmp_path: Path) -> None:
    options = ("hydra.sweeper.direction=[minimize, maximize]", "hydra.sweeper.n_jobs=1", "hydra.sweeper.n_trials=3")
    result = sweep(lambda config: [abs(config.x), -abs(config.x)], *options).run([])
    (file,) = tmp_path.glob("*/optimization_results.yaml")
    (best,) = OmegaConf.load(file).solutions  # both objectives want x to be small
    assert best == {"params": result.best_trials[0].params, "values": result.front()[1][0].tolist()}


def test_what_a_sweep_can_not_do_is_said_before_the_first_job(sweep: Any) -> None:
    """By Hydra, where it is Hydra's to say."""
    from hydra.errors import ConfigCompositionException

    with pytest.raises(ConfigCompositionException, match="Could not override 'no'"):
        sweep(pytest.fail).run(["no=interval(0,1)"])
    with pytest.raises(InvalidSearchSpace, match="there is nothing to search"):
        sweep(pytest.fail).run(["x=1", "layers=2", "optimizer=a"])
    with pytest.raises(InvalidValue, match=r"hydra\.sweeper\.sampler must be one of"):
        sweep(pytest.fail, "hydra.sweeper.sampler=no").run([])
