"""A queue of one test's own, on a server that many tests share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

from redis import Redis

from fluid.scheduler.brokers.keys import Keys
from tests.support.servers import RedisServer


@dataclass(frozen=True)
class OwnQueue:
    """A queue that no other test knows."""

    server: RedisServer
    name: str

    @property
    def url(self) -> str:
        """Its broker URL."""
        return self.server.queue_url(self.name)

    def keys(self, client: Redis) -> list[str]:
        """Every key it has on the server now."""
        return sorted(
            key.decode() for key in client.scan_iter(match=f"{Keys(self.name).prefix}*", count=1000)
        )

    def leaks(self) -> list[str]:
        """Its keys that will never expire, but for those that live as long as the queue does.

        The record of a run that has not ended is among them: end what was queued before asking.
        """
        with self.server.client() as client:
            passing = [key for key in self.keys(client) if key not in Keys(self.name).permanent()]
            return [key for key in passing if client.ttl(key) == -1]

    def remove(self) -> None:
        """Remove its keys, and only those."""
        with self.server.client() as client:
            if keys := self.keys(client):
                client.unlink(*keys)


@contextmanager
def queue_of_its_own(server: RedisServer) -> Iterator[OwnQueue]:
    """A new queue, removed in the end."""
    queue = OwnQueue(server, f"test-{uuid4().hex[:12]}")
    try:
        yield queue
    finally:
        queue.remove()
