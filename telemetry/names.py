"""The catalogue: every metric, written once. `python -m telemetry.page` prints it as a page."""

from __future__ import annotations

from fluid.scheduler import EVENTS, TaskPriority, TaskState
from telemetry.metric import RUN_SECONDS as RUN_SECONDS
from telemetry.metric import Kind as Kind
from telemetry.metric import Label
from telemetry.metric import Metric as Metric
from telemetry.metric import Scope as Scope
from telemetry.metric import counter as _counter
from telemetry.metric import gauge as _gauge
from telemetry.metric import histogram as _histogram

OTHER = "other"
"""The label value of what is in no closed set: a task that is not registered here, for one."""

QUEUE_LABEL = "queue"
"""Every series carries it: the name of the queue."""

CALL_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""For what should take milliseconds: calls to the broker, the loop, the snapshot of a scrape."""


def reasons_of(event: str) -> Label:
    """The reasons that an event is told with, as the core publishes them."""
    return Label("reason", EVENTS[event].reasons)


TASK = Label("task")
EVENT = Label("event")
HANDLER = Label("handler")
VERSION = Label("version")
PRIORITY = Label("priority", tuple(map(str, TaskPriority)))
STATE = Label("state", tuple(str(state) for state in TaskState if state.is_done))
STATUS = Label("status", ("ready", "running", "scheduled", "held", "dead"))
OUTCOME = Label("outcome", ("accepted", "success", "failure", "aborted", "replayed"))
MOVE = Label(
    "move",
    (
        *("open", "enqueue", "claim", "stop_claiming", "settle", "rescue", "snapshot", "fire", "show"),
        *("cancel", "replay", "hasten", "progress", "pause", "pause_task", "limit", "list", "note", "tell"),
        *("leave", "tidy", "sweep", OTHER),
    ),
)
DROP_CAUSE = Label("cause", ("queue_full", "export_failed", "stopped"))
CHANNEL = Label("channel", ("alertmanager", "webhook", "apprise"))
DURABILITY = Label("class", ("none", "rdb", "aof_no", "aof_everysec", "aof_always"))
ERROR_KIND = Label("kind", ("lost", "missing", "refused", OTHER))
FOLD = Label("cause", ("over_budget", "unregistered"))
OBJECTIVE = Label("objective", ("success", "start", "finish"))
WITHIN = Label("within")
CANARY_FAULT = Label("cause", ("late", "failed", "unavailable"))


# -- runs, by task: local runs (`execute`) are in none of them -----------------------------

RUNS_QUEUED = _counter(
    "fluid_runs_queued_total",
    "Runs queued by this process that the broker has accepted, also those that were not due yet.",
    TASK,
    PRIORITY,
)
RUNS_REFUSED = _counter(
    "fluid_runs_refused_total",
    "Runs that this process could not queue: the broker said no, or could not be asked.",
    TASK,
    reasons_of("refused"),
)
RUNS_STARTED = _counter("fluid_runs_started_total", "Attempts that began here.", TASK)
RUNS_ENDED = _counter(
    "fluid_runs_ended_total", "Runs whose final state was settled here, once per run.", TASK, STATE
)
RUNS_RETRIED = _counter(
    "fluid_runs_retried_total",
    "Attempts that failed here and were followed by another.",
    TASK,
    reasons_of("retry"),
)
RUNS_LOST = _counter(
    "fluid_runs_lost_total",
    "Attempts whose lease ran out, counted where they were rescued, not where they were lost.",
    TASK,
)
RUNS_INTERRUPTED = _counter(
    "fluid_runs_interrupted_total", "Attempts that were handed back because this consumer stopped.", TASK
)
RUNS_HELD = _counter(
    "fluid_runs_held_total",
    "Runs moved aside here because they could not be claimed.",
    TASK,
    reasons_of("held"),
)
RUNS_DEAD = _counter(
    "fluid_runs_dead_total", "Runs found dead here: no verdict was possible.", TASK, reasons_of("dead")
)
STALE_OUTCOMES = _counter(
    "fluid_stale_outcomes_total", "Outcomes of ours that were refused because the lease had gone.", TASK
)
RUNS_ACTIVE = _gauge(
    "fluid_runs_active", "Attempts that began here and whose outcome is not settled yet.", TASK
)
RUN_WAIT = _histogram(
    "fluid_run_wait_seconds",
    "From ready to claimed, by the broker's clock. A delay that was asked for is not waiting.",
    TASK,
    PRIORITY,
)
RUN_DISPATCH = _histogram("fluid_run_dispatch_seconds", "From claimed to the start of the body.", TASK)
RUN_DURATION = _histogram(
    "fluid_run_duration_seconds",
    "What the body took in the attempt that ended the run; failed attempts before it are not in here.",
    TASK,
    STATE,
)
RUN_LATENCY = _histogram(
    "fluid_run_latency_seconds",
    "From queued to ended, by the broker's clock: delays, retries and all.",
    TASK,
)
LAST_SUCCESS = _gauge(
    "fluid_task_last_success_timestamp_seconds", "When a run last succeeded here; 0 for not yet.", TASK
)
LOOP_BLOCKED = _counter(
    "fluid_loop_blocked_total", "Stalls of the event loop, by the task whose body caused them.", TASK
)

# -- schedules -----------------------------------------------------------------------------

SCHEDULE_FIRES = _counter(
    "fluid_schedule_fires_total", "Ticks that this scheduler fired.", TASK, scope=Scope.scheduler
)
SCHEDULE_MISSED = _counter(
    "fluid_schedule_missed_total",
    "Ticks that passed and will not be fired, by this scheduler's account.",
    TASK,
    scope=Scope.scheduler,
)
SCHEDULE_LATENESS = _histogram(
    "fluid_schedule_lateness_seconds",
    "From a tick to its fire, by the broker's clock.",
    TASK,
    scope=Scope.scheduler,
)
SCHEDULE_LAST_FIRE = _gauge(
    "fluid_schedule_last_fire_timestamp_seconds",
    "The last tick that this scheduler fired; 0 for none yet.",
    TASK,
    scope=Scope.scheduler,
)
SCHEDULE_NEXT_FIRE = _gauge(
    "fluid_schedule_next_fire_timestamp_seconds",
    "The tick after the last one that fired here, or after the start; 0 when there is none. "
    "An instant long gone, in all schedulers, means that nobody fires.",
    TASK,
    scope=Scope.scheduler,
)

# -- this process --------------------------------------------------------------------------

SLOTS = _gauge("fluid_slots", "Bodies that this consumer may run at once; 0 for a manager.")
SLOTS_BUSY = _gauge("fluid_slots_busy", "Slots whose bodies run.")
BROKER_UP = _gauge(
    "fluid_broker_up", "1 when the broker answered this scrape. When 0, fleet series are absent."
)
BROKER_COMMANDS = _histogram(
    "fluid_broker_command_seconds",
    "Calls to the broker, failed ones too. A `claim` takes in its wait for work, up to 5 s.",
    MOVE,
    buckets=CALL_SECONDS,
)
BROKER_ERRORS = _counter(
    "fluid_broker_errors_total",
    "Calls that failed: the broker was `lost`, its streams were `missing`, or it `refused`.",
    ERROR_KIND,
)
BROKER_UNSAFE = _gauge(
    "fluid_broker_unsafe",
    "1 while runs can be lost or refused by the broker. This and the next four: by this consumer's last look "
    "at the server, twice a minute; 0 before the first and in a manager.",
    reasons_of("broker_unsafe"),
)
BROKER_DURABILITY = _gauge(
    "fluid_broker_durability",
    "1 for what the server has on disk: nothing, a copy now and then, or an append-only file, and how it is "
    "flushed. Of what it does not tell, the least that can be.",
    DURABILITY,
)
BROKER_MEMORY_USED = _gauge("fluid_broker_memory_used_bytes", "Memory that the server uses.")
BROKER_MEMORY_LIMIT = _gauge(
    "fluid_broker_memory_limit_bytes", "Memory that the server may use; 0 for no limit."
)
BROKER_CLOCK_OFFSET = _gauge(
    "fluid_broker_clock_offset_seconds",
    "How far the server's clock is ahead of ours, beyond what the question took; below 0 when it is behind.",
)
BROKER_REWOUND = _counter(
    "fluid_broker_rewound_total", "Times this process found that the broker had gone back in time."
)
HANDLER_QUEUE = _gauge("fluid_handler_queue_size", "Events that wait for an async handler.", EVENT, HANDLER)
HANDLER_HANDLED = _counter(
    "fluid_handler_handled_total", "Events that an async handler took.", EVENT, HANDLER
)
HANDLER_DROPPED = _counter(
    "fluid_handler_dropped_total", "Events dropped before an async handler saw them.", EVENT, HANDLER
)
HANDLER_FAILURES = _counter(
    "fluid_handler_failures_total", "Events on which a handler raised or took too long.", EVENT, HANDLER
)
HANDLER_PAUSED = _gauge(
    "fluid_handler_paused", "1 while a handler is left in peace because it kept failing.", EVENT, HANDLER
)
HANDLER_SECONDS = _counter("fluid_handler_seconds_total", "Spent in an async handler.", EVENT, HANDLER)
LOG_LINES_DROPPED = _counter(
    "fluid_log_lines_dropped_total",
    "Lines that were not logged: whoever should read them does not, or has gone.",
)
FLEET_EVENTS_TOLD = _counter(
    "fluid_fleet_events_told_total", "Events of this process that the queue's stream of events has taken."
)
FLEET_EVENTS_DROPPED = _counter(
    "fluid_fleet_events_dropped_total",
    "Events of this process that the queue's stream of events never got: too many waited for the broker.",
)
LOOP_LAG = _histogram(
    "fluid_loop_lag_seconds", "How late the event loop woke a sleeper.", buckets=CALL_SECONDS
)
BUILD = Metric("fluid_build_info", Kind.info, "The version that runs here.", (VERSION,))
SNAPSHOT_SECONDS = _histogram(
    "fluid_snapshot_seconds", "What the snapshot of a scrape took, failed ones too.", buckets=CALL_SECONDS
)
SNAPSHOT_ERRORS = _counter("fluid_snapshot_errors_total", "Scrapes for which the broker gave no snapshot.")
SPANS_DROPPED = _counter(
    "fluid_telemetry_spans_dropped_total",
    "Spans of this process that were not delivered: too many waited, the exporter gave up on them, or the "
    "process stopped first. Only of the exporter that `OTEL_*` variables set up here.",
    DROP_CAUSE,
)
RECORDS_DROPPED = _counter(
    "fluid_telemetry_records_dropped_total",
    "Log records of this process, lines and exceptions, that were not delivered, for the same causes.",
    DROP_CAUSE,
)
ALERTS_SENT = _counter("fluid_alerts_sent_total", "Notices that a channel has taken.", CHANNEL)
ALERTS_FAILED = _counter(
    "fluid_alerts_failed_total",
    "Notices that a channel did not take, however often it was tried, or that had no room to wait.",
    CHANNEL,
)
ALERTS_SUPPRESSED = _counter(
    "fluid_alerts_suppressed_total",
    "Occurrences that this process heard of without telling: an incident's count has them.",
)
TASKS_OVER_BUDGET = _gauge(
    "fluid_tasks_over_budget", "Tasks registered beyond the series budget: their runs are counted as `other`."
)
RUNS_FOLDED = _counter(
    "fluid_runs_folded_total",
    "Facts of runs that were counted as `other`: their task is beyond the budget, or not registered here.",
    FOLD,
)
SERIES = _gauge("fluid_series", "Series in this answer, this one included.")

SLO_GOAL = _gauge(
    "fluid_slo_goal_ratio",
    "The share of runs that the task promises to succeed, start or finish; 0 where it promises nothing. "
    "`max` it. `within` is in how many seconds, a bound of the histogram; empty for `success`.",
    TASK,
    OBJECTIVE,
    WITHIN,
)

# -- the canary: of each queue, the newest is the truth, so `max by (queue)` but for failures --

CANARY_INTERVAL = _gauge("fluid_canary_interval_seconds", "Between two canary runs; 0 for none.")
CANARY_LAST = _gauge(
    "fluid_canary_last_seconds",
    "What the last canary run took, from its queueing until its end was known; 0 where it was not queued.",
)
CANARY_LAST_SUCCESS = _gauge(
    "fluid_canary_last_success_timestamp_seconds",
    "When a canary run that was queued here last succeeded; 0 for not yet.",
)
CANARY_FAILURES = _counter(
    "fluid_canary_failures_total",
    "Canary runs that were `late`, `failed`, or for which the broker was `unavailable`.",
    CANARY_FAULT,
)

# -- the queue: absent while the broker is away, for a stale number misleads ---------------

QUEUE_RUNS = _gauge(
    "fluid_queue_runs", "Open runs in the queue, by where they are.", PRIORITY, STATUS, scope=Scope.fleet
)
QUEUE_PAUSED = _gauge("fluid_queue_paused", "1 while the queue is paused.", scope=Scope.fleet)
TASK_PAUSED = _gauge(
    "fluid_task_paused", "1 while the task is paused: its runs are held.", TASK, scope=Scope.fleet
)
QUEUE_OLDEST = _gauge(
    "fluid_queue_oldest_ready_seconds",
    "How long the oldest ready run has been ready, overdue ones included; 0 when none is.",
    PRIORITY,
    scope=Scope.fleet,
)
BOOKS_RUNS = _counter(
    "fluid_books_runs_total", "The books: totals since the queue was made.", OUTCOME, scope=Scope.fleet
)
BOOKS_UNACCOUNTED = _gauge(
    "fluid_books_unaccounted",
    "Accepted runs that are neither ended nor open. Anything but 0 is a fault.",
    scope=Scope.fleet,
)

CATALOGUE: tuple[Metric, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Metric)
)
"""Every metric, in the order in which it is written here."""

SERIES_PER_TASK = sum(
    row.series for row in CATALOGUE if TASK in row.labels and row.scope is not Scope.scheduler
)
"""How many series a registered task has in one process."""

SERIES_PER_SCHEDULE = sum(row.series for row in CATALOGUE if row.scope is Scope.scheduler)
"""How many more a task with a schedule has in a scheduler."""
