"""The guide and the README: what they show runs, every page is found, and every public name is described."""

from __future__ import annotations

import importlib
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fasthpo
from tests.support.guide import Page, blocks, says

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(page.relative_to(ROOT).as_posix() for page in [ROOT / "README.md", *DOCS.rglob("*.md")])
WITH_BLOCKS = [page for page in PAGES if any(blocks(ROOT / page))]


@pytest.mark.parametrize("page", WITH_BLOCKS)
def test_what_a_page_shows_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Page(ROOT / page, monkeypatch).follow()


@pytest.mark.skipif(
    "FASTHPO_TEST_OTHER_SIDES" not in os.environ, reason="FASTHPO_TEST_OTHER_SIDES=1 runs what takes minutes"
)
@pytest.mark.filterwarnings("default")
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("page", "title"), [("docs/from-ray-tune.md", "Ray Tune"), ("docs/from-hyperopt.md", "Hyperopt")]
)
def test_the_other_side_of_a_page_runs(page: str, title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To be asked for whenever these pages or the libraries change (`pip install hyperopt` first)."""
    pytest.importorskip({"Ray Tune": "ray", "Hyperopt": "hyperopt"}[title])
    monkeypatch.chdir(tmp_path)
    Page(ROOT / page, monkeypatch, titles=[title]).follow()


def test_words_of_an_output_count_and_its_numbers_do_not() -> None:
    assert says("best: 0.1 of 20 trials\n...\nend", "best: 12.5e-3  of 7 trials\n\n1 2\nmore\nend\n")
    assert not says("best: 0.1 of 20 trials", "worst: 0.1 of 20 trials")
    assert not says("best: 0.1", "best: 0.1 and more")


def leaves(nav: list[dict[str, Any]]) -> Iterator[str]:
    for entry in nav:
        for target in entry.values():
            if isinstance(target, str):
                yield target
            else:
                yield from leaves(target)


def test_every_page_is_in_the_navigation_once() -> None:
    nav = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
    assert sorted(leaves(nav)) == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


def public_names() -> Iterator[str]:
    yield from (f"fasthpo.{name}" for name in fasthpo.__all__)
    for module in ("analysis", "plots", "report", "testing", "torch"):
        yield from (f"fasthpo.{module}.{name}" for name in importlib.import_module(f"fasthpo.{module}").__all__)


def test_every_public_name_is_in_the_reference_once() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in sorted((DOCS / "api").glob("*.md")))
    described = re.findall(r"^::: (\S+)$", text, flags=re.MULTILINE)
    assert len(described) == len(set(described))
    assert set(public_names()) <= set(described)


def test_the_reference_has_every_adapter() -> None:
    """A module of `integrations/` with a public class is described by it; the others serve these."""
    text = (DOCS / "api" / "integrations.md").read_text(encoding="utf-8")
    adapters = {
        path.stem
        for path in (ROOT / "fasthpo" / "integrations").glob("[!_]*.py")
        if re.search(r"^class \w+\(\w+\.\w*Callback\)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    }
    assert adapters and adapters <= set(re.findall(r"fasthpo\.integrations\.(\w+)\.", text))


def test_the_commands_of_the_readme_name_what_exists() -> None:
    """Their extras, constraints and scripts; that they run from nothing is checked by .ci/run."""
    commands = [block.text for block in blocks(ROOT / "README.md") if block.language == "sh"]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for command in commands:
        assert len(command.splitlines()) == 1
        assert "-c constraints.txt" in command
        (named,) = re.findall(r"\.\[([\w,]+)\]", command)
        assert set(named.split(",")) <= set(extras)
    assert (ROOT / "constraints.txt").exists()
    assert commands[-1].rstrip().endswith("-m pytest -n 2 --dist worksteal")


@pytest.mark.parametrize("page", PAGES)
def test_extras_that_a_page_names_exist(page: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = re.findall(r"fasthpo\[([\w,]+)\]", (ROOT / page).read_text(encoding="utf-8"))
    assert {extra for names in named for extra in names.split(",")} <= set(extras)
