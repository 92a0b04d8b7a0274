"""The ledger holds what was written, from any process, whole and in order."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.ledger import Ledger
from tests.support.processes import PythonProcess

WRITER = """
import sys
from pathlib import Path
from tests.support.ledger import Ledger

ledger = Ledger(Path(sys.argv[1]))
for number in range(300):
    ledger.write(f"{sys.argv[2]}-{number}", "pick", "done", attempt=number)
"""


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


def test_a_ledger_starts_empty(ledger: Ledger) -> None:
    assert ledger.entries() == []
    assert not ledger.counts()


def test_an_entry_says_who_did_what(ledger: Ledger) -> None:
    ledger.write("r1", "pick", "started", attempt=2)
    ledger.write("r1", "pick", "done", attempt=2)
    started, done = ledger.entries()
    assert (started.run_id, started.task, started.what, started.attempt) == ("r1", "pick", "started", 2)
    assert started.pid == os.getpid()
    assert started.elapsed <= done.elapsed


def test_entries_are_counted_and_duplicates_found(ledger: Ledger) -> None:
    for run_id, what in [("r1", "done"), ("r2", "done"), ("r1", "done"), ("r3", "failed"), ("r2", "started")]:
        ledger.write(run_id, "pick", what)
    assert ledger.counts() == {"done": 3, "failed": 1, "started": 1}
    assert ledger.duplicates("done") == {"r1": 2}
    assert ledger.duplicates("started") == {}
    assert [entry.run_id for entry in ledger.entries("done")] == ["r1", "r2", "r1"]


async def test_entries_of_several_processes_stay_whole(ledger: Ledger, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        for name in ("a", "b", "c"):
            writer = PythonProcess("-c", WRITER, ledger.path, name, output=tmp_path / name)
            await stack.enter_async_context(writer)
        entries = await ledger.wait_for(900, what="done")
    assert len({entry.run_id for entry in entries}) == 900
    assert len({entry.pid for entry in entries}) == 3
    for name in ("a", "b", "c"):
        own = [entry.attempt for entry in entries if entry.run_id.startswith(name)]
        assert own == list(range(300))
