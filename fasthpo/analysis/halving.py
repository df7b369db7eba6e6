"""Rungs and brackets of a multi-fidelity study: who went on, what it cost, and what was reached."""

from __future__ import annotations

from typing import NamedTuple

from fasthpo.analysis.trial_data import check_study, directions_of, study_title
from fasthpo.errors import InvalidValue
from fasthpo.strategies.multi_fidelity import MultiFidelity
from fasthpo.strategies.population import Population
from fasthpo.strategies.summary import RungStatistics
from fasthpo.study.reader import StudyReader
from fasthpo.study.study import Study


class Rungs(NamedTuple):
    """What has happened at the rungs.

    Attributes:
        title: of the study.
        strategy: its class's name.
        direction: "minimize" or "maximize".
        rungs: by bracket and resource; see `RungStatistics`.
        spent: resource spent in all.
        full: how many trainings to the end that would be.
    """

    title: str
    strategy: str
    direction: str
    rungs: tuple[RungStatistics, ...]
    spent: int
    full: float


def rungs(study: StudyReader) -> Rungs:
    """What has happened at the rungs of a multi-fidelity study.

    Raises:
        InvalidValue: no study, or one whose strategy trains every trial in full.
    """
    check_study(study)
    strategy = study.strategy if isinstance(study, Study) else None
    if not isinstance(strategy, (MultiFidelity, Population)):
        raise InvalidValue(
            "rungs are those of a study under SuccessiveHalving, Hyperband or ASHA; this one trains every trial in full"
        )
    with study._lock:
        statistics = tuple(strategy.rung_statistics())
        spent = study.table.segments.spent
    return Rungs(
        study_title(study), type(strategy).__name__, directions_of(study)[0], statistics, spent,
        spent / strategy.max_resource,
    )  # fmt: skip
