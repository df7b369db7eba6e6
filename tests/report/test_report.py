"""The page about a study: what stands in it, that nothing breaks out of it, and how it works in a browser."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasthpo
from fasthpo import TrialState
from fasthpo.errors import InvalidValue, StorageError
from fasthpo.report import write_report
from tests.support.browser import browse, needs_chromium
from tests.support.command_line import HOSTILE, SPACE, call, hostile, kept, printed


class Parsed(HTMLParser):
    """The elements of a page, with their attributes, and the text of each kind of element."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: dict[str, str] = {}
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        tag, attributes = self.elements[-1] if self.elements else ("", {})
        key = attributes.get("id") or tag
        self.words[key] = self.words.get(key, "") + data


def load(path: Path, **options: Any) -> fasthpo.Study:
    return fasthpo.Study.load(path, read_only=True, **options)


def content(page: Path) -> dict[str, Any]:
    """The data that the page's script draws."""
    found: dict[str, Any] = json.loads(Parsed(page.read_text(encoding="utf-8")).words["data"])
    return found


def rows_of(data: dict[str, Any]) -> dict[str, list[Any]]:
    """The table's columns, choices as words."""
    return {
        one["name"]: [None if v is None else one["labels"][v] for v in one["values"]]
        if "labels" in one
        else one["values"]
        for one in data["trials"]["columns"]
    }


def large(count: int, directions: tuple[str, ...] = ("maximize",)) -> fasthpo.Study:
    """A study of many trials, with conditions, failures, metrics and reports."""
    study = fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=0), directions=list(directions))
    rng = np.random.default_rng(0)
    for begin in range(0, count, 50_000):
        batch = study.ask_batch(min(50_000, count - begin))
        losses = np.log10(batch.params["lr"]) ** 2 + rng.normal(size=len(batch.numbers))
        losses[rng.random(len(losses)) < 0.1] = np.nan
        values = losses if len(directions) == 1 else np.stack([losses, batch.params["layers"]], axis=1)
        study.tell_batch(batch.numbers, values)
    return study


# --- what stands in it


def test_all_trials_of_a_small_study_stand_in_the_page(tmp_path: Path) -> None:
    study = load(kept(tmp_path / "digits", 40, pruner=fasthpo.MedianPruner()))
    page = write_report(study, tmp_path / "report.html")
    data = content(page)
    rows = rows_of(data)
    assert data["name"] == "digits" and data["trials"]["note"] == ""
    assert rows["number"] == list(range(len(study)))
    for i, trial in enumerate(study.trials):
        assert rows["state"][i] == trial.state.name
        assert rows["value"][i] in (trial.value, "Infinity")
        params = {name: rows[f"params.{name}"][i] for name in SPACE if rows[f"params.{name}"][i] is not None}
        assert params == {n: str(v) if SPACE[n].choices else v for n, v in trial.params.items()}
        assert rows["metrics.f1"][i] == trial.metrics.get("f1")
    best = data["best"][0]
    assert best["number"] == study.best_trial.number and ["value", repr(study.best_value)] in best["pairs"]
    assert {group["count"] for group in data["failures"]["groups"]} == {4}
    assert any("Traceback (most recent call last)" in group["error"] for group in data["failures"]["groups"])
    assert [row[0] for row in data["space"]] == list(SPACE)
    assert ["momentum", "continuous", "0.0 to 0.99", "optimizer is 'sgd'"] in data["space"]
    search, noted, versions = data["configuration"]
    assert ["pruner", "MedianPruner"] in search[1] and ["sampler: seed", "3"] in search[1] and noted[1] == []
    assert ["fasthpo", fasthpo.__version__] in versions[1]
    pictures = data["pictures"]["objectives"][0]["pictures"]
    assert set(pictures) == {"history", "curves", "importance", "contour", "slices", "parallel", "edf"}
    assert set(data["pictures"]["study"]) == {"timeline", "durations"}


def test_a_study_that_is_only_looked_at_shows_what_its_writer_searches_with(tmp_path: Path) -> None:
    path = kept(tmp_path / "tpe", 3, sampler=fasthpo.TPESampler(seed=7))
    printed("report", path, "-o", tmp_path / "report.html")
    assert ["sampler", "TPESampler"] in content(tmp_path / "report.html")["configuration"][0][1]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_small_studies_have_pages_of_their_own(tmp_path: Path, count: int) -> None:
    study = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, sampler=fasthpo.RandomSampler(seed=0))
    for i in range(count):
        study.tell(study.ask(), float(i))
    data = content(write_report(study, tmp_path / "report.html"))
    assert len(rows_of(data)["number"]) == count and len(data["best"]) == min(count, 1)
    assert "contour" not in str(list(data["pictures"]["objectives"]))


def test_studies_of_which_nothing_has_come_have_pages(tmp_path: Path) -> None:
    study = fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=0))
    for i in range(12):
        trial = study.ask()
        if i % 3 == 0:
            study.tell(trial, state=TrialState.FAILED, error="" if i else "no reason")
        elif i % 3 == 1:
            study.tell(trial, math.inf)
    study.enqueue({"layers": 3})
    data = content(write_report(study, tmp_path / "report.html", "named"))
    assert data["best"] == [] and data["name"] == "named" and "finite" in data["nothing"]
    study = fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=0), directions=["minimize", "maximize"])
    study.tell(study.ask(), [1.0, math.nan])
    assert content(write_report(study, tmp_path / "report.html"))["front"]["rows"] == []


def test_several_objectives_have_a_front_and_pictures_each(tmp_path: Path) -> None:
    study = fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=0), directions=["minimize", "maximize"])
    for _ in range(60):
        trial = study.ask()
        lr, layers = trial["lr"], trial["layers"]
        study.tell(trial, [math.log10(lr) ** 2, layers], constraints=[layers - 50])  # type: ignore[arg-type, operator]
    data = content(write_report(study, tmp_path / "report.html"))
    numbers, values = study.front()
    assert sorted(row[0] for row in data["front"]["rows"]) == numbers.tolist()
    assert sorted(row[1] for row in data["front"]["rows"]) == sorted(values[:, 0].tolist())
    assert sorted(data["pictures"]["study"]["front"]["number"]) == numbers.tolist()
    assert [one["direction"] for one in data["pictures"]["objectives"]] == ["minimize", "maximize"]
    rows = rows_of(data)
    assert [n for n, on in zip(rows["number"], rows["front"], strict=True) if on == "yes"] == numbers.tolist()
    assert rows["values_1"] == study.values[:, 1].tolist()


def test_rungs_stand_in_the_page_of_a_multi_fidelity_study(tmp_path: Path) -> None:
    path = kept(tmp_path / "asha", 30, sampler=None, strategy=fasthpo.ASHA(9, sampler=fasthpo.RandomSampler(seed=0)))
    data = content(write_report(load(path), tmp_path / "report.html"))
    rungs = data["pictures"]["study"]["rungs"]
    assert [rung["resource"] for rung in rungs["rungs"]] == [1, 3, 9]
    assert "resource" in rows_of(data)


@pytest.mark.parametrize(("directions", "count"), [(("maximize",), 100_000), (("minimize", "maximize"), 20_000)])
def test_a_page_of_many_trials_is_small_and_has_the_best_and_the_shown(
    tmp_path: Path, directions: tuple[str, ...], count: int
) -> None:
    study = large(count, directions)
    page = write_report(study, tmp_path / "report.html")
    assert page.stat().st_size < 5e6
    data = content(page)
    numbers = rows_of(data)["number"]
    assert len(numbers) == len(set(numbers)) <= 5000 and f"of {count:,} trials" in data["trials"]["note"]
    if len(directions) == 1:
        complete = np.flatnonzero(study.states == TrialState.COMPLETE)
        best = complete[np.argsort(-study.values[complete], kind="stable")][:2000]
        assert set(best.tolist()) <= set(numbers)
        shown = data["pictures"]["objectives"][0]["pictures"]["parallel"]["number"]
        assert set(shown) <= set(numbers)
    else:
        assert set(study.front()[0].tolist()) <= set(numbers)


def test_many_parameters_metrics_and_failures_stay_below_5_mb(tmp_path: Path) -> None:
    space = {f"p{j} {'long name ' * 5}": fasthpo.Continuous(0.0, 1.0) for j in range(80)}
    study = fasthpo.Study(space, sampler=fasthpo.RandomSampler(seed=0))
    for i in range(800):
        trial = study.ask()
        if i % 5 == 4:
            study.tell(
                trial, state=TrialState.FAILED, error=f"Error{'abcdefghij'[i % 10]}{'x' * (i % 97)}\n" + "y" * 50_000
            )
        else:
            study.tell(trial, float(i), metrics={f"m{k}": float(i) for k in range(40)})
    page = write_report(study, tmp_path / "report.html")
    assert page.stat().st_size < 5e6
    groups = content(page)["failures"]["groups"]
    assert len(groups) == 50 and all(len(group["error"]) < 10_000 for group in groups)


# --- nothing breaks out


def test_what_a_user_wrote_is_text_and_never_markup(tmp_path: Path) -> None:
    study = load(hostile(tmp_path / "hostile"))
    plain = load(kept(tmp_path / "plain", 12))
    pages = [
        Parsed(write_report(one, tmp_path / f"{i}.html", name).read_text(encoding="utf-8"))
        for i, (one, name) in enumerate([(study, f"hostile {HOSTILE}"), (plain, "plain")])
    ]
    assert [tag for tag, _ in pages[0].elements] == [tag for tag, _ in pages[1].elements]
    assert pages[0].words["h1"] == f"hostile {HOSTILE}"
    data = json.loads(pages[0].words["data"])
    assert any(choice.startswith(HOSTILE[:11]) for choice in rows_of(data)["params.choice"])  # its end is left out
    assert data["space"][0][0] == HOSTILE
    text = (tmp_path / "0.html").read_text(encoding="utf-8")
    assert "<img" not in text and "</script><script>window" not in text


def test_the_page_loads_nothing(tmp_path: Path) -> None:
    page = Parsed(write_report(load(hostile(tmp_path / "hostile")), tmp_path / "a.html").read_text(encoding="utf-8"))
    for tag, attributes in page.elements:
        assert not {"src", "href", "srcset", "action"} & set(attributes), (tag, attributes)
    assert "@import" not in page.words["style"] and "url(" not in page.words["style"]
    (policy,) = [a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None and policy.startswith("default-src 'none'; script-src 'sha256-")
    script = page.words["script"]
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(|fetch\(|import\(", script
    )


def test_wrong_arguments_get_an_error_that_says_what_is_wrong(tmp_path: Path) -> None:
    study = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)})
    with pytest.raises(InvalidValue, match="study must be a Study"):
        write_report("hyperopt_results/digits", tmp_path / "a.html")  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="path"):
        write_report(study, "")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="can't be written"):
        write_report(study, tmp_path / "file" / "a.html")
    result = call("report", kept(tmp_path / "mine", 2), "-o", tmp_path / "file" / "a.html")
    assert result.exit_code == 2 and result.stderr.count("\n") == 1


def test_writing_a_page_does_not_import_matplotlib() -> None:
    program = """
import sys, tempfile, fasthpo
from fasthpo.report import write_report
study = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, sampler=fasthpo.RandomSampler(seed=0))
for i in range(5):
    study.tell(study.ask(), i)
write_report(study, tempfile.mkdtemp() + "/a.html")
print([name for name in ("matplotlib", "torch", "pandas", "rich", "click") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", timeout=120)
    assert done.stdout == "[]\n", done.stderr


# --- in a browser


@needs_chromium
def test_tables_sort_filter_and_choose_in_a_browser(tmp_path: Path) -> None:
    study = load(kept(tmp_path / "digits", 60))
    page = write_report(study, tmp_path / "report.html")
    seen = browse(
        page,
        """
        found.first = column("value");
        clicks(header("lr")); found.ascending = column("lr");
        clicks(header("lr")); found.descending = column("lr");
        found.sorted = [...document.querySelectorAll("#trials th")].map((th) => th.getAttribute("aria-sort"));
        clicks(header("optimizer")); found.choices = column("optimizer");
        type(document.querySelector(".tools input"), "lr < 0.001; layers >= 8"); found.filtered = column("trial");
        found.small = column("lr");
        type(document.querySelector(".tools input"), "ValueError: bad 3"); found.word = column("trial");
        type(document.querySelector(".tools input"), "lr < small");
        found.wrong = document.querySelector(".tools input").className;
        type(document.querySelector(".tools input"), "");
        change(document.querySelector(".tools select"), "3"); found.failed = column("state");
        change(document.querySelector(".tools select"), "");
        clicks(document.querySelector("#trials tbody tr"));
        found.chosen = document.querySelector("#picked h3").textContent;
        found.rings = document.querySelectorAll("svg .ring, svg .picked").length;
        document.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape" }));
        found.closed = document.getElementById("picked").hidden;
        found.told = sweep();
        found.canvases = document.querySelectorAll("canvas").length;
        clicks(document.getElementById("theme")); found.theme = document.documentElement.dataset.theme;
        found.wide = document.documentElement.scrollWidth <= innerWidth;
        """,
        tmp_path,
    )
    assert seen.console == []
    found = seen.found
    values = [float(text) for text in found["first"]]
    assert len(values) == 25 and values == sorted(values)
    for order, sign in (("ascending", 1), ("descending", -1)):
        keys = [sign * float(text) for text in found[order]]
        assert keys == sorted(keys)
    assert found["sorted"].count("descending") == 1
    assert found["choices"] == sorted(found["choices"], key=["adam", "sgd", "None"].index)
    expected = [t.number for t in study.trials if t.params.get("lr", 1) < 0.001 and t.params["layers"] >= 8]  # type: ignore[operator]
    assert set(map(int, found["filtered"])) <= set(expected) and len(found["filtered"]) == min(25, len(expected))
    assert found["word"] == ["3", "33"] and found["wrong"] == "wrong" and set(found["failed"]) == {"failed"}
    assert found["chosen"].startswith("Trial ") and found["rings"] >= 5 and found["closed"]
    assert found["told"] > 200 and found["canvases"] > 15 and found["theme"] == "dark" and found["wide"]


@needs_chromium
def test_hostile_words_stay_words_in_a_browser(tmp_path: Path) -> None:
    page = write_report(load(hostile(tmp_path / "hostile", 30)), tmp_path / "report.html", HOSTILE)
    seen = browse(
        page,
        """
        found.told = sweep();
        for (const button of document.querySelectorAll("#trials th button")) clicks(button);
        for (const details of document.querySelectorAll("details")) details.open = true;
        clicks(document.querySelector("#trials tbody tr"));
        found.hacked = window.hacked ?? "no";
        found.elements = document.querySelectorAll("b[onclick], img, iframe, object").length;
        found.words = document.body.innerText.includes("<b onclick=alert(1)>");
        found.name = document.querySelector("h1").textContent;
        """,
        tmp_path,
        width=420,
    )
    assert seen.console == []
    assert seen.found["hacked"] == "no" and seen.found["elements"] == 0 and seen.found["words"]
    assert seen.found["name"] == HOSTILE and seen.found["told"] > 20


@needs_chromium
def test_every_kind_of_study_is_drawn_without_an_error(tmp_path: Path) -> None:
    look = "found.told = sweep(); found.ready = document.body.dataset.ready; for (const s of document.querySelectorAll('select')) "
    look += "for (const o of [...s.options]) change(s, o.value); found.again = sweep();"
    asha = fasthpo.ASHA(9, sampler=fasthpo.RandomSampler(seed=0))
    empty = fasthpo.Study(SPACE, sampler=fasthpo.RandomSampler(seed=0))
    one = fasthpo.Study({"x": fasthpo.Continuous(1.0, 1.0)}, sampler=fasthpo.RandomSampler(seed=0))
    one.tell(one.ask(), 0.0)
    huge = fasthpo.Study({"x": fasthpo.Continuous(-8e307, 8e307)}, sampler=fasthpo.RandomSampler(seed=0))
    for value in (1e308, -1e308, math.inf, 0.0, 5e-324):
        huge.tell(huge.ask(), value)
    studies = {
        "empty": empty,
        "one": one,
        "huge": huge,
        "asha": load(kept(tmp_path / "asha", 40, sampler=None, strategy=asha)),
        "two": large(3_000, ("minimize", "maximize")),
    }
    for name, study in studies.items():
        (tmp_path / name).mkdir(exist_ok=True)
        seen = browse(write_report(study, tmp_path / f"{name}.html", name), look, tmp_path / name)
        assert seen.console == [], name
        assert seen.found["ready"] == "yes" and (seen.found["told"] > 0 or name in ("empty", "one")), name
