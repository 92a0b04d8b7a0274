"""What should not happen to runs and schedules."""

from __future__ import annotations

from dashboards.rules.symptom import Symptom
from dashboards.uids import Uid

TASK = ("job", "queue", "task")

UNKNOWN_HELD = 'RUNS_HELD{reason=~"unknown_task|newer_message"}'


def counted(metric: str) -> str:
    """What a counter has counted in the window of the alert, of each process.

    An increase is seen between two scrapes only. What a process counts as it starts, such as the ticks that
    passed without a scheduler, is there at its first scrape: of one that has just begun, all of it counts.
    """
    return f"""\
  (
    @{metric}
    unless
    @{metric} offset @window
    and on (job, instance)
    time() - process_start_time_seconds < @window_seconds
  )
  or
  increase(@{metric}[@window])"""


RUNS = (
    Symptom(
        name="FluidOldestRunTooOld",
        board=Uid.queues,
        summary="Runs wait too long.",
        description="""The oldest ready {{ $labels.priority }} run of queue {{ $labels.queue }} has been ready
            for {{ $value | humanizeDuration }}.""",
        expr="""
job_queue_priority:fluid_queue_oldest_ready_seconds:max{priority="high"} > @high_seconds
or
job_queue_priority:fluid_queue_oldest_ready_seconds:max{priority="medium"} > @medium_seconds
or
job_queue_priority:fluid_queue_oldest_ready_seconds:max{priority="low"} > @low_seconds
""",
    ),
    Symptom(
        name="FluidWillNotDrainInTime",
        board=Uid.queues,
        summary="There is more work than the consumers manage.",
        description="""At its pace of now, queue {{ $labels.queue }} needs {{ $value | humanizeDuration }} for
            the runs that are ready; it should need less than @limit.""",
        expr="job_queue:fluid_queue_runs:drain_seconds > @limit_seconds",
    ),
    Symptom(
        name="FluidFailureRatioHigh",
        board=Uid.task,
        of=TASK,
        summary="Many runs of a task fail.",
        description="""{{ $value | humanizePercentage }} of the runs of {{ $labels.task }} that end in queue
            {{ $labels.queue }} fail.""",
        expr="""
job_queue_task:fluid_runs_failed:ratio_@rate > @ratio
and on (job, queue, task)
sum by (job, queue, task) (increase(@RUNS_ENDED{state="failure"}[@window])) >= @failures
""",
    ),
    Symptom(
        name="FluidNothingSucceeds",
        board=Uid.task,
        of=TASK,
        summary="No run of a task succeeds.",
        description="""In @window, {{ $value | printf "%.0f" }} runs of {{ $labels.task }} in queue
            {{ $labels.queue }} have failed and none has succeeded.""",
        expr="""
sum by (job, queue, task) (increase(@RUNS_ENDED{state="failure"}[@window])) >= @failures
unless on (job, queue, task)
sum by (job, queue, task) (increase(@RUNS_ENDED{state="success"}[@window])) > 0
""",
    ),
    Symptom(
        name="FluidDeadRunsGrow",
        board=Uid.task,
        of=TASK,
        summary="Runs are found dead, and wait for a person.",
        description="""Runs of {{ $labels.task }} in queue {{ $labels.queue }} are found dead
            ({{ $labels.reason }}): {{ $value | printf "%.0f" }} in @window.""",
        expr=f"sum by (job, queue, task, reason) (\n{counted('RUNS_DEAD')}\n) > @runs",
    ),
    Symptom(
        name="FluidHeldRunsUnknown",
        board=Uid.queues,
        summary="Runs are held that no consumer knows.",
        description="""In queue {{ $labels.queue }} runs are held that no consumer can take
            ({{ $labels.reason }}): {{ $value | printf "%.0f" }} came in @window.""",
        expr=f"""
sum by (job, queue, reason) (
{counted(UNKNOWN_HELD)}
) > @runs
and on (job, queue)
job_queue_status:fluid_queue_runs:sum{{status="held"}} > 0
""",
    ),
    Symptom(
        name="FluidRunsLost",
        board=Uid.task,
        of=TASK,
        summary="Attempts are lost with their consumers.",
        description="""Leases of {{ $labels.task }} in queue {{ $labels.queue }} ran out:
            {{ $value | printf "%.0f" }} in @window. The runs are delivered again.""",
        expr=f"sum by (job, queue, task) (\n{counted('RUNS_LOST')}\n) > @runs",
    ),
    Symptom(
        name="FluidRunsUnaccounted",
        board=Uid.overview,
        summary="The books do not balance.",
        description="""{{ $value | printf "%.0f" }} runs of queue {{ $labels.queue }} are neither ended nor
            open, or ended twice.""",
        expr="max by (job, queue) (abs(@BOOKS_UNACCOUNTED)) > @runs",
    ),
    Symptom(
        name="FluidRetryStorm",
        board=Uid.task,
        of=TASK,
        summary="Most attempts of a task are tried again.",
        description="""{{ $value | humanizePercentage }} of the attempts of {{ $labels.task }} in queue
            {{ $labels.queue }} fail and are tried again.""",
        expr="""
job_queue_task:fluid_runs_retried:ratio_@rate > @ratio
and on (job, queue, task)
sum by (job, queue, task) (increase(@RUNS_RETRIED[@window])) >= @retries
""",
    ),
)

SCHEDULES = (
    Symptom(
        name="FluidScheduleMissed",
        board=Uid.schedules,
        of=TASK,
        summary="Ticks of a schedule passed and will not be fired.",
        description="""The schedule of {{ $labels.task }} in queue {{ $labels.queue }} missed
            {{ $value | printf "%.0f" }} ticks in @window.""",
        expr=f"max by (job, queue, task) (\n{counted('SCHEDULE_MISSED')}\n) > @ticks",
    ),
    # A scheduler that is gone tells nothing: what it told last is remembered, unless another one tells the
    # schedules of the queue now, and this one is no longer among them.
    Symptom(
        name="FluidScheduleLate",
        board=Uid.schedules,
        of=TASK,
        summary="A schedule is not fired.",
        description="""The tick of {{ $labels.task }} in queue {{ $labels.queue }} is
            {{ $value | humanizeDuration }} overdue.""",
        expr="""
time() - (max by (job, queue, task) (@SCHEDULE_NEXT_FIRE) > 0) > @limit_seconds
or
time()
- (
  max by (job, queue, task) (last_over_time(@SCHEDULE_NEXT_FIRE[@memory])) > 0
  unless on (job, queue)
  group by (job, queue) (@SCHEDULE_NEXT_FIRE)
) > @limit_seconds
""",
    ),
)
