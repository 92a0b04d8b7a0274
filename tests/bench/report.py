"""The page of figures: tables that are written, never typed, between two marks of `docs/performance.md`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from tests.bench.contenders import BARE, EVERYTHING
from tests.bench.results import Results, Row, Spread
from tests.bench.targets import verdicts

BEGIN, END = "<!-- measured -->", "<!-- /measured -->"


def write_into(page: Path, results: Results) -> None:
    """Put the tables where the page has its marks."""
    put(page, BEGIN, END, tables(results))


def put(page: Path, begin: str, end: str, tables: str) -> None:
    """Put tables between two marks of the page, in the place of those that are there."""
    text = page.read_text(encoding="utf-8")
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{page} has no {begin} ... {end}, so the tables cannot be put there")
    page.write_text(f"{before}{begin}\n\n{tables}\n{end}{after}", encoding="utf-8")


def tables(results: Results) -> str:
    """All that was measured, in Markdown."""
    parts = [_about(results), _targets(results), _peers(results), _peers_more(results), _remarks(results)]
    if results.parts:
        parts += [_costs(results), _scaling(results), _backlog(results)]
    if results.memory:
        parts.append(_memory(results))
    return "\n".join(parts)


def _about(results: Results) -> str:
    busy = [one.other_load for row in results.rows for one in row.rounds]
    load = Spread.of(busy) or Spread(0, 0, 0)
    pinned = "; ".join(", ".join(names) for names in results.versions.values())
    return (
        f"Measured on {results.date}: {results.machine}; Python {results.python}, {results.server} without "
        f"persistence on loopback, uvloop; {results.rounds} rounds"
        + (f" at {results.scale:g} of the full number of runs" if results.scale != 1 else "")
        + f". While draining, whatever else ran on the machine took {load.half:.2f} processors "
        f"({load.least:.2f} to {load.most:.2f}).\n\nPeers: {pinned}.\n"
    )


def _targets(results: Results) -> str:
    rows = [(one.what, one.target, one.measured, one.verdict) for one in verdicts(results)]
    return "### Targets\n\n" + table(("what", "target", "measured", ""), rows)


def _peers(results: Results) -> str:
    head = (
        "",
        "rounds",
        "runs",
        "stores results",
        "drain, runs/s",
        "worker CPU, s per 1,000",
        "queueing one by one, runs/s",
        "bulk call, runs/s",
    )
    lines = [
        (
            row.name,
            str(len(row.rounds)),
            f"{row.rounds[0].runs:,}",
            "yes" if row.results else "no",
            _shown(row, "drain_rate", ",.0f"),
            _shown(row, "worker_cpu", ".3f"),
            _shown(row, "queue_rate", ",.0f"),
            _shown(row, "bulk_rate", ",.0f"),
        )
        for row in _measured(results.rows)
    ]
    return "### Beside each other: median (least to most)\n\n" + table(head, lines)


def _peers_more(results: Results) -> str:
    head = (
        "",
        "queue to body p50, ms",
        "p99, ms",
        "commands a run",
        "round trips a run",
        "server CPU, s per 1,000",
        "memory, MiB",
    )
    lines = [
        (
            row.name,
            _shown(row, "latency_half", ".2f"),
            _shown(row, "latency_most", ".2f"),
            _shown(row, "commands", ".2f", spread=False),
            _shown(row, "round_trips", ".2f", spread=False),
            _shown(row, "server_cpu", ".3f", spread=False),
            _shown(row, "memory", ".0f", spread=False),
        )
        for row in _measured(results.rows)
    ]
    return table(head, lines)


def _remarks(results: Results) -> str:
    lines = [f"- {row.name}: {row.differs}." for row in results.rows if row.differs]
    lines += [f"- {row.name} was left out: {row.fault.splitlines()[0]}" for row in results.rows if row.fault]
    return "What is not as each library's defaults have it:\n\n" + "\n".join(lines) + "\n"


def _costs(results: Results) -> str:
    lines = [
        (
            row.name,
            _shown(row, "worker_cpu", ".1f", times=1000),
            "" if before is None else _difference(before, row),
            _shown(row, "drain_rate", ",.0f"),
        )
        for before, row in pairwise([None, *results.parts])
        if row is not None
    ]
    return (
        "### What watching costs\n\n"
        + table(("on", "worker CPU, us a run", "more than the row above", "drain, runs/s"), lines)
        + f"\nTelling the events of a run to one sync handler each takes {results.events:.1f} us.\n"
    )


def _difference(before: Row, row: Row) -> str:
    """Round by round, for what else the machine did was the same in both."""
    pairs = zip(before.rounds, row.rounds, strict=False)
    spread = Spread.of([1000 * (more.worker_cpu - less.worker_cpu) for less, more in pairs])
    return f"{spread.half:.1f} ({spread.least:.1f} to {spread.most:.1f})" if spread else ""


def _scaling(results: Results) -> str:
    lines = [
        (
            row.name,
            _shown(row, "drain_rate", ",.0f"),
            _shown(row, "server_cpu", ".3f"),
            _shown(row, "other_load", ".2f"),
        )
        for row in results.scaling
    ]
    head = ("processes", "drain, runs/s", "server CPU, s per 1,000", "other load")
    return "### Several processes\n\n" + table(head, lines)


def _backlog(results: Results) -> str:
    lines = [(row.name, _shown(row, "drain_rate", ",.0f")) for row in results.backlog]
    return "### Backlog\n\n" + table(("", "drain, runs/s"), lines)


def _memory(results: Results) -> str:
    lines = [(runs, f"{size:.1f}") for runs, size in results.memory.items()]
    return "### Memory of a consumer\n\n" + table(("after so many runs", "MiB"), lines)


def _measured(rows: Iterable[Row]) -> list[Row]:
    """Ours first, then the fastest."""
    able = [row for row in rows if row.rounds]
    return sorted(able, key=lambda row: (row.name not in (EVERYTHING, BARE), -(row.half("drain_rate") or 0)))


def _shown(row: Row, figure: str, form: str, *, times: float = 1, spread: bool = True) -> str:
    told = row.spread(figure)
    if told is None:
        return "-"
    half, least, most = (format(times * value, form) for value in told)
    return f"{half} ({least} to {most})" if spread else half


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """In Markdown."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"
