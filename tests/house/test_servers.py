"""What holds on one server holds on the other."""

from __future__ import annotations

import ast

from tests.house.reading import assert_none, rooms

SERVERS = {"redis_server", "valkey_server"}
FLAVOURS = {"redis", "valkey"}


def picks(node: ast.AST) -> bool:
    """Whether this asks for one server by name, and not for each in turn."""
    match node:
        case ast.arg(arg=name):
            return name in SERVERS
        case ast.Call(func=ast.Name("RedisServer"), args=[ast.Constant(value=flavour), *_]):
            return flavour in FLAVOURS
        case ast.Call(func=ast.Name("RedisServer"), args=[]):
            return True
        case _:
            return False


def test_no_test_of_the_scheduler_picks_a_server() -> None:
    faults = [
        room.at(getattr(node, "lineno", 0))
        for room in rooms("tests")
        if room.name.startswith("tests.fluid.scheduler")
        for node in ast.walk(room.tree)
        if picks(node)
    ]
    assert_none(faults, "Ask for `broker_url`, `broker_queue` or `flavour`, so that it runs on every server.")


def test_a_picked_server_is_noticed() -> None:
    picked = ("def test(redis_server): ...", 'RedisServer("valkey")', "RedisServer()")
    for source in (*picked, "def test(flavour): RedisServer(flavour)"):
        noticed = any(picks(node) for node in ast.walk(ast.parse(source)))
        assert noticed is (source in picked), source
