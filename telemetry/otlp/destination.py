"""Where a signal is sent, and how, by the `OTEL_EXPORTER_OTLP_*` variables.

One of the signal's own, such as `OTEL_EXPORTER_OTLP_TRACES_TIMEOUT`, goes before the one for all signals.
What cannot be used is told of, and it is as if the variable were not set.
"""

from __future__ import annotations

import logging
import math
import os
import re
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import SplitResult, unquote, urlsplit

logger = logging.getLogger("telemetry")

PREFIX = "OTEL_EXPORTER_OTLP"

SECONDS = 10.0
"""What sending a batch may take, with all of its tries."""

Compression = Literal["none", "gzip", "deflate"]

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""Of a header."""

_STRICT_VALUE = re.compile(r"[!#-+\--:<-\[\]-~]*")
"""Of a header as the specification has it, quoted as in a URL; others are taken as they are."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a signal is sent."""

    url: str
    """In full, without a login."""
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    timeout: float = SECONDS
    compression: Compression = "none"
    certificate: str | None = None
    """A file of those that are trusted; None for those of the system."""
    client_certificate: str | None = None
    client_key: str | None = None

    @property
    def shown(self) -> str:
        """Where that is, for whoever reads the log: nothing that may be secret is in it."""
        return shown(self.url)


def destination(signal: str) -> Destination:
    """That of `traces` or `logs`."""
    parts = urlsplit(endpoint(signal))
    return Destination(
        url=_without_login(parts).geturl(),
        headers=headers(signal) | _authorization(parts),
        timeout=_timeout(signal),
        compression=_compression(signal),
        certificate=_file(signal, "CERTIFICATE"),
        client_certificate=_file(signal, "CLIENT_CERTIFICATE"),
        client_key=_file(signal, "CLIENT_KEY"),
    )


def variable(signal: str, setting: str) -> tuple[str, str]:
    """The name and the value of the variable that says a setting; both are empty where none does."""
    for name in (f"{PREFIX}_{signal.upper()}_{setting}", f"{PREFIX}_{setting}"):
        if value := os.environ.get(name, "").strip():
            return name, value
    return "", ""


def endpoint(signal: str) -> str:
    """Where a signal is sent, in full: to its own endpoint, or to its place below that for all."""
    name, url = variable(signal, "ENDPOINT")
    return f"{url.rstrip('/')}/v1/{signal}" if name == f"{PREFIX}_ENDPOINT" else url


def fault_of_endpoint(signal: str) -> str:
    """Why nothing can be sent there; empty when something may."""
    try:
        parts = urlsplit(endpoint(signal))
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    return "" if usable else "it is no URL such as http://localhost:4318"


def headers(signal: str) -> dict[str, str]:
    """What is sent along. Of one that cannot be sent only the name is told: the value may be a secret."""
    name, text = variable(signal, "HEADERS")
    found = {}
    for number, part in enumerate(filter(None, map(str.strip, text.split(","))), 1):
        key, between, value = part.partition("=")
        key, value = key.strip(), value.strip()
        if _STRICT_VALUE.fullmatch(value):
            key, value = unquote(key), unquote(value).strip()
        if not between or not _NAME.fullmatch(key):
            logger.warning("%s: header %d is no name=value, it is not sent", name, number)
        elif not _can_be_sent(value):
            logger.warning("%s: the value of %s has characters of no header, it is not sent", name, key)
        else:
            found[key.lower()] = value
    return found


def shown(url: str) -> str:
    """A URL without what may be secret in it: a login, and what is asked for."""
    return _without_login(urlsplit(url))._replace(query="", fragment="").geturl()


def _without_login(parts: SplitResult) -> SplitResult:
    return parts._replace(netloc=parts.netloc.rpartition("@")[2])


def _authorization(parts: SplitResult) -> dict[str, str]:
    """The login of a URL, as the header it is sent in."""
    login, there, _ = parts.netloc.rpartition("@")
    if not there:
        return {}
    user, _, password = login.partition(":")
    return {"authorization": basic(user, password)}


def basic(user: str, password: str) -> str:
    """The value of a header for a login that is written as in a URL."""
    return "Basic " + b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()


def _can_be_sent(value: str) -> bool:
    return all(" " <= one <= "ÿ" and not "\x7f" <= one <= "\x9f" for one in value)


def _timeout(signal: str) -> float:
    name, text = variable(signal, "TIMEOUT")
    try:
        seconds = float(text or SECONDS)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        logger.warning("%s=%s is no number of seconds above 0: %g is used", name, text, SECONDS)
        return SECONDS
    return seconds


def _compression(signal: str) -> Compression:
    name, text = variable(signal, "COMPRESSION")
    for known in get_args(Compression):
        if text.lower() == known:
            return known  # type: ignore[no-any-return]
    if text:
        logger.warning("%s=%s is none of %s: none is used", name, text, ", ".join(get_args(Compression)))
    return "none"


def _file(signal: str, setting: str) -> str | None:
    name, path = variable(signal, setting)
    try:
        if path and not Path(path).is_file():
            raise FileNotFoundError
    except OSError as error:
        # who has put the key itself there does not want to read it in the log
        logger.warning("%s names no file that can be read (%s): it is not used", name, type(error).__name__)
        return None
    return path or None
