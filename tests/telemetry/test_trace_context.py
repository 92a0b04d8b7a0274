"""What travels with a run, and the ids that follow from it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.baggage import get_baggage
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    Decision,
    ParentBased,
    ParentBasedTraceIdRatio,
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)

from fluid.scheduler import TaskRun
from telemetry.sampling import Sampling
from telemetry.trace_context import Ids, Unsampled, ids_of, read, sampled_flag, trace_of, unsampled_header
from telemetry.trace_context import trace_ids as ids_of_context

SAMPLERS: list[Sampler] = [
    ALWAYS_ON,
    ALWAYS_OFF,
    DEFAULT_ON,
    DEFAULT_OFF,
    TraceIdRatioBased(0.25),
    ParentBasedTraceIdRatio(0.001),
    ParentBased(TraceIdRatioBased(0.5)),
]

trace_ids = st.integers(1, 2**128 - 1)


def run_of(header: str) -> TaskRun:
    return TaskRun(id="one", name="greet", params={}, headers={"traceparent": header})


@given(trace_ids, st.integers(1, 2**64 - 1), st.booleans())
def test_a_header_is_read_as_it_was_written(trace_id: int, span_id: int, sampled: bool) -> None:
    header = Ids(trace_id, span_id).header(sampled=sampled)
    known = read({"traceparent": header})
    assert (known.trace_id, known.span_id, known.is_remote) == (trace_id, span_id, True)
    assert known.trace_flags.sampled is sampled_flag({"traceparent": header}) is sampled
    expected = {"trace_id": f"{trace_id:032x}", "span_id": f"{span_id:016x}"} if sampled else None
    assert trace_of(run_of(header)) == expected


@pytest.mark.parametrize(
    "header",
    ["", "00-" + "0" * 32 + "-00f067aa0ba902b7-00", "no header at all, but as long as one would have to be"],
)
def test_what_was_queued_outside_of_any_trace_leads_nowhere(header: str) -> None:
    assert Unsampled({"traceparent": header}).ids() == Unsampled({}).ids() == {}


@pytest.mark.parametrize("state", [{}, {"tracestate": "vendor=1"}], ids=["plain", "with state"])
def test_a_run_that_is_not_sampled_leads_to_where_it_was_queued(state: dict[str, str]) -> None:
    span = Unsampled({"traceparent": unsampled_header()} | state)
    assert span.ids() == ids_of_context(span.get_span_context()) != {}
    assert get_current_span(span.as_context()) is span


def test_baggage_is_in_the_context_of_a_run_that_is_not_sampled() -> None:
    span = Unsampled({"traceparent": unsampled_header(), "baggage": "tenant=7"})
    assert get_current_span(span.as_context()) is span
    assert get_baggage("tenant", span.as_context()) == "7"


def test_the_header_of_what_is_not_sampled_is_one_and_another_each_time() -> None:
    first, second = unsampled_header(), unsampled_header()
    assert first != second
    assert read({"traceparent": first}).is_valid
    assert sampled_flag({"traceparent": first}) is False


@pytest.mark.parametrize(
    "header",
    ["", "garbage", f"00-{0:032x}-{1:016x}-01", f"00-{1:032x}-{0:016x}-01", f"ff-{1:032x}-{1:016x}-01"],
)
def test_a_header_that_is_none_is_no_context(header: str) -> None:
    assert read({"traceparent": header}) == INVALID_SPAN_CONTEXT


def test_a_later_version_and_a_trace_state_are_read() -> None:
    known = read({"traceparent": f"01-{1:032x}-{2:016x}-01-more", "tracestate": "vendor=x"})
    assert (known.trace_id, known.span_id) == (1, 2)
    assert known.trace_state.get("vendor") == "x"


@given(trace_ids, st.integers(1, 50))
def test_each_delivery_has_ids_of_its_own_which_anybody_can_tell(trace_id: int, delivery: int) -> None:
    queued_in = Ids(trace_id, 1).elsewhere(sampled=True)
    run = run_of("")
    ids = ids_of(run, delivery, queued_in, same_trace=False)
    assert ids == ids_of(run_of(""), delivery, queued_in, same_trace=False)
    assert ids != ids_of(run, delivery + 1, queued_in, same_trace=False)
    assert ids.trace_id & (2**64 - 1) == trace_id & (2**64 - 1)
    assert ids_of(run, delivery, queued_in, same_trace=True).trace_id == trace_id
    assert ids_of(run, delivery, INVALID_SPAN_CONTEXT, same_trace=True).trace_id != 0


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda one: one.get_description()[:40])
@given(trace_id=trace_ids, parent=st.sampled_from([None, True, False]))
def test_what_is_foretold_of_a_sampler_is_what_it_decides(
    sampler: Sampler, trace_id: int, parent: bool | None
) -> None:
    context = Context()
    if parent is not None:
        span = SpanContext(trace_id, 1, is_remote=True, trace_flags=TraceFlags(parent))
        context = set_span_in_context(NonRecordingSpan(span), context)
    decided = sampler.should_sample(context, trace_id, "send").decision
    assert Sampling(sampler).drops(trace_id, parent) is (decided is Decision.DROP)


def test_nothing_is_foretold_of_a_stranger_but_that_it_follows() -> None:
    class Stranger(TraceIdRatioBased):
        """Decides by something else."""

    for sampling in (Sampling(Stranger(0.0)), Sampling(None)):
        assert not sampling.drops(2**64 - 1, None)
        assert not sampling.drops(2**64 - 1, True)
        assert sampling.drops(0, False)
