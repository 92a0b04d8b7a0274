"""One task: its rate, errors and duration, what became of its attempts, and its objective."""

from __future__ import annotations

from dashboards.boards import measures
from dashboards.boards.board import Board, Row
from dashboards.boards.links import (
    FAILED_TRACES_OF_TASK,
    LOGS_OF_TASK,
    TRACES_OF_TASK,
    Uid,
    to_logs,
    to_traces,
)
from dashboards.boards.look import FEW_EXPECTED, NONE_EXPECTED, Unit, coloured
from dashboards.boards.panel import Panel, Query, graph, heatmap_of, stat_of
from dashboards.boards.promql import (
    OF_TASK,
    age,
    increase,
    largest,
    of,
    quantile,
    rate,
    ratio,
    total,
)
from dashboards.boards.variables import ONE_TASK, QUEUES, SOURCES
from telemetry.names import (
    LAST_SUCCESS,
    RUN_DISPATCH,
    RUN_DURATION,
    RUN_LATENCY,
    RUN_WAIT,
    RUNS_ACTIVE,
    RUNS_DEAD,
    RUNS_ENDED,
    RUNS_HELD,
    RUNS_INTERRUPTED,
    RUNS_LOST,
    RUNS_QUEUED,
    RUNS_REFUSED,
    RUNS_RETRIED,
    RUNS_STARTED,
    SLO_GOAL,
    STALE_OUTCOMES,
    Metric,
)

NOW = "5m"
SHOWN = "$__range"
"""All of the time that is looked at."""

NOTHING_ENDED = "nothing ended"


NO_GOAL = "no objective is declared"


def goal(objective: str, *by: str) -> str:
    """The share that the task promises of an objective; nothing where it promises nothing."""
    promised = of(SLO_GOAL, OF_TASK, f'objective="{objective}"')
    return f"({largest(promised, *by)} > 0)"


def burn(window: str) -> str:
    """How many times faster than allowed runs do not succeed; a run found dead has not."""
    dead = total(rate(of(RUNS_DEAD, OF_TASK), window))
    failed = total(rate(of(RUNS_ENDED, OF_TASK, 'state="failure"'), window))
    judged = total(rate(of(RUNS_ENDED, OF_TASK, measures.VERDICTS), window))
    return f"({failed} + {dead}) / ({judged} + {dead} > 0) / (1 - {goal('success')})"


def budget_left(window: str) -> str:
    """The share of the failures that are allowed and have not happened; -1 when there were twice as many."""
    return f"clamp_min(1 - {burn(window)}, -1)"


def in_time(objective: str, metric: Metric) -> str:
    """The share of what a histogram counts that took no longer than the task promises."""
    buckets = total(rate(of(metric, OF_TASK, part="bucket")), "le")
    bound = f'label_join({goal(objective, "within")}, "le", "", "within")'
    return ratio(f"sum({buckets} and on (le) {bound})", f"{total(rate(of(metric, OF_TASK, part='count')))}")


VERDICT: tuple[Panel, ...] = (
    stat_of(
        "Ended",
        "Runs of this task that ended, a second, in the last five minutes.",
        total(rate(of(RUNS_ENDED, OF_TASK), NOW)),
        unit=Unit.runs_per_second,
        empty="no such task here",
    ),
    stat_of(
        "Failure ratio",
        "The share that failed for good in the last five minutes. Above 0: the reasons are further down, the "
        "errors in the logs.",
        measures.failure_ratio(OF_TASK, window=NOW),
        unit=Unit.share,
        steps=coloured("failure_ratio"),
        decimals=1,
        empty=NOTHING_ENDED,
        leads_to=to_logs(LOGS_OF_TASK),
    ),
    stat_of(
        "Duration p95",
        "All but one in twenty bodies took less than this in the last five minutes. Compare with the task's "
        "timeout: near it, runs are about to fail.",
        quantile(0.95, RUN_DURATION, OF_TASK, window=NOW),
        unit=Unit.seconds,
        empty=NOTHING_ENDED,
        leads_to=to_traces(TRACES_OF_TASK),
    ),
    stat_of(
        "Wait p95",
        "All but one in twenty attempts waited less than this for a slot. Long: the queue is behind, not the "
        "task.",
        quantile(0.95, RUN_WAIT, OF_TASK, window=NOW),
        unit=Unit.seconds,
        steps=coloured("waiting"),
        empty="nothing was claimed",
    ),
    stat_of(
        "Active",
        "Attempts under way. As many as the slots of the fleet: this task keeps all others waiting.",
        total(of(RUNS_ACTIVE, OF_TASK)),
        unit=Unit.number,
        empty="no such task here",
    ),
    stat_of(
        "Attempts a run",
        "Attempts begun by runs ended, in the time shown. 1 is ideal; above it, work is done twice: retries, "
        "losses, interruptions.",
        ratio(
            total(increase(of(RUNS_STARTED, OF_TASK), SHOWN)), total(increase(of(RUNS_ENDED, OF_TASK), SHOWN))
        ),
        unit=Unit.number,
        steps=coloured("attempts_a_run"),
        decimals=2,
        empty=NOTHING_ENDED,
    ),
    stat_of(
        "Last success",
        "How long ago a run last succeeded, anywhere. Longer than the rhythm of the task: it is broken, or "
        "it is not queued.",
        age(largest(of(LAST_SUCCESS, OF_TASK))),
        unit=Unit.seconds,
        empty="none since the start",
    ),
    stat_of(
        "Budget left",
        "The share of the failures that the task's own objective allows, `@task(slo=...)`, and that have not "
        "happened in the time shown. Below 0 the promise was broken; look at 30 days, which it is for.",
        budget_left(SHOWN),
        unit=Unit.share,
        steps=coloured("budget_left"),
        decimals=0,
        empty=NO_GOAL,
    ),
)

RED: tuple[Panel, ...] = (
    graph(
        "Runs ended",
        "Rate, by how runs ended. Look for red, and for green that falls while runs are still queued.",
        Query(total(rate(of(RUNS_ENDED, OF_TASK)), "state"), "{{state}}", exemplars=True),
        unit=Unit.runs_per_second,
        empty=NOTHING_ENDED,
        stacked=True,
        links=[to_logs(LOGS_OF_TASK), to_traces(FAILED_TRACES_OF_TASK, "Failed attempts")],
    ),
    graph(
        "Failure ratio",
        "Errors: the share of runs that fail. A step up at one moment is a deploy or a dependency.",
        Query(measures.failure_ratio(OF_TASK), "failure"),
        unit=Unit.share,
        steps=coloured("failure_ratio"),
        empty=NOTHING_ENDED,
        links=[to_logs(LOGS_OF_TASK), to_traces(FAILED_TRACES_OF_TASK, "Failed attempts")],
    ),
    graph(
        "Duration",
        "What the body took in the attempt that ended the run. p99 far from p50: some runs meet something "
        "slow; a dot leads to the trace of one.",
        *(
            Query(quantile(share, RUN_DURATION, OF_TASK), name, exemplars=name == "p99")
            for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
        ),
        unit=Unit.seconds,
        empty=NOTHING_ENDED,
        links=[to_traces(TRACES_OF_TASK)],
    ),
)

LATENCY: tuple[Panel, ...] = (
    heatmap_of(
        "Latency",
        "From queued to ended, delays and retries in it. Two bands are two kinds of runs, such as those that "
        "succeed at once and those that are retried; a band that climbs is a backlog. Dots lead to traces.",
        total(increase(of(RUN_LATENCY, OF_TASK, part="bucket")), "le"),
        empty=NOTHING_ENDED,
        width=16,
    ),
    graph(
        "Where the time goes, p95",
        "Waiting for a slot, getting from the claim to the body, the body itself, and all of it. The "
        "largest is what to work on: wait means slots, dispatch means a busy event loop, body means the "
        "task.",
        Query(quantile(0.95, RUN_WAIT, OF_TASK), "wait"),
        Query(quantile(0.95, RUN_DISPATCH, OF_TASK), "dispatch"),
        Query(quantile(0.95, RUN_DURATION, OF_TASK), "body"),
        Query(quantile(0.95, RUN_LATENCY, OF_TASK), "latency"),
        unit=Unit.seconds,
        empty=NOTHING_ENDED,
        height=9,
    ),
)

ATTEMPTS: tuple[Panel, ...] = (
    graph(
        "Attempts",
        "Queued, begun and ended should lie on each other. Begun above ended: attempts are repeated. Queued "
        "above begun: the backlog grows.",
        Query(total(rate(of(RUNS_QUEUED, OF_TASK))), "queued"),
        Query(total(rate(of(RUNS_STARTED, OF_TASK))), "started"),
        Query(total(rate(of(RUNS_ENDED, OF_TASK))), "ended"),
        unit=Unit.runs_per_second,
        empty="no such task here",
    ),
    graph(
        "Retries by reason",
        "Attempts that failed and were followed by another. Timeouts: the body is slow or the limit too "
        "short. Process died: memory, or a crash in native code.",
        Query(total(rate(of(RUNS_RETRIED, OF_TASK)), "reason"), "{{reason}}", exemplars=True),
        unit=Unit.per_second,
        empty="no such task here",
        stacked=True,
        links=[to_logs(LOGS_OF_TASK)],
    ),
    graph(
        "Wait by priority, p95",
        "From ready to claimed. Only low is slow: that is what priorities are for. High is slow: too few "
        "slots.",
        Query(quantile(0.95, RUN_WAIT, OF_TASK, by=("priority",)), "{{priority}}"),
        unit=Unit.seconds,
        steps=coloured("waiting"),
        empty="nothing was claimed",
    ),
    graph(
        "Lost, interrupted, stale",
        "Attempts that ended without a verdict: their consumer was gone (lost), stopped in order "
        "(interrupted), or came back too late (stale). All but interrupted should be none.",
        Query(total(increase(of(RUNS_LOST, OF_TASK))), "lost"),
        Query(total(increase(of(RUNS_INTERRUPTED, OF_TASK))), "interrupted"),
        Query(total(increase(of(STALE_OUTCOMES, OF_TASK))), "stale"),
        unit=Unit.number,
        steps=FEW_EXPECTED,
        empty="no such task here",
    ),
    graph(
        "Held by reason",
        "Runs that were moved aside. Limit and rate are as you declared them; an unknown task or a newer "
        "message means that consumers are older than producers.",
        Query(total(increase(of(RUNS_HELD, OF_TASK)), "reason"), "{{reason}}"),
        unit=Unit.number,
        empty="no such task here",
    ),
    graph(
        "Dead and refused",
        "Runs that no verdict was possible for, and runs that could not be queued at all. Dead ones wait "
        "for a person; refused ones were never in the queue.",
        Query(total(increase(of(RUNS_DEAD, OF_TASK)), "reason"), "dead: {{reason}}"),
        Query(total(increase(of(RUNS_REFUSED, OF_TASK)), "reason"), "refused: {{reason}}"),
        unit=Unit.number,
        steps=NONE_EXPECTED,
        empty="no such task here",
    ),
)

GOAL: tuple[Panel, ...] = (
    graph(
        "Burn rate",
        "How many times faster than the task's objective allows runs fail, over five minutes, an hour and "
        "six. Above 14.4 for both of the shorter ones, the budget of a month is gone in two days: act now. "
        "Above 6 for six hours: in five days, act today.",
        Query(burn("5m"), "5 minutes"),
        Query(burn("1h"), "1 hour"),
        Query(burn("6h"), "6 hours"),
        unit=Unit.number,
        steps=coloured("burn_rate"),
        empty=NO_GOAL,
    ),
    graph(
        "Budget left",
        "At each moment, what was left of the allowed failures of as much time as is shown. A cliff is an "
        "incident; a slope is a habit.",
        Query(budget_left(SHOWN), "left"),
        unit=Unit.share,
        steps=coloured("budget_left"),
        most=1,
        empty=NO_GOAL,
    ),
    graph(
        "In time",
        "The share of attempts that started, and of runs that finished, within the seconds that the task "
        "promises; it should stay above the goal. Start alone is below: too few slots. Finish alone: the "
        "body is slow, or retries take the time.",
        Query(in_time("start", RUN_WAIT), "started in time"),
        Query(in_time("finish", RUN_LATENCY), "finished in time"),
        Query(goal("success"), "goal"),
        unit=Unit.share,
        most=1,
        empty=NO_GOAL,
    ),
)

TASK = Board(
    uid=Uid.task,
    title="Fluid / Task",
    look_for="One task: rate, errors, duration; what became of its attempts; what is left of its budget.",
    variables=(*SOURCES, *QUEUES, ONE_TASK),
    links=(to_logs(LOGS_OF_TASK), to_traces(TRACES_OF_TASK)),
    rows=(
        Row("Is it well?", VERDICT),
        Row("Rate, errors, duration", RED),
        Row("Latency", LATENCY),
        Row("Attempts", ATTEMPTS),
        Row("Objective", GOAL),
    ),
)
