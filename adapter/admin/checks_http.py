"""The adapters' HTTP ports: what their own health checks say."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from adapter.settings import Address

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter.admin.checks_finding import Finding, Group

TIMEOUT: Final = 1.5
MOST: Final = 65_536
"""Bytes of an answer that are read."""
_WHY: Final = "Kubernetes' probes and Prometheus ask there: it is restarted, or nobody is alarmed."


async def ready(group: Group, address: str, name: str = "") -> Finding:
    """Ask an adapter whether it is ready. ``name``: the replica that says that it listens there.

    An address that only its own machine has is asked here; where nobody answers and the replica is not
    of this machine, as its name tells, that says nothing.
    """
    try:
        given = Address.parse(address)
    except ValueError:
        return group.unknown("http", f"it tells no address: {address!r}", of=name)
    host, elsewhere = _here(given.host)
    here = not elsewhere or not name or name.startswith(socket.gethostname())
    url = f"http://{Address(host, given.port)}/readyz"
    try:
        told = await _get(url)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as exc:
        why = "no answer in time" if isinstance(exc, TimeoutError) else _in_words(exc)
        if not here:
            seen = f"it listens on {address}, which is to be reached from its own machine only"
            return group.unknown("http", seen, of=name)
        return group.warning("http", f"{url}: {why}", _WHY, f"curl -s {url}", name)
    if told is None:
        return group.warning("http", f"{url} answers, but is no adapter", _WHY, f"curl -s {url}", name)
    failing = sorted(check for check, good in told.items() if not good)
    if not failing:
        return group.ok("http", f"{url}: ready", name)
    seen = f"{url}: not ready: {', '.join(failing)}"
    why = "It takes no new calls, or goes on without what it lacks."
    return group.warning("http", seen, why, "evapi-adapter replicas", name)


def _here(host: str) -> tuple[str, bool]:
    """Where to ask, and whether that is of use on the adapter's own machine only."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host, host == "localhost"
    if address.is_unspecified:
        return ("::1" if address.version == 6 else "127.0.0.1"), True
    return host, address.is_loopback


async def _get(url: str) -> Mapping[str, Any] | None:
    """The checks of ``/readyz``; None where it is somebody else's."""
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
    checks = found.get("checks") if isinstance(found, dict) else None
    return checks if isinstance(checks, dict) else None


def _in_words(exc: Exception) -> str:
    cause = exc.os_error if isinstance(exc, aiohttp.ClientConnectorError) else exc
    if isinstance(cause, ConnectionRefusedError):
        return "connection refused"
    return str(cause) or type(cause).__name__
