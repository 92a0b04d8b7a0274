"""A worker with a bounded queue of messages in front of it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

from fluid.errors import WorkerError
from fluid.workers.worker import Worker

M = TypeVar("M")


class QueueConsumer(Worker, Generic[M]):
    """Takes messages from a queue that never makes a sender wait: when it is full, the oldest is dropped.

    A subclass writes `run`, which takes messages with `get_message` until that answers None.
    """

    def __init__(
        self,
        *,
        max_size: int = 1000,
        name: str = "",
        critical: bool = True,
        stopping_grace_period: float = 10.0,
        stage: int = 0,
    ) -> None:
        """`max_size`: how many messages wait at most."""
        super().__init__(
            name=name, critical=critical, stopping_grace_period=stopping_grace_period, stage=stage
        )
        if max_size < 1:
            raise WorkerError(f"worker {self.worker_name!r}: a queue of max_size={max_size} holds no message")
        self.max_size = max_size
        self.dropped = 0
        self._messages: deque[M] = deque()

    def send(self, message: M) -> None:
        """Put a message at the end of the queue; returns at once.

        Only from the event loop's thread; from another, `loop.call_soon_threadsafe(worker.send, message)`.
        Messages sent before the start wait for it.
        """
        if len(self._messages) >= self.max_size:
            self._drop(self._messages.popleft())
        self._messages.append(message)
        self._wake.set()

    async def get_message(self) -> M | None:
        """The next message, as soon as there is one; None when asked to stop and no message is left."""
        while not self._messages:
            if self._stop.is_set():
                return None
            self._wake.clear()
            await self._wake.wait()
        return self._messages.popleft()

    def queue_size(self) -> int:
        """How many messages wait."""
        return len(self._messages)

    def on_dropped(self, message: M) -> None:
        """Called with every message that is dropped; a hook."""

    def gracefully_stop(self) -> None:
        """Ask it to stop; it still takes the messages that wait."""
        super().gracefully_stop()
        self._wake.set()

    async def status(self) -> dict[str, object]:
        """Its state, with the messages that wait and those that were dropped."""
        return {**await super().status(), "queue_size": self.queue_size(), "dropped": self.dropped}

    def _drop(self, message: M) -> None:
        self.dropped += 1
        self.on_dropped(message)

    def _renew(self) -> None:
        super()._renew()
        self._wake = asyncio.Event()
