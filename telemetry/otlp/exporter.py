"""Sends batches to a receiver, again and again for a while if it has to.

This room is imported only by who exports: it loads an HTTP client.
"""

from __future__ import annotations

import gzip
import threading
import zlib
from collections.abc import Callable, Sequence
from random import uniform
from typing import Any, Generic, TypeVar

import urllib3
from urllib3.exceptions import HTTPError, ProtocolError

from fluid import __version__
from fluid.clock import elapsed
from telemetry.otlp.answers import Answer, words
from telemetry.otlp.destination import Destination
from telemetry.otlp.envelope import Request
from telemetry.otlp.proxies import Proxy, proxy_for
from telemetry.trouble import DeliveryError

FIRST_WAIT = 1.0
"""Seconds until the second try; then twice as many each time."""

JITTER = 0.2
"""By what part a wait may be shorter or longer, so that many processes do not come back together."""

MOST_READ = 65_536
"""Bytes of an answer."""

T = TypeVar("T")


class Exporter(Generic[T]):
    """Sends to one destination. One thread uses it; `shutdown` may come from another."""

    def __init__(self, destination: Destination, encode: Callable[[Sequence[T]], Request]) -> None:
        self._destination = destination
        self._encode = encode
        self._headers = {
            "user-agent": f"fluid-tasks/{__version__}",
            **destination.headers,
            "content-type": "application/x-protobuf",
        }
        if destination.compression != "none":
            self._headers["content-encoding"] = destination.compression
        self._proxy = proxy_for(destination.url)
        self.start_afresh()

    def start_afresh(self) -> None:
        """In a child that was forked: the connections are the parent's."""
        self._over = threading.Event()
        self._pool = _pool(self._destination, self._proxy)

    def export(self, batch: Sequence[T], trouble: Callable[[str], None], /) -> None:
        """Send a batch, for as long as the destination's timeout. `trouble` is told why a try failed.

        `DeliveryError` where all of the batch, or a part of it, was given up.
        """
        request = self._encode(batch)
        answer = self._deliver(self._compressed(request.data), trouble) if request.data else None
        refused, why = answer.refused(len(batch)) if answer else (0, "")
        if request.left_out:
            why = f"{request.left_out} of {len(batch)} could not be encoded: {words(repr(request.fault))}"
        if lost := refused + request.left_out:
            raise DeliveryError(why, lost)

    def shutdown(self) -> None:
        """Try no more. What has been sent already may still be answered."""
        self._over.set()
        self._pool.clear()

    def _compressed(self, data: bytes) -> bytes:
        match self._destination.compression:
            case "gzip":
                return gzip.compress(data)
            case "deflate":
                return zlib.compress(data)
        return data

    def _deliver(self, data: bytes, trouble: Callable[[str], None]) -> Answer:
        """Try until a batch has arrived, and not again after the timeout."""
        until = elapsed() + self._destination.timeout
        wait = FIRST_WAIT
        while True:
            answer, why = self._try(data, until)
            if answer is not None and answer.is_success:
                return answer
            pause = wait * uniform(1 - JITTER, 1 + JITTER)
            if answer is not None and answer.wait is not None:
                pause = max(pause, answer.wait)
            if (answer is not None and not answer.passes) or elapsed() + pause > until:
                raise DeliveryError(why)
            trouble(why)
            if self._over.wait(pause):
                raise DeliveryError(why)
            wait *= 2

    def _try(self, data: bytes, until: float) -> tuple[Answer | None, str]:
        """The answer, or None where there is none; and what is wrong with that."""
        where = self._destination.shown
        try:
            # the receiver may have closed a connection that was kept: then a new one is made
            answer = self._post_unless_closed(data, until) or self._post(data, until)
        except HTTPError as error:
            return None, f"{where} does not answer: {_reason(error)}"
        return answer, f"{where} answers {answer.status}"

    def _post_unless_closed(self, data: bytes, until: float) -> Answer | None:
        try:
            return self._post(data, until)
        except ProtocolError:
            return None

    def _post(self, data: bytes, until: float) -> Answer:
        response = self._pool.request(
            "POST",
            self._destination.url,
            body=data,
            headers=self._headers,
            timeout=urllib3.Timeout(total=max(until - elapsed(), 0.001)),
            retries=False,
            redirect=False,
            preload_content=False,
        )
        try:
            body = response.read(MOST_READ, decode_content=False)
        except HTTPError:  # what it took it has taken
            body = b""
        finally:
            # one that was read to its end has given its connection back
            response.close()
        return Answer(response.status, response.headers, body)


def _reason(error: BaseException) -> str:
    """What is behind an error of the client: its own words are about pools."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    if isinstance(error, TimeoutError):
        return "it takes too long"
    return words(getattr(error, "strerror", None) or str(error) or type(error).__name__)


def _pool(destination: Destination, proxy: Proxy | None) -> urllib3.PoolManager:
    tls: dict[str, Any] = {
        "ca_certs": destination.certificate,
        "cert_file": destination.client_certificate,
        "key_file": destination.client_key,
    }
    if proxy is None:
        return urllib3.PoolManager(maxsize=1, **tls)
    return urllib3.ProxyManager(proxy.url, proxy_headers=proxy.headers, maxsize=1, **tls)
