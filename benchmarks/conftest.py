"""Prints, after the benchmarks, each rival's median as a multiple of fasthpo's."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from libraries import readable


def pytest_terminal_summary(terminalreporter: Any, config: Any) -> None:
    session = getattr(config, "_benchmarksession", None)
    groups: dict[str, dict[str, float]] = defaultdict(dict)
    for bench in session.benchmarks if session else []:
        if bench.group and "library" in bench.extra_info and not bench.has_error:
            groups[bench.group][bench.extra_info["library"]] = bench.stats.median / bench.extra_info.get("calls", 1)
    if not groups:
        return
    terminalreporter.section("medians, and each rival's as a multiple of fasthpo's")
    for group, medians in groups.items():
        ours = medians.get("fasthpo")
        shown = [
            f"{library} {readable(median)}" + (f" ({median / ours:.3g}x)" if ours and library != "fasthpo" else "")
            for library, median in medians.items()
        ]
        terminalreporter.write_line(f"{group:45s} {'   '.join(shown)}")
