"""The hops that the core does not know: whether consumers can be scraped, and traces and logs exported."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp

from fluid.plugins import Finding, Mark
from telemetry.otlp.destination import PREFIX, Destination, destination, endpoint, shown
from telemetry.otlp.proxies import proxy_for
from telemetry.providers import asks_for, is_disabled, why_not
from telemetry.server import PORTS_TRIED
from telemetry.settings import TelemetrySettings

SECONDS = 3.0
"""How long an answer may take."""

EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to ask who binds all
SIGNALS = ("traces", "logs")
"""What is sent; metrics are scraped."""


async def look(settings: TelemetrySettings, queue: str, consumers: Sequence[str]) -> list[Finding]:
    """What is found at both hops."""
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        scraped, exported = await asyncio.gather(_scrape(http, settings, queue, consumers), _exporter(http))
    return [*scraped, *exported]


# -- scrape --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SideServerSeen:
    """What answered where a side server may be."""

    url: str
    consumer: str = ""
    """Empty when it is no side server of the queue's."""
    fault: str = ""
    ready: Mapping[str, Any] | None = None
    """What its `/readyz` tells."""


async def _scrape(
    http: aiohttp.ClientSession, settings: TelemetrySettings, queue: str, consumers: Sequence[str]
) -> list[Finding]:
    if settings.port == 0:
        return [Finding("scrape", Mark.skipped, "FLUID_TELEMETRY_PORT=0: which port it is cannot be known")]
    here = [name for name in consumers if name.startswith(f"{socket.gethostname()}-")]
    ports = [settings.port]
    if not settings.port_was_asked:
        ports = list(range(settings.port, min(settings.port + PORTS_TRIED, 65536)))
    host = EVERYWHERE.get(settings.host, settings.host)
    base = f"http://[{host}]" if ":" in host else f"http://{host}"
    token = settings.token.get_secret_value() if settings.token else None
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answers = await asyncio.gather(*(_ask(http, f"{base}:{port}", headers, queue) for port in ports))
    return list(_findings_of_scrape([one for one in answers if one], here, consumers, f"{base}:{ports[0]}"))


async def _ask(
    http: aiohttp.ClientSession, url: str, headers: Mapping[str, str], queue: str
) -> SideServerSeen | None:
    """What answers there; None when nothing listens."""
    try:
        async with http.get(f"{url}/status", headers=headers, allow_redirects=False) as answer:
            if answer.status == 401:
                return SideServerSeen(url, fault="it refuses our token")
            status = await answer.json()
        if status["queue"] != queue:
            return SideServerSeen(url, fault=f"it serves queue {status['queue']}")
        consumer = str(status["consumer"] or "")
        async with http.get(f"{url}/metrics", headers=headers) as answer:
            if answer.status != 200 or f'queue="{queue}"' not in await answer.text():
                return SideServerSeen(url, consumer, f"/metrics answers {answer.status}")
        async with http.get(f"{url}/readyz") as answer:
            return SideServerSeen(url, consumer, ready=await answer.json())
    except aiohttp.ClientConnectorError:
        return None
    except TimeoutError:
        return SideServerSeen(url, fault=f"it does not answer within {SECONDS:g} s")
    except (aiohttp.ClientError, ValueError, KeyError, TypeError):
        return SideServerSeen(url, fault="what listens there is no side server")


def _findings_of_scrape(
    answers: Sequence[SideServerSeen], here: Sequence[str], consumers: Sequence[str], place: str
) -> Iterator[Finding]:
    served = {one.consumer: one for one in answers if one.consumer and not one.fault}
    faults = [f"{one.url}: {one.fault}" for one in answers if one.fault]
    missing = [name for name in here if name not in served]
    for name in here:
        if name in served and served[name].ready:
            yield from _findings_of_readiness(name, served[name].ready or {})
    if missing:
        told = f"no side server from {place} on answers for {', '.join(missing)}"
        yield Finding("scrape", Mark.broken, "; ".join([told, *faults]), _advice(faults))
    elif here or (served and not consumers):
        told = f"{', '.join(one.url for one in served.values())} can be scraped"
        yield Finding("scrape", Mark.fine, told)
    elif consumers:
        told = f"all {len(consumers)} consumers are on other machines: ask there"
        yield Finding("scrape", Mark.skipped, told)
    else:
        yield Finding("scrape", Mark.skipped, "there is no consumer to scrape")


def _findings_of_readiness(name: str, told: Mapping[str, Any]) -> Iterator[Finding]:
    reasons = [check["reason"] for check in told["checks"].values() if not check["ok"]]
    if reasons:
        advice = "look at its logs; if it stays so, start it again"
        yield Finding("consumer", Mark.broken, f"{name} is not ready: {'; '.join(reasons)}", advice)


def _advice(faults: Sequence[str]) -> str:
    if any("token" in fault for fault in faults):
        return "set FLUID_TELEMETRY_TOKEN here as the consumer has it"
    return (
        "start it with telemetry (fluid run without --no-plugins, or Telemetry().attach), "
        "and set FLUID_TELEMETRY_HOST and _PORT here as it has them"
    )


# -- exporter ------------------------------------------------------------------------------


async def _exporter(http: aiohttp.ClientSession) -> list[Finding]:
    if is_disabled():
        return [Finding("exporter", Mark.skipped, "OTEL_SDK_DISABLED=true: nothing is exported")]
    asked = [signal for signal in SIGNALS if asks_for(signal)]
    if not asked:
        return [Finding("exporter", Mark.skipped, f"{PREFIX}_ENDPOINT is not set: nothing is exported")]
    faults = await asyncio.gather(*(_fault_of_export(http, signal) for signal in asked))
    broken = "; ".join(filter(None, faults))
    if broken:
        variables = f"{PREFIX}_ENDPOINT and {PREFIX}_HEADERS"
        advice = f"start the collector (http/protobuf, port 4318), or mend {variables}"
        return [Finding("exporter", Mark.broken, broken, advice)]
    told = " and ".join(f"{signal} to {shown(endpoint(signal))}" for signal in asked)
    return [Finding("exporter", Mark.fine, f"it takes {told}")]


async def _fault_of_export(http: aiohttp.ClientSession, signal: str) -> str:
    """What goes wrong when an empty batch is sent; nothing when it is taken."""
    if fault := why_not(signal):
        return f"no {signal} are exported: {fault}"
    there = destination(signal)
    headers = there.headers | {"content-type": "application/x-protobuf"}
    proxy = proxy_for(there.url)
    post = partial(http.post, data=b"", headers=headers, allow_redirects=False)
    if proxy:
        post = partial(post, proxy=proxy.url, proxy_headers=proxy.headers)
    try:
        async with post(there.url, ssl=_tls_of(there)) as answer:
            if answer.status < 300:
                return ""
            why = f"answers {answer.status}"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        why = f"does not answer: {_words(error)}"
    return f"{there.shown} {why}"


def _tls_of(there: Destination) -> ssl.SSLContext:
    """Whom the exporter trusts, and what it is known by."""
    tls = ssl.create_default_context(cafile=there.certificate)
    if there.client_certificate:
        tls.load_cert_chain(there.client_certificate, there.client_key)
    return tls


def _words(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or type(error.os_error).__name__
    return str(error) or type(error).__name__
