"""What is aimed at, and whether it was reached."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tests.bench.contenders import BARE, EVERYTHING
from tests.bench.results import Results

UNKNOWN = "not measured"
NOISE = "**lost in noise**"

MOST_MEBIBYTES = 80


class Verdict(NamedTuple):
    """A target beside what was measured."""

    what: str
    target: str
    measured: str
    verdict: str


def _judged(what: str, target: str, measured: str, reached: bool) -> Verdict:
    return Verdict(what, target, measured, "reached" if reached else "**short**")


def _unknown(what: str, target: str) -> Verdict:
    return Verdict(what, target, UNKNOWN, "")


def verdicts(results: Results) -> Iterator[Verdict]:
    """Every target, in the order in which they matter."""
    yield from _against_peers(results)
    yield from _of_one_consumer(results)
    yield from _of_watching(results)
    yield from _of_many(results)
    yield _memory(results)


class _Race(NamedTuple):
    """A figure of ours as a multiple of the best peer's."""

    what: str
    ours: str
    figure: str
    times: float
    results: bool | None = None
    least: bool = False


RACES = (
    _Race("drain, everything on, against the fastest that stores results", EVERYTHING, "drain_rate", 6, True),
    _Race("the same, against the fastest that stores none", EVERYTHING, "drain_rate", 4, False),
    _Race("drain, telemetry off, against the fastest that stores results", BARE, "drain_rate", 10, True),
    _Race("queueing one by one, 32 in flight", BARE, "queue_rate", 2),
    _Race("queue_many against the fastest bulk call", BARE, "bulk_rate", 3),
    _Race(
        "queue call to first line of body, idle consumer, p50", EVERYTHING, "latency_half", 0.6, least=True
    ),
)


def _against_peers(results: Results) -> Iterator[Verdict]:
    for race in RACES:
        target = f"{'<=' if race.least else '>='} {race.times:g} x"
        mine = results.row(race.ours)
        best = results.fastest(race.figure, results=race.results, least=race.least)
        if mine is None or best is None:
            yield _unknown(race.what, target)
            continue
        have, theirs = mine.half(race.figure) or 0.0, best.half(race.figure) or 1.0
        ratio = have / theirs
        form = ",.2f" if race.least else ",.0f"
        told = f"{ratio:.2f} x: {have:{form}} against {theirs:{form}} of {best.name}"
        yield _judged(race.what, target, told, ratio <= race.times if race.least else ratio >= race.times)


def _of_one_consumer(results: Results) -> Iterator[Verdict]:
    limits = (
        ("queue call to first line of body, p99", "latency_most", 2.0, "ms"),
        ("worker CPU per 1,000 runs, everything on", "worker_cpu", 0.065, "s"),
        ("Redis commands per run at load", "commands", 3.0, ""),
        ("round trips per run at load", "round_trips", 0.1, ""),
    )
    row = results.row(EVERYTHING)
    for what, figure, most, unit in limits:
        target = f"<= {most:g} {unit}".rstrip()
        have = row.half(figure) if row else None
        if have is None:
            yield _unknown(what, target)
        else:
            yield _judged(what, target, f"{have:.3f} {unit}".rstrip(), have <= most)


def _of_watching(results: Results) -> Iterator[Verdict]:
    what = "events of a run, told to a sync handler"
    if not results.parts:
        yield _unknown(what, "<= 1 us")
        return
    yield _judged(what, "<= 1 us", f"{results.events:.2f} us", results.events <= 1)
    cost = {row.name: 1000 * (row.half("worker_cpu") or 0.0) for row in results.parts}
    off, metrics, logs, unsampled, recorded = cost.values()
    for what, most, have in (
        ("metrics per run", 3, metrics - off),
        ("two log lines per run", 6, logs - metrics),
        ("unsampled trace per run", 3, unsampled - logs),
        ("recorded trace per run", 40, recorded - logs),
    ):
        target, told = f"<= {most} us", f"{have:.1f} us"
        # less than nothing is what the machine did meanwhile
        yield _judged(what, target, told, have <= most) if have >= 0 else Verdict(what, target, told, NOISE)


def _of_many(results: Results) -> Iterator[Verdict]:
    rates = {row.name: row.half("drain_rate") or 0.0 for row in results.scaling}
    for processes, least in ((2, 1.0), (4, 1.0)):
        what, target = f"drain of {processes} processes", "more than one, until Redis is the limit"
        one, many = rates.get(f"{EVERYTHING}: 1"), rates.get(f"{EVERYTHING}: {processes}")
        if not one or not many:
            yield _unknown(what, target)
        else:
            yield _judged(what, target, f"{many / one:.2f} x", many / one >= least)
    what, target = "drain rate with a long backlog against a short one", "within 10 %"
    if len(results.backlog) < 2:
        yield _unknown(what, target)
    else:
        short, long = (row.half("drain_rate") or 1.0 for row in results.backlog)
        yield _judged(what, target, f"{long / short - 1:+.0%}", 0.9 <= long / short <= 1.1)


def _memory(results: Results) -> Verdict:
    what, target = "memory of a consumer after a million runs", f"flat, <= {MOST_MEBIBYTES} MiB"
    if not results.memory:
        return _unknown(what, target)
    sizes = list(results.memory.values())
    flat = sizes[-1] <= sizes[1] * 1.02
    return _judged(
        what, target, f"{sizes[0]:.1f}, then {sizes[-1]:.1f} MiB", flat and sizes[-1] <= MOST_MEBIBYTES
    )
