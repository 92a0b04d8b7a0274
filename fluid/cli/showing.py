"""How answers look: tables and JSON on stdout, notes to a person on stderr."""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

STYLES = {
    "dead": "red",
    "failure": "red",
    "held": "yellow",
    "aborted": "yellow",
    "running": "cyan",
    "success": "green",
    "fine": "green",
    "warning": "yellow",
    "broken": "red",
}
"""Where a state, or the mark of a finding, is shown, its colour."""

READER_SECONDS = 0.5
"""How long a remark waits for room in the pipe that it is for."""

Cell = str | int | float | None


def show_json(value: Any) -> None:
    """One JSON value and nothing else, on one line unless a person reads it."""
    indent = 2 if sys.stdout.isatty() else None
    print(json.dumps(value, indent=indent, ensure_ascii=False, default=str), flush=True)


def show_table(
    headers: Sequence[str], rows: Sequence[Sequence[Cell]], *, numbers: Sequence[str] = ()
) -> None:
    """Aligned columns; `numbers` names those that are aligned to the right."""
    lines = [[_text(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headers, *lines, strict=True)]
    aligned = [str.rjust if header in numbers else str.ljust for header in headers]
    for number, line in enumerate([list(headers), *lines]):
        cells = zip(line, widths, aligned, strict=True)
        _print(
            Text("  ").join(
                Text(align(cell, width), style=STYLES.get(cell, "") if number else "bold")
                for cell, width, align in cells
            )
        )


def show_row(cells: Sequence[str], widths: Sequence[int]) -> None:
    """One row of a table that has no end, with columns of these widths, wider where they must be."""
    padded = (
        Text(cell.ljust(width), style=STYLES.get(cell, "")) for cell, width in zip(cells, widths, strict=True)
    )
    _print(Text("  ").join(padded))


def show_facts(facts: Mapping[str, Cell]) -> None:
    """A line for each fact that there is; one of several lines follows its name, indented."""
    given = {name: text for name, fact in facts.items() if (text := _text(fact))}
    width = max(map(len, given), default=0)
    for name, text in given.items():
        first, *rest = ["", *text.splitlines()] if "\n" in text else [text]
        _print(Text.assemble((name.ljust(width), "bold"), "  ", (first, STYLES.get(first, ""))), cut=False)
        for line in rest:
            _print(Text(f"  {line}"), cut=False)


def show_line(text: str = "") -> None:
    """One line of an answer."""
    print(text, flush=True)


def remark(text: str, stream: TextIO) -> None:
    """One line about what goes on whether or not it is read: no reader, or a stuck one, holds it up."""
    try:
        if select.select([], [stream], [], READER_SECONDS)[1]:
            print(text, file=stream, flush=True)
    except OSError:
        # nobody reads it any more; what it holds back must not fail once more when the process ends
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())


def note(text: str) -> None:
    """A line for a person only: nothing is said where nobody looks."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)


def aside(text: str) -> None:
    """A line beside the answer, for whoever reads it: on stderr, also where no person looks."""
    print(text, file=sys.stderr, flush=True)


def complain(text: str) -> None:
    """What went wrong, on stderr."""
    print(f"Error: {text}", file=sys.stderr, flush=True)


def span(seconds: float | None) -> str:
    """A duration in words, two units at most."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{seconds * 1000:.{0 if seconds >= 0.01 else 1}f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, left = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {left} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"


def moment(instant: datetime | None) -> str:
    """An instant in the time of this machine, to the second."""
    return "" if instant is None else instant.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _text(cell: Cell) -> str:
    if cell is None:
        return ""
    return f"{cell:,}" if isinstance(cell, int) and not isinstance(cell, bool) else str(cell)


def _print(line: Text, *, cut: bool = True) -> None:
    """A line, cut to fit a terminal; what is no terminal gets all of it. rich keeps to NO_COLOR."""
    cut = cut and sys.stdout.isatty()
    line.rstrip()
    _console().print(line, no_wrap=cut, overflow="ellipsis" if cut else None, soft_wrap=not cut)


@lru_cache
def _console() -> Console:
    return Console(highlight=False)
