"""How the whole is, made into rows. Pure; ``watch`` asks for it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from adapter.cluster.rendezvous import choose
from adapter.model.beat import node_order, replica_order
from adapter.model.transaction import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from adapter.admin.recent import Recent
    from adapter.admin.services import Service
    from adapter.model.beat import Beat
    from adapter.model.transaction import Transaction

GRACE: Final = 0.5
"""Seconds past a deadline within which a call is still answered."""
SILENT: Final = 2.0
"""Leases without a beat after which a replica counts as silent: others have taken over after one."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is claimed of a node. ``oldest``: seconds since the first of it was claimed; ``overdue``: how
    many have passed their deadline and were not answered.
    """

    in_flight: int = 0
    oldest: float | None = None
    overdue: int = 0


@dataclass(frozen=True, slots=True)
class Store:
    """What Redis told, ``at`` epoch seconds by its clock; ``embedded``: or an adapter that has no Redis."""

    at: float
    beats: Mapping[str, Beat] = field(default_factory=dict)
    orders: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    loads: Mapping[str, Load] = field(default_factory=dict)
    embedded: bool = False


@dataclass(frozen=True, slots=True)
class Bus:
    """What RabbitMQ told. ``dead_letters`` is ``None`` where there is no such queue. ``complete``: the
    management API has told of every service there is. ``embedded``: an adapter told it that has no RabbitMQ.
    """

    version: str = ""
    blocked: bool = False
    dead_letters: int | None = None
    services: tuple[Service, ...] = ()
    complete: bool = False
    embedded: bool = False


@dataclass(frozen=True, slots=True)
class Overview:
    """All of it. What was not asked is ``None``; of a server that is away, the problem tells.

    ``nodes``: those that must be there. ``lease``: seconds, as the replicas have it.
    """

    lease: float
    store: Store | None = None
    store_problem: str = ""
    bus: Bus | None = None
    bus_problem: str = ""
    recent: Recent | None = None
    nodes: tuple[str, ...] = ()


def load(records: Iterable[Transaction], now: float) -> Load:
    """What is claimed of a node, by its records."""
    claimed = [record for record in records if record.state is State.CLAIMED]
    if not claimed:
        return Load()
    oldest = max(now - min(record.claimed_at for record in claimed), 0.0)
    return Load(len(claimed), oldest, sum(record.deadline + GRACE < now for record in claimed))


def short(names: Iterable[str]) -> dict[str, str]:
    """Each replica's name as people call it: without the mark of its life, where that tells it apart."""
    full = list(names)
    bare = Counter(name.partition("~")[0] for name in full)
    return {name: name.partition("~")[0] if bare[name.partition("~")[0]] == 1 else name for name in full}


def state(beat: Beat, lease: float, ordered: bool) -> str:
    """In a word: live, silent, draining (on its way out, or has yet to obey), drained (by order)."""
    if beat.age > SILENT * lease:
        return "silent"
    if not beat.accepting:
        return "drained" if ordered else "draining"
    return "draining" if ordered else "live"


def live(overview: Overview) -> dict[str, Beat]:
    """The replicas that are not silent."""
    if overview.store is None:
        return {}
    beats = overview.store.beats
    return {name: beat for name, beat in beats.items() if beat.age <= SILENT * overview.lease}


def links(beat: Beat) -> dict[str, str]:
    """The state of its link to each node, as a replica says."""
    told = beat.about.get("links")
    return {str(node): str(how) for node, how in told.items()} if isinstance(told, dict) else {}


def known(beat: Beat) -> list[str]:
    """The nodes that a replica says there are."""
    told = beat.about.get("known")
    return [str(node) for node in told] if isinstance(told, list) else []


def active_for(beat: Beat) -> list[str]:
    """The nodes for which a replica says that it is the active one."""
    told = beat.about.get("active")
    return [str(node) for node in told] if isinstance(told, list) else []


def links_per_node(there: Mapping[str, Beat]) -> int:
    """How many of these replicas are to have a link to each node, as they say themselves; 0: all."""
    told = [beat.about.get("links_per_node") for beat in there.values()]
    counts = [count if isinstance(count, int) else 0 for count in told]
    return 0 if 0 in counts else max(counts, default=0)


def links_to(node: str, there: Mapping[str, Beat]) -> dict[str, str]:
    """The state of each replica's link to a node, by name: those that have one, and as ``none`` those that
    would have to, where there are fewer than ``links_per_node``.
    """
    found = {name: links(beat)[node] for name, beat in there.items() if node in links(beat)}
    wanted = min(links_per_node(there) or len(there), len(there))
    while len(found) < wanted:
        found[choose(node, there.keys() - found) or ""] = "none"
    return dict(sorted(found.items()))


def node_names(overview: Overview) -> list[str]:
    """Every node: those that the replicas that live know (else those that did), those that are paused, and
    those that must be there.
    """
    if overview.store is None:
        return sorted(overview.nodes)
    beats = live(overview) or overview.store.beats
    names = {node for beat in beats.values() for node in (*links(beat), *known(beat), *beat.nodes)}
    pause = node_order("")
    names |= {order[len(pause) :] for order in overview.store.orders if order.startswith(pause)}
    return sorted(names.union(overview.nodes))


def active(overview: Overview, node: str) -> str | None:
    """The active replica of a node: of those that say so the one that beat last."""
    found = [(beat.age, name) for name, beat in live(overview).items() if node in active_for(beat)]
    return min(found)[1] if found else None


def order(overview: Overview, name: str) -> Mapping[str, Any] | None:
    """An operator's order, by its name: by, at (epoch seconds), reason."""
    found = None if overview.store is None else overview.store.orders.get(name)
    if found is None:
        return None
    at = found.get("at")
    return {
        "by": str(found.get("by", "")),
        "at": float(at) if isinstance(at, int | float) else None,
        "reason": str(found.get("reason", "")),
    }


def replica_rows(overview: Overview) -> list[dict[str, Any]]:
    """A row for each replica that is listed, those that live first."""
    store = overview.store
    if store is None:
        return []
    names = short(store.beats)
    rows = []
    for full, beat in store.beats.items():
        ordered = order(overview, replica_order(full))
        since = beat.about.get("since")
        since = float(since) if isinstance(since, int | float) else None
        rows.append(
            {
                "replica": full,
                "name": names[full],
                "state": state(beat, overview.lease, ordered is not None),
                "active_for": sorted(active_for(beat)) if full in live(overview) else [],
                "links": links(beat),
                "broker": beat.broker,
                "beat_age": beat.age,
                "version": str(beat.about.get("version", "")),
                "since": since,
                "up": None if since is None else max(store.at - since, 0.0),
                "http": str(beat.about.get("http", "")),
                "policy": str(beat.about.get("policy", "")),
                "order": ordered,
            }
        )
    return sorted(rows, key=lambda row: (row["state"] == "silent", row["replica"]))


def node_rows(overview: Overview) -> list[dict[str, Any]]:
    """A row for each node. ``gate``: open, closed, or paused."""
    store = overview.store
    if store is None:
        return []
    there = live(overview)
    names = short(store.beats)
    rows = []
    for node in node_names(overview):
        paused = order(overview, node_order(node))
        who = active(overview, node)
        found = store.loads.get(node, Load())
        serving = any(beat.serves(node) for beat in there.values())
        rows.append(
            {
                "node": node,
                "active": who,
                "active_name": None if who is None else names[who],
                "in_flight": found.in_flight,
                "oldest": found.oldest,
                "overdue": found.overdue,
                "links": links_to(node, there),
                "gate": "paused" if paused is not None else "open" if serving else "closed",
                "paused": paused,
            }
        )
    return rows


def service_rows(overview: Overview) -> list[dict[str, Any]]:
    """A row for each service that is known."""
    found: Sequence[Service] = () if overview.bus is None else overview.bus.services
    return [
        {
            "name": each.name,
            "queue": each.queue,
            "messages": each.messages,
            "consumers": each.consumers,
            "hidden": each.hidden,
            "remark": each.remark,
        }
        for each in found
    ]


def calls(overview: Overview) -> dict[str, Any] | None:
    """Of the last minute: rate (now, calls a second), calls, seconds (that are known), per_second (the
    latest last), outcomes, steps (what decided those that several services decide), fallback_share, latency
    (seconds by share: p50, p95, p99, max).
    """
    recent, store = overview.recent, overview.store
    if recent is None or store is None:
        return None
    p50, p95, p99, most = recent.latencies(0.5, 0.95, 0.99, 1.0)
    return {
        "rate": recent.rate(store.at),
        "calls": recent.calls,
        "seconds": recent.covered,
        "per_second": recent.per_second(store.at),
        "outcomes": dict(recent.outcomes.most_common()),
        "steps": dict(recent.steps.most_common()),
        "fallback_share": recent.fallbacks,
        "latency": {"p50": p50, "p95": p95, "p99": p99, "max": most},
    }


def whole(overview: Overview) -> dict[str, Any]:
    """All of it as one row. A server's ``ok`` is ``None`` where it was not asked."""
    store, bus = overview.store, overview.bus
    return {
        "at": None if store is None else store.at,
        "redis": {
            "ok": False if overview.store_problem else None if store is None else True,
            "problem": overview.store_problem,
        },
        "rabbitmq": {
            "ok": False if overview.bus_problem else None if bus is None else True,
            "problem": overview.bus_problem,
            "version": "" if bus is None else bus.version,
            "blocked": None if bus is None else bus.blocked,
        },
        "calls": calls(overview),
        "nodes": node_rows(overview),
        "replicas": replica_rows(overview),
        "services": service_rows(overview),
        "services_complete": None if bus is None else bus.complete,
        "dead_letters": None if bus is None else bus.dead_letters,
    }
