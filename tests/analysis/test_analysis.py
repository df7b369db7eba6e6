"""What is drawn: each analysis against what a loop over the trials says."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fasthpo
from fasthpo import TrialState, analysis
from fasthpo.analysis import fronts
from fasthpo.analysis.progress import latest_gains
from fasthpo.analysis.scales import Scale, value_scale
from fasthpo.analysis.trial_data import trial_data
from fasthpo.analysis.workers import first_free_lanes, most_at_once
from fasthpo.errors import InvalidValue
from tests.support import pictured

numbers = st.one_of(st.floats(allow_nan=True), st.integers(-5, 5).map(float), st.sampled_from([1e-9, 1e9]))


# --- scales


@given(st.lists(numbers, max_size=40), st.sampled_from([1.0, -1.0]))
def test_a_scale_has_room_for_all_but_those_it_counts(values, sign):
    column = np.array(values, float)
    scale = value_scale("value", column, sign * column)
    assert math.isfinite(scale.low) and math.isfinite(scale.high) and scale.low < scale.high
    known = column[~np.isnan(column)]
    outside = (
        (known < scale.low * (1 - 1e-9 * np.sign(scale.low))) | (known > scale.high * (1 + 1e-9 * np.sign(scale.high)))
    ).sum()
    assert scale.beyond == outside
    places = scale.places(column)
    low, high = scale.bounds
    assert ((places >= low) & (places <= high))[~np.isnan(column)].all()
    finite = known[np.isfinite(known)]
    if len(finite) and np.abs(finite).max() < 1e100:
        best = finite.min() if sign > 0 else finite.max()
        assert scale.low <= best * (1 + 1e-9 * np.sign(best)) and scale.high >= best * (1 - 1e-9 * np.sign(best))


@given(st.integers(-50, 50), st.integers(1, 200), st.integers(1, 7), st.integers(1, 60))
def test_bins_of_a_stepped_parameter_hold_equally_many_of_its_values(low, more, step, count):
    scale = Scale("n", low, low + more * step, is_whole=True, step=float(step))
    values = low + step * np.arange(more + 1)
    held = np.histogram(values, scale.edges(count))[0]
    assert held.sum() == len(values) and len(held) <= count
    assert len(set(held[:-1].tolist())) <= 1 and (len(held) == 1 or held[-1] <= held[0])


# --- progress


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_best_so_far_is_that_of_a_loop(direction: str) -> None:
    study = pictured.reported(60, direction)
    found = analysis.history(study)
    best, steps = math.inf, []
    for trial in study.trials:
        if trial.state == TrialState.COMPLETE:
            loss = trial.value if direction == "minimize" else -trial.value
            if loss < best:
                best = loss
                steps.append((trial.number, trial.value))
    assert list(zip(found.best_number.tolist(), found.best_value.tolist(), strict=True)) == steps
    assert found.best_value[-1] == study.best_value
    assert found.failed.sum() == sum(trial.state == TrialState.FAILED for trial in study.trials)
    assert found.complete.total == sum(trial.state == TrialState.COMPLETE for trial in study.trials)


def test_many_trials_are_counted_in_cells_that_name_their_best() -> None:
    study = pictured.many(20_000)
    cloud = analysis.history(study).complete
    assert cloud.total == int((study.states == TrialState.COMPLETE).sum()) and not len(cloud.x)
    row, column = np.argwhere(cloud.trials)[0]
    number = int(cloud.best[row, column])
    assert cloud.x_edges[column] <= number <= cloud.x_edges[column + 1]
    assert cloud.y_edges[row] - 1e-9 <= study.values[number] <= cloud.y_edges[row + 1] + 1e-9
    assert study.best_trial.number in cloud.best


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.0, math.nan, math.inf]), max_size=12), st.integers(1, 14))
def test_gains_are_the_difference_of_two_best_values(values, last):
    study = pictured.told(values)
    found = analysis.gains(study, last)
    usable = [value if math.isfinite(value) else math.inf for value in values]
    before, now = min(usable[: max(0, len(values) - last)], default=math.inf), min(usable, default=math.inf)
    assert found.now == (None if now == math.inf else now)
    assert found.before == (None if before == math.inf else before)
    assert str(found)
    if now < math.inf:
        assert found.improvement == (before - now)
        assert found.since == len(values) - 1 - usable.index(now)


def test_what_the_last_trials_added_to_the_front_is_said_in_a_sentence() -> None:
    study = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, directions=["maximize", "minimize"])
    assert str(analysis.front_gains(study)) == "No trial has completed with finite values."
    assert latest_gains(study) == ""
    for i in range(6):
        study.tell(study.ask(), [float(i), float(i)])
    for _ in range(5):
        study.tell(study.ask(), [0.0, 9.0])
    assert analysis.front_gains(study, last=100) == (11, 6, 6, 5, 5)
    found = analysis.front_gains(study, last=7)
    assert str(found) == "The last 7 trials found 2 of the 6 on the front (trial 5 is 5 trials ago)."
    assert str(analysis.front_gains(study, last=5)).startswith(
        "The last 5 trials gained nothing; the front got its lat"
    )
    assert latest_gains(study) == "The last 10 trials found 5 of the 6 on the front (trial 5 is 5 trials ago)."
    study.tell(study.ask(), [99.0, -99.0])
    assert str(analysis.front_gains(study, last=1)).startswith("The last trial found all 1 on the front")


@pytest.mark.parametrize("before", [0.0, 5e-324, -1e-300, 1.7e308])
def test_gains_over_a_value_next_to_nothing_or_beyond_floats_have_no_percentage(before: float) -> None:
    study = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)})
    for value in (before, -1.7e308):
        study.tell(study.ask(), value)
    text = str(analysis.gains(study, last=1))
    assert "gained" in text
    assert "inf %" not in text
    assert "nan" not in text


def test_a_study_that_has_just_begun_says_nothing_of_its_latest_gains() -> None:
    study = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, direction="maximize")
    for i in range(10):
        assert latest_gains(study) == ""
        study.tell(study.ask(), float(i))
    study.tell(study.ask(), 0.0)
    assert latest_gains(study).startswith("The last 10 trials gained 9: from 0 to 9 (trial 9, one trial ago)")


# --- learning curves


def test_curves_and_bands_are_those_of_the_reports() -> None:
    study = pictured.reported(50)
    found = analysis.learning_curves(study)
    reporting = [trial for trial in study.trials if trial.reports]
    assert found.trials == len(reporting) == len(found.curves)
    for curve in found.curves:
        assert dict(zip(curve.step.tolist(), curve.value.tolist(), strict=True)) == study.trials[curve.number].reports
    at_two = sorted(trial.reports[2] for trial in reporting if 2 in trial.reports)
    k = found.band_step.tolist().index(2.0)
    assert found.band[1, k] == at_two[(len(at_two)) // 2]
    pruned = [max(trial.reports) for trial in study.trials if trial.state == TrialState.PRUNED]
    assert found.pruned.tolist() == [pruned.count(step) for step in range(6)]


def test_of_many_curves_the_best_is_shown_and_others_of_all_ranks() -> None:
    study = pictured.reported(300)
    found = analysis.learning_curves(study)
    assert len(found.curves) <= 60 < found.trials
    assert found.best == study.best_trial.number
    assert {curve.state for curve in found.curves} == {TrialState.COMPLETE, TrialState.PRUNED}


# --- parameters


def test_slices_leave_out_what_matters_least_and_say_so() -> None:
    study = pictured.edges()["fifty"]
    found = analysis.slices(study)
    assert len(found.panels) == 12 and len(found.left_out) == 38
    assert [panel.name for panel in analysis.slices(study, ["odd"]).panels] == ["odd"]


def test_a_panel_knows_in_which_trials_its_parameter_was_active() -> None:
    study = pictured.reported(60)
    panel = next(panel for panel in analysis.slices(study).panels if panel.name == "momentum")
    complete = study.states == TrialState.COMPLETE
    assert panel.inactive == int(np.isnan(study.columns["momentum"][complete]).sum()) > 0
    assert panel.cloud.total == int(complete.sum()) - panel.inactive


def test_a_contour_is_the_weighted_mean_of_the_trials_around() -> None:
    study = pictured.told(list(np.linspace(0.0, 2.0, 25)))
    found = analysis.contour(study, "x", "y")
    x = study.columns["x"]
    y = (np.log10(study.columns["y"]) + 3) / 3
    for row, column in [(5, 7), (24, 24), (40, 10)]:
        if math.isnan(found.value[row, column]):
            continue
        cell_x, cell_y = np.minimum(x * 48, 47).astype(int), np.minimum(y * 48, 47).astype(int)
        weight = np.exp(-0.5 * (((cell_x - column) / 48) ** 2 + ((cell_y - row) / 48) ** 2) / 0.06**2)
        assert found.value[row, column] == pytest.approx((weight * study.values).sum() / weight.sum())
    assert found.best == (x[0], study.columns["y"][0], 0)


def test_lines_end_with_the_best_and_inactive_parameters_have_no_place() -> None:
    study = pictured.many(3_000)
    found = analysis.parallel_coordinates(study)
    assert found.number[-1] == study.best_trial.number and len(found.number) <= 300 < found.trials
    assert ((found.position >= 0) & (found.position <= 1) | np.isnan(found.position)).all()
    inactive = np.isnan(study.columns["momentum"][found.number])
    assert (np.isnan(found.position[:, -1]) == inactive).all()


def test_durations_are_those_of_the_trials_without_pauses() -> None:
    study = pictured.halving()
    found = analysis.durations(study, ["width"])
    cloud = found.panels[0].cloud
    for y, number in zip(cloud.y.tolist(), cloud.number.tolist(), strict=True):
        assert y == pytest.approx(min(study.trials[number].duration, found.scale.high))


# --- several studies, rungs, workers, failures


def test_the_distribution_is_the_share_of_trials_at_least_so_good() -> None:
    one, other = pictured.told([3.0, 1.0, 2.0, math.nan]), pictured.told([5.0])
    found = analysis.edf({"a": one, "b": other})
    assert [(each.name, each.trials) for each in found.studies] == [("a", 3), ("b", 1)]
    assert found.studies[0].value.tolist() == [1.0, 2.0, 3.0]
    assert found.studies[0].share == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert [each.name for each in analysis.edf([one, other]).studies] == ["study 0", "study 1"]
    with pytest.raises(InvalidValue, match="same direction"):
        analysis.edf([one, pictured.told([1.0], "maximize")])
    for nothing in ([], {}, None, "x"):
        with pytest.raises(InvalidValue, match="studies must"):
            analysis.edf(nothing)  # type: ignore[arg-type]


def test_rungs_are_the_strategy_s_own() -> None:
    study = pictured.halving()
    found = analysis.rungs(study)
    assert list(found.rungs) == study.strategy.rung_statistics()
    assert found.spent == study.resource_spent and found.full == found.spent / 27


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 6)), min_size=1, max_size=40))
def test_trials_lie_on_as_many_lanes_as_ran_at_once_and_none_on_another(spans):
    spans = sorted(spans)
    start = np.array([a for a, _ in spans], float)
    end = np.array([a + length for a, length in spans], float)
    lane = first_free_lanes(start, end)
    assert lane.max() + 1 == most_at_once(start, end)
    taken = [(a, a + max(length, 1e-9), k) for (a, length), k in zip(spans, lane.tolist(), strict=True)]
    for i, (a, b, k) in enumerate(taken):
        assert not any(k == other and a < d and c < b for c, d, other in taken[:i])


def test_the_time_that_trials_ran_is_all_in_the_bins() -> None:
    study = pictured.many(5_000)
    found = analysis.timeline(study)
    assert not len(found.lane) and found.lanes == 5_000
    run = float((study.table.ends - study.table.starts).sum())
    assert (found.busy.sum(axis=0) * np.diff(found.edges)).sum() == pytest.approx(run, rel=1e-6)
    few = analysis.timeline(pictured.reported(20))
    assert few.lanes == 1 and sorted(few.number.tolist()) == list(range(20))


def test_failures_are_grouped_by_what_they_say_numbers_apart() -> None:
    study = pictured.reported(60)
    (group,) = analysis.failures(study)
    assert group.reason == "ValueError: loss is nan at step 4"
    assert (group.trials, group.first, group.last) == (5, 4, 56)
    study.tell(study.ask(), state=TrialState.FAILED)
    study.tell(study.ask(), math.nan)
    assert [one.trials for one in analysis.failures(study)] == [5, 1, 1]
    assert analysis.failures(pictured.told([1.0])) == []


def test_a_study_is_looked_at_while_it_goes_on() -> None:
    study = pictured.reported(20)
    data = trial_data(study)
    study.tell(study.ask(), -1.0)
    assert len(data) == 20 and data.values.shape == (20, 1) and np.nanmin(data.values) > -1.0


def test_a_directory_s_study_is_looked_at_without_opening_it_for_writing(tmp_path: Path) -> None:
    with fasthpo.Study(pictured.SPACE, storage=tmp_path / "s", sampler=fasthpo.RandomSampler(seed=0)) as study:
        for i in range(5):
            study.tell(study.ask(), float(i))
        seen = fasthpo.Study.load(tmp_path / "s", read_only=True)
        for name in ("history", "slices", "contour", "importance", "timeline", "durations", "gains"):
            assert getattr(analysis, name)(seen) is not None


def test_a_result_has_a_study_to_be_looked_at() -> None:
    class Result:
        study = property(lambda self: None)

    with pytest.raises(InvalidValue, match=r"study must be a Study, got .*: give its \.study"):
        analysis.history(Result())  # type: ignore[arg-type]


# --- several objectives, as plain arrays


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch):
    """What `trial_data` says is a study of three objectives, some of whose trials break a constraint."""
    rng = np.random.default_rng(0)
    values = rng.random((500, 3))
    values[5] = math.nan
    violations = np.where(rng.random(500) < 0.1, 1.0, 0.0)
    base = trial_data(pictured.told([1.0] * 500))
    states = base.states.copy()
    states[5] = TrialState.FAILED
    data = dataclasses.replace(
        base, values=values, directions=("minimize", "maximize", "minimize"), violations=violations, states=states
    )
    monkeypatch.setattr(fronts, "trial_data", lambda study: data)
    return data


def test_the_front_is_what_no_other_is_better_than(several) -> None:
    found = analysis.pareto_front(None)  # type: ignore[arg-type]
    losses = several.values * [1, -1, 1]
    counts = several.feasible
    expected = [
        i for i in np.flatnonzero(counts)
        if not any((losses[k] <= losses[i]).all() and (losses[k] < losses[i]).any() for k in np.flatnonzero(counts))
    ]  # fmt: skip
    assert sorted(found.number.tolist()) == expected and found.on_front == len(expected)
    assert found.pairs == ((0, 1), (0, 2), (1, 2)) and found.directions == several.directions
    assert found.infeasible == int((several.violations > 0)[several.states == TrialState.COMPLETE].sum())
    assert analysis.pareto_front(None, [2, 0]).directions == ("minimize", "minimize")  # type: ignore[arg-type]
    for wrong in ([0], [0, 0], [0, 3], [0, 1, 2, 0], 1, "01"):
        with pytest.raises(InvalidValue, match=r"objectives? must"):
            analysis.pareto_front(None, wrong)  # type: ignore[arg-type]


def test_the_hypervolume_grows_to_that_of_the_front(several) -> None:
    from fasthpo.kernels.multi_objective.hypervolume import hypervolume

    found = analysis.hypervolume_history(None, [1.0, 0.0, 1.0])  # type: ignore[arg-type]
    assert (np.diff(found.hypervolume) >= 0).all() and found.number[-1] == 499
    losses = (several.values * [1, -1, 1])[several.feasible]
    assert found.hypervolume[-1] == pytest.approx(hypervolume(losses, np.array([1.0, 0.0, 1.0])))
    half = np.flatnonzero(several.feasible) <= found.number[100]
    assert found.hypervolume[100] == pytest.approx(hypervolume(losses[half], np.array([1.0, 0.0, 1.0])))
    own = analysis.hypervolume_history(None)  # type: ignore[arg-type]
    assert own.hypervolume[-1] > 0
    for wrong in ([1.0], [1.0, math.inf, 1.0], "x", 3, [1.0, None, 1.0]):
        with pytest.raises(InvalidValue, match="reference must be"):
            analysis.hypervolume_history(None, wrong)  # type: ignore[arg-type]


def test_fronts_are_drawn(several) -> None:
    pytest.importorskip("matplotlib")
    from fasthpo import plots

    figure = plots.pareto_front(None)  # type: ignore[arg-type]
    figure.draw_without_rendering()
    found = analysis.pareto_front(None)  # type: ignore[arg-type]
    title = figure.texts[1].get_text()
    assert f"499 completed trials · {found.on_front} on the front · {found.infeasible} break a constraint" in title
    axes = [(one.get_xlabel(), one.get_ylabel()) for one in figure.axes]
    names = [f"objective {k} ({direction})" for k, direction in enumerate(several.directions)]
    assert axes[:3] == [(names[0], names[1]), (names[0], names[2]), (names[1], names[2])]
    assert axes[3:] == [("objective 0", "objective 1")] and figure.axes[3].name == "3d"
    assert {"completed", "front"} <= {one.get_text() for legend in figure.legends for one in legend.get_texts()}
    figure = plots.hypervolume_history(None)  # type: ignore[arg-type]
    figure.draw_without_rendering()
    grown = analysis.hypervolume_history(None)  # type: ignore[arg-type]
    assert f"500 trials · now {grown.hypervolume[-1]:.6g} · reference (" in figure.texts[1].get_text()
    assert figure.axes[0].get_ylabel() == "hypervolume (higher is better)"
    assert figure.axes[0].get_lines()[0].get_ydata()[-1] == grown.hypervolume[-1]
