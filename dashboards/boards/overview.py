"""Is it well? Whoever is woken looks here first."""

from __future__ import annotations

from dashboards.boards import measures
from dashboards.boards.at_a_glance import HOUR, LAST_HOUR, NOW, VERDICT
from dashboards.boards.board import Board, Row
from dashboards.boards.links import ALL_LOGS, ALL_TRACES, Uid, address_of_task, to_logs, to_traces
from dashboards.boards.look import Unit, coloured
from dashboards.boards.panel import Column, Panel, Query, graph, table_of
from dashboards.boards.promql import age, increase, largest, of, quantile, rate, told, top, total
from dashboards.boards.variables import QUEUES, SOURCES
from telemetry.names import (
    BOOKS_RUNS,
    LAST_SUCCESS,
    QUEUE_RUNS,
    RUN_DURATION,
    RUN_WAIT,
    RUNS_ACTIVE,
    RUNS_ENDED,
    RUNS_RETRIED,
    SLOTS,
    SLOTS_BUSY,
)

WORK: tuple[Panel, ...] = (
    graph(
        "Runs ended",
        "The rate, by how runs ended. A fall to nothing while runs are ready is an outage; red that grows "
        "is a task that fails.",
        Query(total(rate(of(RUNS_ENDED)), "state"), "{{state}}"),
        unit=Unit.runs_per_second,
        empty="nothing ended",
        stacked=True,
    ),
    graph(
        "Failure ratio, the five worst tasks",
        "The share of each task's runs that fail. One task: look at its own board. All of them at once: "
        "look at what they share, such as a database.",
        Query(top(5, measures.failure_ratio(by=("task",))), "{{task}}"),
        unit=Unit.share,
        steps=coloured("failure_ratio"),
        empty="nothing ended",
    ),
    graph(
        "Duration",
        "What bodies take, over all tasks. A shift of p50 is a change of everything, one of p99 alone is one "
        "task or one slow dependency. Dots are single runs and lead to their traces.",
        *(
            Query(quantile(share, RUN_DURATION), name, exemplars=name == "p99")
            for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
        ),
        unit=Unit.seconds,
        empty="nothing ended",
    ),
    graph(
        "Wait, p95 by priority",
        "From ready to claimed. High must stay low whatever happens to the others; if all rise together, "
        "there are too few slots.",
        Query(quantile(0.95, RUN_WAIT, by=("priority",)), "{{priority}}"),
        unit=Unit.seconds,
        steps=coloured("waiting"),
        empty="nothing was claimed",
    ),
    graph(
        "Oldest ready run by priority",
        "How long the oldest one waits. A straight line upwards: nothing of that priority is claimed.",
        Query(measures.oldest_ready("priority"), "{{priority}}"),
        unit=Unit.seconds,
        steps=coloured("waiting"),
        empty="no answer of the broker",
    ),
    graph(
        "Open runs",
        "Where the runs are that have not ended. Ready that grows without end means too little is worked; "
        "held and dead that grow need somebody to look.",
        Query(total(told(QUEUE_RUNS), "status"), "{{status}}"),
        unit=Unit.number,
        stacked=True,
        empty="no answer of the broker",
    ),
    graph(
        "Books",
        "What the broker accepted and what it has seen ended. Accepted above the sum of the rest: the "
        "backlog grows. Replayed: somebody runs failures again.",
        Query(total(told(BOOKS_RUNS, window=NOW), "outcome"), "{{outcome}}"),
        unit=Unit.runs_per_second,
        empty="no answer of the broker",
    ),
    graph(
        "Slots",
        "How many bodies may run, and how many do. Busy at the line of slots for long: saturated.",
        Query(total(of(SLOTS)), "slots"),
        Query(total(of(SLOTS_BUSY)), "busy"),
        unit=Unit.number,
        empty="no consumer",
    ),
    graph(
        "Time to drain by queue",
        "What a run that is queued now will wait. Rising: more comes in than is worked off. 30 days stand "
        "for no end in sight.",
        Query(measures.time_to_drain("queue"), "{{queue}}"),
        unit=Unit.seconds,
        steps=coloured("time_to_drain"),
        empty="no answer of the broker",
    ),
)

BY_TASK = ("queue", "task")

TASKS = table_of(
    "Tasks",
    "Every task, the one with the most failures first; its name leads to its board. Look for red, and for a "
    "last success that is longer ago than the task's rhythm.",
    Column(
        title="Ended",
        expr=total(rate(of(RUNS_ENDED), NOW), *BY_TASK),
        unit=Unit.runs_per_second,
    ),
    Column(
        title="Failure ratio",
        expr=measures.failure_ratio(by=BY_TASK, window=NOW),
        unit=Unit.share,
        steps=coloured("failure_ratio"),
    ),
    Column(
        title="Failures, 1 h",
        expr=total(increase(of(RUNS_ENDED, 'state="failure"'), HOUR), *BY_TASK),
        unit=Unit.number,
    ),
    Column(
        title="Retries, 1 h",
        expr=total(increase(of(RUNS_RETRIED), HOUR), *BY_TASK),
        unit=Unit.number,
    ),
    Column(
        title="Duration p95",
        expr=quantile(0.95, RUN_DURATION, by=BY_TASK, window=NOW),
        unit=Unit.seconds,
    ),
    Column(
        title="Wait p95",
        expr=quantile(0.95, RUN_WAIT, by=BY_TASK, window=NOW),
        unit=Unit.seconds,
        steps=coloured("waiting"),
    ),
    Column(title="Active", expr=total(of(RUNS_ACTIVE), *BY_TASK), unit=Unit.number),
    Column(
        title="Last success ago",
        expr=age(largest(of(LAST_SUCCESS), *BY_TASK)),
        unit=Unit.seconds,
    ),
    by=BY_TASK,
    sort_by="Failures, 1 h",
    leads_to={"task": ("The board of this task", address_of_task())},
)

OVERVIEW = Board(
    uid=Uid.overview,
    title="Fluid / Overview",
    look_for="Is it well? The top row answers; everything green there, and nobody need be awake.",
    variables=(*SOURCES, *QUEUES),
    links=(to_logs(ALL_LOGS, "Warnings and errors"), to_traces(ALL_TRACES, "Failed attempts")),
    rows=(
        Row("Is it well?", VERDICT),
        Row("The last hour", LAST_HOUR),
        Row("Work", WORK),
        Row("Tasks", (TASKS,)),
    ),
)
