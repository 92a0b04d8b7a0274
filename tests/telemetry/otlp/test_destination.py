"""Where a signal is sent, by the variables; and that what is secret in them is not told."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.util.re import parse_env_headers

from telemetry.otlp.destination import SECONDS, destination, endpoint, fault_of_endpoint, headers, shown

ALL = "OTEL_EXPORTER_OTLP"


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint, and nothing else."""
    monkeypatch.setenv(f"{ALL}_ENDPOINT", "http://there:4318")


@pytest.mark.parametrize("base", ["http://there:4318", "http://there:4318/"])
def test_the_endpoint_for_all_has_a_place_for_each_signal(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{ALL}_ENDPOINT", base)
    assert endpoint("traces") == "http://there:4318/v1/traces"
    assert endpoint("logs") == "http://there:4318/v1/logs"


def test_a_signal_s_own_endpoint_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{ALL}_TRACES_ENDPOINT", "https://mine/")
    assert (endpoint("traces"), endpoint("logs")) == ("https://mine/", "http://there:4318/v1/logs")


def test_a_signal_s_own_variables_go_before_those_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    for signal, seconds, header in (("", "7", "a=1"), ("_LOGS", "2.5", "b=2")):
        monkeypatch.setenv(f"{ALL}{signal}_TIMEOUT", seconds)
        monkeypatch.setenv(f"{ALL}{signal}_HEADERS", header)
    monkeypatch.setenv(f"{ALL}_COMPRESSION", "GZIP")
    traces, logs = destination("traces"), destination("logs")
    assert (traces.timeout, traces.headers, traces.compression) == (7, {"a": "1"}, "gzip")
    assert (logs.timeout, logs.headers, logs.compression) == (2.5, {"b": "2"}, "gzip")


def test_without_them_there_are_defaults() -> None:
    there = destination("traces")
    assert (there.timeout, there.headers, there.compression) == (SECONDS, {}, "none")
    assert (there.certificate, there.client_certificate, there.client_key) == (None, None, None)


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("TIMEOUT", "soon", "_TIMEOUT=soon is no number of seconds above 0: 10 is used"),
        ("TIMEOUT", "0", "_TIMEOUT=0 is no number of seconds above 0: 10 is used"),
        ("TIMEOUT", "inf", "_TIMEOUT=inf is no number of seconds above 0: 10 is used"),
        ("COMPRESSION", "brotli", "_COMPRESSION=brotli is none of none, gzip, deflate: none is used"),
        (
            "CERTIFICATE",
            "gone.pem",
            "_CERTIFICATE names no file that can be read (FileNotFoundError): it is not used",
        ),
        (
            "CLIENT_CERTIFICATE",
            "gone.pem",
            "_CLIENT_CERTIFICATE names no file that can be read (FileNotFoundError): it is not used",
        ),
        (
            "CLIENT_KEY",
            "gone.pem",
            "_CLIENT_KEY names no file that can be read (FileNotFoundError): it is not used",
        ),
    ],
)
def test_what_cannot_be_used_is_told_of_once_and_the_default_is_used(
    setting: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    usual = destination("traces")
    monkeypatch.setenv(f"{ALL}_{setting}", value)
    assert destination("traces") == usual
    assert [record.getMessage() for record in caplog.records] == [f"{ALL}{told}"]


def test_files_are_those_that_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ca.pem").touch()
    monkeypatch.setenv(f"{ALL}_TRACES_CERTIFICATE", str(tmp_path / "ca.pem"))
    assert destination("traces").certificate == str(tmp_path / "ca.pem")


@pytest.mark.parametrize(
    "url",
    ["localhost:4318", "grpc://there:4317", "http://", "http://there:x", "http://there:99999", "http://[x"],
)
def test_what_is_no_url_is_a_fault_that_says_what_one_looks_like(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{ALL}_ENDPOINT", url)
    assert "http://localhost:4318" in fault_of_endpoint("traces")


def test_a_url_is_no_fault() -> None:
    assert fault_of_endpoint("traces") == ""


def test_a_login_in_the_url_is_sent_as_one_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{ALL}_ENDPOINT", "https://me:p%40ss@there:4318/in?key=secret")
    there = destination("traces")
    assert there.headers == {"authorization": "Basic bWU6cEBzcw=="}
    assert "me:" not in there.url
    assert "bWU6" not in repr(there)
    assert shown(endpoint("traces")) == there.shown == "https://there:4318/in"


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True),
            st.from_regex(r"[A-Za-z0-9 %=:+/.-]{0,12}", fullmatch=True),
        ),
        max_size=4,
    )
)
def test_headers_are_read_as_the_sdk_reads_them(pairs: list[tuple[str, str]]) -> None:
    text = ", ".join(f"{name} = {value}" for name, value in pairs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(f"{ALL}_HEADERS", text)
        expected = {
            name: value
            for name, value in parse_env_headers(text, liberal=True).items()
            if value.isprintable() and value.isascii()
        }
        assert {name: value for name, value in headers("traces").items() if value.isascii()} == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("hunter2", "header 1 is no name=value, it is not sent"),
        ("a=1, b c=hunter2", "header 2 is no name=value, it is not sent"),
        ("token=hunter2%0d%0ax:y", "the value of token has characters of no header, it is not sent"),
        ("token=hunter2%E2%82%AC", "the value of token has characters of no header, it is not sent"),
    ],
)
def test_of_a_header_that_cannot_be_sent_the_value_is_not_told(
    text: str, told: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv(f"{ALL}_HEADERS", text)
    assert "hunter2" not in str(headers("traces"))
    assert [record.getMessage() for record in caplog.records] == [f"{ALL}_HEADERS: {told}"]


@pytest.mark.parametrize("key", ["-----BEGIN PRIVATE KEY-----hunter2", "x" * 5000, "/no/such/file"])
def test_a_key_that_is_no_file_is_told_of_without_what_it_is(
    key: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(f"{ALL}_ENDPOINT", "https://collector:4318")
    monkeypatch.setenv(f"{ALL}_CLIENT_KEY", key)
    assert destination("traces").client_key is None
    [told] = [record.getMessage() for record in caplog.records]
    assert told.startswith(f"{ALL}_CLIENT_KEY names no file that can be read")
    assert key not in told
