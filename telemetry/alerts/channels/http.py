"""Notices as JSON over HTTP: one try, whose errors hold no secret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import urlsplit

from aiohttp import ClientError, ClientSession, ClientTimeout
from pydantic import AfterValidator, Field

from fluid.masking import hide
from telemetry.alerts.channels.channel import DeliveryError

TRY_SECONDS = 5.0
"""What one try may take."""

MOST_ANSWERED = 200
"""Characters of an answer that are shown."""

_WORTH_ANOTHER_TRY = (408, 425, 429)


def _check_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("a URL like https://host/path is expected")
    return url


Url = Annotated[str, Field(repr=False), AfterValidator(_check_url)]
"""Where to send to. All but its host is a secret: the path of many a webhook lets anyone in who knows it."""


def place_of(url: str) -> str:
    """The part of a URL that may be shown."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}"


async def post(
    http: ClientSession, url: str, message: Any, *, headers: Mapping[str, str], secrets: Sequence[str]
) -> str:
    """Send once; what was answered. Redirects are not followed: they would take the notice elsewhere."""
    try:
        async with http.post(
            url,
            json=message,
            headers=headers,
            allow_redirects=False,
            timeout=ClientTimeout(total=TRY_SECONDS),
        ) as response:
            start = await response.content.read(4 * MOST_ANSWERED)
            text = " ".join(start.decode(errors="replace").split())[:MOST_ANSWERED]
    except TimeoutError:
        raise DeliveryError(f"no answer within {TRY_SECONDS:g} s", again=True) from None
    except (ClientError, OSError, ValueError) as error:
        # `from None`: what the library says, and where, may hold the whole URL
        raise DeliveryError(hide(f"{type(error).__name__}: {error}", secrets), again=True) from None
    answer = hide(f"{response.status} {response.reason or ''} {text}".strip(), secrets)
    if 300 <= response.status < 400:
        raise DeliveryError(f"{answer} (redirects are not followed)", again=False)
    if response.status >= 400:
        again = response.status >= 500 or response.status in _WORTH_ANOTHER_TRY
        raise DeliveryError(answer, again=again)
    return answer


def secrets_in(url: str, headers: Mapping[str, str]) -> list[str]:
    """What no error may show, the longest first: the URL behind its host, its password, all headers."""
    parts = urlsplit(url)
    behind = url.partition(parts.netloc)[2].lstrip("/")
    found = {
        url,
        behind,
        parts.query,
        *parts.path.split("/"),
        parts.password or "",
        *headers.values(),
    }
    return sorted((one for one in found if len(one) >= len("abcd")), key=len, reverse=True)
