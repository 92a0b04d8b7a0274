"""What is sent is what the encoder of OpenTelemetry says: its messages are read from our bytes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common._internal import _encode_value as encode_value_as_they_do
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as encode_as_they_do
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from telemetry import resting
from telemetry.otlp import attributes as room
from telemetry.otlp.attributes import any_value
from telemetry.otlp.records import encode_records
from telemetry.otlp.spans import encode_spans

EXAMPLES = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
plain = (
    texts
    | st.booleans()
    | st.integers(-2, 300)
    | INT64
    | st.floats(allow_nan=False)
    | st.binary(max_size=9)
    | st.none()
)
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=5
)
dicts = st.dictionaries(keys, values, max_size=5)
times = st.none() | st.integers(0, (1 << 64) - 1)


@st.composite
def bounded(draw: st.DrawFn) -> BoundedAttributes:
    """Attributes as the SDK keeps them, with some that were dropped."""
    made = BoundedAttributes(maxlen=draw(st.none() | st.integers(0, 3)), attributes=draw(dicts))
    made.dropped += draw(st.sampled_from([0, 1, 500]))
    return made


@st.composite
def contexts(draw: st.DrawFn) -> SpanContext:
    state = draw(st.sampled_from([[], [("a", "1")], [("a", "1"), ("vendor@b", "x=y")]]))
    return SpanContext(
        draw(st.integers(0, (1 << 128) - 1)),
        draw(st.integers(0, (1 << 64) - 1)),
        is_remote=draw(st.booleans()),
        trace_flags=TraceFlags(draw(st.integers(0, 255))),
        trace_state=TraceState(state),
    )


PLACES = [
    (Resource({}), None),
    (Resource({"service.name": "shop", "counts": [1, 2]}, "https://schema/1"), InstrumentationScope("fluid")),
    (Resource({"service.name": "shop"}), InstrumentationScope("fluid", "1", "https://schema/2", {"a": True})),
    (Resource({"service.name": "till"}), InstrumentationScope("", None, None, {"b": "c"})),
]
resources = st.sampled_from([resource for resource, _ in PLACES])
scopes = st.sampled_from([scope for _, scope in PLACES])


def kept(found: list[Any], dropped: int) -> Any:
    """As the SDK keeps them, when some were dropped before."""
    made: BoundedList[Any] = BoundedList.from_seq(len(found), found)
    made.dropped = dropped
    return made


events = st.builds(Event, texts, dicts | bounded(), times)
links = st.builds(Link, contexts(), st.none() | dicts | bounded())
statuses = st.sampled_from(
    [Status(), Status(StatusCode.OK), Status(StatusCode.ERROR), Status(StatusCode.ERROR, "why ü")]
)
dropped = st.sampled_from([0, 3, 1 << 20])
spans = st.builds(
    ReadableSpan,
    name=texts,
    context=contexts(),
    parent=st.none() | contexts(),
    resource=resources,
    attributes=st.none() | dicts | bounded(),
    events=st.builds(kept, st.lists(events, max_size=2), dropped),
    links=st.builds(kept, st.lists(links, max_size=2), dropped),
    kind=st.sampled_from(list(SpanKind)),
    status=statuses,
    start_time=times,
    end_time=times,
    instrumentation_scope=scopes,
)


@st.composite
def records(draw: st.DrawFn) -> ReadableLogRecord:
    around = trace.set_span_in_context(trace.NonRecordingSpan(draw(contexts())), Context())
    record = LogRecord(
        timestamp=draw(times),
        observed_timestamp=draw(times),
        context=draw(st.sampled_from([around, Context({"nothing": 1})])),
        severity_text=draw(st.none() | texts),
        severity_number=draw(st.none() | st.sampled_from(SeverityNumber)),
        body=draw(values),
        attributes=draw(st.none() | dicts | bounded()),
        event_name=draw(st.none() | texts),
    )
    return ReadableLogRecord(record, draw(resources), draw(scopes))


@EXAMPLES
@given(st.lists(spans, max_size=4))
def test_spans_say_what_the_official_encoder_says(batch: list[ReadableSpan]) -> None:
    request = encode_spans(batch)
    assert request.left_out == 0
    assert ExportTraceServiceRequest.FromString(request.data) == encode_as_they_do(batch)


@EXAMPLES
@given(st.lists(records(), max_size=4))
def test_records_say_what_the_official_encoder_says(batch: list[ReadableLogRecord]) -> None:
    request = encode_records(batch)
    assert request.left_out == 0
    assert ExportLogsServiceRequest.FromString(request.data) == encode_logs(batch)


def span(**about: Any) -> ReadableSpan:
    context = SpanContext(1, 2, is_remote=False)
    return ReadableSpan("greet", context, resource=Resource({}), **about)


def attributes_of(*batch: ReadableSpan) -> list[dict[str, Any]]:
    """Those of each span, as a receiver reads them."""
    read = ExportTraceServiceRequest.FromString(encode_spans(batch).data)
    return [
        {one.key: getattr(one.value, one.value.WhichOneof("value") or "", None) for one in found.attributes}
        for about in read.resource_spans
        for scoped in about.scope_spans
        for found in scoped.spans
    ]


def test_a_value_is_remembered_as_what_it_is() -> None:
    [sent] = attributes_of(span(attributes={"a": 1, "b": True, "c": 1.0, "d": "1"}))
    again = [
        attributes_of(span(attributes={key: value}))[0][key] for key in "a" for value in (1, True, 1.0, "1")
    ]
    assert [repr(one) for one in sent.values()] == ["1", "True", "1.0", "'1'"]
    assert [repr(one) for one in again] == ["1", "True", "1.0", "'1'"]


def test_what_is_no_number_is_sent_as_that() -> None:
    [sent] = attributes_of(span(attributes={"ratio": math.nan}))
    assert math.isnan(sent["ratio"])


@pytest.mark.parametrize("number", [1 << 63, -(1 << 63) - 1, 1 << 64, 10**30])
def test_a_number_beyond_64_bits_is_sent_as_a_text(number: int) -> None:
    assert attributes_of(span(attributes={"large": number})) == [{"large": str(number)}]


def test_a_text_that_utf_8_cannot_say_is_sent_without_what_it_cannot_say() -> None:
    batch = [span(attributes={"said": "a\udc80b", "\udc80": "x", "long": "\udc80" * 50})]
    assert attributes_of(*batch) == [{"said": "a?b", "?": "x", "long": "?" * 50}]


@pytest.fixture
def _nothing_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room._Complaint, "told", False)


class Odd(Mapping[str, Any]):
    """Attributes as no SDK cleans them."""

    def __getitem__(self, key: str) -> Any:
        return {"price": Decimal(1), "name": "lamp"}[key]

    def __iter__(self) -> Iterator[str]:
        return iter(("price", "name"))

    def __len__(self) -> int:
        return 2


@pytest.mark.usefixtures("_nothing_was_told")
def test_an_attribute_of_no_known_type_is_left_out_and_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    assert attributes_of(*[span(attributes=Odd())] * 3) == [{"name": "lamp"}] * 3
    [told] = [record.getMessage() for record in caplog.records]
    assert told.startswith("price was left out of what is exported: Decimal is no type of OTLP")


@pytest.mark.usefixtures("_nothing_was_told")
def test_a_body_of_no_known_type_loses_no_record(caplog: pytest.LogCaptureFixture) -> None:
    endless: list[Any] = []
    endless.append(endless)
    record = ReadableLogRecord(LogRecord(body=endless, event_name="here"), Resource({}))
    read = ExportLogsServiceRequest.FromString(encode_records([record]).data)
    [sent] = read.resource_logs[0].scope_logs[0].log_records
    assert (sent.event_name, sent.body) == ("here", AnyValue())
    assert len(caplog.records) == 1


def test_a_span_that_cannot_be_encoded_does_not_lose_the_others() -> None:
    request = encode_spans([span(), span(start_time=1.5), span()])
    assert request.left_out == 1
    assert request.fault is not None
    assert len(attributes_of(span(), span(start_time=1.5), span())) == 2


def test_the_loop_has_its_turn_while_a_batch_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[float] = []
    monkeypatch.setattr(resting, "sleep", rests.append)
    monkeypatch.setattr(resting, "AFTER", 0.0)
    encode_spans([span()] * 3)
    assert len(rests) == 3
    monkeypatch.setattr(resting, "AFTER", 3600.0)
    encode_spans([span()] * 3)
    assert len(rests) == 3, "a busy loop makes it wait after each rest: there are no more than needed"


def test_what_is_made_by_scopes_that_are_alike_is_sent_as_of_one() -> None:
    resource = Resource({"service.name": "shop"})
    made = [
        ReadableSpan(
            str(number),
            SpanContext(1, 2, is_remote=False),
            resource=resource,
            instrumentation_scope=InstrumentationScope("mine"),
        )
        for number in range(3)
    ]
    read = ExportTraceServiceRequest.FromString(encode_spans(made).data)
    [about] = read.resource_spans
    [scoped] = about.scope_spans
    assert [one.name for one in scoped.spans] == ["0", "1", "2"]


@EXAMPLES
@given(values)
def test_a_value_of_any_type_is_written_as_the_official_encoder_writes_it(value: Any) -> None:
    assert AnyValue.FromString(any_value(value)) == encode_value_as_they_do(value)
