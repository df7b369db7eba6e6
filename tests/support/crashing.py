"""What runs in the processes that the tests of crashes start, kill or fork."""

from __future__ import annotations

import gc
import os
from multiprocessing.connection import Connection
from pathlib import Path

import fasthpo
from fasthpo.storage import directory_store
from tests.support.studies import content, make, make_vectors, run, run_vectors


def go_on_for_ever(directory: Path, durability: str, connection: Connection) -> None:
    """Begin or go on with a study, with a checkpoint every few trials; sends how many legs were told after each tell."""
    directory_store._LEAST = 2000
    if directory.exists():
        study = fasthpo.Study.load(directory, durability=durability)
    else:
        study = make("random", "none", "halving", storage=directory, durability=durability)
    connection.send(len(study.table.segments))
    while True:
        run(study, study.ask())
        connection.send(len(study.table.segments))


def go_on_with_vectors(directory: Path, kind: str, connection: Connection) -> None:
    """The same with vectors (`make_vectors`); sends how many trials were told."""
    directory_store._LEAST = 2000
    exists = directory.exists()
    study = fasthpo.Study.load(directory) if exists else make_vectors(kind, storage=directory)
    connection.send(tells(study))
    while True:
        run_vectors(study, study.ask())
        connection.send(tells(study))


def tells(study: fasthpo.Study) -> int:
    """How many times trials were told."""
    return len(study.table.segments) or len(study.table.tell_order)


def hold_open(directory: Path, connection: Connection) -> None:
    """Keep a study open until killed, with a forked child that outlives this process.

    Sends the child's process id, and what the child is told when it tries to write.
    """
    study = make("random", storage=directory)
    run(study, study.ask())
    trial = study.ask()
    reader, _ = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            study.tell(trial, 1.0)
        except fasthpo.StudyReadOnly as refused:
            connection.send((os.getpid(), str(refused)))
        os.read(reader, 1)  # for ever
    os.read(reader, 1)


def let_a_child_end(directory: Path, connection: Connection) -> None:
    """Keep a study open, while forked children do with it what a program does that ends.

    Sends their exit statuses, added up, and what the study has seen after it has gone on.
    """
    study = make("random", storage=directory / "study")
    run(study, study.ask())
    trial = study.ask()
    trial.report(0.5, 0)  # which has not been handed over
    status = 0
    for end in range(4):
        child = os.fork()
        if child == 0:
            problem = 1
            try:
                if end == 0:
                    study.close()
                elif end == 1:
                    del study, trial
                    gc.collect()
                elif end == 2:
                    for change in (study.compact, study.sync):
                        try:
                            change()
                        except fasthpo.StudyReadOnly:
                            continue
                        os._exit(2)
                else:  # as a study of its own
                    study.keep_at(directory / "child")
                    run(study, study.ask())
                    study.close()
                problem = 0
            finally:
                os._exit(problem)
        status += os.waitpid(child, 0)[1]
    connection.send(status)
    run(study, study.ask())
    study.compact()
    run(study, study.ask())
    connection.send(content(study))
    connection.recv()


def open_for_writing(directory: Path, connection: Connection) -> None:
    """Try to open a study; sends its number of trials, or the error's name and message."""
    try:
        with fasthpo.Study.load(directory) as study:
            connection.send(len(study))
    except fasthpo.FastHPOError as error:
        connection.send((type(error).__name__, str(error)))
