"""Plugins are found by entry point, in order, and one that does not load is named."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest

from fluid import plugins
from fluid.errors import PluginError
from fluid.plugins import PLUGIN_GROUP, Plugin, find_plugins


class Watcher:
    """A plugin that remembers its host."""

    def __init__(self) -> None:
        self.hosts: list[Any] = []

    def attach(self, host: Any) -> None:
        self.hosts.append(host)

    def detach(self) -> None:
        self.hosts.clear()


class Deaf:
    """No plugin: it cannot be detached."""

    def attach(self, host: Any) -> None: ...


def install(monkeypatch: pytest.MonkeyPatch, *points: tuple[str, str, str]) -> None:
    installed = EntryPoints(EntryPoint(name, value, group) for name, value, group in points)
    monkeypatch.setattr(plugins, "entry_points", lambda **wanted: installed.select(**wanted))


HERE = f"{__name__}:Watcher"


def test_what_attaches_and_detaches_is_a_plugin() -> None:
    assert isinstance(Watcher(), Plugin)
    assert not isinstance(Deaf(), Plugin)


def test_installed_plugins_are_found_in_the_order_of_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    install(
        monkeypatch,
        ("zeta", HERE, PLUGIN_GROUP),
        ("alpha", HERE, PLUGIN_GROUP),
        ("other", HERE, "someone.elses"),
    )
    found = dict(find_plugins())
    assert list(found) == ["alpha", "zeta"]
    assert all(isinstance(factory(), Watcher) for factory in found.values())


def test_no_plugins_are_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    assert list(find_plugins()) == []


@pytest.mark.parametrize("value", [f"{__name__}:Missing", "no_such_module_at_all:Plugin"])
def test_a_plugin_that_does_not_load_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    install(monkeypatch, ("broken", value, PLUGIN_GROUP))
    with pytest.raises(PluginError, match="'broken'") as failed:
        list(find_plugins())
    assert value in str(failed.value)
    assert failed.value.__cause__ is not None
