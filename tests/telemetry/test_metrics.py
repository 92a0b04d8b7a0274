"""Events become numbers: each fact once, under the right labels."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from fluid.clock import timestamp
from fluid.scheduler import EVENTS, Event, Task, TaskConsumer, TaskPriority, TaskRun, TaskScheduler, TaskState
from telemetry import Telemetry, names
from telemetry.metrics import ScheduleSeries, TaskSeries
from telemetry.names import Metric, Scope
from telemetry.settings import TelemetrySettings
from tests.telemetry.scraping import scrape


@pytest.fixture
def telemetry(consumer: TaskConsumer) -> Iterator[Telemetry]:
    """Listens to the consumer, which does not run: the test announces."""
    telemetry = Telemetry(server=False)
    telemetry.attach(consumer)
    yield telemetry
    telemetry.detach()


def a_run(name: str = "greet", state: TaskState = TaskState.running, **more: Any) -> TaskRun[Any]:
    return TaskRun(id="1", name=name, params={}, state=state, started_at=1000 * timestamp(), **more)


def tell(host: TaskConsumer, name: str, run: TaskRun[Any] | None = None, **told: Any) -> None:
    host.dispatcher.dispatch(name, Event(name=name, run=run, **told))


@pytest.mark.parametrize("event", ["queued", "scheduled"])
async def test_a_run_the_broker_has_is_queued_whenever_it_is_due(
    consumer: TaskConsumer, telemetry: Telemetry, event: str
) -> None:
    tell(consumer, event, a_run(priority=TaskPriority.high))
    seen = await scrape(telemetry)
    assert seen.value(names.RUNS_QUEUED, task="greet", priority="high") == 1
    assert seen.value(names.RUNS_QUEUED) == 1


async def test_a_scrape_counts_all_that_has_happened_and_little_waits_for_one(
    consumer: TaskConsumer, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("telemetry.metrics.MOST_GATHERED", 10)
    assert telemetry._attachment is not None
    series = telemetry._attachment.metrics._tasks["greet"]
    for ended in range(1, 36):
        run = a_run(priority=TaskPriority.low)
        tell(consumer, "start", run, waited=0.25, dispatched=0.5)
        run.state = TaskState.success
        tell(consumer, "end", run, ran=0.5, latency=0.75)
        waiting = (series.wait["low"], series.dispatch, series.duration["success"], series.latency)
        assert max(len(one.gathered) for one in waiting) <= 10
        if ended % 7 == 0:
            seen = await scrape(telemetry)
            assert seen.value(names.RUNS_STARTED, task="greet") == ended
            assert seen.value(names.RUNS_ENDED, task="greet", state="success") == ended
            for name, seconds in (
                ("fluid_run_wait_seconds", 0.25),
                ("fluid_run_dispatch_seconds", 0.5),
                ("fluid_run_duration_seconds", 0.5),
                ("fluid_run_latency_seconds", 0.75),
            ):
                assert seen.value(f"{name}_count", task="greet") == ended, name
                assert seen.value(f"{name}_sum", task="greet") == seconds * ended, name


COUNTED = {
    "refused": names.RUNS_REFUSED,
    "retry": names.RUNS_RETRIED,
    "held": names.RUNS_HELD,
    "interrupted": names.RUNS_INTERRUPTED,
    "lost": names.RUNS_LOST,
    "stale": names.STALE_OUTCOMES,
    "dead": names.RUNS_DEAD,
}


@pytest.mark.parametrize(
    ("event", "reason"),
    [(event, reason) for event in COUNTED for reason in EVENTS[event].reasons or ("",)],
)
async def test_an_event_counts_once_under_its_reason(
    consumer: TaskConsumer, telemetry: Telemetry, event: str, reason: str
) -> None:
    tell(consumer, event, a_run(), reason=reason)
    seen = await scrape(telemetry)
    metric = COUNTED[event]
    labels = {"reason": reason} if metric.labels[-1].name == "reason" else {}
    assert seen.value(metric, task="greet", **labels) == 1
    for other in COUNTED.values():
        assert seen.value(other) == (1 if other is metric else 0)


async def test_a_reason_of_no_closed_set_counts_as_other(
    consumer: TaskConsumer, telemetry: Telemetry
) -> None:
    for reason in ("gremlins", "goblins"):
        tell(consumer, "held", a_run(), reason=reason)
    assert (await scrape(telemetry)).value(names.RUNS_HELD, reason="other") == 2


async def test_a_task_that_is_not_registered_counts_as_other(
    consumer: TaskConsumer, telemetry: Telemetry
) -> None:
    for name in ("stranger", "another"):
        tell(consumer, "lost", a_run(name))
    assert (await scrape(telemetry)).value(names.RUNS_LOST, task="other") == 2


async def test_a_task_registered_late_counts_from_its_first_event(
    consumer: TaskConsumer, telemetry: Telemetry
) -> None:
    async def body(ctx: TaskRun) -> None: ...

    consumer.register_task(Task(name="late", executor=body))
    tell(consumer, "lost", a_run("late"))
    assert (await scrape(telemetry)).value(names.RUNS_LOST, task="late") == 1


async def test_a_start_tells_wait_and_dispatch(consumer: TaskConsumer, telemetry: Telemetry) -> None:
    tell(consumer, "start", a_run(), waited=0.3, dispatched=0.002)
    seen = await scrape(telemetry)
    assert seen.value(names.RUNS_STARTED, task="greet") == 1
    assert seen.value("fluid_run_wait_seconds_sum", task="greet", priority="medium") == 0.3
    assert seen.value("fluid_run_wait_seconds_bucket", task="greet", priority="medium", le="0.25") == 0
    assert seen.value("fluid_run_wait_seconds_bucket", task="greet", priority="medium", le="0.5") == 1
    assert seen.value("fluid_run_dispatch_seconds_sum", task="greet") == 0.002


@pytest.mark.parametrize("state", [TaskState.success, TaskState.failure, TaskState.aborted])
async def test_an_end_tells_state_duration_and_latency(
    consumer: TaskConsumer, telemetry: Telemetry, state: TaskState
) -> None:
    before = timestamp()
    tell(consumer, "end", a_run(state=state), ran=2.0, latency=7.0)
    seen = await scrape(telemetry)
    assert seen.value(names.RUNS_ENDED, task="greet", state=state) == seen.value(names.RUNS_ENDED) == 1
    assert seen.value("fluid_run_duration_seconds_sum", task="greet", state=state) == 2
    assert seen.value("fluid_run_latency_seconds_sum", task="greet") == 7
    succeeded = seen.value(names.LAST_SUCCESS, task="greet")
    assert succeeded >= before if state is TaskState.success else succeeded == 0


async def test_a_run_that_never_started_has_no_duration(consumer: TaskConsumer, telemetry: Telemetry) -> None:
    run = a_run(state=TaskState.aborted)
    run.started_at = None
    tell(consumer, "end", run, reason="expired", ran=0.0, latency=1.0)
    seen = await scrape(telemetry)
    assert seen.value(names.RUNS_ENDED, state="aborted") == 1
    assert seen.value("fluid_run_duration_seconds_count") == 0


@pytest.mark.parametrize("event", ["end", "retry", "held", "interrupted", "stale", "dead"])
async def test_a_run_is_active_until_its_attempt_is_settled(
    consumer: TaskConsumer, telemetry: Telemetry, event: str
) -> None:
    first, second = a_run(), a_run()
    tell(consumer, "start", first)
    tell(consumer, "start", second)
    assert (await scrape(telemetry)).value(names.RUNS_ACTIVE, task="greet") == 2
    first.state = TaskState.success
    tell(consumer, event, first, reason=(EVENTS[event].reasons or ("",))[0])
    assert (await scrape(telemetry)).value(names.RUNS_ACTIVE, task="greet") == 1


async def test_a_run_that_began_elsewhere_ends_here_without_a_debt(
    consumer: TaskConsumer, telemetry: Telemetry
) -> None:
    tell(consumer, "end", a_run(state=TaskState.aborted), reason="cancelled")
    assert (await scrape(telemetry)).value(names.RUNS_ACTIVE) == 0


async def test_local_runs_are_in_no_metric(consumer: TaskConsumer, telemetry: Telemetry) -> None:
    before = await scrape(telemetry)
    await consumer.execute("greet")
    after = await scrape(telemetry)
    for metric in (row for row in names.CATALOGUE if names.TASK in row.labels):
        assert before.of(metric) == after.of(metric)


async def test_a_blocked_loop_is_laid_at_the_door_of_its_task(
    consumer: TaskConsumer, telemetry: Telemetry
) -> None:
    tell(consumer, "loop_blocked", facts={"task": "greet", "seconds": 0.4})
    tell(consumer, "loop_blocked", facts={"seconds": 0.4})
    seen = await scrape(telemetry)
    assert seen.value(names.LOOP_BLOCKED, task="greet") == 1
    assert seen.value(names.LOOP_BLOCKED, task="other") == 1


async def test_calls_to_the_broker_count_by_move_and_by_error(
    consumer: TaskConsumer, telemetry: Telemetry
) -> None:
    for watcher in consumer.broker.listeners.command:
        watcher("settle", 0.02, "")
        watcher("settle", 0.03, "lost")
        watcher("hgetall", 0.01, "")
    seen = await scrape(telemetry)
    assert seen.value("fluid_broker_command_seconds_count", move="settle") == 2
    assert seen.value("fluid_broker_command_seconds_count", move="other") == 1
    assert seen.value(names.BROKER_ERRORS, kind="lost") == 1


async def test_a_fire_tells_lateness_last_and_next(scheduler: TaskScheduler) -> None:
    telemetry = Telemetry(server=False)
    telemetry.attach(scheduler)
    assert (await scrape(telemetry)).value(names.SCHEDULE_LAST_FIRE, task="sweep") == 0
    assert (await scrape(telemetry)).value(names.SCHEDULE_NEXT_FIRE, task="sweep") > timestamp()
    tell(
        scheduler,
        "schedule_fired",
        facts={"task": "sweep", "tick": 86400.0, "lateness": 0.2, "next": 172800.0},
    )
    tell(scheduler, "schedule_missed", facts={"task": "sweep", "count": 3})
    seen = await scrape(telemetry)
    assert seen.value(names.SCHEDULE_FIRES, task="sweep") == 1
    assert seen.value(names.SCHEDULE_MISSED, task="sweep") == 3
    assert seen.value("fluid_schedule_lateness_seconds_sum", task="sweep") == 0.2
    assert seen.value(names.SCHEDULE_LAST_FIRE, task="sweep") == 86400
    assert seen.value(names.SCHEDULE_NEXT_FIRE, task="sweep") == 172800


async def test_tasks_beyond_the_budget_are_counted_together_and_said_so(consumer: TaskConsumer) -> None:
    async def body(ctx: TaskRun) -> None: ...

    telemetry = Telemetry(TelemetrySettings(max_tasks=2), server=False)
    telemetry.attach(consumer)
    for number in range(50):
        consumer.register_task(Task(name=f"many_{number}", executor=body))
    tell(consumer, "lost", a_run("many_49"))
    seen = await scrape(telemetry)
    assert {sample.labels["task"] for sample in seen.of(names.RUNS_LOST)} == {"greet", "stumble", "other"}
    assert seen.value(names.RUNS_LOST, task="other") == 1
    assert seen.value(names.TASKS_OVER_BUDGET) == len(consumer.registry) - 2


@pytest.mark.parametrize("seconds", [timedelta(milliseconds=1), timedelta(hours=1)])
async def test_a_bound_is_inside_its_bucket(
    consumer: TaskConsumer, telemetry: Telemetry, seconds: timedelta
) -> None:
    tell(consumer, "end", a_run(state=TaskState.success), latency=seconds.total_seconds())
    seen = await scrape(telemetry)
    bound = str(seconds.total_seconds())
    assert seen.value("fluid_run_latency_seconds_bucket", task="greet", le=bound) == 1
    assert seen.value("fluid_run_latency_seconds_bucket", task="greet", le="+Inf") == 1


async def test_totals_that_fell_are_counted(consumer: TaskConsumer, telemetry: Telemetry) -> None:
    assert (await scrape(telemetry)).value(names.BROKER_REWOUND) == 0
    tell(consumer, "broker_rewound", facts={"before": 9, "after": 7})
    assert (await scrape(telemetry)).value(names.BROKER_REWOUND) == 1


def test_every_metric_of_a_task_is_counted_somewhere() -> None:
    def rows(metric: Metric) -> bool:
        # what is promised is declared, not counted
        return (
            names.TASK in metric.labels and metric.scope is not Scope.fleet and metric is not names.SLO_GOAL
        )

    async def body(ctx: TaskRun) -> None: ...

    counted = {*TaskSeries().rows, *ScheduleSeries(Task(name="any", executor=body)).rows}
    assert counted == set(filter(rows, names.CATALOGUE))
