"""The line that stands for an error where there is room for one line only: its type and its message.

An error is kept as text, a traceback where there is one, and goes as text from worker to study, to callbacks and into
files. So the line has to be found in the text again. Where a traceback does not show it plainly, because the error has
notes, a chain or a group behind it, or speaks in tracebacks itself, the text begins with the line (`with_headline`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_LONGEST = 300  # characters of a line
_READ = 100_000  # characters of a text that are looked at to find them
_HEADER = re.compile(r"^[ |]*(?:\+ Exception Group )?Traceback \(most recent call last\):$", re.MULTILINE)
_FRAME = re.compile(r' *File "[^"]*", line \d+')
_CHAIN = re.compile(
    r"\n\n(?:The above exception was the direct cause of the following exception|"
    r"During handling of the above exception, another exception occurred):\n\n"
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_NUMBER = re.compile(r"0x[0-9a-fA-F]+|[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


def message_of(raised: BaseException) -> str:
    """What an exception says; its class may have a broken `__str__`."""
    try:
        return str(raised)
    except Exception:
        return "<exception str() failed>"  # as tracebacks have it


def headline_of(raised: BaseException) -> str:
    """An exception's type and message, without its notes and what it was raised from."""
    kind = type(raised)
    module = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
    name = f"{module}{kind.__qualname__}"
    line = _in_a_line(message_of(raised))
    return _cut(f"{name}: {line}" if line else name)


def with_headline(text: str, raised: BaseException) -> str:
    """An exception's traceback, so that `headline` finds its type and message."""
    line = headline_of(raised)
    return text if headline(text) == line else f"{line}\n\n{text}"


def headline(error: str) -> str:
    """The line that stands for an error's text; empty if that is."""
    text = error[:_READ].lstrip("\n").rstrip()
    first, _, rest = text.partition("\n\n")
    if _HEADER.match(text):
        text = _CHAIN.split(text)[-1]
    elif _HEADER.search(rest):
        text = first
    return _cut(_in_a_line(text))


def has_traceback(error: str) -> bool:
    """Whether an error's text shows a traceback."""
    return _HEADER.search(error[:_READ]) is not None


def _in_a_line(text: str) -> str:
    """A text's words, without the frames of tracebacks in it and without what can't be printed."""
    text = _COLOUR.sub("", text[:_READ])
    words = " ".join(" ".join(_without_frames(text.splitlines())).split()) or " ".join(text.split())
    return words if words.isprintable() else "".join(one if one.isprintable() else "?" for one in words)


def _without_frames(lines: Iterable[str]) -> list[str]:
    """Lines that are not of a traceback's frames; of an exception group those of the group itself."""
    kept: list[str] = []
    deeper = None  # lines that are indented further than that are of frames
    for line in lines:
        if line.startswith("  +-"):  # what an exception group holds
            break
        bare = line.removeprefix("  | ").rstrip()
        indent = len(bare) - len(bare.lstrip())
        if _HEADER.fullmatch(line):
            deeper = 0 if "+ Exception Group" in line else indent
        elif _FRAME.match(bare):
            deeper = indent - 1 if deeper is None else min(deeper, indent - 1)
        elif deeper is None or (bare and indent <= deeper):
            deeper = None
            kept.append(bare)
    return kept


def _cut(line: str) -> str:
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 4]} ..."


def without_numbers(line: str) -> str:
    """A line with 0 for each number in it: equal for what differs in numbers only."""
    return _NUMBER.sub("0", line)
