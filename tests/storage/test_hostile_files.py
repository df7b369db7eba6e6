"""Files made to do harm: they get the documented error, and take no memory that they do not account for."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import fasthpo
from fasthpo.errors import CorruptCheckpoint
from fasthpo.storage.checks import check_failures
from fasthpo.storage.framing import HEAD_SIZE, frame, read_frames
from fasthpo.storage.packing import pack_column, pack_text, unpack_column, unpack_text
from tests.support.fuzzing import MODES, Seeds, load_made_up, mutated


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Seeds:
    return Seeds(tmp_path_factory.mktemp("seeds"))


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.integers(-2, 30),
    st.floats(),
    st.binary(max_size=80),
    st.text(max_size=5),
    st.lists(st.integers(0, 5), max_size=3),
    st.dictionaries(st.text(max_size=3), st.floats() | st.text(max_size=3), max_size=2),
)


@settings(max_examples=300)
@given(mode=st.sampled_from(MODES), data=st.binary(max_size=300))
@example(mode="a file", data=b"")
def test_made_up_files(seeds: Seeds, mode: str, data: bytes) -> None:
    load_made_up(seeds, mode, data)


@settings(max_examples=600)
@given(data=st.data())
def test_records_with_a_wrong_value_in_them(seeds: Seeds, data: st.DataObject) -> None:
    known = [list(msgpack.Unpacker(_stream(payload), unicode_errors="surrogatepass")) for payload in seeds.records[1:]]
    which = data.draw(st.integers(0, len(known) - 1))
    records = known[which]
    record = data.draw(st.integers(0, len(records) - 1))
    place, value = data.draw(st.integers(0, 8)), data.draw(SCALARS)
    records[record] = mutated(records[record], value, place)
    payloads = list(seeds.records)
    payloads[1 + which] = b"".join(msgpack.packb(one, unicode_errors="surrogatepass") for one in records)
    _load(seeds, b"".join(map(frame, payloads)))


@settings(max_examples=600)
@given(data=st.data())
def test_checkpoints_with_a_wrong_value_in_them(seeds: Seeds, data: st.DataObject) -> None:
    which = data.draw(st.integers(0, len(seeds.groups) - 1))
    objects = list(msgpack.Unpacker(_stream(seeds.groups[which]), unicode_errors="surrogatepass"))
    place = data.draw(st.integers(0, len(objects) - 1))
    before = objects[place]
    if isinstance(before, list):
        objects[place] = mutated(before, data.draw(SCALARS), data.draw(st.integers(0, 8)))
    elif data.draw(st.booleans()) and isinstance(before, bytes):  # a column of the right form with other numbers
        count = data.draw(st.sampled_from([0, 1, 20, 23, 26, 28]))
        numbers = data.draw(
            arrays.arrays(np.int64, count, elements=st.integers(-3, 40) | st.integers(-(2**63), 2**63 - 1))
        )
        dtype = data.draw(st.sampled_from(["<i8", "<f8", "|i1", "<i4"]))
        with np.errstate(all="ignore"):
            objects[place] = pack_column(numbers.astype(dtype), dtype, data.draw(st.booleans()) and dtype.endswith("8"))
    else:
        objects[place] = data.draw(SCALARS)
    payloads = list(seeds.groups)
    payloads[which] = b"".join(msgpack.packb(one, unicode_errors="surrogatepass") for one in objects)
    _load(seeds, b"".join(map(frame, payloads)))


def _stream(data: bytes) -> Any:
    import io

    return io.BytesIO(data)


def _load(seeds: Seeds, data: bytes) -> None:
    load_made_up(seeds, "a file", data)


@settings(max_examples=200)
@given(data=st.data())
def test_definitions_with_a_wrong_value_in_them(seeds: Seeds, data: st.DataObject) -> None:
    head = msgpack.unpackb(seeds.records[0])
    definition = json.loads(head[4])
    place = definition
    while True:  # somewhere in the tree
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if isinstance(place[key], (dict, list)) and place[key] and data.draw(st.integers(0, 3)):
            place = place[key]
            continue
        place[key] = data.draw(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
            | st.sampled_from(["x", "c", "os.system", "tpe", "median", {"part": {}}, [], {}, {"part": None}, "Evil"])
        )  # fmt: skip
        break
    head[4] = json.dumps(definition)
    _load(seeds, frame(msgpack.packb(head)) + b"".join(map(frame, seeds.records[1:])))


def test_nothing_in_a_definition_is_run(seeds: Seeds) -> None:
    head = msgpack.unpackb(seeds.records[0])
    definition = json.loads(head[4])
    for part in ("sampler", "pruner", "strategy"):
        for name in ("os.system", "__import__", "builtin", "fasthpo.tuner.tuner.HyperparameterTuner"):
            changed = {**definition, part: {"name": name, "type": name, "options": {"command": "exit 1"}}}
            head[4] = json.dumps(changed)
            seeds.path.write_bytes(frame(msgpack.packb(head)))
            with pytest.raises(CorruptCheckpoint, match=f"unknown {part} '{name}'; known: "):
                fasthpo.Study.load(seeds.path)
    head[4] = "[" * 100_000
    seeds.path.write_bytes(frame(msgpack.packb(head)))
    with pytest.raises(CorruptCheckpoint, match="not the definition of a study"):
        fasthpo.Study.load(seeds.path)


def nested(depth: int) -> str:
    """What a definition says of pruners inside each other, as JSON."""
    begin = '{"name": "patient", "type": "x", "options": {"patience": 1, "wrapped_pruner": {"part": '
    return begin * depth + '{"name": "median", "type": "x", "options": {}}' + "}}}" * depth


@pytest.mark.parametrize(
    "pruner",
    [
        nested(5000),
        '{"name": "tpe", "type": "x", "options": {}}',
        '{"name": "patient", "type": "x", "options": {"patience": 1, "wrapped_pruner": {"part": 3}}}',
        '{"name": "patient", "type": "x", "options": {"patience": 1, "wrapped_pruner": {"x": 3}}}',
        '{"name": "median", "type": "x", "options": {"surprise": 1}}',
        '{"name": "median", "type": "x", "options": []}',
        '{"name": "median"}',
        "3",
    ],
)
def test_pruners_that_can_not_be_get_the_documented_error(seeds: Seeds, pruner: str) -> None:
    head = msgpack.unpackb(seeds.records[0])
    definition = json.loads(head[4])
    definition["pruner"] = "here"
    fine, bad = (json.dumps(definition).replace('"here"', one) for one in (nested(3), pruner))
    head[4] = fine
    seeds.path.write_bytes(frame(msgpack.packb(head)))
    assert type(fasthpo.Study.load(seeds.path).pruner) is fasthpo.PatientPruner
    head[4] = bad
    seeds.path.write_bytes(frame(msgpack.packb(head)))
    with pytest.raises(CorruptCheckpoint):
        fasthpo.Study.load(seeds.path)


COLUMNS = {
    "value": (2, "<f8"), "state": (3, "|i1"), "start": (4, "<f8"), "end": (5, "<f8"), "resource": (6, "<f8"),
    "draw": (7, "<i8"), "bracket": (8, "<i4"), "rank": (9, "<i8"),
    "report": (10, "<i8"), "report's trial": (11, "<i8"), "step": (12, "<i8"),
    "leg": (14, "<i8"), "leg's trial": (15, "<i8"), "leg's state": (19, "|i1"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("column", "place", "entry", "message"),
    [
        ("state", 0, 9, "a state is none of those known"),
        ("start", 1, -1.0, "a time is none between the years 1970 and 9999"),
        ("start", 1, 1e300, "a time is none between the years 1970 and 9999"),
        ("start", 1, np.nan, "a trial has no time at which it started"),
        ("resource", 0, 0.5, "a resource is no integer"),
        ("draw", 0, -2, "a draw is out of range"),
        ("draw", 0, 2**61, "the next draw, .*, has been drawn already"),
        ("bracket", 0, 2**31 - 1, "its ASHA can't go on"),
        ("rank", 0, -1, "the order of the tells does not name each finished trial"),
        ("rank", 0, 10**6, "the finished trials are not numbered from 0 to"),
        ("report", 0, 1, "the reports are not numbered from 0 to"),
        ("report's trial", 0, 10**6, "a report does not belong to the trials that it stands with"),
        ("step", 0, -1, "a report's step must not be negative"),
        ("step", 1, 0, "a trial has two reports at one step"),
        ("leg", 0, -1, "the legs are not numbered from 0 to"),
        ("leg's trial", 0, -1, "a leg does not belong to the trials that it stands with"),
        ("leg's state", 0, 0, "a leg has ended in a state that is no end"),
    ],
)
def test_columns_that_make_no_sense_get_the_documented_error(
    seeds: Seeds, column: str, place: int, entry: float, message: str
) -> None:
    objects = list(msgpack.Unpacker(_stream(seeds.groups[1]), unicode_errors="surrogatepass"))
    _, trials, reports, segments, *_ = objects[0]
    where, dtype = COLUMNS[column]
    count = trials if where < 10 else reports if where < 14 else segments
    changed = unpack_column(column, objects[where], dtype, count).copy()
    if column == "rank":
        place = int(np.flatnonzero(changed >= 0)[0])
    elif column == "step" and entry >= 0:  # that of the same trial's report before
        of = unpack_column("trial", objects[11], "<i8", count)
        place = 1 + int(np.flatnonzero(np.diff(of) == 0)[0])
        entry = changed[place - 1]
    changed[place] = entry
    data = frame(seeds.groups[0]) + frame(_group(seeds, columns={where: pack_column(changed, dtype)}))
    seeds.path.write_bytes(data)
    with pytest.raises(CorruptCheckpoint, match=message):
        fasthpo.Study.load(seeds.path)


def test_brackets_that_so_few_trials_can_not_have_begun_take_no_memory(tmp_path: Path) -> None:
    strategy = fasthpo.SuccessiveHalving(2**40, reduction_factor=2, sampler=fasthpo.RandomSampler(seed=0))
    study = fasthpo.Study({"x": fasthpo.Continuous(0, 1)}, strategy=strategy)
    for _ in range(300):
        study.tell(study.ask(), 0.5)
    assert len(fasthpo.Study.load(study.save(tmp_path / "fine.msgpack"))) == 300
    study.table._brackets[:300] = np.arange(300)
    with pytest.raises(
        CorruptCheckpoint, match=r"SuccessiveHalving can't go on: 300 brackets need at least \d+ trials"
    ):
        fasthpo.Study.load(study.save(tmp_path / "many.msgpack"))


def test_a_nan_that_signals_is_a_plain_one(seeds: Seeds) -> None:
    signals = b"\x7f\xf0\x00\x00\x00\x00\x00\x01"
    number = np.frombuffer(signals[::-1], np.float64)
    told = b"\x95\x05\x00\x03\xcb" + signals + b"\xcb" + np.array([1e9]).astype(">f8").tobytes()
    asked = msgpack.packb([1, 0, 0, 1e9, np.array([0.5, 3.0, 1.0, np.nan]).tobytes(), 0, 1, 1e9])
    assert len(told) == 22
    failed = told.replace(b"\x95", b"\x98", 1) + b"\x01\xc0\xa1e"  # charge, metrics, error
    seeds.path.write_bytes(frame(seeds.records[0]) + frame(asked + failed))
    with np.errstate(all="raise"):
        study = fasthpo.Study.load(seeds.path)
        assert len(study.table.segments) == 1 and study.trials[0].error == "e"
    objects = list(msgpack.Unpacker(_stream(seeds.groups[1]), unicode_errors="surrogatepass"))
    values = unpack_column("value", objects[17], "<f8", objects[0][3])
    failed = np.isnan(values)
    assert failed.any() and number != number
    values.view(np.uint64)[failed] = int.from_bytes(signals, "big")
    seeds.path.write_bytes(frame(seeds.groups[0]) + frame(_group(seeds, columns={17: pack_column(values, "<f8")})))
    with np.errstate(all="raise"):
        fasthpo.Study.load(seeds.path)


# --- memory


def _peak(seeds: Seeds, data: bytes) -> int:
    seeds.path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptCheckpoint):
            fasthpo.Study.load(seeds.path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _group(seeds: Seeds, counts: list[int] | None = None, columns: dict[int, bytes] | None = None) -> bytes:
    objects = list(msgpack.Unpacker(_stream(seeds.groups[1]), unicode_errors="surrogatepass"))
    objects[0] = counts or objects[0]
    for place, column in (columns or {}).items():
        objects[place] = column
    return b"".join(msgpack.packb(one, unicode_errors="surrogatepass") for one in objects)


def test_a_hostile_file_takes_no_more_memory_than_it_accounts_for(seeds: Seeds) -> None:
    head = list(msgpack.Unpacker(_stream(seeds.groups[0]), unicode_errors="surrogatepass"))
    real = next(msgpack.Unpacker(_stream(seeds.groups[1]), unicode_errors="surrogatepass"))
    huge = 2**40
    bomb = bytes([2]) + zlib.compress(bytes(2**28), 9)  # 256 MB of zeros in 260 KB
    assert len(bomb) < 300_000

    def with_head(counts: list[int], *, more: list[Any] | None = None, column: bytes = b"") -> bytes:
        parts = [head[0], counts, more or head[2], *([column] * 4 if column else head[3:])]
        return frame(b"".join(map(msgpack.packb, parts)))

    def counted(finished: int, reports: int, segments: int) -> bytes:
        counts = [real[1], finished, reports, segments]
        return with_head(counts) + frame(seeds.groups[1])

    totals = list(msgpack.Unpacker(_stream(seeds.groups[0]), unicode_errors="surrogatepass"))[1]
    assert totals[0] == real[1]
    claims = [
        *(counted(*(huge if i == place else totals[i] for i in (1, 2, 3))) for place in (1, 2, 3)),
        with_head([huge] * 4) + frame(_group(seeds, [0, huge, *real[2:]])),
        with_head([huge] * 4) + frame(_group(seeds, [0, 8192, huge, huge, 0, 0, 0])),
        with_head([huge] * 4, more=[*head[2][:2], 2**25, 2**25], column=bomb),
        with_head([8192, 1, 1, 1]) + frame(_group(seeds, [0, 8192, *real[2:]], {1: bomb})),
        frame(seeds.groups[0]) + frame(_group(seeds, [*real[:2], 2**25, *real[3:]], {10: bomb, 11: bomb})),
        frame(seeds.groups[0]) + frame(_group(seeds, [*real[:6], 2**28])),
        frame(seeds.groups[0]) + frame(b"\xdd\xff\xff\xff\xff" * 1000),  # arrays of 2**32 - 1 in each other
        frame(seeds.records[0]) + frame(b"\xdd\xff\xff\xff\xff" * 1000),
        frame(seeds.records[0]) + frame(b"\xdc\x00\x10" * 100_000),
        frame(seeds.records[0]) + frame(b"\x95\x02\x00\xc6\xff\xff\xff\xff"),  # bytes that are not there
        frame(seeds.records[0]) + frame(b"\xdf\xff\xff\xff\xff"),
        b"\xc9\xff\xff\xff\xffF" + bytes(4),
    ]
    for data in claims:
        assert _peak(seeds, data) < 20 * len(data) + 8_000_000


def test_a_file_made_to_be_slow_to_search_ends_soon(seeds: Seeds) -> None:
    """Heads of frames that each claim the rest of the file, so that each would have to be summed."""
    count = 40_000
    size = count * HEAD_SIZE
    heads = b"".join(b"\xc9" + (size - i * HEAD_SIZE - 6).to_bytes(4, "big") + b"F" + bytes(4) for i in range(count))
    seeds.path.write_bytes(frame(seeds.records[0]) + heads)
    with pytest.raises(CorruptCheckpoint, match="damaged at byte"):
        fasthpo.Study.load(seeds.path)


# --- the layers by themselves


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.binary(max_size=30))
def test_frames_come_back_and_what_follows_is_told_apart(payloads: list[bytes], tail: bytes) -> None:
    data = b"".join(map(frame, payloads))
    frames, broken = read_frames(data + tail)
    if broken is None:
        assert not tail or len(frames) > len(payloads)
    assert [payload for _, payload in frames[: len(payloads)]] == payloads
    if broken is not None:
        assert broken.is_torn and broken.position == len(data)
    if len(payloads) > 1:  # damage in the middle is told from a torn tail
        first = HEAD_SIZE + len(payloads[0])
        damaged = bytearray(data)
        damaged[first - 1] ^= 1
        frames, broken = read_frames(bytes(damaged))
        assert not frames and broken is not None and (broken.position, broken.is_torn) == (0, False)


@given(
    st.sampled_from(["<f8", "<i8", "<i4", "|i1", "|u1"]).flatmap(
        lambda dtype: arrays.arrays(np.dtype(dtype), st.integers(0, 300))
    ),
    st.booleans(),
)
def test_columns_come_back_bit_by_bit(column: Any, delta: bool) -> None:
    dtype = column.dtype.str
    delta = delta and column.dtype.itemsize == 8
    packed = pack_column(column, dtype, delta)
    assert unpack_column("it", packed, dtype, len(column)).tobytes() == column.tobytes()
    assert 64 * len(packed) >= column.nbytes
    for count in (len(column) + 1, len(column) - 1, 0, 10**9):
        if count >= 0 and count != len(column):
            with pytest.raises(CorruptCheckpoint, match="it "):
                unpack_column("it", packed, dtype, count)


@given(st.lists(st.text(st.characters(), max_size=20), max_size=8))
def test_texts_come_back(texts: list[str]) -> None:
    lengths, joined, size = pack_text(texts)
    assert unpack_text(lengths, joined, len(texts), size) == texts


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
def test_a_coverage_guided_fuzzer_finds_no_other_outcome(repository: Path, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, repository / "tests" / "support" / "fuzzing.py", "-atheris_runs=1500", "-seed=1", "-max_len=4096"],
        cwd=tmp_path, capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    assert max(map(int, re.findall(r"cov: (\d+)", ran.stderr))) > 400  # it was guided


@pytest.mark.parametrize(
    ("failures", "states"), [({0: 2}, [3, 1]), ({1: 3}, [3, 1]), ({2: 3}, [3, 1, 3]), ({0: 3}, [1, 1])]
)
def test_a_trial_that_failed_has_not_reported_later(failures: dict[int, int], states: list[int]) -> None:
    trial = np.array([0, 1, 0])
    with pytest.raises(fasthpo.CorruptCheckpoint, match="a trial that failed has reported later, or never"):
        check_failures(failures, np.array(states, np.int8), trial)
    check_failures({0: 3}, np.array([3, 1, 3], np.int8), trial)
