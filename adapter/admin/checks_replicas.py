"""The replicas and their nodes, by what they say of themselves with each beat."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from adapter.admin import checks_names
from adapter.admin import overview as whole
from adapter.admin.checks_finding import Finding, Group, counted
from adapter.admin.checks_http import ready
from adapter.admin.checks_nodes import NODES
from adapter.cluster.clock import WRONG
from adapter.ports.broker import REMEDY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from adapter.admin.overview import Overview

REPLICAS: Final = Group("replicas")
ENOUGH: Final = 2
_WRITTEN: Final = ("paced", "silent", "unordered")
"""Links that take answers, if slowly."""
_LINKS: Final = {
    "receipts": "",
    "paced": "sends no receipts",
    "silent": "nothing ever came from it",
    "unordered": "has several EVAPI workers, whose receipts prove nothing",
    "unread": "does not read",
    "down": "no link",
    "none": "is to connect, and does not (does it know this node? EVAPI_NODES)",
}


def check(overview: Overview) -> list[Finding]:
    """Those that live and those that do not, versions, brokers, orders."""
    found = (_living, _silent, _versions, _states, _clocks, _dropped)
    return [
        *(finding for look in found for finding in look(overview)),
        *checks_names.check(overview, REPLICAS),
    ]


def _living(overview: Overview) -> Iterator[Finding]:
    live = whole.live(overview)
    if not live:
        why = "Nobody takes calls: each gets Kamailio's own fallback, or hangs without the health gate."
        seen = f"none has beaten within {whole.SILENT * overview.lease:g} s"
        yield REPLICAS.error("replicas", seen, why, "evapi-adapter run    # or look why it ended: its log")
        return
    names = ", ".join(sorted(whole.short(live).values()))
    seen = f"{len(live)} live: {names}"
    if len(live) < ENOUGH:
        why = (
            "If it dies its calls wait for their deadline, and new ones are not decided: a second saves them."
        )
        yield REPLICAS.warning(
            "replicas", seen, why, "evapi-adapter run    # on another machine, same settings"
        )
    else:
        yield REPLICAS.ok("replicas", seen)


def _silent(overview: Overview) -> Iterator[Finding]:
    assert overview.store is not None, "see check"
    replaced = {name.partition("~")[0] for name in whole.live(overview)}
    names = whole.short(overview.store.beats)
    for full, beat in sorted(overview.store.beats.items()):
        if full in whole.live(overview) or full.partition("~")[0] in replaced:
            continue
        seen = f"silent for {beat.age:.0f} s: it died, hangs, or is cut off from Redis"
        why = "Others have taken over its calls; until it is back there is one less to do so again."
        yield REPLICAS.warning(
            "silent", seen, why, f"journalctl -u evapi-adapter    # of {names[full]}", names[full]
        )


def _versions(overview: Overview) -> Iterator[Finding]:
    live = whole.live(overview)
    versions = Counter(str(beat.about.get("version", "unknown")) for beat in live.values())
    told = ", ".join(f"{version} ({number})" for version, number in sorted(versions.items()))
    if len(versions) > 1:
        why = (
            "Records and beats of another version may not be understood; a roll-out should not rest half way."
        )
        yield REPLICAS.warning("version", f"they differ: {told}", why, "evapi-adapter replicas")
    elif versions:
        yield REPLICAS.ok("version", told)


def _states(overview: Overview) -> Iterator[Finding]:
    live = whole.live(overview)
    all_names = {} if overview.store is None else whole.short(overview.store.beats)
    able = [name for name, beat in live.items() if beat.broker]
    for full in sorted(live):
        name = all_names[full]
        if not live[full].broker:
            seen = "it has no broker: it cannot publish"
            if able:
                why = "Others take its calls; where they die nobody does."
                yield REPLICAS.warning("broker", seen, why, "see rabbitmq above; its log", name)
            else:
                why = "Nor has any other: each call gets its fallback."
                yield REPLICAS.error("broker", seen, why, "see rabbitmq above; its log", name)
    for row in whole.replica_rows(overview):
        if row["state"] in ("drained", "draining"):
            name = row["name"]
            why = "It takes no new calls, by an order that stands until it is taken back."
            if row["order"] is None:
                why = "It takes no new calls: it is about to end."
            todo = f"evapi-adapter resume {name}" if row["order"] else "evapi-adapter replicas"
            yield REPLICAS.warning("order", f"{row['state']}{_by(row['order'])}", why, todo, name)


def _clocks(overview: Overview) -> Iterator[Finding]:
    """Replicas that say that their machine's clock is wrong, or their own."""
    live = whole.live(overview)
    names = whole.short(live)
    for full, beat in sorted(live.items()):
        off, corrected = (beat.about.get(key) for key in ("clock_off", "clock_corrected"))
        if isinstance(off, int | float) and abs(off) > WRONG:
            seen = f"its clock is {_ahead(off)} Redis', and it can follow that only slowly"
            why = "It leaves its nodes to another replica, if one has a better clock."
            todo = "chronyc tracking    # on both machines; then restart the replica"
            yield REPLICAS.error("clock-off", seen, why, todo, names[full])
        elif isinstance(corrected, int | float) and abs(corrected) > WRONG:
            seen = f"its machine's clock was {_ahead(corrected)} Redis' when it started; it goes by Redis'"
            why = "Calls are not harmed; its log's times are wrong, and without Redis it would be, too."
            todo = "chronyc tracking    # on its machine; timedatectl set-ntp true"
            yield REPLICAS.warning("machine-clock", seen, why, todo, names[full])


def _dropped(overview: Overview) -> Iterator[Finding]:
    """Queues of which RabbitMQ could not hand over what somebody sent."""
    live = whole.live(overview)
    names, numbers = whole.short(live), Counter[str]()
    by: dict[str, set[str]] = {}
    for full, beat in sorted(live.items()):
        for queue, number in _pairs(beat.about.get("dropped")):
            numbers[queue] += number
            by.setdefault(queue, set()).add(names[full])
    for queue, number in sorted(numbers.items()):
        who = ", ".join(sorted(by[queue]))
        told = counted(number, "message")
        seen = f"{told} of {queue} dropped since {who} started: RabbitMQ cannot hand them over"
        why = (
            "RabbitMQ closes the connection at each delivery of such a message. So the adapter takes it off "
            "the queue, and its call gets the fallback."
        )
        todo = f"{REMEDY}    # RabbitMQ's log has: content_properties_shortstr_overflow, or INTERNAL_ERROR"
        yield REPLICAS.warning("dropped", seen, why, todo, queue)


def _pairs(told: Any) -> list[tuple[str, int]]:
    """Of what a replica says, which may be of another version."""
    pairs = [each for each in told if len(each) == 2] if isinstance(told, list | tuple) else []
    return [(str(queue), number) for queue, number in pairs if isinstance(number, int)]


def _ahead(off: float) -> str:
    return f"{abs(off):.1f} s {'ahead of' if off > 0 else 'behind'}"


def _by(order: Mapping[str, Any] | None) -> str:
    if order is None:
        return ""
    when = "" if order["at"] is None else time.strftime(" at %Y-%m-%d %H:%M", time.localtime(order["at"]))
    why = f": {order['reason']}" if order["reason"] else ""
    return f" by {order['by'] or 'somebody'}{when}{why}"


def nodes(overview: Overview, in_flight: Mapping[str, int]) -> list[Finding]:
    """A finding for each node: who is active for it, and each replica's link."""
    names = whole.node_names(overview)
    if not whole.live(overview):
        return [NODES.unknown("node", "no replica lives to tell of it", of=name) for name in names]
    if not names:
        why = "Nobody asks for decisions: each Kamailio that suspends calls goes by its own fallback."
        todo = "set EVAPI_NODES; with dns:// or dns+srv://, see discovery"
        return [NODES.error("node", "the replicas know of none", why, todo)]
    return [_node(overview, row, in_flight.get(row["node"])) for row in whole.node_rows(overview)]


def _node(overview: Overview, row: Mapping[str, Any], in_flight: int | None) -> Finding:
    assert overview.store is not None, "see nodes"
    node, names, links = row["node"], whole.short(overview.store.beats), row["links"]
    if row["paused"] is not None:
        why = "No replica takes its calls: each gets the fallback, by an order that stands."
        seen = f"paused{_by(row['paused'])}"
        return NODES.warning("node", seen, why, f"evapi-adapter resume {node}", node)
    bad = {names[replica]: how for replica, how in links.items() if how != "receipts"}
    told = "; ".join(f"{name}: {_LINKS.get(how, how)}" for name, how in sorted(bad.items()))
    lost = sorted(name for name, how in bad.items() if how not in _WRITTEN)
    if row["active"] is None:
        return _nobody(overview, node, links)
    waits = "" if in_flight is None else f", {counted(in_flight, 'call')} in flight"
    active = f"{row['active_name']} is active{waits}"
    if lost:
        why = "A replica that cannot write to it cannot take over: fewer are left than it seems."
        todo = _look_at_link(node, (how for how in links.values() if how not in _WRITTEN))
        return NODES.warning("node", f"{active}; {told}", why, todo, node)
    if "unordered" in bad.values():
        why = "They handle frames out of order. So the adapter writes slowly, and cannot tell what was read."
        todo = 'modparam("evapi", "workers", 0)    # after the include, or no such line at all'
        return NODES.warning("node", f"{active}; its EVAPI has several workers", why, todo, node)
    if "silent" in bad.values():
        seen = f"{active}; nothing ever came from it: no hello, and no event"
        why = (
            "Its configuration is plain and no call has come yet; or the port is not EVAPI's: then no call "
            "ever comes, and nobody is asked."
        )
        todo = (
            f'ss -ltnp    # on {node}: who listens there? modparam("evapi", "bind_addr", ...) and EVAPI_NODES'
        )
        return NODES.warning("node", seen, why, todo, node)
    if bad:
        why = (
            "Without receipts the adapter writes slowly, and cannot tell what Kamailio has read: what is "
            "lost on the way is not sent again. Nor can be seen whether its workers poll, as they do by "
            "default from Kamailio 5.7 on: each answer waits up to 0.5 s then. doctor --kamailio-cfg FILE "
            "tells."
        )
        todo = 'include_file "evapi-adapter.cfg"    # from: evapi-adapter kamailio-cfg evapi-adapter.cfg'
        return NODES.warning("node", f"{active}; its Kamailio sends no receipts", why, todo, node)
    return NODES.ok("node", f"{active}; {counted(len(links), 'link')} with receipts", node)


def _nobody(overview: Overview, node: str, links: Mapping[str, str]) -> Finding:
    """No replica takes the node's calls; what keeps each of them from it."""
    assert overview.store is not None, "see nodes"
    live, names = whole.live(overview), whole.short(overview.store.beats)
    told, drained = [], []
    for full, how in links.items():
        reason = _LINKS.get(how, how)
        if not live[full].accepting:
            reason = "takes no calls"
            drained.append(names[full])
        elif not reason or how in _WRITTEN:
            reason = "has no broker" if not live[full].broker else "has not taken it yet"
        told.append(f"{names[full]}: {reason}")
    why = "Nobody takes its calls: they get the fallback, or hang without the health gate."
    todo = f"evapi-adapter resume {drained[0]}" if drained else _look_at_link(node, links.values())
    if told and all("has no broker" in each for each in told):
        todo = "see rabbitmq above: the link to Kamailio is well"
    return NODES.error("node", f"no replica is active for it; {'; '.join(sorted(told))}", why, todo, node)


def _look_at_link(node: str, links: Iterable[str]) -> str:
    if "unread" in set(links):
        return f"kamcmd evapi.list; kamcmd core.ps    # of {node}: Kamailio hangs, or its EVAPI worker does"
    return f"ss -ltnp | grep kamailio    # of {node}: does it listen there, and are max_clients enough?"


async def http(overview: Overview) -> list[Finding]:
    """What the HTTP port of each replica that lives says."""
    live = whole.live(overview)
    names = whole.short(live)
    asked = [
        ready(REPLICAS, str(beat.about.get("http", "")), names[full], str(beat.about.get("machine", "")))
        for full, beat in live.items()
    ]
    return list(await asyncio.gather(*asked))
