"""Alerts are checked whole before anything starts, and no fault shows a secret."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

import pytest

from fluid.errors import ConfigurationError
from telemetry import Telemetry
from telemetry.alerts import USUAL_CONDITIONS, Alertmanager, Alerts, Condition, Webhook
from telemetry.settings import TelemetrySettings
from tests.support.processes import ROOT

SECRET = "T0P-SECRET"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file to declare alerts in."""
    return tmp_path / "alerts.toml"


def declare(file: Path, text: str) -> None:
    file.write_text(dedent(text), encoding="utf-8")


def test_a_file_declares_the_same_as_python(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_TOKEN", SECRET)
    declare(
        file,
        """
        repeat = 600

        [[channels]]
        type = "webhook"
        url = "https://hooks.example/${HOOK_TOKEN}"
        headers = { Authorization = "Bearer ${HOOK_TOKEN}" }

        [[channels]]
        type = "alertmanager"
        url = "http://alertmanager:9093"

        [[conditions]]
        event = "failure"
        tasks = ["charge"]
        count = 5
        within = 120
        """,
    )
    assert Alerts.read(file) == Alerts(
        repeat=600,
        channels=[
            Webhook(url=f"https://hooks.example/{SECRET}", headers={"Authorization": f"Bearer {SECRET}"}),
            Alertmanager(url="http://alertmanager:9093"),
        ],
        conditions=[Condition(event="failure", tasks=["charge"], count=5, within=120)],
    )
    assert SECRET not in repr(Alerts.read(file))


def test_a_url_that_is_refused_is_not_shown() -> None:
    with pytest.raises(ValueError, match="a URL like https://host/path is expected") as caught:
        Webhook(url=SECRET)
    assert SECRET not in str(caught.value)


def test_without_conditions_there_are_the_usual_ones() -> None:
    assert Alerts(channels=[Webhook(url="http://hook")]).conditions == USUAL_CONDITIONS


def test_every_fault_is_said_at_once_and_no_secret(file: Path) -> None:
    declare(
        file,
        f"""
        repeat = 0
        colour = "red"

        [[channels]]
        type = "webhook"
        url = "hooks.example/{SECRET}"

        [[channels]]
        type = "carrier_pigeon"
        url = "https://{SECRET}"

        [[conditions]]
        event = "failures"

        [[conditions]]
        event = "failure"
        count = 0
        """,
    )
    with pytest.raises(ConfigurationError) as caught:
        Alerts.read(file)
    text = str(caught.value)
    for fault in (
        str(file),
        "channels.0.webhook.url: a URL like https://host/path is expected",
        "channels.1: Input tag 'carrier_pigeon' found using 'type'",
        "conditions.0.event: no event 'failures'",
        "conditions.1.count: Input should be greater than or equal to 1",
        "repeat: Input should be greater than or equal to 1",
        "colour: Extra inputs are not permitted",
    ):
        assert fault in text
    assert SECRET not in text
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "channels: Field required"),
        ("channels = []", "channels: Tuple should have at least 1 item"),
        ("channels = [", "alerts cannot be read from"),
        (
            'channels = [{type = "webhook", url = "${ONE}/${TWO}"}]',
            "names what the environment lacks: ONE, TWO",
        ),
        (
            'channels = [{type = "webhook", url = "http://hook"}]\n'
            'conditions = [{event = "failure"}, {event = "failure", count = 9}]',
            "conditions: each condition needs a `name` of its own: task_failing comes twice",
        ),
    ],
)
def test_what_cannot_work_is_said(file: Path, monkeypatch: pytest.MonkeyPatch, text: str, fault: str) -> None:
    for name in ("ONE", "TWO"):
        monkeypatch.delenv(name, raising=False)
    declare(file, text)
    with pytest.raises(ConfigurationError, match=re.escape(fault)):
        Alerts.read(file)


def test_a_file_that_is_not_there_stops_the_start(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUID_TELEMETRY_ALERTS", str(file))
    with pytest.raises(ConfigurationError, match="No such file"):
        Telemetry()
    assert TelemetrySettings().alerts == file


def test_the_file_on_the_page_can_be_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")
    (block,) = (
        one for one in re.findall(r"(?:^(?:    .*)?\n)+", page, re.MULTILINE) if "[[channels]]" in one
    )
    monkeypatch.setenv("SLACK_HOOK", "https://hooks.example/secret")
    declare(file, block)
    read = Alerts.read(file)
    assert len(read.channels) == 2
    assert {one.event for one in read.conditions} == {"failure", "dead", "broker_lost"}
