"""Why trials failed: the failures grouped by what their errors say, numbers apart."""

from __future__ import annotations

from typing import NamedTuple

from fasthpo.analysis.trial_data import check_study
from fasthpo.study.reader import StudyReader
from fasthpo.system.headline import headline, without_numbers
from fasthpo.trials.table import INFRASTRUCTURE
from fasthpo.trials.trial import TrialState

NO_REASON = "no reason given"


class FailureGroup(NamedTuple):
    """Trials that failed for the same reason.

    Attributes:
        reason: the type and the message of the first one's error.
        trials: how many there are.
        first, last: the numbers of the first and the last of them.
        error: all of the last one's error, with its traceback where there is one.
        infrastructure: whether what the trials ran on failed, and not the objective.
    """

    reason: str
    trials: int
    first: int
    last: int
    error: str
    infrastructure: bool


def failures(study: StudyReader) -> list[FailureGroup]:
    """Why trials failed, the most frequent reason first. Errors that differ in numbers only are one reason.

    Raises:
        InvalidValue: no study.

    Example:
        >>> import fasthpo
        >>> from fasthpo.analysis import failures
        >>> study = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)})
        >>> for step in (3, 5):
        ...     _ = study.tell(study.ask(), state=fasthpo.TrialState.FAILED, error=f"loss is nan at step {step}")
        >>> [(group.reason, group.trials) for group in failures(study)]
        [('loss is nan at step 3', 2)]
    """
    check_study(study)
    with study._lock:
        told = study._whole
        failed = (told.states == TrialState.FAILED).nonzero()[0].tolist()
        errors = told.errors
        texts = [errors.get(number, "") for number in failed]
    keys: dict[str, tuple[str, bool]] = {}
    groups: dict[tuple[str, bool], FailureGroup] = {}
    for number, text in zip(failed, texts, strict=True):
        lost = text.startswith(INFRASTRUCTURE)
        error = text.removeprefix(INFRASTRUCTURE)
        key = keys.get(text)
        if key is None:
            key = keys[text] = without_numbers(headline(error)), lost
        group = groups.get(key)
        if group is None:
            groups[key] = FailureGroup(headline(error) or NO_REASON, 1, number, number, error, lost)
        else:
            groups[key] = group._replace(trials=group.trials + 1, last=number, error=error)
    return sorted(groups.values(), key=lambda group: (-group.trials, group.first))
