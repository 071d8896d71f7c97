"""What a replica says of itself with each beat, and what all of them say; as JSON, the same in Redis' hash
and on RabbitMQ. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Beat:
    """What a replica says of itself with each beat, and its ``age`` in seconds when it is read.

    ``broker``: it can publish. ``accepting``: it does not drain; ``claiming``: it claims, though it may
    drain. ``nodes``: it can write to them. ``priority``: of its consumers of replies. ``stuck``: nodes
    that do not read what it wrote, and to which that may still come. ``about``: what is of interest to
    people alone. ``deaf``: nodes whose replies it cannot consume, ``unheard``: those whose replies it
    does not consume at this moment. ``tags``: its correlation ids have a tag; those of the build before
    this one had none. ``number``: a later beat of the same replica has a higher one. ``at``: its clock
    when it beat, in epoch seconds; 0.0 where it does not say. ``off``: seconds by which that is ahead of
    the store's clock, as far as known. ``results``: nodes whose replies are sent to another queue than
    the usual one, and its name. ``identities``: which Kamailio each linked node is, see
    ``adapter.cluster.identities``. ``claims``: nodes whose suspensions it claims now. ``yields``: nodes
    that it leaves to a replica which has the store. ``contact``: seconds since the store answered it;
    None: never. ``whole``: the number of a beat that the store has answered, and all that the replica had
    done before that beat the store has got by now; 0: none, or a replica of the build before.
    """

    broker: bool = True
    accepting: bool = True
    nodes: frozenset[str] = frozenset()
    priority: int = 0
    age: float = 0.0
    stuck: frozenset[str] = frozenset()
    about: Mapping[str, Any] = field(default_factory=dict, compare=False)
    deaf: frozenset[str] = frozenset()
    unheard: frozenset[str] = frozenset()
    claiming: bool = True
    tags: bool = True
    number: int = field(default=0, compare=False)
    at: float = field(default=0.0, compare=False)
    off: float = field(default=0.0, compare=False)
    results: Mapping[str, str] = field(default_factory=dict)
    identities: Mapping[str, str] = field(default_factory=dict)
    claims: frozenset[str] = frozenset()
    yields: frozenset[str] = frozenset()
    contact: float | None = field(default=None, compare=False)
    whole: int = field(default=0, compare=False)

    def asks(self, node: str) -> bool:
        """Return True if it can publish, and consumes what is replied about the node."""
        return self.broker and node not in self.deaf

    def answered_at(self, made: float) -> float:
        """When the store had answered it last, if it is from that time. What is stored late is older than it
        seems."""
        return float("-inf") if self.contact is None else min(made, self.at or made) - self.contact

    def serves(self, node: str) -> bool:
        """Whether it can take a suspension of the node all the way."""
        return self.asks(node) and self.accepting and node in self.nodes and node not in self.yields


class Snapshot(NamedTuple):
    """Every replica's last beat by name, this one's included. ``known``: whether this one was on
    the list before; if it had beaten a moment ago and was not, the store has lost its memory.
    ``orders``: what an operator wants left alone, see ``replica_order`` and ``node_order``. ``at``: the
    store's clock, in epoch seconds; None where it has none of its own. ``memory``: another one if the store
    may have forgotten anything in between; empty: it does not tell.
    """

    beats: Mapping[str, Beat]
    known: bool
    orders: frozenset[str] = frozenset()
    at: float | None = None
    memory: str = ""


def replica_order(replica: str) -> str:
    """The name of the order to drain a replica."""
    return f"replica:{replica}"


def node_order(node: str) -> str:
    """The name of the order to pause a node."""
    return f"node:{node}"


def told(beat: Beat) -> str:
    """Write a beat, so that an operator may read it, too."""
    said = {
        "broker": beat.broker,
        "accepting": beat.accepting,
        "nodes": sorted(beat.nodes),
        "rank": beat.priority,
        "stuck": sorted(beat.stuck),
        "deaf": sorted(beat.deaf),
        "claiming": beat.claiming,
        "unheard": sorted(beat.unheard),
        "tags": beat.tags,
        "claims": sorted(beat.claims),
        "yields": sorted(beat.yields),
        "contact": beat.contact,
        "number": beat.number,
        "whole": beat.whole,
        "at": round(beat.at, 4),
        "results": beat.results,
        "identities": beat.identities,
        "about": beat.about,
    }
    return json.dumps(said, separators=(",", ":"))


def heard(said: bytes | str) -> Beat | None:
    """Read a beat; None if it is not one. Members that this version does not know are passed over."""
    try:
        found = json.loads(said)
    except (ValueError, RecursionError):
        return None
    match found:
        case {
            "broker": bool(broker),
            "accepting": bool(accepting),
            "nodes": [*nodes],
            "rank": int(priority),
            "stuck": [*stuck],
        } if all(isinstance(node, str) for node in (*nodes, *stuck)):
            about, number, at, contact = (found.get(key) for key in ("about", "number", "at", "contact"))
            whole = found.get("whole")
            return Beat(
                broker,
                accepting,
                frozenset(nodes),
                priority,
                stuck=frozenset(stuck),
                deaf=_names(found.get("deaf")),
                claiming=found.get("claiming") is not False,
                unheard=_names(found.get("unheard")),
                claims=_names(found.get("claims")),
                yields=_names(found.get("yields")),
                contact=float(contact) if type(contact) in (int, float) else None,
                tags=found.get("tags") is True,
                number=number if type(number) is int else 0,
                whole=whole if type(whole) is int else 0,
                at=at if type(at) is float else 0.0,
                about=about if isinstance(about, dict) else {},
                results=_by_node(found.get("results")),
                identities=_by_node(found.get("identities")),
            )
    return None


def _by_node(said: object) -> dict[str, str]:
    return {str(node): str(each) for node, each in said.items()} if isinstance(said, dict) else {}


def _names(found: object) -> frozenset[str]:
    return frozenset(map(str, found)) if isinstance(found, list) else frozenset()
