"""Each fault raises its alerts and no other, all the way to a webhook, and they pass with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboards.rules import SYMPTOMS
from dashboards.rules.thresholds import Thresholds
from tests.live.faults import MATRIX
from tests.live.hook import Hook
from tests.live.matrix import LASTING_SECONDS, SCRAPE_SECONDS, is_over, play
from tests.live.outcome import BEGIN, END, Outcome, Played, Times

SCALE = 0.02
ALERTS = {symptom.name for symptoms in SYMPTOMS.values() for symptom in symptoms}
KILL = next(fault for fault in MATRIX if fault.name == "kill a consumer")


@pytest.mark.servers
@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_each_fault_is_told_as_it_should_be_and_passes_and_nothing_else_is(tmp_path: Path) -> None:
    played = await play(tmp_path, scale=SCALE)
    assert [fault.name for fault in MATRIX] == [outcome.fault.name for outcome in played.outcomes]
    assert played.raised == []
    assert [str(outcome) for outcome in played.outcomes if outcome.faults] == []


def test_the_matrix_names_alerts_of_ours() -> None:
    assert {alert for fault in MATRIX for alert in fault.expected | fault.afterwards} <= ALERTS
    assert len({fault.queue for fault in MATRIX}) == len(MATRIX)


def test_what_lasts_goes_on_longer_than_any_alert_waits() -> None:
    waits = [float(Thresholds().table(alert).get("for_seconds", 0)) for alert in ALERTS]
    assert max(waits) + 4 * SCRAPE_SECONDS <= LASTING_SECONDS
    assert max(fault.within for fault in MATRIX) < LASTING_SECONDS


def told(*notices: tuple[str, str, bool]) -> Hook:
    """A webhook that was told of alerts of a scene: name, fingerprint, whether it fires."""
    hook = Hook()
    for name, fingerprint, fires in notices:
        hook.take({"job": KILL.queue, "alertname": name}, fingerprint, fires=fires)
    return hook


def outcome(hook: Hook, *, mended: float = 0.0) -> Outcome:
    return Outcome(KILL, Times(0.0, mended, 1e12, 1e12), dict(hook.of(KILL.queue)))


LOST, DOWN = ("FluidRunsLost", "1"), ("FluidTargetDown", "2")


def test_an_outcome_is_right_when_its_alerts_came_and_went() -> None:
    seen = outcome(told((*LOST, True), (*DOWN, True), (*LOST, True), (*DOWN, False), (*LOST, False)))
    assert seen.faults == seen.delays == []
    assert is_over(seen.told, KILL.expected)


@pytest.mark.parametrize(
    ("notices", "fault"),
    [
        ([(*LOST, True), (*LOST, False)], "FluidTargetDown was not told"),
        ([(*LOST, True), (*LOST, False), (*DOWN, True)], "FluidTargetDown is not over"),
        (
            [(*LOST, True), (*LOST, False), (*DOWN, True), (*DOWN, False), (*DOWN, True), (*DOWN, False)],
            "FluidTargetDown came again",
        ),
        (
            [(*one, fires) for one in (LOST, DOWN, ("FluidLoopBlocked", "3")) for fires in (True, False)],
            "FluidLoopBlocked is none of it",
        ),
    ],
)
def test_an_outcome_says_what_is_not_as_it_should_be(
    notices: list[tuple[str, str, bool]], fault: str
) -> None:
    assert outcome(told(*notices)).faults == [fault]


def test_an_alert_is_over_when_none_of_its_labels_fires() -> None:
    other = ("FluidRunsLost", "3")
    hook = told((*LOST, True), (*other, True), (*LOST, False))
    assert hook.of(KILL.queue)["FluidRunsLost"].resolved is None
    hook.take({"job": KILL.queue, "alertname": "FluidRunsLost"}, "3", fires=False)
    assert hook.of(KILL.queue)["FluidRunsLost"].resolved is not None


def test_the_page_is_written_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"above\n{BEGIN}\nof last time\n{END}\nbelow\n")
    played = Played(1.0, 600.0, [], [outcome(told((*LOST, True), (*LOST, False)))], "Prometheus 2")
    played.write_into(page)
    text = page.read_text()
    assert text.startswith(f"above\n{BEGIN}\n")
    assert text.endswith(f"{END}\nbelow\n")
    assert "of last time" not in text
    assert "| kill a consumer | FluidRunsLost<br>FluidTargetDown | FluidRunsLost |" in text
    assert not played.well
