"""`python -m tests.bench`: this project and its peers, in rounds, on a server of their own.

Writes all figures as JSON and, with `--report`, the tables between the marks of a page.
"""

from __future__ import annotations

import argparse
import fcntl
import platform
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

from fluid.clock import elapsed, now
from tests.bench import machine
from tests.bench import ours as alone
from tests.bench.contenders import Contender, ours, peers
from tests.bench.environments import CACHE, copy_rooms, python_of
from tests.bench.measuring import Figures, measure
from tests.bench.processes import BenchError
from tests.bench.report import write_into
from tests.bench.results import Results, Row
from tests.support.servers import RedisServer


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of runs")
    parser.add_argument("--peers", default="all", help="names with commas between, `all` or `none`")
    parser.add_argument(
        "--alone",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="also what is measured of this project alone",
    )
    parser.add_argument("--backlog", type=int, default=1_000_000, help="runs in the longer backlog")
    parser.add_argument(
        "--memory",
        type=int,
        default=0,
        metavar="RUNS",
        help="also the memory of a consumer over so many runs",
    )
    parser.add_argument("--json", type=Path, default=CACHE / "performance.json")
    parser.add_argument("--report", type=Path, help="the page whose tables are written anew")
    parser.add_argument("--from", type=Path, dest="known", help="measure nothing, read this JSON")
    given = parser.parse_args()
    if given.report and not given.report.is_file():
        parser.error(f"there is no page {given.report} to write tables into")  # now, and not in half an hour
    return given


def say(line: str) -> None:
    """Tell on the way how far it has come."""
    sys.stderr.write(line + "\n")


def told_of(name: str, figures: Figures) -> str:
    """What is most worth knowing of one round."""
    return (
        f"{name}: {figures.drain_rate:,.0f} runs/s, {1000 * figures.worker_cpu:,.0f} us of CPU a run, "
        f"other load {figures.other_load:.2f}, {figures.measured:,} runs measured"
    )


@contextmanager
def only_one() -> Iterator[None]:
    """Two that measure at once would measure each other, and both make environments."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def chosen_peers(words: str) -> list[Contender]:
    """The peers that were asked for."""
    known = {peer.name: peer for peer in peers()}
    if words in ("all", "none"):
        return list(known.values()) if words == "all" else []
    unknown = set(words.split(",")) - set(known)
    if unknown:
        raise SystemExit(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return [known[word] for word in words.split(",")]


def in_turn(others: list[Contender], number: int) -> Iterator[Contender]:
    """One of ours before each of the others, another one every time; each round begins elsewhere."""
    mine = cycle(ours() if number % 2 == 0 else reversed(ours()))
    begin = number * len(others) // 3 % max(1, len(others))
    for other in others[begin:] + others[:begin]:
        yield next(mine)
        yield other
    if len(others) < len(ours()):
        yield from (next(mine) for _ in range(len(ours()) - len(others)))


def compare(
    results: Results, others: list[Contender], server: RedisServer, given: argparse.Namespace
) -> None:
    """The rounds in which all are measured beside each other."""
    rows = {row.name: row for row in results.rows}
    for number in range(given.rounds):
        for contender in in_turn(others, number):
            row = rows[contender.name]
            if row.fault:
                continue
            began = elapsed()
            try:
                row.rounds.append(measure(contender, server, scale=given.scale))
            except BenchError as error:
                row.fault = str(error)
                say(f"{contender.name}: {error}")
                continue
            took = elapsed() - began
            say(f"round {number + 1}: {told_of(contender.name, row.rounds[-1])} ({took:.0f} s)")
            results.write(given.json)


def measure_alone(results: Results, server: RedisServer, given: argparse.Namespace) -> None:
    """The tables that have only this project in them."""
    runs = round(20_000 * given.scale)
    for number in range(given.rounds):
        _add(results.parts, alone.with_parts(server, runs), f"round {number + 1}")
        _add(results.scaling, alone.with_processes(server, 2 * runs), f"round {number + 1}")
        _add(results.backlog, alone.with_backlog(server, runs, given.backlog), f"round {number + 1}")
        results.write(given.json)
    results.events = alone.microseconds_of_events()


def _add(rows: list[Row], measured: alone.Measured, when: str) -> None:
    for name, figures in measured:
        row = next((row for row in rows if row.name == name), None)
        if row is None:
            rows.append(row := Row(name, results=True))
        row.rounds.append(figures)
        say(f"{when}: {told_of(name, figures)}")


def versions(contenders: Iterable[Contender]) -> dict[str, list[str]]:
    """What is pinned, for the environments that are used."""
    return {one.environment: list(one.requirements) for one in contenders if not one.is_ours}


def main() -> None:
    """Measure, or read what was measured; then write the page."""
    given = arguments()
    # told to end, it takes along what it has started
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
    if given.known:
        results = Results.read(given.known)
    else:
        with only_one():
            results = take(given)
    if given.report:
        write_into(given.report, results)


def take(given: argparse.Namespace) -> Results:
    """Measure everything that was asked for."""
    others = chosen_peers(given.peers)
    copy_rooms()
    for contender in others:
        python_of(contender)
    with RedisServer("redis") as server, server.client() as client:
        results = Results(
            date=f"{now():%Y-%m-%d}",
            machine=machine.about(),
            python=platform.python_version(),
            server=f"Redis {client.info('server')['redis_version']}",
            rounds=given.rounds,
            scale=given.scale,
            versions=versions(others),
            rows=[Row(one.name, one.results, one.differs) for one in [*ours(), *others]],
        )
        compare(results, others, server, given)
        if given.alone:
            measure_alone(results, server, given)
        if given.memory:
            results.memory = alone.memory_over(server, given.memory)
    results.write(given.json)
    return results


if __name__ == "__main__":
    main()
