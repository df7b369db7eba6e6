"""A page in headless Chromium: what a script sees there, and what is said on the console."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
_HELPERS = """
const found = {}, clicks = (element) => element.dispatchEvent(new MouseEvent("click", { bubbles: true }));
const type = (input, text) => { input.value = text; input.dispatchEvent(new Event("input", { bubbles: true })); };
const change = (select, value) => { select.value = value; select.dispatchEvent(new Event("change", { bubbles: true })); };
const header = (name) => [...document.querySelectorAll("#trials th button")].find((b) => b.textContent === name);
const column = (name) => {
  const at = [...document.querySelectorAll("#trials th button")].findIndex((b) => b.textContent === name);
  return [...document.querySelectorAll("#trials tbody tr")].map((row) => row.children[at].textContent);
};
const sweep = () => { // points at every part of every chart; how many of these say something
  let told = 0;
  for (const frame of document.querySelectorAll(".frame")) {
    const box = frame.getBoundingClientRect();
    for (let x = 3; x < box.width; x += 23) for (let y = 3; y < box.height; y += 17) {
      frame.dispatchEvent(new PointerEvent("pointermove", { clientX: box.left + x, clientY: box.top + y, bubbles: true }));
      if (document.getElementById("tip").style.visibility === "visible") told++;
    }
    frame.dispatchEvent(new PointerEvent("pointerleave"));
  }
  return told;
};
"""


class Seen(NamedTuple):
    """What a browser made of a page: what the script has found, the errors on the console, the text."""

    found: dict[str, Any]
    console: list[str]
    text: str


def browse(page: Path, script: str, tmp_path: Path, width: int = 1280) -> Seen:
    """Open a page and run a script in it, which puts what it sees into `found`.

    The page's policy allows its own script only, so that of the test is named there, too.
    """
    assert CHROMIUM is not None
    code = f"{_HELPERS}\n{script}\ndocument.documentElement.dataset.found = JSON.stringify(found);"
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    text = page.read_text(encoding="utf-8")
    assert text.count("script-src '") == 1 and text.endswith("</body>\n</html>\n")
    text = text.replace("script-src '", f"script-src 'sha256-{digest}' '", 1)
    text = text.removesuffix("</body>\n</html>\n") + f"<script>{code}</script>\n</body>\n</html>\n"
    (tmp_path / "tested.html").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},1400", "--virtual-time-budget=5000",
            "--enable-logging=stderr", "--dump-dom", (tmp_path / "tested.html").as_uri(),
        ],
        capture_output=True, encoding="utf-8", errors="replace", timeout=120,
    )  # fmt: skip
    said = re.findall(r'CONSOLE[^"]*"(.*)", source', done.stderr)
    assert "data-ready" in done.stdout or said, done.stderr[-2000:]
    match = re.search(r'data-found="([^"]*)"', done.stdout)
    found = json.loads(html.unescape(match.group(1))) if match else {}
    return Seen(found, said, done.stdout)
