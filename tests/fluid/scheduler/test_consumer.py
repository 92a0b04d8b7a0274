"""The consumer through its public door: every member of the promise does what it says."""

from __future__ import annotations

import asyncio
import inspect
import types
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from fluid.errors import ConfigurationError, DuplicateTaskError, PluginError, WorkerError
from fluid.scheduler import (
    Event,
    Task,
    TaskBroker,
    TaskConsumer,
    TaskDispatcher,
    TaskManager,
    TaskManagerConfig,
    TaskPriority,
    TaskRegistry,
    TaskRun,
    TaskScheduler,
    TaskState,
    task,
)
from fluid.testing import Recorder
from fluid.workers import Worker, WorkerFunction, Workers
from tests.fluid.scheduler.consuming import Gate, consuming, eventually
from tests.support.waiting import poll


@task
async def idle(ctx: TaskRun) -> None:
    """Do nothing."""


def _consumer(**settings: Any) -> TaskConsumer:
    return TaskConsumer(broker_url="redis://127.0.0.1:1", **settings)


# -- what it is -----------------------------------------------------------------------------

PROPERTIES: dict[str, Any] = {
    "worker_name": str,
    "num_workers": int,
    "running": bool,
    "state": str,
    "config": TaskManagerConfig,
    "dispatcher": TaskDispatcher,
    "broker": TaskBroker,
    "registry": TaskRegistry,
    "type": str,
    "num_concurrent_tasks": int,
}

METHODS: dict[str, tuple[str, ...]] = {
    "startup": (),
    "run": (),
    "start_running": (),
    "safe_run": (),
    "gracefully_stop": (),
    "is_running": (),
    "is_stopping": (),
    "wait_for_exit": (),
    "shutdown": (),
    "on_shutdown": (),
    "bail_out": ("reason", "code"),
    "status": (),
    "create_task": ("worker",),
    "add_workers": ("workers",),
    "remove_workers": ("workers",),
    "enter_async_context": (),
    "register_callback": ("callback", "seconds", "jitter", "periodic"),
    "register_task": ("task",),
    "register_from_module": ("module",),
    "register_from_dict": ("mapping",),
    "queue": ("task", "priority", "options", "params"),
    "queue_many": ("task", "params", "priority", "options"),
    "queue_and_wait": ("task", "timeout", "params"),
    "execute": ("task", "params"),
    "execute_sync": ("task", "params"),
    "create_task_run": ("task", "run_id", "priority", "params"),
    "sync_queue": ("task",),
    "sync_priority_queue": ("task",),
    "get_run": (),
    "num_concurrent_tasks_for": ("task_name",),
    "cli": ("kwargs",),
    "register_async_handler": ("event", "handler"),
    "unregister_async_handler": ("event",),
}


def test_a_consumer_is_a_manager_and_a_group_of_workers() -> None:
    assert issubclass(TaskConsumer, TaskManager)
    assert issubclass(TaskConsumer, Workers)
    assert issubclass(TaskScheduler, TaskConsumer)


@pytest.mark.parametrize(("name", "kind"), PROPERTIES.items())
def test_every_property_of_the_promise_is_there_with_its_type_and_a_docstring(name: str, kind: Any) -> None:
    assert isinstance(getattr(_consumer(), name), kind)
    declared = inspect.getattr_static(TaskConsumer, name)
    assert isinstance(declared, property)
    assert declared.fget is not None
    assert (declared.fget.__doc__ or "").strip()
    assert declared.fget.__annotations__["return"]


@pytest.mark.parametrize(("name", "parameters"), METHODS.items())
def test_every_method_of_the_promise_is_there_with_its_parameters_and_a_docstring(
    name: str, parameters: tuple[str, ...]
) -> None:
    method = getattr(TaskConsumer, name)
    signature = inspect.signature(method)
    assert set(parameters) <= set(signature.parameters)
    assert inspect.getdoc(method)
    assert signature.return_annotation is not inspect.Signature.empty


def test_the_types_are_told_by_name() -> None:
    assert _consumer().type == "task_consumer"
    assert TaskManager(broker_url="redis://127.0.0.1:1").type == "task_manager"
    assert TaskScheduler(broker_url="redis://127.0.0.1:1").type == "task_scheduler"


def test_settings_are_checked_whole_before_anything_starts() -> None:
    with pytest.raises(ConfigurationError) as error:
        TaskConsumer(max_concurrent_tasks=0, lease_seconds=-1)
    for fault in ("max_concurrent_tasks", "FLUID_MAX_CONCURRENT_TASKS", "lease_seconds"):
        assert fault in str(error.value)
    with pytest.raises(ConfigurationError, match="unknown settings: slots"):
        TaskConsumer(slots=3)


def test_settings_come_from_the_environment_and_a_keyword_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUID_MAX_CONCURRENT_TASKS", "7")
    monkeypatch.setenv("FLUID_TASK_TIMEOUT", "3")
    consumer = _consumer(task_timeout=5)
    assert (consumer.config.max_concurrent_tasks, consumer.config.task_timeout) == (7, 5)


def test_every_slot_is_a_worker() -> None:
    one, two = _consumer(max_concurrent_tasks=1), _consumer(max_concurrent_tasks=20)
    assert two.num_workers - one.num_workers == 19


async def test_status_tells_what_the_consumer_is_and_does(broker_url: str) -> None:
    gate = Gate()

    @task
    async def waits(ctx: TaskRun) -> None:
        await gate.wait()

    async with consuming(broker_url, waits, max_concurrent_tasks=3) as (consumer, heard):
        run = await consumer.queue(waits)
        await gate.wait_for()
        status: dict[str, Any] = await consumer.status()
        assert status["type"] == "task_consumer"
        assert status["consumer"] == consumer.consumer_name
        assert status["broker"]["up"] is True
        assert (status["claiming"], status["slots"], status["busy"]) == (True, 3, 1)
        assert status["tasks"] == ["waits"]
        assert status["workers"]["bodies"]["task-worker-1"] == {
            "task": "waits",
            "run_id": run.id,
            "attempt": 1,
        }
        gate.open()
        await heard.wait_for("success", run.id)


async def test_the_broker_lists_who_is_alive(broker_url: str) -> None:
    async with consuming(broker_url, idle, max_concurrent_tasks=5) as (consumer, _):
        async with consuming(broker_url, idle) as (other, _):
            listed = {info.name: info for info in await _listed(consumer, 2)}
            assert set(listed) == {consumer.consumer_name, other.consumer_name}
            info = listed[consumer.consumer_name]
            assert (info.slots, info.busy, info.tasks) == (5, 0, ("idle",))
            assert info.version
        assert [info.name for info in await _listed(consumer, 1)] == [consumer.consumer_name]


async def _listed(consumer: TaskConsumer, count: int) -> list[Any]:
    return await poll(consumer.broker.consumers, lambda found: len(found) == count, f"{count} consumers")


# -- life -----------------------------------------------------------------------------------


async def test_a_consumer_runs_between_start_running_and_shutdown(broker_url: str) -> None:
    consumer = TaskConsumer(broker_url=broker_url)
    assert not consumer.is_running()
    await consumer.start_running()
    assert consumer.is_running()
    assert consumer.running
    await consumer.shutdown()
    assert not consumer.is_running()
    assert consumer.state.is_stopped


async def test_safe_run_returns_when_the_consumer_was_asked_to_stop(broker_url: str) -> None:
    consumer = TaskConsumer(broker_url=broker_url)
    heard = Recorder(consumer)
    running = asyncio.create_task(consumer.safe_run())
    await heard.wait_for("consumer_started")
    consumer.gracefully_stop()
    assert consumer.is_stopping()
    await running
    await consumer.wait_for_exit()
    assert (consumer.exit_reason, consumer.exit_code) == ("", 0)


async def test_a_consumer_that_has_stopped_can_be_started_again_under_another_name(broker_url: str) -> None:
    names = []
    consumer = TaskConsumer(broker_url=broker_url)
    consumer.register_task(idle)
    for _ in range(2):
        async with consumer:
            names.append(consumer.consumer_name)
            run = await consumer.queue_and_wait(idle)
            assert run.state is TaskState.success
    assert names[0] != names[1]


async def test_bailing_out_stops_the_consumer_with_reason_and_code(broker_url: str) -> None:
    consumer = TaskConsumer(broker_url=broker_url)
    await consumer.start_running()
    consumer.bail_out("the disk is full", code=3)
    await consumer.wait_for_exit()
    assert (consumer.exit_reason, consumer.exit_code) == ("the disk is full", 3)


async def test_a_worker_that_raises_stops_the_consumer_and_is_named(broker_url: str) -> None:
    async def breaks() -> None:
        raise RuntimeError("no more")

    consumer = TaskConsumer(broker_url=broker_url)
    consumer.add_workers(WorkerFunction(breaks, name="breaks"))
    await consumer.safe_run()
    assert "breaks" in consumer.exit_reason
    assert consumer.exit_code == 1
    assert isinstance(consumer.error, WorkerError)


async def test_workers_are_added_and_removed_while_it_runs(broker_url: str) -> None:
    class Beside(Worker):
        async def run(self) -> None:
            await self.wait_for_stop()

    early, late = Beside(name="early"), Beside(name="late")
    async with consuming(broker_url, idle) as (consumer, _):
        before = consumer.num_workers
        consumer.add_workers(early)
        consumer.create_task(late)
        assert consumer.num_workers == before + 2
        await eventually(lambda: early.running and late.running, "both workers")
        consumer.remove_workers(early)
        await early.wait_for_exit()
        assert late.running
        assert consumer.running
    assert late.state.is_stopped


async def test_callbacks_given_before_the_start_are_called_after_it(broker_url: str) -> None:
    called: list[str] = []
    consumer = TaskConsumer(broker_url=broker_url)
    consumer.register_callback(lambda: called.append("early"), 0.0)
    assert called == []
    async with consumer:
        await eventually(lambda: called == ["early"], "the callback")
        consumer.register_callback(lambda: called.append("again"), 0.001, jitter=0.001, periodic=True)
        await eventually(lambda: called.count("again") >= 3, "the periodic callback")


async def test_a_context_that_was_entered_is_left_on_shutdown(broker_url: str) -> None:
    life: list[str] = []

    @asynccontextmanager
    async def connection() -> AsyncIterator[str]:
        life.append("open")
        yield "a connection"
        life.append("closed")

    async with TaskConsumer(broker_url=broker_url) as consumer:
        assert await consumer.enter_async_context(connection()) == "a connection"
        assert life == ["open"]
    assert life == ["open", "closed"]


# -- tasks ----------------------------------------------------------------------------------


def test_tasks_are_registered_from_a_module_and_from_a_mapping() -> None:
    @task
    async def other(ctx: TaskRun) -> None: ...

    module = types.ModuleType("jobs")
    module.__dict__.update(idle=idle, answer=42, helper=len)
    consumer = _consumer()
    consumer.register_from_module(module)
    assert list(consumer.registry) == ["idle"]
    consumer.register_from_dict({"x": other, "y": "no task"})
    assert list(consumer.registry) == ["idle", "other"]
    assert consumer.task_of("other") is other


def test_the_same_task_may_be_registered_twice_but_no_other_of_its_name() -> None:
    @task("idle")
    async def impostor(ctx: TaskRun) -> None: ...

    consumer = _consumer()
    assert consumer.register_task(idle) is idle
    assert consumer.register_task(idle) is idle
    with pytest.raises(DuplicateTaskError, match="'idle'"):
        consumer.register_task(impostor)


def test_asking_the_registry_for_a_task_it_may_not_have_answers_none() -> None:
    assert _consumer().registry.get("nobody") is None


async def test_a_task_registered_while_it_runs_is_claimed(broker_url: str) -> None:
    @task
    async def late(ctx: TaskRun) -> str:
        return "in time"

    async with consuming(broker_url, idle) as (consumer, _):
        await consumer.queue_and_wait(idle)
        consumer.register_task(late)
        assert await (await consumer.queue(late)).result(timeout=10) == "in time"


# -- making runs ----------------------------------------------------------------------------


def test_a_run_is_made_in_init_with_what_was_asked_for() -> None:
    @task(priority=TaskPriority.low)
    async def later(ctx: TaskRun) -> None: ...

    consumer = _consumer()
    run = consumer.create_task_run(later, n=1)
    assert (run.state, run.priority, run.name, run.params) == (
        TaskState.init,
        TaskPriority.low,
        "later",
        {"n": 1},
    )
    assert run.task is later
    assert (run.queued, run.start, run.end, run.in_queue, run.duration, run.total) == (None,) * 6
    chosen = consumer.create_task_run("later", run_id="mine", priority=TaskPriority.high)
    assert (chosen.id, chosen.priority) == ("mine", TaskPriority.high)
    assert consumer.create_task_run(later).id != consumer.create_task_run(later).id


async def test_a_run_that_was_made_is_queued_as_it_is(broker_url: str) -> None:
    async with consuming(broker_url, idle) as (consumer, heard):
        made = consumer.create_task_run(idle, run_id="mine")
        assert await consumer.queue(made) is made
        await heard.wait_for("success", "mine")


async def test_ids_sort_in_the_order_in_which_runs_were_made() -> None:
    consumer = _consumer()
    ids = [consumer.create_task_run(idle).id for _ in range(100)]
    assert ids == sorted(ids)


# -- events, plugins, command line ----------------------------------------------------------


async def test_a_sync_handler_hears_until_it_is_unregistered(broker_url: str) -> None:
    heard: list[str] = []

    def handler(event: Event) -> None:
        heard.append(event.name)

    async with consuming(broker_url, idle) as (consumer, _):
        consumer.dispatcher.register_handler("end.mine", handler)
        await consumer.queue_and_wait(idle)
        await eventually(lambda: heard == ["end"], "the event")
        assert consumer.dispatcher.unregister_handler("end.mine") is handler
        assert consumer.dispatcher.unregister_handler("end.mine") is None


async def test_a_plugin_is_attached_once_and_detached_when_the_consumer_has_stopped(broker_url: str) -> None:
    life: list[str] = []

    class Watching:
        def attach(self, host: Any) -> None:
            assert host.type == "task_consumer"
            life.append("attached")

        def detach(self) -> None:
            life.append("detached")

    consumer = TaskConsumer(broker_url=broker_url)
    consumer.add_plugin(Watching())
    async with consumer:
        assert life == ["attached"]
    assert life == ["attached", "detached"]


async def test_interceptors_surround_queueing_and_executing(broker_url: str) -> None:
    order: list[str] = []

    class Wraps:
        @contextmanager
        def queueing(self, runs: Sequence[TaskRun[Any]]) -> Iterator[None]:
            for run in runs:
                run.headers["trace"] = "abc"
            order.append("queueing")
            yield
            order.append("queued")

        @contextmanager
        def executing(self, run: TaskRun[Any]) -> Iterator[None]:
            order.append(f"executing {run.headers['trace']}")
            yield
            order.append("executed")

    @task
    async def body(ctx: TaskRun) -> None:
        order.append("body")

    async with consuming(broker_url, body) as (consumer, _):
        consumer.interceptors.append(Wraps())
        await consumer.queue_and_wait(body)
    assert [word for word in order if word != "queued"] == ["queueing", "executing abc", "body", "executed"]
    assert "queued" in order


def test_the_command_line_that_is_not_installed_is_an_error_that_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fluid.scheduler.host.entry_points", lambda **_: [])
    with pytest.raises(PluginError, match="not installed"):
        _consumer().cli()


def test_the_command_line_is_built_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Any] = []

    class Point:
        def load(self) -> Any:
            def build(host: Any, **kwargs: Any) -> str:
                built.append((host, kwargs))
                return "a command"

            return build

    monkeypatch.setattr("fluid.scheduler.host.entry_points", lambda **_: [Point()])
    consumer = _consumer()
    assert consumer.cli(name="jobs") == "a command"
    assert built == [(consumer, {"name": "jobs"})]


def test_tasks_of_the_promise_are_tasks() -> None:
    assert isinstance(idle, Task)
    assert (idle.name, idle.description) == ("idle", "Do nothing.")
