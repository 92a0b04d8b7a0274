"""Those who work: slots and claims, the broker that they talk to, the event loop, the process."""

from __future__ import annotations

from dashboards.boards import measures
from dashboards.boards.look import FEW_EXPECTED, NONE_EXPECTED, ONE_NEEDED, Unit, coloured
from dashboards.boards.panel import Column, Panel, Query, graph, table_of
from dashboards.boards.promql import (
    COLLECTIONS,
    INSTANCE,
    PROCESS_CPU,
    PROCESS_FILES,
    PROCESS_MEMORY,
    PROCESS_MOST_FILES,
    PROCESS_START,
    age,
    any_of,
    increase,
    largest,
    of,
    quantile,
    rate,
    ratio,
    smallest,
    total,
)
from telemetry.names import (
    BROKER_COMMANDS,
    BROKER_ERRORS,
    BROKER_UP,
    BUILD,
    HANDLER_DROPPED,
    HANDLER_FAILURES,
    HANDLER_QUEUE,
    LOOP_BLOCKED,
    LOOP_LAG,
    QUEUE_LABEL,
    RUN_DISPATCH,
    RUNS_STARTED,
    SLOTS,
    SLOTS_BUSY,
)

NO_CONSUMER = "no consumer"
EACH = "{{instance}}"
OF_HANDLER = "{{event}} {{handler}}"
EACH_CONSUMER = (QUEUE_LABEL, INSTANCE)

CONSUMERS: tuple[Panel, ...] = (
    table_of(
        "Processes",
        "Every process that is scraped, the busiest first. One that stands out is the one to look at: no "
        "broker, a young age again and again, memory beyond the others.",
        Column(title="Slots", expr=total(of(SLOTS), *EACH_CONSUMER), unit=Unit.number),
        Column(title="Busy", expr=total(of(SLOTS_BUSY), *EACH_CONSUMER), unit=Unit.number),
        Column(
            title="Started",
            expr=total(rate(of(RUNS_STARTED), "5m"), *EACH_CONSUMER),
            unit=Unit.runs_per_second,
        ),
        Column(
            title="Broker up",
            expr=smallest(of(BROKER_UP), *EACH_CONSUMER),
            unit=Unit.number,
            steps=ONE_NEEDED,
        ),
        Column(
            title="Loop lag p99",
            expr=quantile(0.99, LOOP_LAG, by=EACH_CONSUMER, window="5m"),
            unit=Unit.seconds,
            steps=coloured("loop_lag"),
        ),
        Column(title="CPU", expr=total(rate(of(PROCESS_CPU), "5m"), *EACH_CONSUMER), unit=Unit.cores),
        Column(title="Memory", expr=largest(of(PROCESS_MEMORY), *EACH_CONSUMER), unit=Unit.bytes),
        Column(title="Age", expr=age(largest(of(PROCESS_START), *EACH_CONSUMER)), unit=Unit.seconds),
        by=EACH_CONSUMER,
        sort_by="Busy",
        height=8,
    ),
    graph(
        "Slots busy by process",
        "The share of each process's slots that is taken. One full and the others empty: its bodies hang.",
        Query(measures.busy_share(INSTANCE), EACH),
        unit=Unit.share,
        steps=coloured("slots_busy"),
        most=1,
        empty=NO_CONSUMER,
    ),
    graph(
        "Claims by process",
        "How often each one asked for work, answers without any included. Nothing from a process with free "
        "slots: its claim loop has stopped.",
        Query(total(rate(of(BROKER_COMMANDS, 'move="claim"', part="count")), INSTANCE), EACH),
        unit=Unit.per_second,
        empty=NO_CONSUMER,
    ),
    graph(
        "Versions",
        "How many processes run which version. Two for long: a deploy is stuck half-way.",
        Query(f"count by (version) ({of(BUILD)})", "{{version}}"),
        unit=Unit.number,
        empty=NO_CONSUMER,
        stacked=True,
    ),
)

NOT_CLAIM = 'move!="claim"'

BROKER: tuple[Panel, ...] = (
    graph(
        "Calls, p99 by move",
        "How long the broker takes. All moves slow: the server or the network is. One of them: what it does "
        "is large. Claims are left out, for they wait for work.",
        Query(quantile(0.99, BROKER_COMMANDS, NOT_CLAIM, by=("move",)), "{{move}}"),
        unit=Unit.seconds,
        steps=coloured("broker_call"),
        empty="no calls",
        width=6,
    ),
    graph(
        "Calls by move",
        "What the broker is asked for. A move that suddenly leads is who to ask.",
        Query(any_of(total(rate(of(BROKER_COMMANDS, part="count")), "move")), "{{move}}"),
        unit=Unit.per_second,
        empty="no calls",
        width=6,
        stacked=True,
    ),
    graph(
        "Failed calls",
        "Lost: the connection went. Missing: its streams were deleted. Refused: it is full, read only, or "
        "loading. Any that last: look at the server.",
        Query(total(rate(of(BROKER_ERRORS)), "kind"), "{{kind}}"),
        unit=Unit.per_second,
        steps=NONE_EXPECTED,
        empty=NO_CONSUMER,
        width=6,
    ),
    graph(
        "Broker seen by process",
        "1 while the broker answers the scrapes of a process. One at 0: its network. All at 0: the server.",
        Query(smallest(of(BROKER_UP), INSTANCE), EACH),
        unit=Unit.number,
        steps=ONE_NEEDED,
        most=1,
        empty=NO_CONSUMER,
        width=6,
    ),
)


LOOP: tuple[Panel, ...] = (
    graph(
        "Loop lag by process, p99",
        "How late the event loop wakes who sleeps. Above 100 ms, claiming, settling and every body in that "
        "process are late: something does not await.",
        Query(quantile(0.99, LOOP_LAG, by=(INSTANCE,)), EACH),
        unit=Unit.seconds,
        steps=coloured("loop_lag"),
        empty=NO_CONSUMER,
    ),
    graph(
        "Loop blocked by task",
        "How often the loop stood still, by the task whose body did it; the log has the stack. Declare it "
        "`cpu_bound`, or have a thread do the blocking part.",
        Query(any_of(total(increase(of(LOOP_BLOCKED)), "task")), "{{task}}"),
        unit=Unit.number,
        steps=FEW_EXPECTED,
        empty="never",
    ),
    graph(
        "Claimed to started, p99",
        "What lies between the claim and the body. It grows when the loop is busy, and with it everything.",
        Query(quantile(0.99, RUN_DISPATCH), "dispatch"),
        unit=Unit.seconds,
        steps=coloured("dispatch"),
        empty="nothing was started",
    ),
    graph(
        "Handlers: waiting events",
        "Events that wait for an async handler. Rising to its limit: the handler is too slow and will drop.",
        Query(total(of(HANDLER_QUEUE), "event", "handler"), OF_HANDLER),
        unit=Unit.number,
        empty="no async handlers",
    ),
    graph(
        "Handlers: dropped and failed",
        "Events that a handler never saw, and those on which it raised or took too long. Tasks do not "
        "suffer; what the handler is for does.",
        Query(total(increase(of(HANDLER_DROPPED)), "event", "handler"), f"dropped: {OF_HANDLER}"),
        Query(any_of(total(increase(of(HANDLER_FAILURES)), "event", "handler")), f"failed: {OF_HANDLER}"),
        unit=Unit.number,
        steps=FEW_EXPECTED,
        empty="none",
    ),
    graph(
        "Garbage collections",
        "How often the interpreter collects, by generation. Many of generation 2 with lag: bodies make large "
        "webs of objects.",
        Query(total(rate(of(COLLECTIONS)), "generation"), "generation {{generation}}"),
        unit=Unit.per_second,
        empty=NO_CONSUMER,
    ),
)

PROCESS: tuple[Panel, ...] = (
    graph(
        "CPU by process",
        "One core is the most that an event loop can use. Near 1 for long: more processes, not more slots.",
        Query(total(rate(of(PROCESS_CPU)), INSTANCE), EACH),
        unit=Unit.cores,
        steps=coloured("cpu"),
        empty=NO_CONSUMER,
    ),
    graph(
        "Memory by process",
        "A line that only climbs is a leak; so is a saw whose teeth are restarts.",
        Query(largest(of(PROCESS_MEMORY), INSTANCE), EACH),
        unit=Unit.bytes,
        empty=NO_CONSUMER,
    ),
    graph(
        "Open files by process",
        "The share of the files and sockets that it may open. Climbing: connections are not closed.",
        Query(ratio(largest(of(PROCESS_FILES), INSTANCE), largest(of(PROCESS_MOST_FILES), INSTANCE)), EACH),
        unit=Unit.share,
        steps=coloured("open_files"),
        empty=NO_CONSUMER,
    ),
)
