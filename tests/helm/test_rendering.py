"""What the chart renders: taken by the API server, safe, and whole."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from yamllint import linter
from yamllint.config import YamlLintConfig

from tests.harness.helm_binary import HelmError
from tests.helm.chart import CHART, KUBERNETES, VALUES, Charts
from tests.helm.objects import Pod, matches, name, of, pods, strings
from tests.helm.restricted import violations
from tests.helm.strict import NEWEST, OLDEST, Wrong, check

if TYPE_CHECKING:
    from tests.helm.objects import Object

PASSWORDS = re.compile(r"PASSWORD|pass-word|dev-only")
every = pytest.mark.parametrize("values", VALUES)


@every
def test_lint_finds_nothing(charts: Charts, values: str) -> None:
    assert "0 chart(s) failed" in charts.helm.lint(CHART, VALUES[values])


@every
@pytest.mark.parametrize(("kubernetes", "schemas"), list(zip(KUBERNETES, (OLDEST, NEWEST), strict=True)))
def test_the_api_server_takes_every_object(
    charts: Charts, values: str, kubernetes: str, schemas: str
) -> None:
    objects = charts.named(values, kubernetes)
    assert of(objects, "Deployment")
    for found in objects:
        check(found, schemas)


def _at(found: Any, path: str) -> Any:
    for part in path.split("."):
        found = found[int(part) if part.isdigit() else part]
    return found


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("Deployment", "spec.template.spec"),
        ("Deployment", "spec.template.spec.containers.0.securityContext"),
        ("PodDisruptionBudget", "spec"),
        ("NetworkPolicy", "spec"),
        ("HorizontalPodAutoscaler", "spec"),
        ("ScaledObject", "spec"),
        ("TriggerAuthentication", "spec"),
        ("ServiceMonitor", "spec"),
        ("PrometheusRule", "spec"),
    ],
)
def test_a_field_that_nobody_knows_would_be_found(chart: Charts, kind: str, path: str) -> None:
    found = copy.deepcopy(of(chart.named("everything"), kind)[0])
    _at(found, path)["planted"] = 1
    with pytest.raises(Wrong, match="planted"):
        check(found, NEWEST)


def test_a_kind_that_nobody_knows_would_be_found() -> None:
    with pytest.raises(Wrong, match="no such kind"):
        check({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledThing", "metadata": {"name": "x"}}, NEWEST)


@every
def test_every_pod_is_restricted(chart: Charts, values: str) -> None:
    found = pods(chart.named(values))
    assert found
    for pod in found:
        assert violations(pod) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.hostNetwork", True),
        ("spec.volumes", [{"name": "x", "hostPath": {"path": "/"}}]),
        ("spec.automountServiceAccountToken", True),
        ("spec.securityContext.runAsNonRoot", False),
        ("spec.securityContext.seccompProfile", {"type": "Unconfined"}),
        ("spec.containers.0.securityContext.allowPrivilegeEscalation", True),
        ("spec.containers.0.securityContext.readOnlyRootFilesystem", False),
        ("spec.containers.0.securityContext.capabilities", {"drop": ["NET_RAW"]}),
        ("spec.containers.0.securityContext.capabilities", {"drop": ["ALL"], "add": ["NET_ADMIN"]}),
        ("spec.containers.0.securityContext.privileged", True),
    ],
)
def test_what_restricted_forbids_would_be_found(chart: Charts, path: str, value: Any) -> None:
    spec = copy.deepcopy(pods(chart.named("least"))[0].spec)
    before, _, last = path.rpartition(".")
    _at({"spec": spec}, before)[last] = value
    assert violations(Pod("Pod/x", {}, spec))


def test_a_host_network_is_the_users_own_wish(chart: Charts) -> None:
    objects = chart.render({**VALUES["least"], "hostNetwork": True})
    (pod,) = pods(of(objects, "Deployment"))
    assert violations(pod) == [f"{pod.owner}: hostNetwork"]
    assert violations(pod, host_network=True) == []


@every
def test_selectors_and_ports_and_references_fit(chart: Charts, values: str) -> None:
    objects = chart.named(values)
    found = pods(objects)
    for each in of(objects, "Deployment"):
        assert matches(each["spec"]["selector"], each["spec"]["template"]["metadata"]["labels"])
    for each in of(objects, "PodDisruptionBudget", "PodMonitor"):
        assert sum(matches(each["spec"]["selector"], pod.labels) for pod in found) == 1, name(each)
    for each in of(objects, "NetworkPolicy"):
        assert any(matches(each["spec"]["podSelector"], pod.labels) for pod in found), name(each)
    for each in of(objects, "Service"):
        (pod,) = (pod for pod in found if matches({"matchLabels": each["spec"]["selector"]}, pod.labels))
        ports = {port["name"] for container in pod.containers() for port in container.get("ports", ())}
        assert {port["targetPort"] for port in each["spec"]["ports"]} <= ports
    for each in of(objects, "ServiceMonitor"):
        (service,) = (
            s for s in of(objects, "Service") if matches(each["spec"]["selector"], s["metadata"]["labels"])
        )
        assert {end["port"] for end in each["spec"]["endpoints"]} <= {
            p["name"] for p in service["spec"]["ports"]
        }
    for each in of(objects, "HorizontalPodAutoscaler", "ScaledObject"):
        assert each["spec"]["scaleTargetRef"]["name"] in {
            d["metadata"]["name"] for d in of(objects, "Deployment")
        }
    for pod in found:
        _probes_fit(pod)


def _probes_fit(pod: Pod) -> None:
    for container in pod.containers():
        ports = {port["name"] for port in container.get("ports", ())}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if "httpGet" in container.get(probe, {}):
                assert container[probe]["httpGet"]["port"] in ports


@every
def test_what_is_referred_to_is_there_or_the_users(chart: Charts, values: str) -> None:
    objects = chart.named(values)
    theirs = set(strings(VALUES[values]))
    keys = {
        (each["kind"], each["metadata"]["name"]): {*each.get("data", {}), *each.get("stringData", {})}
        for each in of(objects, "Secret", "ConfigMap")
    }
    for kind, its, key in _references(objects):
        assert its in theirs or key in keys[kind, its], (kind, its, key)
    accounts = {each["metadata"]["name"] for each in of(objects, "ServiceAccount")}
    assert {pod.spec["serviceAccountName"] for pod in pods(objects)} <= accounts
    mounted = [
        (m["name"], pod) for pod in pods(objects) for c in pod.containers() for m in c.get("volumeMounts", ())
    ]
    for its, pod in mounted:
        assert its in {volume["name"] for volume in pod.spec["volumes"]}


def _references(objects: list[Object]) -> set[tuple[str, str, str]]:
    found = set()
    for pod in pods(objects):
        for container in pod.containers():
            for variable in container.get("env", ()):
                if ref := variable.get("valueFrom", {}).get("secretKeyRef"):
                    found.add(("Secret", ref["name"], ref["key"]))
        for volume in pod.spec.get("volumes", ()):
            for kind, field, its in (("Secret", "secret", "secretName"), ("ConfigMap", "configMap", "name")):
                for item in volume.get(field, {}).get("items", ()):
                    found.add((kind, volume[field][its], item["key"]))
    for each in of(objects, "TriggerAuthentication"):
        found |= {("Secret", ref["name"], ref["key"]) for ref in each["spec"]["secretTargetRef"]}
    return found


@every
def test_passwords_are_in_secrets_alone(chart: Charts, values: str) -> None:
    for found in chart.named(values):
        if found["kind"] != "Secret":
            for text in strings(found):
                assert not PASSWORDS.search(text), name(found)


@every
def test_names_of_objects_are_names_once_each(chart: Charts, values: str) -> None:
    names = [name(found) for found in chart.named(values)]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"\w+/[a-z0-9][a-z0-9-]{0,62}", each) for each in names)


def test_untidy_text_would_be_found() -> None:
    rules = YamlLintConfig("{rules: {trailing-spaces: enable, key-duplicates: enable}}")
    assert len(list(linter.run("a: 1 \na: 2\n", rules))) == 2


def test_extra_objects_are_templates(chart: Charts) -> None:
    assert {"ConfigMap/sip-x", "ConfigMap/sip-y"} <= {name(each) for each in chart.named("everything")}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kamailio": {"nodes": ""}}, "kamailio.nodes is empty"),
        ({"rabbitmq": {}}, "no rabbitmq"),
        ({"redis": {}}, "no redis"),
        ({"rabbitmq": {"url": "amqp://a", "existingSecret": "b"}}, "both given"),
        ({"dev": {"enabled": True}}, "dev.enabled runs a rabbitmq of its own"),
        ({"terminationGracePeriodSeconds": 19}, "must be more than"),
        ({"settings": {"drain_timeout": 26}}, "must be more than"),
        ({"traces": {"fraction": 1}}, "traces.endpoint is empty"),
        ({"podDisruptionBudget": {"minAvailable": 1}}, "minAvailable or maxUnavailable"),
        ({"consumers": [{"name": "a", "module": "a:b"}] * 2}, "two are called a"),
        (
            {"metrics": {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}},
            "counted twice",
        ),
        (
            {"consumers": [{"name": "a", "module": "a:b", "replicas": 2, "autoscaling": {"kind": "hpa"}}]},
            "the autoscaler says how many",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_what_to_do(chart: Charts, change: Object, said: str) -> None:
    with pytest.raises(HelmError, match=re.escape(said)):
        chart.render({**VALUES["least"], **change})


def test_values_and_examples_are_tidy() -> None:
    rules = YamlLintConfig(
        "{extends: default, rules: {line-length: {max: 120}, document-start: disable, "
        "braces: {max-spaces-inside: 1}, comments: {require-starting-space: true}}}"
    )
    files = [
        CHART / "values.yaml",
        CHART / "Chart.yaml",
        *CHART.glob("examples/*.yaml"),
        *CHART.parent.glob("examples/*.yaml"),
    ]
    found = [(file.name, str(each)) for file in files for each in linter.run(file.read_text(), rules)]
    assert found == []
    assert all(list(yaml.safe_load_all(file.read_text())) for file in files)
