"""RabbitMQ: what it is, whether it takes messages, what the user may do there, and what is declared."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Final

from adapter import contract
from adapter.admin import tried
from adapter.admin.checks_finding import Finding, Group, Status, counted, version_of
from adapter.admin.checks_rights import ADAPTER, BY_MQTT, Rights
from adapter.admin.checks_services import vhost_of
from adapter.admin.rabbit import Rabbit
from adapter.admin.topology import State, apply_command, compare
from adapter.amqp.servers import parse_urls
from adapter.amqp.topology import Exchange, Queue
from adapter.amqp.urls import split_urls
from adapter.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from adapter.admin.management import ManagedQueue, Management
    from adapter.admin.topology import Item
    from adapter.settings import Settings

RABBIT: Final = Group("rabbitmq")
WAITS_SINCE: Final = (4, 3)
DISCONNECTED: Final = "consumer-disconnected-timeout"
"""Milliseconds for which a quorum queue of RabbitMQ 4.3 and later waits for a server that is gone."""
SOON: Final = 5_000
MQTT5_SINCE: Final = (3, 13)
ENOUGH: Final = 2
"""Servers of a cluster from which on one may die and another go on."""
CONNECT: Final = 1.7
"""Seconds for each server to answer: less than the check has, so that it can say which does not."""
TRIED: Final = 5
"""Nodes whose queues the user's rights are tried on: they are given by patterns."""
PARTS: Final = ("management", "messages", "rights", "topology", "queue-types", "dead-letters")
"""What is looked at once RabbitMQ answers."""


def not_set(wrong: bool) -> list[Finding]:
    """There is no URL: the adapter decides itself."""
    if wrong:
        return [RABBIT.unknown("reachable", "EVAPI_AMQP_URL is wrong, see above")]
    seen = "EVAPI_AMQP_URL is not set: left out. The adapter runs its services itself (EVAPI_CONSUMER)"
    why = "Consumers on other machines, services and dead letters are there with RabbitMQ only."
    return [RABBIT.unknown("reachable", seen, why, "EVAPI_AMQP_URL=amqp://USER:PASSWORD@HOST/")]


async def servers(urls: str) -> list[Finding]:
    """Each of the URLs: whether it answers, and its version. Raises SettingsError."""
    several = len(parse_urls(urls)) > 1
    found = await asyncio.gather(*(_server(url, several) for url in split_urls(urls)))
    if all(each[0].status is Status.ERROR for each in found):
        rest = [RABBIT.unknown(part, "RabbitMQ does not answer") for part in PARTS]
        return [*(finding for each in found for finding in each), *rest]
    return [_one_of_several(finding) for each in found for finding in each]


async def _server(url: str, several: bool) -> list[Finding]:
    try:
        async with Rabbit(url, CONNECT) as rabbit:
            of = rabbit.url if several else ""
            return [RABBIT.ok("reachable", f"{rabbit.url} answers", of), _version(rabbit.version, of)]
    except BrokerUnavailable as exc:
        why = (
            "No adapter that needs it can ask a consumer: each call gets its fallback at once "
            "(outcome unavailable), and the health gate of its node closes."
        )
        return [RABBIT.error("reachable", str(exc), why, _remedy(str(exc)))]


def _remedy(problem: str) -> str:
    if "login was refused" in problem:
        return "rabbitmqctl authenticate_user USER PASSWORD"
    if "is there a vhost" in problem:
        return "rabbitmqctl list_vhosts; rabbitmqctl list_permissions -p VHOST"
    return "rabbitmq-diagnostics check_running; rabbitmq-diagnostics listeners"


def _one_of_several(finding: Finding) -> Finding:
    if finding.status is not Status.ERROR or finding.check != "reachable":
        return finding
    why = "Another one answers, so calls go on; without it none is left if that one goes, too."
    return RABBIT.warning("reachable", finding.seen, why, finding.todo)


def _version(version: str, of: str) -> Finding:
    at = f" at {of}" if of else ""
    server = tried.RABBITMQ
    if server.supports(version):
        return RABBIT.ok("version", f"{server.describe(version)}{at}", of)
    seen, why = (
        f"RabbitMQ {version or 'of an unknown version'}{at}",
        f"It is tested with {server.since} and later.",
    )
    return RABBIT.error("version", seen, why, f"upgrade to {server.since} or later", of)


async def messages(urls: str) -> list[Finding]:
    """Whether it takes messages. Raises BrokerUnavailable."""
    async with Rights(urls) as rabbit:
        if await rabbit.takes_messages():
            return [RABBIT.ok("messages", "it takes messages: no alarm")]
    seen = "it takes no messages: an alarm for memory or disk"
    why = "Nothing can be published: each call gets its fallback at once (outcome unavailable)."
    todo = "rabbitmq-diagnostics alarms; rabbitmq-diagnostics memory_breakdown; df -h"
    return [RABBIT.error("messages", seen, why, todo)]


async def rights(urls: str, nodes: Sequence[str], mqtt: bool = False) -> list[Finding]:
    """What the user may do. ``mqtt``: the setting. Raises BrokerUnavailable."""
    user, vhost = parse_urls(urls)[0].user or "guest", vhost_of(urls)
    async with Rights(urls) as rabbit:
        refused = await rabbit.refused(nodes[:TRIED], mqtt)
        operates = bool(refused) and await rabbit.operates()
    if not refused:
        return [RABBIT.ok("rights", f"{user} may configure, write and read what an adapter must")]
    if operates:
        seen = f"{user} is an operator's; what an adapter's may do, tells doctor with its URL"
        return [RABBIT.ok("rights", seen)]
    by: dict[str, list[str]] = {}
    for refusal in refused:
        by.setdefault(refusal.right, []).append(refusal.name)
    told = "; ".join(f"not {right} {', '.join(names)}" for right, names in by.items())
    why = "An adapter cannot declare, publish or consume what is refused: calls get their fallback."
    todo = f"rabbitmqctl set_permissions -p {vhost} {user} " + " ".join(
        f"'{each}'" for each in (BY_MQTT if mqtt else ADAPTER)
    )
    return [RABBIT.error("rights", f"{user} may {told}", why, todo)]


async def topology(
    settings: Settings,
    urls: str,
    management: Management | None,
    also: Iterable[str],
    live: bool,
) -> list[Finding]:
    """What differs from what adapters declare; of services, what only a comparison tells.

    ``live``: an adapter runs, so that the queues of its nodes must be there. Raises BrokerUnavailable,
    ManagementUnavailable.
    """
    async with Rabbit(urls) as rabbit:
        items = await compare(settings, rabbit, management, also)
    drifted = [finding for item in items if (finding := _drifted(item, urls, live)) is not None]
    if drifted:
        return drifted
    fine = sum(item.state is State.OK for item in items)
    unseen = sum(item.state is State.UNKNOWN for item in items)
    told = f"; {unseen} cannot be seen" if unseen else ""
    return [RABBIT.ok("topology", f"{fine} exchanges, queues and bindings as they should be{told}")]


def _drifted(item: Item, urls: str, live: bool) -> Finding | None:
    of_service = item.of.startswith("service ")
    told_elsewhere = of_service and item.state in (State.MISSING, State.STALE)
    goes_when_unused = item.of.startswith("node ") and not live
    results = item.name.startswith(contract.results_queue(""))
    if item.state in (State.OK, State.UNKNOWN) or told_elsewhere:
        return None
    if item.state is State.MISSING:
        if goes_when_unused or results:  # told as "replies"
            return None
        why = "What goes that way is lost: requests, replies, commands or dead letters."
        todo = apply_command(item.thing)
        return RABBIT.error("topology", f"{item.kind} {item.name} is missing", why, todo, item.name)
    delete = _delete(item, urls)
    again = "    # then start the service again" if of_service else " && evapi-adapter topology apply"
    if item.state is State.STALE:
        why = "Messages that nobody takes gather there, and use up its memory."
        return RABBIT.warning("topology", f"{item.kind} {item.name}: {item.remark}", why, delete, item.name)
    seen = f"{item.kind} {item.name}: {item.remark}"
    if item.name == contract.DEAD_QUEUE:
        why = "What is kept of dead letters, and for how long, is as those arguments say."
        return RABBIT.warning("topology", seen, why, delete, item.name)
    why = (
        "Arguments cannot be changed: who declares it otherwise is refused, and cannot work with it. Where "
        "adapters consume it, they have other settings than this command was given."
    )
    return RABBIT.error("topology", seen, why, f"{delete}{again}", item.name)


def _delete(item: Item, urls: str) -> str:
    vhost = vhost_of(urls)
    if item.kind == "queue" or isinstance(item.thing, Queue):
        return f"rabbitmqctl delete_queue -p {vhost} {item.name}"
    if isinstance(item.thing, Exchange):
        return f"rabbitmqadmin --vhost={vhost} delete exchange name={item.name}"
    return "evapi-adapter topology diff"


async def queue_types(management: Management) -> list[Finding]:
    """Whether the adapter's queues are of one type. Raises ManagementUnavailable."""
    queues = (await management.queues()).values()
    own = (contract.results_queue(""), contract.commands_queue(""))
    kinds = Counter(queue.kind for queue in queues)
    told = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items())) or "no queue yet"
    mixed = {queue.kind for queue in queues if queue.name.startswith(own)}
    if len(mixed) < 2:
        return [RABBIT.ok("queue-types", told)]
    why = (
        "Replicas with another EVAPI_QUEUE_TYPE are refused the queues that are there, and a classic one "
        "goes with the RabbitMQ server that holds it."
    )
    seen = f"{told}: queues of nodes are {' and '.join(sorted(mixed))}"
    todo = "EVAPI_QUEUE_TYPE=quorum    # the same for every replica; then delete the others' queues"
    return [RABBIT.warning("queue-types", seen, why, todo)]


async def returned(management: Management, urls: str) -> list[Finding]:
    """Whether quorum queues give back in time what clients of a dead server had in hand.

    RabbitMQ 4.3 and later wait for the server, 60 s by default. What rabbitmq.conf says cannot be seen.
    Raises ManagementUnavailable.
    """
    overview = await management.overview()
    if version_of(str(overview["rabbitmq_version"])) < WAITS_SINCE:
        return []
    servers = {each.get("node") for each in overview.get("listeners") or () if isinstance(each, dict)}
    if len(servers) < ENOUGH:
        return []
    quorum = [queue for queue in (await management.queues()).values() if queue.kind == "quorum"]
    waits = [queue.name for queue in quorum if not _soon(queue)]
    if not waits:
        return []
    seen = f"{counted(len(waits), 'quorum queue')} may wait 60 s for a server that died: no policy says less"
    why = (
        "What its clients had in hand comes back only then: these calls wait for their deadline. "
        "If rabbitmq.conf of every server has consumer_disconnected_timeout, all is well."
    )
    policy = f"'{{\"{DISCONNECTED}\":1000}}' --apply-to quorum_queues"
    todo = f"rabbitmqctl set_policy -p {vhost_of(urls)} evapi '^evapi\\.' {policy}"
    return [RABBIT.warning("returned", seen, why, todo)]


def _soon(queue: ManagedQueue) -> bool:
    found = (queue.policy.get(DISCONNECTED), queue.arguments.get(f"x-{DISCONNECTED}"))
    return any(isinstance(value, int) and value <= SOON for value in found)


async def mqtt(management: Management) -> list[Finding]:
    """Whether it speaks MQTT 5, which EVAPI_MQTT is for. Raises ManagementUnavailable."""
    overview = await management.overview()
    version = str(overview["rabbitmq_version"])
    if version_of(version) < MQTT5_SINCE:
        why = "Requests by MQTT 3.1.1 have no correlation id, and no topic to reply to."
        seen = f"EVAPI_MQTT is set, and RabbitMQ {version} does not speak MQTT 5"
        todo = "upgrade RabbitMQ to 3.13 or later    # or unset EVAPI_MQTT"
        return [RABBIT.error("mqtt", seen, why, todo)]
    spoken = {str(each.get("protocol")) for each in overview.get("listeners") or () if isinstance(each, dict)}
    if any("mqtt" in each for each in spoken):
        return [RABBIT.ok("mqtt", "it speaks MQTT 5")]
    seen, why = "EVAPI_MQTT is set, and no MQTT port is open", "No MQTT client can take a request."
    return [RABBIT.error("mqtt", seen, why, "rabbitmq-plugins enable rabbitmq_mqtt    # or unset EVAPI_MQTT")]


async def dead_letters(urls: str) -> list[Finding]:
    """Whether any wait. Raises BrokerUnavailable."""
    async with Rabbit(urls) as rabbit:
        found = await rabbit.queue(contract.DEAD_QUEUE)
    if found is None:
        return [RABBIT.unknown("dead-letters", f"there is no queue {contract.DEAD_QUEUE}")]
    if not found.messages:
        return [RABBIT.ok("dead-letters", "none")]
    why = "Each stands for a frame, request or reply that somebody could not read, or rejected."
    todo = "evapi-adapter dead-letters list"
    seen = f"{counted(found.messages, 'dead letter')} on {contract.DEAD_QUEUE}"
    return [RABBIT.warning("dead-letters", seen, why, todo)]
