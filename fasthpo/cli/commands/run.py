"""`fasthpo run`: a study without a script."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fasthpo.cli.options import json_option

if TYPE_CHECKING:
    from fasthpo.tuner.tuner import HyperparameterTuner


class BuiltIn(click.Choice[str]):
    """The names of the built-in samplers, pruners or strategies, which are looked up when they are needed.

    Args:
        room: the module that has them.
    """

    def __init__(self, room: str) -> None:
        self._room = room
        self.case_sensitive = True

    @property
    def choices(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(importlib.import_module(f"fasthpo.{self._room}").builtin())


@click.command("run", short_help="Search the parameters of a function.")
@click.argument("objective", metavar="MODULE:OBJECTIVE")
@click.option("--space", "space_file", required=True, type=click.Path(path_type=Path), help="Its file, TOML or JSON.")
@click.option("--trials", type=click.IntRange(1), help="How many, earlier runs included; members of a population.")
@click.option("--max-duration", type=click.FloatRange(0, min_open=True), help="Seconds after which none starts.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="How many run at a time.")
@click.option(
    "--direction",
    type=click.Choice(["minimize", "maximize"]),
    multiple=True,
    default=["minimize"],
    show_default=True,
    help="Of several objectives once for each.",
)
@click.option(
    "--metric", multiple=True, help="Which one is the objective, where that returns a mapping; once for each objective."
)
@click.option("--constraint", multiple=True, help="What a metric has to keep, such as 'memory_gb <= 8'; for each once.")
@click.option("--sampler", type=BuiltIn("samplers"), help="Where to look.  [default: auto; random for a strategy]")
@click.option("--strategy", type=BuiltIn("strategies"), help="Train the best trials further; needs --max-resource.")
@click.option("--max-resource", type=click.IntRange(1), help="How far the best are trained.")
@click.option("--pruner", type=BuiltIn("pruners"), help="Give trials up that do badly; with its defaults.")
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), help="Makes it repeatable.  [default: one is drawn]")
@click.option("--trial-timeout", type=click.FloatRange(0, min_open=True), help="Seconds after which a trial fails.")
@click.option("--name", help="The study's.  [default: the objective's]")
@click.option(
    "--output-dir", type=click.Path(path_type=Path), default=Path("hyperopt_results"), show_default=True,
    help="The study is kept in its subdirectory NAME.",
)  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with the study that is there.")
@json_option
def command(objective: str, space_file: Path, as_json: bool, **options: Any) -> int:
    """Search the parameters of a function, and keep the study in a directory.

    MODULE:OBJECTIVE is the function, which takes a trial (a mapping of its parameters) and returns a number: of an
    importable module, as my_package.train:objective, or of a file, as train.py:objective.

    \b
    A space in TOML (JSON is alike, and knows null):
      [learning_rate]
      type = "log_uniform"        # or continuous, discrete, categorical
      low = 1e-5
      high = 1e-1
      [optimizer]
      type = "categorical"
      choices = ["adam", "sgd"]
      [momentum]
      type = "continuous"
      low = 0.0
      high = 0.99
      when = { optimizer = ["sgd"] }

    \b
    Example:
      fasthpo run train.py:objective --space space.toml --trials 100 --workers 4
    """
    from fasthpo.cli.exits import DONE, INTERRUPTED, NO, Failed, Wrong, one_line
    from fasthpo.cli.objectives import load_objective, load_space
    from fasthpo.cli.text import print_json, printable
    from fasthpo.errors import AllTrialsFailed
    from fasthpo.storage.directory import holds_study
    from fasthpo.tuner.results import StopReason

    space = load_space(space_file)
    function = load_objective(objective)
    tuner = _tuner(space, options["name"] or objective.rpartition(":")[2], options)
    directory = tuner.config.study_dir
    if options["resume"]:
        tuner.load_checkpoint(directory)
    elif holds_study(directory):
        raise Wrong(f"{directory} holds a study already: go on with it by --resume, or give another --name")
    sampler = tuner.study.sampler
    if options["trials"] is options["max_duration"] is space.size is sampler.draw_limit(space) is None:
        raise Wrong("the search space is infinite, so the study would never end: give --trials or --max-duration")
    try:
        result = tuner.optimize(function, options["workers"], trial_timeout=options["trial_timeout"])
    except AllTrialsFailed as error:
        raise Failed(f"{one_line(error)}. The study: {directory}") from error
    except ImportError as error:
        raise Wrong(one_line(error)) from error
    if as_json:
        from fasthpo.cli.best import best_record

        print_json(
            {
                "study": result.study_name,
                "path": str(directory),
                "stop_reason": result.stop_reason,
                "statistics": result.statistics.to_dict(),
                "best": best_record(result.study),
            }
        )
    else:
        click.echo("\n".join(printable(line) for line in str(result).splitlines()))
        click.echo(f"files: {printable(str(directory))}")
    if result.stop_reason == StopReason.INTERRUPTED:
        return INTERRUPTED  # what there is has been told, and can be gone on with
    return DONE if len(result.best_trials) else NO


def _tuner(space: Any, name: str, options: dict[str, Any]) -> HyperparameterTuner:
    from fasthpo.cli.exits import Wrong
    from fasthpo.samplers import builtin
    from fasthpo.strategies import builtin as builtin_strategies
    from fasthpo.strategies.base import Strategy
    from fasthpo.tuner.config import PruningConfig, TunerConfig
    from fasthpo.tuner.tuner import HyperparameterTuner

    strategy, resource, seed = options["strategy"], options["max_resource"], options["seed"]
    made: Any = None if strategy is None else builtin_strategies()[strategy]
    is_population = made is not None and made.is_population  # which ends by itself
    if (strategy is None) != (resource is None):
        raise Wrong("--strategy and --max-resource go together: give both or none")
    config = TunerConfig(
        name,
        direction=options["direction"],
        objective_metric=options["metric"] or None,
        constraints=options["constraint"],
        max_trials=None if is_population else options["trials"],
        max_duration=options["max_duration"],
        pruning=None if options["pruner"] is None else PruningConfig(strategy=options["pruner"]),
        output_dir=options["output_dir"],
        save_checkpoints=True,
    )
    kind: Any = builtin()[options["sampler"] or ("auto" if strategy is None else "random")]
    sampler = kind(seed=seed)
    if strategy is None:
        return HyperparameterTuner(config, space, Strategy(sampler))
    more = {"population": options["trials"]} if is_population and options["trials"] is not None else {}
    return HyperparameterTuner(config, space, made(resource, sampler=sampler, **more))
