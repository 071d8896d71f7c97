"""``evapi-adapter topology``: exchanges, queues and bindings as they should be, and as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from adapter.cli import options, services
from adapter.cli.help import Commands
from adapter.cli.output import Column, Format, Output

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adapter.admin.topology import Done, Item
    from adapter.settings import Settings

EPILOG: Final = (
    "Examples:  evapi-adapter topology show    evapi-adapter topology diff || evapi-adapter topology apply"
)
EPILOG_SHOW: Final = "Example:  evapi-adapter topology show --nodes sbc1=10.0.0.5:8448 -o json"
EPILOG_DIFF: Final = "Example:  evapi-adapter topology diff --policy policy.toml && echo as it should be"
EPILOG_APPLY: Final = "Example:  evapi-adapter topology apply --nodes sbc1=10.0.0.5:8448,sbc2=10.0.0.6:8448"

_STYLES: Final = {"ok": "green", "missing": "red", "differs": "red", "stale": "yellow", "unknown": "dim"}


def _style(state: Any) -> str:
    return _STYLES.get(str(state), "")


COLUMNS: Final = (
    Column("state", "STATE", style=_style),
    Column("kind", "KIND"),
    Column("name", "NAME"),
    Column("remark", "REMARK"),
)
COLUMNS_APPLY: Final = (
    Column("action", "DONE", style="bold"),
    Column("state", "STATE", style=_style),
    Column("kind", "KIND"),
    Column("name", "NAME"),
    Column("remark", "REMARK"),
)

Mqtt = Annotated[
    bool | None,
    typer.Option(
        "--mqtt",
        envvar="EVAPI_MQTT",
        help="Events go to MQTT clients (amq.topic), and replies come from there.",
    ),
]

QueueOf = Annotated[
    list[str] | None,
    typer.Option(
        "--queue",
        metavar="NAME=EVENT,...",
        help="Declare the queue of a service that cannot, and bind it to these events; may be repeated.",
    ),
]

app = Commands(
    name="topology",
    help="Exchanges, queues and bindings as they should be, and as they are.",
    epilog=EPILOG,
)


@app.command(epilog=EPILOG_SHOW)
def show(
    nodes: options.Nodes = None,
    amqp_url: options.AmqpUrl = None,
    amqp_api: options.AmqpApi = None,
    policy: options.PolicyFile = None,
    also: services.Also = None,
    mqtt: Mqtt = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """Show everything that should be there for the nodes and services known, and how it is.

    Bindings, and queues of nodes and services that are not known, need RabbitMQ's management plugin.
    Changes nothing. Exit codes: 0 shown, 1 RabbitMQ cannot be asked, 2 wrong usage.
    """
    chosen = options.settings(
        more, nodes=nodes, amqp_url=amqp_url, amqp_api=amqp_api, policy=policy, mqtt=mqtt
    )
    out = Output(output)
    items, _ = options.run(_compared(chosen, out, also or []))
    out.rows(COLUMNS, map(_row, items))


@app.command(epilog=EPILOG_DIFF)
def diff(
    nodes: options.Nodes = None,
    amqp_url: options.AmqpUrl = None,
    amqp_api: options.AmqpApi = None,
    policy: options.PolicyFile = None,
    also: services.Also = None,
    mqtt: Mqtt = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """Show what is not as it should be: missing, different, stale.

    Changes nothing. Exit codes: 0 nothing differs, 1 something does, or not all could be seen: RabbitMQ,
    its management plugin, or Redis, which tells of the nodes, is away; 2 wrong usage.
    """
    from adapter.admin.topology import State, drift

    chosen = options.settings(
        more, nodes=nodes, amqp_url=amqp_url, amqp_api=amqp_api, policy=policy, mqtt=mqtt
    )
    out = Output(output)
    items, whole = options.run(_compared(chosen, out, also or []))
    found = drift(items)
    unknown = sum(item.state is State.UNKNOWN for item in items)
    unseen = f"; {unknown} could not be seen (topology show tells which and why)" if unknown else ""
    out.rows(COLUMNS, map(_row, found))
    number = "nothing" if not found else str(len(found))
    out.say(f"{number} of {len(items)} {'differ' if len(found) > 1 else 'differs'}{unseen}")
    if found or unknown or not whole:
        raise typer.Exit(1)


@app.command(epilog=EPILOG_APPLY)
def apply(
    nodes: options.Nodes = None,
    amqp_url: options.AmqpUrl = None,
    amqp_api: options.AmqpApi = None,
    policy: options.PolicyFile = None,
    also: services.Also = None,
    queue: QueueOf = None,
    mqtt: Mqtt = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """Declare what is missing of what the adapter needs. Deletes nothing, and may be repeated.

    What is there with other arguments is told, not touched. A service declares its own queue when it
    starts; of one that cannot (by AMQP 1.0), --queue does. Nodes' queues that nobody consumes go again after
    EVAPI_RESULTS_EXPIRES. Exit codes: 0 all of it is there, 1 something is there with other arguments, or
    RabbitMQ cannot be asked, 2 wrong usage.
    """
    from adapter.admin.topology import State

    chosen = options.settings(
        more, nodes=nodes, amqp_url=amqp_url, amqp_api=amqp_api, policy=policy, mqtt=mqtt
    )
    out = Output(output)
    done = options.run(_applied(chosen, out, also or [], [_queue_of(each) for each in queue or ()]))
    told = [each for each in done if each.action != "left" or each.item.state is not State.OK]
    out.rows(COLUMNS_APPLY, ({"action": each.action, **_row(each.item)} for each in told))
    out.say(_summary(done))
    if any(each.item.state is State.DIFFERS for each in done):
        raise typer.Exit(1)


def _summary(done: Iterable[Done]) -> str:
    actions = [each.action for each in done]
    counts = [f"{actions.count(action)} {action}" for action in ("declared", "bound", "left")]
    return f"{', '.join(counts)} alone"


async def _compared(chosen: Settings, out: Output, also: list[str]) -> tuple[list[Item], bool]:
    """What should be there and how it is; and whether all nodes are known."""
    from adapter.admin import topology
    from adapter.admin.management import reached
    from adapter.admin.rabbit import Rabbit

    async with Rabbit(options.amqp(chosen)) as rabbit, reached(chosen, out.say) as management:
        settings, whole = await _with_nodes(chosen, out)
        return await topology.compare(settings, rabbit, management, also), whole


async def _applied(
    chosen: Settings, out: Output, also: list[str], queues: list[tuple[str, list[str]]]
) -> list[Done]:
    from adapter.admin import topology
    from adapter.admin.management import reached
    from adapter.admin.rabbit import Rabbit

    async with Rabbit(options.amqp(chosen)) as rabbit, reached(chosen, out.say) as management:
        settings, _ = await _with_nodes(chosen, out)
        found = await topology.compare(settings, rabbit, management, also)
        for name, events in queues:
            found = [item for item in found if item.of != f"service {name}"]
            found += await topology.compare_queue(rabbit, management, name, events)
        return await topology.apply(rabbit, found)


def _queue_of(given: str) -> tuple[str, list[str]]:
    """Read NAME=EVENT,EVENT. Raises SettingsError."""
    from adapter.errors import SettingsError

    name, _, events = given.partition("=")
    found = [event.strip() for event in events.split(",") if event.strip()]
    if not name or not found:
        raise SettingsError("--queue", "takes NAME=EVENT,EVENT, such as fraud=invite_request")
    return name, found


async def _with_nodes(chosen: Settings, out: Output) -> tuple[Settings, bool]:
    """With the nodes that the replicas tell of in Redis, if none are given; and whether all are known."""
    from adapter.admin import calls
    from adapter.errors import StoreUnavailable
    from adapter.settings import Address, NodeAddress

    if "nodes" in chosen.model_fields_set or chosen.redis_url is None:
        return chosen, True
    try:
        async with calls.opened(chosen, options.redis(chosen)) as store:
            names = calls.node_names(chosen, await store.snapshot())
    except StoreUnavailable as exc:
        out.say(f"{exc}; so which nodes there are is not known (--nodes)")
        return chosen.model_copy(update={"nodes": ()}), False
    addresses = tuple(NodeAddress(name, Address("", 0)) for name in names)
    return chosen.model_copy(update={"nodes": addresses}), True


def _row(item: Item) -> dict[str, Any]:
    return {
        "state": str(item.state),
        "kind": item.kind,
        "name": item.name,
        "of": item.of,
        "remark": item.remark,
    }
