"""RetryPolicy: one table of decisions, and how long the waits are."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluid.errors import Abort, DeclarationError, Retry, TaskTimeoutError
from fluid.scheduler.retry import LONGEST_DELAY, Decision, RetryPolicy, Verdict

RETRY, FAIL, ABORT = Decision.RETRY, Decision.FAIL, Decision.ABORT

ONCE = RetryPolicy()
THRICE = RetryPolicy(max_attempts=3)
NETWORK = RetryPolicy(max_attempts=3, retry_on=(ConnectionError, TimeoutError), give_up_on=(BrokenPipeError,))
NOTHING = RetryPolicy(max_attempts=3, retry_on=())
ANYTHING_BUT = RetryPolicy(max_attempts=3, give_up_on=(Exception,))


@pytest.mark.parametrize(
    ("policy", "error", "failures", "decision"),
    [
        (ONCE, ValueError(), 1, FAIL),
        (ONCE, Retry(), 1, FAIL),
        (ONCE, Abort(), 1, ABORT),
        (THRICE, ValueError(), 1, RETRY),
        (THRICE, ValueError(), 2, RETRY),
        (THRICE, ValueError(), 3, FAIL),
        (THRICE, ValueError(), 4, FAIL),
        (THRICE, TaskTimeoutError(), 1, RETRY),
        (THRICE, TaskTimeoutError(), 3, FAIL),
        (THRICE, asyncio.CancelledError(), 1, FAIL),
        (THRICE, KeyboardInterrupt(), 1, FAIL),
        (THRICE, Retry(), 2, RETRY),
        (THRICE, Retry(), 3, FAIL),
        (THRICE, Abort(), 1, ABORT),
        (THRICE, Abort(), 3, ABORT),
        (NETWORK, ConnectionResetError(), 1, RETRY),
        (NETWORK, ConnectionResetError(), 3, FAIL),
        (NETWORK, BrokenPipeError(), 1, FAIL),
        (NETWORK, ValueError(), 1, FAIL),
        (NETWORK, TaskTimeoutError(), 1, RETRY),
        (NOTHING, ValueError(), 1, FAIL),
        (NOTHING, TaskTimeoutError(), 1, FAIL),
        (NOTHING, Retry(), 1, RETRY),
        (NOTHING, Abort(), 1, ABORT),
        (ANYTHING_BUT, ValueError(), 1, FAIL),
        (ANYTHING_BUT, TaskTimeoutError(), 1, FAIL),
        (ANYTHING_BUT, Retry(), 1, RETRY),
        (ANYTHING_BUT, Abort(), 1, ABORT),
    ],
)
def test_what_an_error_leads_to(
    policy: RetryPolicy, error: BaseException, failures: int, decision: Decision
) -> None:
    assert policy.decide(error, failures).decision is decision
    assert policy.allows(error, failures) is (decision is RETRY)


@pytest.mark.parametrize(
    ("error", "failures", "delay"),
    [
        (ValueError(), 1, 5.0),
        (ValueError(), 2, 15.0),
        (ValueError(), 3, 45.0),
        (Retry(), 2, 15.0),
        (Retry(delay=0), 2, 0.0),
        (Retry(delay=7.5), 2, 7.5),
        (Retry(delay=1_000_000), 2, 1_000_000.0),
    ],
)
def test_the_delay_is_the_bodys_if_it_asks_for_one_and_the_policys_otherwise(
    error: BaseException, failures: int, delay: float
) -> None:
    policy = RetryPolicy(max_attempts=9, wait=5, backoff=3)
    assert policy.decide(error, failures, random=lambda: 0.5) == Verdict(RETRY, delay)


@pytest.mark.parametrize(("drawn", "delay"), [(0.0, 9.0), (0.25, 9.5), (0.5, 10.0), (1.0, 11.0)])
def test_jitter_spreads_the_wait_to_both_sides(drawn: float, delay: float) -> None:
    assert RetryPolicy(wait=10, jitter=0.1).delay(1, random=lambda: drawn) == pytest.approx(delay)


def test_a_backoff_of_one_keeps_the_wait_the_same() -> None:
    policy = RetryPolicy(wait=3, backoff=1, jitter=0)
    assert [policy.delay(failures) for failures in (1, 2, 1000)] == [3, 3, 3]


def test_waits_stop_growing_at_a_day_and_still_spread_below_it() -> None:
    policy = RetryPolicy(wait=60, jitter=0.5)
    assert policy.delay(10**9, random=lambda: 1.0) == LONGEST_DELAY
    assert policy.delay(10**9, random=lambda: 0.0) == LONGEST_DELAY / 2


def test_no_wait_stays_no_wait() -> None:
    policy = RetryPolicy(wait=0)
    assert [policy.delay(failures) for failures in (1, 2, 10**9)] == [0, 0, 0]


@given(
    wait=st.floats(0, LONGEST_DELAY),
    backoff=st.floats(1, 1e308),
    jitter=st.floats(0, 1),
    failures=st.integers(1, 10**12),
    drawn=st.floats(0, 1),
)
def test_every_delay_lies_between_nothing_and_a_day(
    wait: float, backoff: float, jitter: float, failures: int, drawn: float
) -> None:
    policy = RetryPolicy(wait=wait, backoff=backoff, jitter=jitter)
    assert 0 <= policy.delay(failures, random=lambda: drawn) <= LONGEST_DELAY


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"max_attempts": 0}, "max_attempts=0 is not a whole number from 1"),
        ({"max_attempts": 2.5}, "max_attempts=2.5 is not"),
        ({"max_attempts": None}, "max_attempts=None is not"),
        ({"wait": -1}, "wait=-1 is not a number of seconds from 0 to 86400"),
        ({"wait": float("nan")}, "wait=nan is not"),
        ({"wait": 86_401}, "wait=86401 is not"),
        ({"wait": "1s"}, "wait='1s' is not"),
        ({"backoff": 0.5}, "backoff=0.5 is not a finite number from 1"),
        ({"backoff": float("inf")}, "backoff=inf is not"),
        ({"jitter": 1.5}, "jitter=1.5 is not a fraction from 0 to 1"),
        ({"jitter": -0.1}, "jitter=-0.1 is not"),
        ({"retry_on": ValueError}, "retry_on=<class 'ValueError'> is not a tuple of exception classes"),
        ({"retry_on": ("ValueError",)}, "retry_on=('ValueError',) is not"),
        ({"give_up_on": (ValueError(),)}, "give_up_on=(ValueError(),) is not"),
    ],
)
def test_a_policy_that_cannot_work_is_refused(arguments: dict[str, Any], fault: str) -> None:
    with pytest.raises(DeclarationError) as raised:
        RetryPolicy(**arguments)
    assert fault in str(raised.value)


def test_all_faults_of_a_policy_are_told_at_once() -> None:
    with pytest.raises(DeclarationError) as raised:
        RetryPolicy(max_attempts=0, wait=-1, backoff=0, jitter=2, retry_on=(int,), give_up_on=(str,))  # type: ignore[arg-type]
    text = str(raised.value)
    for name in ("max_attempts", "wait", "backoff", "jitter", "retry_on", "give_up_on"):
        assert f"{name}=" in text
