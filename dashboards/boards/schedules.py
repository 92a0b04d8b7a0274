"""Schedules: what was fired, how late, what was missed, what comes next."""

from __future__ import annotations

from dashboards.boards import measures
from dashboards.boards.board import Board, Row
from dashboards.boards.links import ALL_LOGS, ALL_TRACES, Uid, address_of_task, to_logs, to_traces
from dashboards.boards.look import FEW_EXPECTED, NONE_EXPECTED, ONE_NEEDED, Unit, coloured
from dashboards.boards.panel import Column, Panel, Query, graph, heatmap_of, stat_of, table_of
from dashboards.boards.promql import (
    OF_TASK,
    age,
    any_of,
    increase,
    largest,
    of,
    or_zero,
    quantile,
    rate,
    top,
    total,
)
from dashboards.boards.variables import QUEUES, SCHEDULED_TASKS, SOURCES
from telemetry.names import (
    LAST_SUCCESS,
    RUNS_ENDED,
    RUNS_REFUSED,
    SCHEDULE_FIRES,
    SCHEDULE_LAST_FIRE,
    SCHEDULE_LATENESS,
    SCHEDULE_MISSED,
    SCHEDULE_NEXT_FIRE,
)

HOUR = "1h"
NO_SCHEDULER = "no scheduler"
BY_TASK = ("queue", "task")
NEXT = f"({largest(of(SCHEDULE_NEXT_FIRE, OF_TASK), *BY_TASK)} > 0)"
"""The tick that comes next, by the scheduler that knows best."""
WITH_SCHEDULE = f"and on ({', '.join(BY_TASK)}) {NEXT}"
OVERDUE = f"clamp_min(time() - {NEXT}, 0)"

VERDICT: tuple[Panel, ...] = (
    stat_of(
        "Schedules",
        "Tasks with a schedule that some scheduler knows. Fewer than you declared: their module is not "
        "loaded.",
        f"count({NEXT})",
        unit=Unit.number,
        empty=NO_SCHEDULER,
        width=4,
    ),
    stat_of(
        "Schedulers",
        "Processes that fire. Each tick is fired once, however many there are. None: nothing is fired.",
        or_zero(f"count(count by (instance) ({of(SCHEDULE_FIRES)}))"),
        unit=Unit.number,
        steps=ONE_NEEDED,
        empty="none",
        width=4,
    ),
    stat_of(
        "Most overdue",
        "How long the next tick of the worst schedule has been past. More than some seconds: nobody fires.",
        largest(OVERDUE),
        unit=Unit.seconds,
        steps=coloured("overdue"),
        empty=NO_SCHEDULER,
        width=4,
    ),
    stat_of(
        "Fired, 1 h",
        "Ticks that were fired in the last hour.",
        total(increase(of(SCHEDULE_FIRES, OF_TASK), HOUR)),
        unit=Unit.number,
        decimals=0,
        empty=NO_SCHEDULER,
        width=4,
    ),
    stat_of(
        "Missed, 1 h",
        "Ticks of the last hour that will not be fired, because no scheduler ran when they were due. Whether "
        "that matters is up to the task.",
        total(increase(of(SCHEDULE_MISSED, OF_TASK), HOUR)),
        unit=Unit.number,
        steps=NONE_EXPECTED,
        decimals=0,
        empty=NO_SCHEDULER,
        width=4,
    ),
    stat_of(
        "Lateness p95",
        "From a tick to its fire, in the last hour. Seconds: the scheduler's loop or the broker is slow.",
        quantile(0.95, SCHEDULE_LATENESS, OF_TASK, window=HOUR),
        unit=Unit.seconds,
        steps=coloured("lateness"),
        empty="nothing was fired",
        width=4,
    ),
)

PLAN = table_of(
    "What comes next",
    "Every schedule, the most overdue first; its name leads to its board. Look for a tick that is past, for "
    "ticks missed, and for a fire that no success followed.",
    Column(title="Overdue", expr=OVERDUE, unit=Unit.seconds, steps=coloured("overdue")),
    Column(title="Next in", expr=f"clamp_min({NEXT} - time(), 0)", unit=Unit.seconds),
    Column(
        title="Last fire ago", expr=age(largest(of(SCHEDULE_LAST_FIRE, OF_TASK), *BY_TASK)), unit=Unit.seconds
    ),
    Column(
        title="Last success ago",
        expr=f"({age(largest(of(LAST_SUCCESS, OF_TASK), *BY_TASK))}) {WITH_SCHEDULE}",
        unit=Unit.seconds,
    ),
    Column(
        title="Fired, 1 h",
        expr=total(increase(of(SCHEDULE_FIRES, OF_TASK), HOUR), *BY_TASK),
        unit=Unit.number,
    ),
    Column(
        title="Missed, 1 h",
        expr=total(increase(of(SCHEDULE_MISSED, OF_TASK), HOUR), *BY_TASK),
        unit=Unit.number,
        steps=NONE_EXPECTED,
    ),
    Column(
        title="Lateness p95",
        expr=quantile(0.95, SCHEDULE_LATENESS, OF_TASK, by=BY_TASK, window=HOUR),
        unit=Unit.seconds,
        steps=coloured("lateness"),
    ),
    by=BY_TASK,
    sort_by="Overdue",
    leads_to={"task": ("The board of this task", address_of_task())},
)

OVER_TIME: tuple[Panel, ...] = (
    graph(
        "Fires",
        "How often each schedule fires. A gap in a regular line is a scheduler that was away.",
        Query(total(increase(of(SCHEDULE_FIRES, OF_TASK)), "task"), "{{task}}"),
        unit=Unit.number,
        empty=NO_SCHEDULER,
    ),
    graph(
        "Overdue, the ten worst",
        "How long the next tick of each schedule is past. A line that climbs: that schedule is not fired, "
        "and the log of the scheduler says why.",
        Query(top(10, largest(OVERDUE, "task")), "{{task}}"),
        unit=Unit.seconds,
        steps=coloured("overdue"),
        empty=NO_SCHEDULER,
    ),
    graph(
        "Missed",
        "Ticks that will not be fired. They follow a time without a scheduler; later none should be.",
        Query(any_of(total(increase(of(SCHEDULE_MISSED, OF_TASK)), "task")), "{{task}}"),
        unit=Unit.number,
        steps=NONE_EXPECTED,
        empty="none was missed",
    ),
    heatmap_of(
        "Lateness",
        "From a tick to its fire. A band of milliseconds is right; one far above it are ticks that were "
        "caught up with after an outage.",
        total(increase(of(SCHEDULE_LATENESS, OF_TASK, part="bucket")), "le"),
        empty="nothing was fired",
        width=8,
        height=8,
    ),
    graph(
        "Failure ratio",
        "The share of the runs of these tasks that fail: fired in time is not done.",
        Query(f"{measures.failure_ratio(OF_TASK, by=BY_TASK)} {WITH_SCHEDULE}", "{{task}}"),
        unit=Unit.share,
        steps=coloured("failure_ratio"),
        empty="nothing ended",
    ),
    graph(
        "Refused",
        "Ticks whose run was refused, most often because a unique one of before has not ended: the task "
        "takes longer than its interval.",
        Query(
            f"{any_of(total(rate(of(RUNS_REFUSED, OF_TASK)), *BY_TASK, 'reason'))} {WITH_SCHEDULE}",
            "{{task}}: {{reason}}",
        ),
        unit=Unit.runs_per_second,
        steps=FEW_EXPECTED,
        empty="none was refused",
    ),
    graph(
        "Runs ended",
        "What became of the runs of these tasks.",
        Query(
            f"sum by (state) ({total(rate(of(RUNS_ENDED, OF_TASK)), *BY_TASK, 'state')} {WITH_SCHEDULE})",
            "{{state}}",
        ),
        unit=Unit.runs_per_second,
        empty="nothing ended",
        stacked=True,
        width=24,
        height=7,
    ),
)

SCHEDULES = Board(
    uid=Uid.schedules,
    title="Fluid / Schedules",
    look_for="Is everything fired that should be, in time, and what comes next?",
    variables=(*SOURCES, *QUEUES, SCHEDULED_TASKS),
    links=(to_logs(ALL_LOGS, "Warnings and errors"), to_traces(ALL_TRACES, "Failed attempts")),
    rows=(Row("Is it fired?", VERDICT), Row("Plan", (PLAN,)), Row("Over time", OVER_TIME)),
)
