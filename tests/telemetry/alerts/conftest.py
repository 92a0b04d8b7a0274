"""A receiver, and notices to send to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from telemetry.alerts.notices import Notice, Status
from tests.telemetry.alerts.receiving import Receiver

BEGAN = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def notice(**told: Any) -> Notice:
    """An incident that has just begun, unless told otherwise."""
    usual: dict[str, Any] = {
        "status": Status.firing,
        "condition": "task_failing",
        "severity": "warning",
        "words": "runs fail",
        "queue": "orders",
        "labels": {"task": "charge"},
        "count": 3,
        "began": BEGAN,
        "at": BEGAN + timedelta(seconds=5),
        "lasts_until": BEGAN + timedelta(hours=2),
        "evidence": {"task": "charge", "run": "r-1", "error": "ValueError: <no> & more"},
        "runbook_url": "https://runbooks.example/charge",
        "sender": "ann",
    }
    return Notice(**usual | told)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Takes what it is sent."""
    async with Receiver() as receiver:
        yield receiver
