"""A run to bytes and back: nothing is lost, and what cannot be read is told as that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, SecretStr

from fluid.errors import InvalidParamsError, PayloadTooLargeError, ResultError, UnreadableMessageError
from fluid.scheduler.codec import (
    MAX_PAYLOAD_BYTES,
    Outcome,
    build_params,
    decode_message,
    decode_outcome,
    decode_params,
    decode_result,
    encode_message,
    encode_outcome,
    encode_result,
)
from fluid.scheduler.run import TaskRun
from fluid.scheduler.task import Task


class Order(BaseModel):
    number: int
    placed: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    customer: str = Field("nobody", alias="client")
    key: SecretStr = SecretStr("hidden")


class Parcel(msgspec.Struct):
    weight: float
    labels: list[str] = []


@dataclass
class Letter:
    text: str
    pages: int = 1


async def body(ctx: Any) -> None: ...


FREE = Task(name="free", executor=body)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def typed(model: type[Any]) -> Task:
    return Task(name="typed", executor=body, params_model=model)


def run_of(params: Any, **about: Any) -> TaskRun[Any]:
    return TaskRun(id="a", name="typed", params=params, **about)


def there_and_back(task: Task, params: Any) -> Any:
    return decode_params(task, decode_message(encode_message(run_of(params))).params)


@given(params=st.dictionaries(st.text(), JSON, max_size=4))
def test_plain_parameters_come_back_as_they_went(params: dict[str, Any]) -> None:
    assert there_and_back(FREE, params) == params


@pytest.mark.parametrize(
    ("model", "given_"),
    [
        (Order, {"number": 7, "client": "Zoë"}),
        (Parcel, {"weight": 1.5, "labels": ["a", "b"]}),
        (Letter, {"text": "hello", "pages": 2}),
    ],
)
def test_a_model_comes_back_as_an_equal_instance(model: type[Any], given_: dict[str, Any]) -> None:
    params = build_params(typed(model), given_)
    assert isinstance(params, model)
    again = there_and_back(typed(model), params)
    assert isinstance(again, model)
    assert again == params


@pytest.mark.parametrize("name", ["client", "customer"])
def test_a_field_with_an_alias_is_given_by_either_name_and_comes_back(name: str) -> None:
    params = build_params(typed(Order), {"number": 7, name: "Zoë"})
    assert params.customer == "Zoë"
    assert there_and_back(typed(Order), params).customer == "Zoë"


def test_a_secret_is_revealed_in_the_queues_own_form_only() -> None:
    params = build_params(typed(Order), {"number": 7, "key": "swordfish"})
    message = encode_message(run_of(params))
    assert b"swordfish" in message
    assert "swordfish" not in repr(params)
    assert decode_params(typed(Order), decode_message(message).params).key.get_secret_value() == "swordfish"


@pytest.mark.parametrize(
    ("model", "given_", "fault"),
    [
        (Order, {"number": "seven"}, "number"),
        (Order, {}, "number"),
        (Order, {"number": 7, "color": "red"}, "unknown color"),
        (Parcel, {"weight": "heavy"}, "weight"),
        (Parcel, {"weight": 1, "color": "red"}, "unknown color"),
        (Letter, {"text": 7}, "text"),
        (Letter, {"text": "a", "color": "red"}, "unknown color"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_when_queued(
    model: type[Any], given_: dict[str, Any], fault: str
) -> None:
    with pytest.raises(InvalidParamsError, match=fault) as refused:
        build_params(typed(model), given_)
    assert refused.value.task == "typed"


@pytest.mark.parametrize("model", [Order, Parcel, Letter])
def test_parameters_are_validated_again_when_claimed(model: type[Any]) -> None:
    message = decode_message(encode_message(run_of({"nothing": "fits"})))
    with pytest.raises(InvalidParamsError):
        decode_params(typed(model), message.params)


def test_what_travels_with_the_run_comes_back() -> None:
    run = run_of({}, from_run_id="parent", root_run_id="root", headers={"traceparent": "00-1-2-01"})
    message = decode_message(encode_message(run, expires=1234.0))
    assert (message.from_run_id, message.root_run_id) == ("parent", "root")
    assert (message.headers, message.expires) == ({"traceparent": "00-1-2-01"}, 1234.0)


def test_a_run_without_parents_says_nothing_of_them() -> None:
    assert encode_message(run_of({}, root_run_id="a")) == b'{"params":{}}'


def test_a_replay_sends_the_parameters_as_they_were() -> None:
    raw = b'{"number": 7}'
    assert bytes(decode_message(encode_message(run_of(None), params=raw)).params) == raw


@pytest.mark.parametrize(
    "data", [b"", b"null", b"[]", b"{}", b'{"params":', b"\xff\xfe", b'{"params":1,"headers":7}']
)
def test_what_is_no_message_is_unreadable(data: bytes) -> None:
    with pytest.raises(UnreadableMessageError, match=f"{len(data)} bytes"):
        decode_message(data)


@given(data=st.binary(max_size=60))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    try:
        message = decode_message(data)
    except UnreadableMessageError:
        return
    assert bytes(message.params)


def test_a_message_of_a_later_minor_change_is_still_read() -> None:
    assert decode_message(b'{"params":{},"color":"red"}').headers == {}


@pytest.mark.parametrize("value", [object(), lambda: None, TaskRun])
def test_parameters_that_cannot_be_written_are_refused(value: Any) -> None:
    with pytest.raises(InvalidParamsError):
        encode_message(run_of({"value": value}))


def test_a_message_above_the_limit_is_refused_with_both_sizes() -> None:
    fits = "x" * (MAX_PAYLOAD_BYTES - len(b'{"params":{"value":""}}'))
    assert len(encode_message(run_of({"value": fits}))) == MAX_PAYLOAD_BYTES
    with pytest.raises(PayloadTooLargeError, match="1,048,576") as refused:
        encode_message(run_of({"value": fits + "x"}))
    assert (refused.value.size, refused.value.limit) == (MAX_PAYLOAD_BYTES + 1, MAX_PAYLOAD_BYTES)


@given(value=JSON)
def test_a_result_comes_back_as_it_went(value: Any) -> None:
    outcome = Outcome(result=msgspec.Raw(encode_result("typed", value)))
    assert decode_result(decode_outcome(encode_outcome(outcome))) == value


def test_a_result_may_be_a_model() -> None:
    assert msgspec.json.decode(encode_result("typed", Parcel(1.5))) == {"weight": 1.5, "labels": []}
    assert msgspec.json.decode(encode_result("typed", Letter("hi"))) == {"text": "hi", "pages": 1}


def test_a_result_that_cannot_be_kept_is_refused() -> None:
    with pytest.raises(ResultError, match="cannot be written as JSON"):
        encode_result("typed", object())
    with pytest.raises(ResultError, match="result of a 'typed' run"):
        encode_result("typed", "x" * MAX_PAYLOAD_BYTES)


def test_an_outcome_comes_back_and_none_is_an_empty_one() -> None:
    outcome = Outcome(
        started=1.0, ended=2.0, error="no", error_type="E", traceback="t", failures=2, queued=0.5
    )
    assert decode_outcome(encode_outcome(outcome)) == outcome
    assert decode_outcome(b"") == Outcome()
    assert decode_result(Outcome()) is None
