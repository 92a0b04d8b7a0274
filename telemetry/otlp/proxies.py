"""The proxy that a receiver is asked through, by the variables that every HTTP client knows."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from telemetry.otlp.destination import basic

_HOST = re.compile(r"[0-9A-Za-z._:-]+")


class Proxy(NamedTuple):
    """Where it is, and what it wants to know."""

    url: str
    """Without a login."""
    headers: dict[str, str]


def proxy_for(url: str) -> Proxy | None:
    """The one for a URL; None where it is asked directly.

    `ValueError`, in words for the log and without what may be secret, where one is named that cannot be used:
    whoever names one may not want to be known without it.
    """
    parts = urlsplit(url)
    proxies = getproxies()
    named = proxies.get(parts.scheme) or proxies.get("all")
    if not named or proxy_bypass(parts.netloc) or _is_excepted(parts.hostname or "", proxies.get("no", "")):
        return None
    there = _read(named if "://" in named else f"http://{named}")
    if there is None:
        raise ValueError(f"the proxy for {parts.scheme} is no URL such as http://proxy:3128")
    return Proxy(there._replace(netloc=there.netloc.rpartition("@")[2]).geturl(), _login(there))


def fault_of_proxy(url: str) -> str:
    """Why the proxy that is named for a URL cannot be used; empty when it can, or there is none."""
    try:
        proxy_for(url)
    except ValueError as error:
        return str(error)
    return ""


def _read(named: str) -> SplitResult | None:
    """The parts of a URL; None when nothing can be asked through it."""
    try:
        parts = urlsplit(named)
        if parts.scheme in ("http", "https") and _HOST.fullmatch(parts.hostname or "") and parts.port != 0:
            return parts
    except ValueError:
        pass
    return None


def _login(proxy: SplitResult) -> dict[str, str]:
    login, there, _ = proxy.netloc.rpartition("@")
    user, _, password = login.partition(":")
    return {"proxy-authorization": basic(user, password)} if there else {}


def _is_excepted(host: str, networks: str) -> bool:
    """Whether a host is in one of the networks that `no_proxy` names; Python itself knows names alone."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    for network in networks.split(","):
        try:
            if address in ip_network(network.strip(), strict=False):
                return True
        except ValueError:
            continue
    return False
