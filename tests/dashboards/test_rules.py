"""The rules are what is committed, ask only for what is scraped, and lead a person on."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from dashboards import rules
from dashboards.__main__ import DATA, files
from dashboards.rules import recording
from dashboards.rules.thresholds import THRESHOLDS, Thresholds, duration
from dashboards.uids import Uid
from telemetry.rules import GRAFANA, RUNBOOK, Alert, Recording
from telemetry.slo import BURNS
from tests.dashboards.promql import faults, labels_put_together, selectors, sums_of_the_fleet
from tests.dashboards.stories import STORIES
from tests.house.reading import ROOT, assert_none
from tests.support.servers import find_promtool

RULES = [
    rule for group in (*recording.groups(Thresholds()), *rules.alerts(Thresholds())) for rule in group.rules
]
ALERTS = [rule for rule in RULES if isinstance(rule, Alert)]
RECORDED = frozenset(rule.record for rule in RULES if isinstance(rule, Recording))

every_alert = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.alert)


@pytest.mark.parametrize("path", files())
def test_what_is_committed_is_what_is_generated(path: str) -> None:
    written = (DATA / path).read_text(encoding="utf-8")
    assert written == files()[path], "write it anew: make dashboards"


@pytest.mark.servers
@pytest.mark.parametrize("scale", [1.0, 0.02, 0.001])
def test_promtool_finds_no_fault(scale: float, tmp_path: Path) -> None:
    paths = []
    for number, text in enumerate(rules.files(scale).values()):
        paths.append(tmp_path / f"{number}.yaml")
        paths[-1].write_text(text, encoding="utf-8")
    answer = subprocess.run(
        [find_promtool(), "check", "rules", "--lint=all", "--lint-fatal", *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_rules_ask_only_for_what_is_scraped_or_recorded() -> None:
    assert_none(
        [f"{_name(rule)}: {fault}" for rule in RULES for fault in faults(rule.expr, RECORDED)],
        "Rules that ask for what nobody tells.",
    )


def test_what_every_consumer_tells_is_never_added_up() -> None:
    assert_none(
        [f"{_name(rule)}: {name}" for rule in RULES for name in sums_of_the_fleet(rule.expr)],
        "Facts of the queue are the same at every consumer: take the max, not the sum.",
    )


def test_deployments_whose_queues_have_the_same_name_are_never_mixed() -> None:
    mixed = {_name(rule): [*labels_put_together(rule.expr)] for rule in RULES}
    # Who only queues may be another job than who consumes: there, a consumer of any job is enough.
    assert {name: found for name, found in mixed.items() if found} == {
        "FluidConsumerAbsent": ["on (queue)", "by (queue)"]
    }


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("sum by (queue, task) (a)", ["by (queue, task)"]),
        ("sum(a)", ["by ()"]),
        ("a and on (queue) b", ["on (queue)"]),
        ("a / ignoring (job) b", ["ignoring (job)"]),
        ("sum without (job) (a)", ["without (job)"]),
        ("sum by (job) (a) and on (job, task) b / c", []),
    ],
)
def test_a_query_that_mixes_deployments_is_noticed(query: str, told: list[str]) -> None:
    assert list(labels_put_together(query)) == told


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("fluid_no_such_total", ["fluid_no_such_total is in no catalogue"]),
        ("fluid_run_wait_seconds", ["fluid_run_wait_seconds is in no catalogue"]),
        ('fluid_slots{task="a"}', ["fluid_slots has no label task"]),
        ('fluid_runs_ended_total{state=~"success|well"}', ["fluid_runs_ended_total: state is never well"]),
        ('fluid_run_wait_seconds_bucket{le="4.0"}', ["fluid_run_wait_seconds_bucket: le is never 4.0"]),
        ('rate(fluid_runs_ended_total{queue="a", task="b", state="success"}[5m])', []),
        ("queue:recorded:sum", []),
    ],
)
def test_a_query_for_what_is_not_there_is_noticed(query: str, told: list[str]) -> None:
    assert list(faults(query, frozenset({"queue:recorded:sum"}))) == told


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("sum(fluid_queue_paused)", ["fluid_queue_paused"]),
        ("avg by (queue) (rate(fluid_books_runs_total[5m]) * 2)", ["fluid_books_runs_total"]),
        ("sum(max by (queue) (fluid_queue_paused))", []),
        ("sum(fluid_slots)", []),
    ],
)
def test_a_sum_over_the_fleet_is_noticed(query: str, told: list[str]) -> None:
    assert list(sums_of_the_fleet(query)) == told


def test_a_recorded_name_says_level_metric_and_operation() -> None:
    for name in RECORDED:
        found = re.fullmatch(r"(?P<level>[a-z]+(_[a-z]+)*):fluid_[a-z_]+:(?P<operation>[a-z0-9_]+)", name)
        assert found, name
        assert found["level"].startswith("job_queue"), name


def test_what_is_recorded_is_asked_for() -> None:
    asked = {selector.name for rule in RULES for selector in selectors(rule.expr)}
    for_boards = {name for name in RECORDED if ":p99_" in name}
    assert RECORDED - asked == for_boards


def test_every_threshold_belongs_to_an_alert_and_is_used() -> None:
    assert Thresholds().alerts == {alert.alert for alert in ALERTS}
    texts = {
        symptom.name: symptom.expr + symptom.description
        for symptoms in rules.SYMPTOMS.values()
        for symptom in symptoms
    }
    for name, text in texts.items():
        given = {key.removesuffix("_seconds") for key in Thresholds().table(name)} - {"for", "severity"}
        used = {found.removesuffix("_seconds") for found in re.findall(r"@([a-z_]+)", text)} - {"rate"}
        assert given == used, name


@every_alert
def test_an_alert_says_what_it_is_and_where_to_look(alert: Alert) -> None:
    assert re.fullmatch(r"Fluid([A-Z][a-z]+)+", alert.alert)
    assert alert.labels["severity"] in {"critical", "warning"}
    assert set(alert.annotations) == {"summary", "description", "runbook_url", "dashboard_url"}
    assert alert.annotations["summary"].endswith(".")
    assert "{{" not in alert.annotations["summary"]
    assert "$labels" in alert.annotations["description"]
    place = alert.annotations["dashboard_url"].removeprefix(GRAFANA)
    found = re.fullmatch(r"/d/(?P<board>[a-z-]+)\?(var-\w+={{ \$labels\.\w+ \| urlquery }}&?)+", place)
    assert found
    assert found["board"] in set(Uid)


@every_alert
def test_an_alert_has_a_story(alert: Alert) -> None:
    assert alert.alert in {story.alert for story in STORIES}


@every_alert
def test_an_alert_has_a_section_in_the_runbook(alert: Alert) -> None:
    page, _, anchor = alert.annotations["runbook_url"].partition("#")
    assert page == RUNBOOK
    headings = re.findall(r"^## (.+)$", (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8"), re.M)
    assert [heading for heading in headings if heading.lower() == anchor] == [alert.alert]


def test_an_alert_is_declared_once() -> None:
    assert [name for name, times in Counter(alert.alert for alert in ALERTS).items() if times > 1] == []


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "0s"), (0.25, "250ms"), (1, "1s"), (90, "90s"), (300, "5m"), (5400, "90m"), (86400, "1d")],
)
def test_durations_are_those_of_prometheus(seconds: float, written: str) -> None:
    assert duration(seconds) == written


def test_a_scale_shortens_every_duration_and_nothing_else() -> None:
    whole, short = Thresholds(), Thresholds(0.02)
    assert whole.table("FluidFailureRatioHigh")["window"] == "15m"
    assert short.table("FluidFailureRatioHigh") == {
        **whole.table("FluidFailureRatioHigh"),
        "for": "6s",
        "for_seconds": "6",
        "window": "18s",
        "window_seconds": "18",
    }


def test_a_board_is_red_from_where_on_an_alert_fires() -> None:
    thresholds = Thresholds()
    limit = float(thresholds.table("FluidWillNotDrainInTime")["limit_seconds"])
    assert thresholds.colours("time_to_drain") == ((None, "green"), (300, "orange"), (limit, "red"))
    ratio = float(thresholds.table("FluidFailureRatioHigh")["ratio"])
    assert thresholds.colours("failure_ratio")[-1] == (ratio, "red")
    fastest, fast = (burn.factor for burn in BURNS[:2])
    assert thresholds.colours("burn_rate") == ((None, "green"), (fast, "orange"), (fastest, "red"))


def test_a_name_that_nobody_gives_is_refused(tmp_path: Path) -> None:
    for text in ("@NO_SUCH_METRIC", "@no_such_threshold"):
        with pytest.raises(KeyError, match=text.removeprefix("@")):
            Thresholds().fill("FluidRunsLost", text)
    lacking = tmp_path / "thresholds.toml"
    lacking.write_text(THRESHOLDS.read_text(encoding="utf-8").replace("[FluidRunsLost]", "[FluidRunsLoost]"))
    with pytest.raises(KeyError, match="FluidRunsLost"):
        Thresholds(path=lacking).table("FluidRunsLost")


def _name(rule: Alert | Recording) -> str:
    return rule.alert if isinstance(rule, Alert) else rule.record
