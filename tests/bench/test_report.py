"""What the tables say of figures that are known."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.bench.__main__ import in_turn
from tests.bench.contenders import BARE, EVERYTHING, Contender, ours, peers
from tests.bench.measuring import Figures
from tests.bench.report import BEGIN, END, tables, write_into
from tests.bench.results import Results, Row
from tests.bench.targets import verdicts

FIGURES = Figures(
    runs=1000,
    measured=900,
    drain_rate=1000.0,
    worker_cpu=0.05,
    server_cpu=0.01,
    commands=2.9,
    round_trips=0.06,
    memory=50.0,
    other_load=0.1,
    queue_rate=5000.0,
    bulk_rate=None,
    latency_half=1.0,
    latency_most=1.5,
)


def row(name: str, *rates: float, results: bool = True, **figures: Any) -> Row:
    return Row(name, results, rounds=[replace(FIGURES, drain_rate=rate, **figures) for rate in rates])


def results(*rows: Row) -> Results:
    return Results("2026-01-02", "a machine", "3.11.7", "Redis 7", 3, 1.0, {"slow": ["slow==1"]}, list(rows))


def said(told: Results, what: str) -> str:
    return next(f"{one.measured} {one.verdict}" for one in verdicts(told) if one.what.startswith(what))


def test_the_fastest_peer_is_that_of_its_kind() -> None:
    told = results(row(EVERYTHING, 9.0), row("kept", 2.0), row("quick", 3.0, results=False))
    found = [told.fastest("drain_rate", results=kind) for kind in (True, False, None)]
    assert [peer.name if peer else "" for peer in found] == ["kept", "quick", "quick"]


def test_a_figure_that_no_peer_has_is_raced_against_nobody() -> None:
    assert results(row(EVERYTHING, 9.0), row("peer", 2.0)).fastest("bulk_rate") is None


@pytest.mark.parametrize(("rate", "verdict"), [(12_000.0, "reached"), (11_999.0, "**short**")])
def test_a_target_is_a_multiple_of_the_median_of_the_fastest_peer(rate: float, verdict: str) -> None:
    told = results(row(EVERYTHING, 1.0, rate, 50_000.0), row("a", 2000.0, 1.0, 9000.0), row("b", 1999.0))
    line = said(told, "drain, everything on, against the fastest that stores results")
    assert line.endswith(verdict)
    assert "of a" in line


def test_latency_is_a_race_for_the_least() -> None:
    told = results(row(EVERYTHING, 1.0, latency_half=0.6), row("a", 1.0), row("b", 1.0, latency_half=9.0))
    assert said(told, "queue call to first line of body, idle consumer, p50").endswith("reached")


def test_what_was_not_measured_is_not_called_reached() -> None:
    told = [one for one in verdicts(results(row(BARE, 1.0))) if one.verdict]
    assert told == []


def test_the_cost_of_watching_is_what_it_adds_to_the_parts_before() -> None:
    told = results(row(EVERYTHING, 1.0))
    told.parts = [
        row(str(step), 1.0, worker_cpu=cost) for step, cost in enumerate((0.05, 0.052, 0.059, 0.06, 0.09))
    ]
    assert said(told, "metrics per run") == "2.0 us reached"
    assert said(told, "two log lines per run") == "7.0 us **short**"
    assert said(told, "recorded trace per run") == "31.0 us reached"


def test_a_cost_below_nothing_is_no_target_that_was_reached() -> None:
    told = results(row(EVERYTHING, 1.0))
    told.parts = [
        row(str(step), 1.0, worker_cpu=cost) for step, cost in enumerate((0.05, 0.052, 0.059, 0.05, 0.09))
    ]
    assert said(told, "unsampled trace per run") == "-9.0 us **lost in noise**"


@pytest.mark.parametrize(("rate", "verdict"), [(0.89, False), (0.91, True), (1.09, True), (1.27, False)])
def test_a_long_backlog_that_is_drained_faster_by_more_than_a_tenth_is_not_within_it(
    rate: float, verdict: bool
) -> None:
    told = results(row(EVERYTHING, 1.0))
    told.backlog = [row("short", 1000.0), row("long", 1000.0 * rate)]
    line = said(told, "drain rate with a long backlog against a short one")
    assert line.endswith("reached") is verdict


def test_a_row_says_median_and_spread_and_why_there_is_none() -> None:
    faulty = Row("broken", True, fault="it does not start\nat all")
    text = tables(results(row(EVERYTHING, 3000.0, 1000.0, 2000.0), faulty))
    assert "2,000 (1,000 to 3,000)" in text
    assert "broken was left out: it does not start\n" in text


def test_only_what_is_between_the_marks_is_written_anew(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"above\n{BEGIN}\nthe tables of last time\n{END}\nbelow\n")
    write_into(page, results(row(EVERYTHING, 1.0)))
    text = page.read_text()
    assert text.startswith(f"above\n{BEGIN}\n")
    assert text.endswith(f"{END}\nbelow\n")
    assert "last time" not in text
    assert "2026-01-02" in text


def test_a_page_without_marks_is_left_as_it_is(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("no marks")
    with pytest.raises(SystemExit, match="no <!-- measured -->"):
        write_into(page, results())
    assert page.read_text() == "no marks"


def test_figures_come_back_from_json(tmp_path: Path) -> None:
    told = results(row(EVERYTHING, 1.0, 2.0))
    told.write(tmp_path / "figures.json")
    assert Results.read(tmp_path / "figures.json") == told


@pytest.mark.parametrize("others", [0, 1, 2, 5])
def test_a_round_alternates_with_ours_and_has_everyone(others: int) -> None:
    some = peers()[:others]
    for number in range(3):
        order = list(in_turn(some, number))
        names = {contender.name for contender in order}
        assert names == {EVERYTHING, BARE} | {peer.name for peer in some}
        assert not any(before.name == after.name for before, after in pairwise(order))
        assert sum(contender.is_ours for contender in order) == max(2, others)


def test_every_peer_is_pinned_and_has_a_room() -> None:
    rooms = Path(__file__).with_name("peers")
    for peer in peers():
        assert all("==" in requirement for requirement in peer.requirements), peer
        assert (rooms / f"{peer.room}.py").exists(), peer
        assert peer.differs


def test_ours_runs_where_this_runs() -> None:
    assert all(contender.is_ours for contender in ours())
    assert isinstance(ours()[0], Contender)
