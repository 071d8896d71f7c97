"""The Pod Security Standard "restricted", as the admission of Kubernetes 1.27 to 1.36 asks for it.

And two things beyond it, which this chart promises: a root file system that nobody writes to, and no
token of the API server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.helm.objects import Object, Pod

_VOLUMES: Final = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
_SECCOMP: Final = ("RuntimeDefault", "Localhost")
_SYSCTLS: Final = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_syncookies",
}


def violations(pod: Pod, host_network: bool = False) -> list[str]:
    """What the pod does that it must not; ``host_network``: the user asked for that one."""
    return [f"{pod.owner}: {what}" for what in [*_of_pod(pod, host_network), *_of_containers(pod)]]


def _of_pod(pod: Pod, host_network: bool) -> Iterator[str]:
    spec = pod.spec
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field) and not (field == "hostNetwork" and host_network):
            yield field
    for volume in spec.get("volumes") or ():
        if not set(volume) - {"name"} <= _VOLUMES:
            yield f"volume {volume['name']} is of a kind that is not allowed"
    for each in (spec.get("securityContext") or {}).get("sysctls") or ():
        if each["name"] not in _SYSCTLS:
            yield f"sysctl {each['name']}"
    if spec.get("ephemeralContainers"):
        yield "ephemeralContainers"
    if spec.get("automountServiceAccountToken") is not False:
        yield "automountServiceAccountToken is not false"


def _of_containers(pod: Pod) -> Iterator[str]:
    of_pod = pod.spec.get("securityContext") or {}
    for container in pod.containers():
        own = container.get("securityContext") or {}
        for what in _of_container(container, own, of_pod):
            yield f"{container['name']}: {what}"


def _of_container(container: Object, own: Object, of_pod: Object) -> Iterator[str]:
    def effective(field: str) -> Any:
        return own[field] if field in own else of_pod.get(field)

    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if own.get("readOnlyRootFilesystem") is not True:
        yield "readOnlyRootFilesystem is not true"
    capabilities = own.get("capabilities") or {}
    if "ALL" not in capabilities.get("drop", ()):
        yield "capabilities are not dropped"
    if not set(capabilities.get("add", ())) <= {"NET_BIND_SERVICE"}:
        yield "capabilities are added"
    if effective("runAsNonRoot") is not True:
        yield "runAsNonRoot is not true"
    if effective("runAsUser") == 0:
        yield "runAsUser is 0"
    if (effective("seccompProfile") or {}).get("type") not in _SECCOMP:
        yield "no seccompProfile"
    if own.get("procMount", "Default") != "Default":
        yield "procMount"
    for field in ("windowsOptions", "seLinuxOptions", "appArmorProfile"):
        if effective(field):
            yield field
    for port in container.get("ports") or ():
        if port.get("hostPort"):
            yield f"hostPort {port['hostPort']}"
