"""``evapi-adapter drain``, ``pause`` and ``resume``: who is to take no calls, by an operator's order."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from adapter.cli import complete, options
from adapter.cli.output import Column, Format, Output, escaped
from adapter.errors import AdapterError, SettingsError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from adapter.admin.overview import Overview
    from adapter.inflight.operator import OperatorStore
    from adapter.settings import Settings

WAIT: Final = 5.0
"""Seconds for the replicas to obey: each sees an order with its next beat, four of which make a lease."""
LOOK_EACH: Final = 0.1
EPILOG_DRAIN: Final = (
    "Examples:  evapi-adapter drain adapter-0 --reason 'kernel update'    evapi-adapter resume adapter-0"
)
EPILOG_PAUSE: Final = (
    "Examples:  evapi-adapter pause sbc1 --reason 'carrier test' --yes    evapi-adapter resume sbc1"
)
EPILOG_RESUME: Final = "Examples:  evapi-adapter resume sbc1    evapi-adapter resume adapter-0"

Reason = Annotated[str, typer.Option(help="Why; others see it.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
COLUMNS: Final = (
    Column("replica", "replica"),
    Column("node", "node"),
    Column("state", "state"),
    Column("served_by", "calls go to", lambda nodes: ", ".join(_way(*each) for each in nodes.items())),
    Column("reason", "reason"),
)


class NotDone(AdapterError):
    """What was ordered is not so yet, or cannot be."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to do: ``name`` as in the store, of a ``replica`` (its full name) or a ``node``."""

    name: str
    replica: str = ""
    node: str = ""


def _way(node: str, replica: str | None) -> str:
    return escaped(f"{node}: {replica or 'nobody'}")


def drain(
    replica: Annotated[
        str, typer.Argument(autocompletion=complete.replicas, help="Its name, as `replicas` shows it.")
    ],
    reason: Reason = "",
    yes: Yes = False,
    redis_url: options.RedisUrl = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """Let a replica take no more calls: others take over its nodes, what it has in flight ends as usual.

    It lasts until `resume`, or until that process ends. Where no other replica serves one of its nodes a
    confirmation is wanted, or --yes. Exit codes: 0 it takes none, 1 not done (no such replica; it does not
    obey within 5 s; Redis is away), 2 wrong usage, or nobody to ask and no --yes.
    """

    async def work(store: OperatorStore, look: Look, out: Output) -> None:
        found = await look()
        order = _replica(found, replica)
        alone = _only_one(found, order.replica)
        if alone:
            shown = ", ".join(map(escaped, alone))
            _confirm(yes, f"No other replica serves {shown}: calls there get the local fallback. Drain it?")
        await _write(store, order.name, "drain", reason)
        obeyed = await _obeyed(look, lambda now: _handed_over(now, order.replica))
        now = await _tidied(store, await look(), out)
        _tell(out, now, order, "drained" if obeyed else "draining", reason)
        out.say(f"what it has in flight ends as usual; `evapi-adapter resume {_short(now, order.replica)}`")
        if not obeyed:
            raise NotDone(f"{order.replica} does not obey within {WAIT:g} s; the order stands: does it hang?")

    _do(work, redis_url, output, more)


def pause(
    node: Annotated[
        str, typer.Argument(autocompletion=complete.nodes, help="A node (Kamailio), as `nodes` shows it.")
    ],
    reason: Reason = "",
    yes: Yes = False,
    redis_url: options.RedisUrl = None,
    nodes: options.Nodes = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """Let no replica take calls of a node: its health gate closes, so that it decides by itself.

    What it suspends nevertheless is answered `unavailable` at once; what is in flight ends as usual. It
    lasts until `resume`. Exit codes: 0 paused, 1 not done (no such node; not confirmed; replicas do not
    obey within 5 s; Redis is away), 2 wrong usage, or nobody to ask and no --yes.
    """

    async def work(store: OperatorStore, look: Look, out: Output) -> None:
        order = _node(await look(), node)
        _confirm(yes, f"Calls of {escaped(node)} then get the local fallback. Pause it?")
        await _write(store, order.name, "pause", reason)
        obeyed = await _obeyed(look, lambda now: not _served(now, node))
        _tell(out, await look(), order, "paused" if obeyed else "pausing", reason)
        out.say(f"what is in flight ends as usual; `evapi-adapter resume {escaped(node)}`")
        if not obeyed:
            raise NotDone(
                f"not every replica obeys within {WAIT:g} s; the order stands: `evapi-adapter nodes`"
            )

    _do(work, redis_url, output, more, nodes=nodes)


def resume(
    name: Annotated[
        str,
        typer.Argument(
            autocompletion=complete.replicas_and_nodes,
            help="A replica that was drained, or a node that was paused.",
        ),
    ],
    redis_url: options.RedisUrl = None,
    nodes: options.Nodes = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """Take `drain` or `pause` back.

    Where a node and a replica have the same name write node:NAME or replica:NAME. Exit codes: 0 calls are
    taken again (also where they always were), 1 not done (no such name; replicas do not obey within 5 s;
    Redis is away), 2 wrong usage.
    """

    async def work(store: OperatorStore, look: Look, out: Output) -> None:
        found = await look()
        order = _ordered(found, name)
        if not await store.countermand(order.name):
            out.say(f"{escaped(name)} was neither drained nor paused")
        if order.replica and _silent(found, order.replica):
            out.say(f"{escaped(order.replica)} is silent; the order is taken back all the same")
            _tell(out, await _tidied(store, await look(), out), order, "silent", "")
            return
        if order.replica:
            obeyed = await _obeyed(look, lambda now: _accepting(now, order.replica))
        else:
            obeyed = await _obeyed(look, lambda now: _served(now, order.node))
        now = await _tidied(store, await look(), out)
        _tell(out, now, order, "resumed" if obeyed else "resuming", "")
        if not obeyed:
            what = "it does not obey" if order.replica else "no replica is active for it"
            raise NotDone(f"the order is taken back, but within {WAIT:g} s {what}: `evapi-adapter nodes`")

    _do(work, redis_url, output, more, nodes=nodes)


if TYPE_CHECKING:
    Look = Callable[[], Coroutine[Any, Any, Overview]]
    Work = Callable[[OperatorStore, Look, Output], Coroutine[Any, Any, None]]


def _do(
    work: Work, redis_url: str | None, output: Format, more: list[str] | None, nodes: str | None = None
) -> None:
    """Raises SettingsError, StoreUnavailable, NotDone."""
    from adapter.admin.away import redis_away

    chosen = options.settings(more, redis_url=redis_url, nodes=nodes)
    try:
        options.run(_connected(work, chosen, Output(output)))
    except StoreUnavailable as exc:
        raise redis_away(chosen, exc) from exc


async def _connected(work: Work, chosen: Settings, out: Output) -> None:
    import asyncio

    from adapter.admin.overview import Overview, Store

    store = options.redis(chosen)
    must = tuple(node.name for node in chosen.fixed_nodes) if "nodes" in chosen.model_fields_set else ()

    async def look() -> Overview:
        at, beats, orders = await asyncio.gather(store.time(), store.snapshot(), store.orders())
        return Overview(chosen.lease, Store(at, beats, orders), nodes=must)

    try:
        await work(store, look, out)
    finally:
        await store.close()


async def _write(store: OperatorStore, name: str, what: str, reason: str) -> None:
    at = await store.time()
    await store.order(name, {"order": what, "by": options.who(), "at": at, "reason": reason})


async def _obeyed(look: Look, condition: Callable[[Overview], bool]) -> bool:
    """Whether it is so in time, for good: every replica that lives has taken it in, and said what it
    does since.

    Each takes in an order, and what others do, with one beat, and tells of it with the next. They are
    counted: on a busy machine a beat may be late.
    """
    import asyncio

    from adapter.admin.overview import live

    end = asyncio.get_running_loop().time() + WAIT
    since: dict[str, tuple[float, int]] = {}  # of each replica the last beat, and how many came since
    while True:
        found = await look()
        assert found.store is not None, "see _connected"
        if not condition(found):
            since.clear()
        else:
            there = live(found)
            for name, beat in there.items():
                at = found.store.at - beat.age
                last, beats = since.setdefault(name, (at, 0))
                if at - last > found.lease / 16:  # a fourth of the time between two
                    since[name] = at, beats + 1
            if all(since[name][1] >= 2 for name in there):
                return True
        if asyncio.get_running_loop().time() >= end:
            return False
        await asyncio.sleep(LOOK_EACH)


async def _tidied(store: OperatorStore, found: Overview, out: Output) -> Overview:
    """The same less the orders of replicas that are gone for good: nobody is called so again."""
    from adapter.model.beat import replica_order

    assert found.store is not None, "see _connected"
    of_replicas, there = replica_order(""), set(map(replica_order, found.store.beats))
    gone = [name for name in found.store.orders if name.startswith(of_replicas) and name not in there]
    for name in gone:
        if await store.countermand(name):
            out.say(f"the order for {escaped(name[len(of_replicas) :])} is removed: that replica is gone")
    orders = {name: value for name, value in found.store.orders.items() if name not in gone}
    return replace(found, store=replace(found.store, orders=orders))


def _replica(found: Overview, name: str) -> Order:
    """Which replica is meant. Raises NotDone, with those that are known."""
    from adapter.admin.overview import live
    from adapter.model.beat import replica_order

    assert found.store is not None, "see _connected"
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


def _node(found: Overview, name: str) -> Order:
    """Raises NotDone, with the nodes that are known."""
    from adapter.admin.overview import node_names
    from adapter.model.beat import node_order

    known = node_names(found)
    if name not in known:
        raise NotDone(f"no node is called {name!r}; there {_listed(known)}")
    return Order(node_order(name), node=name)


def _ordered(found: Overview, name: str) -> Order:
    """What ``resume`` means: of what is so called that for which there is an order. Raises NotDone."""
    from adapter.admin.overview import node_names
    from adapter.model.beat import node_order, replica_order

    assert found.store is not None, "see _connected"
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
        each for each in meant if each.node or not _silent(found, each.replica)
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


def _confirm(yes: bool, question: str) -> None:
    """Raises SettingsError where nobody can be asked, NotDone where the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise SettingsError("--yes", f"is needed where nobody can be asked: {question.rpartition('.')[0]}")
    if not typer.confirm(question, err=True):
        raise NotDone("nothing was ordered")


def _only_one(found: Overview, replica: str) -> list[str]:
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


def _accepting(found: Overview, replica: str) -> bool:
    assert found.store is not None, "see _connected"
    beat = found.store.beats.get(replica)
    return beat is not None and beat.accepting


def _handed_over(found: Overview, replica: str) -> bool:
    """Whether a replica takes no calls, and another is active for each node that another can serve."""
    from adapter.admin.overview import active, active_for, live

    assert found.store is not None, "see _connected"
    beat = found.store.beats.get(replica)
    if beat is None:
        return True
    others = [each for name, each in live(found).items() if name != replica]
    nodes = [node for node in beat.nodes if any(other.serves(node) for other in others)]
    return not beat.accepting and not active_for(beat) and all(active(found, node) for node in nodes)


def _silent(found: Overview, replica: str) -> bool:
    from adapter.admin.overview import live

    return replica not in live(found)


def _served(found: Overview, node: str) -> bool:
    from adapter.admin.overview import active

    return active(found, node) is not None


def _short(found: Overview, replica: str) -> str:
    from adapter.admin.overview import short

    assert found.store is not None, "see _connected"
    return escaped(short(found.store.beats).get(replica, replica))


def _tell(out: Output, found: Overview, order: Order, state: str, reason: str) -> None:
    """What is so now. ``served_by``: the active replica of each node that is concerned."""
    from adapter.admin.overview import active, links, node_names

    assert found.store is not None, "see _connected"
    beat = found.store.beats.get(order.replica)
    concerned = [order.node] if order.node else list(links(beat)) if beat else node_names(found)
    row: dict[str, Any] = {
        "replica": order.replica or None,
        "node": order.node or None,
        "state": state,
        "served_by": {node: active(found, node) for node in concerned},
        "reason": reason,
    }
    if out.format is Format.TABLE:
        ways = row["served_by"].items()
        row["served_by"] = {node: who and _short(found, who) for node, who in ways}
    out.one(row, COLUMNS)
