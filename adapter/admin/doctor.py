"""``doctor``: every dependency of a site, looked at side by side, each within a time.

What is away hides nothing but what only it could tell; of that it is said why it was left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from adapter.admin import (
    checks_calls,
    checks_clocks,
    checks_http,
    checks_kamailios,
    checks_nodes,
    checks_rabbit,
    checks_redis,
    checks_replicas,
    checks_services,
)
from adapter.admin import overview as whole
from adapter.admin.away import redis_away
from adapter.admin.checks_finding import Finding, Group, Status
from adapter.admin.checks_nodes import NODES
from adapter.admin.checks_rabbit import RABBIT
from adapter.admin.checks_redis import REDIS, Seen
from adapter.admin.checks_replicas import REPLICAS
from adapter.admin.checks_services import SERVICES
from adapter.admin.checks_settings import SETTINGS
from adapter.admin.last_calls import by_event, last_entries
from adapter.admin.management import Management, ManagementUnavailable
from adapter.admin.overview import Overview, Store
from adapter.admin.running import RunningAdapter, runs
from adapter.admin.silence import unanswered
from adapter.errors import AdapterError, SettingsError, StoreUnavailable
from adapter.inflight.operator import OperatorStore
from adapter.settings import Address, NodeAddress

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine, Sequence

    from adapter.admin.checks_settings import Site
    from adapter.settings import Settings

LIMIT: Final = 2.0
"""Seconds for each check."""
WHOLE: Final = 2.2
"""Seconds for all of them."""
GOODBYE: Final = 0.2
SILENCE: Final = 0.7
"""Seconds to read the last calls: other checks of services wait for it."""
MANAGEMENT: Final = 1.0
"""Seconds for RabbitMQ's management API to answer: others wait for it."""
ORDER: Final = (SETTINGS, REDIS, RABBIT, REPLICAS, NODES, SERVICES)
"""The groups as an operator reads them: first what everything else stands on."""


async def examine(site: Site) -> tuple[list[Finding], int]:
    """Look at every server and replica. The findings in the order of ``ORDER``, and how many replicas live.

    Raises nothing for whatever it finds.
    """
    if site.settings is None:
        left = "left out: the settings cannot be read, see above"
        return [group.unknown("reachable", left) for group in (REDIS, RABBIT)], 0
    examination = Examination(site, site.settings)
    try:
        found = await examination.run()
    finally:
        await examination.close()
    return sorted(found, key=_place), len(whole.live(examination.overview))


def _place(finding: Finding) -> tuple[int, int]:
    """Where a finding stands; of one group and place in the order in which they were found."""
    parts = ("reachable", "version", *checks_rabbit.PARTS, "returned", "mqtt")
    names = [group.name for group in ORDER]
    at = parts.index(finding.check) if finding.group == RABBIT.name else 0
    return names.index(finding.group), at


class Examination:
    """One look at a site. To be run once, then closed."""

    def __init__(self, site: Site, settings: Settings) -> None:
        self._site = site
        self._settings = settings
        self._urls = None if settings.amqp_url is None else settings.amqp_url.get_secret_value()
        self._store: OperatorStore | None = None
        self._management: Management | None = None
        self._open = contextlib.AsyncExitStack()
        self._until = 0.0
        given = "nodes" in settings.model_fields_set - site.wrong
        self._named = tuple(node.name for node in settings.fixed_nodes) if given else ()
        self.overview = Overview(settings.lease, nodes=self._named)
        """The replicas, once they were looked for."""

    async def run(self) -> list[Finding]:
        """All checks, each beside the others as soon as what it needs is there."""
        self._until = asyncio.get_running_loop().time() + WHOLE
        redis = asyncio.create_task(self._reach_redis())
        rabbit = asyncio.create_task(self._reach_rabbit())
        found = await asyncio.gather(
            redis,
            rabbit,
            self._of_redis(redis),
            self._of_rabbit(rabbit),
            self._of_both(redis, rabbit),
            self._check(NODES, "discovery", checks_nodes.discovery(self._settings)),
        )
        return [finding for each in found for finding in each]

    async def close(self) -> None:
        """Disconnect, from what hangs as well."""
        if self._store is not None:
            closing = asyncio.ensure_future(self._store.close())
            await asyncio.wait({closing}, timeout=GOODBYE)
            closing.cancel()
            await asyncio.gather(closing, return_exceptions=True)
        await self._open.aclose()

    async def _reach_redis(self) -> list[Finding]:
        """Whether it answers, and what it tells of the replicas."""
        url = self._settings.redis_url
        if url is None:
            return checks_redis.not_set("redis_url" in self._site.wrong)
        began = time.perf_counter()
        try:
            prefix = self._settings.redis_prefix
            self._store = OperatorStore(
                url.get_secret_value(), "doctor", prefix=prefix, timeout=checks_redis.TIMEOUT
            )
            async with asyncio.timeout_at(self._limit()):
                seen = await checks_redis.look(self._store)
        except SettingsError as exc:
            return [
                REDIS.error("reachable", str(exc), "No adapter starts with it.", "correct EVAPI_REDIS_URL")
            ]
        except (StoreUnavailable, TimeoutError) as exc:
            problem = str(redis_away(self._settings, StoreUnavailable(str(exc) or "no answer within")))
            self.overview = replace(self.overview, store_problem=problem)
            return checks_redis.away(problem, self._settings)
        self._take_in(seen)
        return [checks_redis.reachable(self._settings, time.perf_counter() - began)]

    def _take_in(self, seen: Seen) -> None:
        store = Store(seen.at, seen.beats, seen.orders)
        self.overview = replace(self.overview, store=store)

    async def _of_redis(self, reached: Awaitable[object]) -> list[Finding]:
        """What only Redis tells: of itself, and of the replicas."""
        await reached
        store, overview = self._store, self.overview
        if store is None or overview.store is None:
            return await self._without_redis()
        found = await asyncio.gather(
            self._check(REDIS, "version", checks_redis.server(store, self._settings)),
            self._check(REDIS, "rights", checks_redis.rights(self._settings)),
            self._check(REPLICAS, "replicas", self._replicas()),
            self._check(REPLICAS, "clock", checks_clocks.check(overview, store, overview.store.at)),
            self._check(REPLICAS, "http", checks_replicas.http(overview)),
            self._check(NODES, "node", self._nodes(store)),
        )
        return [finding for each in found for finding in each]

    async def _replicas(self) -> list[Finding]:
        return checks_replicas.check(self.overview)

    async def _http(self, address: str, surely: bool) -> list[Finding]:
        return [await checks_http.ready(REPLICAS, address, surely=surely)]

    async def _nodes(self, store: OperatorStore) -> list[Finding]:
        names = whole.node_names(self.overview)
        counts = await asyncio.gather(*map(store.count, names))
        found = checks_replicas.nodes(self.overview, dict(zip(names, counts, strict=True)))
        return [*found, *checks_kamailios.check(self.overview)]

    async def _without_redis(self) -> list[Finding]:
        alone = self._settings.redis_url is None and "redis_url" not in self._site.wrong
        seen = "they do not know of each other without Redis" if alone else "only Redis knows them, see above"
        seen += ": only the one at EVAPI_HTTP is asked"
        # Redis that is away tells nothing of the replicas, but each knows what it does without it.
        http = await self._check(REPLICAS, "http", self._http(str(self._settings.http), alone))
        here = self._here() if alone and self._urls is None else None
        told = [] if here is None else await self._check(SERVICES, "calls", here)
        return [REPLICAS.unknown("replicas", seen), *http, *told]

    def _here(self) -> Coroutine[Any, Any, list[Finding]] | None:
        """What the adapter that runs here tells of its services and last calls; None if there is none."""
        port = self._settings.http.port
        return _running(RunningAdapter(port), self._site) if runs(port) else None

    async def _reach_rabbit(self) -> list[Finding]:
        """Whether it answers, and whether its management API does."""
        if self._urls is None:
            return checks_rabbit.not_set("amqp_url" in self._site.wrong)
        found = await self._check(RABBIT, "reachable", checks_rabbit.servers(self._urls))
        if _answers(found):
            found += await self._check(RABBIT, "management", self._reach_management())
        return found

    async def _reach_management(self) -> list[Finding]:
        try:
            management = Management.of(self._settings, MANAGEMENT)
            await self._open.enter_async_context(management)
            await management.overview()
        except (ManagementUnavailable, SettingsError) as exc:
            why = "Without it, who is bound to which event, bindings and stale queues cannot be seen."
            todo = "rabbitmq-plugins enable rabbitmq_management    # or set EVAPI_AMQP_API"
            return [RABBIT.unknown("management", str(exc), why, todo)]
        self._management = management
        return [RABBIT.ok("management", f"{management.url} answers")]

    async def _of_rabbit(self, reached: Awaitable[list[Finding]]) -> list[Finding]:
        """What needs RabbitMQ alone."""
        if not _answers(await reached) or self._urls is None:
            return []
        found = await asyncio.gather(
            self._check(RABBIT, "messages", checks_rabbit.messages(self._urls)),
            self._check(RABBIT, "queue-types", self._queue_types()),
            self._check(RABBIT, "returned", self._returned(self._urls)),
            self._check(RABBIT, "mqtt", self._mqtt()),
            self._check(RABBIT, "dead-letters", checks_rabbit.dead_letters(self._urls)),
        )
        return [finding for each in found for finding in each]

    async def _queue_types(self) -> list[Finding]:
        if self._management is None:
            return [RABBIT.unknown("queue-types", "needs RabbitMQ's management plugin (EVAPI_AMQP_API)")]
        return await checks_rabbit.queue_types(self._management)

    async def _returned(self, urls: str) -> list[Finding]:
        return [] if self._management is None else await checks_rabbit.returned(self._management, urls)

    async def _mqtt(self) -> list[Finding]:
        if not self._settings.mqtt:
            return []
        if self._management is None:
            return [RABBIT.unknown("mqtt", "needs RabbitMQ's management plugin (EVAPI_AMQP_API)")]
        return await checks_rabbit.mqtt(self._management)

    async def _of_both(self, redis: Awaitable[object], rabbit: Awaitable[list[Finding]]) -> list[Finding]:
        """What is to be on RabbitMQ for the nodes that Redis tells of."""
        await redis
        urls = self._urls
        if not _answers(await rabbit) or urls is None:
            return [] if urls is None else [SERVICES.unknown("service", "RabbitMQ does not answer")]
        nodes, live, site = self._node_names(), self._may_live(), self._site
        addresses = tuple(NodeAddress(name, Address("", 0)) for name in nodes)
        settings = self._settings.model_copy(update={"nodes": addresses})
        also, management = site.services, self._management
        entries = await self._last_entries()
        deciders = self._deciders(settings, urls, nodes, entries)
        topology = checks_rabbit.topology(settings, urls, management, also, live)
        found = await asyncio.gather(
            self._check(RABBIT, "rights", checks_rabbit.rights(urls, nodes, settings.mqtt)),
            self._check(RABBIT, "topology", topology),
            self._check(SERVICES, "service", deciders),
            self._check(SERVICES, "replies", checks_services.replies(urls, nodes, live)),
        )
        seen = "no node is known: EVAPI_NODES is not set, and no replica tells"
        nobody = [] if nodes else [SERVICES.unknown("replies", seen)]
        return [*(finding for each in found for finding in each), *nobody]

    async def _deciders(
        self, settings: Settings, urls: str, nodes: Sequence[str], entries: list[bytes]
    ) -> list[Finding]:
        """Who decides, and what became of the last calls."""
        policy, management, silent = self._site.policy, self._management, dict(unanswered(entries))
        told, services = await checks_services.deciders(
            settings, policy, urls, management, self._site.services, nodes, silent
        )
        return [
            *told,
            *checks_calls.races(services, policy),
            *checks_calls.came_back(by_event(entries), services),
        ]

    async def _last_entries(self) -> list[bytes]:
        """The journals' last entries; none if Redis cannot tell: another finding says why."""
        if self._store is None or self.overview.store is None:
            return []
        with contextlib.suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(SILENCE):
                return await last_entries(self._store)
        return []

    def _node_names(self) -> Sequence[str]:
        """Those the replicas tell of and those that are set; where nothing else can tell, the default."""
        if self._settings.redis_url is None:
            return [node.name for node in self._settings.fixed_nodes]
        return whole.node_names(self.overview)

    def _may_live(self) -> bool:
        return self.overview.store is None or bool(whole.live(self.overview))

    async def _check(self, group: Group, name: str, asking: Awaitable[list[Finding]]) -> list[Finding]:
        """What it finds, within its time; else why it found nothing."""
        try:
            async with asyncio.timeout_at(self._limit()):
                return await asking
        except TimeoutError:
            return [group.unknown(name, f"no answer to all that was asked within {LIMIT:g} s")]
        except AdapterError as exc:
            return [group.unknown(name, str(exc))]
        except Exception as exc:  # a fault of the check's own must not hide what the others find
            return [group.unknown(name, f"the check itself failed: {type(exc).__name__}: {exc}")]

    def _limit(self) -> float:
        return min(asyncio.get_running_loop().time() + LIMIT, self._until)


def _answers(found: Sequence[Finding]) -> bool:
    return any(each.check == "reachable" and each.status is Status.OK for each in found)


async def _running(adapter: RunningAdapter, site: Site) -> list[Finding]:
    """What an adapter without Redis and RabbitMQ tells of its services and calls. Raises StoreUnavailable."""
    try:
        bus, entries = await adapter.bus(), await last_entries(adapter)
    finally:
        await adapter.close()
    services = () if bus is None else bus.services
    handled = [
        SERVICES.ok("service", f"handles {', '.join(each.events or ())}", each.name) for each in services
    ]
    return [
        *handled,
        *checks_calls.races(services, site.policy),
        *checks_calls.came_back(by_event(entries), services),
    ]
