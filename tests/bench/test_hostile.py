"""Work goes on at the same speed whatever becomes of the spans: counted, not timed."""

from __future__ import annotations

import pytest

from fluid.scheduler import TaskConsumer
from tests.bench import handlers
from tests.bench.check import count
from tests.bench.handlers import IN_FLIGHT, KINDS, Waits, harmed, idle, waits
from tests.bench.hostile import lines, lines_of_waits
from tests.bench.receivers import HEALTHY, RECEIVERS, exporting_to
from tests.support.servers import RedisServer

MARGIN = 0.03
"""As in `budget.toml`."""


@pytest.mark.servers
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_run_costs_the_loop_the_same_whatever_state_the_exporter_is_in() -> None:
    counted = {}
    with RedisServer("redis") as server:
        for kind in RECEIVERS:
            with exporting_to(kind) as variables:
                counted[kind] = count(server, "metrics+logs+traces", **variables)
    unsampled = 400
    assert counted[HEALTHY]["calls"] > unsampled, "every span is recorded"
    for what, healthy in counted[HEALTHY].items():
        for kind in RECEIVERS:
            assert counted[kind][what] == pytest.approx(healthy, rel=MARGIN), (kind, what)


def test_percentiles_are_those_of_all_rounds_together() -> None:
    steady = [float(number) for number in range(1, 200)]
    [row] = lines_of_waits({"good": Waits(steady, [2 * one for one in steady])})
    assert row == ("good", "199", "100.00", "200.00", "2.00", "198.00", "396.00", "2.00")


def test_a_ratio_is_that_of_each_round() -> None:
    [row] = lines({"slow": [(100.0, 90.0), (200.0, 220.0), (10.0, 10.0)]}, ".0f")
    assert row == ("slow", "100", "90", "1.00 (0.90 to 1.10)")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_handler_does_the_harm_that_its_row_says(kind: str, broker_url: str) -> None:
    consumer = TaskConsumer(broker_url=broker_url, stopping_grace_period=0.2)
    consumer.register_task(idle)
    async with consumer, harmed(consumer, kind):
        took = await waits(consumer, 4 * IN_FLIGHT)
        stood = {f"{one.event}.{one.handler}": one for one in consumer.handler_statistics()}
        troubles = {str(name): one for name, one in consumer.dispatcher.troubles().items()}
    assert len(took) == 4 * IN_FLIGHT
    match kind:
        case handlers.GOOD:
            assert stood["*.harmful"].handled > len(took)
        case handlers.HANGING:
            assert (stood["*.harmful"].in_hand, stood["*.harmful"].handled) == (1, 0)
        case handlers.RAISING:
            assert stood["*.harmful"].paused
        case handlers.IN_LINE:
            assert troubles["*.harmful"].paused
        case handlers.FLOODING:
            assert stood["loop_blocked.flooded"].dropped > len(took)
        case handlers.BLOCKING:
            assert max(took) > 1000 * handlers.BLOCKED_SECONDS
