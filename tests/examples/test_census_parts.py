"""What the census is made of: which files it takes, what it measures of one, what it writes of failures."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from examples.census import report
from examples.census.measuring import Measurement, measure_file
from examples.census.report import FailureReport
from examples.census.sources import Source, cross_section, find_sources
from examples.census.tasks import SourceFile
from fluid.scheduler import Event, TaskRun

STRAIGHT = "import os\nprint(os)\n"
CHAIN = "if a:\n    b\nelif c:\n    d\nelif e:\n    f\nelse:\n    g\n"
DEEP = """
class Outer:
    async def method(self):
        try:
            for one in self:
                match one:
                    case 1:
                        return one
        except OSError:
            def inner(): pass
"""


@pytest.mark.parametrize(
    ("text", "measured"),
    [
        ("", Measurement(lines=0, functions=0, classes=0, deepest=0)),
        (STRAIGHT, Measurement(lines=2, functions=0, classes=0, deepest=0)),
        (CHAIN, Measurement(lines=8, functions=0, classes=0, deepest=1)),
        (DEEP, Measurement(lines=10, functions=2, classes=1, deepest=5)),
    ],
    ids=["empty", "straight", "chain", "deep"],
)
def test_a_file_is_measured(text: str, measured: Measurement, tmp_path: Path) -> None:
    path = tmp_path / "some.py"
    path.write_text(text, encoding="utf-8")
    assert measure_file(path) == measured


def test_what_is_no_python_raises_what_python_says(tmp_path: Path) -> None:
    path = tmp_path / "old.py"
    path.write_text("print 'hello'\n", encoding="utf-8")
    with pytest.raises(SyntaxError, match=r"old\.py"):
        measure_file(path)


def test_sources_are_found_below_all_roots_but_not_in_what_belongs_to_others(tmp_path: Path) -> None:
    for name in ("a/one.py", "a/site-packages/two.py", "a/__pycache__/three.py", "b/four.pyx", "b/five.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n", encoding="utf-8")
    found = find_sources([tmp_path / "b", tmp_path / "a"])
    assert found == [Source(tmp_path / "a" / "one.py", 6), Source(tmp_path / "b" / "four.pyx", 6)]


def test_a_root_that_is_no_directory_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="nowhere"):
        find_sources([tmp_path / "nowhere"])


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 25])
def test_all_sources_come_round_and_never_too_many_at_once(count: int) -> None:
    sources = [Source(Path(f"{number}.py"), 0) for number in range(count)]
    turns = [cross_section(sources, turn, most=10) for turn in range(3)]
    assert all(len(chosen) <= 10 for chosen in turns)
    assert set(itertools.chain(*turns)) == set(sources)


def failed(path: str) -> Event:
    """The end of a run that could not measure a file."""
    run = TaskRun(id=f"id-of-{path}", name="measure", params=SourceFile(path), error="SyntaxError: no")
    return Event(name="failure", run=run)


def names_in(directory: Path) -> list[str]:
    """What is in a directory."""
    return sorted(path.name for path in directory.iterdir())


async def test_a_report_tells_each_file_once_with_how_often_it_failed(tmp_path: Path) -> None:
    written = FailureReport(tmp_path / "report.txt")
    for path in ("a.py", "b.py", "a.py"):
        await written.add(failed(path))
    text = written.path.read_text(encoding="utf-8")
    assert "could not measure 2 files" in text
    assert "failed 2 times" in text
    assert text.index("a.py") < text.index("b.py"), "the newest comes first"
    assert "fluid runs show id-of-b.py" in text
    assert names_in(tmp_path) == ["report.txt"]


async def test_a_report_forgets_the_oldest_when_there_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MOST_SUBJECTS", 2)
    written = FailureReport(tmp_path / "report.txt")
    for path in ("a.py", "b.py", "c.py"):
        await written.add(failed(path))
    text = written.path.read_text(encoding="utf-8")
    assert "a.py" not in text
    assert "b.py" in text
    assert "c.py" in text
