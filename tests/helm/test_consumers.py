"""Health and metrics of the chart's consumers: who serves them, who asks for them, who may."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from consumers.__main__ import parser
from tests.helm.chart import LEAST, VALUES, Charts, changed
from tests.helm.objects import of, one, pods

if TYPE_CHECKING:
    from tests.helm.objects import Object

ADAPTER = "sip-evapi-adapter"
ASKED = ("startupProbe", "livenessProbe", "readinessProbe")
ON = {"enabled": True}


def consumer(**more: object) -> Object:
    return {"name": "a", "module": "a:b", **more}


def container(objects: list[Object], deployment: str = f"{ADAPTER}-a") -> Object:
    (found,) = one(objects, "Deployment", deployment)["spec"]["template"]["spec"]["containers"]
    return dict(found)


def test_a_consumer_is_asked_as_the_adapter_is(chart: Charts) -> None:
    objects = chart.render(changed(LEAST, consumers=[consumer()]))
    its, of_adapter = container(objects), container(objects, ADAPTER)
    assert str(parser().parse_args(its["args"]).http) == "0.0.0.0:9465"
    assert its["ports"] == [{"name": "http", "containerPort": 9465, "protocol": "TCP"}]
    assert [its[probe]["httpGet"] for probe in ASKED] == [of_adapter[probe]["httpGet"] for probe in ASKED]
    assert its["readinessProbe"] == of_adapter["readinessProbe"]
    assert its["livenessProbe"] == of_adapter["livenessProbe"]
    assert "minReadySeconds" not in one(objects, "Deployment", f"{ADAPTER}-a")["spec"]


def test_where_it_listens_can_be_said(chart: Charts) -> None:
    values = changed(LEAST, http={"host": "[::]"}, consumers=[consumer(http={"port": 18080}, prefetch=5)])
    its = container(chart.render(values))
    assert its["args"] == ["a:b", "--prefetch", "5", "--http", "[::]:18080"]
    assert its["ports"][0]["containerPort"] == 18080


@pytest.mark.parametrize("monitor", ["podMonitor", "serviceMonitor"])
def test_it_can_do_without(chart: Charts, monitor: str) -> None:
    """So can an image of its own whose command knows no ``--http``; nobody is let in or told to ask then."""
    off = consumer(http={"enabled": False})
    objects = chart.render(changed(LEAST, consumers=[off], metrics={monitor: ON}))
    its = container(objects)
    assert its["args"] == ["a:b"]
    assert not {"ports", *ASKED} & set(its)
    assert one(objects, "Deployment", f"{ADAPTER}-a")["spec"]["minReadySeconds"] == 10
    assert one(objects, "NetworkPolicy", f"{ADAPTER}-consumers")["spec"]["ingress"] == []
    assert [each["metadata"]["name"] for each in of(objects, "PodMonitor", "ServiceMonitor", "Service")] == [
        ADAPTER,
        ADAPTER,
    ]


def test_metrics_are_asked_for_as_the_adapters_are(chart: Charts) -> None:
    wanted = {"enabled": True, "interval": "7s", "labels": {"release": "prometheus"}}
    objects = chart.render(changed(LEAST, consumers=[consumer()], metrics={"podMonitor": wanted}))
    ours, its = (one(objects, "PodMonitor", each) for each in (ADAPTER, f"{ADAPTER}-consumers"))
    assert its["spec"]["podMetricsEndpoints"] == ours["spec"]["podMetricsEndpoints"]
    assert its["metadata"]["labels"]["release"] == "prometheus"
    assert len(of(objects, "Service")) == 1, "a PodMonitor needs none"


def test_a_service_monitor_keeps_the_consumers_own_label(chart: Charts) -> None:
    """Else the operator's ``service``, the name of the Service, would stand in its place."""
    objects = chart.named("everything")
    for monitor in (ADAPTER, f"{ADAPTER}-consumers"):
        (endpoint,) = one(objects, "ServiceMonitor", monitor)["spec"]["endpoints"]
        assert endpoint["honorLabels"] is True
    assert {each["metadata"]["name"] for each in of(objects, "Service")} == {
        ADAPTER,
        f"{ADAPTER}-plain",
        f"{ADAPTER}-byqueue",
    }


@pytest.mark.parametrize("values", VALUES)
def test_who_may_ask_is_who_may_ask_the_adapter(chart: Charts, values: str) -> None:
    """But for the adapters, which ask each other and no consumer."""
    objects = chart.named(values)
    serving = [
        pod.owner
        for pod in pods(of(objects, "Deployment"))
        if pod.labels["app.kubernetes.io/component"] == "consumer"
        and any(each.get("ports") for each in pod.containers())
    ]
    if serving:
        of_consumers = one(objects, "NetworkPolicy", f"{ADAPTER}-consumers")["spec"]
        of_adapter = one(objects, "NetworkPolicy", ADAPTER)["spec"]
        (rule,) = of_adapter["ingress"]
        if "from" in rule:
            *others, last = rule["from"]
            assert last == {"podSelector": of_adapter["podSelector"]}
            rule = {**rule, "from": others}
        assert of_consumers["ingress"] == [rule]
