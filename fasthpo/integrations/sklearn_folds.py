"""Fits and scores an estimator on folds: in this process, in threads, or in processes that share the data.

Joblib's `Parallel` takes a batch and waits for it, or is one result behind with its generators: it asks for the next
task before the result of the last one can be looked at. So there is an executor here, and joblib only says which one.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import cloudpickle
import joblib
import numpy as np
import psutil
import sklearn
from joblib.externals import loky
from sklearn.base import clone
from sklearn.model_selection._validation import _fit_and_score

from fasthpo.errors import InvalidValue
from fasthpo.execution.following import follow_starter

# what fit libraries look at for how many threads they may start, of which workers together are to have one a core
_THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS", "NUMEXPR_NUM_THREADS",
)  # fmt: skip
_LARGE = 10**6  # bytes from which on an array is mapped into the workers' memory, not copied
_THREADED_JOBS = {"backend": "threading", "n_jobs": 1}  # what an estimator in a worker starts with joblib

FoldResult = dict[str, Any]  #: of `sklearn`: test_scores, train_scores, fit_time, score_time, fit_error


class Folds:
    """An estimator, data and their splits: all that a fold's evaluation needs but the parameters.

    Args:
        estimator: not fitted; each fold is given a clone.
        X, y: the data.
        splits: indices of training and test samples, a pair a fold.
        options: what else scikit-learn's evaluation of a fold takes, the same for all.
    """

    def __init__(
        self, estimator: Any, X: Any, y: Any, splits: Sequence[tuple[Any, Any]], options: Mapping[str, Any]
    ) -> None:  # fmt: skip
        self.estimator = estimator
        self.X = X
        self.y = y
        self.splits = splits
        self.options = options

    def evaluate(self, params: Mapping[str, Any], fold: int, candidate: tuple[int, int]) -> FoldResult:
        """Fit on a fold's training samples, and score on its test samples.

        Args:
            params: for `set_params`.
            fold: which.
            candidate: the candidate's place and how many there will be, to be printed.

        Raises:
            Exception: what the estimator or the scorer raises, with `error_score="raise"`.
        """
        train, test = self.splits[fold]
        result: FoldResult = _fit_and_score(
            clone(self.estimator), self.X, self.y, train=train, test=test, parameters=dict(params),
            split_progress=(fold, len(self.splits)), candidate_progress=candidate, **self.options,
        )  # fmt: skip
        return result


class Workers(Protocol):
    """Where folds are evaluated.

    Attributes:
        count: how many at the same time.
    """

    count: int

    def submit(self, params: Mapping[str, Any], fold: int, candidate: tuple[int, int]) -> Future[FoldResult]:
        """Begin an evaluation."""

    def renew(self) -> None:
        """Take other processes for those that have broken."""


@contextlib.contextmanager
def open_workers(folds: Folds, n_jobs: int | None, most: int | None) -> Iterator[Workers]:
    """Workers for as long as the block lasts. What still runs when it raises is broken off.

    Args:
        folds: what they evaluate.
        n_jobs: how many there are, as joblib counts them: it knows of `parallel_config`, and what runs around this.
        most: more have nothing to do; None if that is not known.

    Raises:
        InvalidValue: joblib is to run elsewhere than on this machine, or the folds can't be sent to a process.
    """
    count = joblib.effective_n_jobs(n_jobs)
    if most is not None:
        count = min(count, most)
    if count <= 1:
        yield _Here(folds)
        return
    backend, _ = joblib.parallel.get_active_backend()
    if getattr(backend, "uses_threads", False):
        with ThreadPoolExecutor(count) as threads:
            try:
                yield _Threads(folds, threads, count)
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                raise
        return
    kind = type(backend).__name__
    if kind not in ("LokyBackend", "MultiprocessingBackend"):
        raise InvalidValue(
            f"folds run in processes or threads of this machine, got joblib's {kind}: give FastSearchCV n_jobs=1, or "
            "use joblib.parallel_config('loky')"
        )
    with tempfile.TemporaryDirectory(prefix="fasthpo-", ignore_cleanup_errors=True) as directory:
        processes = _Processes(folds, count, Path(directory))
        try:
            yield processes
        except BaseException:
            processes.close(at_once=True)
            raise
        processes.close(at_once=False)


class _Here:
    """One fold after the other, when it is submitted."""

    count = 1

    def __init__(self, folds: Folds) -> None:
        self._folds = folds

    def submit(self, params: Mapping[str, Any], fold: int, candidate: tuple[int, int]) -> Future[FoldResult]:
        future: Future[FoldResult] = Future()
        future.set_result(self._folds.evaluate(params, fold, candidate))  # an error, or Ctrl-C, goes its way
        return future

    def renew(self) -> None:
        """Nothing breaks here."""


class _Threads:
    """In threads, for estimators that release the GIL, and below others' threads and processes."""

    def __init__(self, folds: Folds, executor: Executor, count: int) -> None:
        self._folds = folds
        self._executor = executor
        self._config = sklearn.get_config()  # is a thread's own
        self.count = count

    def submit(self, params: Mapping[str, Any], fold: int, candidate: tuple[int, int]) -> Future[FoldResult]:
        return self._executor.submit(self._evaluate, params, fold, candidate)

    def _evaluate(self, params: Mapping[str, Any], fold: int, candidate: tuple[int, int]) -> FoldResult:
        with sklearn.config_context(**self._config), joblib.parallel_config(**_THREADED_JOBS):
            return self._folds.evaluate(params, fold, candidate)

    def renew(self) -> None:
        """Nothing breaks here."""


class _Processes:
    """In processes of loky's, which need no `if __name__ == "__main__"`. They read the folds once, from a file."""

    def __init__(self, folds: Folds, count: int, directory: Path) -> None:
        self.count = count
        self._file = str(directory / "folds.pickle")
        _write(folds, Path(self._file))
        self.renew()

    def submit(self, params: Mapping[str, Any], fold: int, candidate: tuple[int, int]) -> Future[FoldResult]:
        future: Future[FoldResult] = self._executor.submit(_evaluate_in_process, self._file, params, fold, candidate)
        return future

    def renew(self) -> None:
        share = str(max(joblib.cpu_count() // self.count, 1))
        env = {name: os.environ.get(name, share) for name in _THREADS}
        self._executor = loky.ProcessPoolExecutor(self.count, env=env, initializer=_follow, initargs=(os.getpid(),))

    def close(self, at_once: bool) -> None:
        self._executor.shutdown(wait=True, kill_workers=at_once)


# --- what the processes read


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Has large arrays, wherever they are, go into files of their own, which the processes map."""

    def __init__(self, file: io.BufferedIOBase | io.BytesIO, directory: Path) -> None:
        super().__init__(file)
        self._directory = directory
        self._names: dict[int, str] = {}
        self._kept: list[Any] = []  # or an array might get the id of one that is gone

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is np.ndarray or type(obj) is np.memmap:
            if obj.nbytes >= _LARGE and not obj.dtype.hasobject:
                if id(obj) not in self._names:
                    self._names[id(obj)] = str(self._directory / f"array-{len(self._names)}.npy")
                    np.save(self._names[id(obj)], np.asarray(obj), allow_pickle=False)
                    self._kept.append(obj)
                return np.load, (self._names[id(obj)], "r")
            return NotImplemented
        return super().reducer_override(obj)


def _write(folds: Folds, path: Path) -> None:
    """Write all that a process needs.

    Raises:
        InvalidValue: it can't be pickled.
    """
    try:
        with path.open("wb") as file:
            _Pickler(file, path.parent).dump((folds, sklearn.get_config(), list(warnings.filters)))
    except OSError:
        raise
    except Exception as error:
        raise InvalidValue(
            f"the estimator, its data or its scorer can't be sent to another process: {error}; use n_jobs=1 or "
            "joblib.parallel_config('threading')"
        ) from error


def _follow(program: int) -> None:
    """Have this process end when the program does, also if that is killed: loky's would wait for ever."""
    follow_starter()
    threading.Thread(target=_end_after, args=(program,), name="fasthpo-lifeline", daemon=True).start()


def _end_after(program: int) -> None:
    with contextlib.suppress(psutil.Error):
        psutil.Process(program).wait()
    os._exit(1)


_read: dict[str, Any] = {}  # by a worker process: the folds by their file, which are those of one search


def _evaluate_in_process(file: str, params: Mapping[str, Any], fold: int, candidate: tuple[int, int]) -> FoldResult:
    if file not in _read:
        with Path(file).open("rb") as opened:
            folds, config, filters = pickle.load(opened)
        sklearn.set_config(**config)
        warnings.filters[:] = filters  # type: ignore[index]
        _read[file] = folds
    with joblib.parallel_config(**_THREADED_JOBS):
        result: FoldResult = _read[file].evaluate(params, fold, candidate)
        return result
