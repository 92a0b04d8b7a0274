"""The broker on Redis streams: each move of the contract is one script."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from fluid.clock import elapsed
from fluid.scheduler.batches import MAX_RUNS, parts_of
from fluid.scheduler.broker import BrokerListeners, ConsumerInfo, TaskBroker
from fluid.scheduler.brokers import scripts
from fluid.scheduler.brokers.address import Address
from fluid.scheduler.brokers.calls import LOOK_SECONDS, Calls, batches, new_nonce
from fluid.scheduler.brokers.channel import ANSWER_SECONDS, LostError, Word
from fluid.scheduler.brokers.claims import Claims
from fluid.scheduler.brokers.fleet_stream import RedisFleetStream
from fluid.scheduler.brokers.inspection import Inspection
from fluid.scheduler.brokers.keys import Keys
from fluid.scheduler.brokers.link import Link
from fluid.scheduler.brokers.listener import EndListener
from fluid.scheduler.brokers.listing import Listing, Wanted
from fluid.scheduler.brokers.notebook import Notebook
from fluid.scheduler.brokers.records import (
    fired_words,
    milliseconds,
    read_consumers,
    read_fired,
    read_replayed,
    read_rescued,
    read_schedules,
    read_shown,
    read_snapshot,
    read_tidied,
    read_verdict,
    replays_word,
    settlement_words,
    submission_words,
)
from fluid.scheduler.brokers.renewer import RedisRenewer
from fluid.scheduler.meanwhile import Work, nothing
from fluid.scheduler.moves import (
    Acceptance,
    BrokerReport,
    Claim,
    ClaimRequest,
    Fired,
    Limit,
    Page,
    Refusal,
    Rescued,
    RunRecord,
    Settled,
    Settlement,
    Submission,
    Swept,
    Tidied,
)
from fluid.scheduler.snapshot import Snapshot
from fluid.scheduler.states import TaskState

FAILURES_KEPT = 10_000
"""The most failed runs whose evidence is kept; the oldest goes first."""

WAIT_FOR_TELL = 24 * 3600.0
"""How long the broker remembers that somebody waits for a run."""

RESCUED_AT_ONCE = 200
RECHECK_SECONDS = 5.0

DECIDED_AT_ONCE = 100
"""The most runs that one script call cancels, replays or hastens."""


class RedisBroker(TaskBroker):
    """Runs kept in Redis or Valkey; see the key map in `keys` and the moves in `scripts`."""

    def __init__(
        self,
        url: str = "",
        *,
        result_ttl: float = 3600.0,
        failure_ttl: float = 7 * 86400.0,
        start: bool = True,
    ) -> None:
        self._address = Address.parse(url)
        self._keys = Keys(self._address.queue)
        self._result_ttl = result_ttl
        self._failure_ttl = failure_ttl
        self.listeners = BrokerListeners()
        self._link = Link(self._address, self.listeners, start=start)
        self._link.repair = self._repair
        self._working = self._link.channel(gathering=True)
        self._queueing = self._link.channel()
        self.fleet = self._working.rider = self._queueing.rider = RedisFleetStream(self._keys, self._link)
        self._calls = Calls(self._link, self._keys, self.listeners.rewound)
        self._claims = Claims(self._link, self._keys, self._calls, self._working)
        self.notes = Notebook(self._keys, self._calls)
        self._limits: list[Word] = []
        self._inspection = Inspection(self._calls.command)
        self._listing = Listing(self._calls)
        self._ends = EndListener(self._link.connecting, self._keys["done"], self.listeners)

    @property
    def queue(self) -> str:
        return self._address.queue

    @property
    def url(self) -> str:
        return self._address.masked

    @property
    def up(self) -> bool:
        return self._link.up

    @property
    def connected_for(self) -> float:
        return self._link.connected_for

    async def open(self, deadline: float | None = None) -> None:
        await self._link.persist("open", self._make_streams, deadline)

    async def _make_streams(self) -> None:
        await self._calls.asking.script(scripts.OPEN, scripts.OPEN.command(self._keys, ()))

    async def _repair(self) -> None:
        # the limits went with the streams, and what is claimed next has to hold to them
        await self._make_streams()
        if self._limits:
            await self._calls.asking.script(scripts.LIMIT, scripts.LIMIT.command(self._keys, self._limits))

    async def sever(self) -> None:
        await self._link.sever()

    async def close(self) -> None:
        await self._ends.close()
        await self._link.close()

    # -- queueing --------------------------------------------------------------------------

    async def reach(self) -> None:
        await self._link.reach(scripts.ENQUEUE.name, self._queueing)

    async def enqueue(self, runs: Sequence[Submission], *, deadline: float) -> Acceptance:
        verdicts: list[Refusal | None] = []
        scheduled: list[bool] = []
        now = 0.0
        for batch in batches(runs, MAX_RUNS):
            words: list[Word] = [replays_word(batch)]
            for run in batch:
                words += submission_words(run)
            try:
                now, told = await self._calls.flush(
                    "runs", self._queueing, scripts.ENQUEUE, words, deadline=deadline, once_sent=True
                )
            except LostError as error:
                # what came before this part is in the queue
                raise LostError(str(error), sent=error.sent or bool(verdicts)) from error
            verdicts += [read_verdict(run.id, word) for run, word in zip(batch, told, strict=True)]
            scheduled += [word == 2 for word in told]
        return Acceptance(now, verdicts, scheduled)

    # -- consuming -------------------------------------------------------------------------

    async def claim(self, asked: ClaimRequest, *, meanwhile: Work = nothing) -> Claim:
        return await self._claims.claim(asked, meanwhile)

    async def set_limits(self, limits: Sequence[Limit]) -> None:
        self._limits = []
        for limit in limits:
            self._limits += (limit.task, limit.places, limit.starts, milliseconds(limit.period))
        while await self._calls.ask(scripts.LIMIT, self._limits):
            pass

    async def stop_claiming(self, consumer: str) -> None:
        await self._claims.stop(consumer)

    async def settle(self, outcomes: Sequence[Settlement], *, meanwhile: Work = nothing) -> Settled:
        answers: list[int] = []
        now = 0.0
        # the sizes in one go, for this is done for every run
        for start, end in parts_of([*map(len, [outcome.outcome for outcome in outcomes])]):
            words: list[Word] = [FAILURES_KEPT]
            for outcome in outcomes[start:end]:
                words += settlement_words(outcome)
            now, told = await self._calls.flush(
                "outcomes", self._working, scripts.SETTLE, words, meanwhile=meanwhile
            )
            answers += told
        return Settled(now, [word != 0 for word in answers], [word == 2 for word in answers])

    def renewer(self) -> RedisRenewer:
        return RedisRenewer(self._address, self._keys)

    async def rescue(
        self, *, nonce: str, interval: float, max_deliveries: int, silence: float = 0.0
    ) -> list[Rescued]:
        times = (milliseconds(interval), milliseconds(silence))
        arguments = (nonce, *times, RESCUED_AT_ONCE, max_deliveries, milliseconds(self._result_ttl))
        words = scripts.RESCUE.command(self._keys, arguments)
        # one try: a second one could come right after an outage, before the keepers have renewed
        answer = await self._link.call(
            scripts.RESCUE.name, lambda: self._calls.asking.script(scripts.RESCUE, words)
        )
        return read_rescued(answer)

    async def tidy(self, *, interval: float, silence: float) -> Tidied:
        arguments = [milliseconds(s) for s in (interval, silence, WAIT_FOR_TELL, self._failure_ttl)]
        return read_tidied(await self._calls.ask(scripts.TIDY, arguments))

    async def sweep(self, *, interval: float, looks: int = 100) -> Swept:
        times = (milliseconds(interval), looks, milliseconds(self._result_ttl))
        return Swept(*await self._calls.ask(scripts.SWEEP, times))

    async def leave(self, consumer: str) -> bool:
        return bool(await self._calls.ask(scripts.LEAVE, (consumer,)))

    # -- asking ----------------------------------------------------------------------------

    async def snapshot(self) -> Snapshot:
        known = self._calls.hindsight.known
        found = read_snapshot(await self._calls.ask(scripts.SNAPSHOT, (), seconds=ANSWER_SECONDS / 2))
        self._calls.hindsight.hear(known, found.books.accepted)
        return found

    async def inspect(self) -> BrokerReport:
        return await self._inspection.look()

    async def pause(self, task: str = "") -> None:
        await self._set_paused(task, 1)

    async def resume(self, task: str = "") -> None:
        await self._set_paused(task, 0)

    async def _set_paused(self, task: str, on: int) -> None:
        script, words = (scripts.PAUSE_TASK, (task, on)) if task else (scripts.PAUSE, (on,))
        await self._calls.ask(script, words)

    async def consumers(self) -> list[ConsumerInfo]:
        now = await self._calls.command("TIME")
        seen = await self._calls.command("ZRANGE", self._keys["seen"], 0, -1, "WITHSCORES")
        about = await self._calls.command("HGETALL", self._keys["consumers"])
        return read_consumers(now, seen, about)

    async def get_run(self, run_id: str) -> RunRecord | None:
        return read_shown(run_id, await self._calls.ask(scripts.SHOW, (run_id, 0)))

    async def list_runs(
        self,
        *states: TaskState,
        task: str = "",
        reason: str = "",
        since: float | None = None,
        until: float | None = None,
        limit: int = 50,
        after: str = "",
    ) -> Page[RunRecord]:
        return await self._listing.page(states, Wanted(task, reason, since, until), limit=limit, after=after)

    async def wait_end(self, run_id: str, deadline: float | None) -> RunRecord | None:
        with self._ends.expect(run_id) as told, contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if deadline is None else max(LOOK_SECONDS, deadline - elapsed())):
                while True:
                    record = await self._shown(run_id)
                    if record is None or record.state.is_done or record.state is TaskState.dead:
                        return record
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(told.wait(), RECHECK_SECONDS)
                    told.clear()
        return None

    async def _shown(self, run_id: str) -> RunRecord | None:
        """The record of a run that is waited for; asked until the broker has answered."""
        answer = await self._calls.move(self._calls.asking, scripts.SHOW, (run_id, 1), deadline=None)
        return read_shown(run_id, answer)

    def hear_cancellations(self) -> None:
        self._ends.start()

    async def cancel_many(
        self, run_ids: Sequence[str], *, only: str = "", reason: str = "cancelled"
    ) -> list[str]:
        how = (new_nonce(), only, reason, milliseconds(self._result_ttl))
        return [
            word.decode()
            for batch in batches(run_ids, DECIDED_AT_ONCE)
            for word in await self._calls.ask(scripts.CANCEL, (*how, *batch))
        ]

    async def replay_many(self, run_ids: Sequence[str]) -> list[str | Refusal]:
        return [
            read_replayed(word)
            for batch in batches(run_ids, DECIDED_AT_ONCE)
            for word in await self._calls.ask(scripts.REPLAY, (new_nonce(), *batch))
        ]

    async def hasten(self, run_ids: Sequence[str]) -> int:
        parts = batches(run_ids, DECIDED_AT_ONCE)
        return sum([await self._calls.ask(scripts.HASTEN, part) for part in parts])

    async def report_progress(self, run_id: str, report: bytes) -> None:
        await self._calls.ask(scripts.PROGRESS, (run_id, report))

    # -- schedules -------------------------------------------------------------------------

    async def fire(
        self, task: str, fingerprint: str, tick: float, *, nonce: str, run: Submission | None
    ) -> Fired:
        words = (task, fingerprint, int(tick), nonce, *fired_words(run))
        return read_fired(await self._calls.ask(scripts.FIRE, words))

    async def schedules(self) -> dict[str, float]:
        return read_schedules(await self._calls.command("HGETALL", self._keys["schedules"]))
