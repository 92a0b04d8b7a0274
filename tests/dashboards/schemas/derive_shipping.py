"""Derives the schemas of Kubernetes resources and of Compose files here, from what their projects publish.

`python -m tests.dashboards.schemas.derive_shipping compose-spec.json CRD.yaml...`; README.md says from where.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent


def main(compose: str, *definitions: str) -> None:
    """Write them."""
    resources = dict(resource(yaml.safe_load(Path(path).read_text(encoding="utf-8"))) for path in definitions)
    write("resources", resources)
    write("compose", bare(json.loads(Path(compose).read_text(encoding="utf-8"))))


def resource(definition: Any) -> tuple[str, Any]:
    """The kind that a custom resource definition defines, and its schema; unknown fields are refused."""
    [version] = [one for one in definition["spec"]["versions"] if one["storage"]]
    schema = closed(bare(version["schema"]["openAPIV3Schema"]))
    kind, group = definition["spec"]["names"]["kind"], definition["spec"]["group"]
    schema["properties"] |= {
        "apiVersion": {"const": f"{group}/{version['name']}"},
        "kind": {"const": kind},
        "metadata": {"type": "object", "required": ["name"]},
    }
    return kind, schema


def bare(schema: Any) -> Any:
    """Without what is for people."""
    if isinstance(schema, list):
        return [bare(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    # what has the name of a field is no description of one
    return {
        name: bare(value)
        for name, value in schema.items()
        if not (name in {"description", "title"} and isinstance(value, str))
    }


def closed(schema: Any) -> Any:
    """An object with named fields takes no others, as the API server would drop them."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: closed(value) for name, value in schema.items() if not name.startswith("x-kubernetes-")}
    if made.get("type") == "object" and "properties" in made:
        made["additionalProperties"] = False
    return made


def write(name: str, schema: Any) -> None:
    """Write a schema beside this."""
    text = json.dumps(schema, separators=(",", ":"), sort_keys=True)
    (HERE / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
