"""What memory loading a study takes is bounded by the sizes of its files, as `storage/snapshot_writer.py` says."""

from __future__ import annotations

import math
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fasthpo
from fasthpo.storage import snapshot_writer as snapshot
from fasthpo.storage.framing import frame
from fasthpo.trials.metrics import Metrics

SPACE = {"x": fasthpo.Continuous(0.0, 1.0)}
A_CHECKPOINT, A_JOURNAL = 500, 50  # bytes of memory for each of a file's
SOME = 1_000_000  # bytes that any study takes
CONDITIONS = 50_000_000
N = 40_000
MANY = {f"m{i}": 1.0 for i in range(1000)}


def peak(call: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def random_study(**options: Any) -> fasthpo.Study:
    return fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=0), **options)


def asha() -> fasthpo.Study:
    return fasthpo.Study(SPACE, strategy=fasthpo.ASHA(9, sampler=fasthpo.RandomSampler(seed=0)))


def with_trials(study: fasthpo.Study, value: float = 1.0) -> fasthpo.Study:
    study.add_trials({"x": np.full(N, 0.5)}, np.full(N, value))
    return study


def with_metrics() -> fasthpo.Study:
    study = with_trials(random_study())
    study.tell(study.ask(), 1.0, metrics=MANY)
    return study


def with_metrics_of_all() -> fasthpo.Study:
    study = random_study()
    for _ in range(1000):
        study.tell(study.ask(), 1.0, metrics={f"m{i}": 1.0 for i in range(20)})
    return study


def with_reports() -> fasthpo.Study:
    study = random_study()
    trial = study.ask()
    for step in range(N):
        trial.report(1.0, step)
    return study


def with_waiting_trials() -> fasthpo.Study:
    study = random_study()
    for _ in range(4000):
        study.enqueue({"x": 0.5})
    return study


def with_open_legs() -> fasthpo.Study:
    study = asha()
    for _ in range(1000):
        study.ask()
    return study


@pytest.mark.parametrize(
    "make",
    [
        lambda: with_trials(random_study()),
        lambda: with_trials(fasthpo.Study(SPACE, sampler=fasthpo.TPESampler(seed=0))),
        lambda: with_trials(random_study(), math.nan),
        lambda: with_trials(asha()),
        with_metrics,
        with_metrics_of_all,
        with_reports,
        with_waiting_trials,
        with_open_legs,
    ],
    ids=["trials", "of TPE", "failed", "legs", "metrics", "metrics of all", "reports", "waiting", "open legs"],
)
def test_what_compresses_best_takes_no_more_than_the_documented_memory(
    make: Callable[[], fasthpo.Study], tmp_path: Path
) -> None:
    path = make().save(tmp_path / "study.msgpack")
    fasthpo.Study.load(path)  # what is imported for it does not count
    assert peak(lambda: fasthpo.Study.load(path)) < A_CHECKPOINT * path.stat().st_size + SOME


def unpacked(payload: bytes) -> Any:
    unpacker = msgpack.Unpacker(max_buffer_size=len(payload))
    unpacker.feed(payload)
    return unpacker


def test_groups_of_any_size_take_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The least file with many metrics and many trials: the metrics stand in a group of few trials."""
    study = random_study()
    study.tell(study.ask(), 1.0, metrics=MANY)
    few = list(snapshot._groups(snapshot.Frozen(study._state.history).columns()))
    study.add_trials({"x": np.full(N, 0.5)}, np.ones(N))
    frozen = snapshot.Frozen(study._state.history)
    head = snapshot._head(frozen, frozen.columns(), snapshot.Head(2, 0, bytes(16), study._definition()))
    columns = frozen.columns()
    rest = columns._replace(
        params=columns.params[:, 1:], trials={name: column[1:] for name, column in columns.trials.items()},
        tell_order=columns.tell_order[1:] - 1, metrics=Metrics().measured(N),
    )  # fmt: skip
    monkeypatch.setattr(snapshot, "GROUP", N)
    many = list(unpacked(next(iter(snapshot._groups(rest)))))
    many[0][0] = 1
    ranks = snapshot.pack_column(np.arange(1, N + 1), "<i8", delta=True)
    many[9] = ranks
    path = tmp_path / "study.msgpack"
    path.write_bytes(frame(head) + frame(few[0]) + frame(b"".join(map(msgpack.packb, many))))
    assert path.stat().st_size < 100_000
    loaded = fasthpo.Study.load(path)
    assert len(loaded) == N + 1 and loaded.trials[0].metrics == MANY and loaded.trials[1].metrics == {}
    assert peak(lambda: fasthpo.Study.load(path)) < A_CHECKPOINT * path.stat().st_size + SOME


def test_a_journal_takes_no_more_than_the_documented_memory(tmp_path: Path) -> None:
    study = random_study(storage=tmp_path / "study", durability="system")
    study.ask_batch(N)
    study.tell(study.ask(), 1.0, metrics=MANY)
    study.sync()
    path = tmp_path / "study" / "journal.msgpack"
    assert not (tmp_path / "study" / "checkpoint.msgpack").exists()
    fasthpo.Study.load(path, read_only=True)
    assert peak(lambda: fasthpo.Study.load(path, read_only=True)) < A_JOURNAL * path.stat().st_size + SOME
    study.close()


def test_metrics_of_which_each_trial_has_few_take_memory_for_these() -> None:
    study = with_trials(random_study())

    def tell() -> None:
        for i in range(1000):
            study.tell(study.ask(), 1.0, metrics={f"m{i}": 1.0, f"m{(i + 1) % 1000}": 2.0})

    assert peak(tell) < 5_000_000
    assert study.trials[-1].metrics == {"m999": 1.0, "m0": 2.0} and len(study.table.metrics) == 1000


# --- what the writer writes, the reader takes

NAMES = st.sampled_from(["a", "b", "c", "\ud800", ""])
VALUES = st.sampled_from([0.0, -0.0, 1.5, math.inf, -math.inf, math.nan])


@settings(max_examples=60, deadline=None)
@given(
    told=st.lists(st.tuples(st.integers(0, 11), st.dictionaries(NAMES, VALUES, max_size=4)), max_size=20),
    group=st.integers(1, 13),
)
def test_metrics_are_those_of_a_dict_a_trial_before_and_after_a_file(
    told: list[tuple[int, dict[str, float]]], group: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    study = random_study()
    study.add_trials({"x": np.full(12, 0.5)}, np.ones(12))
    expected: list[dict[str, float]] = [{} for _ in range(12)]
    for number, metrics in told:
        study.table.set_metrics(number, metrics)
        expected[number].update(metrics)
    expected = [{name: value for name, value in one.items() if value == value} for one in expected]
    path = tmp_path_factory.mktemp("study") / "study.msgpack"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshot, "GROUP", group)
        study.save(path)
    for one in (study, fasthpo.Study.load(path)):
        assert [trial.metrics for trial in one.trials] == expected
        measured = one.table.metrics.measured(12)
        for first, end in ((0, 12), (3, 7), (12, 12)):
            columns = dict(measured.columns(first, end))
            assert set(columns) == {name for some in expected[first:end] for name in some}
            for name, column in columns.items():
                assert np.array_equal(
                    column, [some.get(name, math.nan) for some in expected[first:end]], equal_nan=True
                )
        loaded = fasthpo.Study.load(path)
        loaded.table.set_metrics(3, {"new": 1.0})
        assert loaded.trials[3].metrics == {**expected[3], "new": 1.0} and loaded.trials[4].metrics == expected[4]


@settings(max_examples=30, deadline=None)
@given(trials=st.integers(1, 3000), names=st.integers(0, 30), every=st.integers(1, 3000))
def test_the_reader_takes_whatever_compresses_well(
    trials: int, names: int, every: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    study = random_study()
    study.add_trials({"x": np.full(trials, 0.5)}, np.zeros(trials))
    for number in range(0, trials, every):
        study.table.set_metrics(number, {f"m{i}": 0.0 for i in range(names)})
    loaded = fasthpo.Study.load(study.save(tmp_path_factory.mktemp("study") / "study.msgpack"))
    assert [trial.metrics for trial in loaded.trials] == [trial.metrics for trial in study.trials]


# --- conditions


def chain(parents: int, length: int = 4000) -> dict[str, fasthpo.Parameter]:
    """Parameters of which each is active only if those before it are "a"."""
    return {
        f"p{i}": fasthpo.Categorical(["a", "b"], when={f"p{j}": "a" for j in range(max(0, i - parents), i)})
        for i in range(length)
    }


CHAINS = """
import copy, pickle, resource, sys
from pathlib import Path
import pytest
import fasthpo
from tests.storage.test_loading_memory import SPACE, chain, random_study

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
path = Path(sys.argv[1])
study = fasthpo.Study(chain(1), sampler=fasthpo.RandomSampler(seed=0))
assert pickle.loads(pickle.dumps(study.space)) == copy.deepcopy(study.space) == study.space
study.tell(study.ask(), 1.0)
assert len(fasthpo.Study.load(study.save(path))) == 1
space = fasthpo.SearchSpace(chain(2))
with pytest.raises(fasthpo.InvalidSearchSpace, match="the points of this space can't be counted"):
    fasthpo.Study(space, sampler=fasthpo.RandomSampler(seed=0))
small = random_study()
definition = small._definition().replace(small.space.to_json(), space.to_json())
small._definition = lambda: definition
small.save(path)
with pytest.raises(fasthpo.CorruptCheckpoint, match="the points of this space can't be counted"):
    fasthpo.Study.load(path)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="where a process does not say how much memory it has taken")
def test_long_chains_of_conditions_take_bounded_memory(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CHAINS, str(tmp_path / "study.msgpack")]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    taken = int(done.stdout) * (1 if sys.platform == "darwin" else 1024)
    assert taken < CONDITIONS + A_CHECKPOINT * (tmp_path / "study.msgpack").stat().st_size


def test_conditions_that_share_parents_are_searched_for_contradictions_where_there_can_be_any() -> None:
    assert len(fasthpo.SearchSpace(chain(20))) == 4000  # a walk up from each parameter takes a minute
    small = chain(2, 6) | {"x": fasthpo.Discrete(1, 3, when={"p5": "a", "p0": "b"})}
    with pytest.raises(fasthpo.InvalidSearchSpace, match="'x' can never be active"):
        fasthpo.SearchSpace(small)
