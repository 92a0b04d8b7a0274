"""The broker goes away and comes back: said once, tried again without haste, and nothing is sent unseen."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from redis.asyncio.connection import AbstractConnection

from fluid.clock import elapsed
from fluid.errors import BrokerError, BrokerUnavailableError
from fluid.scheduler import TaskRun, task
from fluid.scheduler.brokers import link, scripts
from fluid.scheduler.brokers.address import Address
from fluid.scheduler.brokers.channel import ANSWER_SECONDS, Channel, LostError
from fluid.scheduler.brokers.connecting import Connecting
from fluid.scheduler.brokers.link import FIRST_PAUSE, LONGEST_PAUSE, pause_before
from fluid.scheduler.brokers.redis import RedisBroker
from fluid.scheduler.moves import Kind, Limit, Refusal
from fluid.scheduler.states import TaskState
from fluid.testing.waiting import Watch
from tests.fluid.scheduler.brokers.desk import Desk, desk_at, ids, outcome, submission
from tests.fluid.scheduler.consuming import Gate, consuming, eventually
from tests.support.lifeline import LOOPBACK
from tests.support.proxy import CuttingProxy
from tests.support.queues import OwnQueue
from tests.support.servers import Flavour, RedisServer, queue_url
from tests.support.waiting import poll

PATIENCE = 30.0


class Witness:
    """Who is told what happens to a broker."""

    def __init__(self, broker: RedisBroker) -> None:
        self.said: list[str] = []
        self.reasons: list[str] = []
        self.calls: list[tuple[str, str]] = []
        self._watch = Watch()
        broker.listeners.lost.append(self._lost)
        broker.listeners.recovered.append(self._recovered)
        broker.listeners.command.append(self._called)

    def _lost(self, reason: str) -> None:
        self.said.append("lost")
        self.reasons.append(reason)

    def _recovered(self, seconds: float) -> None:
        assert seconds >= 0
        self.said.append("recovered")

    def _called(self, move: str, seconds: float, kind: str) -> None:
        assert seconds >= 0
        self.calls.append((move, kind))
        self._watch.changed()

    def count(self, kind: str) -> int:
        return sum(1 for _, found in self.calls if found == kind)

    async def wait_for(self, kind: str, count: int) -> None:
        """Return once so many calls ended like this."""
        await self._watch.until(
            lambda: self.count(kind) >= count, lambda: f"{count} calls that ended {kind!r}: {self.calls}"
        )


@pytest.fixture
async def away(broker_queue: OwnQueue, proxied_url: str) -> AsyncIterator[Desk]:
    """The test's queue, through its proxy."""
    async with desk_at(proxied_url, broker_queue) as desk:
        yield desk


@pytest.fixture
def server(flavour: Flavour) -> Iterator[RedisServer]:
    """A server that the test may hurt."""
    with RedisServer(flavour) as server:
        yield server


@pytest.fixture
async def hurt(server: RedisServer) -> AsyncIterator[Desk]:
    """A queue on the server that the test may hurt."""
    async with desk_at(server.queue_url("hurt"), OwnQueue(server, "hurt")) as desk:
        yield desk


# -- lost and recovered --------------------------------------------------------------------


async def test_an_outage_is_said_once_and_so_is_its_end(away: Desk, proxy: CuttingProxy) -> None:
    witness = Witness(away.broker)
    up = [away.broker.up]
    proxy.refuse()
    asks = [asyncio.create_task(away.broker.get_run("a")) for _ in range(5)]
    await witness.wait_for("lost", 8)
    up.append(away.broker.up)
    assert witness.said == ["lost"]
    assert away.broker.connected_for == 0
    await proxy.accept()
    assert await asyncio.gather(*asks) == [None] * 5
    up.append(away.broker.up)
    assert witness.said == ["lost", "recovered"]
    assert away.broker.connected_for > 0
    assert up == [True, False, True]


async def test_every_outage_is_said(away: Desk, proxy: CuttingProxy) -> None:
    witness = Witness(away.broker)
    for _ in range(3):
        proxy.drop_all()
        await away.balanced()
    assert witness.said == ["lost", "recovered"] * 3


async def test_every_call_is_told_with_its_move_and_how_it_went(away: Desk, proxy: CuttingProxy) -> None:
    await away.balanced()
    witness = Witness(away.broker)
    proxy.cut_next_answer(b"EVALSHA")
    await away.balanced()
    assert witness.calls == [("snapshot", "lost"), ("snapshot", "")]


def test_pauses_grow_and_are_bounded() -> None:
    for attempt in range(1, 200):
        whole = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempt - 1))
        pauses = {pause_before(attempt) for _ in range(50)}
        assert whole / 2 <= min(pauses)
        assert max(pauses) <= whole
        assert len(pauses) > 1


async def test_a_try_is_one_connection_and_a_deadline_has_few(free_port: int) -> None:
    connections = 0

    def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.close()

    broker = RedisBroker(queue_url("redis", free_port, "nobody"))
    witness = Witness(broker)
    async with await asyncio.start_server(close, LOOPBACK, free_port):
        with pytest.raises(BrokerUnavailableError) as failed:
            await broker.open(elapsed() + 1.0)
    await broker.close()
    assert failed.value.sent is False  # type: ignore[attr-defined]
    assert connections == witness.count("lost") == len(witness.calls)
    # the shortest pauses that there can be: 25, 50, 100, 200, 400, 500 ms
    assert 2 <= connections <= 6
    assert witness.said == ["lost"]


async def test_every_try_of_a_waiting_consumer_has_its_pause(
    away: Desk, proxy: CuttingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused: list[int] = []

    def pause(attempt: int) -> float:
        paused.append(attempt)
        return pause_before(attempt) / 100

    monkeypatch.setattr(link, "pause_before", pause)
    witness = Witness(away.broker)
    claiming = asyncio.create_task(away.claim(1, wait=PATIENCE))
    await proxy.wait_for_command("BLPOP")
    proxy.refuse()
    await witness.wait_for("lost", 50)
    await proxy.accept()
    assert (await claiming).runs == []
    assert paused == list(range(1, witness.count("lost") + 1))


# -- queueing ------------------------------------------------------------------------------


async def test_what_was_never_sent_is_said_to_be_not_queued(away: Desk, proxy: CuttingProxy) -> None:
    proxy.refuse()
    with pytest.raises(BrokerUnavailableError) as failed:
        await away.broker.enqueue([submission("a")], deadline=elapsed() + 0.2)
    assert failed.value.sent is False  # type: ignore[attr-defined]
    await proxy.accept()
    assert await away.state("a") is None


async def test_what_cannot_leave_is_said_at_once_however_far_the_deadline_is(
    away: Desk, proxy: CuttingProxy
) -> None:
    witness = Witness(away.broker)
    proxy.refuse()
    for leave in (away.broker.reach, lambda: away.broker.enqueue([submission("a")], deadline=float("inf"))):
        with pytest.raises(BrokerUnavailableError) as failed:
            await leave()
        assert failed.value.sent is False  # type: ignore[attr-defined]
    assert witness.count("lost") == 2
    await proxy.accept()


async def test_a_connection_is_no_answer_of_the_broker_yet(away: Desk, proxy: CuttingProxy) -> None:
    witness = Witness(away.broker)
    proxy.refuse()
    with pytest.raises(BrokerUnavailableError):
        await away.broker.reach()
    await proxy.accept()
    await away.broker.reach()
    assert (witness.said, away.broker.up) == (["lost"], False)
    await away.queue("a")
    assert (witness.said, away.broker.up) == (["lost", "recovered"], True)


async def test_what_may_have_been_sent_is_said_to_be_uncertain(away: Desk, proxy: CuttingProxy) -> None:
    await away.queue("before")
    proxy.cut_next_answer(scripts.ENQUEUE.sha.encode())
    with pytest.raises(BrokerUnavailableError) as failed:
        await away.broker.enqueue([submission("a")], deadline=elapsed())
    assert failed.value.sent is True  # type: ignore[attr-defined]
    assert await away.state("a") is TaskState.queued
    again = await away.submit(submission("a"))
    assert again.verdicts == [Refusal("already_queued", "a")]


async def test_once_sent_it_stays_uncertain_though_later_tries_were_refused(
    away: Desk, proxy: CuttingProxy
) -> None:
    await away.queue("before")
    away.broker.listeners.lost.append(lambda reason: proxy.refuse())
    proxy.cut_next_answer(scripts.ENQUEUE.sha.encode())
    with pytest.raises(BrokerUnavailableError) as failed:
        await away.broker.enqueue([submission("a")], deadline=elapsed() + 0.5)
    assert failed.value.sent is True  # type: ignore[attr-defined]


async def test_a_long_batch_that_was_queued_in_part_is_said_to_be_uncertain(hurt: Desk) -> None:
    with hurt.own.server.client() as client:
        # full after the first part: the second one is turned away
        hurt.broker.listeners.command.append(lambda *call: client.config_set("maxmemory", "1"))
        with pytest.raises(BrokerUnavailableError) as failed:
            await hurt.broker.enqueue([submission(f"run-{n}") for n in range(501)], deadline=elapsed() + 0.2)
    assert await hurt.state("run-0") is TaskState.queued
    assert await hurt.state("run-500") is None
    assert failed.value.sent is True  # type: ignore[attr-defined]


# -- a server that has lost its mind -------------------------------------------------------


async def test_what_the_queue_stands_on_is_made_again_when_the_server_lost_it(hurt: Desk) -> None:
    await hurt.queue("a")
    with hurt.own.server.client() as client:
        client.flushall()
    assert (await hurt.balanced()).books.accepted == 0
    with hurt.own.server.client() as client:
        client.flushall()
    assert (await hurt.claim()).runs == []
    with hurt.own.server.client() as client:
        client.flushall()
    await hurt.queue("b")
    assert ids(await hurt.take(10)) == ["b"]
    await hurt.balanced()


async def test_the_outcome_of_a_run_that_the_server_lost_is_refused(hurt: Desk) -> None:
    await hurt.queue("a")
    run = await hurt.take_one()
    with hurt.own.server.client() as client:
        client.flushall()
    assert not await hurt.settle(run)
    assert hurt.renew(run) == [0]
    assert (await hurt.balanced()).running == 0


async def test_scripts_that_the_server_forgot_are_sent_again(hurt: Desk) -> None:
    def forget() -> None:
        with hurt.own.server.client() as client:
            client.script_flush()

    forget()
    await hurt.queue("a", "b")
    forget()
    a, b = await hurt.take(2, wait=PATIENCE)
    forget()
    assert hurt.renew(a, b) == [1, 1]
    forget()
    assert await hurt.settle(a)
    forget()
    assert (await hurt.balanced()).running == 1


async def test_a_restarted_server_keeps_leases_and_tokens(flavour: Flavour) -> None:
    with RedisServer(flavour, appendonly=True) as server:
        async with desk_at(server.queue_url("kept"), OwnQueue(server, "kept")) as desk:
            witness = Witness(desk.broker)
            await desk.queue("a", "b")
            run = await desk.take_one()
            await asyncio.to_thread(server.restart)
            assert desk.renew(run) == [1]
            assert await desk.settle(run)
            assert ids(await desk.take(10)) == ["b"]
            assert witness.said[:2] == ["lost", "recovered"]
            assert (await desk.balanced()).books.success == 1


async def test_a_server_that_still_loads_is_waited_for(flavour: Flavour) -> None:
    settings = {"key-load-delay": "30000", "loading-process-events-interval-bytes": "1024"}
    with RedisServer(flavour, appendonly=True, settings=settings) as server:
        async with desk_at(server.queue_url("loaded"), OwnQueue(server, "loaded")) as desk:
            await desk.queue(*(f"run-{n}" for n in range(20)), message=b"x" * 2000, delay=3600.0)
            with server.client() as client:
                client.bgrewriteaof()
                await poll(
                    lambda: asyncio.to_thread(client.info, "persistence"),
                    lambda told: not told["aof_rewrite_in_progress"] and not told["aof_rewrite_scheduled"],
                    "the file to be written anew",
                )
            witness = Witness(desk.broker)
            restarting = asyncio.create_task(asyncio.to_thread(server.restart))
            while not restarting.done():
                await desk.state("run-0")
            await restarting
            assert (await desk.balanced()).scheduled == 20
            assert witness.said == ["lost", "recovered"]


async def test_limits_are_told_again_before_anything_is_claimed_from_a_server_that_lost_them(
    hurt: Desk,
) -> None:
    await hurt.broker.set_limits([Limit("greet", places=1)])
    with hurt.own.server.client() as client:
        client.flushall()
    await hurt.queue("a", "b")
    assert ids(await hurt.take(10)) == ["a"]
    assert (await hurt.balanced()).held == 1


async def test_a_consumer_tells_its_limits_again_when_another_one_repaired_the_queue(hurt: Desk) -> None:
    @task(max_concurrency=1)
    async def limited(ctx: TaskRun) -> None: ...

    async with consuming(hurt.broker.url, limited) as (consumer, heard):
        await consumer.queue(limited)
        await heard.wait_for("success")
        with hurt.own.server.client() as client:
            lose = client.pipeline(transaction=True).flushall()
            for name in scripts.OPEN.key_names:
                lose.xgroup_create(hurt.keys[name], "fluid", "0", mkstream=True)
            lose.rpush(hurt.keys["bell"], "1").execute()

            async def told() -> bool:
                return bool(client.hexists(hurt.keys["limits"], "limited"))

            await poll(told, bool, "the limits to be told")


async def test_a_stream_without_its_group_is_repaired_by_who_looks(hurt: Desk) -> None:
    with hurt.own.server.client() as client:
        client.delete(hurt.keys["stream_rm"])
    await hurt.queue("a")
    assert (await hurt.broker.snapshot()).ready == 1


async def test_a_subscription_that_is_refused_is_said_once(
    server: RedisServer, hurt: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "resetchannels")
        await hurt.queue("a")
        with caplog.at_level("WARNING", "fluid"):
            waiting = asyncio.create_task(hurt.broker.wait_end("a", elapsed() + PATIENCE))

            async def tries() -> int:
                stats: dict[str, int] = client.info("commandstats").get("cmdstat_subscribe", {})
                return int(stats.get("rejected_calls", 0))

            await poll(tries, lambda count: count >= 3, "three refusals")
        assert len([said for said in caplog.messages if "are heard late" in said]) == 1
        waiting.cancel()
        await asyncio.wait({waiting})


async def test_a_full_server_is_no_outage_and_says_what_to_do(hurt: Desk) -> None:
    witness = Witness(hurt.broker)
    with hurt.own.server.client() as client:
        client.config_set("maxmemory", "1")
        with pytest.raises(BrokerUnavailableError, match=r"memory is full: .* maxmemory") as failed:
            await hurt.broker.enqueue([submission("a")], deadline=elapsed() + 0.2)
        with pytest.raises(BrokerUnavailableError, match="memory is full"):
            await hurt.broker.fire("greet", "hourly", 0, nonce="ann", run=None)
        client.config_set("maxmemory", "0")
    assert failed.value.sent is False  # type: ignore[attr-defined]
    assert witness.said == []
    assert hurt.broker.up
    assert await hurt.state("a") is None


async def test_on_a_full_server_a_queue_is_opened_limited_paused_and_left(hurt: Desk) -> None:
    with hurt.own.server.client() as client:
        client.config_set("maxmemory", "1")
        async with desk_at(hurt.own.server.queue_url("new"), OwnQueue(hurt.own.server, "new")) as new:
            await new.broker.set_limits([Limit("greet", places=1)])
            await new.broker.pause()
            await new.broker.resume()
            await new.broker.stop_claiming("ann")
            assert await new.broker.leave("ann")
            assert (await new.balanced()).books.accepted == 0
        client.config_set("maxmemory", "0")


async def test_a_full_server_takes_no_runs_but_lets_those_it_has_end(hurt: Desk) -> None:
    await hurt.queue("a", "b", "c", "d", message=b"x" * 1000)
    a, b = await hurt.take(2)
    with hurt.own.server.client() as client:
        client.config_set("maxmemory", "1")
        try:
            with pytest.raises(BrokerUnavailableError) as failed:
                await hurt.broker.enqueue([submission("e")], deadline=elapsed())
            assert failed.value.sent is False  # type: ignore[attr-defined]
            assert hurt.renew(a, b) == [1, 1]
            async with asyncio.timeout(PATIENCE / 3):
                assert (await hurt.broker.settle([outcome(a), outcome(b, Kind.failure)])).accepted == [
                    True
                ] * 2
                assert ids(await hurt.take(1)) == ["c"]
        finally:
            client.config_set("maxmemory", "0")
    assert (await hurt.balanced()).books.accepted == 4


# -- traps of the client library -----------------------------------------------------------


async def test_a_call_whose_answer_is_lost_was_sent_once(away: Desk, proxy: CuttingProxy) -> None:
    await away.queue("before")
    sent = proxy.commands["EVALSHA"]
    proxy.cut_next_answer(scripts.ENQUEUE.sha.encode())
    with pytest.raises(BrokerUnavailableError):
        await away.broker.enqueue([submission("a")], deadline=elapsed())
    assert proxy.cuts == 1
    assert proxy.commands["EVALSHA"] == sent + 1


async def test_a_call_that_is_never_answered_was_sent_once(server: RedisServer) -> None:
    async with CuttingProxy(server.port) as proxy:
        url = queue_url(server.flavour, proxy.port, "silent")
        async with desk_at(url, OwnQueue(server, "silent")) as desk:
            server.pause()
            try:
                with pytest.raises(BrokerUnavailableError) as failed:
                    await desk.broker._calls.asking.call("INCR", "{silent}:probe", timeout=0.2)
            finally:
                server.resume()
            assert failed.value.sent is True  # type: ignore[attr-defined]
            assert proxy.commands["INCR"] == 1


@pytest.mark.slow
async def test_a_wait_longer_than_the_librarys_socket_timeout_is_sent_once(
    away: Desk, proxy: CuttingProxy
) -> None:
    assert (await away.claim(1, wait=6.0)).runs == []
    assert proxy.commands["BLPOP"] == 1


async def test_who_waits_behind_a_silent_peer_gives_up_in_their_own_time(
    away: Desk, proxy: CuttingProxy
) -> None:
    asking = away.broker._calls.asking
    await asking.call("PING")
    proxy.freeze()
    first = asyncio.create_task(asking.call("PING", timeout=PATIENCE))
    await eventually(asking._turn.locked, "the first one to have its turn")
    others = [asyncio.create_task(asking.call("PING", timeout=0.05)) for _ in range(5)]
    await asyncio.wait(others)
    assert not first.done(), "they waited for the one before them"
    faults = [other.exception() for other in others]
    assert [isinstance(fault, LostError) and fault.sent for fault in faults] == [False] * 5
    proxy.thaw()
    assert await first == b"PONG"


async def test_a_question_to_a_silent_peer_ends_with_the_patience_of_who_asks(
    away: Desk, proxy: CuttingProxy
) -> None:
    proxy.freeze()
    # an answer may take longer than this one is waited for
    async with asyncio.timeout(ANSWER_SECONDS - 1):
        with pytest.raises(BrokerUnavailableError):
            await away.broker._calls.ask(scripts.SNAPSHOT, (), seconds=0.2)


@pytest.fixture
async def crowded_loop() -> AsyncIterator[None]:
    """Every thread of the loop's own executor is taken, as by bodies in `asyncio.to_thread`."""
    over = threading.Event()
    threads = ThreadPoolExecutor(1)
    threads.submit(over.wait)
    asyncio.get_running_loop().set_default_executor(threads)
    yield
    over.set()


async def test_bodies_in_threads_do_not_keep_a_consumer_from_connecting(
    broker_queue: OwnQueue, crowded_loop: None
) -> None:
    server = broker_queue.server
    url = f"{server.flavour}://localhost:{server.port}?name={broker_queue.name}"
    heard = asyncio.Event()
    async with asyncio.timeout(PATIENCE), desk_at(url, broker_queue) as desk:
        desk.broker.listeners.cancel.append(lambda run_id: heard.set())
        await desk.queue("a")
        run = await desk.take_one()
        ending = asyncio.create_task(desk.broker.wait_end("a", elapsed() + PATIENCE))
        while not heard.is_set():
            assert await desk.broker.cancel("a") == "asked"
            await asyncio.sleep(0.01)
        assert await desk.settle(run)
        await ending


async def test_a_connection_made_again_does_not_hold_off_the_rescuer(away: Desk, proxy: CuttingProxy) -> None:
    await away.balanced()
    seen = [away.broker.connected_for]
    for _ in range(3):
        connections = proxy.connections
        await away.broker._calls.asking.close()
        await away.balanced()
        assert proxy.connections == connections + 1
        seen.append(away.broker.connected_for)
    assert seen == sorted(seen)
    assert seen[0] > 0


async def test_hundreds_may_ask_at_once(away: Desk, proxy: CuttingProxy) -> None:
    await away.queue("a")
    before = proxy.connections
    records = await asyncio.gather(*(away.broker.get_run("a") for _ in range(300)))
    assert [record.state for record in records if record] == [TaskState.queued] * 300
    assert proxy.connections == before


async def test_a_cancelled_call_leaves_no_answer_for_the_next_one(away: Desk, proxy: CuttingProxy) -> None:
    claiming = asyncio.create_task(away.claim(1, wait=PATIENCE))
    await proxy.wait_for_command("BLPOP")
    claiming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await claiming
    await away.queue("a")
    assert ids(await away.take(1)) == ["a"]


async def test_calls_of_one_turn_of_the_loop_share_a_round_trip_and_each_has_its_own_answer(
    desk: Desk,
) -> None:
    await desk.queue("known", "a", "b")
    assert await desk.settle(await desk.take_one())  # the server has seen the script
    first = await desk.take_one()

    def reads(client: redis.Redis) -> int:
        told: dict[str, Any] = client.info("stats")
        return int(told["total_reads_processed"])

    with desk.own.server.client() as client:
        before = reads(client)
        settled, claim = await asyncio.gather(desk.settle(first), desk.take(1))
        # one of the two is the question itself
        assert reads(client) - before == 2
    assert (settled, ids(claim)) == (True, ["b"])


async def test_when_a_shared_round_trip_is_lost_each_call_is_made_again(
    away: Desk, proxy: CuttingProxy
) -> None:
    await away.queue("a", "b")
    first = await away.take_one()
    proxy.cut_next_answer(first.entry.encode())
    settled, claim = await asyncio.gather(away.settle(first), away.take(1))
    assert proxy.cuts == 1
    assert (settled, ids(claim)) == (True, ["b"])
    assert (await away.balanced()).books.success == 1


async def test_a_call_that_is_cancelled_behind_another_is_never_sent(away: Desk, proxy: CuttingProxy) -> None:
    asking = away.broker._calls.asking
    await asking.call("PING")
    proxy.freeze()
    first = asyncio.create_task(asking.call("PING", timeout=PATIENCE))
    await eventually(asking._turn.locked, "the first one to have its turn")
    second = asyncio.create_task(asking.call("INCR", away.keys["bell"] + "probe", timeout=PATIENCE))
    await eventually(lambda: len(asking._waiting) == 1, "the second one to wait")
    second.cancel()
    await asyncio.wait({second})
    proxy.thaw()
    assert await first == b"PONG"
    assert await asking.call("PING") == b"PONG"
    assert proxy.commands["INCR"] == 0


async def test_what_the_server_refuses_is_an_error_and_no_outage(away: Desk) -> None:
    witness = Witness(away.broker)
    with away.own.server.client() as client:
        client.delete(away.keys["books"])
        client.set(away.keys["books"], "spoilt")
    with pytest.raises(BrokerError) as failed:
        await away.broker.snapshot()
    assert not isinstance(failed.value, BrokerUnavailableError)
    assert witness.said == []
    assert witness.calls == [("snapshot", "refused")]


async def test_a_channel_that_is_closed_while_it_gathers_leaves_no_connection_behind(broker_url: str) -> None:
    connecting = Connecting(Address.parse(broker_url), start=False)
    made: list[AbstractConnection] = []

    async def connect() -> AbstractConnection:
        made.append(await connecting.connect())
        return made[-1]

    channel = Channel(connect, lambda: None, gathering=True)
    assert await channel.call("PING") == b"PONG"
    calling = asyncio.create_task(channel.call("PING"))
    await asyncio.sleep(0)  # it gathers now
    await channel.close()
    assert await calling == b"PONG"
    assert [one.is_connected for one in made] == [False, True]
    await channel.close()
    await connecting.close()


async def test_a_channel_that_is_closed_while_it_connects_leaves_no_connection_behind(
    broker_url: str,
) -> None:
    connecting, gate = Connecting(Address.parse(broker_url), start=False), Gate()
    made: list[AbstractConnection] = []

    async def connect() -> AbstractConnection:
        made.append(await connecting.connect())
        await gate.wait()
        return made[-1]

    channel = Channel(connect, lambda: None)
    calling = asyncio.create_task(channel.call("PING"))
    await gate.wait_for()
    await channel.close()
    gate.open()
    with pytest.raises(LostError) as lost:
        await calling
    assert not lost.value.sent
    assert not made[0].is_connected
    assert await channel.call("PING") == b"PONG"
    await channel.close()
    await connecting.close()
