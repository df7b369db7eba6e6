"""Repeated evaluations of a point: asked for, or made by a study of a noisy objective; and what is believed of them."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo import TrialState, analysis, plots
from fasthpo.errors import InvalidValue, TrialStateError, UnknownTrial
from tests.support.command_line import call
from tests.support.interrupting import counted

SPACE = fasthpo.SearchSpace(
    {
        "x": fasthpo.Continuous(0.0, 1.0),
        "kind": fasthpo.Categorical(["a", "b"]),
        "y": fasthpo.Continuous(0.0, 1.0, when={"kind": ["a"]}),
    }
)


def study(**options: Any) -> fasthpo.Study:
    return fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=1), **options)


def loss(trial: Any, noise: float = 0.3) -> float:
    """Noise that depends on the number, so that a resumed study has the same."""
    draw = float(np.random.default_rng([5, trial.number]).normal())
    return float((trial["x"] - 0.4) ** 2 + trial.params.get("y", 0.5) ** 2 + noise * draw)


def run(s: fasthpo.Study, trials: int, noise: float = 0.3) -> None:
    for _ in range(trials):
        trial = s.ask()
        s.tell(trial, math.nan if trial.number % 9 == 8 else loss(trial, noise))


def points(s: fasthpo.Study) -> dict[tuple[Any, ...], list[int]]:
    """The numbers of the trials of each point."""
    found: dict[tuple[Any, ...], list[int]] = {}
    for trial in s.trials:
        found.setdefault(tuple(trial.params.items()), []).append(trial.number)
    return found


def test_a_repeat_has_the_parameters_of_the_other_and_a_number_of_its_own() -> None:
    s, plain = study(), study()
    first = s.ask()
    s.tell(first, 0.5)
    for again in (first, 0, np.int64(0)):
        trial = s.ask(repeat=again)
        assert trial.params == first.params and trial.state == TrialState.RUNNING
        s.tell(trial, 0.5 + trial.number)
    plain.tell(plain.ask(), 0.5)
    assert s.ask().params == plain.ask().params  # no draw was used up
    assert s.estimate(first).mean == pytest.approx(0.5 + 6 / 4) and s.estimate(3) == s.estimate(0)
    assert s.estimate(0).evaluations == 4 and s.estimate(4) == (pytest.approx(math.nan, nan_ok=True),) * 2 + (0,)
    assert s.estimate(0).error == pytest.approx(np.std([0.5, 1.5, 2.5, 3.5], ddof=1) / 2)
    assert s.best_value == 0.5  # the study is not noisy


@pytest.mark.parametrize("state", [TrialState.FAILED, TrialState.PRUNED, None])
def test_a_trial_that_has_failed_was_pruned_or_still_runs_can_be_repeated(state: TrialState | None) -> None:
    s = study(noisy=True)
    first = s.ask()
    if state is not None:
        s.tell(first, state=state)
    again = s.ask(repeat=first)
    assert again.params == first.params
    s.tell(again, 2.0)
    assert s.estimate(first).evaluations == 1 and s.best_trial == again
    if state is None:
        s.tell(first, 1.0)
        assert s.estimate(first).mean == 1.5 and s.best_trial == again  # of two, the worse one


def test_what_can_not_be_repeated_is_refused() -> None:
    s = study()
    with pytest.raises(UnknownTrial):
        s.ask(repeat=0)
    waiting = s.enqueue({"x": 0.5})
    with pytest.raises(TrialStateError, match="WAITING"):
        s.ask(repeat=waiting)
    with pytest.raises(UnknownTrial, match="another study"):
        s.ask(repeat=study().ask())
    with pytest.raises(InvalidValue):
        s.ask(repeat="best")  # type: ignore[arg-type]
    assert len(s) == 1 and s.table.counts[TrialState.RUNNING] == 0
    halving = fasthpo.Study(SPACE, strategy=fasthpo.ASHA(max_resource=9))
    first = halving.ask()
    with pytest.raises(InvalidValue, match="ASHA says which trial comes next"):
        halving.ask(repeat=first)
    several = study(directions=["minimize", "maximize"])
    several.tell(several.ask(), [1.0, 2.0])
    several.tell(several.ask(repeat=0), [1.0, 2.0])
    with pytest.raises(InvalidValue, match="several"):
        several.estimate(0)
    with pytest.raises(InvalidValue, match=r"noisy=True is for one objective.*2 directions"):
        study(directions=["minimize", "maximize"], noisy=True)
    with pytest.raises(InvalidValue, match=r"noisy=True is for one objective.*ASHA"):
        fasthpo.Study(SPACE, strategy=fasthpo.ASHA(max_resource=9), noisy=True)


def test_repeats_do_not_disturb_what_knows_the_points_of_a_finite_space() -> None:
    s = fasthpo.Study({"k": fasthpo.Discrete(1, 6)}, sampler=fasthpo.AutoSampler(seed=0), noisy=True)
    for _ in range(30):
        try:
            trial = s.ask() if len(s) % 4 else s.ask(repeat=0) if len(s) else s.ask()
        except fasthpo.SpaceExhausted:
            break
        s.tell(trial, float(trial["k"]) + 0.01 * trial.number)
    assert sorted(params[0][1] for params in points(s)) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_what_looks_best_is_evaluated_again_and_a_lucky_value_is_not_believed(direction: str) -> None:
    s = study(noisy=True, direction=direction)
    sign = 1 if direction == "minimize" else -1
    for _ in range(60):
        trial = s.ask()
        lucky = trial.number in (12, 25, 40)
        s.tell(trial, sign * (-5.0 if lucky else loss(trial)))
    repeated = {numbers[0]: numbers for numbers in points(s).values() if len(numbers) > 1}
    assert {12, 25, 40} <= set(repeated) and max(map(len, repeated.values())) <= 4
    assert 5 <= sum(len(numbers) - 1 for numbers in repeated.values()) <= 0.2 * 50 + 1
    best = s.best_trial
    assert best.number not in (12, 25, 40)
    # by hand, from all trials
    groups = list(points(s).values())
    deviations = [sign * s.values[g] - (sign * s.values[g]).mean() for g in groups]
    deviation = math.sqrt(sum((d**2).sum() for d in deviations) / sum(len(g) - 1 for g in groups))
    scores = [(sign * s.values[g]).mean() + deviation / math.sqrt(len(g)) for g in groups]
    chosen = groups[int(np.argmin(scores))]
    assert best.number == sorted(chosen, key=lambda n: sign * s.values[n])[len(chosen) // 2]
    assert s.estimate(best).error == pytest.approx(deviation / math.sqrt(len(chosen)))
    assert s.best_trials[0] == best and repr(s).endswith(f"(trial {best.number}))")


def test_an_objective_without_noise_is_soon_found_out() -> None:
    s = study(noisy=True)
    run(s, 60, noise=0.0)
    assert len(s) - len(points(s)) <= 4
    assert s.best_value == np.nanmin(s.values)


def test_a_point_that_breaks_a_constraint_or_diverges_once_is_not_the_best() -> None:
    s = study(noisy=True)
    s.tell(s.ask(), 1.0)
    s.tell(s.ask(), 2.0, constraints=[0.0])
    s.tell(s.ask(), 3.0)
    s.tell(s.ask(repeat=0), math.inf)
    s.tell(s.ask(repeat=1), 2.0, constraints=[1.0])
    assert s.best_trial.number == 2
    far = study(noisy=True)
    for value in (1e308, -1e308, 0.0):
        far.tell(far.ask(), value)
    far.tell(far.ask(repeat=0), -1e308)
    assert far.best_trial.number == 1 and far.estimate(0).mean == 0.0


def test_a_pruner_does_not_end_repeats() -> None:
    s = study(noisy=True, pruner=fasthpo.ThresholdPruner(upper=1.0))
    first = s.ask()
    s.tell(first, 0.5)
    again, other = s.ask(repeat=first), s.ask()
    for trial in (again, other):
        trial.report(2.0, 1)
    assert not again.should_prune() and other.should_prune()


def test_a_noisy_study_goes_on_from_its_files_bit_for_bit(tmp_path: Path) -> None:
    whole = fasthpo.Study(SPACE, sampler=fasthpo.AutoSampler(seed=3), noisy=True)
    run(whole, 40)
    s = fasthpo.Study(SPACE, sampler=fasthpo.AutoSampler(seed=3), noisy=True, storage=tmp_path / "s")
    run(s, 15)
    s.close()
    s = fasthpo.Study.load(tmp_path / "s")
    assert s.noisy
    run(s, 13)
    s.save(tmp_path / "copy.msgpack")
    s.close()
    s = fasthpo.Study.load(tmp_path / "copy.msgpack")
    run(s, 12)
    assert s.table.params.tobytes() == whole.table.params.tobytes()
    assert s.best_trial.number == whole.best_trial.number and s.estimate(s.best_trial) == whole.estimate(
        whole.best_trial
    )
    assert len(points(s)) < len(s)
    wider = fasthpo.SearchSpace({**SPACE, "x": fasthpo.Continuous(-1.0, 1.0)})
    assert fasthpo.Study.load(tmp_path / "copy.msgpack", space=wider).noisy


def test_batches_repeat_as_single_asks_do() -> None:
    one, many = (fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=3), noisy=True) for _ in range(2))
    for s in (one, many):
        run(s, 20)
    single = [one.ask().params for _ in range(6)]
    batch = many.ask_batch(6)
    assert [{k: v for k, v in batch[i].items() if v is not None} for i in range(6)] == single
    many.tell_batch(batch.numbers, [0.5] * 6)


def test_the_tuner_says_what_is_believed(tmp_path: Path) -> None:
    config = fasthpo.TunerConfig("noisy", noisy=True, max_trials=40, seed=0, output_dir=tmp_path)
    tuner = fasthpo.HyperparameterTuner.with_random_search(config, SPACE)
    result = tuner.optimize(loss)
    best = tuner.study.best_trial
    assert result.best_trial.number == best.number and result.statistics.best_value == best.value
    assert best.value > np.nanmin(tuner.study.values)
    assert copy.deepcopy(result).best_trial.number == best.number
    assert fasthpo.TunerConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_whatever_shows_the_best_of_a_noisy_study_shows_what_is_believed_of_it(direction: str, tmp_path: Path) -> None:
    """Pictures and texts showed the luckiest value beside another trial as the best."""
    config = fasthpo.TunerConfig(
        "noisy", noisy=True, direction=direction, max_trials=60, seed=0, output_dir=tmp_path, save_checkpoints=True
    )
    sign = 1 if direction == "minimize" else -1
    result = fasthpo.HyperparameterTuner.with_random_search(config, SPACE).optimize(lambda trial: sign * loss(trial))
    s = result.study
    best, estimate = s.best_trial, s.estimate(s.best_trial)
    luckiest = int(np.nanargmin(sign * s.values))
    assert best.number != luckiest and estimate.evaluations > 1
    believed = f"{estimate.mean:.6g} +- {estimate.error:.2g}, of {estimate.evaluations} evaluations"
    for one in (result, copy.deepcopy(result)):
        assert believed in str(one) and "gained" not in str(one)

    figure = plots.history(s)
    assert any(f"best {believed} (trial {best.number})" in text.get_text() for text in figure.texts)
    extreme = "lowest so far" if direction == "minimize" else "highest so far"
    assert extreme in [line.get_label() for line in figure.axes[0].get_lines()]
    mark = analysis.contour(s, "x", "y").best
    assert mark is None or mark[2] == best.number
    page = json.loads(call("report", config.study_dir, "-o", tmp_path / "page.html", "--json").stdout)
    assert believed in Path(page["output"]).read_text("utf-8")

    shown = json.loads(call("best", config.study_dir, "--json").stdout)
    assert shown["number"] == best.number and shown["estimate"]["mean"] == estimate.mean
    for command in ("best", "show"):
        printed = call(command, config.study_dir).stdout
        assert believed in printed and "gained" not in printed


def test_a_noisy_study_of_one_trial_has_an_estimate_without_an_error() -> None:
    s = study(noisy=True)
    assert plots.history(s).texts
    s.tell(s.ask(), 0.5)
    assert any("best 0.5, of 1 evaluation (trial 0)" in text.get_text() for text in plots.history(s).texts)


def test_many_points_that_are_repeated_are_still_found() -> None:
    """More than are kept in order, repeated from the best on: what is left has to be looked for."""
    from fasthpo.trials.evaluations import _KEPT

    s = study(noisy=True)
    n = 2 * _KEPT
    x = np.linspace(0.0, 1.0, n)
    s.add_trials({"x": x, "kind": ["b"] * n, "y": [None] * n}, x)
    for number in range(_KEPT + 10):
        s.tell(s.ask(repeat=number), 5.0)
        assert s.best_trial.number == number + 1


def test_neither_points_that_wait_nor_evaluations_of_one_point_are_walked_through() -> None:
    steps = []
    for n in (200, 1600):
        s = study(noisy=True)
        for number in range(n):
            s.tell(s.ask(repeat=0) if number else s.ask(), float(number % 7))
        for _ in range(n):
            s.enqueue({"x": 0.5})
        assert s.best_value == 3.0

        def turn(s: fasthpo.Study = s) -> None:
            s.tell(s.ask(), 9.0)
            assert s.best_value == 3.0

        counts = [counted(turn) for _ in range(5)]
        steps.append(sorted(counts)[2])
    assert steps[1] < 1.1 * steps[0]
