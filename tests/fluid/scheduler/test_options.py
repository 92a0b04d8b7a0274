"""How a run is queued and what is promised of a task: plain data that is checked when it is made."""

from __future__ import annotations

import dataclasses
import math
from datetime import UTC, datetime
from typing import Any

import pytest

from fluid.errors import DeclarationError
from fluid.scheduler.options import NO_OPTIONS, SLO, QueueOptions

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NAIVE = datetime(2026, 1, 1, 12)  # noqa: DTZ001 - what is refused here


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"delay": 0.0},
        {"delay": 5},
        {"at": NOON, "expires": NOON},
        {"unique_key": "order 7 für Zoë"},
        {"unique_key": "k", "when_taken": "replace"},
        {"concurrency_key": "customer-7"},
        {"run_id": "x" * 128},
    ],
)
def test_what_makes_sense_is_kept(options: dict[str, Any]) -> None:
    made = QueueOptions(**options)
    assert {name: getattr(made, name) for name in options} == options


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"delay": 1, "at": NOON}, "exclude each other"),
        ({"delay": -1}, "delay=-1"),
        ({"delay": math.nan}, "delay=nan"),
        ({"delay": math.inf}, "delay=inf"),
        ({"at": NAIVE}, "at=.*no time zone"),
        ({"expires": NAIVE}, "expires=.*no time zone"),
        ({"run_id": ""}, "run_id=''"),
        ({"run_id": "x" * 129}, "run_id="),
        ({"run_id": "für"}, "run_id="),
        ({"run_id": "a\0b"}, "run_id="),
        ({"unique_key": ""}, "unique_key=''"),
        ({"concurrency_key": "a\0b"}, "concurrency_key="),
        ({"when_taken": "steal"}, "when_taken='steal'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_fault(options: dict[str, Any], fault: str) -> None:
    with pytest.raises(DeclarationError, match=fault):
        QueueOptions(**options)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(DeclarationError) as refused:
        QueueOptions(delay=-1, at=NAIVE, run_id="")
    for fault in ("exclude each other", "delay=-1", "at=", "run_id="):
        assert fault in str(refused.value)


def test_options_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        NO_OPTIONS.delay = 1.0  # type: ignore[misc]


@pytest.mark.parametrize("share", [0, 1, -0.5, 99.9])
def test_a_promise_is_a_share_between_none_and_all(share: float) -> None:
    with pytest.raises(DeclarationError, match="a share between 0 and 1"):
        SLO(success=share)


@pytest.mark.parametrize("name", ["start_within", "finish_within"])
@pytest.mark.parametrize(
    ("seconds", "nearest"),
    [(0.0, "0.001"), (-1, "0.001"), (4, "2 or 5"), (0.3, "0.25 or 0.5"), (7200, "3600")],
)
def test_a_promised_time_is_a_bound_that_is_counted(name: str, seconds: float, nearest: str) -> None:
    for bound in SLO.BOUNDS:
        assert getattr(SLO(**{name: bound}), name) == bound
    with pytest.raises(DeclarationError, match=rf"{name}={seconds!r}\): {nearest} is the nearest"):
        SLO(**{name: seconds})
