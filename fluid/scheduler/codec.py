"""A run to bytes and back, versioned. JSON, so that a person with a Redis prompt can read it."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
from pydantic import BaseModel, SecretBytes, SecretStr, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from fluid.errors import InvalidParamsError, PayloadTooLargeError, ResultError, UnreadableMessageError
from fluid.masking import secret_names
from fluid.scheduler.run import TaskRun
from fluid.scheduler.task import Task

MESSAGE_VERSION = 1
"""The newest message this code can read. A newer one is held for a consumer that can."""

MAX_PAYLOAD_BYTES = 1024 * 1024
"""The largest message or result that is accepted."""


class Message(msgspec.Struct, omit_defaults=True):
    """What travels with a run: everything that the broker itself need not know."""

    params: msgspec.Raw
    from_run_id: str = ""
    root_run_id: str = ""
    headers: dict[str, str] = {}
    expires: float | None = None
    """Milliseconds since the epoch, compared with the broker's clock."""
    secrets: tuple[str, ...] = ()
    """Names of parameters that are never shown, so that one who does not know the task can keep to it."""


class Outcome(msgspec.Struct, omit_defaults=True, gc=False):
    """How an attempt went, as it is kept in the run's record, with what tells of the run itself."""

    started: float = 0.0
    """Milliseconds since the epoch; 0 when no body was started."""
    ended: float = 0.0
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: str = ""
    error_type: str = ""
    traceback: str = ""
    consumer: str = ""
    task: str = ""
    priority: str = "medium"
    queued: float = 0.0
    failures: int = 0
    losses: int = 0
    from_run_id: str = ""
    root_run_id: str = ""
    traceparent: str = ""
    """The W3C trace context of an attempt that did not succeed, where it was traced."""


def _plain(value: Any) -> Any:
    """JSON for what msgspec does not know; a secret is revealed, for this is the queue's own form."""
    if isinstance(value, (SecretStr, SecretBytes)):
        return value.get_secret_value()
    if isinstance(value, BaseModel):
        return value.model_dump()
    try:
        return to_jsonable_python(value)
    except ValueError:
        raise TypeError(f"a value of type {type(value).__name__} cannot be written as JSON") from None


_encoder = msgspec.json.Encoder(enc_hook=_plain)
_message_decoder = msgspec.json.Decoder(Message)
_outcome_decoder = msgspec.json.Decoder(Outcome)


_adapters: dict[type[Any], TypeAdapter[Any]] = {}


def _adapter(model: type[Any]) -> TypeAdapter[Any]:
    adapter = _adapters.get(model)
    if adapter is None:
        adapter = _adapters[model] = TypeAdapter(model)
    return adapter


NO_MODEL = "any"
"""The fingerprint of a task without a model: whatever JSON there is fits."""

_fingerprints: dict[type[Any], str] = {}


def fingerprint(task: Task) -> str:
    """What the parameters of a task have to look like, as a short word: the same in every process."""
    model = task.params_model
    if model is None:
        return NO_MODEL
    found = _fingerprints.get(model)
    if found is None:
        looks = msgspec.json.encode(_schema(model), order="sorted")
        found = _fingerprints[model] = hashlib.sha256(looks).hexdigest()[:12]
    return found


def _schema(model: type[Any]) -> Any:
    try:
        return _adapter(model).json_schema() if _is_pydantic(model) else msgspec.json.schema(model)
    except Exception:  # noqa: BLE001 - a type of the model's own may have no schema, and any way to say so
        return [_annotations(kind) for kind in model.__mro__]


def _annotations(kind: type[Any]) -> dict[str, str]:
    # a name, for what a type shows of itself may hold an address
    written = vars(kind).get("__annotations__", {})
    return {name: str(getattr(word, "__name__", word)) for name, word in written.items()}


def _is_pydantic(model: type[Any]) -> bool:
    return issubclass(model, BaseModel) or hasattr(model, "__pydantic_validator__")


def build_params(task: Task, given: Mapping[str, Any]) -> Any:
    """The task's parameters from keywords, validated; a dict for a task without a model."""
    model = task.params_model
    if model is None:
        return dict(given)
    unknown = sorted(set(given) - set(_names(model)))
    if unknown:
        raise InvalidParamsError(
            task.name, f"unknown {', '.join(unknown)}; known: {', '.join(_names(model)) or 'none'}"
        )
    try:
        if _is_pydantic(model):
            return _adapter(model).validate_python(dict(given), by_alias=True, by_name=True)
        return msgspec.convert(dict(given), model, from_attributes=True)
    except Exception as error:
        # a model's own validators may raise anything
        raise InvalidParamsError(task.name, _words(error)) from error


def _names(model: type[Any]) -> list[str]:
    if issubclass(model, BaseModel):
        return [name for field, info in model.model_fields.items() for name in (field, info.alias) if name]
    if dataclasses.is_dataclass(model):
        return [field.name for field in dataclasses.fields(model)]
    return list(model.__struct_fields__)


def _words(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'parameters'}: {fault['msg']}"
            for fault in error.errors()
        )
    return str(error) or type(error).__name__


def encode_params(run: TaskRun[Any]) -> bytes:
    """The run's parameters alone, as JSON."""
    return _encoder.encode(run.params)


def encode_message(
    run: TaskRun[Any],
    expires: float | None = None,
    params: bytes | None = None,
    secrets: tuple[str, ...] = (),
) -> bytes:
    """The run's message. Raises `InvalidParamsError` or `PayloadTooLargeError`.

    `params`, if encoded already, with the names of the `secrets` among them.
    """
    try:
        raw = params if params is not None else _encoder.encode(run.params)
        message = _encoder.encode(
            Message(
                params=msgspec.Raw(raw),
                from_run_id=run.from_run_id,
                root_run_id="" if run.root_run_id == run.id else run.root_run_id,
                headers=run.headers,
                expires=expires,
                secrets=secrets or secret_names(type(run.params)),
            )
        )
    except (TypeError, ValueError) as error:
        raise InvalidParamsError(run.name, str(error)) from None
    if len(message) > MAX_PAYLOAD_BYTES:
        raise PayloadTooLargeError(f"the message of a {run.name!r} run", len(message), MAX_PAYLOAD_BYTES)
    return message


def decode_message(data: bytes) -> Message:
    """The message in these bytes; `UnreadableMessageError` when they hold none."""
    try:
        return _message_decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise UnreadableMessageError(f"a message of {len(data)} bytes cannot be read: {error}") from None


def decode_params(task: Task | None, raw: bytes | memoryview) -> Any:
    """Validated parameters from a message; plain data when the task is not known or has no model."""
    model = task.params_model if task else None
    try:
        if model is None:
            return msgspec.json.decode(raw)
        if _is_pydantic(model):
            return _adapter(model).validate_json(bytes(raw), by_alias=True, by_name=True)
        return msgspec.json.decode(raw, type=model)
    except Exception as error:
        raise InvalidParamsError(task.name if task else "?", _words(error)) from error


def encode_result(task: str, value: Any) -> bytes:
    """What a body returned, as JSON. Raises `ResultError` when it is too large or cannot be written."""
    if value is None:
        return b"null"
    try:
        data = _encoder.encode(value)
        if len(data) > MAX_PAYLOAD_BYTES:
            raise PayloadTooLargeError(f"the result of a {task!r} run", len(data), MAX_PAYLOAD_BYTES)
    except (TypeError, ValueError) as error:
        raise ResultError(f"what the body returned cannot be kept: {error}") from error
    return data


def encode_outcome(outcome: Outcome) -> bytes:
    """The outcome as it is kept in the record."""
    return _encoder.encode(outcome)


def decode_outcome(data: bytes) -> Outcome:
    """The outcome that a record keeps; an empty one from no bytes."""
    return _outcome_decoder.decode(data) if data else Outcome()


def decode_result(outcome: Outcome) -> Any:
    """What the body returned, as plain data."""
    return msgspec.json.decode(outcome.result)
