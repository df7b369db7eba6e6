"""Runs what a page of the guide shows, block by block, as a reader would: Python, files, commands and their output.

- ```python blocks of a page are one program, each going on from those before it. Blocks with a title are a program of
  that title (`title="Optuna"`).
- A block whose title is a file's name (`title="train.py"`) is written to that file.
- ```console blocks have commands behind `$ `: `fasthpo` runs in this process, `python FILE` in one of its own.
- ```sh blocks, with what installs something, are not run; nor are ```yaml blocks.
- Output stands below a command, or in a ```text block below a Python block. Its words must be those that are printed;
  a number stands for any number, as these differ between machines, and `...` for anything.
- `print(...)  # 9` promises an integer exactly.
- A comment `<!-- not run: why -->` before a block has it compiled only; other libraries' sides run if asked for.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
import sys
import types
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.command_line import call

FENCE = re.compile(
    r'^(?P<idle><!-- not run: .+? -->\n+)?```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$',
    flags=re.DOTALL | re.MULTILINE,
)
PROMISE = re.compile(r"^ *print\(.*\)\s+# (\d+)\b", flags=re.MULTILINE)
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: what it is, and at which line its text begins."""

    language: str
    title: str | None
    text: str
    line: int
    runs: bool

    @property
    def is_file(self) -> bool:
        return self.title is not None and re.search(r"\.\w+$", self.title) is not None


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = list(FENCE.finditer(text))
    assert len(found) * 2 == len(re.findall(r"^\s*```", text, flags=re.MULTILINE)), f"{page.name}: a fence is not read"
    for one in found:
        line = text.count("\n", 0, one.start("text")) + 1
        yield Block(one["language"], one["title"], one["text"], line, one["idle"] is None)


def says(promised: str, given: str) -> bool:
    """Whether an output has the promised words, whatever its numbers are."""
    words = [re.escape(NUMBER.sub("0", word)).replace(r"\.\.\.", ".*") for word in promised.split()]
    return re.fullmatch(r"\s+".join(words), " ".join(NUMBER.sub("0", given).split()), flags=re.DOTALL) is not None


class Page:
    """A page that is being followed, in the current directory.

    Args:
        path: of the page.
        patch: for what is set in this process.
        titles: blocks of these titles run even if the page says that they don't.
    """

    def __init__(self, path: Path, patch: pytest.MonkeyPatch, titles: Collection[str] = ()) -> None:
        self._path = path
        self._patch = patch
        self._titles = titles
        self._programs: dict[str | None, types.ModuleType] = {}
        self._output = ""  # of the last block

    def follow(self) -> None:
        """Do all that the page shows."""
        for block in blocks(self._path):
            where = f"{self._path.name}:{block.line}"
            if block.is_file:
                assert block.title is not None
                Path(block.title).parent.mkdir(parents=True, exist_ok=True)
                Path(block.title).write_text(block.text, encoding="utf-8")
            elif block.language == "python":
                self._run_python(block)
            elif block.language == "console" and block.runs:
                self._run_commands(block, where)
            elif block.language == "text" and block.runs:
                assert says(block.text, self._output), f"{where} promises\n{block.text}but this is\n{self._output}"
            else:
                known = ("console", "sh", "text", "yaml")
                assert block.language in known, f"{where}: {block.language} is not known here"

    def _run_python(self, block: Block) -> None:
        code = compile("\n" * (block.line - 1) + block.text, str(self._path), "exec")
        if not (block.runs or block.title in self._titles):
            return
        program = self._programs.setdefault(block.title, types.ModuleType("__main__"))
        self._patch.setitem(sys.modules, "__main__", program)  # whose functions go to workers by value
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(code, vars(program))
        self._output = output.getvalue()
        promised = PROMISE.findall(block.text)
        assert [line for line in self._output.splitlines() if line.isdigit()] == promised

    def _run_commands(self, block: Block, where: str) -> None:
        for shown in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            line, _, promised = shown.partition("\n")
            command, *arguments = shlex.split(line, comments=True)
            if command == "fasthpo":
                result = call(*arguments)
                assert result.exit_code == 0, f"{where}: {result.output}"
                self._output = result.output
            elif command == "python":
                done = subprocess.run(
                    [sys.executable, "-W", "error", *arguments], capture_output=True, encoding="utf-8", timeout=120
                )
                assert done.returncode == 0, f"{where}: {done.stderr}"
                self._output = done.stdout
            else:
                pytest.fail(f"{where}: what is {command}?")
            if promised.strip():
                assert says(promised, self._output), f"{where}: {line} promises\n{promised}but this is\n{self._output}"
