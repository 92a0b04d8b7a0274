"""Numbers are whole when they are read, whoever moves them meanwhile."""

from __future__ import annotations

import threading

import pytest

from telemetry.series import Distribution

BOUNDS = (0.1, 0.5, 1.0)
SECONDS = (0.0, 0.1, 0.3, 0.5, 0.50001, 1.0, 7.0)


def samples_of(distribution: Distribution) -> dict[str, float]:
    return {
        sample.labels.get("le", sample.name.removeprefix("wait_")): sample.value
        for sample in distribution.samples("wait", {})
    }


@pytest.mark.parametrize("how", ["one by one", "together"])
def test_observations_are_counted_alike_one_by_one_and_together(how: str) -> None:
    distribution = Distribution(BOUNDS)
    if how == "together":
        distribution.gathered.extend(SECONDS)
    else:
        for seconds in SECONDS:
            distribution.observe(seconds)
    assert samples_of(distribution) == {
        "0.1": 2,
        "0.5": 4,
        "1.0": 6,
        "+Inf": 7,
        "count": 7,
        "sum": pytest.approx(sum(SECONDS)),
    }
    assert (distribution.count, distribution.within(0.5), distribution.gathered) == (7, 4, [])


def test_what_is_gathered_changes_the_mark() -> None:
    distribution = Distribution(BOUNDS)
    before = distribution.mark()
    distribution.gathered.append(0.0)
    assert distribution.mark() != before


def test_each_reading_is_whole_and_nothing_is_lost_while_more_is_gathered() -> None:
    runs, distribution, over = 100_000, Distribution(BOUNDS), threading.Event()
    readings: list[list[float]] = []

    def read() -> None:
        while not over.is_set():
            told = samples_of(distribution)
            readings.append([told["0.1"], told["0.5"], told["1.0"], told["+Inf"], told["count"], told["sum"]])

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(runs):
            distribution.gathered.append(0.25)
            if len(distribution.gathered) >= 100:
                distribution.count_gathered()
    finally:
        over.set()
        for reader in readers:
            reader.join()
    for least, half, one, all_of_them, count, seconds in readings:
        assert least == 0
        assert half == one == all_of_them == count == 4 * seconds
    assert distribution.mark() == (runs, runs / 4)
