"""What every test of a broker has at hand."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fluid.scheduler.brokers.desk import Desk, desk_at
from tests.support.queues import OwnQueue


@pytest.fixture
async def desk(broker_queue: OwnQueue) -> AsyncIterator[Desk]:
    """A queue of the test's own, open, once on each server."""
    async with desk_at(broker_queue.url, broker_queue) as desk:
        yield desk
