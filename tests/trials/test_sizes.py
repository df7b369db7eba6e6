"""What sizes something has a bound, in the same words whether it comes from the user or from a file."""

from __future__ import annotations

import json
import math
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest

import fasthpo
from fasthpo.storage.framing import frame, read_frames
from fasthpo.values import shown

SPACE = {"x": fasthpo.Continuous(0.0, 1.0)}
HUGE = 10**5000  # which Python does not write
SOME = "an integer of about 5001 digits"


def written(path: Path, **changes: Any) -> Path:
    """A study's file with another definition, each change at a path of keys such as `sampler__options__seed`."""
    study = fasthpo.Study(
        {f"x{i}": fasthpo.Continuous(0.0, 1.0) for i in range(60)}, sampler=fasthpo.TPESampler(seed=0),
        pruner=fasthpo.PatientPruner(None, 1), storage=path,
    )  # fmt: skip
    study.close()
    payload = read_frames((path / "journal.msgpack").read_bytes())[0][0][1]
    head = msgpack.unpackb(payload)
    definition = json.loads(head[4])
    for keys, value in changes.items():
        place = definition
        *way, last = keys.split("__")
        for key in way:
            place = place[key]
        place[last] = value
    head[4] = json.dumps(definition)
    made = path / "made.msgpack"
    made.write_bytes(frame(msgpack.packb(head)))
    return made


def part(name: str, **options: Any) -> dict[str, Any]:
    return {"name": name, "type": "X", "options": options}


def patient(depth: int) -> Any:
    pruner: Any = None
    for _ in range(depth):
        pruner = fasthpo.PatientPruner(pruner, 1)
    return pruner


def patient_part(depth: int) -> Any:
    pruner: Any = None
    for _ in range(depth):
        pruner = part("patient", patience=1, wrapped_pruner=pruner and {"part": pruner})
    return pruner


@pytest.mark.parametrize(
    ("make", "change", "message"),
    [
        (
            lambda: fasthpo.TPESampler(n_startup_trials=10**18),
            {"sampler__options__n_startup_trials": 10**18},
            "n_startup_trials must be at most 100000, got n_startup_trials=1000000000000000000",
        ),
        (
            lambda: fasthpo.BayesianOptimization(n_ei_candidates=10_001),
            {"sampler__options__n_ei_candidates": 10_001},
            "n_ei_candidates must be at most 10000, got n_ei_candidates=10001",
        ),
        (
            lambda: fasthpo.RandomSampler(seed=2**64),
            {"sampler": part("random", seed=2**64)},
            "seed must be None or an integer from 0 to 2",
        ),
        (
            lambda: fasthpo.PatientPruner(None, 10**18),
            {"pruner__options__patience": 10**18},
            "patience must be at most 100000, got patience=1000000000000000000",
        ),
        (
            lambda: patient(33),
            {"pruner": patient_part(33)},
            "at most 32 patient pruners can be wrapped in each other",
        ),
        (
            lambda: fasthpo.WilcoxonPruner(n_startup_steps=10**30),
            {"pruner": part("wilcoxon", n_startup_steps=10**30)},
            "n_startup_steps must be at most 9223372036854775807",
        ),
        (
            lambda: fasthpo.MedianPruner(min_steps=2**63),
            {"pruner": part("median", min_steps=2**63)},
            "min_steps must be at most 9223372036854775807",
        ),
        (
            lambda: fasthpo.SuccessiveHalvingPruner(1, 2**62),
            {"pruner": part("successive_halving", reduction_factor=2**62)},
            "reduction_factor must be at most 9007199254740992",
        ),
        (
            lambda: fasthpo.Hyperband(10**18),
            {"strategy": part("hyperband", max_resource=10**18)},
            "max_resource must be an integer from 1 to 2",
        ),
        (
            lambda: fasthpo.Continuous(0.0, 1.0, n_points=10**18),
            {"space__x0__n_points": 10**18},
            "n_points must lie within -2",
        ),
        (
            lambda: fasthpo.Discrete(0, 10**4000),
            {"space__x0": {"type": "discrete", "low": 0, "high": 10**4000}},
            r"high must lie within .*, got high=10+\.\.\. \(4001 characters\)",
        ),
        (
            lambda: fasthpo.Categorical([10**400]),
            {"space__x0": {"type": "categorical", "choices": [10**400]}},
            "a choice must be finite, got 1000",
        ),
    ],
)
def test_absurd_sizes_are_refused_wherever_they_come_from(
    make: Callable[[], object], change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(fasthpo.FastHPOError, match=message) as raised:
        make()
    assert isinstance(raised.value, ValueError) and len(str(raised.value)) < 600
    with pytest.raises(fasthpo.CorruptCheckpoint, match=message) as raised:
        fasthpo.Study.load(written(tmp_path / "study", **change))
    assert len(str(raised.value)) < 1500


def test_what_a_sampler_makes_at_once_is_bounded_for_the_space_that_it_gets(tmp_path: Path) -> None:
    many = {f"x{i}": fasthpo.Continuous(0.0, 1.0) for i in range(60)}
    message = "n_startup_trials must be at most 83333 for a search space of 60 parameters, got n_startup_trials=100000"
    for options in (
        {"sampler": fasthpo.TPESampler(100_000)},
        {"strategy": fasthpo.ASHA(9, sampler=fasthpo.TPESampler(100_000))},
    ):
        with pytest.raises(fasthpo.InvalidSearchSpace, match=message):
            fasthpo.Study(many, **options)
    with pytest.raises(fasthpo.CorruptCheckpoint, match=message):
        fasthpo.Study.load(written(tmp_path / "study", sampler__options__n_startup_trials=100_000))
    tracemalloc.start()
    study = fasthpo.Study(SPACE, sampler=fasthpo.TPESampler(100_000, seed=0))
    study.tell(study.ask(), 1.0)
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()


@pytest.mark.parametrize(
    "call",
    [
        lambda: fasthpo.TPESampler(n_startup_trials=HUGE),
        lambda: fasthpo.TPESampler(n_startup_trials=-HUGE),
        lambda: fasthpo.RandomSampler(seed=HUGE),
        lambda: fasthpo.SuccessiveHalving(HUGE),
        lambda: fasthpo.Discrete(0, HUGE),
        lambda: fasthpo.Continuous(0, HUGE),
        lambda: fasthpo.Continuous(0, 1, n_points=HUGE),
        lambda: fasthpo.Categorical([1, HUGE]),
        lambda: fasthpo.SearchSpace(SPACE).encode({"x": HUGE}),
        lambda: fasthpo.SearchSpace({"c": fasthpo.Categorical(["a"])}).encode({"c": HUGE}),
        lambda: fasthpo.Study(SPACE).ask_batch(HUGE),
        lambda: fasthpo.Study(SPACE).tell(HUGE, 1.0),
        lambda: fasthpo.Study(SPACE).tell(fasthpo.Study(SPACE).ask().number, HUGE),
        lambda: fasthpo.Study(SPACE).ask().report(1.0, HUGE),
        lambda: fasthpo.Study(SPACE).set_attribute("a", HUGE),
        lambda: fasthpo.TunerConfig("s", max_trials=HUGE),
        lambda: fasthpo.TunerConfig("s", max_duration=HUGE),
        lambda: fasthpo.TunerConfig("s", keep_checkpoints=-HUGE),
        lambda: fasthpo.TunerConfig(HUGE),  # type: ignore[arg-type]
        lambda: fasthpo.EarlyStoppingConfig(min_delta=HUGE),
        lambda: fasthpo.Study(SPACE, direction=HUGE),  # type: ignore[arg-type]
        lambda: fasthpo.Study(
            {f"x{i}": fasthpo.Discrete(0, 2**53) for i in range(2000)}, sampler=fasthpo.GridSampler(shuffle=True)
        ),
    ],
)
def test_integers_that_python_does_not_write_get_the_documented_error(call: Callable[[], object]) -> None:
    with pytest.raises(fasthpo.FastHPOError, match=r"an integer of about \d+ digits"):
        call()


def nested(depth: int) -> Any:
    inside: Any = 1
    for _ in range(depth):
        inside = {"a": [inside]}
    return inside


@pytest.mark.parametrize(
    "call",
    [
        lambda: fasthpo.SearchSpace.from_json("[" * 100_000),
        lambda: fasthpo.SearchSpace.from_json('{"x":' * 100_000),
        lambda: fasthpo.SearchSpace.from_dict({"x": nested(100_000)}),
        lambda: fasthpo.SearchSpace.from_dict({"x": {"type": "continuous", "low": nested(100_000), "high": 1}}),
        lambda: fasthpo.SearchSpace.from_dict({"x": {"type": "categorical", "choices": [nested(100_000)]}}),
        lambda: fasthpo.SearchSpace.from_dict(
            {
                "c": {"type": "categorical", "choices": ["a"]},
                "x": {"type": "continuous", "low": 0, "high": 1, "when": {"c": [nested(100_000)]}},
            }
        ),
        lambda: fasthpo.Study(SPACE).set_attribute("a", nested(100_000)),
        lambda: fasthpo.TPESampler(n_startup_trials=nested(100_000)),
    ],
)
def test_what_is_nested_too_deeply_gets_the_documented_error(call: Callable[[], object]) -> None:
    with pytest.raises(fasthpo.FastHPOError):
        call()


def test_values_in_messages_are_cut() -> None:
    assert shown("a") == "'a'" and shown(1.5) == "1.5"
    assert len(shown("a" * 10**6)) < 400
    assert shown(HUGE) == SOME
    assert shown([HUGE]) == "a list that holds too large an integer to be shown"
    assert shown(nested(100_000)) == "a dict that is nested too deeply to be shown"
    with pytest.raises(fasthpo.InvalidSearchSpace) as raised:
        fasthpo.Categorical(["a" * 10**6] * 2)
    assert len(str(raised.value)) < 500


def test_a_grid_of_two_thousand_parameters_is_as_good_as_any() -> None:
    for space in (
        {f"x{i}": fasthpo.Discrete(1, 10) for i in range(2000)},
        {f"x{i}": fasthpo.Continuous(0.0, 1.0, n_points=2**53) for i in range(2000)},
    ):
        study = fasthpo.Study(space, sampler=fasthpo.GridSampler())
        assert study.ask()["x1999"] != study.ask()["x1999"]
        assert len(study.ask_batch(10).numbers) == 10
    with pytest.raises(fasthpo.InvalidSearchSpace, match="a search space has at most 32768 parameters, got 32769"):
        fasthpo.SearchSpace({f"x{i}": fasthpo.Discrete(1, 10) for i in range(2**15 + 1)})


def test_a_choice_is_found_at_once_among_many() -> None:
    n = 30_000
    floats = fasthpo.Categorical([float(i) for i in range(n)])
    space = fasthpo.SearchSpace({"c": floats, "x": fasthpo.Continuous(0.0, 1.0, when={"c": list(range(n))})})
    allowed = space.conditions[1][0].allowed  # found by a comparison each with each it would take minutes
    assert [allowed.holds(float(i)) for i in (0, n // 2, n - 1, n)] == [True, True, True, False]
    mixed = fasthpo.Categorical([True, 1.0, 1, 2.0, "1", False])
    assert [mixed.encode(value) for value in (True, 1.0, 1, 2, 2.0, "1")] == [0, 1, 2, 3, 3, 4]
    for value in (0, 0.0, math.nan, 10**400, None):
        with pytest.raises(fasthpo.InvalidParameters):
            mixed.encode(value)
    assert fasthpo.Categorical([1.0, 1]).encode(1) == 1 and fasthpo.Categorical([2, 1]).encode(1.0) == 1


def test_a_batch_has_a_largest_size() -> None:
    with pytest.raises(fasthpo.InvalidValue, match="n must be at most 10000000, got n=1000000000000000000"):
        fasthpo.Study(SPACE).ask_batch(10**18)
    assert (
        len(fasthpo.Study({"k": fasthpo.Discrete(1, 5)}, sampler=fasthpo.RandomSampler()).ask_batch(10**7).numbers) == 5
    )


def test_a_quasi_random_sequence_ends_before_it_takes_minutes(tmp_path: Path) -> None:
    study = fasthpo.Study(SPACE, sampler=fasthpo.QMCSampler(seed=0))
    for draw in (2**26, 2**40, 2**61):  # as a file may say
        study._state.history.next_draw = draw
        again = fasthpo.Study.load(study.save(tmp_path / "study.msgpack"))
        for call in (again.ask, lambda again=again: again.ask_batch(2)):
            with pytest.raises(fasthpo.SpaceExhausted, match="Sobol's sequence is made up to 67108864 points"):
                call()


def test_attributes_are_nested_no_deeper_than_can_always_be_written_and_read(tmp_path: Path) -> None:
    def within(depth: int, inside: Any) -> Any:
        for i in range(depth):
            inside = {"a": inside} if i % 2 else [inside]
        return inside

    with fasthpo.Study(SPACE, storage=tmp_path / "study") as study:
        study.set_attribute("a", within(100, 1))
        study.set_attribute("b", [{}] * 3)
        for depth in (101, 500, 900, 5000):
            with pytest.raises(fasthpo.InvalidValue, match="an attribute must"):
                study.set_attribute("c", within(depth, 1))
        data = (tmp_path / "study" / "journal.msgpack").read_bytes()
        study.compact()
    assert fasthpo.Study.load(tmp_path / "study").attributes == {"a": within(100, 1), "b": [{}] * 3}
    for depth in (101, 500, 900, 5000, 10**5):
        record = msgpack.packb([10, "a", "[" * depth + "]" * depth])
        (tmp_path / "made.msgpack").write_bytes(data + frame(record))
        with pytest.raises(fasthpo.CorruptCheckpoint):
            fasthpo.Study.load(tmp_path / "made.msgpack")
