"""What is measured of this project alone: what watching costs, several processes, backlogs, memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from fluid.clock import elapsed
from fluid.scheduler.announcing import Announcer
from fluid.scheduler.run import TaskRun
from fluid.scheduler.states import TaskState
from tests.bench import machine
from tests.bench.contenders import BARE, EVERYTHING, ours
from tests.bench.measuring import SAMPLED, Figures, drain
from tests.bench.processes import Scene, scene
from tests.bench.watching import watched
from tests.support.servers import RedisServer

Measured = Iterator[tuple[str, Figures]]
"""The rows of a table, one after the other, each measured once."""

PARTS = {
    "off": ("", SAMPLED),
    "metrics": ("metrics", SAMPLED),
    "metrics, logs": ("metrics+logs", SAMPLED),
    "metrics, logs, unsampled traces": ("metrics+logs+traces", 0.0),
    "metrics, logs, recorded traces": ("metrics+logs+traces", 1.0),
}
"""What is on, and the part of traces that is recorded."""

SHORT = 1000
"""Runs left behind those that are drained, for a queue that is nearly empty."""

EVENTS = ("start", "end", "success")
"""What a consumer tells of a run that ends well."""


def with_parts(server: RedisServer, runs: int) -> Measured:
    """One part of telemetry more from row to row."""
    for name, (mode, sampled) in PARTS.items():
        contender = replace(ours()[0], name=name, mode=mode)
        with watched(mode, sampled) as settings, scene(contender, server, settings) as stage:
            stage.queue("queue_many", runs)
            yield name, drain(stage, runs)[0]


def with_processes(server: RedisServer, runs: int) -> Measured:
    """One, two and four processes, with everything on and with telemetry off."""
    for name in (EVERYTHING, BARE):
        for processes in (1, 2, 4):
            with _bench(name, server) as stage:
                stage.queue("queue_many", runs)
                yield f"{name}: {processes}", drain(stage, runs, processes)[0]


def with_backlog(server: RedisServer, runs: int, backlog: int) -> Measured:
    """The same number of runs, with little and with much behind them."""
    for behind in (SHORT, backlog):
        with _bench(EVERYTHING, server) as stage:
            stage.queue("queue_many", runs + behind)
            yield f"{behind:,} behind", drain(stage, runs)[0]


def memory_over(server: RedisServer, runs: int) -> dict[str, float]:
    """MiB of a consumer with everything on, after a tenth of so many runs, and after more of them."""
    told: dict[str, float] = {}
    with _bench(EVERYTHING, server) as stage, stage.working() as worker:
        for tenth in range(1, 11):
            stage.queue("queue_many", runs // 10)
            worker.until(tenth * (runs // 10))
            if tenth in (1, 5, 10):
                told[f"{tenth * (runs // 10):,}"] = machine.resident_mebibytes(worker.pids)
    return told


def microseconds_of_events(times: int = 20_000) -> float:
    """What it takes to tell the events of a run to one sync handler each; the least of several passes."""
    announcer = Announcer(stopping_grace_period=1.0)
    run: TaskRun = TaskRun(id="run", name="nothing", params={}, state=TaskState.success)
    for name in EVENTS:
        announcer.dispatcher.register_handler(f"{name}.bench", lambda event: None)
    passes = []
    for _ in range(5):
        began = elapsed()
        for _ in range(times):
            announcer.started(run, waited=0.0, dispatched=0.0)
            announcer.ended(run, ran=0.0, latency=0.0)
        passes.append(elapsed() - began)
    return 1e6 * min(passes) / times


@contextmanager
def _bench(name: str, server: RedisServer) -> Iterator[Scene]:
    """One of our rows, watched as it has to be."""
    contender = next(one for one in ours() if one.name == name)
    with watched(contender.mode, SAMPLED) as settings, scene(contender, server, settings) as stage:
        yield stage
