"""A small measurement of this project comes out whole."""

from __future__ import annotations

import pytest

from tests.bench.contenders import ours
from tests.bench.measuring import measure
from tests.bench.ours import microseconds_of_events
from tests.support.servers import RedisServer


@pytest.mark.servers
@pytest.mark.slow
@pytest.mark.parametrize("contender", ours(), ids=lambda contender: contender.name)
def test_everything_is_measured_of_ours(contender: object) -> None:
    [chosen] = [one for one in ours() if one == contender]
    with RedisServer("redis") as server:
        figures = measure(chosen, server, scale=0.1)
    assert all(value is not None and value >= 0 for value in vars(figures).values())
    assert figures.runs == 2000
    assert figures.commands < 10
    assert figures.latency_half is not None
    assert figures.latency_most is not None
    assert figures.latency_half <= figures.latency_most


def test_what_events_cost_is_more_than_nothing() -> None:
    assert microseconds_of_events(times=10) > 0
