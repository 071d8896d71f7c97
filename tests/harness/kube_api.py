"""A Kubernetes API server in memory: enough for the real helm to install, upgrade, roll back, uninstall.

No controllers: what is put there stays as it was put, and no pod ever runs. Patches are merged as a
server merges them (lists by their keys), and a Deployment's selector cannot be changed.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
import threading
import uuid
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import yaml
from aiohttp import web

from tests.harness import kube_protobuf

if TYPE_CHECKING:
    from collections.abc import Callable

Object = dict[str, Any]


class Resource(NamedTuple):
    """A kind of objects, as a path of the API names it."""

    group_version: str
    plural: str
    kind: str


RESOURCES: Final = tuple(
    Resource(*line.split())
    for line in """\
v1 configmaps ConfigMap
v1 pods Pod
v1 secrets Secret
v1 serviceaccounts ServiceAccount
v1 services Service
apps/v1 deployments Deployment
apps/v1 statefulsets StatefulSet
autoscaling/v2 horizontalpodautoscalers HorizontalPodAutoscaler
batch/v1 jobs Job
keda.sh/v1alpha1 scaledobjects ScaledObject
keda.sh/v1alpha1 triggerauthentications TriggerAuthentication
monitoring.coreos.com/v1 podmonitors PodMonitor
monitoring.coreos.com/v1 prometheusrules PrometheusRule
monitoring.coreos.com/v1 servicemonitors ServiceMonitor
networking.k8s.io/v1 networkpolicies NetworkPolicy
policy/v1 poddisruptionbudgets PodDisruptionBudget""".splitlines()
)
_BY_PATH: Final = {(each.group_version, each.plural): each for each in RESOURCES}
_VERBS: Final = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_MERGE_KEYS: Final = {
    "containers": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "initContainers": "name",
    "ports": "containerPort",
    "topologySpreadConstraints": "topologyKey",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
"""By which key the elements of a list are merged; every other list is replaced."""


class _Refused(Exception):
    """The server says no."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.answer = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "reason": reason,
            "message": message,
            "code": code,
        }
        self.code = code


class KubeApi:
    """The server on a port of its own, in a thread. Use as a context manager.

    ``version`` is what it says of itself; ``objects`` is what is there, by path of kind, namespace, name.
    """

    def __init__(self, version: str = "1.36.0") -> None:
        self.version = version
        self.objects: dict[tuple[Resource, str, str], Object] = {}
        self.url = ""
        self._revisions = itertools.count(1)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="kube-api", daemon=True)

    def __enter__(self) -> KubeApi:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def options(self) -> tuple[str, ...]:
        """How helm is pointed at it."""
        return ("--kube-apiserver", self.url, "--kube-token", "none", "--namespace", "voip")

    def found(self, kind: str, name: str | None = None) -> list[Object]:
        """The objects of a kind, and of a name if given; without what helm keeps for itself."""
        return [
            each
            for (resource, _, its), each in self.objects.items()
            if resource.kind == kind and name in (None, its) and not its.startswith("sh.helm.release.")
        ]

    def names(self) -> set[str]:
        """``Kind/name`` of everything; without what helm keeps for itself."""
        return {
            f"{each['kind']}/{each['metadata']['name']}"
            for resource in RESOURCES
            for each in self.found(resource.kind)
        }

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        runner = self._loop.run_until_complete(self._start())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())

    async def _start(self) -> web.AppRunner:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0]
        self.url = f"http://{host}:{port}"
        return runner

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        try:
            code, answer = self._handle(request, await request.read())
        except _Refused as exc:
            code, answer = exc.code, exc.answer
        return web.json_response(answer, status=code)

    def _handle(self, request: web.Request, raw: bytes) -> tuple[int, Object]:
        found = self._discovery(request.path)
        if found is not None:
            return 200, found
        resource, namespace, name = self._place(request.path)
        if request.method == "GET" and name is None:
            return 200, self._list(resource, namespace, request)
        body = _body(raw)
        if request.method == "POST":
            assert body is not None
            return self._create(resource, namespace, body)
        assert name is not None
        key = (resource, namespace, name)
        if request.method == "PATCH" and "apply" in request.content_type and key not in self.objects:
            assert body is not None
            return self._create(resource, namespace, body)
        if key not in self.objects:
            raise _Refused(404, "NotFound", f'{resource.plural} "{name}" not found')
        if request.method == "GET":
            return 200, self.objects[key]
        if request.method == "DELETE":
            gone = self.objects.pop(key)
            details = {"name": name, "kind": resource.plural, "uid": gone["metadata"]["uid"]}
            return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success", "details": details}
        assert body is not None
        return self._change(
            key, body, merge=request.method == "PATCH" and "apply" not in request.content_type
        )

    def _discovery(self, path: str) -> Object | None:
        words = path.strip("/").split("/")
        versions = sorted({each.group_version for each in RESOURCES})
        if words == ["version"]:
            major, minor, _ = self.version.split(".")
            return {"major": major, "minor": minor, "gitVersion": f"v{self.version}"}
        if words == ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"]}
        if words == ["apis"]:
            groups = [_group(version) for version in versions if "/" in version]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        version = "/".join(words[1:])
        if words[0] in ("api", "apis") and version in versions:
            return _resource_list(version)
        return None

    def _place(self, path: str) -> tuple[Resource, str, str | None]:
        first, *words = path.strip("/").split("/")
        group_version = words.pop(0) if first == "api" else "/".join([words.pop(0), *words[:1]])
        rest = words if first == "api" else words[1:]
        namespace = ""
        if rest[:1] == ["namespaces"] and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        resource = _BY_PATH.get((group_version, rest[0] if rest else ""))
        if resource is None:
            raise _Refused(404, "NotFound", f"the server could not find the requested resource {path}")
        return resource, namespace, rest[1] if len(rest) > 1 else None

    def _list(self, resource: Resource, namespace: str, request: web.Request) -> Object:
        chosen = _selector(request.query.get("labelSelector", ""))
        items = [
            each
            for (kind, where, _), each in self.objects.items()
            if kind == resource and namespace in ("", where) and chosen(each["metadata"].get("labels") or {})
        ]
        return {
            "kind": f"{resource.kind}List",
            "apiVersion": resource.group_version,
            "metadata": {},
            "items": items,
        }

    def _create(self, resource: Resource, namespace: str, body: Object) -> tuple[int, Object]:
        name = body["metadata"]["name"]
        key = (resource, namespace, name)
        if key in self.objects:
            raise _Refused(409, "AlreadyExists", f'{resource.plural} "{name}" already exists')
        body = {"kind": resource.kind, "apiVersion": resource.group_version, **body}
        body["metadata"] |= {"namespace": namespace, "uid": str(uuid.uuid4())}
        body["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
        self._keep(key, body)
        return 201, body

    def _change(self, key: tuple[Resource, str, str], body: Object, merge: bool) -> tuple[int, Object]:
        old = self.objects[key]
        new = merged(old, body) if merge else body
        for field in ("namespace", "uid", "creationTimestamp"):
            new["metadata"][field] = old["metadata"][field]
        if key[0].kind == "Deployment" and new["spec"]["selector"] != old["spec"]["selector"]:
            raise _Refused(422, "Invalid", f"Deployment {key[2]}: spec.selector: field is immutable")
        self._keep(key, new)
        return 200, new

    def _keep(self, key: tuple[Resource, str, str], body: Object) -> None:
        body["metadata"]["resourceVersion"] = str(next(self._revisions))
        self.objects[key] = body


def merged(old: Any, patch: Any) -> Any:
    """What a strategic merge patch makes of it; nothing given is changed."""
    if not isinstance(old, dict) or not isinstance(patch, dict):
        return copy.deepcopy(patch)
    new = copy.deepcopy(old)
    for key, value in patch.items():
        if key.startswith("$"):
            continue  # orders of elements: nothing here depends on them
        by = _MERGE_KEYS.get(key)
        if value is None:
            new.pop(key, None)
        elif (
            by is not None
            and isinstance(value, list)
            and all(by in each for each in [*new.get(key, []), *value])
        ):
            new[key] = _merged_list(new.get(key, []), value, by)
        else:
            new[key] = merged(new.get(key), value)
    return new


def _merged_list(old: list[Object], patch: list[Object], by: str) -> list[Object]:
    new = {each[by]: each for each in old}
    for each in patch:
        if each.get("$patch") == "delete":
            new.pop(each[by], None)
        else:
            new[each[by]] = merged(new.get(each[by]), each)
    return list(new.values())


def _body(raw: bytes) -> Object | None:
    if not raw:
        return None
    return kube_protobuf.decoded(raw) if kube_protobuf.is_one(raw) else json_or_yaml(raw)


def json_or_yaml(raw: bytes) -> Object:
    """A body: JSON, or YAML where it is applied."""
    try:
        return json.loads(raw)
    except ValueError:
        return yaml.load(raw, Loader=yaml.CSafeLoader)


def _group(version: str) -> Object:
    name, _, bare = version.partition("/")
    one = {"groupVersion": version, "version": bare}
    return {"name": name, "versions": [one], "preferredVersion": one}


def _resource_list(version: str) -> Object:
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": version,
        "resources": [
            {
                "name": each.plural,
                "singularName": each.kind.lower(),
                "namespaced": True,
                "kind": each.kind,
                "verbs": _VERBS,
            }
            for each in RESOURCES
            if each.group_version == version
        ],
    }


def _selector(text: str) -> Callable[[Object], bool]:
    """Labels as helm asks for its releases: ``a=b,c!=d,e``."""

    def holds(labels: Object) -> bool:
        for part in text.split(",") if text else ():
            name, sign, value = (
                part.partition("!=") if "!=" in part else part.replace("==", "=").partition("=")
            )
            found = labels.get(name)
            if (found is None) if not sign else ((found == value) is (sign == "!=")):
                return False
        return True

    return holds
