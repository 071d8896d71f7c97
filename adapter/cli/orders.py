"""What an order of an operator is about, and whether it is so: of the replicas and nodes that there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapter.cli.output import escaped
from adapter.errors import AdapterError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adapter.admin.overview import Overview


class NotDone(AdapterError):
    """What was ordered is not so yet, or cannot be."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to do: ``name`` as in the store, of a ``replica`` (its full name) or a ``node``."""

    name: str
    replica: str = ""
    node: str = ""


def of_replica(found: Overview, name: str) -> Order:
    """Return the order about the replica of this name. Raises NotDone, with those that are known."""
    from adapter.admin.overview import live
    from adapter.model.beat import replica_order

    assert found.store is not None, "see control"
    beats = found.store.beats
    meant = [full for full in beats if full == name] or [
        full for full in beats if full.partition("~")[0] == name
    ]
    meant = [full for full in meant if full in live(found)] or meant  # of its lives the one that lasts
    if len(meant) == 1:
        return Order(replica_order(meant[0]), replica=meant[0])
    which = _listed(meant or beats)
    if meant:
        raise NotDone(f"more than one replica is called {name!r}: {which}")
    raise NotDone(f"no replica is called {name!r}; there {which}")


def of_node(found: Overview, name: str) -> Order:
    """Return the order about the node of this name. Raises NotDone, with those that are known."""
    from adapter.admin.overview import node_names
    from adapter.model.beat import node_order

    known = node_names(found)
    if name not in known:
        raise NotDone(f"no node is called {name!r}; there {_listed(known)}")
    return Order(node_order(name), node=name)


def of_either(found: Overview, name: str) -> Order:
    """What ``resume`` means: of what is so called that for which there is an order. Raises NotDone."""
    from adapter.admin.overview import node_names
    from adapter.model.beat import node_order, replica_order

    assert found.store is not None, "see control"
    orders, of_replicas, of_nodes = found.store.orders, replica_order(""), node_order("")
    kind = next((each for each in (of_replicas, of_nodes) if name.startswith(each)), "")
    bare = name.removeprefix(kind)
    meant: list[Order] = []
    if kind != of_nodes:
        listed = {
            *found.store.beats,
            *(each[len(of_replicas) :] for each in orders if each.startswith(of_replicas)),
        }
        called = [full for full in listed if full == bare] or [
            full for full in listed if full.partition("~")[0] == bare
        ]
        meant += [Order(replica_order(full), replica=full) for full in sorted(called)]
    if kind != of_replicas and bare in node_names(found):
        meant.append(Order(node_order(bare), node=bare))
    meant = [each for each in meant if each.name in orders] or [
        each for each in meant if each.node or not silent(found, each.replica)
    ]
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise NotDone(f"{name!r} may mean {_listed(each.name for each in meant)}: write which")
    known = [*found.store.beats, *node_names(found)]
    raise NotDone(f"no replica and no node is called {name!r}; there {_listed(known)}")


def _listed(names: Iterable[str]) -> str:
    found = sorted(names)
    return f"{'is' if len(found) == 1 else 'are'} {', '.join(map(escaped, found))}" if found else "is none"


def only_one(found: Overview, replica: str) -> list[str]:
    """The nodes that this replica serves and no other does."""
    from adapter.admin.overview import live

    there = live(found)
    if replica not in there:
        return []
    others = [beat for name, beat in there.items() if name != replica]
    mine = there[replica]
    return [
        node
        for node in sorted(mine.nodes)
        if mine.serves(node) and not any(beat.serves(node) for beat in others)
    ]


def accepting(found: Overview, replica: str) -> bool:
    """Return True if a replica takes calls."""
    assert found.store is not None, "see control"
    beat = found.store.beats.get(replica)
    return beat is not None and beat.accepting


def handed_over(found: Overview, replica: str) -> bool:
    """Whether a replica takes no calls, and another is active for each node that another can serve."""
    from adapter.admin.overview import active, active_for, live

    assert found.store is not None, "see control"
    beat = found.store.beats.get(replica)
    if beat is None:
        return True
    others = [each for name, each in live(found).items() if name != replica]
    nodes = [node for node in beat.nodes if any(other.serves(node) for other in others)]
    return not beat.accepting and not active_for(beat) and all(active(found, node) for node in nodes)


def silent(found: Overview, replica: str) -> bool:
    """Return True if nothing is heard of a replica."""
    from adapter.admin.overview import live

    return replica not in live(found)


def served(found: Overview, node: str) -> bool:
    """Return True if a replica is active for a node."""
    from adapter.admin.overview import active

    return active(found, node) is not None
