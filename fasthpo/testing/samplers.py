"""What every sampler must hold, one rule a check."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any, Protocol

import numpy as np

from fasthpo.errors import InvalidParameters, InvalidSearchSpace, SpaceExhausted
from fasthpo.samplers.base import Sampler
from fasthpo.space.parameter import Numeric, Parameter
from fasthpo.space.search_space import SearchSpace
from fasthpo.strategies.asha import ASHA
from fasthpo.study.study import Study
from fasthpo.testing.costs import require_as_many_instructions, require_as_much_time
from fasthpo.testing.interrupting import break_off, count_lines
from fasthpo.testing.rules import require, rule, run_checks
from fasthpo.testing.scenarios import (
    PLACES,
    Reloaded,
    add_known,
    ask_any,
    end,
    global_randomness,
    in_threads,
    loaded_copy,
    require_same,
    run,
    share,
)
from fasthpo.testing.spaces import FINITE, SPACES
from fasthpo.trials.trial import TrialState
from fasthpo.values import FloatArray

_TURNS = 40
_METHODS = ("suggest", "suggest_batch", "observe", "untried")
_BREAKS = 6  # of each call


class MakeSampler(Protocol):
    """A class of samplers, or a function that returns a new one."""

    def __call__(self, *, seed: int) -> Sampler: ...


def _spaces(make: MakeSampler) -> dict[str, SearchSpace]:
    """The spaces that the sampler takes."""
    taken = {}
    for name, space in SPACES.items():
        try:
            make(seed=1).check_space(space)
        except InvalidSearchSpace:
            continue
        taken[name] = space
    require(taken, f"check_space refuses every space that the checks have: {', '.join(SPACES)}")
    return taken


def _usual_space(make: MakeSampler) -> SearchSpace:
    """One with conditions and all kinds of parameters, if the sampler takes it."""
    return next(iter(_spaces(make).values()))


def _encoded(space: SearchSpace, suggestion: Any) -> FloatArray:
    """The row (d,) of a suggestion; AssertionError if it is no point of the space."""
    if isinstance(suggestion, Mapping):
        try:
            return space.encode(suggestion)
        except InvalidParameters as error:
            raise AssertionError(f"{dict(suggestion)} is suggested: {error}, in {space}") from error
    kind = f"{type(suggestion).__name__} {suggestion!r}"
    is_array = isinstance(suggestion, np.ndarray) and suggestion.dtype == np.float64
    require(is_array, f"{kind} is suggested, not a mapping or an array of float64")
    require(
        suggestion.shape == (len(space),),
        f"an array of shape {suggestion.shape} is suggested for {len(space)} parameters",
    )
    _require_point(space, suggestion)
    row: FloatArray = suggestion
    return row


def _require_point(space: SearchSpace, row: FloatArray) -> None:
    active = ~np.isnan(space.deactivate(np.where(np.isnan(row), 0.0, row)[None, :])[0])
    for name, parameter, value, is_active in zip(space, space.parameters, row.tolist(), active.tolist(), strict=True):
        fault = _fault(parameter, value, is_active)
        if fault is not None:
            raise AssertionError(f"{name!r} is {value!r}, {fault}, in the suggestion {row.tolist()} for {space}")


def _fault(parameter: Parameter, value: float, is_active: bool) -> str | None:
    """What is wrong with a column value."""
    if not is_active:
        return None if value != value else "though it is inactive"
    if value != value:
        return "though it is active"
    if isinstance(parameter, Numeric):
        low, high = parameter.reach
        if not low <= value <= high:
            return f"which is not between {low} and {high}"
        is_step = parameter.count is None or parameter.at(parameter.cell(np.array([value])))[0] == value
        return None if is_step else f"which is no step of {parameter}"
    assert parameter.count is not None
    exists = value.is_integer() and 0 <= value < parameter.count
    return None if exists else f"which is no index of its {parameter.count} choices"


def _require_points(study: Study, first: int = 0) -> None:
    """Raise AssertionError unless all trials from `first` on are points of their space, but for those that wait."""
    table = study.table
    for number in range(first, len(study)):
        if table.state(number) != TrialState.WAITING:
            _require_point(study.space, np.ascontiguousarray(table.params[:, number]))


def _next_draw(study: Study) -> int:
    return 1 + int(study.table.draws.max(initial=-1))


# --- what is suggested


@rule
def makes_a_new_sampler(make: MakeSampler) -> None:
    """Each call of the function, with a seed from 0 to 2**64 - 1, gives a new sampler with that seed."""
    for seed in (0, 1, 2**64 - 1):
        sampler = make(seed=seed)
        require(isinstance(sampler, Sampler), f"seed={seed} gives {sampler!r}, which is no fasthpo.Sampler")
        require(sampler.seed == seed, f"the sampler made with seed={seed} has the seed {sampler.seed}")
        require(make(seed=seed) is not sampler, "two calls give the same object")


@rule
def suggests_points_of_the_space(make: MakeSampler) -> None:
    """A suggestion is a point of the space: values within bounds, on their steps, and of active parameters only."""
    for space in _spaces(make).values():
        for at_once, direction in ((1, "minimize"), (4, "maximize")):
            sampler = make(seed=3)
            study = Study(space, sampler=sampler, direction=direction)
            for turn in range(0, _TURNS, 8):
                first = len(study)
                with suppress(SpaceExhausted):
                    _encoded(space, sampler.suggest(study.table, _next_draw(study)))
                run(study, turn, turn + 8, at_once)
                _require_points(study, first)


@rule
def suggests_points_under_a_multi_fidelity_strategy(make: MakeSampler) -> None:
    """A sampler works with a multi-fidelity strategy, under which a trial ends several times, each time further on."""
    space = _usual_space(make)
    studies = [Study(space, strategy=ASHA(9, sampler=make(seed=3))) for _ in range(2)]
    for study in studies:
        run(study, 0, 2 * _TURNS)
        _require_points(study)
    require_same(studies[0], studies[1], "two studies of equal seeds")


@rule
def suggests_from_a_draw_the_same_again(make: MakeSampler) -> None:
    """What is suggested depends on the trials, the seed and the draw, and not on what was suggested before."""
    for name, space in _spaces(make).items():
        sampler = make(seed=4)
        study = Study(space, sampler=sampler)
        for turn in range(0, _TURNS, 10):
            run(study, turn, turn + 10)
            draw = _next_draw(study)
            try:
                first, again = (_encoded(space, sampler.suggest(study.table, draw)) for _ in range(2))
            except SpaceExhausted:
                continue
            require(
                np.array_equal(first, again, equal_nan=True),
                f"draw {draw} gives {space.decode(first)} and then {space.decode(again)}, on the space {name!r}",
            )


@rule
def takes_any_values(make: MakeSampler) -> None:
    """A study may consist of failed, pruned, infinite, equal or huge results only, and the sampler goes on."""
    space = _usual_space(make)
    told: dict[str, Callable[[Study, int, int], object]] = {
        "that are NaN": lambda study, number, _: study.tell(number, math.nan),
        "that failed": lambda study, number, _: study.tell(number, state=TrialState.FAILED),
        "that were lost": lambda study, number, _: study.tell(number, state=TrialState.FAILED, infrastructure=True),
        "that were pruned without a value": lambda study, number, _: study.tell(number, state=TrialState.PRUNED),
        "that are infinite": lambda study, number, _: study.tell(number, math.inf),
        "that are minus infinity": lambda study, number, _: study.tell(number, -math.inf),
        "that are equal": lambda study, number, _: study.tell(number, 1.0),
        "that are as large as floats go": lambda study, number, i: study.tell(number, (-1.0) ** i * 1.7e308),
        "that are as small as floats go": lambda study, number, i: study.tell(number, i * 5e-324),
        "of which only the first is finite": lambda study, number, i: study.tell(number, math.inf if i else 0.0),
    }
    for which, tell in told.items():
        for direction in ("minimize", "maximize"):
            study = Study(space, sampler=make(seed=5), direction=direction)
            try:
                for i in range(30):
                    trial = study.ask()
                    tell(study, trial.number, i)
            except SpaceExhausted:
                pass
            except Exception as error:
                raise AssertionError(f"after {len(study)} trials {which} it raises {error!r}") from error
            _require_points(study)


@rule
def takes_trials_in_any_order(make: MakeSampler) -> None:
    """Many trials may run at once, end in another order than they began, wait, and be known beforehand."""
    space = _usual_space(make)
    study = Study(space, sampler=make(seed=6))
    add_known(study, 25)
    study.enqueue({})
    for numbers in ([24, 3, 11, *range(12, 24)], range(40, 2, -1)):
        asked = [trial.number for _ in range(30) if (trial := ask_any(study)) is not None]
        for turn, i in enumerate(numbers):
            if i < len(asked) and asked[i] in study.table.running:
                end(study, asked[i], turn)
    run(study, 0, 10, at_once=1)
    _require_points(study)


@rule
def mirrors_maximize(make: MakeSampler) -> None:
    """To maximize values is to minimize them with the other sign: the same points are suggested."""
    space = _usual_space(make)
    studies = [Study(space, sampler=make(seed=7), direction=direction) for direction in ("minimize", "maximize")]
    for study, sign in zip(studies, (1.0, -1.0), strict=True):
        run(study, 0, 2 * _TURNS, sign=sign)
    for low, high in zip(studies[0].trials, studies[1].trials, strict=False):
        require(
            low.params == high.params,
            f"trial {low.number} is {low.params} if values are minimized, {high.params} if maximized",
        )
    require(len(studies[0]) == len(studies[1]), "more trials are suggested in the one direction than in the other")


@rule
def uses_a_finite_space_up(make: MakeSampler) -> None:
    """On a finite space each point is suggested once; then `ask` raises SpaceExhausted, and `ask_batch` gives none."""
    taken = _spaces(make)
    for name in FINITE:
        if name not in taken:
            continue
        space, sampler = taken[name], make(seed=8)
        limit = sampler.draw_limit(space)
        assert space.size is not None
        most = space.size if limit is None else min(space.size, limit)
        for n in (1, 7, most + 5):
            study = Study(space, sampler=make(seed=8))
            while len(study) <= most:
                before = len(study)
                if n == 1:
                    ask_any(study)
                else:
                    study.ask_batch(n)
                if len(study) == before:
                    break
                for number in study.table.running.tolist():
                    end(study, number, number)
            points = [repr(trial.params) for trial in study.trials]
            again = [point for i, point in enumerate(points) if point in points[:i]]
            require(not again, f"{again[:1]} is suggested twice on the space {name!r}")
            require(len(points) == most, f"{len(points)} of {most} points of the space {name!r} are suggested")
            try:
                trial = study.ask()
            except SpaceExhausted:
                pass
            else:
                raise AssertionError(f"{trial.params} is suggested on the space {name!r}, which was used up")
            require(
                not len(study.ask_batch(3).numbers), f"ask_batch gives a trial on the space {name!r}, which is used up"
            )


# --- randomness


@rule
def gives_equal_studies_for_equal_seeds(make: MakeSampler) -> None:
    """Equal seeds give equal studies, whatever other samplers of the kind do meanwhile."""
    for name, space in _spaces(make).items():
        alone, one = (Study(space, sampler=make(seed=9)) for _ in range(2))
        run(alone, 0, _TURNS)
        other = Study(space, sampler=make(seed=10))
        for turn in range(_TURNS):
            run(one, turn, turn + 1)
            run(other, turn, turn + 1, at_once=1)
        require_same(alone, one, f"two studies on the space {name!r} with samplers of seed 9")


@rule
def gives_other_studies_for_other_seeds(make: MakeSampler) -> None:
    """Different seeds give different studies. Leave this check out if the sampler has no randomness."""
    space = _usual_space(make)
    seen: dict[bytes, int] = {}
    for seed in (0, 1, 2, 2**32, 2**63, 2**64 - 1):  # also where only some bits are used
        study = Study(space, sampler=make(seed=seed))
        for turn in range(25):  # none is enqueued: what such a trial is completed with depends on the seed in any case
            if (trial := ask_any(study)) is not None:
                end(study, trial.number, turn)
        params = study.table.params.tobytes()
        require(params not in seen, f"seeds {seen.get(params)} and {seed} give the same 25 trials")
        seen[params] = seed


@rule
def leaves_global_randomness_alone(make: MakeSampler) -> None:
    """A sampler neither draws from `random` or `numpy.random` nor seeds them, and does not depend on them."""
    space = _usual_space(make)
    studies = []
    for seed in (1, 2):
        with global_randomness(seed):
            study = Study(space, sampler=make(seed=11))
            run(study, 0, _TURNS)
            studies.append(study)
    require_same(
        studies[0], studies[1], "two studies with samplers of seed 11, after `random.seed(1)` and `random.seed(2)`,"
    )


@rule
def suggests_the_same_in_other_processes(make: MakeSampler) -> None:
    """What is suggested does not depend on the process, such as by the hashes of strings or by what ran before."""
    from fasthpo.strategies.single_fidelity import RandomSearch
    from fasthpo.tuner.callbacks import LoggingCallback
    from fasthpo.tuner.config import TunerConfig
    from fasthpo.tuner.tuner import HyperparameterTuner

    space = _usual_space(make)

    def objective(trial: Any) -> dict[str, float]:
        study = Study(space, sampler=make(seed=12))
        run(study, 0, 20)
        rows = np.where(np.isnan(study.table.params), -1.0, study.table.params)
        return {"value": 0.0} | {f"{i}": value for i, value in enumerate(rows.ravel().tolist())}

    here = objective(None)
    config = TunerConfig("process", objective_metric="value", max_trials=1, max_initial_failures=1)
    tuner = HyperparameterTuner(config, space, RandomSearch(seed=0)).remove_callback(LoggingCallback)
    there = tuner.optimize(objective, backend="processes", workers=1).trials[0]
    names = [name for name in here if name != "value"]
    differs = [name for name in names if there.metrics[name] != here[name]]
    require(not differs, f"with seed 12, {len(differs)} of {len(names)} values differ between two processes")


# --- in studies


@rule
def goes_on_in_a_loaded_study(make: MakeSampler) -> None:
    """A study that was saved or closed goes on as one that never stopped, bit for bit: its trials say all."""
    usual = _usual_space(make)
    for name, space in _spaces(make).items():
        for place in PLACES if space is usual else PLACES[:1]:  # of the others it is the sampler that differs
            never = Study(space, sampler=make(seed=13))
            with Reloaded(place, space, sampler=make(seed=13)) as loaded:
                for turn in range(0, 75 if space is usual else 45, 15):
                    run(never, turn, turn + 15)
                    run(loaded.study, turn, turn + 15)
                    which = f"a study on the space {name!r} that never stopped and one that was loaded from a {place}"
                    require_same(never, loaded.study, which)
                    loaded.reload(sampler=make(seed=13))


@rule
def suggests_batches_as_single_points(make: MakeSampler) -> None:
    """`ask_batch(n)` gives what `n` calls of `ask` would; `suggest_batch` gives 1 to n rows, all of them points."""
    for name, space in _spaces(make).items():
        one, several = (Study(space, sampler=make(seed=14)) for _ in range(2))
        for turn in range(0, _TURNS, 8):
            n, first = 1 + turn, len(one)
            if several.sampler.has_batches:
                draws = np.arange(_next_draw(several), _next_draw(several) + n)
                _check_rows(several, draws)
            for _ in range(n):
                ask_any(one)
            numbers = several.ask_batch(n).numbers.tolist()
            require_same(one, several, f"on the space {name!r}, {n} calls of ask and ask_batch({n})")
            _require_points(several, first)
            for study in (one, several):
                for number in numbers[::-1]:
                    end(study, number, number)


def _check_rows(study: Study, draws: Any) -> None:
    limit = study.sampler.draw_limit(study.space)
    if (limit is not None and draws[-1] >= limit) or (study.table.tried is not None and study.table.tried.is_exhausted):
        return
    try:
        rows = study.sampler.suggest_batch(study.table, draws)
    except SpaceExhausted:
        return
    shape = np.shape(rows)
    fits = len(shape) == 2 and 1 <= shape[0] <= len(draws) and shape[1] == len(study.space)
    require(fits, f"suggest_batch gives rows of shape {shape} for {len(draws)} draws of {len(study.space)} parameters")
    for row in rows:
        _encoded(study.space, np.ascontiguousarray(row))


@rule
def may_be_used_by_threads(make: MakeSampler) -> None:
    """Threads may share a study: they get points of the space, and the trials do not depend on which thread asked."""
    space = _usual_space(make)
    alone, passed_on = (Study(space, sampler=make(seed=15)) for _ in range(2))
    run(alone, 0, 24)
    for turn in range(24):
        in_threads(1, lambda _, turn=turn: run(passed_on, turn, turn + 1))  # type: ignore[misc]
    require_same(alone, passed_on, "a study used by one thread and one used by a new thread in each turn")
    shared = Study(space, sampler=make(seed=15))
    share(shared)
    _require_points(shared)
    draws = shared.table.draws[shared.table.draws >= 0].tolist()
    require(len(draws) == len(set(draws)), "two trials of threads that shared a study come from one draw")
    numbers = _suggested(shared), _suggested(loaded_copy(shared, sampler=make(seed=15)))
    require(numbers[0] == numbers[1], f"after threads it suggests {numbers[0]}, and in what was loaded {numbers[1]}")


def _suggested(study: Study) -> str:
    """What comes next, without asking for it."""
    try:
        row = study.sampler.suggest(study.table, _next_draw(study))
    except SpaceExhausted as error:
        return str(error)
    return repr(study.space.decode(_encoded(study.space, row)))


@rule
def survives_calls_that_are_broken_off(make: MakeSampler) -> None:
    """A call that Ctrl-C breaks off in the sampler leaves it as it was, or as the call has changed it; see `forget`."""
    space = _usual_space(make)

    def begun() -> Study:
        study = Study(space, sampler=make(seed=16))
        run(study, 0, 24)
        return study

    def ask(study: Study) -> None:
        ask_any(study)

    def ask_batch(study: Study) -> None:
        study.ask_batch(4)

    def tell(study: Study) -> None:
        study.tell(int(study.table.running[0]), 0.25)

    for call in (ask, ask_batch, tell):
        whole = begun()
        n, told = len(whole), len(whole.table.tell_order)
        lines = count_lines(lambda: call(whole), whole.sampler, _METHODS)  # noqa: B023  (called at once)
        run(whole, 24, 36)
        for line in sorted({1 + i * (lines - 1) // _BREAKS for i in range(_BREAKS + 1)} if lines else ()):
            study = begun()
            break_off(lambda: call(study), study.sampler, _METHODS, line)  # noqa: B023
            if (len(study), len(study.table.tell_order)) == (n, told):  # all of it was taken back
                call(study)
            which = f"of two studies, one whose {call.__name__} was broken off before its line {line} in the sampler,"
            try:
                run(study, 24, 36)
            except Exception as error:
                raise AssertionError(f"{which} can't go on: {error!r}") from error
            require_same(whole, study, f"{which} these")


@rule
def does_the_same_however_many_trials(make: MakeSampler) -> None:
    """What an ask and a tell do does not grow with the number of trials: they are not gone through."""
    require_as_many_instructions(lambda trials: _with_known(make, trials), _ask_and_tell, times=16)


@rule
def takes_as_long_however_many_trials(make: MakeSampler) -> None:
    """An ask and a tell take as long after 100,000 trials as after 1,000, unless its docstring says that they don't."""
    require_as_much_time(lambda trials: _with_known(make, trials), _ask_and_tell, many=100_000)


def _with_known(make: MakeSampler, trials: int) -> Study:
    study = Study(_usual_space(make), sampler=make(seed=17))
    add_known(study, trials)
    return study


def _ask_and_tell(study: Study) -> None:
    study.tell(study.ask(), 0.5)


@rule
def is_made_again_from_its_options(make: MakeSampler) -> None:
    """If it has a name, `options()` has the constructor's arguments in plain values, which make an equal one."""
    sampler = make(seed=18)
    if vars(type(sampler)).get("name") is None:
        return
    options = sampler.options()
    for name, value in options.items():
        plain = value is None or type(value) in (bool, int, float, str)
        require(plain, f"option {name!r} is {value!r}, of {type(value).__name__}, not None, a bool, int, float or str")
    again = type(sampler)(**options)
    require(again.options() == options, f"made of the options {options}, a sampler has the options {again.options()}")
    space = _usual_space(make)
    studies = Study(space, sampler=sampler), Study(space, sampler=again)
    for study in studies:
        run(study, 0, _TURNS)
    require_same(*studies, "a study of a sampler and one of a sampler made from its options")


_CHECKS = (
    makes_a_new_sampler,
    suggests_points_of_the_space,
    suggests_points_under_a_multi_fidelity_strategy,
    suggests_from_a_draw_the_same_again,
    takes_any_values,
    takes_trials_in_any_order,
    mirrors_maximize,
    uses_a_finite_space_up,
    gives_equal_studies_for_equal_seeds,
    gives_other_studies_for_other_seeds,
    leaves_global_randomness_alone,
    suggests_the_same_in_other_processes,
    goes_on_in_a_loaded_study,
    suggests_batches_as_single_points,
    may_be_used_by_threads,
    survives_calls_that_are_broken_off,
    does_the_same_however_many_trials,
    takes_as_long_however_many_trials,
    is_made_again_from_its_options,
)


def sampler_checks() -> list[Callable[[MakeSampler], None]]:
    """The checks of samplers, as functions to parametrize a test with; each is named for its rule.

    Example:
        >>> import fasthpo, fasthpo.testing
        >>> check = fasthpo.testing.sampler_checks()[1]
        >>> check.__name__
        'suggests_points_of_the_space'
        >>> check(fasthpo.RandomSampler)  # nothing is raised: the rule holds
    """
    return list(_CHECKS)


def check_sampler(make: MakeSampler, *, skip: Collection[str] = ()) -> None:
    """Check that a sampler does what a study relies on. It takes some seconds.

    A space on which the sampler can't work is left out: its `check_space` raises `InvalidSearchSpace` there.

    Args:
        make: the sampler's class, or a function that returns a new sampler; it is called with `seed=`.
        skip: names of checks to leave out, such as "gives_other_studies_for_other_seeds" for one without randomness.

    Raises:
        AssertionError: it breaks a rule; the message says which, and where.
        InvalidValue: a name in `skip` is no check's.

    Example:
        >>> import numpy as np, fasthpo, fasthpo.testing
        >>> class Own(fasthpo.Sampler):
        ...     def suggest(self, table, draw):
        ...         unit = np.random.default_rng([self.seed, draw]).random((1, len(table.space)))
        ...         return table.space.from_unit(unit)[0]
        >>> fasthpo.testing.check_sampler(Own)
    """
    run_checks(_CHECKS, make, skip)
