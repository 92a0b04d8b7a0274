"""Derives the JSON schemas here from the types that Grafana publishes.

`python -m tests.dashboards.schemas.derive`; needs `npm`. README.md says what the schemas cover.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

HERE = Path(__file__).parent
VERSIONS = ("10.4.19", "11.6.16", "12.4.11", "13.2.3")
TOOLS = ("ts-json-schema-generator@2.4.0", "typescript@5.9.3")
PANELS = ("heatmap", "stat", "table", "timeseries")
HAS_A_DEFAULT = "percentChangeColorMode"
"""The types of 11 and later ask for it and those of 10 refuse it; Grafana fills it in."""


def main() -> None:
    """Write the schemas of all versions."""
    with TemporaryDirectory() as directory:
        place = Path(directory)
        aliases = [f"grafana-{version}@npm:@grafana/schema@{version}" for version in VERSIONS]
        run(
            place,
            "npm",
            "install",
            "--silent",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--force",
            *TOOLS,
            *aliases,
        )
        for version in VERSIONS:
            schemas = {name: schema(place, version, name, text) for name, text in entries(place, version)}
            source = f"Derived from the types of @grafana/schema {version}, Apache-2.0; see README.md."
            text = json.dumps({"$comment": source, **schemas}, separators=(",", ":"), sort_keys=True)
            (HERE / f"grafana-{version.split('.')[0]}.json").write_text(text + "\n", encoding="utf-8")


def types(place: Path, version: str) -> Path:
    """Where the package of a version has its types."""
    dist = place / "node_modules" / f"grafana-{version}" / "dist"
    return next(found for found in (dist / "types", dist / "esm") if (found / "raw").is_dir())


def entries(place: Path, version: str) -> Iterator[tuple[str, str]]:
    """For each schema, a program that names its type."""
    raw = types(place, version) / "raw"

    def module(folder: str) -> str:
        [found] = (raw / folder / "x").glob("*types.gen.d.ts")
        return str(found).removesuffix(".d.ts")

    def imported(folder: str, body: str) -> str:
        return f'import * as g from "{module(folder)}";\nexport {body}\n'

    yield "dashboard", imported("dashboard", "type Everything = g.Dashboard;")
    for panel in PANELS:
        folder = f"composable/{panel}/panelcfg"
        own_fields = "FieldConfig" in Path(f"{module(folder)}.d.ts").read_text(encoding="utf-8")
        custom = "custom: g.FieldConfig;" if own_fields else ""
        yield panel, imported(folder, f"interface Everything {{ options: g.Options; {custom} }}")


def schema(place: Path, version: str, name: str, program: str) -> Any:
    """The JSON schema of the type that a program names."""
    source, settings = place / f"{name}-{version}.ts", place / f"tsconfig-{version}.json"
    source.write_text(program, encoding="utf-8")
    index = str(types(place, version) / "index.d.ts")
    options = {"moduleResolution": "node", "module": "es2022", "target": "es2022", "strict": True}
    options |= {"skipLibCheck": True, "baseUrl": ".", "paths": {"@grafana/schema": [index]}}
    settings.write_text(json.dumps({"compilerOptions": options, "files": [source.name]}), encoding="utf-8")
    generator = str(place / "node_modules" / ".bin" / "ts-json-schema-generator")
    arguments = ("--tsconfig", str(settings), "--type", "Everything", "--no-type-check", "--jsDoc", "none")
    derived = json.loads(run(place, generator, "--path", str(source), *arguments))
    for definition in derived["definitions"].values():
        if HAS_A_DEFAULT in definition.get("required", ()):
            definition["required"].remove(HAS_A_DEFAULT)
    return derived


def run(place: Path, *command: str) -> str:
    """What a command says; it says why when it fails."""
    done = subprocess.run(
        command, cwd=place, check=True, stdout=subprocess.PIPE, stderr=sys.stderr, text=True
    )
    return done.stdout


if __name__ == "__main__":
    main()
