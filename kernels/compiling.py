"""How the kernels are compiled, and a compile cache that notices every change of their sources.

numba keys the cache of a function by the file it stands in, so a change in a function that it calls from another
file leaves a stale binary in use (numba issue 1833). Here the files' names carry a fingerprint of all kernel sources,
so that what another version has left there is not even read: it may name types that are gone.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, overload

from fasthpo.system.uninterrupted import import_whole, uninterrupted

import_whole("numba.core.caching")

# isort: split
import numba  # noqa: E402
from numba.core.caching import FunctionCache, IndexDataCacheFile  # noqa: E402
from numba.core.compiler_lock import global_compiler_lock  # noqa: E402

Function = TypeVar("Function", bound=Callable[..., Any])

# fastmath under which sums may be reordered, products and sums contracted; NaN and infinities keep their meaning
REORDER = {"reassoc", "contract", "nsz", "arcp"}


def fingerprint(folder: Path) -> str:
    """A hash of all Python sources in a folder and its subfolders, of their names and of what is in them."""
    digest = hashlib.sha256()
    for name, source in sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*.py")):
        for part in (name.encode(), source.read_bytes()):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
    return digest.hexdigest()


FINGERPRINT = fingerprint(Path(__file__).parent)


class _FingerprintedCache(FunctionCache):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = IndexDataCacheFile(
            cache_path=self._cache_path,
            filename_base=f"{self._impl.filename_base}.{FINGERPRINT[:16]}",
            source_stamp=self._impl.locator.get_source_stamp(),
        )


@overload
def kernel(function: Function, *, fastmath: Any = ..., inline: bool = ...) -> Function: ...
@overload
def kernel(*, fastmath: Any = ..., inline: bool = ...) -> Callable[[Function], Function]: ...
def kernel(function: Any = None, *, fastmath: Any = False, inline: bool = False) -> Any:
    """Compile a function to machine code on its first call, without the GIL, and keep the result on disk.

    Args:
        function: the function; may be left out to pass options (`@kernel(fastmath=...)`).
        fastmath: as in numba; where NaN or infinities carry meaning, leave out "nnan" and "ninf".
        inline: make LLVM copy the function into its callers, however long it is: a loop that calls stays scalar.
    """
    if function is None:
        return lambda f: kernel(f, fastmath=fastmath, inline=inline)
    dispatcher = numba.njit(function, nogil=True, fastmath=fastmath, error_model="numpy", forceinline=inline)
    if isinstance(dispatcher, numba.core.registry.CPUDispatcher):  # with NUMBA_DISABLE_JIT=1 it is the function
        dispatcher._cache = _FingerprintedCache(dispatcher.py_func)
        dispatcher.compile = functools.partial(_compile_whole, dispatcher.compile)
    return dispatcher


def _compile_whole(compile_function: Callable[..., Any], signature: Any) -> Any:
    """Compile, and let no signal break it off: numba is of no use to the process once its first compile, or look into
    the cache, was broken off.

    A user's own compiled function that calls a kernel has it compiled while numba's lock is held, which another thread
    would wait for without end.
    """
    if global_compiler_lock.is_locked():  # by this thread
        return compile_function(signature)
    return uninterrupted(compile_function, signature)
