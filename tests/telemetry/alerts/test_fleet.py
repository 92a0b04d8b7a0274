"""The fleet tells people of an incident once, of its end once, and no task is any the worse for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from fluid.scheduler import Event, TaskConsumer, TaskManager
from fluid.scheduler.brokers import notebook
from fluid.testing import fainting
from telemetry import Telemetry, names
from telemetry.alerts import Alertmanager, Alerts, Condition, Webhook, grouping, incidents, notifier, outbox
from telemetry.alerts.channels import http as over_http
from telemetry.alerts.grouping import Grouping
from telemetry.alerts.notices import Notice, Status
from telemetry.alerts.notifier import HANDLER
from telemetry.alerts.outbox import AlertSeries
from tests.support.queues import queue_of_its_own
from tests.support.servers import AlertmanagerServer, RedisServer
from tests.support.waiting import poll
from tests.telemetry.alerts.fleets import Fleet
from tests.telemetry.alerts.receiving import Receiver

FAILING = Condition(event="failure", quiet=0.2)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch, no_environment: None) -> None:
    """Everything that takes seconds takes a moment."""
    monkeypatch.setattr(notifier, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(notifier, "GATHER_SECONDS", 0.01)
    monkeypatch.setattr(outbox, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(over_http, "TRY_SECONDS", 1.0)


def alerts(receiver: Receiver, *conditions: Condition) -> Alerts:
    return Alerts(channels=[Webhook(url=receiver.url)], conditions=conditions or (FAILING,))


async def test_three_consumers_see_one_incident_and_one_notice_arrives(
    queue_url: str, receiver: Receiver
) -> None:
    async with Fleet(queue_url, alerts(receiver)) as fleet:
        for _ in range(3):
            await fleet.run_in_each(failing=True)
        await fleet.counted(names.ALERTS_SUPPRESSED, 8)
        await fleet.counted(names.ALERTS_SENT, 1, channel="webhook")
        (told,) = receiver.received
        assert (told["status"], told["condition"], told["labels"]) == (
            "firing",
            "task_failing",
            {"task": "moody"},
        )
        assert told["evidence"]["error"].startswith("ValueError: in a bad mood")
        assert "T0P-SECRET" not in str(told)
        assert told["alone"] is False
        assert told["sender"] in {consumer.worker_name for consumer in fleet.consumers}


async def test_its_end_is_told_once_with_all_that_was_counted(queue_url: str, receiver: Receiver) -> None:
    async with Fleet(queue_url, alerts(receiver)) as fleet:
        await fleet.run_in_each(failing=True)
        await fleet.run_in_each(failing=True)
        await fleet.counted(names.ALERTS_SUPPRESSED, 5)
        # a success is heard only by who knows of the incident, and every consumer learns of it
        await fleet.heard_by("success", consumers=3)
        await fleet.run_in_each(failing=False)
        await receiver.wait_until(lambda: "resolved" in receiver.statuses)
        await fleet.heard_by("success", consumers=0)
        await fleet.counted(names.ALERTS_SENT, 2, channel="webhook")
        firing, resolved = receiver.received
        assert firing["status"] == "firing"
        assert resolved["count"] == 6
        assert resolved["summary"].endswith("back to normal: runs fail (task moody)")


async def test_so_many_failures_are_counted_over_the_whole_fleet(queue_url: str, receiver: Receiver) -> None:
    async with Fleet(queue_url, alerts(receiver, Condition(event="failure", count=7, within=300))) as fleet:
        await fleet.run_in_each(failing=True)
        await fleet.run_in_each(failing=True)
        await fleet.counted(names.ALERTS_SUPPRESSED, 6)
        assert receiver.received == []
        await fleet.run_in_each(failing=True)
        (told,) = await receiver.wait_for(1)
        assert told["count"] in (7, 8, 9)
        await fleet.counted(names.ALERTS_SUPPRESSED, 8)


async def test_channels_that_hang_or_fail_and_a_handler_that_hangs_harm_no_task_and_no_other_channel(
    queue_url: str, receiver: Receiver
) -> None:
    hang = asyncio.Event()

    async def hanging(event: Event) -> None:
        await hang.wait()

    async with Receiver("hang") as hanging_hook, Receiver("fail") as failing_hook:
        told = Alerts(
            channels=[Webhook(url=one.url) for one in (hanging_hook, failing_hook, receiver)],
            conditions=[FAILING],
        )
        async with Fleet(queue_url, told) as fleet:
            for consumer in fleet.consumers:
                consumer.register_async_handler("failure.mine", hanging)
            await fleet.run_in_each(failing=True)
            await receiver.wait_for(1)
            await fleet.run_in_each(failing=False)
            run = await fleet.consumers[0].queue_and_wait("greet", timeout=30)
            assert run.state == "success"
            await fleet.counted(names.ALERTS_FAILED, 2, channel="webhook")
            assert fleet.sum_of(names.ALERTS_SUPPRESSED) == 2
            assert receiver.statuses[0] == "firing"
            assert receiver.statuses.count("firing") == 1
            assert len(failing_hook.received) >= outbox.TRIES
            assert fleet.outcomes("moody") == ["failure"] * 3 + ["success"] * 3
            assert [one.run.attempt for one in fleet.recorder.of("start") if one.run] == [1] * 7
            assert fleet.recorder.of("lost") == []
            hang.set()


async def test_a_consumer_that_stops_still_tells_what_it_has_heard_and_nobody_tells_it_again(
    queue_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "GATHER_SECONDS", 30.0)
    fleet = Fleet(queue_url, alerts(receiver), size=1)
    async with fleet:
        await fleet.run_in_each(failing=True)
    assert receiver.statuses == ["firing"]
    monkeypatch.setattr(incidents, "UNHEARD_AFTER", 0.0)
    other = Process(queue_url, FAILING)
    await other.settle()
    assert other.told == []
    await other.host.broker.close()


@pytest.mark.servers
async def test_an_alertmanager_is_told_by_the_fleet(queue_url: str, receiver: Receiver) -> None:
    with AlertmanagerServer(receiver.url) as server:
        told = Alerts(channels=[Alertmanager(url=server.url)], conditions=[FAILING])
        async with Fleet(queue_url, told) as fleet:
            await fleet.run_in_each(failing=True)
            (found,) = await poll(server.alerts, bool, "an alert")
            assert found["labels"]["task"] == "moody"
            await fleet.heard_by("success", consumers=3)
            await fleet.run_in_each(failing=False)
            await poll(server.alerts, lambda there: not there, "the alert to end")
        await receiver.wait_until(lambda: "resolved" in receiver.statuses)


# -- a broker that is away -----------------------------------------------------------------


async def test_while_the_broker_is_away_each_process_tells_alone_and_says_so(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notebook, "PATIENCE", 0.1)
    lost = Condition(event="broker_lost", quiet=0.2)
    with RedisServer("valkey", appendonly=True) as server, queue_of_its_own(server) as queue:
        async with Fleet(queue.url, alerts(receiver, lost), size=2) as fleet:
            server.kill()
            told = await receiver.wait_for(2)
            assert {one["sender"] for one in told} == {one.worker_name for one in fleet.consumers}
            for one in told:
                assert (one["status"], one["alone"], one["severity"]) == ("firing", True, "critical")
                assert any("tells this alone" in line for line in one["details"])
            server.start()
            await receiver.wait_for(4)
            assert receiver.statuses[2:] == ["resolved", "resolved"]
            run = await fleet.consumers[0].queue_and_wait("greet", timeout=30)
            assert run.state == "success"


# -- two processes, step by step -----------------------------------------------------------


class Process:
    """The grouping of one process, whose notices go nowhere but here."""

    def __init__(self, queue_url: str, *conditions: Condition, repeat: float = 3600) -> None:
        self.host = TaskManager(broker_url=queue_url)
        self.told: list[Notice] = []
        self.series = AlertSeries()
        channels = [Webhook(url="http://nobody")]
        self.grouping = Grouping(
            self.host,
            Alerts(channels=channels, conditions=conditions, repeat=repeat),
            self.series,
            self.told.append,
        )

    @property
    def statuses(self) -> list[Status]:
        return [notice.status for notice in self.told]

    def hear(self, count: int = 1, task: str = "charge", event: str = "schedule_missed") -> None:
        for _ in range(count):
            self.grouping.hear(Event(name=event, facts={"task": task}))

    async def settle(self) -> None:
        await self.grouping.settle()


MISSED = Condition(event="schedule_missed")


@pytest.fixture
async def processes(queue_url: str) -> AsyncIterator[tuple[Process, Process]]:
    """Two of them, on one queue."""
    both = Process(queue_url, MISSED), Process(queue_url, MISSED)
    yield both
    for one in both:
        await one.host.broker.close()


async def test_who_comes_second_counts_into_the_first_ones_incident(
    processes: tuple[Process, Process],
) -> None:
    one, other = processes
    one.hear(3)
    await one.settle()
    other.hear(2)
    await other.settle()
    assert (one.statuses, other.statuses) == ([Status.firing], [])
    assert (one.series.suppressed[""], other.series.suppressed[""]) == (2, 2)


async def test_who_comes_at_the_same_time_settles_again_with_what_the_other_wrote(
    processes: tuple[Process, Process],
) -> None:
    one, other = processes
    for _ in range(5):
        one.hear()
        other.hear()
        await asyncio.gather(one.settle(), other.settle())
    while one.grouping.in_hand or other.grouping.in_hand:
        await one.settle()
        await other.settle()
    assert one.statuses + other.statuses == [Status.firing]
    assert one.series.suppressed[""] + other.series.suppressed[""] == 9


async def test_other_tasks_have_incidents_of_their_own_unless_they_are_grouped(queue_url: str) -> None:
    apart = Process(queue_url, MISSED)
    together = Process(queue_url, Condition(event="schedule_missed", name="any_missed", group_by=()))
    for process in (apart, together):
        for number in range(30):
            process.hear(task=f"task-{number}")
        await process.settle()
        await process.host.broker.close()
    assert len(apart.told) == 30
    (one,) = together.told
    assert one.count == 30


async def test_a_notice_that_was_not_taken_is_told_by_another_process(
    processes: tuple[Process, Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = processes
    one.hear()
    await one.settle()
    await other.settle()
    assert other.told == [], "it may still be under way"
    monkeypatch.setattr(incidents, "UNHEARD_AFTER", 0.0)
    await other.settle()
    assert other.statuses == [Status.firing]
    other.grouping.taken(other.told[0])
    await other.settle()
    await one.settle()
    assert (len(one.told), len(other.told)) == (1, 1)


async def test_what_people_know_is_not_told_again_because_the_broker_is_away(
    queue_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notebook, "PATIENCE", 0.1)
    process = Process(queue_url, MISSED)
    process.hear()
    await process.settle()
    async with fainting(process.host):
        process.hear(2)
        await process.settle()
        await process.settle()
        process.hear(task="ship")
        await process.settle()
    assert [(told.labels["task"], told.alone) for told in process.told] == [("charge", False), ("ship", True)]
    await process.settle()
    assert len(process.told) == 2
    assert not process.grouping.in_hand
    assert process.series.suppressed[""] == 2
    await process.host.broker.close()


async def test_that_all_is_well_is_kept_until_the_broker_can_be_told(
    queue_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notebook, "PATIENCE", 0.1)
    lost = Condition(event="broker_lost", quiet=0.001)
    process = Process(queue_url, lost)
    process.hear(event="broker_lost")
    await process.settle()
    process.grouping.taken(process.told[0])
    process.hear(event="broker_recovered")
    async with fainting(process.host):
        await process.settle()
    assert process.statuses == [Status.firing]
    await process.settle()
    assert process.statuses == [Status.firing, Status.resolved]
    assert not process.told[1].alone
    await process.host.broker.close()


async def test_an_incident_that_goes_on_is_repeated_by_one_of_them(queue_url: str) -> None:
    both = [Process(queue_url, MISSED, repeat=1) for _ in range(2)]
    for one in both:
        one.hear()
        await one.settle()
    told = both[0].told[0]
    both[0].grouping.taken(told)
    await both[0].settle()

    async def repeated() -> int:
        for one in both:
            one.hear()
            await one.settle()
        return sum(one.statuses.count(Status.repeated) for one in both)

    assert await poll(repeated, bool, "a repeated notice") == 1
    for one in both:
        await one.host.broker.close()


async def test_many_incidents_at_once_are_bounded(queue_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "MOST_HEARD", 3)
    process = Process(queue_url, MISSED)
    for number in range(10):
        process.hear(task=f"task-{number}")
    assert process.series.suppressed[""] == 7
    await process.settle()
    assert len(process.told) == 3
    await process.host.broker.close()


async def test_a_note_that_cannot_be_read_is_written_anew(queue_url: str) -> None:
    process = Process(queue_url, MISSED)
    notes = process.host.broker.notes
    assert await notes.write("alerts/schedule_missed/charge", b'{"count": "many"}', instead_of=None, ttl=60)
    assert await notes.write("of something else", b"1", instead_of=None, ttl=60)
    process.hear()
    await process.settle()
    assert process.statuses == [Status.firing]
    assert (await notes.read()).notes["of something else"].value == b"1"
    await process.host.broker.close()


# -- attaching -----------------------------------------------------------------------------


async def test_our_handlers_are_peers_of_a_users_and_leave_with_us(
    queue_url: str, receiver: Receiver
) -> None:
    consumer = TaskConsumer(broker_url=queue_url)
    heard: list[Event] = []

    async def mine(event: Event) -> None:
        heard.append(event)

    consumer.register_async_handler("failure.mine", mine)
    before = {(one.event, one.handler) for one in consumer.handler_statistics()}
    telemetry = Telemetry(server=False, alerts=Alerts(channels=[Webhook(url=receiver.url)]))
    telemetry.attach(consumer)
    ours = {(one.event, one.handler) for one in consumer.handler_statistics()} - before
    assert {handler for _, handler in ours} == {HANDLER}
    assert {event for event, _ in ours} == {
        *("failure", "dead", "lost", "schedule_missed", "loop_blocked", "broker_lost", "broker_recovered")
    }
    telemetry.detach()
    assert {(one.event, one.handler) for one in consumer.handler_statistics()} == before
    await consumer.broker.close()


async def test_without_alerts_nothing_is_heard_and_nothing_runs(queue_url: str) -> None:
    consumer = TaskConsumer(broker_url=queue_url)
    telemetry = Telemetry(server=False)
    telemetry.attach(consumer)
    assert consumer.handler_statistics() == []
    assert not [worker for worker in consumer.workers if worker.worker_name.startswith("alerts")]
    telemetry.detach()
    await consumer.broker.close()


async def test_a_task_that_nobody_knows_here_is_named(
    queue_url: str, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    async with Fleet(queue_url, alerts(receiver, Condition(event="failure", tasks=("chrage",))), size=1):
        pass
    assert "alerts name tasks that are not registered here: chrage" in caplog.text
