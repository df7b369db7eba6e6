"""Studies of several objectives and of constraints in files: kept, killed, damaged, and of a version of their own."""

from __future__ import annotations

import base64
import math
import random
import shutil
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fasthpo
from fasthpo.errors import CorruptCheckpoint
from fasthpo.storage import directory_store, journal
from fasthpo.storage import snapshot_writer as snapshot
from fasthpo.storage.framing import HEAD_SIZE, frame, read_frames
from fasthpo.storage.snapshot_reader import peek_head
from fasthpo.trials.frozen import Frozen
from tests.storage.test_crash import start
from tests.support import crashing
from tests.support.failing import ERRORS, FailingDisk
from tests.support.studies import VECTORS, content, load, make, make_vectors, run, run_vectors, step_vectors

STEPS = 18
SPACE = {"x": fasthpo.Continuous(0.0, 1.0)}


def random_study(**options: Any) -> fasthpo.Study:
    return fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=0), **options)


def two(**options: Any) -> fasthpo.Study:
    return random_study(directions=["minimize", "maximize"], **options)


def versions(directory: Path) -> dict[str, int]:
    """By file the version that it says it is of."""
    found = {}
    for path in directory.glob("*.msgpack"):
        unpacker = msgpack.Unpacker()
        unpacker.feed(read_frames(path.read_bytes())[0][0][1])
        found[path.stem] = unpacker.unpack()[1]
    return found


def peak(call: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# --- kept


@pytest.mark.parametrize("kind", VECTORS)
def test_what_is_kept_is_what_the_study_has_after_each_step(kind: str, tmp_path: Path) -> None:
    study = make_vectors(kind, storage=tmp_path / "study", durability="system")
    for i in range(STEPS):
        step_vectors(study, i)
        study.sync()
        assert content(load(tmp_path / "study")) == content(study), i
        if i % 5 == 4:
            study.compact()
            assert content(load(tmp_path / "study")) == content(study), i
    assert content(load(study.save(tmp_path / "saved"))) == content(study)
    study.close()
    assert content(load(tmp_path / "study")) == content(study)


@pytest.mark.parametrize("way", ["killed", "closed", "saved"])
@pytest.mark.parametrize("kind", VECTORS)
def test_a_loaded_study_goes_on_as_if_it_had_never_stopped(kind: str, way: str, tmp_path: Path) -> None:
    whole, study = make_vectors(kind), make_vectors(kind, storage=tmp_path / "study", durability="system")
    for i in range(2 * STEPS):
        step_vectors(whole, i)
        step_vectors(study, i)
        if i % 7 == 6:
            if way == "killed":
                study.sync()
                assert study.storage is not None
                shutil.copytree(study.storage, tmp_path / str(i), ignore=shutil.ignore_patterns(".lock"))
                study = fasthpo.Study.load(tmp_path / str(i), durability="system")
            elif way == "closed":
                directory = study.storage
                study.close()
                study = fasthpo.Study.load(directory, durability="system")
            else:
                study = fasthpo.Study.load(study.save(tmp_path / f"{i}.msgpack"))
        assert content(study) == content(whole), i


def test_a_reader_follows_values_and_constraints(tmp_path: Path) -> None:
    study = two(storage=tmp_path, durability="system")
    study.tell(study.ask(), [0.5, 1.0])
    reader = load(tmp_path)
    study.tell(study.ask(), [0.25, 2.0], constraints=[1.0])  # with a new journal, or not
    study.tell(study.ask(), [0.25, 3.0], constraints=[0.0])
    assert reader.refresh() and content(reader) == content(study)
    assert [trial.number for trial in reader.best_trials] == [2]


def test_a_broken_off_trial_of_several_objectives_is_asked_again_first(tmp_path: Path) -> None:
    study = two(storage=tmp_path, durability="system")
    study.tell(study.ask(), [0.5, 1.0], constraints=[-1.0])
    asked = study.ask()
    study.close()
    again = fasthpo.Study.load(tmp_path)
    assert again.ask().params == asked.params
    again.tell(1, [1.0, 2.0], constraints=[0.5])
    assert again.trials[1].constraints == (0.5,)


# --- versions


def test_a_study_without_vectors_is_of_the_versions_that_former_programs_read(tmp_path: Path) -> None:
    study = make("random", "median", "asha", storage=tmp_path, durability="system")
    for _ in range(5):
        run(study, study.ask())
    study.compact()
    assert versions(tmp_path) == {"checkpoint": 2, "journal": 1}


def test_a_study_of_several_objectives_is_of_the_new_versions_from_its_beginning(tmp_path: Path) -> None:
    study = two(storage=tmp_path, durability="system")
    assert versions(tmp_path) == {"journal": 2}
    study.compact()
    assert versions(tmp_path) == {"checkpoint": 3, "journal": 2}


def test_with_the_first_constraints_the_files_get_the_new_versions(tmp_path: Path) -> None:
    study = random_study(storage=tmp_path, durability="system")
    study.tell(study.ask(), 1.0)
    study.tell(study.ask(), 1.0, constraints=[])  # which are none
    assert versions(tmp_path) == {"journal": 1}
    study.tell(study.ask(), 1.0, constraints=[1.0])
    assert versions(tmp_path) == {"checkpoint": 3, "journal": 2}
    size = (tmp_path / "checkpoint.msgpack").stat()
    study.tell(study.ask(), 1.0, constraints=[1.0])  # this is appended
    assert (tmp_path / "checkpoint.msgpack").stat().st_ino == size.st_ino
    assert content(load(tmp_path)) == content(study)
    study.close()
    assert versions(tmp_path) == {"checkpoint": 3, "journal": 2}


def test_constraints_of_legs_are_of_a_version_of_their_own(tmp_path: Path) -> None:
    study = make_vectors("halved", storage=tmp_path, durability="system")
    run_vectors(study, study.ask())
    study.compact()
    assert versions(tmp_path) == {"checkpoint": 3, "journal": 2}  # the first trial is told none
    while not (study.table.violations > 0).any():
        run_vectors(study, study.ask())
    study.compact()
    assert versions(tmp_path) == {"checkpoint": 4, "journal": 2}
    legs = study.table.segments.column("violation")
    assert legs.tobytes() == load(tmp_path).table.segments.column("violation").tobytes() and legs.max() > 0


# a checkpoint of version 3: two trials of ASHA, of which the first broke its constraint by 0.5, and then by 0.25
VERSION_3 = (
    b"$p8QWs74~oCVQ2wW?^%5XmD>Wb98lNc>@5%5b6hZDEBsp$zrlrgg%O{_u2tvdm?jiVPj<?Iv{%@cp^F=dm?msaAhJoAR=RLZggpGb#HZZ"
    b"A}k;xY;SiWIv_AEFf1S<XlZ9?B03;3E-)-0B6D<Qa3VS&Zgp&IEFdCoUvO_}Zgg`ZIv{R!Y;1jfEFdCeX>w&_bZKvHB03-<ZE0?4ZE1RC"
    b"A}k;xb75_8Y-MsHIv{%@ZeeX@B03-<a$#;{Z*3whAR=^maAhJoAR<y>Ze(w5Q(<jzY-MsHEFdCpaCB*JZgV0!AbTQnWo2X{Iv_B8eJmg%"
    b"aB_8SWpW}qAZ~SRY%Cxmb98cHbY*9GB03;@B5q-AWg<EtB4KlAVInLbB6N9hWg<EtB0*C~K_V<5B5!bXX>V?GB03;@B5h%KUvg!0Z*_8G"
    b"Wg<EtG%O$@ZE0>_a%FRGb#h~6B03;3EFdCsWn^_@bZKvHUuI!rbZ>GZIv_GEAR=;Qb9HTDVr*q1Iv{j%b!B~heUt(K00Wf*qI-P+00G1S"
    b"0K@?R!~p=r0RYJW00C7-iDo(3m;eF*0{{R30K^dha9VgZ`ia>;K$eS?nH=vw#18^^0b@V{4;btn00d3}V8jCe1qH+r0j6~Cw)n!@LGJwk"
    b"000000K^di|9SAX_`=#jZ2SNJ|NsC0#0~;@0b@W09~|rf1D^qK#0>*@0b^ifKmh;%9{>Wx2><{900000006`e19$=Z&+s1w0su$I2l>PS"
    b"0K@?R!~p=r0RY4f19$;rU}R*#1^@s>00YDj19$;rVEoU(fCT{nThj;n#0~;@0b^ujV!#Ff0CNBZ#1aB{0b{@b9~d6kJJ<sN3bX=`#0~;@"
    b"0b^ujWWWXh09^nC!~_5Z1qH+z0n2pnw)n!@LDu~M0000008<74000000K^#qs(bIY_`=#j!TA6H00000lmq|(00000!~p=r0RY4S0K@?R"
    b"!~p=r5CV7sV?Y8IKG^RE00&(HzW"
)


def test_a_checkpoint_of_before_legs_had_constraints_is_read(tmp_path: Path) -> None:
    path = tmp_path / "study.msgpack"
    path.write_bytes(base64.b85decode(VERSION_3))
    study = fasthpo.Study.load(path)
    assert study.table.segments.column("violation").tolist() == [0.25, 0.0, 0.25]  # what it was told last
    assert [trial.rungs for trial in study.trials] == [{1: 1.0, 2: 0.5}, {1: 2.0}]
    again = fasthpo.Study.load(study.save(tmp_path / "again.msgpack"))
    assert content(again) == content(study) and again.ask().params == study.ask().params


def test_a_leg_that_breaks_constraints_by_less_than_nothing_is_damage(tmp_path: Path) -> None:
    study = make_vectors("halved")
    for _ in range(9):
        run_vectors(study, study.ask())
    path = study.save(tmp_path / "study.msgpack")
    head = peek_head(read_frames(path.read_bytes())[0][0][1])
    study.table.segments.violation[3] = -1.0
    with open(path, "wb") as file:
        snapshot.write_snapshot(file, Frozen(study._state.history), head)
    with pytest.raises(CorruptCheckpoint, match="a leg breaks constraints by less than nothing"):
        fasthpo.Study.load(path)


@pytest.mark.parametrize(
    ("what", "format_name", "known"),
    [("journal", journal.FORMAT, 1), ("checkpoint", snapshot.FORMAT, 2)],
)
def test_a_former_program_says_that_it_does_not_know_the_version(
    what: str, format_name: str, known: int, tmp_path: Path
) -> None:
    study = two(storage=tmp_path)
    study.tell(study.ask(), [1.0, 2.0])
    study.compact()
    unpacker = msgpack.Unpacker()
    unpacker.feed(read_frames((tmp_path / f"{what}.msgpack").read_bytes())[0][0][1])
    with pytest.raises(CorruptCheckpoint, match=f"version is {known + 1}, this fasthpo reads those up to {known}"):
        snapshot.read_head(what, unpacker, format_name, known)


def test_first_constraints_on_a_full_disk_are_in_memory_and_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = random_study(storage=tmp_path / "study", durability="system")
    study.tell(study.ask(), 1.0)
    trial = study.ask()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(directory_store, "write_snapshot", full)
        with pytest.raises(fasthpo.StorageError, match="No space left"):
            study.tell(trial, 2.0, constraints=[1.0])
        assert trial.constraints == (1.0,) and trial.state == fasthpo.TrialState.COMPLETE
    study.tell(study.ask(), 3.0)
    assert content(load(tmp_path / "study")) == content(study)
    assert versions(tmp_path / "study") == {"checkpoint": 3, "journal": 2}


def test_first_constraints_while_a_checkpoint_is_being_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_store, "_LEAST", 500)
    for constrained_at in range(3, 12):
        study = random_study(storage=tmp_path / str(constrained_at), durability="system")
        for i in range(14):
            study.tell(study.ask(), 1.0 * i, constraints=[i - 5.0] if i >= constrained_at else None)
        study.sync()
        assert content(load(tmp_path / str(constrained_at))) == content(study)
        study.close()
        assert versions(tmp_path / str(constrained_at)) == {"checkpoint": 3, "journal": 2}


# --- killed


@pytest.mark.parametrize("kind", ["several", "halved"])
def test_kills_lose_no_vectors(kind: str, tmp_path: Path) -> None:
    numbers = random.Random(0)
    directory = tmp_path / "study"
    told = 0
    for _kill in range(6):
        process, ours = start(crashing.go_on_with_vectors, directory, kind)
        found = ours.recv()
        assert told <= found <= told + 1
        told = found
        for _ in range(numbers.randrange(25)):
            told = ours.recv()
        until = time.perf_counter() + numbers.uniform(0, 0.003)
        while time.perf_counter() < until:
            pass
        process.kill()
        process.join()
        while True:
            try:
                told = ours.recv()
            except EOFError:
                break
    study = fasthpo.Study.load(directory)
    assert told <= crashing.tells(study) <= told + 1
    run_vectors(study, study.ask())
    whole = make_vectors(kind)
    while crashing.tells(whole) < crashing.tells(study):
        run_vectors(whole, whole.ask())
    assert content(study) == content(whole)


# --- damaged


def kept(kind: str, directory: Path) -> Path:
    """A study as a crash leaves it, with a journal that has vectors."""
    study = make_vectors(kind, storage=directory / "study", durability="system")
    for i in range(12):
        step_vectors(study, i)
    study.ask()
    study.sync()
    shutil.copytree(directory / "study", directory / "copy", ignore=shutil.ignore_patterns(".lock"))
    return directory / "copy"


@pytest.mark.parametrize("kind", VECTORS)
def test_every_cut_and_flip_of_a_journal_gives_a_prefix_or_is_noticed(kind: str, tmp_path: Path) -> None:
    directory = kept(kind, tmp_path)
    path = directory / "journal.msgpack"
    data = path.read_bytes()
    ends = [position + HEAD_SIZE + len(payload) for position, payload in read_frames(data)[0]]
    expected = {}
    for end in ends:
        path.write_bytes(data[:end])
        expected[end] = content(load(directory))
    for place in range(ends[0], len(data), 29):
        path.write_bytes(data[:place])
        before = max(end for end in ends if end <= place)
        assert content(load(directory)) == expected[before]
        damaged = bytearray(data)
        damaged[place] ^= 0x55
        path.write_bytes(damaged)
        if place >= ends[-2]:
            assert content(load(directory)) == expected[before]
            continue
        with pytest.raises(CorruptCheckpoint, match=rf"is damaged at byte {before} of {len(data)}"):
            load(directory)
        assert content(load(directory, recover=True)) == expected[before]


@pytest.mark.parametrize("kind", VECTORS)
def test_of_a_damaged_checkpoint_the_vectors_before_the_damage_are_saved(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "GROUP", 8)
    study = make_vectors(kind)
    for i in range(25):
        step_vectors(study, i)
    path = study.save(tmp_path / "study.msgpack")
    data = path.read_bytes()
    frames, _ = read_frames(data)
    assert content(load(path)) == content(study)
    for group in range(1, len(frames)):
        damaged = bytearray(data)
        damaged[frames[group][0] + 40] ^= 1
        path.write_bytes(damaged)
        left = 8 * (group - 1)
        part = load(path, recover=True)
        assert len(part) == left
        assert part.values.tobytes() == study.values[:left].tobytes()
        assert part.table.constraints.tobytes() == study.table.constraints[:left].tobytes()
        assert part.table.violations.tobytes() == study.table.violations[:left].tobytes()


def _packed(*numbers: float) -> bytes:
    return np.array(numbers, "<f8").tobytes()


@pytest.mark.parametrize(
    "record",
    [
        [4, 1, 0, 0.5],
        [4, 1, 0, _packed(0.5)],
        [4, 1, 0, _packed(0.5, 1.0, 2.0)],
        [5, 1, 1, 0.5, 10.0],  # a number where there are two
        [5, 1, 1, _packed(0.5), 10.0],
        [5, 1, 1, _packed(0.5, 1.0, 2.0), 10.0],
        [5, 1, 1, _packed(0.5, math.nan), 10.0],  # COMPLETE
        [5, 1, 3, _packed(0.5, 1.0), 10.0],  # FAILED
        [5, 1, 1, _packed(0.5, 1.0), 10.0, None, None, None, _packed(1.0)],  # there are two constraints
        [5, 1, 1, _packed(0.5, 1.0), 10.0, None, None, None, _packed(1.0, math.nan)],
        [5, 1, 1, _packed(0.5, 1.0), 10.0, None, None, None, b""],
        [5, 1, 1, _packed(0.5, 1.0), 10.0, None, None, None, [1.0, 2.0]],
        [6, np.array([1]).tobytes(), b"\1", _packed(0.5), 10.0],
        [6, np.array([1]).tobytes(), b"\1", _packed(0.5, math.nan), 10.0],
        [6, np.array([1]).tobytes(), b"\1", _packed(0.5, 1.0), 10.0, _packed(1.0, 2.0, 3.0)],
        [7, 2, _packed(0.5), _packed(0.5), 10.0, 10.0, None],
        [7, 2, _packed(0.5), _packed(0.5, 1.0), 10.0, 10.0, None, _packed(*[1.0] * 65)],
    ],
)
def test_records_with_vectors_that_make_no_sense_are_refused(record: list[Any], tmp_path: Path) -> None:
    study = two(storage=tmp_path / "study", durability="system")
    study.tell(study.ask(), [1.0, 2.0], constraints=[-1.0, -2.0])
    study.ask()
    study.sync()
    shutil.copytree(tmp_path / "study", tmp_path / "copy", ignore=shutil.ignore_patterns(".lock"))
    path = tmp_path / "copy" / "journal.msgpack"
    data = path.read_bytes()
    path.write_bytes(data + frame(msgpack.packb(record)) + frame(msgpack.packb([9])))
    with pytest.raises(CorruptCheckpoint, match=f"damaged at byte {len(data)}"):
        load(tmp_path / "copy")
    assert content(load(tmp_path / "copy", recover=True)) == content(study)


@pytest.mark.parametrize(
    "change",
    [
        lambda definition: definition.replace('"directions"', '"direction"'),
        lambda definition: definition.replace('["minimize", "maximize"]', '["minimize", "up"]'),
        lambda definition: definition.replace('["minimize", "maximize"]', "[]"),
        lambda definition: definition.replace('["minimize", "maximize"]', str(["minimize"] * 17).replace("'", '"')),
        lambda definition: definition.replace('"random"', '"cma-es"'),
        lambda definition: definition.replace(
            '"pruner": null', '"pruner": {"name": "wilcoxon", "type": "", "options": {}}'
        ),
    ],
)
def test_definitions_that_do_not_go_with_several_objectives_are_refused(
    change: Callable[[str], str], tmp_path: Path
) -> None:
    path = two().save(tmp_path / "study.msgpack")
    unpacker = msgpack.Unpacker()
    unpacker.feed(read_frames(path.read_bytes())[0][0][1])
    head, *others = list(unpacker)
    changed = [*head[:4], change(head[4])]
    assert changed != head
    path.write_bytes(frame(b"".join(map(msgpack.packb, [changed, *others]))))
    with pytest.raises(CorruptCheckpoint):
        load(path)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[bytes]]:
    """A file and the payloads of a checkpoint with vectors that stands there."""
    study = make_vectors("several")
    for i in range(8):
        step_vectors(study, i)
    path = study.save(tmp_path_factory.mktemp("made-up") / "study.msgpack")
    return path, [payload for _, payload in read_frames(path.read_bytes())[0]]


@settings(max_examples=150)
@given(data=st.data())
def test_checkpoints_with_a_wrong_value_in_them(saved: tuple[Path, list[bytes]], data: st.DataObject) -> None:
    path, payloads = saved[0], list(saved[1])
    which = data.draw(st.integers(0, len(payloads) - 1))
    unpacker = msgpack.Unpacker(unicode_errors="surrogatepass")
    unpacker.feed(payloads[which])
    objects = list(unpacker)
    place = data.draw(st.integers(0, len(objects) - 1))
    if isinstance(objects[place], list) and data.draw(st.booleans()):
        i = data.draw(st.integers(0, len(objects[place]) - 1))
        objects[place][i] = data.draw(st.integers(-2, 2**40) | st.none() | st.floats() | st.text(max_size=3))
    else:
        numbers = data.draw(st.lists(st.floats(), max_size=60))
        objects[place] = snapshot.pack_column(np.array(numbers, np.float64), "<f8")
    payloads[which] = b"".join(msgpack.packb(one, unicode_errors="surrogatepass") for one in objects)
    path.write_bytes(b"".join(map(frame, payloads)))
    for recover in (False, True):
        try:
            found = load(path, recover=recover)
        except CorruptCheckpoint:
            continue
        assert content(load(found.save(path.with_name("again.msgpack")))) == content(found)


# --- memory and failing calls


@pytest.mark.parametrize("kind", VECTORS)
def test_each_call_of_the_system_may_fail_and_no_vectors_are_lost(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, calls = 0, 1
    disk = FailingDisk(monkeypatch, tmp_path)
    while place < calls:
        directory = tmp_path / str(place)
        study = make_vectors(kind, storage=directory, durability="tell")
        disk.fail(place, ERRORS[place % len(ERRORS)])
        for i in range(3, 7):
            with suppress(fasthpo.StorageError):  # what was told stands
                step_vectors(study, i)
        with suppress(fasthpo.StorageError):
            study.compact()
        calls = len(disk.calls)
        with disk.at_rest():
            study.sync()
            assert content(load(directory)) == content(study), place
            del study
        place += 5


def test_vectors_take_no_more_than_the_documented_memory(tmp_path: Path) -> None:
    n, m, k = 10_000, 16, 64
    study = random_study(directions=["minimize"] * m)
    study.add_trials({"x": np.full(n, 0.5)}, np.ones((n, m)), constraints=np.ones((n, k)))
    path = study.save(tmp_path / "study.msgpack")
    load(path)  # what is imported for it does not count
    assert peak(lambda: load(path)) < 500 * path.stat().st_size + 1_000_000
    study = random_study(directions=["minimize"] * m, storage=tmp_path / "study", durability="system")
    study.ask_batch(n)
    study.tell(study.ask(), [1.0] * m, constraints=[1.0] * k)
    study.sync()
    path = tmp_path / "study" / "journal.msgpack"
    assert not (tmp_path / "study" / "checkpoint.msgpack").exists()
    assert peak(lambda: load(path)) < 100 * path.stat().st_size + 1_000_000
    study.close()
