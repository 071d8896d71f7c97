"""Which Kamailio a name stands for, by what all replicas say of their links, and where names clash. Pure.

An identity is ``<incarnation>@<address>``: the incarnation (one life of the Kamailio) that its hello
tells, and the address to which this replica's link goes. A plain configuration has no hello: its
incarnation is empty.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from adapter.model.beat import Beat

LASTS: Final = 2.0
"""Seconds for which a clash must last before it is told, if a restart looks alike for a moment."""

TWO_KAMAILIOS: Final = "two Kamailios go by one node name"
TWO_NAMES: Final = "one Kamailio goes by two node names"
TWO_REPLICAS: Final = "two replicas go by one name"


def identity(incarnation: str, host: str, address: str, machine: str) -> str:
    """Name the Kamailio at an address. A loopback address is told apart by the machine it is of."""
    return f"{incarnation}@{address}%{machine}" if _is_loopback(host) else f"{incarnation}@{address}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def incarnation_of(identity_: str) -> str:
    """Return the incarnation in an identity; empty if the Kamailio does not tell one."""
    return identity_.rpartition("@")[0]


def differ(one: str, other: str) -> bool:
    """Return True if two identities are certainly of two Kamailios: both tell their incarnation, another.

    Addresses prove nothing here: one Kamailio may be reached at several.
    """
    both = incarnation_of(one), incarnation_of(other)
    return all(both) and both[0] != both[1]


def _key(identity_: str) -> str:
    """Return what is alike in the identities of one Kamailio: its incarnation, else its address."""
    return incarnation_of(identity_) or identity_


def elders(own: Mapping[str, str], others: Iterable[Beat]) -> dict[str, tuple[str, ...]]:
    """Find the smaller names by which this replica's nodes go, too, here or at the other replicas.

    Args:
        own: this replica's nodes that are linked, and the identity of each.
        others: the last beats of the other replicas that live.

    Returns:
        By node the other names, sorted. Only nodes that have any.
    """
    names: dict[str, set[str]] = {}
    for told in (own, *(beat.identities for beat in others)):
        for name, each in told.items():
            names.setdefault(_key(each), set()).add(name)
    found = {node: tuple(sorted(n for n in names[_key(each)] if n < node)) for node, each in own.items()}
    return {node: smaller for node, smaller in found.items() if smaller}


def is_linked(incarnation: str, node: str, beats: Iterable[Beat]) -> bool:
    """Return True if a replica is linked to this incarnation of a node's Kamailio, by their beats."""
    return any(incarnation_of(beat.identities.get(node, "")) == incarnation for beat in beats)


@dataclass(frozen=True, slots=True)
class Clash:
    """Names that are not what they should be. ``sides`` and ``do`` are for people: they may change while
    the clash lasts, and do not count when clashes are compared."""

    kind: str
    names: tuple[str, ...]
    sides: str = field(default="", compare=False)
    do: str = field(default="", compare=False)

    @property
    def at_once(self) -> bool:
        """Whether nothing else looks alike, not even for a moment."""
        return self.kind == TWO_NAMES

    @property
    def text(self) -> str:
        """The clash in a line."""
        return f"{self.kind}: {self.sides}"


def clashes(beats: Mapping[str, Beat]) -> list[Clash]:
    """Find every clash in the beats of the replicas that live, by kind and name."""
    found = [*_two_kamailios(beats), *_two_names(beats), *_two_replicas(beats)]
    return sorted(found, key=lambda clash: (clash.kind, clash.names))


def _two_kamailios(beats: Mapping[str, Beat]) -> Iterator[Clash]:
    said: dict[str, dict[str, str]] = {}
    for replica, beat in sorted(beats.items()):
        for node, each in beat.identities.items():
            said.setdefault(node, {})[replica] = each
    for node, by_replica in said.items():
        if any(differ(one, other) for one, other in combinations(by_replica.values(), 2)):
            sides = "; ".join(f"{_shown(each)} by {replica}" for replica, each in by_replica.items())
            do = "give each Kamailio a name of its own, the same at all replicas (EVAPI_NODES)"
            yield Clash(TWO_KAMAILIOS, (node,), f"{node} is {sides}", do)


def _two_names(beats: Mapping[str, Beat]) -> Iterator[Clash]:
    said: dict[str, dict[str, tuple[str, str]]] = {}  # identity and replica, by node, by Kamailio
    for replica, beat in sorted(beats.items()):
        for node, each in beat.identities.items():
            said.setdefault(_key(each), {}).setdefault(node, (each, replica))
    for by_node in said.values():
        if len(by_node) > 1:
            names = tuple(sorted(by_node))
            sides = "; ".join(f"{node} is {_shown(by_node[node][0])} by {by_node[node][1]}" for node in names)
            do = f"name it once, the same at all replicas (EVAPI_NODES); until then {names[0]} counts"
            yield Clash(TWO_NAMES, names, sides, do)


def _two_replicas(beats: Mapping[str, Beat]) -> Iterator[Clash]:
    named: dict[str, list[str]] = {}
    for replica, beat in sorted(beats.items()):
        if beat.accepting:  # one that drains may be about to be replaced
            named.setdefault(replica.partition("~")[0], []).append(replica)
    for name, full in named.items():
        if len(full) > 1:
            sides = ", ".join(f"{each} ({beats[each].about.get('http', 'http unknown')})" for each in full)
            yield Clash(TWO_REPLICAS, (name,), sides, "give each process a name of its own (EVAPI_REPLICA)")


def _shown(each: str) -> str:
    incarnation, _, address = each.rpartition("@")
    return f"the Kamailio at {address}" + (f" (life {incarnation})" if incarnation else "")


class Watch:
    """Which clashes last, and which of them have been told."""

    def __init__(self) -> None:
        self._since: dict[Clash, float] = {}
        self._told: dict[Clash, Clash] = {}

    @property
    def told(self) -> list[Clash]:
        """The clashes that were told and last."""
        return list(self._told.values())

    def update(self, found: Iterable[Clash], now: float) -> tuple[list[Clash], list[Clash]]:
        """Take in what clashes now.

        Args:
            found: every clash, of which those that look alike for a moment wait for ``LASTS``.
            now: seconds of any one clock.

        Returns:
            The clashes to be told of, and those that were told of and have ended.
        """
        there = {clash: clash for clash in found}
        self._since = {clash: self._since.get(clash, now) for clash in there}
        lasting = {clash: clash for clash in there if clash.at_once or now >= self._since[clash] + LASTS}
        began = [clash for clash in lasting if clash not in self._told]
        ended = [clash for clash in self._told if clash not in there]
        self._told = {clash: there[clash] for clash in (*self._told, *began) if clash in there}
        return began, ended
