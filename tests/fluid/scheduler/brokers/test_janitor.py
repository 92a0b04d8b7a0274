"""The janitor takes a consumer for gone after ten leases, but not when it may be no more than slow."""

from __future__ import annotations

from typing import cast

import pytest

from fluid.scheduler.announcing import Announcer
from fluid.scheduler.run import RunDoor
from fluid.scheduler.upkeep.janitor import Janitor
from tests.fluid.scheduler.brokers.desk import Desk


@pytest.mark.parametrize(
    ("lease", "silent", "forgotten"),
    [(0.3, 3.1, False), (0.3, 5.5, True), (30.0, 200.0, False), (30.0, 301.0, True)],
)
async def test_a_consumer_is_forgotten_after_ten_leases_and_five_seconds_at_least(
    desk: Desk, lease: float, silent: float, forgotten: bool
) -> None:
    desk.renew()
    with desk.own.server.client() as client:
        seconds, microseconds = client.time()
        client.zadd(desk.keys["seen"], {"ann": (seconds - silent) * 1000 + microseconds // 1000})
    announcer = Announcer(stopping_grace_period=1.0)
    await Janitor(broker=desk.broker, announcer=announcer, door=cast("RunDoor", None), lease=lease).once()
    assert [one.name for one in await desk.broker.consumers()] == ([] if forgotten else ["ann"])
