"""What should not happen to consumers, to the broker, and to those who watch."""

from __future__ import annotations

from dashboards.rules.symptom import Symptom
from dashboards.uids import Uid

CONSUMERS = (
    # A consumer that is gone tells nothing: it is missed where there was one, or where runs are ready. Who
    # only queues may be another job than who consumes: there, a consumer of any job is enough.
    Symptom(
        name="FluidConsumerAbsent",
        board=Uid.queues,
        summary="Nobody consumes a queue.",
        description="""No consumer of queue {{ $labels.queue }} is seen: runs wait until one starts.""",
        expr="""
max by (job, queue) (last_over_time(@SLOTS[@memory])) > 0
unless on (job, queue)
max by (job, queue) (@SLOTS) > 0
or
max by (job, queue) (job_queue_status:fluid_queue_runs:sum{status="ready"}) > 0
unless on (queue)
max by (queue) (@SLOTS) > 0
""",
    ),
    Symptom(
        name="FluidSlotsAllBusy",
        board=Uid.queues,
        summary="All slots are busy while runs wait.",
        description="""{{ $value | humanizePercentage }} of the slots of queue {{ $labels.queue }} are busy,
            and runs are ready that find none.""",
        expr="""
job_queue:fluid_slots_busy:ratio >= @ratio
and on (job, queue)
job_queue_status:fluid_queue_runs:sum{status="ready"} > 0
""",
    ),
    Symptom(
        name="FluidClaimingStopped",
        board=Uid.queues,
        summary="Slots are free and runs ready, but none starts.",
        description="""{{ $value | printf "%.0f" }} runs of queue {{ $labels.queue }} are ready and slots are
            free, but in @window no attempt has begun. The queue is not paused.""",
        expr="""
max by (job, queue) (job_queue_status:fluid_queue_runs:sum{status="ready"}) > 0
and on (job, queue)
job_queue:fluid_slots_busy:ratio < 1
unless on (job, queue)
sum by (job, queue) (increase(@RUNS_STARTED[@window])) > 0
unless on (job, queue)
max by (job, queue) (@QUEUE_PAUSED) > 0
""",
    ),
    Symptom(
        name="FluidLoopBlocked",
        board=Uid.task,
        of=("job", "queue", "task"),
        summary="A task blocks the event loop.",
        description="""Bodies of {{ $labels.task }} in queue {{ $labels.queue }} have made the event loop
            stand still {{ $value | printf "%.0f" }} times in @window, and go on doing so. Everything beside
            them waits.""",
        expr="sum by (job, queue, task) (increase(@LOOP_BLOCKED[@window])) >= @stalls",
    ),
    # Jobs of ours are those that have told their version of late.
    Symptom(
        name="FluidTargetDown",
        board=Uid.overview,
        of=("job",),
        summary="A process cannot be scraped.",
        description="""Prometheus cannot scrape {{ $labels.instance }} of job {{ $labels.job }}.""",
        expr="""
up == 0
and on (job)
max by (job) (last_over_time(@BUILD[@memory])) > 0
""",
    ),
)

BROKER = (
    Symptom(
        name="FluidBrokerDown",
        board=Uid.overview,
        summary="Processes cannot reach the broker.",
        description="""{{ $value | humanizePercentage }} of the processes of queue {{ $labels.queue }} cannot
            reach the broker.""",
        expr="""
count by (job, queue) (@BROKER_UP == 0) / on (job, queue) count by (job, queue) (@BROKER_UP)
> @share
""",
    ),
    Symptom(
        name="FluidBrokerUnsafe",
        board=Uid.overview,
        summary="The broker can lose or refuse runs.",
        description="""The broker of queue {{ $labels.queue }} is not safe for runs: {{ $labels.reason }}.""",
        expr="max by (job, queue, reason) (@BROKER_UNSAFE) > 0",
    ),
    Symptom(
        name="FluidBrokerRewound",
        board=Uid.overview,
        summary="The broker went back in time.",
        description="""The broker of queue {{ $labels.queue }} has forgotten what it had confirmed: what was
            queued or settled just before is gone, or will run again.""",
        expr="max by (job, queue) (increase(@BROKER_REWOUND[@window])) > 0",
    ),
    # One that never came home has no last success to be measured from; there, those that failed are counted.
    Symptom(
        name="FluidCanaryLate",
        board=Uid.overview,
        summary="The canary does not come home: runs probably do not either.",
        description="""In queue {{ $labels.queue }} the canary run should come home all the time, and has not
            for @intervals intervals.""",
        expr="""
time() - (max by (job, queue) (max_over_time(@CANARY_LAST_SUCCESS[@memory])) > 0)
> on (job, queue)
@intervals * (max by (job, queue) (@CANARY_INTERVAL) > 0)
or
sum by (job, queue) (increase(@CANARY_FAILURES[@memory])) >= @intervals
unless on (job, queue)
max by (job, queue) (max_over_time(@CANARY_LAST_SUCCESS[@memory])) > 0
""",
    ),
)

WATCHERS = (
    Symptom(
        name="FluidHandlerDrops",
        board=Uid.telemetry,
        summary="A handler does not keep up, and events are dropped before it.",
        description="""The handler {{ $labels.handler }} of {{ $labels.event }} in queue {{ $labels.queue }}
            has missed {{ $value | printf "%.0f" }} events in @window. Runs are not affected.""",
        expr="sum by (job, queue, event, handler) (increase(@HANDLER_DROPPED[@window])) > @events",
    ),
    Symptom(
        name="FluidTelemetryFails",
        board=Uid.telemetry,
        summary="What watches does not work as it should.",
        description="""Queue {{ $labels.queue }}, {{ $labels.part }}: {{ $value | printf "%.0f" }} in @window.
            What is seen of runs may be incomplete; the runs are not affected.""",
        expr="""
label_replace(
  sum by (job, queue) (increase(@HANDLER_FAILURES[@window])) > @faults,
  "part", "failures of handlers", "", ""
)
or
label_replace(
  sum by (job, queue) (increase(@SPANS_DROPPED[@window])) > @faults,
  "part", "spans dropped", "", ""
)
or
label_replace(
  sum by (job, queue) (increase(@RECORDS_DROPPED[@window])) > @faults,
  "part", "log records dropped", "", ""
)
or
label_replace(
  sum by (job, queue) (increase(@LOG_LINES_DROPPED[@window])) > @faults,
  "part", "log lines dropped", "", ""
)
or
label_replace(
  sum by (job, queue) (increase(@FLEET_EVENTS_DROPPED[@window])) > @faults,
  "part", "fleet events dropped", "", ""
)
""",
    ),
)
