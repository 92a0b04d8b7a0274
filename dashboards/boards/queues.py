"""Queues and those who work on them: what waits, how long, and whether it drains."""

from __future__ import annotations

from dashboards.boards import measures
from dashboards.boards.board import Board, Row
from dashboards.boards.consumers import BROKER, CONSUMERS, LOOP, PROCESS
from dashboards.boards.links import ALL_LOGS, ALL_TRACES, Uid, to_logs, to_traces
from dashboards.boards.look import FEW_EXPECTED, NONE_EXPECTED, Unit, coloured
from dashboards.boards.panel import Column, Panel, Query, graph, stat_of, table_of
from dashboards.boards.promql import any_of, increase, of, quantile, told, total
from dashboards.boards.server import CANARY, SERVER
from dashboards.boards.variables import QUEUES, SOURCES
from telemetry.names import (
    BOOKS_RUNS,
    BOOKS_UNACCOUNTED,
    QUEUE_LABEL,
    QUEUE_PAUSED,
    QUEUE_RUNS,
    RUN_WAIT,
    RUNS_HELD,
    RUNS_REFUSED,
)

NO_ANSWER = "no answer of the broker"

VERDICT: tuple[Panel, ...] = (
    stat_of(
        "Ready",
        "Runs that could start now. What counts is not how many they are but how long they wait: see Oldest "
        "ready run.",
        measures.depth("ready"),
        unit=Unit.number,
        empty=NO_ANSWER,
    ),
    stat_of(
        "Running",
        "Runs that are claimed. More than the slots of the consumers seen here: others work on this queue "
        "that Prometheus does not scrape.",
        measures.depth("running"),
        unit=Unit.number,
        empty=NO_ANSWER,
    ),
    stat_of(
        "Scheduled",
        "Runs that are not due yet: delayed, or between two attempts. A sudden crowd is a wave of retries.",
        measures.depth("scheduled"),
        unit=Unit.number,
        empty=NO_ANSWER,
    ),
    stat_of(
        "Held",
        "Runs that may not be claimed now: a limit, a paused task, a task that no consumer knows. The "
        "reasons are further down; `fluid runs ls --state held` lists them.",
        measures.depth("held"),
        unit=Unit.number,
        steps=FEW_EXPECTED,
        empty=NO_ANSWER,
    ),
    stat_of(
        "Dead",
        "Runs that wait for a person to replay or discard them; `fluid runs ls --state dead` lists them.",
        measures.depth("dead"),
        unit=Unit.number,
        steps=coloured("dead_runs"),
        empty=NO_ANSWER,
    ),
    stat_of(
        "Oldest ready run",
        "How long the oldest one waits. Growing by a second each second: nothing is claimed.",
        measures.oldest_ready(),
        unit=Unit.seconds,
        steps=coloured("waiting"),
        empty=NO_ANSWER,
    ),
    stat_of(
        "Time to drain",
        "What a run that is queued now will wait, in the queue that is worst. 30 days stand for no end in "
        "sight.",
        measures.time_to_drain(),
        unit=Unit.seconds,
        steps=coloured("time_to_drain"),
        empty=NO_ANSWER,
    ),
    stat_of(
        "Paused",
        "Queues that somebody has paused. Nothing is claimed from them; resume with `fluid resume`.",
        total(told(QUEUE_PAUSED)),
        unit=Unit.number,
        steps=FEW_EXPECTED,
        empty=NO_ANSWER,
    ),
)

QUEUE: tuple[Panel, ...] = (
    graph(
        "Open runs",
        "Where the runs are that have not ended. Ready rising with slots busy: too few slots. Ready rising "
        "with slots free: claiming has stopped, or the queue is paused.",
        Query(total(told(QUEUE_RUNS), "status"), "{{status}}"),
        unit=Unit.number,
        empty=NO_ANSWER,
        stacked=True,
    ),
    graph(
        "Ready by priority",
        "Which priority the backlog has. High should be near nothing.",
        Query(measures.depth("ready", "priority"), "{{priority}}"),
        unit=Unit.number,
        empty=NO_ANSWER,
        stacked=True,
    ),
    graph(
        "Oldest ready run by priority",
        "A straight line upwards: nothing of that priority is claimed. Low alone: it is starved by the "
        "others.",
        Query(measures.oldest_ready("priority"), "{{priority}}"),
        unit=Unit.seconds,
        steps=coloured("waiting"),
        empty=NO_ANSWER,
    ),
    graph(
        "In and out",
        "What the broker accepted, and what it has seen ended, by outcome. The gap between accepted and the "
        "rest is how fast the backlog grows.",
        Query(total(told(BOOKS_RUNS, window="5m"), "outcome"), "{{outcome}}"),
        unit=Unit.runs_per_second,
        empty=NO_ANSWER,
    ),
    graph(
        "Wait by priority, p99",
        "From ready to claimed, as consumers saw it. It tells of runs that have been claimed; those that "
        "still wait are in the graph above.",
        Query(quantile(0.99, RUN_WAIT, by=("priority",)), "{{priority}}", exemplars=True),
        unit=Unit.seconds,
        steps=coloured("waiting"),
        empty="nothing was claimed",
    ),
    graph(
        "Moved aside and refused",
        "Why runs are held or could not be queued. An unknown task: deploy consumers that know it. "
        "Unavailable or uncertain: producers cannot reach the broker.",
        Query(any_of(total(increase(of(RUNS_HELD)), "reason")), "held: {{reason}}"),
        Query(any_of(total(increase(of(RUNS_REFUSED)), "reason")), "refused: {{reason}}"),
        unit=Unit.number,
        empty="nothing was held or refused",
    ),
)

BY_QUEUE = table_of(
    "Queues",
    "Every queue, the one with the longest wait first. Look for a queue that is paused, that does not "
    "drain, or whose books do not balance.",
    *(
        Column(title=status.capitalize(), expr=measures.depth(status, QUEUE_LABEL), unit=Unit.number)
        for status in ("ready", "running", "scheduled")
    ),
    Column(title="Held", expr=measures.depth("held", QUEUE_LABEL), unit=Unit.number, steps=FEW_EXPECTED),
    Column(
        title="Dead", expr=measures.depth("dead", QUEUE_LABEL), unit=Unit.number, steps=coloured("dead_runs")
    ),
    Column(
        title="Oldest ready",
        expr=measures.oldest_ready(QUEUE_LABEL),
        unit=Unit.seconds,
        steps=coloured("waiting"),
    ),
    Column(
        title="Time to drain",
        expr=measures.time_to_drain(QUEUE_LABEL),
        unit=Unit.seconds,
        steps=coloured("time_to_drain"),
    ),
    Column(
        title="Slots busy",
        expr=measures.busy_share(QUEUE_LABEL),
        unit=Unit.share,
        steps=coloured("slots_busy"),
    ),
    Column(title="Paused", expr=told(QUEUE_PAUSED), unit=Unit.number, steps=FEW_EXPECTED),
    Column(title="Unaccounted", expr=told(BOOKS_UNACCOUNTED), unit=Unit.number, steps=NONE_EXPECTED),
    by=(QUEUE_LABEL,),
    sort_by="Oldest ready",
    height=6,
)

QUEUES_AND_CONSUMERS = Board(
    uid=Uid.queues,
    title="Fluid / Queues and consumers",
    look_for="What waits, for how long, and whether those who work on it are well.",
    variables=(*SOURCES, *QUEUES),
    links=(
        to_logs(ALL_LOGS, "Warnings and errors"),
        to_traces(ALL_TRACES, "Failed attempts"),
    ),
    rows=(
        Row("Does it drain?", VERDICT),
        Row("Queue", (*QUEUE, BY_QUEUE)),
        Row("Consumers", CONSUMERS),
        Row("Broker", BROKER),
        Row("Server", SERVER),
        Row("Canary", CANARY),
        Row("Event loop and handlers", LOOP),
        Row("Process", PROCESS),
    ),
)
