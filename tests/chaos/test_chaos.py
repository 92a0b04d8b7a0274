"""A short run of the chaos suite: `make chaos` is the long one."""

from __future__ import annotations

import pytest

from tests.chaos.harness.evidence import Plan
from tests.chaos.harness.plan import REWINDS, Fault
from tests.chaos.harness.report import page
from tests.chaos.harness.verdict import judge
from tests.chaos.harness.world import Cast, opened

SHORT = Plan(seed=11, runs=2000, seconds=20.0, lease=1.5, pause=0.8)
SMALL = Cast(producers=1, consumers=2, schedulers=2)


@pytest.mark.slow
@pytest.mark.servers
@pytest.mark.timeout(240)
async def test_every_rule_holds_in_a_small_world_that_is_broken_for_a_while() -> None:
    said: list[str] = []
    async with opened(SHORT, SMALL) as world:
        evidence = await world.run(said.append)
    findings = judge(evidence)
    assert all(finding.good for finding in findings), page([(evidence, findings)]) + "\n".join(said)
    assert len(evidence.accepted) >= SHORT.runs
    assert set(evidence.faults) == set(Fault) - REWINDS, "the seed was chosen so that every fault comes"
