"""How runs are claimed: behind a wait at the bell, or along with outcomes that are told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fluid.scheduler.batches import MAX_RUNS
from fluid.scheduler.brokers import scripts
from fluid.scheduler.brokers.calls import Calls, new_nonce
from fluid.scheduler.brokers.channel import ANSWER_SECONDS, Channel, Word
from fluid.scheduler.brokers.keys import Keys
from fluid.scheduler.brokers.link import Link
from fluid.scheduler.brokers.records import milliseconds, read_claim
from fluid.scheduler.codec import MESSAGE_VERSION
from fluid.scheduler.meanwhile import Work
from fluid.scheduler.moves import Claim, ClaimRequest


class Claims:
    """Makes the claims of one consumer, and ends them."""

    def __init__(self, link: Link, keys: Keys, calls: Calls, working: Channel) -> None:
        self._link = link
        self._keys = keys
        self._calls = calls
        self._bell = link.channel()
        self._working = working

    async def claim(self, asked: ClaimRequest, meanwhile: Work) -> Claim:
        """A claim; see `TaskBroker.claim`."""
        told = (
            asked.consumer,
            new_nonce(),
            min(asked.slots, MAX_RUNS),
            milliseconds(asked.lease),
            asked.suspects,
            MESSAGE_VERSION,
            asked.cursor,
        )
        bell: list[Sequence[Word]] = []
        if asked.wait > 0:
            bell.append(("BLPOP", self._keys["bell"], max(0.001, round(asked.wait, 3))))

        async def ask(*before: Sequence[Word], awake: int = 0) -> Any:
            words = scripts.CLAIM.command(self._keys, (*told, awake, *asked.held))
            longest = ANSWER_SECONDS + (asked.wait if before else 0.0)
            # at load a claim goes along with outcomes; behind one that waits at the bell these would wait
            channel = self._bell if before else self._working
            return await channel.script(scripts.CLAIM, words, *before, timeout=longest, meanwhile=meanwhile)

        known = self._calls.hindsight.known

        async def attempt() -> Any:
            nonlocal known
            known = self._calls.hindsight.known
            if bell:
                await self._bell.identify()
            # the wait belongs to the first try only: a second one is for the answer that was lost
            before, bell[:] = list(bell), []
            # refused, for nothing was heard of us while we waited: that we ask again says that we are alive
            return await ask(*before) or await ask(awake=1)

        claim = read_claim(await self._link.persist(scripts.CLAIM.name, attempt, meanwhile=meanwhile))
        self._calls.hindsight.hear(known, claim.accepted)
        return claim

    async def stop(self, consumer: str) -> None:
        """Have this consumer's claims answer nothing, and end its wait."""

        async def attempt() -> None:
            words = scripts.STOP_CLAIMING.command(self._keys, (consumer,))
            await self._calls.asking.script(scripts.STOP_CLAIMING, words)
            if self._bell.client_id:
                await self._calls.asking.call("CLIENT", "UNBLOCK", self._bell.client_id)

        await self._link.call(scripts.STOP_CLAIMING.name, attempt)
