"""What the tests of pruners share: a table driven by hand, and random histories."""

from __future__ import annotations

import math
import os

import numpy as np
from hypothesis import strategies as st

from fasthpo.space.kinds import Continuous
from fasthpo.space.search_space import SearchSpace
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState

COMPILED = os.environ.get("NUMBA_DISABLE_JIT", "0") == "0"
INF, NAN = math.inf, math.nan
COMPLETE, PRUNED, FAILED = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED
SPACE = SearchSpace({"x": Continuous(0.0, 1.0)})


class Run:
    """A table that is driven by hand, and the pruner that follows it. `log`: reports and failures as they came."""

    def __init__(self, pruner, direction="minimize"):
        self.pruner = pruner
        self.table = TrialTable(SPACE, direction)
        self.log = []
        pruner.attach(self.table)

    def ask(self):
        return self.table.append(np.array([[0.5]]), -1, TrialState.RUNNING, 0.0)

    def report(self, number, step, value):
        self.table.reports.append(number, step, value)
        self.log.append((number, step, value))
        self.pruner.on_report(self.table, number, step, value)

    def end(self, number, state=COMPLETE, value=0.0):
        self.table.finish(number, state, value, 0.0)
        if state == FAILED:
            self.log.append((number, None, None))
        self.pruner.on_end(self.table, number)

    def should_prune(self, number):
        return self.pruner.should_prune(self.table, number)

    def curve(self, curve, state=COMPLETE):
        """One whole trial, never pruned."""
        number = self.ask()
        for step, value in curve.items():
            self.report(number, step, value)
        self.end(number, state)
        return number

    def again(self):
        """A pruner made of this one's options that takes up the table as after loading."""
        other = type(self.pruner)(**self.pruner.options())
        other.attach(self.table)
        return other


reported_values = st.one_of(
    st.sampled_from([0.0, 1.0, 2.0, 3.0, -1.0, NAN, INF, -INF]), st.floats(-5, 5).map(lambda value: round(value, 1))
)
# (what, which of the running trials, how many steps on, value, end state); negative: a step before the last one
events = st.lists(
    st.tuples(
        st.sampled_from(["ask", "report", "report", "report", "report", "report", "end", "end"]),
        st.integers(0, 3),
        st.sampled_from([1, 1, 1, 1, 1, 1, 2, 2, 3, 3, -1, -2, -4, 2**40]),
        reported_values,
        st.sampled_from([COMPLETE, COMPLETE, PRUNED, PRUNED, FAILED]),
    ),
    min_size=10,
    max_size=60,
)


def play(run, sequence, check):
    """Carry out events, calling `check(number)` on a running trial after each."""
    running, last = [], {}
    for what, which, stride, value, state in sequence:
        if what == "ask" or not running:
            running.append(run.ask())
            last[running[-1]] = -1
            number = running[-1]
        else:
            number = running[which % len(running)]
            if what == "end":
                run.end(number, state, value)
                running.remove(number)
            else:
                step = last[number] + stride
                if step >= 0 and step not in run.table.reports.of(number):
                    run.report(number, step, value)
                    last[number] = max(last[number], step)
        for other in running:
            check(other)
