"""The wire protocol is cut into whole messages, however it arrives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.resp import Frames, command_name

LINES = st.sampled_from(
    [b"+OK\r\n", b"-ERR no\r\n", b":-5\r\n", b"_\r\n", b"#t\r\n", b",1.5\r\n", b"(123\r\n"]
)
NULLS = st.sampled_from([b"$-1\r\n", b"*-1\r\n", b"*0\r\n", b"%0\r\n", b"$0\r\n\r\n"])
SIZED = st.builds(
    lambda kind, data: b"%s%d\r\n%s\r\n" % (kind, len(data), data),
    st.sampled_from([b"$", b"!", b"="]),
    st.one_of(st.binary(max_size=20), st.just(b"*1\r\n$3\r\n")),
)


def aggregates(parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    flat = st.builds(
        lambda kind, items: b"%s%d\r\n%s" % (kind, len(items), b"".join(items)),
        st.sampled_from([b"*", b"~", b">"]),
        st.lists(parts, max_size=4),
    )
    paired = st.builds(
        lambda pairs: b"%%%d\r\n%s" % (len(pairs), b"".join(key + value for key, value in pairs)),
        st.lists(st.tuples(parts, parts), max_size=3),
    )
    return flat | paired


MESSAGES = st.recursive(LINES | NULLS | SIZED, aggregates, max_leaves=8)


@given(st.lists(MESSAGES, max_size=5), st.data())
def test_messages_come_out_whole_whatever_the_pieces(messages: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    frames = Frames()
    whole = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        whole += frames.feed(stream[start:end])
    assert whole == messages


def test_a_message_is_held_until_its_last_byte() -> None:
    frames = Frames()
    request = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"
    for byte in request[:-1]:
        assert frames.feed(bytes([byte])) == []
    assert frames.feed(request[-1:]) == [request]


@pytest.mark.parametrize("request_", [b"*2\r\n$3\r\nget\r\n$1\r\na\r\n", b"GET a\r\n"])
def test_a_command_goes_by_its_upper_case_name(request_: bytes) -> None:
    assert command_name(request_) == "GET"
