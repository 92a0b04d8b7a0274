"""A queue for each test of the `fluid` command, and the environment that points at it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.queues import OwnQueue, queue_of_its_own
from tests.support.servers import RedisServer


@pytest.fixture
def queue(valkey_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnQueue]:
    """A queue of the test's own, which `FLUID_BROKER_URL` names."""
    with queue_of_its_own(valkey_server) as queue:
        monkeypatch.setenv("FLUID_BROKER_URL", queue.url)
        yield queue
