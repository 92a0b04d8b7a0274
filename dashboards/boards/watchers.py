"""Who watches the watchers: alerts that fire, handlers, exporters, and what all of it costs."""

from __future__ import annotations

from dashboards.boards.board import Board, Row
from dashboards.boards.links import ALL_LOGS, ALL_TRACES, Uid, to_logs, to_traces
from dashboards.boards.look import FEW_EXPECTED, NONE_EXPECTED, Unit, coloured
from dashboards.boards.panel import Column, Panel, Query, graph, stat_of, table_of
from dashboards.boards.promql import (
    ALERTS,
    INSTANCE,
    OF_JOB,
    SCRAPE_SAMPLES,
    SCRAPE_SECONDS,
    UP,
    any_of,
    increase,
    largest,
    of,
    or_zero,
    quantile,
    rate,
    total,
)
from dashboards.boards.variables import QUEUES, SOURCES
from telemetry.names import (
    ALERTS_FAILED,
    ALERTS_SENT,
    ALERTS_SUPPRESSED,
    FLEET_EVENTS_DROPPED,
    FLEET_EVENTS_TOLD,
    HANDLER_DROPPED,
    HANDLER_FAILURES,
    HANDLER_HANDLED,
    HANDLER_PAUSED,
    HANDLER_QUEUE,
    HANDLER_SECONDS,
    LOG_LINES_DROPPED,
    RECORDS_DROPPED,
    RUNS_FOLDED,
    SERIES,
    SNAPSHOT_ERRORS,
    SNAPSHOT_SECONDS,
    SPANS_DROPPED,
    TASKS_OVER_BUDGET,
)

HOUR = "1h"
NOBODY = "nothing is watched"
BY_HANDLER = ("event", "handler")
OF_HANDLER = "{{event}} {{handler}}"
OF_OURS = f'alertname=~"Fluid.+", {OF_JOB}, queue=~"$queue|"'
"""Alerts of our rules; some are of a job and no queue."""
OURS = f"{ALERTS}{{{OF_OURS}}}"
FIRING = f'{ALERTS}{{{OF_OURS}, alertstate="firing"}}'

VERDICT: tuple[Panel, ...] = (
    stat_of(
        "Alerts firing",
        "Alerts of the rules that come with the boards. None here and none expected: check that Prometheus "
        "has loaded the rules.",
        or_zero(f"count({FIRING})"),
        unit=Unit.number,
        steps=NONE_EXPECTED,
        empty="none",
    ),
    stat_of(
        "Targets down",
        "Processes that Prometheus cannot scrape. They may work all the same; nobody sees it.",
        or_zero(f"count({UP}{{{OF_JOB}}} == 0)"),
        unit=Unit.number,
        steps=NONE_EXPECTED,
        empty="none",
    ),
    stat_of(
        "Series, most",
        "How many series the largest process has. Each costs Prometheus memory; the budget is set by "
        "`FLUID_TELEMETRY_MAX_TASKS`.",
        largest(of(SERIES)),
        unit=Unit.number,
        steps=coloured("series"),
        empty=NOBODY,
    ),
    stat_of(
        "Tasks over budget",
        "Registered tasks without series of their own: their runs are counted as `other`, so nobody can be "
        "alerted of them. Raise the budget, or have fewer names.",
        largest(of(TASKS_OVER_BUDGET)),
        unit=Unit.number,
        steps=FEW_EXPECTED,
        empty=NOBODY,
    ),
    stat_of(
        "Events dropped, 1 h",
        "Events that an async handler never saw in the last hour.",
        total(increase(of(HANDLER_DROPPED), HOUR)),
        unit=Unit.number,
        steps=FEW_EXPECTED,
        decimals=0,
        empty="no async handlers",
    ),
    stat_of(
        "Spans dropped, 1 h",
        "Spans that never reached their receiver in the last hour: traces have holes.",
        total(increase(of(SPANS_DROPPED), HOUR)),
        unit=Unit.number,
        steps=FEW_EXPECTED,
        decimals=0,
        empty=NOBODY,
    ),
    stat_of(
        "Lines dropped, 1 h",
        "Lines that were not logged in the last hour: whoever reads the log is too slow, or has gone.",
        total(increase(of(LOG_LINES_DROPPED), HOUR)),
        unit=Unit.number,
        steps=FEW_EXPECTED,
        decimals=0,
        empty=NOBODY,
    ),
    stat_of(
        "Blind scrapes, 1 h",
        "Scrapes of the last hour for which the broker gave no snapshot: the numbers of the queue were "
        "absent.",
        total(increase(of(SNAPSHOT_ERRORS), HOUR)),
        unit=Unit.number,
        steps=FEW_EXPECTED,
        decimals=0,
        empty=NOBODY,
    ),
)

ALERTING: tuple[Panel, ...] = (
    table_of(
        "Firing now",
        "What fires, and where. The runbook, at the top, has a section for each.",
        Column(
            title="Series",
            expr=f"count by (alertname, severity, job, queue, task) ({FIRING})",
            unit=Unit.number,
            steps=NONE_EXPECTED,
        ),
        by=("alertname", "severity", "job", "queue", "task"),
        sort_by="alertname",
        empty="nothing fires",
        width=10,
        height=8,
    ),
    graph(
        "Alerts over time",
        "What fired or was about to, when. Many that begin together have one cause: take the earliest.",
        Query(f"count by (alertname, alertstate) ({OURS})", "{{alertname}} ({{alertstate}})"),
        unit=Unit.number,
        empty="nothing fired",
        stacked=True,
        width=14,
    ),
    graph(
        "Notices by channel",
        "Notices of alerts from within that a channel has taken, and those that it did not take however "
        "often it was tried. Failed: people are not told.",
        Query(total(increase(of(ALERTS_SENT)), "channel"), "sent: {{channel}}"),
        Query(total(increase(of(ALERTS_FAILED)), "channel"), "failed: {{channel}}"),
        unit=Unit.number,
        empty="no notices",
        width=12,
    ),
    graph(
        "Occurrences not told",
        "Occurrences that belong to an incident that was told already: its count has them.",
        Query(total(increase(of(ALERTS_SUPPRESSED))), "not told"),
        unit=Unit.number,
        empty="no notices",
        width=12,
    ),
)

HANDLERS: tuple[Panel, ...] = (
    graph(
        "Events handled",
        "What handlers get through. To nothing while runs end: the handler hangs.",
        Query(total(rate(of(HANDLER_HANDLED)), *BY_HANDLER), OF_HANDLER),
        unit=Unit.per_second,
        empty="no async handlers",
        width=12,
    ),
    graph(
        "Events waiting",
        "Events that wait for their handler. At its limit, the oldest is dropped for each new one.",
        Query(total(of(HANDLER_QUEUE), *BY_HANDLER), OF_HANDLER),
        unit=Unit.number,
        empty="no async handlers",
        width=12,
    ),
    graph(
        "Events dropped and failed",
        "Dropped: never seen. Failed: the handler raised or took too long; the log has the error.",
        Query(total(increase(of(HANDLER_DROPPED)), *BY_HANDLER), f"dropped: {OF_HANDLER}"),
        Query(any_of(total(increase(of(HANDLER_FAILURES)), *BY_HANDLER)), f"failed: {OF_HANDLER}"),
        unit=Unit.number,
        steps=FEW_EXPECTED,
        empty="no handlers",
    ),
    graph(
        "Time in handlers",
        "Seconds spent in each handler a second. Near 1: it takes one event after the other without a "
        "pause, and will soon drop.",
        Query(total(rate(of(HANDLER_SECONDS)), *BY_HANDLER), OF_HANDLER),
        unit=Unit.share,
        steps=coloured("handler_time"),
        empty="no async handlers",
    ),
    graph(
        "Handlers paused",
        "Handlers that are left in peace for a while because they kept failing; the log says which, and why. "
        "What they would have heard meanwhile is dropped.",
        Query(total(of(HANDLER_PAUSED)), "paused"),
        unit=Unit.number,
        steps=FEW_EXPECTED,
        empty="no handlers",
    ),
)


EXPORTERS: tuple[Panel, ...] = (
    graph(
        "Spans and log records dropped",
        "Queue full: more than the exporter sends. Export failed: the receiver is away or refuses.",
        Query(total(increase(of(SPANS_DROPPED)), "cause"), "spans, {{cause}}"),
        Query(total(increase(of(RECORDS_DROPPED)), "cause"), "log records, {{cause}}"),
        unit=Unit.number,
        steps=FEW_EXPECTED,
        empty=NOBODY,
        width=6,
    ),
    graph(
        "Log lines dropped",
        "Lines that could not be written in time. Lines are dropped rather than have runs wait.",
        Query(total(increase(of(LOG_LINES_DROPPED)), INSTANCE), "{{instance}}"),
        unit=Unit.number,
        steps=FEW_EXPECTED,
        empty=NOBODY,
        width=6,
    ),
    graph(
        "Fleet events",
        "Events that processes told the queue's stream, and those that it never got: too many waited for the "
        "broker. Who watches the fleet has holes then.",
        Query(total(rate(of(FLEET_EVENTS_TOLD))), "told"),
        Query(total(rate(of(FLEET_EVENTS_DROPPED))), "dropped"),
        unit=Unit.per_second,
        empty=NOBODY,
        width=6,
    ),
    graph(
        "Scrapes without the queue",
        "Scrapes to which the broker gave no snapshot, and targets that could not be scraped at all.",
        Query(total(increase(of(SNAPSHOT_ERRORS))), "no snapshot"),
        Query(or_zero(f"count({UP}{{{OF_JOB}}} == 0)"), "targets down"),
        unit=Unit.number,
        steps=FEW_EXPECTED,
        empty=NOBODY,
        width=6,
    ),
)


OVERHEAD: tuple[Panel, ...] = (
    graph(
        "Series by process",
        "What each process tells. It grows with registered tasks, never with runs: a climb is a fault of "
        "ours.",
        Query(largest(of(SERIES), INSTANCE), "{{instance}}"),
        Query(f"max by (instance) ({SCRAPE_SAMPLES}{{{OF_JOB}}})", "{{instance}}, as scraped"),
        unit=Unit.number,
        empty=NOBODY,
        width=6,
    ),
    graph(
        "Scrape, by process",
        "How long Prometheus waits for each answer. Near its timeout, targets are about to be down.",
        Query(f"max by (instance) ({SCRAPE_SECONDS}{{{OF_JOB}}})", "{{instance}}"),
        unit=Unit.seconds,
        steps=coloured("scrape"),
        empty=NOBODY,
        width=6,
    ),
    graph(
        "Snapshot of the queue, p99",
        "What a scrape asks of the broker. It does not grow with the backlog: if it does, the server is "
        "slow.",
        Query(quantile(0.99, SNAPSHOT_SECONDS), "snapshot"),
        unit=Unit.seconds,
        steps=coloured("snapshot"),
        empty="no scrape",
        width=6,
    ),
    graph(
        "Counted as other",
        "Facts of runs in no task's own series: beyond the budget, or of tasks not registered there.",
        Query(total(rate(of(RUNS_FOLDED)), "cause"), "{{cause}}"),
        unit=Unit.per_second,
        empty=NOBODY,
        width=6,
    ),
)

WATCHERS = Board(
    uid=Uid.telemetry,
    title="Fluid / Alerts and telemetry",
    look_for="What fires, and whether those who watch see everything.",
    variables=(*SOURCES, *QUEUES),
    links=(to_logs(ALL_LOGS, "Warnings and errors"), to_traces(ALL_TRACES, "Failed attempts")),
    rows=(
        Row("Can we see?", VERDICT),
        Row("Alerts", ALERTING),
        Row("Handlers", HANDLERS),
        Row("Exporters", EXPORTERS),
        Row("Series and overhead", OVERHEAD),
    ),
)
