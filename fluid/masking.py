"""What no log, span, page or error may show: secret values, and the values of names that are denied."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any, get_args, get_type_hints

import msgspec
from pydantic import BaseModel, SecretBytes, SecretStr

__all__ = ["HIDDEN", "hide", "is_denied", "mask", "mask_text", "secret_names", "secrets_of"]

HIDDEN = "***"
"""What is shown instead."""

SHORTEST_SECRET = 4
"""Characters: a shorter one would be found, and hidden, in words that have nothing to do with it."""

DEEPEST = 50
"""Levels that are looked into: what holds itself has no end. What is deeper is hidden."""

_DENIED = (
    r"(?:pass(?:word|wd|phrase)s?|pwd|secrets?|token|authorization|cookies?|credentials?|"
    r"(?:api|access|private|secret|signing)[_-]?keys?)"
)
_DENIED_NAME = re.compile(rf"(?<![a-z]){_DENIED}(?![a-z])")
_IN_TEXT = re.compile(
    # name=value, 'name': 'value', and headers; a name may go on a little, as in `token_of_x`
    rf"(?P<name>(?<![a-z]){_DENIED}[\w-]{{0,30}}(?:\s?=\s?|[\"']\s?[:=]\s?)"
    r"|(?<![a-z])(?:authorization|cookie): )"
    r"(?:(?P<quote>[\"'])(?:(?!(?P=quote)).)*(?P=quote)|(?:(?:basic|bearer) )?[^\s,;&\"')}\]]+)",
    re.IGNORECASE,
)
_IN_URL = re.compile(r"(?<=://)[^/\s:@]{0,200}:[^/\s@]{1,200}(?=@)")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

_Secret = (SecretStr, SecretBytes)


@lru_cache(4096)
def is_denied(name: str) -> bool:
    """Whether what has this name is never shown: `password`, `accessToken`, `X-API-Key`."""
    return _DENIED_NAME.search(_HUMP.sub("_", name).lower()) is not None


def mask(value: Any, also: Collection[str] = ()) -> Any:
    """The value, with what is secret in it hidden at any depth; models become mappings.

    `also`: names that are denied besides.
    """
    return _mask(value, also, DEEPEST)


def mask_text(text: str) -> str:
    """The text without the passwords of its URLs, and without what is given to denied names in it."""
    if "=" in text or ":" in text:
        text = _IN_TEXT.sub(rf"\g<name>{HIDDEN}", text)
    return _IN_URL.sub(HIDDEN, text) if "@" in text else text


def hide(text: str, secrets: Collection[str]) -> str:
    """The text without these secrets, and masked."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return mask_text(text)


def secrets_of(value: Any) -> tuple[str, ...]:
    """Every text within the value that `mask` hides, the longest first."""
    return tuple(
        sorted({one for one in _secrets(value, False, DEEPEST) if len(one) >= SHORTEST_SECRET}, key=len)[::-1]
    )


def secret_names(model: type[Any]) -> tuple[str, ...]:
    """The names of a model's fields, at any depth, that are declared as secrets."""
    known = _names_known.get(model)
    if known is None:
        known = _names_known[model] = tuple(sorted(_secret_names(model, set())))
    return known


_names_known: dict[type[Any], tuple[str, ...]] = {}


def _mask(value: Any, also: Collection[str], depth: int) -> Any:
    if isinstance(value, str | int | float | bool | None):
        return value
    if isinstance(value, _Secret) or not depth:
        return HIDDEN
    if (fields := _fields_of(value)) is not None:
        return {
            name: HIDDEN
            if isinstance(name, str) and (is_denied(name) or name in also)
            else _mask(inner, also, depth - 1)
            for name, inner in fields.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_mask(inner, also, depth - 1) for inner in value]
    return value


def _fields_of(value: Any) -> Mapping[Any, Any] | None:
    if isinstance(value, Mapping):
        return value
    if isinstance(value, BaseModel):
        return dict(value)
    if isinstance(value, msgspec.Struct):
        return {name: getattr(value, name, None) for name in value.__struct_fields__}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
    return None


def _secrets(value: Any, denied: bool, depth: int) -> Iterator[str]:
    if isinstance(value, _Secret):
        revealed = value.get_secret_value()
        yield revealed if isinstance(revealed, str) else revealed.decode(errors="replace")
    elif isinstance(value, str):
        if denied:
            yield value
    elif not depth:
        return
    elif (fields := _fields_of(value)) is not None:
        for name, inner in fields.items():
            yield from _secrets(inner, denied or (isinstance(name, str) and is_denied(name)), depth - 1)
    elif isinstance(value, list | tuple | set | frozenset):
        for inner in value:
            yield from _secrets(inner, denied, depth - 1)


def _secret_names(model: Any, seen: set[Any]) -> Iterator[str]:
    if not isinstance(model, type) or model in seen or not _is_model(model):
        return
    seen.add(model)
    for name, annotation in _annotations(model):
        for kind in _kinds(annotation):
            if kind in _Secret:
                yield name
            else:
                yield from _secret_names(kind, seen)


def _annotations(model: type[Any]) -> Iterator[tuple[str, Any]]:
    if not issubclass(model, BaseModel):
        yield from get_type_hints(model).items()
        return
    for name, info in model.model_fields.items():
        yield from ((one, info.annotation) for one in {name, info.alias} if one)


def _is_model(kind: type[Any]) -> bool:
    return issubclass(kind, BaseModel | msgspec.Struct) or dataclasses.is_dataclass(kind)


def _kinds(annotation: Any) -> Iterator[Any]:
    """Every type that an annotation names: `list[A] | None` names list, A and None."""
    yield annotation
    for inner in get_args(annotation):
        yield from _kinds(inner)
