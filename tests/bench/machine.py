"""What the machine says of itself, and of the processes on it; Linux only."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
TICK = 1 / os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
BUSY = slice(0, 8)
IDLE = (3, 4)
"""Of the columns of `/proc/stat`: idle, and waiting for a disk."""


def about() -> str:
    """The machine in a line."""
    names = [
        line.partition(":")[2].strip()
        for line in (PROC / "cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    kind = names[0] if names else platform.machine()
    return f"{os.cpu_count()} x {kind}, {platform.system()} {platform.release().partition('-')[0]}"


def tree(pid: int) -> set[int]:
    """A process and all that it has started, and they have."""
    children: dict[int, list[int]] = {}
    for status in PROC.glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            # the name, in brackets, may hold anything
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(status.parent.name))
    found, left = set(), [pid]
    while left:
        found.add(one := left.pop())
        left += children.get(one, [])
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """What these processes have used, to the microsecond."""
    used = 0
    for pid in pids:
        for thread in (PROC / str(pid) / "task").glob("*/schedstat"):
            with suppress(FileNotFoundError, ProcessLookupError):
                used += int(thread.read_text().split()[0])
    return used / 1e9


def busy_seconds() -> float:
    """What all processors together have worked since the machine started."""
    columns = [int(word) for word in (PROC / "stat").read_text().split("\n", 1)[0].split()[1:]]
    return (sum(columns[BUSY]) - sum(columns[column] for column in IDLE)) * TICK


def resident_mebibytes(pids: Iterable[int]) -> float:
    """The memory that these processes have."""
    return sum(int((PROC / str(pid) / "statm").read_text().split()[1]) for pid in pids) * PAGE / 2**20
