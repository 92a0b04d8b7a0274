"""A page as a reader follows it: files to write, commands to type, output to see."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import ROOT

BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"# (?P<name>\w+\.py)\n")
ANYTHING = "..."
"""In output that is shown: whatever there is, as far as the next word that is shown."""


@dataclass(frozen=True)
class File:
    """A `python` block; its first line names it."""

    name: str
    text: str


@dataclass(frozen=True)
class Command:
    """A line of a `sh` block."""

    words: tuple[str, ...]

    def __str__(self) -> str:
        return shlex.join(self.words)


@dataclass(frozen=True)
class Output:
    """A `text` block: what the command before it says."""

    text: str

    def is_said_by(self, said: str) -> bool:
        """Whether this is what was said, but for `...`."""
        parts = (re.escape(part) for part in self.text.strip().split(ANYTHING))
        return re.fullmatch(".*?".join(parts), said.strip(), re.DOTALL) is not None


Step = File | Command | Output


def pages() -> list[Path]:
    """Every page that is for people."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def steps(page: Path) -> Iterator[Step]:
    """What the page tells to do, from top to bottom."""
    for block in BLOCK.finditer(page.read_text(encoding="utf-8")):
        text = block["text"]
        match block["language"]:
            case "python":
                named = FILE_NAME.match(text)
                assert named, (
                    f"{page.name}: a python block starts with `# its_name.py`, not with\n{text[:80]}"
                )
                yield File(named["name"], text)
            case "sh":
                for line in text.splitlines():
                    if words := shlex.split(line, comments=True):
                        yield Command(tuple(words))
            case "text":
                yield Output(text)
            case other:
                raise AssertionError(f"{page.name}: a block is python, sh or text, not {other!r}")
