"""What no schema sees: that the objects of a release fit each other."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from tests.helm.objects import matches, name, of, pods, strings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from tests.helm.objects import Object, Pod

SCALERS: Final = ("HorizontalPodAutoscaler", "ScaledObject")
_LONGEST_LABEL: Final = 63
_SHORTEST_SECRET: Final = 6
"""What is no longer, such as KEDA's word ``enable``, stands in other places, too."""


def loose_ends(objects: Iterable[Object], existing: Collection[str] = ()) -> list[str]:
    """All that does not fit; empty where everything does.

    existing: names of the Secrets and ConfigMaps of which the values say that they are there already.
    """
    objects = list(objects)
    checks = (_names, _selectors, _ports, _mounts, _scalers, _disruption, _passwords)
    found = [what for check in checks for what in check(objects)]
    return found + list(_references(objects, existing))


def _names(objects: list[Object]) -> Iterator[str]:
    names = [name(each) for each in objects]
    yield from (f"{each}: there twice" for each in sorted({each for each in names if names.count(each) > 1}))
    for each in objects:
        longest = 253 if each["kind"] in ("ConfigMap", "Secret") else _LONGEST_LABEL
        if len(each["metadata"]["name"]) > longest:
            yield f"{name(each)}: the name is too long"
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", each["metadata"]["name"]):
            yield f"{name(each)}: this is no name"
        for label, value in (each["metadata"].get("labels") or {}).items():
            if not isinstance(value, str) or len(value) > _LONGEST_LABEL:
                yield f"{name(each)}: label {label} is no text of at most {_LONGEST_LABEL}"


def _selectors(objects: list[Object]) -> Iterator[str]:
    made = pods(objects)
    for each in of(objects, "Deployment", "StatefulSet"):
        own = next(pod for pod in made if pod.owner == name(each))
        if not matches(each["spec"]["selector"], own.labels):
            yield f"{name(each)}: the selector does not take its own pods"
        others = [
            pod.owner for pod in made if pod is not own and matches(each["spec"]["selector"], pod.labels)
        ]
        yield from (f"{name(each)}: the selector takes the pods of {other}, too" for other in others)
    for each in of(objects, "Service"):
        takers = [pod for pod in made if matches({"matchLabels": each["spec"].get("selector")}, pod.labels)]
        if len(takers) != 1:
            yield f"{name(each)}: the selector takes the pods of {len(takers)} objects"
    for each in of(objects, "PodDisruptionBudget", "PodMonitor"):
        if not any(matches(each["spec"]["selector"], pod.labels) for pod in made):
            yield f"{name(each)}: the selector takes no pod"
    for each in of(objects, "NetworkPolicy"):
        if not any(matches(each["spec"]["podSelector"], pod.labels) for pod in made):
            yield f"{name(each)}: the selector takes no pod"
    for each in of(objects, "ServiceMonitor"):
        if not any(_monitored(each, service) for service in of(objects, "Service")):
            yield f"{name(each)}: the selector takes no Service"
    for pod in made:
        for selector in _spread(pod):
            if not matches(selector, pod.labels):
                yield f"{pod.owner}: is spread by labels that it does not have"


def _monitored(monitor: Object, service: Object) -> bool:
    return matches(monitor["spec"]["selector"], service["metadata"].get("labels") or {})


def _spread(pod: Pod) -> Iterator[Object]:
    yield from (each["labelSelector"] for each in pod.spec.get("topologySpreadConstraints") or ())
    anti = (pod.spec.get("affinity") or {}).get("podAntiAffinity") or {}
    for term in anti.get("preferredDuringSchedulingIgnoredDuringExecution") or ():
        yield term["podAffinityTerm"]["labelSelector"]
    for term in anti.get("requiredDuringSchedulingIgnoredDuringExecution") or ():
        yield term["labelSelector"]


def _ports(objects: list[Object]) -> Iterator[str]:
    made = pods(objects)
    for pod in made:
        for container in pod.containers():
            own = {port.get("name") for port in container.get("ports") or ()}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                for how in ("httpGet", "tcpSocket"):
                    asked = ((container.get(probe) or {}).get(how) or {}).get("port")
                    if isinstance(asked, str) and asked not in own:
                        yield f"{pod.owner}: {probe} asks port {asked}, which {container['name']} has not"
    for each in of(objects, "Service"):
        taken = [pod for pod in made if matches({"matchLabels": each["spec"].get("selector")}, pod.labels)]
        wanted = [port.get("targetPort", port["port"]) for port in each["spec"]["ports"]]
        yield from (f"{name(each)}: {what}" for what in _missing(wanted, taken))
    for each in of(objects, "NetworkPolicy"):
        taken = [pod for pod in made if matches(each["spec"]["podSelector"], pod.labels)]
        wanted = [
            port["port"] for rule in each["spec"].get("ingress") or () for port in rule.get("ports", ())
        ]
        yield from (f"{name(each)}: {what}" for what in _missing_everywhere(wanted, taken))
    for each in of(objects, "PodMonitor"):
        taken = [pod for pod in made if matches(each["spec"]["selector"], pod.labels)]
        wanted = [one["port"] for one in each["spec"]["podMetricsEndpoints"]]
        yield from (f"{name(each)}: {what}" for what in _missing_everywhere(wanted, taken))
    for each in of(objects, "ServiceMonitor"):
        known = {
            port["name"]
            for one in of(objects, "Service")
            if _monitored(each, one)
            for port in one["spec"]["ports"]
        }
        for one in each["spec"]["endpoints"]:
            if one["port"] not in known:
                yield f"{name(each)}: asks port {one['port']}, which no Service has"


def _missing(wanted: Iterable[Any], made: Iterable[Pod]) -> Iterator[str]:
    for pod in made:
        known = _ports_of(pod)
        yield from (f"names port {port}, which {pod.owner} has not" for port in wanted if port not in known)


def _missing_everywhere(wanted: Iterable[Any], made: Iterable[Pod]) -> Iterator[str]:
    """What takes many kinds of pods reaches those that have the port."""
    known = set().union(*(_ports_of(pod) for pod in made))
    yield from (f"names port {port}, which none of its pods has" for port in wanted if port not in known)


def _ports_of(pod: Pod) -> set[Any]:
    """The names and numbers of a pod's ports."""
    ports = [port for each in pod.containers() for port in each.get("ports") or ()]
    return {port.get("name") for port in ports} | {port["containerPort"] for port in ports}


def _mounts(objects: list[Object]) -> Iterator[str]:
    for pod in pods(objects):
        volumes = {each["name"] for each in pod.spec.get("volumes") or ()}
        for container in pod.containers():
            mounts = container.get("volumeMounts") or ()
            for each in mounts:
                if each["name"] not in volumes:
                    yield f"{pod.owner}: volume {each['name']} is mounted and is not there"
            places = [each["mountPath"] for each in mounts]
            if len(places) > len(set(places)):
                yield f"{pod.owner}: two volumes are mounted at one place"
            variables = [each["name"] for each in container.get("env") or ()]
            if len(variables) > len(set(variables)):
                yield f"{pod.owner}: a variable is set twice"


def _references(objects: list[Object], existing: Collection[str]) -> Iterator[str]:
    known = {name(each) for each in objects}
    for each in of(objects, "Secret", "ConfigMap"):
        contents = [
            *(each.get("data") or {}),
            *(each.get("stringData") or {}),
            *(each.get("binaryData") or {}),
        ]
        known |= {f"{name(each)}/{key}" for key in contents}
    for owner, wanted in _wanted(objects):
        if wanted not in known and wanted.split("/")[1] not in existing:
            yield f"{owner}: {wanted} is not there"


def _wanted(objects: list[Object]) -> Iterator[tuple[str, str]]:
    for pod in pods(objects):
        account = pod.spec.get("serviceAccountName", "default")
        if account != "default":
            yield pod.owner, f"ServiceAccount/{account}"
        for container in pod.containers():
            for each in container.get("env") or ():
                source = each.get("valueFrom") or {}
                yield from ((pod.owner, wanted) for wanted in _of_source(source))
            for each in container.get("envFrom") or ():
                yield from (
                    (pod.owner, f"Secret/{each['secretRef']['name']}") for _ in each if "secretRef" in each
                )
                yield from (
                    (pod.owner, f"ConfigMap/{each['configMapRef']['name']}")
                    for _ in each
                    if "configMapRef" in each
                )
        for volume in pod.spec.get("volumes") or ():
            yield from ((pod.owner, wanted) for wanted in _of_volume(volume))
    for each in of(objects, "TriggerAuthentication"):
        for one in each["spec"].get("secretTargetRef") or ():
            yield name(each), f"Secret/{one['name']}/{one['key']}"
    for each in of(objects, "ScaledObject"):
        for trigger in each["spec"]["triggers"]:
            if "authenticationRef" in trigger:
                yield name(each), f"TriggerAuthentication/{trigger['authenticationRef']['name']}"


def _of_source(source: Object) -> Iterator[str]:
    for field, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
        if field in source and not source[field].get("optional"):
            yield f"{kind}/{source[field]['name']}/{source[field]['key']}"


def _of_volume(volume: Object) -> Iterator[str]:
    for field, kind, named in (("secret", "Secret", "secretName"), ("configMap", "ConfigMap", "name")):
        found = volume.get(field)
        if found is None or found.get("optional"):
            continue
        yield f"{kind}/{found[named]}"
        yield from (f"{kind}/{found[named]}/{item['key']}" for item in found.get("items") or ())


def _scalers(objects: list[Object]) -> Iterator[str]:
    scaled: dict[str, list[Object]] = {}
    for each in of(objects, *SCALERS):
        target = each["spec"]["scaleTargetRef"]
        scaled.setdefault(f"{target.get('kind', 'Deployment')}/{target['name']}", []).append(each)
        low = "minReplicas" if each["kind"] == SCALERS[0] else "minReplicaCount"
        high = low.replace("min", "max")
        if each["spec"].get(low, 0) < 2:
            yield f"{name(each)}: fewer than 2 replicas are allowed"
        if each["spec"][high] < each["spec"].get(low, 0):
            yield f"{name(each)}: the most is less than the least"
    for target, scalers in scaled.items():
        found = next((each for each in objects if name(each) == target), None)
        if found is None:
            yield f"{name(scalers[0])}: {target} is not there"
            continue
        if len(scalers) > 1:
            yield f"{target}: is scaled by two"
        if "replicas" in found["spec"]:
            yield f"{target}: is scaled, and has replicas"
    for each in of(objects, "Deployment"):
        if name(each) not in scaled and "replicas" not in each["spec"]:
            yield f"{name(each)}: nothing says how many replicas"


def _disruption(objects: list[Object]) -> Iterator[str]:
    deployments = {name(each): each for each in of(objects, "Deployment")}
    for budget in of(objects, "PodDisruptionBudget"):
        spec = budget["spec"]
        if ("minAvailable" in spec) is ("maxUnavailable" in spec):
            yield f"{name(budget)}: has both or neither of minAvailable and maxUnavailable"
        for pod in pods(objects):
            if pod.owner in deployments and matches(spec["selector"], pod.labels):
                replicas = deployments[pod.owner]["spec"].get("replicas", 2)
                if spec.get("maxUnavailable") in (0, "0%") or replicas == spec.get("minAvailable"):
                    yield f"{name(budget)}: no pod of {pod.owner} may ever be evicted"


def _passwords(objects: list[Object]) -> Iterator[str]:
    """What is in a Secret, or is a URL with a password, stands nowhere else."""
    secrets = {
        password
        for secret in of(objects, "Secret")
        for text in [
            *(base64.b64decode(each).decode() for each in (secret.get("data") or {}).values()),
            *(secret.get("stringData") or {}).values(),
        ]
        for password in [text.strip(), _password(text)]
        if password and len(password) > _SHORTEST_SECRET
    }
    for each in objects:
        if each["kind"] == "Secret":
            continue
        for text in strings(each):
            if any(secret in text for secret in secrets) or any(map(_password, text.split())):
                yield f"{name(each)}: a password stands in it"
                break


def _password(text: str) -> str | None:
    try:
        return urlsplit(text.strip("\"'`<>(),;")).password
    except ValueError:
        return None
