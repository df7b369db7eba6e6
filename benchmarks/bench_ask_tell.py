"""One ask and one tell against the number of trials so far, for each sampler, beside rivals in the same run.

    pip install -c constraints.txt -e ".[benchmark]"
    python -m pytest benchmarks/bench_ask_tell.py                # all of it, about ten minutes
    python -m pytest benchmarks/bench_ask_tell.py -k "tpe and 10000x20"

The table at the end gives medians and how many times a rival's is fasthpo's. Compare ratios, not absolute times.
"""

from __future__ import annotations

from typing import Any

import pytest
from libraries import LARGEST, LIBRARIES, history

SIZES = [(1_000, 4), (10_000, 4), (100_000, 4), (1_000, 20), (10_000, 20), (100_000, 20)]
CASES = [
    pytest.param(kind, library, trials, params, id=f"{kind}-{trials}x{params}-{library}")
    for kind, libraries in LIBRARIES.items()
    for trials, params in SIZES
    for library in libraries
    if trials <= LARGEST[library]
]


@pytest.mark.parametrize(("kind", "library", "trials", "params"), CASES)
def test_ask_tell(benchmark: Any, kind: str, library: str, trials: int, params: int) -> None:
    pytest.importorskip(library)
    ask_tell = LIBRARIES[kind][library](*history(trials, params))
    benchmark.group = f"{kind}, {params} parameters, {trials:,} trials"
    benchmark.extra_info["library"] = library
    cheap = not kind.startswith("tpe")  # microseconds: several a round, or the timer is what is measured
    rounds = 51 if library == "fasthpo" or cheap else 5
    benchmark.pedantic(ask_tell, rounds=rounds, iterations=10 if cheap else 1, warmup_rounds=2)
