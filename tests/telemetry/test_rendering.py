"""Lines that every run has are the same lines, however and whenever they are rendered."""

from __future__ import annotations

import json

import pytest

from fluid.clock import now
from telemetry.rendering import RunLine, all_as_json, as_json, rendered_once

KNOWN = rendered_once("info", {"logger": "fluid.runs", "message": 'it "ran"', "task": "grün"})


CONSUMER = rendered_once("vm-1", {"outcome": "success"})


def a_line(run_id: str = "1") -> RunLine:
    return RunLine(now(), KNOWN, run_id, 2, CONSUMER, waited=0.5)


def test_a_line_that_is_rendered_later_has_what_is_known_beforehand_and_nothing_that_it_has_not() -> None:
    line = a_line()
    (told,) = map(json.loads, all_as_json([line]).splitlines())
    what, whose = ["timestamp", "level", "logger", "message", "task"], ["run_id", "attempt", "consumer"]
    assert list(told) == [*what, *whose, "outcome", "waited"]
    assert told == json.loads(as_json(line.as_data()))
    assert (told["level"], told["message"], told["task"]) == ("info", 'it "ran"', "grün")
    assert line.as_data()["timestamp"] == line.timestamp


@pytest.mark.parametrize("run_id", ['say "hi"\n', "\udc80", "grün"])
@pytest.mark.parametrize("beside", [[], [b'{"written":1}\n']], ids=["alone", "among others"])
def test_a_run_may_have_any_id(run_id: str, beside: list[bytes]) -> None:
    told = [json.loads(line) for line in all_as_json([a_line(), a_line(run_id), *beside]).splitlines()]
    assert [line.get("run_id") for line in told[:2]] == ["1", run_id.replace("\udc80", "\\udc80")]
    assert told[2:] == [json.loads(line) for line in beside]
    assert a_line(run_id).as_data()["run_id"] == told[1]["run_id"]
