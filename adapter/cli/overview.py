"""``evapi-adapter replicas`` and ``evapi-adapter nodes``: who is there, and who serves what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from adapter.cli import listing, options
from adapter.cli.help import Commands
from adapter.cli.output import Column, Format, Output, escaped, seconds, text

if TYPE_CHECKING:
    from adapter.admin.overview import Overview
    from adapter.settings import Settings

app = Commands()

EPILOG_REPLICAS: Final = (
    "Examples:  evapi-adapter replicas    "
    "evapi-adapter replicas -o json | jq -r '.rows[] | select(.state == \"live\").replica'"
)
EPILOG_NODES: Final = (
    "Examples:  evapi-adapter nodes    evapi-adapter nodes -o jsonl | jq 'select(.active == null)'"
)
STATES: Final = {
    "live": "green",
    "silent": "bold red",
    "drained": "yellow",
    "draining": "yellow",
    "open": "green",
    "closed": "bold red",
    "paused": "yellow",
}
"""rich's style of each state of a replica, and of a gate."""
NO_REPLICA: Final = "no replica has beaten in the last 10 minutes: does `evapi-adapter run` run?"
_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "min"))


def style(state: Any) -> str:
    """See ``STATES``."""
    return STATES.get(str(state).partition(" ")[0], "")


def up(value: Any) -> str:
    """For how long something has been there, in whole units."""
    if value is None:
        return ""
    unit, name = next((each for each in _UNITS if value >= 2 * each[0]), (1, "s"))
    return f"{value / unit:.0f} {name}"


def age(value: Any) -> str:
    """A short time, to the tenth of a second."""
    return f"{value:.1f} s" if value < 100 else seconds(value)


def replica_state(row: dict[str, Any]) -> str:
    """The state with what a person wants to know of it."""
    ordered = row["order"]
    if row["state"] in ("drained", "draining") and ordered is not None:
        why = f": {ordered['reason']}" if ordered["reason"] else ""
        return escaped(f"{row['state']} by {ordered['by'] or 'somebody'}{why}")
    return str(row["state"])


def gate(row: dict[str, Any]) -> str:
    """Whether calls of a node are taken; who paused it, and why."""
    paused = row["paused"]
    if paused is None:
        return str(row["gate"])
    why = f": {paused['reason']}" if paused["reason"] else ""
    return escaped(f"paused by {paused['by'] or 'somebody'}{why}")


def link_states(names: dict[str, str], states: dict[str, str]) -> str:
    """The links of a node: one word where all are alike, else each replica's."""
    if len(set(states.values())) == 1:
        how = next(iter(states.values()))
        return how if len(states) == 1 else f"{how} ({len(states)})"
    return ", ".join(escaped(f"{names[replica]} {how}") for replica, how in states.items()) or "none"


REPLICAS: Final = (
    Column("name", "REPLICA", style="bold"),
    Column("shown", "STATE", style=style),
    Column("active_for", "ACTIVE FOR", lambda nodes: text(nodes) or "-"),
    Column("broker", "BROKER", text, style=lambda broker: "" if broker else "bold red"),
    Column("beat_age", "BEAT", age, right=True),
    Column("up", "UP", up, right=True),
    Column("version", "VERSION"),
    Column("http", "HTTP"),
)
NODES: Final = (
    Column("node", "NODE", style="bold"),
    Column("active_name", "ACTIVE", lambda name: text(name) or "nobody"),
    Column("in_flight", "IN FLIGHT", right=True),
    Column("oldest", "OLDEST", seconds, right=True),
    Column("shown_links", "LINKS"),
    Column("shown_gate", "GATE", style=style),
)


@app.command(epilog=EPILOG_REPLICAS)
def replicas(
    sort: listing.Sort = "",
    watch: listing.Watch = None,
    redis_url: options.RedisUrl = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """List the replicas: state, nodes for which each is the active one, broker, last beat.

    States: live; silent (it died, hangs, or is cut off from Redis; kept for 10 minutes); drained (by an
    operator); draining (it ends, or has yet to obey). Exit codes: 0 listed, 1 Redis is away, 2 wrong usage.
    """
    from adapter.admin.overview import replica_rows

    out, chosen = Output(output), options.settings(more, redis_url=redis_url)

    def look() -> None:
        rows = replica_rows(_looked(chosen))
        if out.format is Format.TABLE:
            rows = [{**row, "shown": replica_state(row)} for row in rows]
        out.rows(REPLICAS, listing.ordered(rows, sort, REPLICAS), NO_REPLICA)

    listing.repeat(look, out, watch)


@app.command(epilog=EPILOG_NODES)
def nodes(
    sort: listing.Sort = "",
    watch: listing.Watch = None,
    redis_url: options.RedisUrl = None,
    nodes: options.Nodes = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """List the nodes (Kamailios): active replica, links, calls in flight and the oldest, gate.

    Links: receipts (well), paced (a configuration without receipts), silent (the same, and nothing ever
    came: perhaps no EVAPI port), unread (Kamailio does not read), down. The gate is open where a replica
    takes the node's calls. Exit codes: 0 listed, 1 Redis is away, 2 wrong usage.
    """
    from adapter.admin.overview import node_rows, short

    out, chosen = Output(output), options.settings(more, redis_url=redis_url, nodes=nodes)

    def look() -> None:
        found = _looked(chosen)
        rows = node_rows(found)
        if out.format is Format.TABLE and found.store is not None:
            names = short(found.store.beats)
            shown = {"shown_links": lambda row: link_states(names, row["links"]), "shown_gate": gate}
            rows = [{**row, **{key: show(row) for key, show in shown.items()}} for row in rows]
        out.rows(NODES, listing.ordered(rows, sort, NODES), "no node is known: does `evapi-adapter run` run?")

    listing.repeat(look, out, watch)


def _looked(chosen: Settings) -> Overview:
    """Raises SettingsError, StoreUnavailable."""
    from adapter.admin.watch import Watch
    from adapter.errors import StoreUnavailable

    async def look() -> Overview:
        watch = Watch(chosen, options.calls_of(chosen), None, journals=False)
        try:
            found = await watch.look()
        finally:
            await watch.close()
        if found.store is None:
            raise StoreUnavailable(found.store_problem)
        return found

    return options.run(look())
