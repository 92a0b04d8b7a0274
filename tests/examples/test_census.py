"""The census as a service: it measures, fails where files do, reports that, keeps its books, and stops."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from fluid.scheduler import Snapshot, TaskManager, TaskState
from tests.support.processes import ROOT, PythonProcess
from tests.support.waiting import poll

SMALL = ROOT / "examples" / "hello.py"
UNPARSED = "print 'this was Python once'\n"
BIG_LINES = 5_000


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A directory with a small file, a big one, and one that is no Python any more."""
    directory = tmp_path / "sources"
    directory.mkdir()
    (directory / "small.py").write_bytes(SMALL.read_bytes())
    (directory / "big.py").write_text("number = 1 + 2\n" * BIG_LINES, encoding="utf-8")
    (directory / "broken.py").write_text(UNPARSED, encoding="utf-8")
    (directory / "letter.txt").write_text("not for the census", encoding="utf-8")
    return directory


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """Where failures are reported."""
    return tmp_path / "report.txt"


@asynccontextmanager
async def census(
    *arguments: Path | str, report: Path, private: Mapping[str, str]
) -> AsyncIterator[PythonProcess]:
    """The example service, with a broker of its own, claiming."""
    env = {**private, "CENSUS_REPORT": str(report)}
    output = report.with_suffix(".out")
    async with PythonProcess("-m", "examples.census", *arguments, output=output, env=env) as process:
        await process.wait_for_line("what cannot be measured is written to")
        yield process


@asynccontextmanager
async def asking(private: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TaskManager]:
    """A manager that asks the queue of that service."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", private["XDG_RUNTIME_DIR"])
    monkeypatch.chdir(ROOT)
    async with TaskManager(broker_url="embedded://") as manager:
        yield manager


async def ended(manager: TaskManager, *, successes: int, failures: int) -> Snapshot:
    """The queue, once so many runs have ended."""
    return await poll(
        manager.broker.snapshot,
        lambda seen: seen.books.success >= successes and seen.books.failure >= failures,
        f"{successes} successes and {failures} failures",
    )


async def test_it_measures_reports_and_stops(
    sources: Path, report: Path, private: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with census(sources, report=report, private=private) as process:
        url = (await process.wait_for_line(r"^telemetry +(http://\S+)"))[1]
        async with asking(private, monkeypatch) as manager:
            # the scan, the small file and the big one; and the broken one
            assert balanced(await ended(manager, successes=3, failures=1))
            (failed,) = await manager.list_runs(TaskState.failure, task="measure", limit=1)
            assert failed.error.startswith("SyntaxError")
        expected = [
            *((name, "success") for name in ("scan", "measure", "measure_big")),
            ("measure", "failure"),
        ]
        counted = await poll(
            lambda: ends_at(url), lambda ends: all(ends[one] for one in expected), "metrics of each end"
        )
        assert set(expected) <= set(counted)
        process.terminate()
        assert await process.wait() == 0
    written = text_of(report)
    assert str(sources / "broken.py") in written
    assert "SyntaxError" in written
    assert "small.py" not in written


@pytest.mark.slow
async def test_the_standard_library_has_files_that_parse_and_files_that_do_not(
    report: Path, private: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with census(report=report, private=private) as process:
        async with asking(private, monkeypatch) as manager:
            snapshot = await ended(manager, successes=100, failures=1)
            assert balanced(snapshot)
        process.interrupt()
        assert await process.wait() == 0
    assert "SyntaxError" in text_of(report)


def text_of(report: Path) -> str:
    """What was reported."""
    return report.read_text(encoding="utf-8")


def balanced(seen: Snapshot) -> bool:
    """Every run that was accepted is somewhere."""
    books = seen.books
    over = books.success + books.failure + books.aborted
    still_there = seen.ready + seen.running + seen.scheduled + seen.held + seen.dead
    return books.accepted == over + still_there and books.unaccounted == 0


async def ends_at(url: str) -> Mapping[tuple[str, str], float]:
    """How many runs have ended by the metrics served there, by task and state."""
    async with aiohttp.ClientSession() as http, http.get(f"{url}/metrics") as response:
        text = await response.text()
    return {
        (sample.labels["task"], sample.labels["state"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "fluid_runs_ended_total"
    }
