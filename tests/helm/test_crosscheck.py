"""The objects of every release fit each other and the program; and what would not fit is found."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from adapter.cli.main import app
from adapter.relay import policy
from consumers.__main__ import parser
from tests.harness.helm_binary import HelmError, documents
from tests.helm.chart import CHART, LEAST, VALUES, changed
from tests.helm.crosscheck import loose_ends
from tests.helm.objects import matches, of, one, pods, strings
from tests.helm.rules import parse

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.helm.chart import Charts
    from tests.helm.objects import Object

every = pytest.mark.parametrize("values", VALUES)
ADAPTER = "sip-evapi-adapter"
LONGEST = "a" * 53
"""A release's name, as long as helm allows."""


@every
def test_everything_fits(chart: Charts, values: str) -> None:
    assert loose_ends(chart.named(values), existing=set(strings(VALUES[values]))) == []


def test_everything_fits_under_the_longest_name(chart: Charts) -> None:
    values = VALUES["everything"]
    objects = documents(chart.helm.template(CHART, values, release=LONGEST))
    assert all(
        each["metadata"]["labels"]["app.kubernetes.io/instance"] == LONGEST for each in of(objects, "Pod")
    )
    assert loose_ends(objects, existing=set(strings(values))) == []


def _monitor(objects: list[Object]) -> Object:
    return of(objects, "ServiceMonitor")[0]["spec"]


def _pod(objects: list[Object], its: str = ADAPTER) -> Object:
    return one(objects, "Deployment", its)["spec"]["template"]


def _twice(objects: list[Object]) -> None:
    objects.append(of(objects, "Service")[0])


def _another_scaler(objects: list[Object]) -> None:
    more = copy.deepcopy(of(objects, "HorizontalPodAutoscaler")[0])
    more["metadata"]["name"] = "more"
    objects.append(more)


def _leak(text: str) -> Callable[[list[Object]], None]:
    def leak(objects: list[Object]) -> None:
        _pod(objects)["spec"]["containers"][0]["args"].append(text)

    return leak


def _set(value: Any, *path: Any) -> Callable[[list[Object]], None]:
    """Kind, name and path of what is changed; or a path in the adapter's pod."""

    def change(objects: list[Object]) -> None:
        *before, last = path
        found: Any = objects
        if before and isinstance(before[0], str) and before[0][0].isupper():
            kind, *before = before
            found = of(objects, kind)[0]
        else:
            found = _pod(objects)
        for part in before:
            found = found[part]
        found[last] = value

    return change


PLANTED = {
    "there twice": _twice,
    "the name is too long": _set("x" * 64, "Service", "metadata", "name"),
    "this is no name": _set("A_b", "Service", "metadata", "name"),
    "is mounted and is not there": _set("gone", "spec", "containers", 0, "volumeMounts", 0, "name"),
    "mounted at one place": _set("/extra", "spec", "containers", 0, "volumeMounts", 0, "mountPath"),
    "a variable is set twice": _set("EXTRA", "spec", "containers", 0, "env", 0, "name"),
    "is no text": _set(1, "Service", "metadata", "labels", "a"),
    "the selector does not take its own pods": _set({}, "metadata", "labels"),
    "the selector takes the pods of Deployment": _set({}, "Deployment", "spec", "selector"),
    "the selector takes the pods of 0 objects": _set({"a": "b"}, "Service", "spec", "selector"),
    "the selector takes no pod": _set({"matchLabels": {"a": "b"}}, "PodDisruptionBudget", "spec", "selector"),
    "the selector takes no Service": _set({"matchLabels": {"a": "b"}}, "ServiceMonitor", "spec", "selector"),
    "is spread by labels": _set(
        {"matchLabels": {"a": "b"}}, "spec", "topologySpreadConstraints", 0, "labelSelector"
    ),
    "readinessProbe asks port": _set("no", "spec", "containers", 0, "readinessProbe", "httpGet", "port"),
    "names port no, which Deployment": _set("no", "Service", "spec", "ports", 0, "targetPort"),
    "NetworkPolicy/sip-evapi-adapter: names port no": lambda objects: one(objects, "NetworkPolicy", ADAPTER)[
        "spec"
    ]["ingress"][0]["ports"][0].update(port="no"),
    "which no Service has": lambda objects: _monitor(objects)["endpoints"][0].update(port="no"),
    "Secret/gone/key is not there": _set(
        {"secretKeyRef": {"name": "gone", "key": "key"}}, "spec", "containers", 0, "env", 2, "valueFrom"
    ),
    "ConfigMap/gone is not there": _set({"name": "gone"}, "spec", "volumes", 0, "configMap"),
    "ServiceAccount/gone is not there": _set("gone", "spec", "serviceAccountName"),
    "TriggerAuthentication/gone is not there": _set(
        "gone", "ScaledObject", "spec", "triggers", 0, "authenticationRef", "name"
    ),
    "fewer than 2 replicas": _set(1, "HorizontalPodAutoscaler", "spec", "minReplicas"),
    "the most is less than the least": _set(1, "ScaledObject", "spec", "maxReplicaCount"),
    "is scaled by two": _another_scaler,
    "Deployment/gone is not there": _set("gone", "ScaledObject", "spec", "scaleTargetRef", "name"),
    "is scaled, and has replicas": lambda objects: one(objects, "Deployment", f"{ADAPTER}-by-cpu")[
        "spec"
    ].update(replicas=2),
    "nothing says how many replicas": lambda objects: one(objects, "Deployment", ADAPTER)["spec"].pop(
        "replicas"
    ),
    "has both or neither": _set(1, "PodDisruptionBudget", "spec", "minAvailable"),
    "may ever be evicted": lambda objects: one(objects, "PodDisruptionBudget", ADAPTER)["spec"].update(
        maxUnavailable=0
    ),
    "a password stands in it": _leak("--amqp-url=amqps://u:pass-word@elsewhere/"),
}


@pytest.mark.parametrize("said", PLANTED)
def test_what_does_not_fit_is_found(chart: Charts, said: str) -> None:
    objects = copy.deepcopy(chart.named("everything"))
    existing = set(strings(VALUES["everything"]))
    assert loose_ends(objects, existing) == []
    PLANTED[said](objects)
    assert any(said in each for each in loose_ends(objects, existing)), loose_ends(objects, existing)


@every
def test_the_programs_take_their_arguments(chart: Charts, values: str) -> None:
    seen = set()
    for pod in pods(chart.named(values)):
        for container in pod.containers():
            words = container.get("args", [])
            if container["name"] in ("adapter", "ask"):
                parse(app, words)
            elif container["name"] == "consumer":
                assert container["command"] == ["python", "-m", "consumers"]
                assert parser().parse_args(words).services
            seen.add(container["name"])
    assert {"adapter", "ask"} <= seen


@every
def test_the_adapter_takes_its_policy(chart: Charts, values: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(one(chart.named(values), "ConfigMap", ADAPTER)["data"]["policy.toml"])
    assert policy.read(path).plan("invite_request").deadline > 0


@every
def test_every_pod_may_ask_names_and_is_asked_by_a_rule(chart: Charts, values: str) -> None:
    """A policy of ours holds for each pod of ours; whoever has a server to reach may look its name up."""
    objects = chart.named(values)
    for pod in pods(objects):
        held = [
            each for each in of(objects, "NetworkPolicy") if matches(each["spec"]["podSelector"], pod.labels)
        ]
        assert held, pod.owner
        assert all(each["spec"]["policyTypes"] == ["Ingress", "Egress"] for each in held)
        if pod.labels["app.kubernetes.io/component"] in ("adapter", "consumer", "test"):
            ports = [
                port for each in held for rule in each["spec"]["egress"] for port in rule.get("ports", ())
            ]
            assert {"protocol": "UDP", "port": 53} in ports
            assert {"protocol": "TCP", "port": 53} in ports


def test_where_the_api_has_a_password_it_is_refused(chart: Charts) -> None:
    """It would stand in the Deployment; without one, that of the AMQP URL serves."""
    with pytest.raises(HelmError, match="apiUrl"):
        chart.render(changed(LEAST, rabbitmq={"apiUrl": "https://u:pass-word@rabbit:15671"}))


@pytest.mark.parametrize(
    "change",
    [
        {"nameOverride": "A_b"},
        {"fullnameOverride": "1st"},
        {"podLabels": {"app.kubernetes.io/name": "x"}},
        {"commonLabels": {"app.kubernetes.io/component": "x"}},
    ],
)
def test_what_would_break_names_or_selectors_is_refused(charts: Charts, change: Object) -> None:
    with pytest.raises(HelmError, match=next(iter(change))):
        charts.render(changed(LEAST, **change))
