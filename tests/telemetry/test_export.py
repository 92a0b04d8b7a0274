"""`fluid dashboards export` writes what is shipped, and leaves alone what is somebody's."""

from __future__ import annotations

import tomllib
from pathlib import Path

from telemetry.shipping import Site
from tests.fluid.cli.calling import Answer, call, install
from tests.support.processes import ROOT

COMMANDS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"][
    "fluid.commands"
]


async def export(site: Path, *arguments: str) -> Answer:
    """`fluid dashboards export`, installed as our own project declares it."""
    installed = install(site, commands=COMMANDS)
    return await call("dashboards", "export", *arguments, env=installed)


async def test_everything_is_written_for_the_site(tmp_path: Path) -> None:
    out = tmp_path / "out"
    places = ("--grafana", "https://boards.test", "--runbook", "https://book.test", "--datasource", "mine")
    answer = await export(tmp_path / "site", str(out), *places)
    assert (answer.code, answer.err) == (0, "")
    expected = dict(Site("https://boards.test", "https://book.test", "mine").files())
    written = {path: (out / path).read_text(encoding="utf-8") for path in expected}
    assert written == expected
    assert answer.lines == [str(out / path) for path in expected]


async def test_boards_and_rules_are_written_anew_and_the_rest_is_somebodys(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for path in ("alertmanager.yml", "kubernetes/prometheus-rule.yaml", "rules/alerts.yaml"):
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_text("# mine\n", encoding="utf-8")
    answer = await export(tmp_path / "site", str(out))
    assert answer.code == 0
    assert "say where your runbook is, --runbook URL" in answer.err
    assert (out / "alertmanager.yml").read_text(encoding="utf-8") == "# mine\n"
    assert str(out / "alertmanager.yml") not in answer.lines
    shipped = dict(Site().files())
    for path in ("kubernetes/prometheus-rule.yaml", "rules/alerts.yaml"):
        assert (out / path).read_text(encoding="utf-8") == shipped[path]


async def test_a_place_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file", encoding="utf-8")
    answer = await export(tmp_path / "site", str(tmp_path / "out"))
    assert answer.code == 1
    assert answer.err.startswith(f"Error: {tmp_path / 'out'}")
    assert "cannot be written" in answer.err


async def test_an_address_that_is_none_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    answer = await export(tmp_path / "site", str(tmp_path / "out"), "--grafana", "boards.test")
    assert answer.code == 1
    assert answer.err.startswith("Error: --grafana: an address like https://host/path is expected")
    assert not (tmp_path / "out").exists()
