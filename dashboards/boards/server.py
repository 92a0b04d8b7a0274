"""The server behind the broker: whether runs are safe in it, its memory, its clock; and the canary."""

from __future__ import annotations

from dashboards.boards.look import FEW_EXPECTED, NONE_EXPECTED, Unit, coloured
from dashboards.boards.panel import Panel, Query, graph
from dashboards.boards.promql import INSTANCE, age, increase, largest, of, told, total
from telemetry.names import (
    BROKER_CLOCK_OFFSET,
    BROKER_DURABILITY,
    BROKER_MEMORY_LIMIT,
    BROKER_MEMORY_USED,
    BROKER_REWOUND,
    BROKER_UNSAFE,
    CANARY_FAILURES,
    CANARY_INTERVAL,
    CANARY_LAST,
    CANARY_LAST_SUCCESS,
    QUEUE_LABEL,
    TASK_PAUSED,
)

NO_CONSUMER = "no consumer"
EACH_QUEUE = "{{queue}}"

SERVER: tuple[Panel, ...] = (
    graph(
        "Unsafe by reason",
        "1 while runs can be lost or refused by the server, and why. `fluid doctor` says what to set.",
        Query(largest(of(BROKER_UNSAFE), "reason"), "{{reason}}"),
        unit=Unit.number,
        steps=NONE_EXPECTED,
        most=1,
        empty=NO_CONSUMER,
    ),
    graph(
        "Kept on disk",
        "1 for what the server writes to disk. Below an append-only file, a restart takes runs back.",
        Query(largest(of(BROKER_DURABILITY), "class"), "{{class}}"),
        unit=Unit.number,
        most=1,
        empty=NO_CONSUMER,
    ),
    graph(
        "Memory of the server",
        "What it uses and what it may use; a limit of 0 is none. Used near the limit: soon it refuses runs.",
        Query(largest(of(BROKER_MEMORY_USED), QUEUE_LABEL), f"used: {EACH_QUEUE}"),
        Query(largest(of(BROKER_MEMORY_LIMIT), QUEUE_LABEL), f"limit: {EACH_QUEUE}"),
        unit=Unit.bytes,
        empty=NO_CONSUMER,
    ),
    graph(
        "Clock of the server",
        "How far it is from each process's own, either way. Beyond a second, times in logs and on boards no "
        "longer fit together.",
        Query(f"max by (instance) (abs({of(BROKER_CLOCK_OFFSET)}))", "{{instance}}"),
        unit=Unit.seconds,
        steps=coloured("clock_offset"),
        empty=NO_CONSUMER,
    ),
    graph(
        "Went back in time",
        "How often a process saw the totals of the broker fall: a failover or a restart took runs back.",
        Query(total(increase(of(BROKER_REWOUND)), INSTANCE), "{{instance}}"),
        unit=Unit.number,
        steps=NONE_EXPECTED,
        empty=NO_CONSUMER,
    ),
    graph(
        "Paused tasks",
        "Tasks that somebody has paused, by queue: their runs are held until they are resumed.",
        Query(total(told(TASK_PAUSED), QUEUE_LABEL), EACH_QUEUE),
        unit=Unit.number,
        steps=FEW_EXPECTED,
        empty="no answer of the broker",
    ),
)

CANARY: tuple[Panel, ...] = (
    graph(
        "Canary",
        "What the last canary run took, from its queueing until its end was known, and the time between two. "
        "Rising: the whole way through the queue is slow, whatever the parts say.",
        Query(largest(of(CANARY_LAST), QUEUE_LABEL), f"took: {EACH_QUEUE}"),
        Query(largest(of(CANARY_INTERVAL), QUEUE_LABEL), f"interval: {EACH_QUEUE}"),
        unit=Unit.seconds,
        empty="no canary",
    ),
    graph(
        "Last canary success",
        "How long ago a canary run last came through. Longer than some intervals: nothing does.",
        Query(age(largest(of(CANARY_LAST_SUCCESS), QUEUE_LABEL)), EACH_QUEUE),
        unit=Unit.seconds,
        steps=coloured("canary_age"),
        empty="no canary",
    ),
    graph(
        "Canary failures",
        "Canary runs that were late, that failed, or that could not be queued.",
        Query(total(increase(of(CANARY_FAILURES)), "cause"), "{{cause}}"),
        unit=Unit.number,
        steps=NONE_EXPECTED,
        empty="no canary",
    ),
)
