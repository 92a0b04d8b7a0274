"""A small measurement of this project comes out whole."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.bench.contenders import ours
from tests.bench.measuring import measure
from tests.bench.ours import microseconds_of_events
from tests.bench.peers import stage
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


def test_bodies_that_begin_in_threads_at_once_are_all_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(8)

    def work() -> None:
        together.wait()
        for _ in range(50):
            stage.begun()

    for turn in range(10):
        monkeypatch.setattr(stage, "_NOTES", tmp_path / str(turn))
        stage._NOTES.mkdir()
        monkeypatch.setattr(stage, "_notes", None)
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (notes,) = stage._NOTES.iterdir()
        assert notes.suffix == ".notes"
        assert stage.NOTE.unpack(notes.read_bytes())[0] == 400
