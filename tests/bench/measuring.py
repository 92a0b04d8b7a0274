"""One contender, measured once."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

from redis import Redis

from fluid.clock import elapsed
from tests.bench import machine
from tests.bench.contenders import Contender
from tests.bench.processes import PATIENCE, BenchError, Scene, Working, scene
from tests.bench.watching import watched
from tests.support.servers import RedisServer

WARM_UP = 0.1
"""The part of the runs that is drained before anything is measured."""

LATENCIES = 200
COLD = 10
"""The first latencies, which are left out."""

SAMPLED = 0.01
"""The part of the traces that is recorded."""


@dataclass(frozen=True)
class Figures:
    """What one round says of a contender; what it cannot do is None."""

    runs: int
    measured: int
    """Of these, how many were drained while it was looked at."""
    drain_rate: float
    """Runs a second, from one body to another."""
    worker_cpu: float
    """Seconds of all its processes for 1,000 runs."""
    server_cpu: float
    """The server's seconds for 1,000 runs."""
    commands: float
    """Commands a run that the server has carried out, those inside of scripts too."""
    round_trips: float
    """How often a run the server has read from a socket."""
    memory: float
    """MiB of all its processes after the drain."""
    other_load: float
    """Processors kept busy meanwhile by whatever else ran on the machine."""
    queue_rate: float | None = None
    """Runs a second, queued one by one."""
    bulk_rate: float | None = None
    latency_half: float | None = None
    """Milliseconds from the call to the first line of the body, the median."""
    latency_most: float | None = None
    """The 99th percentile of the same."""


class _Sample(NamedTuple):
    begun: int
    last: float
    worker: float
    server: float
    ours: float
    busy: float
    wall: float
    commands: int
    reads: int

    @classmethod
    def take(cls, workers: list[Working], count: int, server: RedisServer, client: Redis) -> _Sample:
        """When so many bodies have begun."""
        notes = workers[0].until(count)
        told: dict[str, Any] = client.info("stats")
        return cls(
            notes.begun,
            notes.last,
            machine.cpu_seconds(pid for worker in workers for pid in worker.pids),
            machine.cpu_seconds([server.pid]),
            machine.cpu_seconds([os.getpid()]),
            machine.busy_seconds(),
            elapsed(),
            told["total_commands_processed"],
            told["total_reads_processed"],
        )


def drain(
    stage: Scene, runs: int, processes: int = 1, *, leave: int = 0, latencies: int = 0
) -> tuple[Figures, list[float]]:
    """Work off `runs` of what is queued; then the latencies of so many more."""
    with ExitStack() as stack:
        client = stack.enter_context(stage.server.client())
        workers = [stack.enter_context(stage.working(number)) for number in range(processes)]
        before = _Sample.take(workers, round(runs * WARM_UP), stage.server, client)
        after = _Sample.take(workers, runs, stage.server, client)
        memory = machine.resident_mebibytes(pid for worker in workers for pid in worker.pids)
        took = _latencies(stage, latencies) if latencies and not leave else []
    if before.begun >= runs:
        raise BenchError(f"{runs} runs of {stage.contender.name} were over before they could be measured")
    done, wall = after.begun - before.begun, after.wall - before.wall
    worker, server = after.worker - before.worker, after.server - before.server
    other = after.busy - before.busy - worker - server - (after.ours - before.ours)
    figures = Figures(
        runs=runs,
        measured=done,
        drain_rate=done / (after.last - before.last),
        worker_cpu=1000 * worker / done,
        server_cpu=1000 * server / done,
        commands=(after.commands - before.commands) / done,
        round_trips=(after.reads - before.reads) / done,
        memory=memory,
        other_load=max(0.0, other / wall),
    )
    return figures, took


def _latencies(stage: Scene, runs: int) -> list[float]:
    stage.queue("latency", runs)
    deadline = elapsed() + PATIENCE
    while len(took := stage.latencies()) < runs:
        if elapsed() > deadline:
            raise BenchError(f"{len(took)} of {runs} latencies of {stage.contender.name} were noted")
        time.sleep(0.05)
    return sorted(took[COLD:])


def measure(contender: Contender, server: RedisServer, *, scale: float) -> Figures:
    """Everything of one contender, once."""
    runs = max(100, round(contender.runs * scale))
    mode = contender.mode if contender.is_ours else ""
    with watched(mode, SAMPLED) as settings, scene(contender, server, settings) as stage:
        bulk = stage.queue("queue_many", runs)
        stage.empty()
        seconds = stage.queue("queue", runs)
        figures, took = drain(stage, runs, latencies=LATENCIES)
    return Figures(
        **vars(figures)
        | {
            "queue_rate": runs / seconds if seconds else None,
            "bulk_rate": runs / bulk if bulk else None,
            "latency_half": 1000 * took[len(took) // 2],
            "latency_most": 1000 * took[len(took) * 99 // 100],
        }
    )
