"""Which proxy a receiver is asked through, and that one which cannot be used is told of and stops no work."""

from __future__ import annotations

import pytest

from telemetry.otlp.proxies import Proxy, fault_of_proxy, proxy_for
from telemetry.providers import why_not

HERE = "http://10.1.2.3:4318/v1/traces"


@pytest.fixture(autouse=True)
def _none_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_without_a_variable_there_is_none() -> None:
    assert proxy_for(HERE) is None


@pytest.mark.parametrize("variable", ["http_proxy", "all_proxy"])
@pytest.mark.parametrize("named", ["http://there:3128", "there:3128"])
def test_one_is_named_for_a_scheme_or_for_all(
    variable: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, named)
    assert proxy_for(HERE) == Proxy("http://there:3128", {})
    assert (proxy_for(HERE.replace("http:", "https:")) is None) == (variable == "http_proxy")


def test_its_login_is_a_header_and_not_in_its_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://me:p%40ss@there:3128")
    assert proxy_for(HERE) == Proxy("http://there:3128", {"proxy-authorization": "Basic bWU6cEBzcw=="})


@pytest.mark.parametrize(
    ("url", "excepted"),
    [
        (HERE, "10.1.2.3"),
        (HERE, "example.org, 10.0.0.0/8"),
        ("http://[::1]:4318/", "::1"),
        ("http://[fd00::7]:4318/", "fd00::/8"),
        ("http://collector.internal:4318/", ".internal"),
        (HERE, "*"),
    ],
)
def test_hosts_domains_and_networks_are_excepted(
    url: str, excepted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://there:3128")
    assert proxy_for(url) is not None
    monkeypatch.setenv("no_proxy", excepted)
    assert proxy_for(url) is None


def test_others_are_not_excepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://there:3128")
    monkeypatch.setenv("no_proxy", "11.0.0.0/8,::1,not a network")
    assert proxy_for(HERE) is not None


@pytest.mark.parametrize(
    "named",
    [
        "socks5://me:hunter2@there:1080",
        "http://me:hunter2@there:abc",
        "http://me:hunter2@there:99999",
        "http://me:hun/ter2@there:3128",
        "http://hunter2 there:3128",
        "http://[::1",
    ],
)
def test_one_that_cannot_be_used_is_told_of_without_what_it_is(
    named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", named)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://10.1.2.3:4318")
    assert fault_of_proxy(HERE) == "the proxy for http is no URL such as http://proxy:3128"
    assert why_not("traces") == fault_of_proxy(HERE), "nothing is sent around it"
