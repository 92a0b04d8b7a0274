"""Leases renewed from a keeper's thread, over a connection of its own."""

from __future__ import annotations

from collections.abc import Sequence

from redis.connection import AbstractConnection
from redis.exceptions import NoScriptError, RedisError, ResponseError

from fluid.errors import BrokerError, BrokerUnavailableError
from fluid.scheduler.broker import ConsumerInfo
from fluid.scheduler.brokers.address import Address
from fluid.scheduler.brokers.channel import Word
from fluid.scheduler.brokers.keys import Keys
from fluid.scheduler.brokers.records import write_about
from fluid.scheduler.brokers.scripts import RENEW
from fluid.scheduler.moves import Renewal

ANSWER_SECONDS = 3.0

MOST_AT_ONCE = 500
"""Leases in one script call; Lua unpacks only so many."""


class RedisRenewer:
    """One round trip renews all the leases of a consumer. Not to be used by two threads at once."""

    def __init__(self, address: Address, keys: Keys) -> None:
        self._address = address
        self._keys = keys
        self._connection: AbstractConnection | None = None

    def renew(
        self, consumer: str, lease: float, about: ConsumerInfo, runs: Sequence[tuple[str, str]]
    ) -> list[Renewal]:
        """Renew the leases of these (token, run id), and say that the consumer is alive."""
        renewed: list[Renewal] = []
        for start in range(0, max(1, len(runs)), MOST_AT_ONCE):
            renewed += self._renew(consumer, lease, about, runs[start : start + MOST_AT_ONCE])
        return renewed

    def _renew(
        self, consumer: str, lease: float, about: ConsumerInfo, runs: Sequence[tuple[str, str]]
    ) -> list[Renewal]:
        arguments: list[Word] = [
            consumer,
            int(lease * 1000),
            write_about(about),
            *(word for run in runs for word in run),
        ]
        words = RENEW.command(self._keys, arguments)
        try:
            if self._connection is None:
                self._connection = self._address.resolve(start=False).sync_connection(
                    socket_timeout=min(ANSWER_SECONDS, lease / 3),
                    socket_connect_timeout=min(ANSWER_SECONDS, lease / 3),
                )
                self._connection.connect()
            try:
                self._connection.send_command(*words)
                answer = self._connection.read_response()
            except NoScriptError:
                self._connection.send_command("EVAL", RENEW.source, *words[2:])
                answer = self._connection.read_response()
        except (RedisError, OSError, BrokerError) as error:
            self.close()
            raise BrokerUnavailableError(f"leases could not be renewed: {error}") from error
        if isinstance(answer, ResponseError):
            raise BrokerUnavailableError(f"leases could not be renewed: {answer}")
        return [Renewal(word) for word in answer[1:]]

    def close(self) -> None:
        """Close the connection; the next renewal makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()
