"""Events on their way: only so many wait, and none is told under two numbers."""

from __future__ import annotations

from fluid.scheduler.brokers.outbox import Outbox


def filled(outbox: Outbox, *events: bytes) -> Outbox:
    for event in events:
        outbox.put(event)
    return outbox


def test_the_oldest_go_first_and_each_has_its_number() -> None:
    outbox = filled(Outbox(10), b"a", b"b", b"c")
    assert outbox.send(2) == (1, [b"a", b"b"])
    outbox.arrived()
    assert outbox.send(2) == (3, [b"c"])
    outbox.arrived()
    assert outbox.send(2) is None
    assert (outbox.told, outbox.dropped, len(outbox)) == (3, 0, 0)


def test_nothing_overtakes_what_is_under_way() -> None:
    outbox = filled(Outbox(10), b"a", b"b")
    assert outbox.send(1) == (1, [b"a"])
    assert outbox.send(1) is None
    assert len(outbox) == 2


def test_what_came_back_is_sent_again_under_its_numbers() -> None:
    outbox = filled(Outbox(10), b"a", b"b")
    assert outbox.send(2) == (1, [b"a", b"b"])
    filled(outbox, b"c")
    outbox.came_back()
    assert outbox.send(3) == (1, [b"a", b"b", b"c"])


def test_when_too_many_wait_the_oldest_is_dropped_and_counted() -> None:
    outbox = filled(Outbox(2), b"a", b"b", b"c")
    assert outbox.dropped == 1
    assert outbox.send(9) == (2, [b"b", b"c"])


def test_what_is_dropped_behind_those_under_way_leaves_no_gap_in_the_numbers() -> None:
    outbox = filled(Outbox(2), b"a", b"b")
    outbox.send(2)
    filled(outbox, b"c", b"d", b"e")
    assert outbox.dropped == 1
    outbox.arrived()
    assert outbox.send(9) == (3, [b"d", b"e"])


def test_what_came_back_and_is_dropped_takes_its_number_along() -> None:
    outbox = filled(Outbox(2), b"a", b"b")
    outbox.send(2)
    filled(outbox, b"c")
    outbox.came_back()
    assert outbox.send(9) == (2, [b"b", b"c"]), "b was sent as number 2, and may be there already"
