"""What a replica says of itself, as JSON: the same in Redis' hash and on RabbitMQ. Pure."""

from __future__ import annotations

import json

from adapter.inflight.base import Beat


def told(beat: Beat) -> str:
    """Write a beat, so that an operator may read it, too."""
    said = {
        "broker": beat.broker,
        "accepting": beat.accepting,
        "nodes": sorted(beat.nodes),
        "rank": beat.rank,
        "stuck": sorted(beat.stuck),
        "deaf": sorted(beat.deaf),
        "tags": beat.tags,
        "claims": sorted(beat.claims),
        "yields": sorted(beat.yields),
        "contact": beat.contact,
        "number": beat.number,
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
            "rank": int(rank),
            "stuck": [*stuck],
        } if all(isinstance(node, str) for node in (*nodes, *stuck)):
            about, number, at, contact = (found.get(key) for key in ("about", "number", "at", "contact"))
            return Beat(
                broker,
                accepting,
                frozenset(nodes),
                rank,
                stuck=frozenset(stuck),
                deaf=_names(found.get("deaf")),
                claims=_names(found.get("claims")),
                yields=_names(found.get("yields")),
                contact=float(contact) if type(contact) in (int, float) else None,
                tags=found.get("tags") is True,
                number=number if type(number) is int else 0,
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
