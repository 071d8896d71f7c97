"""Which Kamailios there are, where DNS knows: looked up again and again.

``dns://host:port``: each address of the host is a node, named by its address. ``dns+srv://name``: each
target is a node, named by its host without the domain of the service, which a StatefulSet's pod keeps
while its address changes. Priority and weight of SRV records count for nothing: every Kamailio is a node.

A lookup that fails says nothing about the nodes: what was known stays. An answer that there is no such
name, or no address, says that there is none.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import structlog

from adapter.contract import ALL_NODES
from adapter.settings import Address, Lookup, NodeAddress, is_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = structlog.get_logger()

TIMEOUT: Final = 3.0
"""Seconds that a lookup may take. One that hangs does not delay the others."""
MAX_NODES: Final = 1_000
"""Nodes of one name that are taken: more is a mistake, or somebody's malice."""
_NO_SUCH_NAME: Final = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}


class LookupFailed(Exception):
    """DNS has given no answer; the text says why."""


class Target(NamedTuple):
    """What an SRV record names."""

    host: str
    port: int


class Resolver(Protocol):
    """The ways to ask. Each gives nothing where there is nothing, and raises LookupFailed where that
    cannot be told."""

    async def addresses(self, host: str) -> Sequence[str]:
        """The addresses of a host, of one family."""
        ...

    async def targets(self, name: str) -> Sequence[Target]:
        """The targets of a service."""
        ...


class SystemResolver:
    """As this machine is set up: hosts file, search domains, ``/etc/resolv.conf``.

    ``timeout``: seconds for the answer about a service.
    """

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self._timeout = timeout

    async def addresses(self, host: str) -> Sequence[str]:
        """See ``Resolver``. IPv4 where there is any: a pod with an address of both families is one node."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except socket.gaierror as exc:
            if exc.errno in _NO_SUCH_NAME:
                return []
            raise LookupFailed(exc.strerror) from exc
        except UnicodeError as exc:
            raise LookupFailed(f"no host name: {exc}") from exc
        by_family = {family: [one[4][0] for one in found if one[0] == family] for family, *_ in found}
        return [str(each) for each in by_family.get(socket.AF_INET) or by_family.get(socket.AF_INET6) or ()]

    async def targets(self, name: str) -> Sequence[Target]:
        """See ``Resolver``."""
        import dns.asyncresolver
        import dns.exception
        import dns.resolver

        try:
            answer = await dns.asyncresolver.resolve(name, "SRV", search=True, lifetime=self._timeout)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except (dns.exception.DNSException, OSError) as exc:
            raise LookupFailed(str(exc) or type(exc).__name__) from exc
        return [Target(record.target.to_text(omit_final_dot=True), record.port) for record in answer]


class Discovery:
    """Looks nodes up, again and again. A fixed node wins over one that was looked up and has its name or its
    address.

    ``on_nodes`` is told all nodes at the start and whenever they change; ``refresh``: seconds between two
    lookups; ``timeout``: seconds for one.
    """

    def __init__(
        self,
        fixed: Sequence[NodeAddress],
        lookups: Sequence[Lookup],
        on_nodes: Callable[[Sequence[NodeAddress]], None],
        refresh: float,
        resolver: Resolver | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self._fixed = tuple(fixed)
        self._lookups = tuple(lookups)
        self._on_nodes = on_nodes
        self._refresh = refresh
        self._timeout = timeout
        self._resolver = SystemResolver() if resolver is None else resolver
        self._found: dict[Lookup, list[NodeAddress]] = {}
        self._trouble: dict[Lookup, str] = {}  # told already
        self._clashes: set[tuple[NodeAddress, NodeAddress]] = set()  # told already
        self._known: list[NodeAddress] | None = None

    async def run(self) -> None:
        """Look up for ever. Ends by cancellation."""
        self._tell()
        while True:
            if self._lookups:
                await asyncio.gather(*map(self._look_up, self._lookups))
            await asyncio.sleep(self._refresh)

    async def once(self) -> list[NodeAddress]:
        """The nodes as of one lookup. Raises LookupFailed where one of them fails."""
        for found in await asyncio.gather(*map(self._ask, self._lookups)):
            self._found[found[0]] = found[1]
        return self._all()

    async def _look_up(self, lookup: Lookup) -> None:
        trouble = ""
        try:
            _, found = await self._ask(lookup)
        except LookupFailed as exc:
            trouble = str(exc)
            if trouble != self._trouble.get(lookup):
                kept = [node.name for node in self._found.get(lookup, ())]
                log.warning("discovery: no answer, nodes stay", name=str(lookup), error=trouble, nodes=kept)
        else:
            if not found and self._found.get(lookup) != []:
                log.warning("discovery: no node of that name", name=str(lookup))
            self._found[lookup] = found
            self._tell()
        self._trouble[lookup] = trouble

    async def _ask(self, lookup: Lookup) -> tuple[Lookup, list[NodeAddress]]:
        try:
            async with asyncio.timeout(self._timeout):
                found = await (self._hosts(lookup) if lookup.kind == "dns" else self._services(lookup))
        except TimeoutError as exc:
            raise LookupFailed(f"no answer within {self._timeout:g} s") from exc
        if len(found) > MAX_NODES:
            raise LookupFailed(f"{len(found)} nodes; at most {MAX_NODES} are believed")
        return lookup, sorted(found)

    async def _hosts(self, lookup: Lookup) -> set[NodeAddress]:
        addresses = {Address(each, lookup.port) for each in await self._resolver.addresses(lookup.host)}
        return {NodeAddress(str(address), address) for address in addresses}

    async def _services(self, lookup: Lookup) -> set[NodeAddress]:
        targets = await self._resolver.targets(lookup.host)
        if len(targets) > MAX_NODES:
            raise LookupFailed(f"{len(targets)} targets; at most {MAX_NODES} are believed")
        resolved = await asyncio.gather(*(self._resolver.addresses(target.host) for target in targets))
        found = {
            NodeAddress(short(target.host, lookup.host), Address(min(addresses), target.port))
            for target, addresses in zip(targets, resolved, strict=True)
            if addresses
        }
        if wrong := sorted(repr(node.name) for node in found if not is_name(node.name)):
            raise LookupFailed(f"no names of nodes: {', '.join(wrong[:3])}")
        return found

    def _tell(self) -> None:
        known = self._all()
        if known != self._known:
            self._known = known
            self._on_nodes(known)

    def _all(self) -> list[NodeAddress]:
        """Each Kamailio once, whoever names it first."""
        names = {node.name: node for node in self._fixed}
        addresses = {node.address: node for node in self._fixed}
        for node in (each for lookup in self._lookups for each in self._found.get(lookup, ())):
            first = names.get(node.name) or addresses.get(node.address)
            if node.name == ALL_NODES:
                first = node
            if first is None:
                names[node.name] = addresses[node.address] = node
            elif first != node and (first, node) not in self._clashes and first.address != node.address:
                self._clashes.add((first, node))
                log.error(
                    "discovery: two nodes of one name, the second is left out",
                    nodes=[*map(str, (first, node))],
                )
        return list(names.values())


def short(host: str, service: str) -> str:
    """A target's host without the domain of its service: kamailio-0 of
    kamailio-0.kamailio.sip.svc.cluster.local, looked up as _evapi._tcp.kamailio.sip.svc.cluster.local.
    Whole where it has another domain."""
    host = host.rstrip(".").lower()
    domain = "." + service.rstrip(".").lower().split(".", 2)[-1]
    left = host.removesuffix(domain)
    if left == host:  # the name was completed by a search domain
        label, _, rest = host.partition(".")
        left = label if rest.startswith(domain[1:] + ".") else host
    return left
