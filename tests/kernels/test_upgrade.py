"""A compiled kernel must not outlive the sources it was made of, not even those in other files."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest

import fasthpo
from fasthpo.kernels.compiling import FINGERPRINT, fingerprint

PROGRAM = """
import json
from fasthpo.kernels.normal import tail
value = tail(1.0)
print(json.dumps([value, sum(tail.stats.cache_hits.values())]))
"""


def run(folder: Path) -> tuple[float, int]:
    environment = {**os.environ, "PYTHONPATH": str(folder), "NUMBA_CACHE_DIR": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, cwd=folder, capture_output=True, text=True, check=True
    )
    value, hits = json.loads(done.stdout)
    return value, hits


def test_every_kernel_source_counts_in_the_fingerprint(tmp_path: Path) -> None:
    """Those in subfolders, too: their content, their names, and where one ends and the next begins."""
    ignored = shutil.ignore_patterns("__pycache__")
    folder = Path(
        shutil.copytree((Path(fasthpo.__file__).parent / "kernels").resolve(), tmp_path / "k", ignore=ignored)
    )
    assert fingerprint(folder) == FINGERPRINT
    sources = sorted(folder.rglob("*.py"))
    assert {path.parent.name for path in sources} >= {"k", "tpe", "pruning", "halving"}
    for source in sources:
        kept = source.read_bytes()
        source.write_bytes(kept + b"#")
        assert fingerprint(folder) != FINGERPRINT
        source.write_bytes(kept)
    assert fingerprint(folder) == FINGERPRINT
    (folder / "tpe" / "below.py").rename(folder / "pruning" / "below.py")
    assert fingerprint(folder) != FINGERPRINT


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")
def test_an_upgrade_in_place_never_runs_a_stale_kernel(tmp_path: Path) -> None:
    source = Path(fasthpo.__file__).parent
    ignored = shutil.ignore_patterns("__pycache__", "kernels")
    shutil.copytree(source, tmp_path / "fasthpo", ignore=ignored)
    shutil.copytree((source / "kernels").resolve(), tmp_path / "fasthpo" / "kernels", ignore=ignored)
    first, hits = run(tmp_path)
    assert first == pytest.approx(0.15865525393145707) and hits == 0
    assert run(tmp_path) == (first, 1)

    helper = tmp_path / "fasthpo" / "kernels" / "exponential.py"
    before = helper.stat()
    text = helper.read_text(encoding="utf-8")
    assert text.count("p = p * r + 0.5\n") == 1
    helper.write_text(text.replace("p = p * r + 0.5\n", "p = p * r + 0.7\n"), encoding="utf-8", newline="\n")
    # the hardest case: same size, same time
    os.utime(helper, ns=(before.st_atime_ns, before.st_mtime_ns))
    shutil.rmtree(helper.parent / "__pycache__", ignore_errors=True)  # Python's own cache goes by the time
    assert helper.stat().st_size == before.st_size
    for index in (tmp_path / "cache").rglob("*.nbi"):  # as if a kernel had taken a type that is gone
        index.write_bytes(pickle.dumps(numba.__version__) + b"cfasthpo.kernels.gone\nGone\n.")
    second, hits = run(tmp_path)
    assert hits == 0 and abs(second / first - 1) > 1e-3
    assert run(tmp_path) == (second, 1)


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")
def test_a_users_compiled_function_may_call_a_kernel() -> None:
    """Numba compiles it then, or reads it from the cache, while its own lock is held."""
    program = """
import numba
from fasthpo.kernels.normal import tail
print(numba.njit(lambda x: tail(x) + 1.0)(0.0) - tail(0.0))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=100)
    assert float(done.stdout) == 1
