"""Every picture of every kind of study is drawn, says what it shows, and takes no more than it may."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import fasthpo
from fasthpo import plots
from fasthpo.errors import InvalidValue, MissingPackage, NoCompletedTrials
from tests.support import pictured

pytest.importorskip("matplotlib")

OF_ONE_OBJECTIVE = [
    "contour", "durations", "edf", "history", "importance", "learning_curves", "parallel_coordinates", "slices",
    "timeline",
]  # fmt: skip


def drawn(name: str, study: fasthpo.Study, *arguments: object):
    figure = getattr(plots, name)(study, *arguments)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    assert buffer.getvalue().startswith(b"\x89PNG")
    return figure


def texts(figure) -> str:
    from matplotlib.text import Text

    return "\n".join(one.get_text() for one in figure.findobj(Text))


@pytest.mark.parametrize("name", OF_ONE_OBJECTIVE)
def test_a_picture_of_a_study_with_everything(name: str) -> None:
    import matplotlib.figure

    figure = drawn(name, pictured.reported())
    assert isinstance(figure, matplotlib.figure.Figure)
    assert "study" in texts(figure)


@pytest.mark.parametrize("name", OF_ONE_OBJECTIVE)
def test_a_study_of_many_trials_has_few_marks(name: str) -> None:
    """And takes at most two seconds, which a machine that is busy with other things may need longer for."""
    study = pictured.many(100_000)
    figure = getattr(plots, name)(study)
    begin = time.process_time()
    figure = drawn(name, study)
    assert time.process_time() - begin < 4
    from matplotlib.collections import LineCollection, PathCollection

    for axes in figure.axes:
        marks = [len(one.get_offsets()) for one in axes.findobj(PathCollection)]
        lines = [len(one.get_segments()) for one in axes.findobj(LineCollection)]
        points = [len(one.get_xdata()) for one in axes.get_lines()]
        assert sum(marks) + sum(lines) + sum(points) < 5_000


@pytest.mark.parametrize("case", pictured.edges())
def test_a_picture_or_a_clear_error_at_the_edges(case: str) -> None:
    study = pictured.edges()[case]
    for name in OF_ONE_OBJECTIVE:
        try:
            getattr(plots, name)(study).draw_without_rendering()
        except NoCompletedTrials as error:
            assert name == "importance" and "at least 2 completed trials" in str(error)


def test_a_contour_needs_two_parameters() -> None:
    study = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)})
    with pytest.raises(InvalidValue, match=r"a contour is of two parameters, but the space has only \['x'\]"):
        plots.contour(study)
    with pytest.raises(InvalidValue, match="x and y must be two parameters, got 'x' twice"):
        plots.contour(study, "x", "x")


def test_rungs_are_drawn_of_a_multi_fidelity_study_only() -> None:
    shown = texts(drawn("rungs", pictured.halving()))
    assert "Hyperband" in shown and "bracket 0" in shown and "failed" in shown
    empty = fasthpo.Study(pictured.SPACE, strategy=fasthpo.ASHA(27))
    assert "No trial has run yet." in texts(drawn("rungs", empty))
    with pytest.raises(InvalidValue, match="under SuccessiveHalving, Hyperband or ASHA"):
        plots.rungs(pictured.told([1.0]))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("contour", "1 completed trial"),
        ("durations", "36 trials · from ask to tell"),
        ("edf", "1 completed trial"),
        ("history", "pruned or paused, last value"),
        ("learning_curves", "No trial has reported yet."),
        ("parallel_coordinates", "1 completed trial"),
        ("slices", "1 trial · higher is better"),
        ("timeline", "paused"),
    ],
)
def test_paused_trials_do_not_count_as_completed(name: str, said: str) -> None:
    study = pictured.halving()
    assert study.table.counts[fasthpo.TrialState.PAUSED] == 35
    assert study.table.counts[fasthpo.TrialState.COMPLETE] == 1
    assert said in texts(drawn(name, study))


def test_a_picture_names_the_directory_of_a_study_that_is_only_read(tmp_path: Path) -> None:
    place = tmp_path / "digits-0"
    with fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, storage=place) as study:
        study.tell(study.ask(), 1.0)
        assert "digits-0" in texts(plots.history(fasthpo.Study.load(place, read_only=True)))
        assert "digits-0" in texts(plots.history(study))


def test_names_are_written_as_they_stand() -> None:
    space = {"$a_b$": fasthpo.Continuous(0.0, 1.0), r"x\y": fasthpo.Categorical(["$\\frac$", "<b>", "z"])}
    study = fasthpo.Study(space, sampler=fasthpo.RandomSampler(seed=0))
    for i in range(20):
        study.tell(study.ask(), float(i))
    for name in OF_ONE_OBJECTIVE:
        getattr(plots, name)(study).draw_without_rendering()  # mathematics that is none would be an error
    assert r"\$a_b\$" in texts(plots.slices(study))


def test_axes_are_logarithmic_where_the_space_is() -> None:
    study = pictured.reported()
    by_name = {axes.get_xlabel(): axes for axes in plots.slices(study).axes}
    assert by_name["learning_rate"].get_xscale() == "log"
    assert by_name["dropout"].get_xscale() == "linear"
    assert [one.get_text() for one in by_name["optimizer"].get_xticklabels()] == ["adamw", "sgd", r"<b>\$x\$</b>"]
    axes = plots.contour(study, "learning_rate", "dropout").axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_larger_values_stand_higher_in_either_direction(direction: str) -> None:
    figure = drawn("history", pictured.reported(direction=direction))
    low, high = figure.axes[0].get_ylim()
    assert low < high
    line = next(one for one in figure.axes[0].get_lines() if one.get_label() == "best so far")
    steps = np.diff(line.get_ydata())
    assert (steps <= 0).all() if direction == "minimize" else (steps >= 0).all()


def test_values_far_off_do_not_squeeze_the_others() -> None:
    figure = drawn("history", pictured.told([1.0 + i / 10 for i in range(40)] + [1e9, np.inf]))
    low, high = figure.axes[0].get_ylim()
    assert 0 < low < high < 20
    assert "2 beyond the axis" in texts(figure)


def test_the_figure_is_made_without_pyplot_and_a_notebook_shows_it() -> None:
    program = """
import sys, fasthpo
assert "matplotlib" not in sys.modules
fasthpo.plots
assert "matplotlib" not in sys.modules
study = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)})
study.tell(study.ask(), 1.0)
figure = fasthpo.plots.history(study)
assert figure._repr_png_().startswith(b"\\x89PNG")
assert "matplotlib.pyplot" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_figure_is_let_go_of() -> None:
    import gc
    import weakref

    figure = drawn("slices", pictured.reported(20))
    gone = weakref.ref(figure)
    del figure
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("name", plots.__all__)
def test_without_matplotlib_the_extra_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingPackage, match=r"pip install 'fasthpo\[plots\]'"):
        getattr(plots, name)(pictured.told([1.0]))


@pytest.mark.parametrize("name", sorted(set(plots.__all__) - {"edf"}))
def test_what_is_no_study_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=r"study must be a Study, got .*read_only=True"):
        getattr(plots, name)(tmp_path)


def test_the_user_s_own_style_changes_nothing() -> None:
    import matplotlib as mpl

    study = pictured.reported(20)
    with mpl.rc_context({"axes.facecolor": "black", "text.color": "white", "axes.grid": True, "lines.linewidth": 9}):
        figure = plots.history(study)
    assert figure.get_facecolor() == figure.axes[0].get_facecolor() == (1.0, 1.0, 1.0, 1.0)
    assert all(one.get_color() in ("#222222", "#767676") for one in figure.texts)
    assert max(line.get_linewidth() for line in figure.axes[0].get_lines()) < 3


@pytest.mark.parametrize("name", ["pareto_front", "hypervolume_history"])
def test_pictures_of_fronts_need_several_objectives(name: str) -> None:
    with pytest.raises(InvalidValue, match="a study of several objectives"):
        getattr(plots, name)(pictured.told([1.0, 2.0]))


def several(count: int, trials: int = 60) -> fasthpo.Study:
    """A study of so many objectives, in which every trial is told twice, and some break a constraint."""
    space = {f"x{k}": fasthpo.Continuous(0.0, 1.0) for k in range(count)}
    directions = ["maximize", "minimize", "minimize", "maximize"][:count]
    study = fasthpo.Study(space, sampler=fasthpo.RandomSampler(seed=0), directions=directions)
    for _ in range(trials):
        values = list(study.ask().params.values())
        study.tell(len(study) - 1, values, constraints=[values[0] - 0.8])
        study.tell(study.ask(), values, constraints=[values[0] - 0.8])
    return study


def test_a_front_has_as_many_trials_as_the_study_s_own() -> None:
    """Of equal trials only the first is on it, as `Study.front` and the command line have it."""
    study = several(2)
    numbers = study.front()[0]
    seen = fasthpo.analysis.pareto_front(study)
    assert sorted(seen.number.tolist()) == numbers.tolist() and seen.on_front == len(numbers)
    assert f"{len(numbers)} on the front" in texts(plots.pareto_front(study))


@pytest.mark.parametrize(("count", "panels"), [(2, 1), (3, 4), (4, 4)])
def test_three_objectives_are_drawn_in_pairs_and_in_space(count: int, panels: int) -> None:
    study = several(count)
    figure = drawn("pareto_front", study)
    assert len(figure.axes) == panels
    assert [axes.name for axes in figure.axes].count("3d") == (panels > 1)
    if panels > 1:
        marked = next(one for one in figure.axes if one.name == "3d").collections[1]
        assert len(marked.get_offsets()) == fasthpo.analysis.pareto_front(study).on_front


def test_trials_that_break_a_constraint_are_told_apart() -> None:
    """Or the best so far would seem to lie below better trials."""
    study = several(2)
    broken = int((study.columns["x0"] > 0.8).sum())
    assert 0 < broken < 60
    seen = fasthpo.analysis.history(study)
    assert seen.infeasible.total == fasthpo.analysis.pareto_front(study).infeasible
    assert (seen.infeasible.y > seen.best_value[-1]).all() and (seen.complete.y <= seen.best_value[-1]).all()
    for name in ("history", "pareto_front"):
        assert "breaks a constraint" in texts(drawn(name, study))
    panel = next(one for one in fasthpo.analysis.slices(study).panels if one.name == "x0")
    assert np.nanmax(panel.best) == seen.best_value[-1]


def test_good_values_near_zero_are_spread_by_a_logarithmic_axis() -> None:
    losses = [2.3, 2.2, 1.9, 1.0, 0.6, 0.3, 0.15, 0.1, 0.06, 0.05, 0.045]
    assert drawn("history", pictured.told(losses)).axes[0].get_yscale() == "log"
    assert drawn("history", pictured.told(losses, "maximize")).axes[0].get_yscale() == "linear"
    alone = [1e-9, *np.linspace(0.1, 1.0, 20)]  # which would take up nearly all of a logarithmic axis
    assert drawn("history", pictured.told(alone)).axes[0].get_yscale() == "linear"


@pytest.mark.parametrize("name", OF_ONE_OBJECTIVE)
def test_no_legend_hides_what_is_drawn(name: str) -> None:
    figure = drawn(name, pictured.reported())
    assert all(axes.get_legend() is None for axes in figure.axes)


def test_durations_have_the_unit_in_which_they_are_read_best() -> None:
    from fasthpo.plots.drawing import time_unit

    assert [time_unit(one)[1] for one in (1e-3, 1.5, 3.0, 130.0, 8000.0, 2e5)] == [
        "milliseconds", "milliseconds", "seconds", "minutes", "hours", "days",
    ]  # fmt: skip
    assert drawn("durations", pictured.reported()).axes[0].get_ylabel() in ("milliseconds", "seconds")


def test_lineages_of_a_population() -> None:
    from tests.support import population

    study = population.make(population=8, max_resource=24, quantile=0.5)
    with pytest.raises(InvalidValue, match="lineages are those of a study under PopulationTraining"):
        plots.lineages(study)
    trial = study.ask()
    assert "No member has a value yet." in texts(drawn("lineages", study))
    study.tell(trial, float("nan"))
    assert "No member has a value yet." in texts(drawn("lineages", study))
    population.run(study, legs=20)
    assert "begun from others' weights · best: trial" in texts(drawn("lineages", study))
    population.run(study)
    seen = fasthpo.analysis.lineages(study)
    assert {one.number for one in seen.trials if one.is_of_best} == {piece.trial for piece in study.schedule()}
    assert len(seen.changing) > 0 and all(name in texts(drawn("lineages", study)) for name in seen.changing[:4])
    best = study.best_trial
    study.add_trials({name: [value] for name, value in best.params.items()}, [best.value - 1.0])
    assert study.best_trial.number != best.number and fasthpo.analysis.lineages(study).best == best.number
