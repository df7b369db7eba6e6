"""What each of the samplers behind `AutoSampler` has brought."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import numpy as np

from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import TrialState


class Arm(enum.Enum):
    """Who suggested a trial."""

    STARTUP = "start-up"
    MODEL = "model"
    BRANCH = "branch model"
    CMA_ES = "CMA-ES"
    GIVEN = "given"


def account(table: TrialTable, arms: list[Arm]) -> str:
    """A table as text: trials, best value, and improvements of the study's best, by who suggested the trials.

    Args:
        table: the trials.
        arms: of each trial.
    """
    lines = [f"AutoSampler: {len(table)} trials"]
    if not len(table):
        return lines[0]
    if table.objectives.count > 1:
        return "\n".join(lines + _on_the_front(table, arms))
    order = table.tell_order
    losses = table.objectives.losses(table.values[order])
    counts = np.isfinite(losses) & (table.states[order] == TrialState.COMPLETE) & ~(table.violations[order] > 0)
    losses = np.where(counts, losses, np.inf)
    before = np.concatenate([[np.inf], np.minimum.accumulate(losses)[:-1]]) if len(order) else losses
    improvements = order[losses < before]
    of = np.array([arm.value for arm in arms])
    rows = [("", "trials", "best value", "improvements")]
    for arm in Arm:
        mine = of == arm.value
        if not mine.any():
            continue
        known = losses[mine[order]]
        best = table.objectives.value(float(known.min())) if len(known) and known.min() < np.inf else None
        shown = "-" if best is None else f"{best:.6g}"
        rows.append((arm.value, str(int(mine.sum())), shown, str(int(mine[improvements].sum()))))
    return "\n".join(lines + _aligned(rows))


def _on_the_front(table: TrialTable, arms: list[Arm]) -> list[str]:
    """The same under several objectives: trials, and how many of them are on the front."""
    best = set(table.front.numbers.tolist())
    rows: list[tuple[str, ...]] = [("", "trials", "on the front")]
    for arm in Arm:
        mine = [number for number, one in enumerate(arms) if one is arm]
        if mine:
            rows.append((arm.value, str(len(mine)), str(len(best.intersection(mine)))))
    return _aligned(rows)


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """A table's rows as lines; all columns but the first are numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        (row[0].ljust(widths[0]) + "".join("  " + row[k].rjust(widths[k]) for k in range(1, len(row)))).rstrip()
        for row in rows
    ]
