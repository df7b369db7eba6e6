"""What every pruner must hold, one rule a check."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any, TypeAlias

from fasthpo.pruners.base import Pruner
from fasthpo.samplers.random import RandomSampler
from fasthpo.space.kinds import Continuous
from fasthpo.space.search_space import SearchSpace
from fasthpo.strategies.asha import ASHA
from fasthpo.study.study import Study
from fasthpo.testing.costs import require_as_many_instructions, require_as_much_time
from fasthpo.testing.interrupting import break_off, count_lines
from fasthpo.testing.rules import require, rule, run_checks
from fasthpo.testing.scenarios import PLACES, Reloaded, global_randomness, in_threads, loaded_copy, loss_of, report
from fasthpo.trials.trial import Trial, TrialState

MakePruner: TypeAlias = Callable[[], Pruner]
_SPACE = SearchSpace({"x": Continuous(0.0, 1.0)})
_TRIALS = 25
_METHODS = ("on_report", "on_end", "should_prune")
_BREAKS = 6  # of each call


def _study(pruner: Pruner, seed: int = 1, direction: str = "minimize", **more: Any) -> Study:
    return Study(_SPACE, sampler=RandomSampler(seed=seed), direction=direction, pruner=pruner, **more)


def _reported(study: Study, values: list[float], step: int = 0) -> Trial:
    """A trial that has reported."""
    trial = study.ask()
    for i, value in enumerate(values):
        trial.report(value, step + i)
    return trial


def _decisions(study: Study) -> list[tuple[int, bool]]:
    """What is decided about all trials that run."""
    return [(number, bool(study.should_prune(number))) for number in study.table.running.tolist()]


def _require_equal(one: list[Any], other: list[Any], which: str) -> None:
    for mine, theirs in zip(one, other, strict=False):
        require(mine == theirs, f"{which} decide (trial, step, decision) {mine} and {theirs}")
    require(len(one) == len(other), f"{which} are asked {len(one)} and {len(other)} times")


# --- decisions


@rule
def makes_a_new_pruner(make: MakePruner) -> None:
    """Each call of the function gives a new pruner."""
    pruner = make()
    require(isinstance(pruner, Pruner), f"{pruner!r} is no fasthpo.Pruner")
    require(make() is not pruner, "two calls give the same object")


@rule
def keeps_a_trial_of_which_nothing_is_known(make: MakePruner) -> None:
    """A trial that has reported nothing is not pruned while the study holds nothing else; the answer is False."""
    study = _study(make())
    for _ in range(3):
        answer = study.should_prune(study.ask().number)
        require(
            answer is False, f"should_prune gives {answer!r} for a trial that has reported nothing, in an empty study"
        )


@rule
def decides_by_the_table_alone(make: MakePruner) -> None:
    """What it keeps is derived from the table: one that is attached at any moment decides as one that saw it all."""
    for seed in range(4):
        study = _study(make(), seed, ("minimize", "maximize")[seed % 2])

        def as_a_new_one(study: Study = study, seed: int = seed) -> None:
            new, table = make(), study.table
            new.attach(table)
            for number, prune in _decisions(study):
                again = bool(study.should_prune(number))
                require(again == prune, f"asked twice about trial {number}, it says {prune} and {again} (seed {seed})")
                answer = bool(new.should_prune(table, number))
                require(
                    answer == prune,
                    f"of trial {number}, which has reported {table.reports.of(number)}, one that followed the study "
                    f"says {prune}, and one that is attached now says {answer} (seed {seed}, {len(table)} trials)",
                )

        report(study, seed, _TRIALS, each=lambda _, check=as_a_new_one: check())  # type: ignore[misc]


@rule
def decides_the_same_however_often_it_is_asked(make: MakePruner) -> None:
    """A question changes nothing: what is decided does not depend on whether and when it was asked before."""
    seldom, often = _study(make()), _study(make())

    def ask_all(study: Study) -> None:
        for _ in range(3):
            _decisions(study)

    for part in range(4):
        report(seldom, part, 8, asked=0.0)
        report(often, part, 8, asked=0.0, each=ask_all)
        trials = [_reported(study, [0.3, 0.6, 0.2, 0.9]) for study in (seldom, often)]
        answers = [bool(trial.should_prune()) for trial in trials]
        require(
            answers[0] == answers[1], f"asked for the first time it says {answers[0]}, asked often before {answers[1]}"
        )
        for trial, study in zip(trials, (seldom, often), strict=True):
            study.tell(trial, 0.9)


@rule
def forgets_the_table_before(make: MakePruner) -> None:
    """After `attach` all of the table before is forgotten."""
    pruner = make()
    for before in (9.0, -9.0):
        other = _study(make())
        for i in range(8):
            trial = _reported(other, [before - i, before, before + i])
            if i % 3:
                other.tell(trial, before)
        pruner.attach(other.table)
        for number in other.table.running.tolist():
            pruner.should_prune(other.table, number)
    used, new = _study(pruner, 2), _study(make(), 2)
    _require_equal(
        report(used, 2, _TRIALS), report(new, 2, _TRIALS), "one that followed other tables before and a new one"
    )


@rule
def keeps_two_studies_apart(make: MakePruner) -> None:
    """Pruners of different studies know nothing of each other."""
    alone = _study(make(), 3)
    expected = [report(alone, part, 3) for part in range(8)]
    one, other = _study(make(), 3), _study(make(), 4, "maximize")
    found = []
    for part in range(8):
        found.append(report(one, part, 3))
        report(other, 10 + part, 3, sign=100.0)
    for part in range(8):
        _require_equal(expected[part], found[part], "one that is alone and one beside another study's")


@rule
def mirrors_maximize(make: MakePruner) -> None:
    """To maximize values is to minimize them with the other sign. Leave this check out if it knows no direction."""
    for seed in range(4):
        low, high = _study(make(), seed), _study(make(), seed, "maximize")
        _require_equal(
            report(low, seed, _TRIALS), report(high, seed, _TRIALS, sign=-1.0), "minimizing and maximizing the negative"
        )


@rule
def takes_any_reports(make: MakePruner) -> None:
    """Reports may be NaN or infinite, come in any order of steps, be far apart, and come from trials that then fail."""
    curves: dict[str, list[tuple[int, float]]] = {
        "NaN only": [(step, math.nan) for step in range(6)],
        "infinities": [(step, (-1.0) ** step * math.inf) for step in range(6)],
        "NaN in between": [(step, math.nan if step % 2 else 1.0) for step in range(6)],
        "the largest numbers": [(step, (-1.0) ** step * 1.7e308) for step in range(6)],
        "steps that go backwards": [(step, 1.0) for step in range(9, 0, -1)],
        "steps far apart": [(0, 1.0), (2**62, 0.5), (255, 0.7), (2**63 - 1, 0.1), (256, 0.2)],
        "the same value": [(step, 0.0) for step in range(6)],
        "one late step": [(1000, 1.0)],
        "nothing": [],
    }
    for which, curve in curves.items():
        study = _study(make())
        report(study, 4, 2)
        try:
            for i in range(6):
                trial = study.ask()
                for step, value in curve:
                    trial.report(value, step)
                    answer = trial.should_prune()
                    require(type(answer) is bool, f"should_prune gives {answer!r}, which is not True or False")
                if i % 3 == 2:
                    study.tell(trial, state=TrialState.FAILED)
                elif i % 3 == 1:
                    study.tell(trial, state=TrialState.PRUNED)
                else:
                    study.tell(trial, float(i))
            report(study, 5, 5)
        except AssertionError:
            raise
        except Exception as error:
            raise AssertionError(f"with reports that are {which} it raises {error!r}") from error


@rule
def works_under_a_multi_fidelity_strategy(make: MakePruner) -> None:
    """A trial that pauses goes on later: the pruner hears of its end once, and takes its new reports up."""
    study = Study(_SPACE, strategy=ASHA(9, sampler=RandomSampler(seed=6)), pruner=make())

    def as_a_new_one(study: Study) -> None:
        new = make()
        new.attach(study.table)
        for number, prune in _decisions(study):
            answer = bool(new.should_prune(study.table, number))
            require(answer == prune, f"of trial {number} it says {prune}, and one that is attached now says {answer}")

    report(study, 6, 2 * _TRIALS, each=as_a_new_one)


# --- in studies


@rule
def goes_on_in_a_loaded_study(make: MakePruner) -> None:
    """In a study that was saved or closed it decides as in one that never stopped."""
    for place in PLACES:
        never = _study(make(), 7)
        with Reloaded(place, _SPACE, sampler=RandomSampler(seed=7), pruner=make()) as loaded:
            for part in range(4):
                which = f"a study that never stopped and one that was loaded from a {place}"
                _require_equal(report(never, part, 8), report(loaded.study, part, 8), which)
                loaded.reload(pruner=make())


@rule
def decides_for_readers_as_for_the_writer(make: MakePruner) -> None:
    """Who opens the study to read decides about the trials that run as the one who writes it."""
    study = _study(make(), 8)
    for part in range(3):
        report(study, part, 8)
        for i in range(3):
            _reported(study, [float(i), 0.5, i / 2, 1.0 + i])
        one, other = _decisions(study), _decisions(loaded_copy(study, pruner=make()))
        require(one == other, f"(trial, decision) is {one} for the writer and {other} for a reader")
        for number in study.table.running.tolist():
            study.tell(number, 0.5)


@rule
def leaves_global_randomness_alone(make: MakePruner) -> None:
    """A pruner neither draws from `random` or `numpy.random` nor seeds them, and does not depend on them."""
    found = []
    for seed in (1, 2):
        with global_randomness(seed):
            found.append(report(_study(make(), 9), 9, _TRIALS))
    _require_equal(found[0], found[1], "pruners after `random.seed(1)` and `random.seed(2)`")


@rule
def may_be_used_by_threads(make: MakePruner) -> None:
    """Threads may share a study: what is decided does not depend on which thread reported."""
    alone, passed_on = _study(make(), 10), _study(make(), 10)
    for part in range(4):
        found: list[Any] = []
        in_threads(1, lambda _, part=part, found=found: found.extend(report(passed_on, part, 5)))  # type: ignore[misc]
        _require_equal(report(alone, part, 5), found, "a study used by one thread and one used by four")
    shared = _study(make(), 10)

    def work(i: int) -> None:
        for turn in range(6):
            trial = shared.ask()
            for step in range(5):
                trial.report(loss_of(shared.table, trial.number) + (i * turn + step) % 7 / 7, step)
                if trial.should_prune():
                    shared.tell(trial, state=TrialState.PRUNED)
                    break
            else:
                if turn:  # the first ones go on running
                    shared.tell(trial, i + turn / 10)

    in_threads(8, work)
    new = make()
    new.attach(shared.table)
    for number, prune in _decisions(shared):
        answer = bool(new.should_prune(shared.table, number))
        require(answer == prune, f"of trial {number} the one that threads shared says {prune}, and a new one {answer}")


@rule
def survives_calls_that_are_broken_off(make: MakePruner) -> None:
    """A call that Ctrl-C breaks off in the pruner leaves it as it was, or as the call has changed it."""
    step = 100

    def begun() -> Study:
        study = _study(make(), 11)
        report(study, 11, 12)
        for i in range(3):
            _reported(study, [0.2 * i, 0.3, 0.1 + i])
        return study

    def tell_again(study: Study) -> None:
        number = int(study.table.running[0])
        study.report(number, 0.7, step)
        study.tell(number, 0.7)

    calls: dict[str, Callable[[Study], object]] = {
        "report": lambda study: study.report(int(study.table.running[-1]), 0.9, step),
        "should_prune": lambda study: study.should_prune(int(study.table.running[-1])),
        "tell": tell_again,
    }
    for name, call in calls.items():
        whole = begun()
        pruner = whole.pruner
        lines = count_lines(lambda: call(whole), pruner, _METHODS)  # noqa: B023  (called at once)
        expected = _decisions(whole), report(whole, 12, 10)
        for line in sorted({1 + i * (lines - 1) // _BREAKS for i in range(_BREAKS + 1)} if lines else ()):
            study = begun()
            number, told = int(study.table.running[0]), len(study.table.tell_order)
            break_off(lambda: call(study), study.pruner, _METHODS, line)  # noqa: B023
            if name == "report" and step not in study.table.reports.of(int(study.table.running[-1])):
                call(study)
            elif name == "tell" and len(study.table.tell_order) == told:
                if step not in study.table.reports.of(number):
                    study.report(number, 0.7, step)
                study.tell(number, 0.7)
            which = f"of two studies, one whose {name} was broken off before its line {line} in the pruner,"
            try:
                found = _decisions(study), report(study, 12, 10)
            except Exception as error:
                raise AssertionError(f"{which} can't go on: {error!r}") from error
            require(found[0] == expected[0], f"{which} one decides {expected[0]} and the other {found[0]}")
            _require_equal(expected[1], found[1], f"{which} these")


@rule
def does_the_same_however_many_trials(make: MakePruner) -> None:
    """What a report and a question do does not grow with the number of trials: they are not gone through."""
    require_as_many_instructions(lambda trials: _with_reported(make, trials), _report_and_tell, times=8)


@rule
def takes_as_long_however_many_trials(make: MakePruner) -> None:
    """A report and a question take as long after 50,000 trials as after 1,000, unless its docstring says otherwise."""
    require_as_much_time(lambda trials: _with_reported(make, trials), _report_and_tell, many=50_000)


def _with_reported(make: MakePruner, trials: int) -> Study:
    study = _study(make(), 13)
    numbers = study.ask_batch(trials).numbers
    for number in numbers.tolist():
        study.report(number, 1.0 + number % 7, number % 3)
    study.tell_batch(numbers, numbers % 11 * 0.1)
    return study


def _report_and_tell(study: Study) -> None:
    trial = study.ask()
    for step in range(3):
        trial.report(0.6, step)
        trial.should_prune()
    study.tell(trial, 0.6)


@rule
def is_made_again_from_its_options(make: MakePruner) -> None:
    """If it has a name, `options()` has the constructor's arguments, from which one is made that decides the same."""
    pruner = make()
    if vars(type(pruner)).get("name") is None:
        return
    again = _made_again(pruner)
    require(
        _plain(again) == _plain(pruner), f"made of the options {_plain(pruner)}, it has the options {_plain(again)}"
    )
    for seed in range(3):
        one, other = _study(_made_again(pruner), seed), _study(make(), seed)
        _require_equal(
            report(other, seed, _TRIALS), report(one, seed, _TRIALS), "one and another made from its options"
        )


def _made_again(pruner: Pruner) -> Pruner:
    options = pruner.options()
    for name, value in options.items():
        plain = value is None or type(value) in (bool, int, float, str) or isinstance(value, Pruner)
        require(plain, f"option {name!r} is {value!r}, not None, a bool, int, float, str or Pruner")
    return type(pruner)(**{n: _made_again(v) if isinstance(v, Pruner) else v for n, v in options.items()})


def _plain(pruner: Pruner) -> dict[str, Any]:
    return {name: _plain(value) if isinstance(value, Pruner) else value for name, value in pruner.options().items()}


_CHECKS = (
    makes_a_new_pruner,
    keeps_a_trial_of_which_nothing_is_known,
    decides_by_the_table_alone,
    decides_the_same_however_often_it_is_asked,
    forgets_the_table_before,
    keeps_two_studies_apart,
    mirrors_maximize,
    takes_any_reports,
    works_under_a_multi_fidelity_strategy,
    goes_on_in_a_loaded_study,
    decides_for_readers_as_for_the_writer,
    leaves_global_randomness_alone,
    may_be_used_by_threads,
    survives_calls_that_are_broken_off,
    does_the_same_however_many_trials,
    takes_as_long_however_many_trials,
    is_made_again_from_its_options,
)


def pruner_checks() -> list[Callable[[MakePruner], None]]:
    """The checks of pruners, as functions to parametrize a test with; each is named for its rule.

    Example:
        >>> import fasthpo, fasthpo.testing
        >>> check = fasthpo.testing.pruner_checks()[2]
        >>> check.__name__
        'decides_by_the_table_alone'
        >>> check(fasthpo.MedianPruner)  # nothing is raised: the rule holds
    """
    return list(_CHECKS)


def check_pruner(make: MakePruner, *, skip: Collection[str] = ()) -> None:
    """Check that a pruner does what a study relies on. It takes a second or two.

    Args:
        make: the pruner's class, or a function that returns a new pruner; it is called without arguments.
        skip: names of checks to leave out, such as "mirrors_maximize" for one with bounds on values.

    Raises:
        AssertionError: it breaks a rule; the message says which, and where.
        InvalidValue: a name in `skip` is no check's.

    Example:
        >>> import fasthpo, fasthpo.testing
        >>> class Negative(fasthpo.Pruner):
        ...     def should_prune(self, table, number):
        ...         return any(value < 0 for value in table.reports.of(number).values())
        >>> fasthpo.testing.check_pruner(Negative, skip=["mirrors_maximize"])
    """
    run_checks(_CHECKS, make, skip)
