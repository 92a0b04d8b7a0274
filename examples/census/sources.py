"""Which files are measured, and whose turn it is."""

from __future__ import annotations

import math
import os
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = (".py", ".pyx")
"""Python, and Cython, whose own syntax Python's parser refuses."""

OTHERS = {"__pycache__", "site-packages", "dist-packages"}
"""Directories below a root that belong to somebody else."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file to measure."""

    path: Path
    size: int
    """Bytes."""


def usual_roots() -> list[Path]:
    """The standard library of this interpreter, and what is installed beside it."""
    return [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")]


def find_sources(roots: Sequence[Path]) -> list[Source]:
    """Every source file below the roots, by path. Blocks: some 5,000 files take a tenth of a second.

    Raises NotADirectoryError for a root that is none.
    """
    for root in roots:
        if not root.is_dir():
            raise NotADirectoryError(f"{root} is no directory, so there is nothing to measure in it")
    return sorted((source for root in roots for source in _walk(root)), key=lambda source: source.path)


def cross_section(sources: Sequence[Source], turn: int, most: int) -> Sequence[Source]:
    """At most so many files, from all over; one turn after the other, all of them come round."""
    turns = math.ceil(len(sources) / most) or 1
    return sources[turn % turns :: turns]


def _walk(root: Path) -> Iterator[Source]:
    for directory, below, names in os.walk(root):
        below[:] = [name for name in below if name not in OTHERS]
        for name in names:
            path = Path(directory, name)
            if path.suffix in SUFFIXES and path.is_file():
                yield Source(path, path.stat().st_size)
