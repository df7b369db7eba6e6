"""The page itself: the data, the script and the style in one file, from which nothing can break out."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

from fasthpo.analysis.trial_data import check_study
from fasthpo.exchange.json_files import plain_json
from fasthpo.report.content import report_content
from fasthpo.storage.atomic import atomic_file, storage_errors
from fasthpo.study.study import Study
from fasthpo.system.paths import absolute, given_path

_PARTS = Path(__file__).parent
_SURROGATE = re.compile("[\ud800-\udfff]")


def write_report(study: Study, path: str | Path, name: str | None = None) -> Path:
    """Write an interactive page about a study: pictures, the best trials, failures, space and configuration; its path.

    The page is one file, which loads nothing from anywhere. It holds all trials of a study of some thousand, and of a
    larger one the best and those that its pictures show; it stays below 5 MB.

    Args:
        study: any, also one that was loaded with `read_only=True`.
        path: the file, which is replaced if it is there.
        name: what the study is called; None: as its directory.

    Raises:
        InvalidValue: it is no study, or `path` no path.
        StorageError: the file can't be written.

    Example:
        >>> import tempfile, fasthpo
        >>> from fasthpo.report import write_report
        >>> study = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, sampler=fasthpo.RandomSampler(seed=0))
        >>> for _ in range(20):
        ...     trial = study.ask()
        ...     _ = study.tell(trial, trial["x"] ** 2)
        >>> write_report(study, tempfile.mkdtemp() + "/report.html").name
        'report.html'
    """
    check_study(study)
    target = given_path("path", path)
    page = make_page(report_content(study, name))
    with storage_errors(f"{target} can't be written"), atomic_file(absolute(target)) as file:
        file.write(page.encode("utf-8", "backslashreplace"))
    return target


def make_page(content: dict[str, Any]) -> str:
    """The HTML of a page that shows `content`.

    The content goes in as JSON in which nothing is markup, and the script makes text of it, nothing else. What would
    still be run or loaded is kept from it by the page's own policy, which allows this script and this style only.
    """
    script, style = ((_PARTS / name).read_text(encoding="utf-8") for name in ("report.js", "report.css"))
    made = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    version = content["version"]
    return (_PARTS / "report.html").read_text(encoding="utf-8") % {
        "title": html.escape(f"{content['name']} - fasthpo"),
        "name": html.escape(content["name"]),
        "about": html.escape(content["about"]),
        "footer": html.escape(f"Made by fasthpo {version} on {made}. What is here is as it was then."),
        "version": html.escape(version),
        "data": _embedded(content),
        "script": script,
        "style": style,
        "script_hash": _hash(script),
        "style_hash": _hash(style),
    }


def _embedded(content: dict[str, Any]) -> str:
    """JSON that can stand within a script element, whatever is in it."""
    text = json.dumps(plain_json(content), allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    # half a pair, from a file name for instance, is no text: browsers break at it
    text = _SURROGATE.sub(lambda found: f"\\\\u{ord(found.group()):04x}", text)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _hash(text: str) -> str:
    """As a content security policy names what may be used."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
