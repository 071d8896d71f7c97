"""``evapi-adapter drain``, ``pause`` and ``resume``: who is to take no calls, by an operator's order."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from adapter.cli import complete, options, orders
from adapter.cli.help import Commands
from adapter.cli.orders import NotDone
from adapter.cli.output import Column, Format, Output, escaped
from adapter.errors import SettingsError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from adapter.admin.overview import Overview
    from adapter.inflight.operator import OperatorStore
    from adapter.settings import Settings

app = Commands()

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

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
COLUMNS: Final = (
    Column("replica", "replica"),
    Column("node", "node"),
    Column("state", "state"),
    Column("served_by", "calls go to", lambda nodes: ", ".join(_way(*each) for each in nodes.items())),
    Column("reason", "reason"),
)


def _way(node: str, replica: str | None) -> str:
    return escaped(f"{node}: {replica or 'nobody'}")


@app.command(epilog=EPILOG_DRAIN)
def drain(
    replica: Annotated[
        str, typer.Argument(autocompletion=complete.replicas, help="Its name, as `replicas` shows it.")
    ],
    reason: options.Why = "",
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
        order = orders.of_replica(found, replica)
        alone = orders.only_one(found, order.replica)
        if alone:
            shown = ", ".join(map(escaped, alone))
            _confirm(yes, f"No other replica serves {shown}: calls there get the local fallback. Drain it?")
        await _write(store, order.name, "drain", reason)
        obeyed = await _obeyed(look, lambda now: orders.handed_over(now, order.replica))
        now = await _tidied(store, await look(), out)
        _tell(out, now, order, "drained" if obeyed else "draining", reason)
        out.say(f"what it has in flight ends as usual; `evapi-adapter resume {_short(now, order.replica)}`")
        if not obeyed:
            raise NotDone(f"{order.replica} does not obey within {WAIT:g} s; the order stands: does it hang?")

    _do(work, redis_url, output, more)


@app.command(epilog=EPILOG_PAUSE)
def pause(
    node: Annotated[
        str, typer.Argument(autocompletion=complete.nodes, help="A node (Kamailio), as `nodes` shows it.")
    ],
    reason: options.Why = "",
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
        order = orders.of_node(await look(), node)
        _confirm(yes, f"Calls of {escaped(node)} then get the local fallback. Pause it?")
        await _write(store, order.name, "pause", reason)
        obeyed = await _obeyed(look, lambda now: not orders.served(now, node))
        _tell(out, await look(), order, "paused" if obeyed else "pausing", reason)
        out.say(f"what is in flight ends as usual; `evapi-adapter resume {escaped(node)}`")
        if not obeyed:
            raise NotDone(
                f"not every replica obeys within {WAIT:g} s; the order stands: `evapi-adapter nodes`"
            )

    _do(work, redis_url, output, more, nodes=nodes)


@app.command(epilog=EPILOG_RESUME)
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
        order = orders.of_either(found, name)
        if not await store.countermand(order.name):
            out.say(f"{escaped(name)} was neither drained nor paused")
        if order.replica and orders.silent(found, order.replica):
            out.say(f"{escaped(order.replica)} is silent; the order is taken back all the same")
            _tell(out, await _tidied(store, await look(), out), order, "silent", "")
            return
        if order.replica:
            obeyed = await _obeyed(look, lambda now: orders.accepting(now, order.replica))
        else:
            obeyed = await _obeyed(look, lambda now: orders.served(now, order.node))
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
        at, beats, given = await asyncio.gather(store.time(), store.snapshot(), store.orders())
        return Overview(chosen.lease, Store(at, beats, given), nodes=must)

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
    left = {name: value for name, value in found.store.orders.items() if name not in gone}
    return replace(found, store=replace(found.store, orders=left))


def _confirm(yes: bool, question: str) -> None:
    """Raises SettingsError where nobody can be asked, NotDone where the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise SettingsError("--yes", f"is needed where nobody can be asked: {question.rpartition('.')[0]}")
    if not typer.confirm(question, err=True):
        raise NotDone("nothing was ordered")


def _short(found: Overview, replica: str) -> str:
    from adapter.admin.overview import short

    assert found.store is not None, "see _connected"
    return escaped(short(found.store.beats).get(replica, replica))


def _tell(out: Output, found: Overview, order: orders.Order, state: str, reason: str) -> None:
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
