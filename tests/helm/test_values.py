"""The chart's values: what is refused, what each of them does, and that the program understands it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import adapter.kamailio
from adapter.settings import Settings, examine
from consumers.webhook import files
from tests.harness.helm_binary import HelmError
from tests.helm.chart import CHART, DIGEST, LEAST, VALUES, Charts, changed
from tests.helm.objects import Object, of, one, pods, strings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
CONSUMER = {"name": "a", "module": "a:b"}
BY_HAND = {
    "nodes",
    "amqp_url",
    "redis_url",
    "amqp_api",
    "policy",
    "http",
    "replica",
    "log",
    "queue_type",
    "traces",
    "id_key",
}
"""Settings that have values of their own, or that are the pod's."""
NOT_HERE = {"consumer"}
"""For the embedded broker alone: in a cluster consumers are pods of their own."""
OF_CONSUMERS = {"EVAPI_AMQP_URL", "EVAPI_LOG", "EVAPI_TRACES"}


def levels(schema: Object = SCHEMA, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every object of the values whose keys are fixed."""
    if schema.get("additionalProperties") is False:
        yield path
        for key, found in schema["properties"].items():
            yield from levels(found.get("items", found), (*path, key))


def nested(path: tuple[str, ...], value: Any) -> Any:
    for key in reversed(path):
        value = {key: value}
    return value


LEVELS = [".".join(path) for path in levels()]


@pytest.mark.parametrize("level", LEVELS)
def test_an_unknown_key_is_refused_at_each_level(chart: Charts, level: str) -> None:
    path = tuple(level.split(".")) if level else ()
    if path[:1] == ("consumers",):
        values = {**LEAST, "consumers": [{**CONSUMER, **nested(path[1:], {"planted": 1})}]}
    else:
        values = changed(LEAST, **nested(path, {"planted": 1}))
    with pytest.raises(HelmError, match="planted"):
        chart.helm.template(CHART, values)


def test_levels_are_those_of_the_values() -> None:
    sections = {key for key, value in DEFAULTS.items() if isinstance(value, dict) and value}
    assert sections <= set(LEVELS)
    assert set(DEFAULTS) | {"global"} == set(SCHEMA["properties"])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replicas": 0}, "replicas"),
        ({"replicas": "2"}, "replicas"),
        ({"kamailio": {"nodes": "sbc1"}}, "nodes"),
        ({"kamailio": {"nodes": "dns://kamailio"}}, "nodes"),
        ({"kamailio": {"ports": [0]}}, "ports"),
        ({"kamailio": {"cidrs": ["10.0.0.1"]}}, "cidrs"),
        ({"rabbitmq": {"url": "http://rabbit"}}, "url"),
        ({"rabbitmq": {"queueType": "stream"}}, "queueType"),
        ({"redis": {"url": "amqp://redis"}}, "url"),
        ({"image": {"digest": "sha256:1"}}, "digest"),
        ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
        ({"idKey": {"key": "short"}}, "key"),
        ({"settings": {"lease": 0}}, "lease"),
        ({"settings": {"prefetch": 0}}, "prefetch"),
        ({"log": {"level": "loud"}}, "level"),
        ({"traces": {"fraction": 1.5}}, "fraction"),
        ({"consumers": [{"name": "a"}]}, "module"),
        ({"consumers": [{**CONSUMER, "replicas": 1}]}, "replicas"),
        ({"consumers": [{**CONSUMER, "name": "A b"}]}, "name"),
        ({"consumers": [{**CONSUMER, "http": {"port": 80}}]}, "port"),
        ({"consumers": [{**CONSUMER, "http": {"enabled": "no"}}]}, "enabled"),
        ({"consumers": [{**CONSUMER, "autoscaling": {"kind": "both"}}]}, "kind"),
        ({"consumers": [{**CONSUMER, "autoscaling": {"kind": "hpa", "minReplicas": 1}}]}, "minReplicas"),
    ],
)
def test_what_is_wrong_is_named(charts: Charts, values: Object, said: str) -> None:
    with pytest.raises(HelmError, match=rf"{said}\b"):
        charts.helm.template(CHART, changed(LEAST, **values))


def environment(objects: list[Object], deployment: str) -> dict[str, str]:
    (container,) = one(objects, "Deployment", deployment)["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each.get("value", "") for each in container["env"]}


def secrets(objects: list[Object], component: str) -> dict[str, tuple[str, str]]:
    """Variables of a Deployment that come from a Secret, with its name and key."""
    (container,) = one(objects, "Deployment", component)["spec"]["template"]["spec"]["containers"]
    found = {each["name"]: each.get("valueFrom", {}).get("secretKeyRef") for each in container["env"]}
    return {name: (ref["name"], ref["key"]) for name, ref in found.items() if ref}


def test_secrets_are_those_of_whom_they_are_for(chart: Charts) -> None:
    """A consumer may have a RabbitMQ user of its own; none ever has the key of correlation ids."""
    objects = chart.named("everything")
    of_adapter, of_plain, of_other = (
        secrets(objects, each["metadata"]["name"])
        for name in ("evapi-adapter", "plain", "by-cpu")
        for each in of(objects, "Deployment")
        if each["metadata"]["name"].endswith(name)
    )
    assert of_adapter["EVAPI_ID_KEY"] == (of_adapter["EVAPI_AMQP_URL"][0], "id-key")
    assert of_plain == {"EVAPI_AMQP_URL": ("of-plain", "amqp-url")}
    assert of_other == {"EVAPI_AMQP_URL": of_adapter["EVAPI_AMQP_URL"]}
    kept = chart.render(changed(LEAST, idKey={"existingSecret": "kept", "existingSecretKey": "k"}))
    (name,) = (each["metadata"]["name"] for each in of(kept, "Deployment"))
    assert secrets(kept, name)["EVAPI_ID_KEY"] == ("kept", "k")
    (name,) = (each["metadata"]["name"] for each in of(chart.render(LEAST), "Deployment"))
    assert "EVAPI_ID_KEY" not in secrets(chart.render(LEAST), name)


@pytest.mark.parametrize("values", VALUES)
def test_every_variable_is_a_setting_of_the_program(chart: Charts, values: str, monkeypatch: Any) -> None:
    objects = chart.named(values)
    known = {f"EVAPI_{name.upper()}" for name in Settings.model_fields}
    (its,) = (each for each in of(objects, "Deployment") if _component(each) == "adapter")
    found = environment(objects, its["metadata"]["name"])
    ours = {name: value for name, value in found.items() if name.startswith("EVAPI_")}
    assert set(ours) <= known
    for name, value in ours.items():
        monkeypatch.setenv(
            name,
            value or {"EVAPI_AMQP_URL": "amqp://a", "EVAPI_REDIS_URL": "redis://a"}.get(name, "x" * 16),
        )
    monkeypatch.delenv("EVAPI_POLICY")
    read, wrong = examine()
    assert wrong == []
    assert read is not None
    for given, value in VALUES[values].get("settings", {}).items():
        assert getattr(read, given) == value
    for each in of(objects, "Deployment"):
        if _component(each) == "consumer":
            (container,) = each["spec"]["template"]["spec"]["containers"]
            own = {
                f"EVAPI_{name.upper()}"
                for one_of in VALUES[values]["consumers"]
                for name in one_of.get("settings", {})
            }
            names = {
                variable["name"] for variable in container["env"] if variable["name"].startswith("EVAPI_")
            }
            assert names <= OF_CONSUMERS | own


def test_the_webhook_of_the_example_begins_as_the_pod_runs_it(chart: Charts, tmp_path: Path) -> None:
    """Its settings are those that the program takes, and the files that they name are mounted."""
    objects = chart.named("webhook")
    (its,) = (each for each in of(objects, "Deployment") if _component(each) == "consumer")
    (container,) = its["spec"]["template"]["spec"]["containers"]
    assert (container["command"], container["args"][0]) == (["python", "-m", "consumers"], "webhook.toml")
    text = one(objects, "ConfigMap", its["metadata"]["name"])["data"]["webhook.toml"]
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert "/app" in mounted, "where the image begins"
    assert {str(path.parent) for path in files.names(text, tmp_path)} <= mounted


def test_a_webhook_may_be_a_file_of_a_volume(chart: Charts) -> None:
    consumer = {"name": "a", "module": "/etc/webhook/webhook.toml"}
    assert "/etc/webhook/webhook.toml" in str(chart.render(changed(LEAST, consumers=[consumer])))


def _component(found: Object) -> str:
    return str(found["metadata"]["labels"]["app.kubernetes.io/component"])


def test_every_setting_can_be_set() -> None:
    properties = SCHEMA["properties"]["settings"]["properties"]
    assert set(properties) | BY_HAND | NOT_HERE == set(Settings.model_fields)
    assert not set(properties) & BY_HAND
    for name, schema in properties.items():
        assert schema["default"] == Settings.model_fields[name].default


@pytest.mark.parametrize(("text", "read"), [("1.5", "1.5"), ("3", "3"), ("2097152", "2097152")])
def test_a_number_given_on_the_command_line_arrives(chart: Charts, text: str, read: str) -> None:
    name = "max_frame" if len(text) > 3 else "lease"
    said = chart.helm.template(CHART, LEAST, "--set", f"settings.{name}={text}")
    assert f'name: EVAPI_{name.upper()}\n              value: "{read}"' in said


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ({}, "evapi-adapter:0.1.0"),
        ({"registry": "r.example.net", "tag": "2"}, "r.example.net/evapi-adapter:2"),
        ({"tag": "2", "digest": DIGEST}, f"evapi-adapter@{DIGEST}"),
    ],
)
def test_a_digest_wins_over_a_tag(chart: Charts, image: Object, reference: str) -> None:
    objects = chart.render({**LEAST, "image": image, "consumers": [CONSUMER]})
    assert {container["image"] for pod in pods(objects) for container in pod.containers()} == {reference}


@pytest.mark.parametrize(
    ("own", "reference"),
    [
        ({"tag": "3"}, "r/evapi-adapter:3"),
        ({"repository": "mine", "tag": "3"}, "r/mine:3"),
        ({"repository": "mine", "registry": "q", "digest": DIGEST}, f"q/mine@{DIGEST}"),
    ],
)
def test_a_consumer_may_have_an_image_of_its_own(chart: Charts, own: Object, reference: str) -> None:
    image = {"registry": "r", "digest": "sha256:" + "f" * 64}
    objects = chart.render({**LEAST, "image": image, "consumers": [{**CONSUMER, "image": own}]})
    assert (
        one(objects, "Deployment", "sip-evapi-adapter-a")["spec"]["template"]["spec"]["containers"][0][
            "image"
        ]
        == reference
    )


def test_replicas_are_the_autoscalers_where_there_is_one(chart: Charts) -> None:
    objects = chart.named("everything")
    scaled = {
        each["spec"]["scaleTargetRef"]["name"]: each
        for each in of(objects, "HorizontalPodAutoscaler", "ScaledObject")
    }
    assert len(scaled) == 2
    for each in of(objects, "Deployment"):
        assert ("replicas" in each["spec"]) != (each["metadata"]["name"] in scaled)
    least = [each["spec"].get("minReplicas", each["spec"].get("minReplicaCount")) for each in scaled.values()]
    assert least == [2, 2]


def test_a_pod_is_not_killed_while_it_drains(chart: Charts) -> None:
    for values in VALUES:
        objects = chart.named(values)
        (spec,) = (
            pod.spec
            for pod in pods(of(objects, "Deployment"))
            if pod.labels["app.kubernetes.io/component"] == "adapter"
        )
        drain = (
            VALUES[values]
            .get("settings", {})
            .get("drain_timeout", Settings.model_fields["drain_timeout"].default)
        )
        assert spec["terminationGracePeriodSeconds"] > drain + 4


@pytest.mark.parametrize(
    ("change", "checksums"),
    [
        ({"policy": "[default]\ndeadline = 1.0\n"}, []),  # it is followed
        ({"rabbitmq": {"url": "amqp://other"}}, ["checksum/secret"]),
    ],
)
def test_what_the_pods_read_at_the_start_rolls_them(
    chart: Charts, change: Object, checksums: list[str]
) -> None:
    values = {**LEAST, "rabbitmq": {"url": "amqp://one"}}
    before, after = (
        one(chart.render(each), "Deployment", "sip-evapi-adapter")["spec"]["template"]["metadata"][
            "annotations"
        ]
        for each in (values, {**values, **change})
    )
    assert [key for key in before if before[key] != after[key]] == checksums


def test_networks_let_out_what_is_needed_and_nothing_else(chart: Charts) -> None:
    objects = chart.named("large")
    policy = one(objects, "NetworkPolicy", "sip-evapi-adapter")["spec"]
    ports = [[port["port"] for port in rule["ports"]] for rule in policy["egress"]]
    assert ports == [[53, 53], ["http"], [8448], [5671, 15671], [6379, 26379], [4318]]
    assert all(rule.get("to") for rule in policy["egress"][1:])
    assert [rule["ports"] for rule in policy["ingress"]] == [[{"protocol": "TCP", "port": "http"}]]
    *others, own = policy["ingress"][0]["from"]
    pods = one(objects, "Deployment", "sip-evapi-adapter")["spec"]["selector"]["matchLabels"]
    assert own == {"podSelector": {"matchLabels": pods}}, "doctor, in one of the pods, asks the others"
    assert policy["egress"][1]["to"] == [own]
    assert others
    consumers = one(objects, "NetworkPolicy", "sip-evapi-adapter-consumers")["spec"]
    assert [[port["port"] for port in rule["ports"]] for rule in consumers["egress"]] == [
        [53, 53],
        [5671],
        [4318],
        [5432],
    ]
    assert consumers["ingress"] == [{**policy["ingress"][0], "from": others}], (
        "metrics and health, whatever number their port has"
    )
    assert not of(chart.render({**LEAST, "networkPolicy": {"enabled": False}}), "NetworkPolicy")


def test_files_in_a_release_are_those_of_the_project(chart: Charts) -> None:
    objects = chart.named("everything")
    given = one(objects, "ConfigMap", "sip-evapi-adapter")["data"]
    assert [name for name in given if name.endswith(".cfg")] == adapter.kamailio.includes()
    for name in adapter.kamailio.includes():
        assert given[name].strip() == adapter.kamailio.read(name).strip()
        assert (CHART / "files" / name).read_text() == adapter.kamailio.read(name)
    (rules,) = of(objects, "PrometheusRule")
    files = [CHART / "rules" / name for name in ("evapi-adapter.yaml", "budget.yaml")]
    assert rules["spec"]["groups"] == [
        group for file in files for group in yaml.safe_load(file.read_text())["groups"]
    ]
    (dashboards,) = (
        each for each in of(objects, "ConfigMap") if each["metadata"]["name"].endswith("-dashboards")
    )
    for name, text in dashboards["data"].items():
        assert json.loads(text) == json.loads((CHART / "dashboards" / name).read_text())


def test_alerts_go_by_the_runbook_and_the_allowance_that_are_given(chart: Charts) -> None:
    page = "https://git.example.net/evapi/RUNBOOK.md"
    given = {"enabled": True, "runbookUrl": page, "budget": 0.00005}
    (rules,) = of(chart.render(changed(LEAST, metrics={"rules": given})), "PrometheusRule")
    every = [rule for group in rules["spec"]["groups"] for rule in group["rules"]]
    alerts = [rule for rule in every if "alert" in rule]
    assert all(rule["annotations"]["runbook_url"] == f"{page}#{rule['alert'].lower()}" for rule in alerts)
    (budget,) = (rule["expr"] for rule in every if rule.get("record") == "evapi:fallbacks:budget")
    assert float(budget.removeprefix("vector(").removesuffix(")")) == 0.00005
    assert f"| {len(alerts)} alerts," in (CHART / "README.md").read_text()


def test_a_policy_of_ones_own(chart: Charts) -> None:
    objects = chart.render({**LEAST, "existingPolicy": "mine"})
    assert "policy.toml" not in one(objects, "ConfigMap", "sip-evapi-adapter")["data"]
    volumes = one(objects, "Deployment", "sip-evapi-adapter")["spec"]["template"]["spec"]["volumes"]
    assert volumes[0]["configMap"]["name"] == "mine"


def test_the_readme_tells_every_value() -> None:
    readme = (CHART / "README.md").read_text()
    told = set(re.findall(r"`([a-zA-Z.]+)`", readme))

    def missing(path: str, value: Any) -> list[str]:
        if path in told or not isinstance(value, dict) or not value:
            return [] if path in told else [path]
        return [
            each for key, found in value.items() for each in missing(f"{path}.{key}" if path else key, found)
        ]

    assert [each for key, value in DEFAULTS.items() for each in missing(key, value)] == []
    items = SCHEMA["properties"]["consumers"]["items"]["properties"]
    nested_keys = {
        f"{key}.{inner}"
        for key in ("autoscaling", "podDisruptionBudget", "http")
        for inner in items[key]["properties"]
    }
    assert (set(items) - {"autoscaling", "podDisruptionBudget", "http"}) | nested_keys <= told
    linked = set(re.findall(r"\]\((\S+?)\)", readme))
    assert all((CHART / each).exists() for each in linked), linked
    assert not set(strings(DEFAULTS)) & {"changeme"}
