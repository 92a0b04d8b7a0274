"""`fluid alerts test` sends a trial notice and says what each channel answered."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.fluid.cli.calling import Answer, call, install
from tests.support.processes import ROOT
from tests.support.servers import AlertmanagerServer
from tests.support.waiting import poll
from tests.telemetry.alerts.receiving import Receiver


class Caller:
    """Calls the command, installed as our own project declares it."""

    def __init__(self, directory: Path) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        commands = {"alerts": project["entry-points"]["fluid.commands"]["alerts"]}
        self._environment = install(directory / "site", commands=commands)
        self.file = directory / "alerts.toml"

    def declare(self, *channels: str) -> None:
        """A file with these channels."""
        self.file.write_text("".join(f"[[channels]]\n{one}\n" for one in channels), encoding="utf-8")

    async def __call__(self, *arguments: str, **env: str) -> Answer:
        return await call("alerts", "test", *arguments, env=self._environment | env)


@pytest.fixture
def fluid_alerts_test(tmp_path: Path, no_environment: None) -> Caller:
    """The command, with a file of the test's own."""
    return Caller(tmp_path)


async def test_each_channel_is_tried_and_its_answer_is_said(
    fluid_alerts_test: Caller, receiver: Receiver
) -> None:
    async with Receiver("fail") as failing:
        fluid_alerts_test.declare(
            f'type = "webhook"\nurl = "{receiver.url}/T0P-SECRET"',
            f'type = "webhook"\nurl = "{failing.url}/T0P-SECRET"\nshape = "slack"',
        )
        answer = await fluid_alerts_test(str(fluid_alerts_test.file))
        assert answer.code == 1
        assert answer.lines == [
            f"ok      webhook       {receiver.url}  200 OK ok",
            f"FAILED  webhook       {failing.url}  500 Internal Server Error broken",
        ]
        (told,) = receiver.received
        assert (told["status"], told["severity"]) == ("trial", "info")
        assert told["summary"] == "[trial] a trial notice: nothing has happened"
        assert len(failing.received) == 1


@pytest.mark.servers
async def test_a_trial_at_an_alertmanager_answers_0(fluid_alerts_test: Caller, receiver: Receiver) -> None:
    with AlertmanagerServer(receiver.url) as server:
        fluid_alerts_test.declare(f'type = "alertmanager"\nurl = "{server.url}"')
        answer = await fluid_alerts_test(FLUID_TELEMETRY_ALERTS=str(fluid_alerts_test.file))
        assert answer.code == 0, answer
        assert answer.lines == [f"ok      alertmanager  {server.url}  200 OK"]
        (found,) = await poll(server.alerts, bool, "the trial")
        assert found["labels"]["alertname"] == "fluid_trial"


async def test_a_file_with_faults_answers_1_and_says_them(fluid_alerts_test: Caller) -> None:
    fluid_alerts_test.declare('type = "webhook"\nurl = "T0P-SECRET"')
    answer = await fluid_alerts_test(str(fluid_alerts_test.file))
    assert (answer.code, answer.out) == (1, "")
    assert "channels.0.webhook.url: a URL like https://host/path is expected" in answer.err
    assert "T0P-SECRET" not in answer.err
    assert "Traceback" not in answer.err


async def test_without_a_file_it_says_how_to_name_one(fluid_alerts_test: Caller) -> None:
    answer = await fluid_alerts_test()
    assert answer.code == 1
    assert answer.err == "Error: there is nothing to test: name a file, or set FLUID_TELEMETRY_ALERTS\n"
