"""One number each: is it well, and was it in the last hour?"""

from __future__ import annotations

from dashboards.boards import measures
from dashboards.boards.links import Uid, to_board
from dashboards.boards.look import FEW_EXPECTED, NONE_EXPECTED, ONE_NEEDED, PLAIN, Unit, coloured
from dashboards.boards.panel import Panel, stat_of
from dashboards.boards.promql import increase, of, or_zero, smallest, told, total
from telemetry.names import (
    BOOKS_UNACCOUNTED,
    BROKER_UP,
    HANDLER_DROPPED,
    LOOP_BLOCKED,
    QUEUE_PAUSED,
    RUNS_ENDED,
    RUNS_LOST,
    RUNS_RETRIED,
    SCHEDULE_MISSED,
    SLOTS,
)

NOW = "5m"
"""The window of what is said about now."""
HOUR = "1h"

VERDICT: tuple[Panel, ...] = (
    stat_of(
        "Consumers",
        "Processes that run tasks and were scraped. 0: nothing is worked on. Fewer than you deploy: look for "
        "targets that are down on the board Alerts and telemetry.",
        or_zero(f"count({of(SLOTS)} > 0)"),
        unit=Unit.number,
        steps=ONE_NEEDED,
        empty="none",
        leads_to=to_board(Uid.queues, "Queues and consumers"),
    ),
    stat_of(
        "Broker",
        "Whether the broker answered the last scrape of every process. Away: nothing is claimed or queued, "
        "and the numbers of the queue are absent until it is back; nothing that it has kept is lost by "
        "that.",
        smallest(of(BROKER_UP)),
        unit=Unit.number,
        steps=ONE_NEEDED,
        words={"0": "away", "1": "up"},
        empty="no process is seen",
        leads_to=to_board(Uid.queues, "Queues and consumers"),
    ),
    stat_of(
        "Failure ratio",
        "Runs that failed for good in the last five minutes, among all that succeeded or failed. The "
        "table of tasks below says which task it is.",
        measures.failure_ratio(window=NOW),
        unit=Unit.share,
        steps=coloured("failure_ratio"),
        decimals=1,
        empty="nothing ended",
    ),
    stat_of(
        "Oldest ready run",
        "How long the oldest run that could start has been waiting. It grows by a second each second when "
        "nothing is claimed at its priority.",
        measures.oldest_ready(),
        unit=Unit.seconds,
        steps=coloured("waiting"),
        empty="no answer of the broker",
        leads_to=to_board(Uid.queues, "Queues and consumers"),
    ),
    stat_of(
        "Time to drain",
        "What a run that is queued now will wait, at the pace of the last five minutes: ready runs by runs "
        "ended a second. 30 days stand for no end in sight. Long, with all slots busy: more consumers help.",
        measures.time_to_drain(),
        unit=Unit.seconds,
        steps=coloured("time_to_drain"),
        empty="no answer of the broker",
        leads_to=to_board(Uid.queues, "Queues and consumers"),
    ),
    stat_of(
        "Slots busy",
        "Saturation: the share of slots in which a body runs. Full for minutes with runs waiting: bodies "
        "hang or there are too few consumers. Empty with runs waiting: claiming has stopped, or the queue "
        "is paused.",
        measures.busy_share(),
        unit=Unit.share,
        steps=coloured("saturation"),
        decimals=0,
        empty="no slots",
        leads_to=to_board(Uid.queues, "Queues and consumers"),
    ),
    stat_of(
        "Dead runs",
        "Runs for which no verdict was possible; each waits for a person to replay or discard it: "
        "`fluid runs ls --state dead`. Growing: a task kills its process, or parameters no longer validate.",
        measures.depth("dead"),
        unit=Unit.number,
        steps=coloured("dead_runs"),
        empty="no answer of the broker",
    ),
    stat_of(
        "Books",
        "Accepted runs that are neither ended nor open, in the queue that is worst. Anything but balanced "
        "is a fault of the broker or of ours: keep its data, and read the runbook.",
        f"max(abs({told(BOOKS_UNACCOUNTED)}))",
        unit=Unit.number,
        steps=NONE_EXPECTED,
        words={"0": "balanced"},
        empty="no answer of the broker",
    ),
)

LAST_HOUR: tuple[Panel, ...] = (
    stat_of(
        "Failures, 1 h",
        "Runs that failed for good in the last hour. One or two may be ordinary for you; a jump is not.",
        total(increase(of(RUNS_ENDED, 'state="failure"'), HOUR)),
        unit=Unit.number,
        steps=FEW_EXPECTED,
        decimals=0,
        empty="no consumer",
    ),
    stat_of(
        "Retries, 1 h",
        "Attempts in the last hour that failed and were followed by another. Many more than runs: something "
        "that tasks depend on is ill, and retries add to its load.",
        total(increase(of(RUNS_RETRIED), HOUR)),
        unit=Unit.number,
        steps=PLAIN,
        decimals=0,
        empty="no consumer",
    ),
    stat_of(
        "Attempts lost, 1 h",
        "Attempts in the last hour whose consumer was gone: killed, out of memory, cut off. The runs were "
        "delivered again. Outside of deploys it should be none.",
        total(increase(of(RUNS_LOST), HOUR)),
        unit=Unit.number,
        steps=NONE_EXPECTED,
        decimals=0,
        empty="no consumer",
    ),
    stat_of(
        "Held runs",
        "Runs that are ready but may not be claimed now: a limit, a paused task, a task that no consumer "
        "knows. The board Queues and consumers shows why.",
        measures.depth("held"),
        unit=Unit.number,
        steps=FEW_EXPECTED,
        empty="no answer of the broker",
        leads_to=to_board(Uid.queues, "Queues and consumers"),
    ),
    stat_of(
        "Queues paused",
        "Queues that somebody has paused: nothing is claimed from them until they are resumed.",
        total(told(QUEUE_PAUSED)),
        unit=Unit.number,
        steps=FEW_EXPECTED,
        empty="no answer of the broker",
    ),
    stat_of(
        "Loop blocked, 1 h",
        "How often in the last hour an event loop stood still. While it does, nothing is claimed or settled "
        "in that process; the task that did it is on the board Queues and consumers.",
        total(increase(of(LOOP_BLOCKED), HOUR)),
        unit=Unit.number,
        steps=FEW_EXPECTED,
        decimals=0,
        empty="no consumer",
        leads_to=to_board(Uid.queues, "Queues and consumers"),
    ),
    stat_of(
        "Ticks missed, 1 h",
        "Ticks of schedules in the last hour that will not be fired: no scheduler ran when they were due.",
        total(increase(of(SCHEDULE_MISSED), HOUR)),
        unit=Unit.number,
        steps=NONE_EXPECTED,
        decimals=0,
        empty="no scheduler",
        leads_to=to_board(Uid.schedules, "Schedules"),
    ),
    stat_of(
        "Events dropped, 1 h",
        "Events in the last hour that a handler never saw, because it was too slow. Tasks do not suffer; "
        "what the handler is for does.",
        total(increase(of(HANDLER_DROPPED), HOUR)),
        unit=Unit.number,
        steps=FEW_EXPECTED,
        decimals=0,
        empty="no handlers",
        leads_to=to_board(Uid.telemetry, "Alerts and telemetry"),
    ),
)
