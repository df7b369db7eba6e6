"""Files made up by a fuzzer, and what may come of loading them. As a script it lets atheris look for anything else:

python -m tests.support.fuzzing -atheris_runs=100000
"""

from __future__ import annotations

import importlib
import logging
import random
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

from fasthpo.storage.framing import frame, read_frames

MODES = ("a file", "a record", "many records", "a group", "a head", "changed bytes in a journal", "in a checkpoint")


MOST_MEMORY = 2**28  # bytes that loading a small file may take at most


def peak_memory() -> int:
    """The most memory that this process has had so far, in bytes; 0 where the system does not say."""
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class Seeds:
    """A valid journal and a valid checkpoint of the same study, taken apart."""

    def __init__(self, directory: Path) -> None:
        from tests.support.studies import make, step

        study = make("random", "none", "asha", storage=directory / "study", durability="system")
        for i in range(20):
            step(study, i)
        study.ask()
        study.sync()
        self.journal = (directory / "study" / "journal.msgpack").read_bytes()
        study.close()
        self.checkpoint = study.save(directory / "checkpoint.msgpack").read_bytes()
        self.records = [payload for _, payload in read_frames(self.journal)[0]]
        self.groups = [payload for _, payload in read_frames(self.checkpoint)[0]]
        self.path = directory / "made-up.msgpack"


def make_up(seeds: Seeds, mode: str, data: bytes) -> bytes:
    """A file that follows the format as far as the mode says, and is else what the fuzzer says."""
    if mode == "a file":
        return data
    if mode == "a record":
        return b"".join(map(frame, seeds.records)) + frame(data or b"\0")
    if mode == "many records":
        return frame(seeds.records[0]) + b"".join(frame(data[i : i + 40]) for i in range(0, len(data), 40))
    if mode == "a group":
        return frame(seeds.groups[0]) + frame(data or b"\0")
    if mode == "a head":
        return frame(data or b"\0") + b"".join(map(frame, seeds.groups[1:]))
    # with checksums that match
    frames = list(seeds.records if mode.endswith("journal") else seeds.groups)
    if len(data) >= 8:
        numbers = random.Random(data)
        which = numbers.randrange(len(frames))
        changed = bytearray(frames[which])
        for byte in data[:4]:
            changed[numbers.randrange(len(changed))] = byte
        frames[which] = bytes(changed)
    return b"".join(map(frame, frames))


def load_made_up(seeds: Seeds, mode: str, data: bytes) -> bool:
    """Load a made-up file, whole and in part; whether it was taken for a study. Any other error is raised."""
    import fasthpo

    seeds.path.unlink(missing_ok=True)
    seeds.path.write_bytes(make_up(seeds, mode, data))
    taken = False
    before = peak_memory()
    for recover in (False, True):
        try:
            study = fasthpo.Study.load(seeds.path, recover=recover)
        except fasthpo.CorruptCheckpoint:
            continue
        except fasthpo.InvalidValue as error:  # a part of the user's own, which a file may well name
            assert "of your own" in str(error)
            continue
        taken = True
        # what was loaded can be read and saved
        [trial.params for trial in study.trials[:50]]
        assert fasthpo.Study.load(study.save(seeds.path.with_name("again.msgpack"))).values.tobytes() == (
            study.values.tobytes()
        )
    assert peak_memory() - before < MOST_MEMORY
    return taken


def mutated(value: Any, other: Any, place: int) -> Any:
    """A record with another value at some place."""
    changed = list(value)
    changed[place % len(changed)] = other
    return changed


def main() -> None:
    import atheris

    with atheris.instrument_imports(include=["fasthpo.storage"]):
        importlib.import_module("fasthpo.storage.directory")
    logging.disable()  # of what was recovered
    warnings.simplefilter("error")
    with tempfile.TemporaryDirectory() as directory:
        seeds = Seeds(Path(directory))
        corpus = Path(directory) / "corpus"
        corpus.mkdir()
        examples = [b"\0" + seeds.journal[:4000], *(b"\1" + record for record in seeds.records[1:30])]
        examples += [b"\3" + group[:4000] for group in seeds.groups[1:]] + [b"\4" + seeds.groups[0], b"\5" + b"x" * 9]
        for i, example in enumerate(examples):
            (corpus / str(i)).write_bytes(example)

        def one(data: bytes) -> None:
            load_made_up(seeds, MODES[data[0] % len(MODES)] if data else MODES[0], data[1:])

        atheris.Setup([*sys.argv, str(corpus)], one)
        atheris.Fuzz()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main()
