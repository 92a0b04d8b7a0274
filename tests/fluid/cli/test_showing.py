"""How answers look."""

from __future__ import annotations

import pytest

from fluid.cli.showing import show_facts, show_table, span

SPANS = {
    0.0: "0.0 ms",
    0.0004: "0.4 ms",
    0.35: "350 ms",
    12.34: "12.3 s",
    99: "1 min 39 s",
    3_725: "1 h 2 min",
    100_000: "1 d 3 h",
}


@pytest.mark.parametrize("seconds", SPANS)
def test_a_duration_has_two_units_at_most(seconds: float) -> None:
    assert span(seconds) == SPANS[seconds]


def test_columns_are_aligned_and_numbers_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(("task", "runs", "error"), [("add", 1_234, "[bold]"), ("x", 5, None)], numbers=("runs",))
    assert capsys.readouterr().out.splitlines() == [
        "task   runs  error",
        "add   1,234  [bold]",
        "x         5",
    ]


def test_what_is_no_terminal_gets_long_lines_whole_and_no_colours(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(("state", "error"), [("dead", "e" * 500)])
    assert capsys.readouterr().out.splitlines()[1] == f"dead   {'e' * 500}"


def test_facts_that_are_not_there_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    show_facts({"run": "a", "reason": "", "attempt": 0, "end": None, "traceback": "one\n  two\n"})
    assert capsys.readouterr().out.splitlines() == [
        "run        a",
        "attempt    0",
        "traceback",
        "  one",
        "    two",
    ]
