"""One tree of errors, each with a reason that is safe as a label, and able to cross processes."""

from __future__ import annotations

import copy
import inspect
import re
from typing import Any

import pytest

from fluid import errors
from fluid.errors import (
    BrokerError,
    DeclarationError,
    DuplicateTaskError,
    FluidError,
    InvalidParamsError,
    PartlyQueuedError,
    PayloadTooLargeError,
    QueueUncertainError,
    ResultTimeoutError,
    Retry,
    RunDeadError,
    RunError,
    RunFailedError,
    TaskTimeoutError,
    UniqueRunError,
    UnknownRunError,
    UnknownTaskError,
)

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, FluidError)]
MADE: list[tuple[FluidError, dict[str, Any], str]] = [
    (UnknownTaskError("great", ("greet",)), {"name": "great", "known": ("greet",)}, "greet"),
    (UnknownRunError("run-7"), {"run_id": "run-7"}, "run-7"),
    (InvalidParamsError("greet", "name: too short"), {"task": "greet"}, "name: too short"),
    (UniqueRunError("greet", "run-7"), {"owner": "run-7"}, "run-7"),
    (PayloadTooLargeError("the result", 2000, 1000), {"size": 2000, "limit": 1000}, "2,000"),
    (RunFailedError("run-7", "greet", "oh"), {"run_id": "run-7", "task": "greet", "why": "oh"}, "failed: oh"),
    (RunDeadError("run-7", "greet", "oh"), {"why": "oh"}, "is dead: oh"),
    (ResultTimeoutError("run-7", 2.0), {"run_id": "run-7"}, "2 s"),
    (QueueUncertainError("run-7", "lost"), {"run_id": "run-7"}, "QueueOptions(run_id='run-7')"),
    (
        QueueUncertainError(["b", "c"], "lost", queued=["a"], unsent=["d", "e"]),
        {"run_id": "b", "run_ids": ("b", "c"), "queued": ("a",), "unsent": ("d", "e"), "why": "lost"},
        "2 runs, the first b, may or may not have been queued (lost); queue each again with "
        "QueueOptions(run_id=...), which is safe; 1 run is queued, 2 runs are not sent",
    ),
    (
        PartlyQueuedError("away", queued=["a", "b"], unsent=["c"]),
        {"queued": ("a", "b"), "unsent": ("c",)},
        "2 runs are queued, 1 run is not sent: away",
    ),
    (Retry("later", delay=3.0), {"delay": 3.0}, "later"),
]


def test_there_is_one_tree() -> None:
    classes = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    own = [kind for kind in classes if kind.__module__ == errors.__name__ and issubclass(kind, Exception)]
    assert own
    assert all(issubclass(kind, FluidError) for kind in own)


@pytest.mark.parametrize("kind", ALL)
def test_a_reason_is_a_short_stable_word(kind: type[FluidError]) -> None:
    assert re.fullmatch(r"[a-z][a-z_]{1,29}", kind.reason)
    assert kind.__doc__


def test_no_two_errors_share_a_reason() -> None:
    reasons = [kind.reason for kind in ALL]
    assert len(set(reasons)) == len(reasons)


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (DeclarationError, ValueError),
        (UnknownTaskError, LookupError),
        (UnknownRunError, LookupError),
        (InvalidParamsError, ValueError),
        (TaskTimeoutError, TimeoutError),
        (ResultTimeoutError, TimeoutError),
        (errors.BrokerUnavailableError, ConnectionError),
        (errors.ConfigurationError, ValueError),
    ],
)
def test_an_error_is_caught_as_what_python_would_call_it(kind: type, builtin: type) -> None:
    assert issubclass(kind, builtin)


def test_branches_hold_together() -> None:
    assert issubclass(DuplicateTaskError, DeclarationError)
    assert issubclass(RunDeadError, RunError)
    assert issubclass(QueueUncertainError, BrokerError)
    assert not issubclass(QueueUncertainError, errors.BrokerUnavailableError)


@pytest.mark.parametrize(("error", "told", "words"), MADE, ids=lambda value: type(value).__name__)
def test_an_error_carries_identifiers_and_says_them(
    error: FluidError, told: dict[str, Any], words: str
) -> None:
    assert {name: getattr(error, name) for name in told} == told
    assert words in str(error)


@pytest.mark.parametrize(("error", "told", "words"), MADE, ids=lambda value: type(value).__name__)
def test_an_error_crosses_processes_whole(error: FluidError, told: dict[str, Any], words: str) -> None:
    again = copy.deepcopy(error)  # in the way that it is sent to another process
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


@pytest.mark.parametrize("delay", [-1, -0.001])
def test_a_retry_is_not_asked_for_the_past(delay: float) -> None:
    with pytest.raises(DeclarationError, match="zero or more seconds"):
        Retry(delay=delay)
