"""The columns of reports against a dict of dicts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthpo.trials.reports import NONE, Reports

# steps on both sides of each width, and many small ones so that they repeat
steps = st.one_of(
    st.integers(0, 6), st.sampled_from([254, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**53 + 1, 2**63 - 1])
)
values = st.floats(allow_nan=True)
entries = st.lists(st.tuples(st.integers(0, 5), steps, values), max_size=80)


def same(a: float, b: float) -> bool:
    return a == b or (a != a and b != b)


def filled(kept: list[tuple[int, int, float]]) -> Reports:
    reports = Reports()
    trial, step, value = (np.array([entry[k] for entry in kept], [np.int64, np.int64, float][k]) for k in range(3))
    reports.fill(trial, step, value)
    return reports


def check(reports: Reports, kept: list[tuple[int, int, float]]) -> None:
    n = len(kept)
    assert len(reports) == n
    assert reports.trial.tolist() == [number for number, _, _ in kept]
    assert reports.step[:n].tolist() == [step for _, step, _ in kept]
    assert np.array_equal(reports.value, [value for _, _, value in kept], equal_nan=True)
    for number in range(7):
        own = [(i, step, value) for i, (other, step, value) in enumerate(kept) if other == number]
        found = reports.of(number)
        assert list(found) == sorted(step for _, step, _ in own)
        assert all(same(found[step], value) for _, step, value in own)
        assert reports.latest(number) == (own[-1][0] if own else NONE)
        if own:
            top = max(own, key=lambda entry: entry[1])
            assert (reports.top[number], reports.highest[number]) == top[:2]
        for i, step, value in own:
            assert reports.find(number, step) == i
            assert same(reports.value_at(i), value)
        assert reports.find(number, 3) == next((i for i, step, _ in own if step == 3), NONE)


@given(entries)
def test_appended_and_filled_columns(stream: list[tuple[int, int, float]]) -> None:
    reports, kept = Reports(), []
    seen: dict[tuple[int, int], int] = {}
    for number, step, value in stream:
        assert reports.append(number, step, value) == seen.get((number, step), NONE)
        if (number, step) not in seen:
            seen[number, step] = len(kept)
            kept.append((number, step, value))
    check(reports, kept)
    again = filled(kept)
    check(again, kept)
    for one in (reports, again):  # both go on alike
        assert one.append(6, 1, 0.5) == NONE
        assert one.append(0, 7, math.nan) == NONE
        assert one.append(6, 1, 9.0) == len(kept)
        check(one, [*kept, (6, 1, 0.5), (0, 7, math.nan)])


@pytest.mark.parametrize(("gap", "itemsize"), [(255, 1), (256, 2), (65_536, 4)])
def test_gaps_of_any_width(gap: int, itemsize: int) -> None:
    reports = Reports()
    reports.append(0, 0, 1.5)
    for step in range(gap - 1):
        reports.append(1 + step // 256, step % 256, 0.0)
    reports.append(0, 1, 2.5)
    assert reports.gap.itemsize == itemsize
    assert reports.of(0) == {0: 1.5, 1: 2.5}
    assert reports.find(0, 0) == 0
    assert (np.flatnonzero(reports.trial == 0) == [0, gap]).all()


def test_ten_bytes_a_report_and_no_copy_of_values() -> None:
    reports, n = Reports(), 200_000
    first = None
    for i in range(n):
        reports.append(i // 100, i % 100, float(i))
        first = reports._chunks[0] if first is None else first
    assert reports._chunks[0] is first
    assert (reports.value == np.arange(n)).all()
    assert (reports.trial == np.arange(n) // 100).all()
    columns = [reports.step, reports.gap, *reports._chunks]
    assert sum(column.itemsize * min(n, len(column)) for column in (reports.step, reports.gap)) == 2 * n
    assert sum(column.nbytes for column in columns) <= 10 * n + 8 * 65_536 + 2 * 2 * n
    assert filled([(i // 100, i % 100, float(i)) for i in range(n)]).of(1999) == reports.of(1999)
