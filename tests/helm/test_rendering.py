"""What the chart renders: taken by the API server, safe, and whole."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from yamllint import linter
from yamllint.config import YamlLintConfig

from tests.harness.helm_binary import HelmError, documents
from tests.helm.chart import CHART, KUBERNETES, LEAST, VALUES, Charts, changed
from tests.helm.objects import Pod, name, of, one, pods, strings
from tests.helm.restricted import violations
from tests.helm.strict import NEWEST, OLDEST, Wrong, check

if TYPE_CHECKING:
    from tests.helm.objects import Object

ADAPTER = "sip-evapi-adapter"
DEV = {"kamailio": {"nodes": "sbc1=192.0.2.10:8448"}, "dev": {"enabled": True}}
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
        ({"idKey": {"key": "k" * 16, "existingSecret": "b"}}, "idKey.key and idKey.existingSecret are both"),
        ({"dev": {"enabled": True}}, "dev.enabled runs a rabbitmq of its own"),
        ({"terminationGracePeriodSeconds": 19}, "must be more than"),
        ({"settings": {"drain_timeout": 26}}, "must be more than"),
        ({"traces": {"fraction": 1}}, "traces.endpoint is empty"),
        ({"podDisruptionBudget": {"minAvailable": 1}}, "minAvailable or maxUnavailable"),
        ({"extraEnv": [{"name": "EVAPI_NODES", "value": "x"}]}, "EVAPI_NODES is set already"),
        (
            {"settings": {"lease": 2}, "extraEnv": [{"name": "EVAPI_LEASE", "value": "1"}]},
            "EVAPI_LEASE is set",
        ),
        (
            {"consumers": [{"name": "a", "module": "a:b", "env": [{"name": "EVAPI_LOG", "value": "json"}]}]},
            "consumers: a: EVAPI_LOG is set already",
        ),
        ({"consumers": [{"name": "a", "module": "a:b"}] * 2}, "two are called a"),
        (
            {"metrics": {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}},
            "counted twice",
        ),
        (
            {"consumers": [{"name": "a", "module": "a:b", "replicas": 2, "autoscaling": {"kind": "hpa"}}]},
            "the autoscaler says how many",
        ),
        (
            {"consumers": [{"name": "a", "module": "webhook.toml", "files": {"other.toml": ""}}]},
            "consumers: a: module is webhook.toml, which is not in files: give its text there",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_what_to_do(chart: Charts, change: Object, said: str) -> None:
    with pytest.raises(HelmError, match=re.escape(said)):
        chart.render({**VALUES["least"], **change})


KEEPS_ALL = "no machine could ever be drained"
KEEPS_NONE = "all of them may be away at once"


@pytest.mark.parametrize(
    ("replicas", "budget", "said"),
    [
        (2, {"maxUnavailable": "", "minAvailable": 2}, KEEPS_ALL),
        (2, {"maxUnavailable": "", "minAvailable": "51%"}, KEEPS_ALL),
        (4, {"maxUnavailable": "", "minAvailable": "100%"}, KEEPS_ALL),
        (3, {"maxUnavailable": 0}, KEEPS_ALL),
        (3, {"maxUnavailable": "0%"}, KEEPS_ALL),
        (3, {"maxUnavailable": "0"}, KEEPS_ALL),
        (2, {"maxUnavailable": 2}, KEEPS_NONE),
        (3, {"maxUnavailable": "67%"}, KEEPS_NONE),
        (3, {"maxUnavailable": "100%"}, KEEPS_NONE),
        (3, {"maxUnavailable": "", "minAvailable": 0}, KEEPS_NONE),
        (2, {"maxUnavailable": ""}, "says nothing"),
        (1, {"maxUnavailable": "", "minAvailable": 1}, KEEPS_ALL),
        (1, {"maxUnavailable": 1}, ""),
        (2, {"maxUnavailable": "50%"}, ""),
        (3, {"maxUnavailable": "66%"}, ""),
        (4, {"maxUnavailable": "", "minAvailable": "75%"}, ""),
        (2, {"maxUnavailable": 0, "enabled": False}, ""),
        (2, {"maxUnavailable": None}, "says nothing"),
        (2, {"maxUnavailable": None, "minAvailable": 2}, KEEPS_ALL),
    ],
)
def test_a_disruption_budget_lets_some_go_and_not_all(
    chart: Charts, replicas: int, budget: Object, said: str
) -> None:
    """By Kubernetes' own arithmetic: a percentage is rounded up, of both kinds."""
    values = changed(VALUES["least"], replicas=replicas, podDisruptionBudget=budget)
    if said:
        with pytest.raises(HelmError, match=said):
            chart.render(values)
    else:
        chart.render(values)


@pytest.mark.parametrize(
    ("budget", "made"),
    [
        ({"minAvailable": None}, {"maxUnavailable": 1}),
        ({"maxUnavailable": None, "minAvailable": 1}, {"minAvailable": 1}),
        ({"maxUnavailable": "", "minAvailable": "50%"}, {"minAvailable": "50%"}),
    ],
)
def test_a_disruption_budget_has_the_one_that_is_given(
    charts: Charts, budget: Object, made: dict[str, object]
) -> None:
    """null takes a default away, as helm has it: a budget that has neither lets all pods go at once."""
    objects = charts.render(changed(VALUES["least"], podDisruptionBudget=budget))
    (spec,) = (each["spec"] for each in of(objects, "PodDisruptionBudget"))
    kept = {name: spec[name] for name in ("minAvailable", "maxUnavailable") if name in spec}
    assert kept == made


@pytest.mark.parametrize(
    ("consumer", "said"),
    [
        ({"podDisruptionBudget": {"maxUnavailable": 2}}, KEEPS_NONE),
        ({"podDisruptionBudget": {"maxUnavailable": 0}}, KEEPS_ALL),
        (
            {
                "podDisruptionBudget": {"maxUnavailable": 3},
                "autoscaling": {"kind": "hpa", "minReplicas": 3},
            },
            KEEPS_NONE,
        ),
    ],
)
def test_so_for_consumers_by_their_least_number(chart: Charts, consumer: Object, said: str) -> None:
    values = {**VALUES["least"], "consumers": [{"name": "a", "module": "a:b", **consumer}]}
    with pytest.raises(HelmError, match=f"consumers: a: podDisruptionBudget.maxUnavailable .*{said}"):
        chart.render(values)


def test_a_consumer_may_do_without_a_disruption_budget(chart: Charts) -> None:
    consumer = {"name": "a", "module": "a:b", "podDisruptionBudget": {"enabled": False, "maxUnavailable": 0}}
    objects = chart.render({**VALUES["least"], "consumers": [consumer]})
    assert [each["metadata"]["name"] for each in of(objects, "PodDisruptionBudget")] == [ADAPTER]


def test_the_package_index_is_told_what_there_is(chart: Charts) -> None:
    """Artifact Hub reads these annotations (artifacthub.io/docs/topics/annotations/helm)."""
    told = yaml.safe_load((CHART / "Chart.yaml").read_text())
    notes = {name: yaml.safe_load(text) for name, text in told["annotations"].items()}
    named = {each["image"] for each in notes["artifacthub.io/images"]}
    objects = chart.render({**DEV, "consumers": [{"name": "a", "module": "a:b"}]})
    assert named == {each["image"] for pod in pods(objects) for each in pod.containers()}
    assert f"evapi-adapter:{told['appVersion']}" in named
    assert all(each["url"].startswith("https://") for each in notes["artifacthub.io/links"])
    assert {each["kind"] for each in notes["artifacthub.io/changes"]} <= {
        "added",
        "changed",
        "deprecated",
        "removed",
        "fixed",
        "security",
    }


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


def test_a_release_whose_name_no_service_may_have(charts: Charts) -> None:
    with pytest.raises(HelmError, match="fullnameOverride"):
        charts.helm.template(CHART, VALUES["least"], release="1st")
    found = documents(charts.helm.template(CHART, VALUES["least"], release="eu.sip"))
    assert "Service/eu-sip-evapi-adapter" in {name(each) for each in found}


@pytest.mark.parametrize(
    ("kamailio", "ports"),
    [
        ({"nodes": "a=10.0.0.1:8448,b=[fd00::1]:9000"}, {8448, 9000}),
        ({"nodes": "dns://kamailio:8449, 10.0.0.1:8450", "ports": [8449]}, {8449, 8450}),
        ({"nodes": "dns+srv://_evapi._tcp.kamailio.sip9"}, {8448}),
        ({"nodes": "dns+srv://_evapi._tcp.kamailio.sip", "ports": [9000]}, {9000}),
    ],
)
def test_the_way_to_kamailio_is_open(chart: Charts, kamailio: Object, ports: set[int]) -> None:
    objects = chart.render(changed(LEAST, kamailio={**kamailio, "cidrs": ["10.0.0.0/8"]}))
    rules = one(objects, "NetworkPolicy", ADAPTER)["spec"]["egress"]
    (found,) = (each for each in rules if each.get("to") == [{"ipBlock": {"cidr": "10.0.0.0/8"}}])
    assert {port["port"] for port in found["ports"]} == ports


def test_the_http_port_is_one_everywhere(chart: Charts) -> None:
    objects = chart.render(changed(LEAST, http={"host": "[::]", "port": 19464}))
    (container,) = pods(of(objects, "Deployment"))[0].containers()
    assert container["ports"][0]["containerPort"] == 19464
    assert {"name": "EVAPI_HTTP", "value": "[::]:19464"} in container["env"]
    assert one(objects, "Service", ADAPTER)["spec"]["ports"][0]["port"] == 19464
    assert "9464" not in set(strings(objects)), "nowhere else"


def test_checksums_cannot_be_taken_away(chart: Charts) -> None:
    objects = chart.render(changed(LEAST, podAnnotations={"checksum/secret": "mine", "a": "b"}))
    annotations = one(objects, "Deployment", ADAPTER)["spec"]["template"]["metadata"]["annotations"]
    assert annotations["a"] == "b"
    assert annotations["checksum/secret"] != "mine"


def test_who_does_not_ask_redis_has_nothing_of_it(chart: Charts) -> None:
    for pod in pods(chart.named("everything")):
        if pod.labels["app.kubernetes.io/component"] in ("consumer", "test"):
            assert "redis" not in str(pod.spec), pod.owner
