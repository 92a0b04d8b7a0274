"""Each fault raises its alerts and no other, through Prometheus and Alertmanager to a webhook."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboards.rules import SYMPTOMS
from tests.live.faults import MATRIX
from tests.live.matrix import AFTERMATH_SECONDS, play

SCALE = 0.02
ALERTS = {symptom.name for symptoms in SYMPTOMS.values() for symptom in symptoms}


@pytest.mark.servers
@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_each_fault_is_told_as_it_should_be_and_nothing_else(tmp_path: Path) -> None:
    outcomes = await play(tmp_path, scale=SCALE)
    assert [fault.name for fault in MATRIX] == [outcome.fault.name for outcome in outcomes]
    assert [str(outcome) for outcome in outcomes if not outcome.right] == []


def test_the_matrix_names_alerts_of_ours() -> None:
    assert {alert for fault in MATRIX for alert in fault.expected} <= ALERTS
    assert len({fault.queue for fault in MATRIX}) == len(MATRIX)
    assert max(fault.within for fault in MATRIX) < AFTERMATH_SECONDS
