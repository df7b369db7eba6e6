"""What every strategy must hold, one rule a check. Those about resources are for multi-fidelity strategies only."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeAlias

import numpy as np

from fasthpo.errors import SpaceExhausted
from fasthpo.strategies.base import NextLeg, Strategy
from fasthpo.study.study import Study
from fasthpo.testing.costs import require_as_many_instructions
from fasthpo.testing.interrupting import break_off, count_lines
from fasthpo.testing.rules import require, rule, run_checks
from fasthpo.testing.scenarios import (
    PLACES,
    Reloaded,
    ask_any,
    global_randomness,
    in_threads,
    loss_of,
    require_same,
    run,
    share,
)
from fasthpo.testing.spaces import SPACES
from fasthpo.trials.table import TrialTable
from fasthpo.trials.trial import Trial, TrialState

MakeStrategy: TypeAlias = Callable[[], Strategy]
_SPACE, _FINITE = SPACES["conditional"], SPACES["finite"]
_TURNS = 80
_METHODS = ("next_leg", "new_leg", "on_start", "on_end", "state_at", "take_retired", "may_go_on")
_BREAKS = 6  # of each call
_PAUSED = TrialState.PAUSED


def _followed(make: MakeStrategy, direction: str = "minimize") -> tuple[Strategy, Study]:
    """A new strategy and its study."""
    strategy = make()
    return strategy, Study(_SPACE, strategy=strategy, direction=direction)


def _tell_all(study: Study) -> None:
    for number in study.table.running.tolist():
        study.tell(number, loss_of(study.table, number))


def _paused(table: TrialTable) -> list[int]:
    numbers: list[int] = np.flatnonzero(table.states == _PAUSED).tolist()
    return numbers


@rule
def makes_a_new_strategy(make: MakeStrategy) -> None:
    """Each call of the function gives a new strategy, with a new sampler of the same seed."""
    one, other = make(), make()
    require(isinstance(one, Strategy), f"{one!r} is no fasthpo.Strategy")
    require(one is not other and one.sampler is not other.sampler, "two calls share the strategy or its sampler")
    seeds = one.sampler.seed, other.sampler.seed
    require(seeds[0] == seeds[1], f"two calls give samplers of the seeds {seeds[0]} and {seeds[1]}")
    if one.is_multi_fidelity:
        resource = one.max_resource
        require(type(resource) is int and resource > 0, f"max_resource is {resource!r}, not an integer above 0")


@rule
def gives_resources_that_ascend(make: MakeStrategy) -> None:
    """A leg ends at a resource from 1 to max_resource, a trial's next one at a larger resource, in its bracket."""
    for at_once, direction in ((1, "minimize"), (5, "maximize")):
        strategy, study = _followed(make, direction)
        if not strategy.is_multi_fidelity:
            run(study, 0, 20)
            require(np.isnan(study.table.resources).all(), "a strategy that trains in full gives a resource")
            return

        def ask(study: Study, strategy: Strategy = strategy) -> Trial | None:
            table = study.table
            reached = {number: table.segments.reached(number) for number in _paused(table)}
            brackets = table.brackets.tolist()
            trial = study.ask()
            resource, bracket = trial.resource, table.bracket(trial.number)
            require(
                resource is not None and reached.get(trial.number, 0) < resource <= strategy.max_resource,
                f"trial {trial.number}, which has reached {reached.get(trial.number, 0)} of {strategy.max_resource}, "
                f"is to be trained to {resource}",
            )
            require(bracket >= 0, f"trial {trial.number} is in bracket {bracket}, which is negative")
            if trial.number in reached:
                before = brackets[trial.number]
                require(bracket == before, f"trial {trial.number} goes on in bracket {bracket}, and began in {before}")
            return trial

        run(study, 0, _TURNS, at_once, ask=ask)


@rule
def lets_paused_trials_go_on_only(make: MakeStrategy) -> None:
    """`next_leg()` names a paused trial or None for a new one, never gives None itself, and changes nothing."""
    for at_once in (1, 5):
        strategy, study = _followed(make)
        if not strategy.is_multi_fidelity:
            return

        def ask(study: Study, strategy: Strategy = strategy) -> Trial | None:
            table, waits = study.table, study.table.counts[TrialState.WAITING]
            leg, again = strategy.next_leg(), strategy.next_leg()
            if leg is None:
                raise AssertionError(
                    f"next_leg() gives None while {len(table.running)} trials run: a new one may start"
                )
            require(leg == again, f"next_leg() gives {leg} and then {again}")
            number = leg.number
            if number is not None:
                exists = 0 <= number < len(table)
                require(exists, f"next_leg() names trial {number} of {len(table)} trials")
                state = table.state(number)
                require(state == _PAUSED, f"next_leg() has trial {number} go on, which is {state.name}, not PAUSED")
            old = strategy.next_leg(new=False)
            require(old is None or old.number is not None, f"next_leg(new=False) gives a new trial: {old}")
            first = strategy.new_leg()
            require(first is not None and first.number is None, f"new_leg() gives {first}, which is no new trial's")
            trial = study.ask()
            if not waits:
                got = NextLeg(
                    number if number is None else trial.number, table.bracket(trial.number), trial.resource or 0
                )
                require(
                    got == leg and (number is not None or trial.number == len(table) - 1), f"{leg} has become {got}"
                )
            return trial

        run(study, 0, _TURNS, at_once, ask=ask)


@rule
def pauses_below_the_largest_resource(make: MakeStrategy) -> None:
    """A trial that was told a value is COMPLETE at max_resource, and PAUSED at each smaller one that it was given."""
    strategy, study = _followed(make)
    run(study, 0, _TURNS)
    if not strategy.is_multi_fidelity:
        paused = _paused(study.table)
        require(not paused, f"trial {paused[:1]} is PAUSED under a strategy that trains in full")
        return
    for resource in {*study.table.segments.column("resource").tolist(), strategy.max_resource}:
        state, right = (
            strategy.state_at(resource),
            TrialState.COMPLETE if resource == strategy.max_resource else _PAUSED,
        )
        require(state == right, f"state_at({resource}) is {state!r} of max_resource {strategy.max_resource}")


@rule
def trains_one_trial_to_the_end(make: MakeStrategy) -> None:
    """If no new trial may start, those that there are go on until one is COMPLETE and `next_leg(new=False)` None."""
    for turns in (1, 5, 40):
        strategy, study = _followed(make)
        if not strategy.is_multi_fidelity:
            return
        for _ in range(turns):
            study.tell(study.ask(), 0.5)
        _tell_all(study)
        trials, segments = len(study), 0
        while (trial := study.ask_within(new=False)) is not None:
            segments += 1
            require(trial.number < trials, f"trial {trial.number} starts, though new ones may not")
            require(segments <= 20 * trials, f"after {segments} more legs of {trials} trials there is still another")
            study.tell(trial, loss_of(study.table, trial.number))
        complete = study.table.counts[TrialState.COMPLETE]
        require(complete, f"of {trials} trials none was trained to the end, though new ones may not start")


@rule
def never_calls_retired_trials_back(make: MakeStrategy) -> None:
    """What `take_retired` or `may_go_on` has given up is a paused trial that never goes on: its weights go."""
    strategy, study = _followed(make)
    if not strategy.is_multi_fidelity:
        return
    retired: set[int] = set()
    take = strategy.take_retired

    def take_retired() -> list[int]:
        numbers = take()
        for number in numbers:
            state = study.table.state(number)
            require(state == _PAUSED, f"trial {number} is retired, though it is {state.name}, not PAUSED")
            require(number not in retired and numbers.count(number) == 1, f"trial {number} is retired twice")
            require(not strategy.may_go_on(number), f"trial {number} is retired, and may_go_on says that it may go on")
        retired.update(numbers)
        return numbers

    def ask(study: Study) -> Trial | None:
        gone = {number for number in _paused(study.table) if not strategy.may_go_on(number)}
        trial = study.ask()
        require(trial.number not in gone, f"trial {trial.number} goes on, of which may_go_on said that it may not")
        require(trial.number not in retired, f"trial {trial.number} goes on, which was retired")
        return trial

    strategy.take_retired = take_retired  # type: ignore[method-assign]
    run(study, 0, 2 * _TURNS, ask=ask)


@rule
def keeps_within_a_budget(make: MakeStrategy) -> None:
    """A leg costs what it adds to the trial, or all of it if trials can't resume; no budget is exceeded."""
    strategy, study = _followed(make)
    if not strategy.is_multi_fidelity:
        return
    spent, budget = 0, 12 * strategy.max_resource
    while (trial := study.ask_within(budget - spent)) is not None:
        resource = trial.resource or 0
        start = study.table.segments.reached(trial.number) if strategy.resumable else 0
        spent += resource - start
        committed = study.resource_committed
        require(committed == spent, f"the legs so far cost {spent}, and the study has committed {committed}")
        require(spent <= budget, f"{spent} was spent of {budget}")
        study.tell(trial, loss_of(study.table, trial.number))
    require(study.resource_spent == spent, f"the legs cost {spent}, and the study has spent {study.resource_spent}")


@rule
def ends_with_the_space(make: MakeStrategy) -> None:
    """On a finite space each point is tried once, paused trials go on to their end, and `ask` raises SpaceExhausted."""
    study = Study(_FINITE, strategy=make())
    size = _FINITE.size
    assert size is not None
    for turn in range(20 * size):
        trial = ask_any(study)
        if trial is None:
            break
        study.tell(trial, loss_of(study.table, trial.number) if turn % 5 else 0.5)
    else:
        raise AssertionError(f"after {20 * size} legs on a space of {size} points there is still another one")
    points = {repr(trial.params) for trial in study.trials}
    require(len(points) == len(study), f"of {len(study)} trials, {len(study) - len(points)} repeat a point")
    require(len(points) == size, f"{len(points)} of {size} points were tried")
    try:
        study.ask()
    except SpaceExhausted:
        return
    raise AssertionError("`ask` gives a trial after it has raised SpaceExhausted")


@rule
def mirrors_maximize(make: MakeStrategy) -> None:
    """To maximize values is to minimize them with the other sign: the same trials go on."""
    (_, low), (_, high) = _followed(make), _followed(make, "maximize")
    run(low, 0, 2 * _TURNS)
    run(high, 0, 2 * _TURNS, sign=-1.0)
    for name in ("params", "states", "resources", "brackets"):
        mine, theirs = getattr(low.table, name), getattr(high.table, name)
        equal = mine.shape == theirs.shape and np.array_equal(mine, theirs, equal_nan=mine.dtype.kind == "f")
        require(equal, f"the {name} of the trials differ between minimizing values and maximizing the negative ones")


@rule
def follows_one_study(make: MakeStrategy) -> None:
    """Strategies of different studies know nothing of each other, and one says by `follows` which study it is with."""
    strategy, alone = _followed(make)
    _, one = _followed(make)
    _, other = _followed(make, "maximize")
    run(alone, 0, _TURNS)
    for turn in range(_TURNS):
        run(one, turn, turn + 1)
        run(other, turn, turn + 1, at_once=2)
    require_same(alone, one, "a study that is alone and one beside another")
    if strategy.is_multi_fidelity:
        require(strategy.follows(alone.table), "follows() is not true of the study that the strategy is with")
        strategy.attach(other.table)
        require(not strategy.follows(alone.table), "follows() is true of a study after another one was attached")


@rule
def goes_on_from_the_table_alone(make: MakeStrategy) -> None:
    """What it keeps is derived from the table: one that is attached at any moment goes on as one that saw it all."""
    for at_once in (1, 4):
        strategy, study = _followed(make)
        if not strategy.is_multi_fidelity:
            return

        def ask(study: Study, strategy: Strategy = strategy) -> Trial | None:
            new, table = make(), study.table
            new.attach(table)
            _require_alike(strategy, new, table)
            return study.ask()

        run(study, 0, _TURNS, at_once, ask=ask)


def _require_alike(followed: Strategy, new: Strategy, table: TrialTable) -> None:
    questions: dict[str, Callable[[Strategy], object]] = {
        "next_leg()": lambda strategy: strategy.next_leg(),
        "next_leg(new=False)": lambda strategy: strategy.next_leg(new=False),
        "new_leg()": lambda strategy: strategy.new_leg(),
        "the paused trials that may go on": lambda strategy: [n for n in _paused(table) if strategy.may_go_on(n)],
    }
    for name, question in questions.items():
        mine, theirs = question(followed), question(new)
        require(
            mine == theirs,
            f"after {len(table.segments)} legs of {len(table)} trials {name} is {mine} for one that followed the study "
            f"and {theirs} for one that is attached now",
        )


@rule
def goes_on_in_a_loaded_study(make: MakeStrategy) -> None:
    """A study that was saved or closed goes on as one that never stopped, also with trials that run."""
    for at_once in (1, 4):
        for place in PLACES:
            _, never = _followed(make)
            with Reloaded(place, _SPACE, strategy=make()) as loaded:
                for turn in range(0, 75, 25):
                    run(never, turn, turn + 25, at_once)
                    run(loaded.study, turn, turn + 25, at_once)
                    which = f"a study that never stopped and one that was loaded from a {place}"
                    require_same(never, loaded.study, which)
                    loaded.reload(strategy=make())


@rule
def leaves_global_randomness_alone(make: MakeStrategy) -> None:
    """A strategy neither draws from `random` or `numpy.random` nor seeds them, and does not depend on them."""
    studies = []
    for seed in (1, 2):
        with global_randomness(seed):
            _, study = _followed(make)
            run(study, 0, _TURNS)
            studies.append(study)
    require_same(studies[0], studies[1], "two studies, after `random.seed(1)` and `random.seed(2)`,")


@rule
def may_be_used_by_threads(make: MakeStrategy) -> None:
    """Threads may share a study: what comes next does not depend on which thread asks."""
    (_, alone), (_, passed_on) = _followed(make), _followed(make)
    run(alone, 0, 24)
    for turn in range(24):
        in_threads(1, lambda _, turn=turn: run(passed_on, turn, turn + 1))  # type: ignore[misc]
    require_same(alone, passed_on, "a study used by one thread and one used by a new thread in each turn")
    strategy, shared = _followed(make)
    share(shared, trials=15)
    if strategy.is_multi_fidelity:
        new = make()
        new.attach(shared.table)
        _require_alike(strategy, new, shared.table)


@rule
def survives_calls_that_are_broken_off(make: MakeStrategy) -> None:
    """A call that Ctrl-C breaks off in the strategy leaves it as it was, or as the call has changed it."""

    def begun() -> Study:
        _, study = _followed(make)
        run(study, 0, 30)
        return study

    def ask(study: Study) -> None:
        study.ask()

    def tell(study: Study) -> None:
        study.tell(int(study.table.running[0]), 0.25)

    def enqueue_and_ask(study: Study) -> None:
        if not study.table.counts[TrialState.WAITING]:
            study.enqueue({})
        study.ask()

    for call in (ask, tell, enqueue_and_ask):
        whole = begun()
        strategy = whole.strategy
        runs = len(whole.table.running)
        lines = count_lines(lambda: call(whole), strategy, _METHODS)  # noqa: B023  (called at once)
        run(whole, 30, 60)
        for line in sorted({1 + i * (lines - 1) // _BREAKS for i in range(_BREAKS + 1)} if lines else ()):
            study = begun()
            break_off(lambda: call(study), study.strategy, _METHODS, line)  # noqa: B023
            if len(study.table.running) == runs:  # all of it was taken back
                call(study)
            which = f"of two studies, one whose {call.__name__} was broken off before its line {line} in the strategy,"
            try:
                run(study, 30, 60)
            except Exception as error:
                raise AssertionError(f"{which} can't go on: {error!r}") from error
            require_same(whole, study, f"{which} these")


@rule
def does_the_same_however_many_trials(make: MakeStrategy) -> None:
    """What an ask and a tell do does not grow with the number of trials: they are not gone through."""

    def cycle(study: Study) -> None:
        trial = study.ask()
        study.tell(trial, loss_of(study.table, trial.number))

    def begin(trials: int) -> Study:
        _, study = _followed(make)
        run(study, 0, 1, at_once=8)  # some go on running
        while len(study) < trials:
            cycle(study)
        return study

    require_as_many_instructions(begin, cycle, times=64)  # brackets may close meanwhile


@rule
def says_what_it_plans(make: MakeStrategy) -> None:
    """`summary()` is a text at any moment."""
    strategy, study = _followed(make)
    for turn in range(0, 40, 10):
        text = strategy.summary()
        require(isinstance(text, str) and text, f"summary() gives {text!r} after {len(study)} trials")
        run(study, turn, turn + 10)


@rule
def is_made_again_from_its_options(make: MakeStrategy) -> None:
    """If it has a name, `options()` has the constructor's arguments but the sampler, which make an equal one."""
    strategy = make()
    if vars(type(strategy)).get("name") is None:
        return
    options = strategy.options()
    for name, value in options.items():
        plain = value is None or type(value) in (bool, int, float, str)
        require(plain, f"option {name!r} is {value!r}, of {type(value).__name__}, not None, a bool, int, float or str")
    again = type(strategy)(**options, sampler=make().sampler)
    require(again.options() == options, f"made of the options {options}, a strategy has the options {again.options()}")
    studies = Study(_SPACE, strategy=strategy), Study(_SPACE, strategy=again)
    for study in studies:
        run(study, 0, _TURNS)
    require_same(*studies, "a study of a strategy and one of a strategy made from its options")


_CHECKS = (
    makes_a_new_strategy,
    gives_resources_that_ascend,
    lets_paused_trials_go_on_only,
    pauses_below_the_largest_resource,
    trains_one_trial_to_the_end,
    never_calls_retired_trials_back,
    keeps_within_a_budget,
    ends_with_the_space,
    mirrors_maximize,
    follows_one_study,
    goes_on_from_the_table_alone,
    goes_on_in_a_loaded_study,
    leaves_global_randomness_alone,
    may_be_used_by_threads,
    survives_calls_that_are_broken_off,
    does_the_same_however_many_trials,
    says_what_it_plans,
    is_made_again_from_its_options,
)


def strategy_checks() -> list[Callable[[MakeStrategy], None]]:
    """The checks of strategies, as functions to parametrize a test with; each is named for its rule.

    Example:
        >>> import fasthpo, fasthpo.testing
        >>> check = fasthpo.testing.strategy_checks()[1]
        >>> check.__name__
        'gives_resources_that_ascend'
        >>> check(lambda: fasthpo.ASHA(9, sampler=fasthpo.RandomSampler(seed=0)))  # nothing is raised: the rule holds
    """
    return list(_CHECKS)


def check_strategy(make: MakeStrategy, *, skip: Collection[str] = ()) -> None:
    """Check that a strategy does what a study relies on. It takes some seconds.

    Args:
        make: a function that returns a new strategy, with a new sampler of always the same seed; it is called without
            arguments.
        skip: names of checks to leave out, such as "trains_one_trial_to_the_end".

    Raises:
        AssertionError: it breaks a rule; the message says which, and where.
        InvalidValue: a name in `skip` is no check's.

    Example:
        >>> import fasthpo, fasthpo.testing
        >>> fasthpo.testing.check_strategy(lambda: fasthpo.ASHA(9, sampler=fasthpo.RandomSampler(seed=0)))
    """
    run_checks(_CHECKS, make, skip)
