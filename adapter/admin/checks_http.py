"""The adapters' HTTP ports: what their own health checks say."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import aiohttp

from adapter.settings import Address

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter.admin.checks_finding import Finding, Group

TIMEOUT: Final = 1.5
MOST: Final = 65_536
"""Bytes of an answer that are read."""
_WHY: Final = "Kubernetes' probes and Prometheus ask there: it is restarted, or nobody is alarmed."


async def ready(
    group: Group, address: str, name: str = "", machine: str = "", *, surely: bool = True
) -> Finding:
    """Ask an adapter whether it is ready.

    An address that only its own machine has is asked if that is this one, and no other: whoever answers
    there would be another replica.

    Args:
        group: of the finding.
        address: where the adapter listens, as it says.
        name: the replica's; empty if it is the one that this machine's settings are of.
        machine: the host name of its machine, as it says.
        surely: whether an adapter is to be there; else one that is not is no fault.
    """
    try:
        given = Address.parse(address)
    except ValueError:
        return group.unknown("http", f"it tells no address: {address!r}", of=name)
    host, elsewhere = _here(given.host)
    if elsewhere and name and machine != socket.gethostname():
        on = f" of {machine}" if machine else ""
        seen = f"it listens on {address}, which is to be reached from its own machine{on} only"
        return group.unknown("http", seen, todo=f"evapi-adapter doctor    # there{on}", of=name)
    url = f"http://{Address(host, given.port)}/readyz"
    try:
        told = await _get(url)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as exc:
        why = "no answer in time" if isinstance(exc, TimeoutError) else _in_words(exc)
        if not surely:
            todo = "EVAPI_HTTP=HOST:PORT    # of an adapter, which says what it lacks"
            return group.unknown("http", f"{url}: {why}", todo=todo, of=name)
        return group.warning("http", f"{url}: {why}", _WHY, f"curl -s {url}", name)
    if told is None:
        return group.warning("http", f"{url} answers, but is no adapter", _WHY, f"curl -s {url}", name)
    failing = sorted(check for check, good in told.checks.items() if not good)
    if not failing:
        return group.ok("http", f"{url}: ready", name)
    seen = f"{url}: not ready: {', '.join(failing)}"
    seen += "".join(f"; {subject}: {text}" for subject, text in told.details.items())
    why = "It takes no new calls, or goes on without what it lacks."
    return group.warning("http", seen, why, "evapi-adapter replicas", name)


class _Told(NamedTuple):
    """What ``/readyz`` says."""

    checks: Mapping[str, Any]
    details: Mapping[str, Any]


def _here(host: str) -> tuple[str, bool]:
    """Where to ask, and whether that is of use on the adapter's own machine only."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host, host == "localhost"
    if address.is_unspecified:
        return ("::1" if address.version == 6 else "127.0.0.1"), True
    return host, address.is_loopback


async def _get(url: str) -> _Told | None:
    """What ``/readyz`` says; None where it is somebody else's."""
    async with (
        asyncio.timeout(TIMEOUT),
        aiohttp.ClientSession() as session,
        session.get(url, allow_redirects=False) as answer,
    ):
        body = await answer.content.read(MOST)
    try:
        found = json.loads(body)
    except ValueError:
        return None
    checks, details = (found.get(key) if isinstance(found, dict) else None for key in ("checks", "details"))
    if not isinstance(checks, dict):
        return None
    return _Told(checks, details if isinstance(details, dict) else {})


def _in_words(exc: Exception) -> str:
    cause = exc.os_error if isinstance(exc, aiohttp.ClientConnectorError) else exc
    if isinstance(cause, ConnectionRefusedError):
        return "connection refused"
    return str(cause) or type(cause).__name__
