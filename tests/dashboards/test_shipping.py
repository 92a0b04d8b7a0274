"""What is shipped beside boards and rules is what those who read it accept, and fits together."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from jsonschema import Draft7Validator

from dashboards import rules
from dashboards.__main__ import files as generated
from dashboards.rules import recording
from dashboards.rules.thresholds import Thresholds
from fluid.errors import ConfigurationError
from telemetry.rules import Recording, as_yaml
from telemetry.shipping import DATA, Site
from tests.dashboards.promql import faults, sums_of_the_fleet
from tests.house.reading import ROOT
from tests.support.servers import find_promtool, on_path

SHIPPED = dict(Site().files())
SCHEMAS = Path(__file__).parent / "schemas"
KUBERNETES = "1.34"
CUSTOM: dict[str, Any] = json.loads((SCHEMAS / "resources.json").read_text(encoding="utf-8"))
COMPOSE: Any = json.loads((SCHEMAS / "compose.json").read_text(encoding="utf-8"))
MARGIN_SECONDS = 10
"""How much longer than its bodies a process may take to end."""
RECORDED = frozenset(
    rule.record
    for group in recording.groups(Thresholds())
    for rule in group.rules
    if isinstance(rule, Recording)
)


def loaded(path: str) -> Any:
    """The one document of a file."""
    return yaml.safe_load(SHIPPED[path])


def resources() -> dict[str, Any]:
    """Everything for Kubernetes, by kind."""
    found = [
        resource
        for path, text in SHIPPED.items()
        if path.startswith("kubernetes/")
        for resource in yaml.safe_load_all(text)
        if "kind" in resource
    ]
    assert len({one["kind"] for one in found}) == len(found)
    return {resource["kind"]: resource for resource in found}


RESOURCES = resources()
(CONSUMER,) = RESOURCES["Deployment"]["spec"]["template"]["spec"]["containers"]


def test_the_wheel_carries_all_of_it(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with ZipFile(wheel) as inside:
        prefix = "telemetry/data/"
        carried = {
            name.removeprefix(prefix): inside.read(name).decode()
            for name in inside.namelist()
            if name.startswith(prefix)
        }
        points = inside.read(next(name for name in inside.namelist() if name.endswith("entry_points.txt")))
    assert carried == {path: (DATA / path).read_text(encoding="utf-8") for path in SHIPPED}
    assert set(generated()) <= set(carried)
    assert "dashboards = telemetry.commands:dashboards" in points.decode()


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """A directory with all of it."""
    for path, text in SHIPPED.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.servers
@pytest.mark.parametrize(
    ("program", "package", "arguments", "says"),
    [
        ("promtool", "prometheus", ("check", "config", "prometheus.yml"), "2 rule files found"),
        ("amtool", "prometheus-alertmanager", ("check-config", "alertmanager.yml"), "2 receivers"),
    ],
)
def test_its_own_tool_finds_no_fault(
    program: str, package: str, arguments: tuple[str, ...], says: str, exported: Path
) -> None:
    tool = on_path(program, package)
    answer = subprocess.run([tool, *arguments], cwd=exported, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert says in answer.stdout


@pytest.mark.servers
def test_the_operator_is_given_all_rules_and_they_are_good(tmp_path: Path) -> None:
    every = (*recording.groups(Thresholds()), *rules.alerts(Thresholds()))
    assert RESOURCES["PrometheusRule"]["spec"] == yaml.safe_load(as_yaml("", every))
    path = tmp_path / "rules.yaml"
    path.write_text(json.dumps(RESOURCES["PrometheusRule"]["spec"]), encoding="utf-8")
    answer = subprocess.run(
        [find_promtool(), "check", "rules", str(path)], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("kind", RESOURCES)
def test_a_resource_is_one_of_kubernetes(kind: str) -> None:
    assert kind in CUSTOM or kind in {"Deployment", "Service", "HorizontalPodAutoscaler"}
    assert faults_of(RESOURCES[kind]) == []


def faults_of(resource: dict[str, Any]) -> list[str]:
    """What its schema refuses."""
    if (schema := CUSTOM.get(resource["kind"])) is not None:
        return [error.message for error in Draft7Validator(schema).iter_errors(resource)]
    try:
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [error.message]
    return []


@pytest.mark.parametrize("kind", RESOURCES)
def test_a_field_that_is_none_is_noticed(kind: str) -> None:
    assert faults_of({**RESOURCES[kind], "spec": {**RESOURCES[kind]["spec"], "paint": "red"}})


def test_compose_takes_the_stack() -> None:
    validator = Draft7Validator(COMPOSE)
    stack = loaded("compose.yaml")
    assert [error.message for error in validator.iter_errors(stack)] == []
    assert not validator.is_valid({**stack, "services": {"app": {"paint": "red"}}})


def test_every_image_is_pinned_and_the_page_says_where_its_tag_was_seen() -> None:
    page = (ROOT / "docs" / "deploying.md").read_text(encoding="utf-8")
    images = {one["image"] for one in loaded("compose.yaml")["services"].values() if "image" in one}
    assert [image for image in images if not re.fullmatch(r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", image)] == []
    assert images == set(re.findall(r"^\| `([a-z]+/[a-z]+:\S+)` \| .+ \| .+ \|$", page, re.M))


def test_a_pod_is_given_longer_to_end_than_its_bodies() -> None:
    given = RESOURCES["Deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    bodies = float(of_environment(CONSUMER)["FLUID_STOPPING_GRACE_PERIOD"])
    assert given >= bodies + MARGIN_SECONDS
    app = loaded("compose.yaml")["services"]["app"]
    assert (
        float(app["stop_grace_period"].removesuffix("s"))
        >= float(app["environment"]["FLUID_STOPPING_GRACE_PERIOD"]) + MARGIN_SECONDS
    )


def of_environment(container: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container["env"] if "value" in one}


def test_each_probe_asks_what_it_is_for() -> None:
    assert {name: CONSUMER[name]["httpGet"]["path"] for name in CONSUMER if name.endswith("Probe")} == {
        "startupProbe": "/startupz",
        "livenessProbe": "/livez",
        "readinessProbe": "/readyz",
    }
    port = {port["name"]: port["containerPort"] for port in CONSUMER["ports"]}
    assert {CONSUMER[name]["httpGet"]["port"] for name in CONSUMER if name.endswith("Probe")} == set(port)
    assert of_environment(CONSUMER)["FLUID_TELEMETRY_PORT"] == f"{port['telemetry']}"
    assert of_environment(CONSUMER)["FLUID_TELEMETRY_HOST"] == "0.0.0.0"  # noqa: S104 - a pod's own network


def test_the_resources_find_each_other() -> None:
    labels = RESOURCES["Deployment"]["spec"]["template"]["metadata"]["labels"]
    service, monitor = RESOURCES["Service"], RESOURCES["ServiceMonitor"]["spec"]
    assert service["spec"]["selector"] == labels
    assert monitor["selector"]["matchLabels"] == service["metadata"]["labels"]
    assert [end["port"] for end in monitor["endpoints"]] == [
        port["name"] for port in service["spec"]["ports"]
    ]
    name = RESOURCES["Deployment"]["metadata"]["name"]
    for kind in ("ScaledObject", "HorizontalPodAutoscaler"):
        assert RESOURCES[kind]["spec"]["scaleTargetRef"]["name"] == name


def test_what_scales_asks_for_what_is_recorded() -> None:
    (trigger,) = RESOURCES["ScaledObject"]["spec"]["triggers"]
    (rule,) = loaded("kubernetes/prometheus-adapter.yaml")["rules"]["external"]
    query = rule["metricsQuery"].replace("<<.Series>>", rule["seriesQuery"])
    for asked in (trigger["metadata"]["query"], query.replace("<<.LabelMatchers>>", 'queue="fluid"')):
        assert "drain_seconds" in asked
        assert [*faults(asked, RECORDED), *sums_of_the_fleet(asked)] == []
    # what is scraped through a service is a job of its name
    job = RESOURCES["Service"]["metadata"]["name"]
    assert f'job="{job}"' in trigger["metadata"]["query"]
    (metric,) = RESOURCES["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert metric["external"]["metric"]["selector"]["matchLabels"]["job"] == job
    assert metric["external"]["metric"]["name"] == rule["name"]["as"]
    assert RESOURCES["ScaledObject"]["spec"]["minReplicaCount"] >= 1


def mounts(service: str) -> Iterator[tuple[str, str]]:
    """What of ours a service of the stack sees, and where."""
    for volume in loaded("compose.yaml")["services"][service].get("volumes", ()):
        ours, there = volume.split(":")[:2]
        if ours.startswith("./"):
            yield ours.removeprefix("./"), there


def test_the_stack_mounts_what_is_there() -> None:
    mounted = [ours for service in loaded("compose.yaml")["services"] for ours, _ in mounts(service)]
    assert [ours for ours in mounted if not any(f"{path}/".startswith(f"{ours}/") for path in SHIPPED)] == []
    needed = {path.split("/")[0] for path in SHIPPED} - {"kubernetes", "compose.yaml"}
    assert {ours.split("/")[0] for ours in mounted} == needed


def test_the_stack_finds_its_parts() -> None:
    stack = loaded("compose.yaml")["services"]
    sources = loaded("grafana/provisioning/datasources/fluid.yaml")["datasources"]
    (provider,) = loaded("grafana/provisioning/dashboards/fluid.yaml")["providers"]
    assert provider["options"]["path"] == dict(mounts("grafana"))["boards"]
    (exemplar,) = sources[0]["jsonData"]["exemplarTraceIdDestinations"]
    assert exemplar["name"] == "trace_id"
    assert exemplar["datasourceUid"] in {source["uid"] for source in sources}
    config = loaded("prometheus.yml")
    (job,) = config["scrape_configs"]
    (names,) = job["dns_sd_configs"]
    (manager,) = config["alerting"]["alertmanagers"]
    receiver = loaded("tempo.yaml")["distributor"]["receivers"]["otlp"]["protocols"]["http"]["endpoint"]
    environment = stack["app"]["environment"]
    assert names["port"] == int(environment["FLUID_TELEMETRY_PORT"])
    assert environment["OTEL_EXPORTER_OTLP_ENDPOINT"] == f"http://tempo:{receiver.rpartition(':')[2]}"
    assert environment["FLUID_BROKER_URL"].startswith("valkey://valkey:6379")
    reached = [source["url"].removeprefix("http://") for source in sources]
    reached += [f"{name}:{names['port']}" for name in names["names"]]
    reached += manager["static_configs"][0]["targets"]
    assert {place.partition(":")[0] for place in reached} <= set(stack)
    assert f"tempo:{loaded('tempo.yaml')['server']['http_listen_port']}" in reached


def test_the_broker_of_the_stack_is_safe_and_exemplars_are_kept() -> None:
    stack = loaded("compose.yaml")["services"]
    given = stack["valkey"]["command"]
    assert given[given.index("--appendonly") + 1] == "yes"
    assert given[given.index("--maxmemory-policy") + 1] == "noeviction"
    assert "--enable-feature=exemplar-storage" in stack["prometheus"]["command"]


def test_an_alert_that_silences_others_is_one_of_ours() -> None:
    ours = {one.name for group in rules.SYMPTOMS.values() for one in group}
    for rule in loaded("alertmanager.yml")["inhibit_rules"]:
        named = re.findall(r"Fluid\w+", " ".join(rule["source_matchers"] + rule["target_matchers"]))
        assert len(named) > 1
        assert set(named) <= ours


def test_links_and_boards_are_those_of_the_site() -> None:
    site = dict(Site("https://boards.test/", "https://book.test/fluid", "metrics-1").files())
    assert set(site) == set(SHIPPED)
    alerts = yaml.safe_load(site["rules/alerts.yaml"])
    said = [rule["annotations"] for group in alerts["groups"] for rule in group["rules"]]
    assert said
    assert all(one["dashboard_url"].startswith("https://boards.test/d/fluid-") for one in said)
    assert all(one["runbook_url"].startswith("https://book.test/fluid#fluid") for one in said)
    for path, text in site.items():
        assert "localhost:3000" not in text, path
        assert "example.com/fluid" not in text, path
        if path.startswith("boards/"):
            (chosen,) = (one for one in json.loads(text)["templating"]["list"] if one["name"] == "datasource")
            assert chosen["current"] == {"text": "metrics-1", "value": "metrics-1"}
            (book,) = (link for link in json.loads(text)["links"] if link["title"] == "Runbook")
            assert book["url"] == "https://book.test/fluid"
    sources = yaml.safe_load(site["grafana/provisioning/datasources/fluid.yaml"])["datasources"]
    assert [source["uid"] for source in sources] == ["metrics-1", "tempo", "alertmanager"]


@pytest.mark.parametrize(
    ("site", "told"),
    [
        ({"grafana": "boards.test"}, "--grafana: an address like https://host/path is expected"),
        ({"grafana": 'https://boards.test/"'}, "--grafana"),
        ({"runbook": "https://book.test/page#top"}, "--runbook"),
        ({"runbook": "https://book.test/{{ $labels.task }}"}, "--runbook"),
        ({"datasource": "my metrics"}, "--datasource: the uid of a data source is expected"),
    ],
)
def test_a_place_that_cannot_be_is_refused(site: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(told)):
        Site(**site)
