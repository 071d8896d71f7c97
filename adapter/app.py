"""The composition root: which parts make this bridge, their start, their status, their end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import secrets
import signal
import socket
import sys
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import structlog
import uvloop

from adapter import outlet
from adapter.cluster.beats import Beats
from adapter.cluster.clock import Clock, Timekeeping
from adapter.cluster.clock_watch import ClockWatch
from adapter.cluster.heartbeat import Heartbeat
from adapter.cluster.membership import Membership
from adapter.cluster.placement import Placement
from adapter.cluster.roles import Roles
from adapter.cluster.takeover import Takeover
from adapter.commands.commands import Commands
from adapter.commands.duty import CommandDuty
from adapter.commands.from_bus import FromBus
from adapter.draining import Draining
from adapter.errors import AdapterError, StoreUnavailable
from adapter.evapi.discovery import Discovery
from adapter.evapi.limits import LinkSettings
from adapter.evapi.nodes import Connector, Nodes
from adapter.observe import traces
from adapter.observe.command_log import CommandLog
from adapter.observe.journal import Journal
from adapter.observe.metrics import Metrics
from adapter.observe.observer import CallLog, Observer
from adapter.operator_socket import OperatorSocket
from adapter.parts import (
    follow_policy,
    make_broker,
    make_cache,
    make_command_store,
    make_ids,
    make_store,
    shown,
)
from adapter.ports.store import NOTE_INTERVAL
from adapter.readiness import Readiness
from adapter.relay import policy
from adapter.relay.policy import LivePolicy, Policy
from adapter.relay.recovery import StoreRecovery
from adapter.relay.ticker import Ticker
from adapter.relay.trip import Trip
from adapter.runtime import logs, own_address
from adapter.runtime.health import HealthServer
from adapter.runtime.http_connections import raise_descriptor_limit
from adapter.runtime.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from adapter.settings import Settings

log = structlog.get_logger()

VERSION: Final = version("evapi-adapter")
GARBAGE: Final = 50_000
"""Objects made and not gone after which the collector looks for cycles, of which hardly any are made
here. What is there at the start is left out: a look at all of it took 40 ms, in which every call stands
still, and 50 ms with 10,000 in flight."""


def main(settings: Settings) -> None:
    """Run the bridge until SIGTERM or SIGINT. Raises AdapterError where it cannot run."""
    raise_descriptor_limit()
    outlets = outlet.install()
    logs.configure(settings.log_format, settings.log_level)
    for each in outlets:
        each.on_lost = _log_lost
    rules = policy.read(settings.policy) if settings.policy else Policy()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(settings, rules))


def _log_lost(lines: int, trouble: str) -> None:
    log.warning("log: lines were lost", lines=lines, trouble=trouble)


async def _main(settings: Settings, rules: Policy) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    bridge = Bridge(settings, rules)
    await bridge.start()
    gc.freeze()
    gc.set_threshold(GARBAGE)
    watchdog = Watchdog(asyncio.get_running_loop())
    watchdog.start()
    try:
        await bridge.until(stop)
    finally:
        await bridge.close()
        watchdog.stop()


class Bridge:
    """One replica."""

    def __init__(self, settings: Settings, rules: Policy) -> None:
        self._settings = settings
        self.metrics = Metrics(rules.events)
        self.clock = Clock()
        self.timekeeping = Timekeeping(self.clock)
        # Each start has a name of its own: what a killed replica left is adopted as anybody's.
        incarnation = f"{settings.replica}~{secrets.token_hex(2)}"
        self.inflight = make_store(
            settings,
            incarnation,
            self.clock,
            lambda: self.membership.lost(float("-inf")),
            lambda record: self.trip.on_added(record),
        )
        self.policy = LivePolicy(rules, self.clock)
        self.broker = make_broker(settings, self.policy, self.clock)
        self.nodes = Nodes()
        self.membership = Membership(
            self.inflight.replica,
            settings.lease,
            bus=settings.amqp_url is not None and settings.redis_url is not None,
        )
        keeps = settings.journal > 0
        self.journal = Journal(keeps, settings.journal_payloads, self.policy.revision_of)
        ids = make_ids(settings, self.policy)
        self.cache = make_cache(self.inflight, self.clock)
        self._traces = traces.start(
            settings.traces,
            settings.replica,
            self.metrics,
            self.clock,
            ids,
            lambda: self.broker.messaging,
        )
        sinks = [self.metrics.trip, self.metrics.courses, CallLog(ids, each=sys.stderr.isatty())]
        sinks += [each for each in (self.journal if keeps else None, self._traces) if each is not None]
        sinks.append(CommandLog())
        observer = Observer(sinks, self._traces, self.clock)
        longest = lambda: self.policy.longest_deadline  # noqa: E731
        self.roles = Roles(self.membership, self.broker, self.nodes, self.clock, longest)
        self.trip = Trip(
            self.inflight,
            self.broker,
            self.nodes,
            self.policy,
            self.metrics.trip,
            observer,
            self.membership,
            self.roles,
            self.clock,
            ids=ids,
            services=self.metrics.courses,
            cache=self.cache,
        )
        self._command_store = make_command_store(settings, incarnation, self.clock)
        self.commands = Commands(
            self.nodes,
            self._command_store,
            self.broker,
            self.metrics.commands,
            sinks,
            lambda: self.clock() < self.membership.lease_ends,
            self.clock,
        )
        recovery = StoreRecovery(self.trip, self.inflight, observer, self.metrics.trip, self.clock)
        self.connector = Connector(
            self.nodes,
            self.trip,
            self.roles,
            recovery,
            self.broker,
            self.metrics,
            settings.replica,
            LinkSettings(
                receipt_timeout=settings.receipt_timeout,
                receive_buffer=settings.receive_buffer,
                max_frame=settings.max_frame,
                in_batches=self.policy.in_batches,
            ),
            on_result=self.commands.on_result,
        )
        self.discovery = Discovery(
            settings.fixed_nodes, settings.lookups, self.connector.set_known, settings.nodes_refresh
        )
        self.placement = Placement(
            settings.links_per_node,
            self.nodes,
            self.connector,
            self.membership,
            self.roles,
            recovery,
            self.inflight,
            self.clock,
        )
        self.takeover = Takeover(
            self.membership,
            self.roles,
            self.broker,
            self.nodes,
            self.connector,
            recovery,
            self.metrics.cluster,
            self.clock,
        )
        clocks = ClockWatch(self.timekeeping, self.membership, self.roles, self.nodes, self.clock)
        self.beats = Beats(
            self.membership, self.roles, self.broker, self.nodes, clocks, self._about, self.clock
        )
        self.replicas = Heartbeat(
            self.inflight,
            self.membership,
            self.beats,
            self.placement,
            self.takeover,
            self.nodes,
            self.metrics.cluster,
            self.clock,
        )
        self.duty = CommandDuty(
            self.commands, self._command_store, self.broker, self.nodes, self.membership, self._begin
        )
        self.draining = Draining(
            settings.drain_timeout,
            self.roles,
            self.membership,
            self.nodes,
            self.trip,
            self.inflight,
            self.replicas,
            self._begin,
            self.clock,
        )
        self.ticker = Ticker(
            self.trip,
            self.nodes,
            self.connector,
            self.metrics.process,
            (self.draining.obey, self.replicas.tick, self._look, self.commands.tick, self.duty.tick),
        )
        self.policy_file = follow_policy(settings, self.policy)
        self.readiness = Readiness(
            settings,
            self.broker,
            self.nodes,
            self.placement,
            self.replicas,
            self.roles,
            self.timekeeping,
            self.policy_file,
        )
        self._health = HealthServer(
            settings.http,
            self.metrics.registry,
            self.readiness.checks,
            self._measure,
            self.readiness.details,
        )
        about = self.inflight, self.beats, self.nodes, self.commands, self.broker, self.clock
        self.operators = OperatorSocket(settings.http.port, *about)
        self._since = time.time()
        self._note_at = 0.0
        self._beside: set[asyncio.Task[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start every part; servers that are away are waited for in the background.

        Raises AdapterError where the HTTP port is taken.
        """
        try:
            await self._health.start()
        except OSError as exc:
            raise AdapterError(f"EVAPI_HTTP: cannot listen on {self._settings.http}: {exc.strerror}") from exc
        # First of all: what the parts tell as they start belongs below it.
        log.info(
            "started",
            replica=self.inflight.replica,
            nodes=[str(part) for part in self._settings.nodes],
            broker=shown(self._settings.amqp_url),
            store=shown(self._settings.redis_url),
            http=str(self._settings.http),
            services=dict(self.broker.services) or None,
        )
        if self.membership.bus:
            self.broker.join(self.membership.replica, self.membership.lease, self.beats.on_said)
        await self.broker.start(FromBus(self.trip, self.commands))
        await self.operators.start()
        self._tasks = [
            asyncio.create_task(self.discovery.run(), name="discovery"),
            asyncio.create_task(self.ticker.run(), name="ticker"),
        ]

    async def until(self, stop: asyncio.Event) -> None:
        """Serve until told to stop, then drain. Raises what ended a part that must not end."""
        stopping: asyncio.Future[Any] = asyncio.create_task(stop.wait())
        parts: list[asyncio.Future[None]] = [*self._tasks, self.connector.broken]
        done, _ = await asyncio.wait([stopping, *parts], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        for part in done - {stopping}:
            part.result()
        await self.draining.run()

    async def close(self) -> None:
        """Stop every part."""
        for task in [*self._tasks, *self._beside]:
            task.cancel()
        await asyncio.gather(
            *self._tasks, *self._beside, self.ticker.stop(), self.replicas.stop(), return_exceptions=True
        )
        await self.broker.close()
        await self.connector.close()
        await self.trip.idle()
        await self.commands.idle()
        # Who leaves is not looked after: what is still owned must be found as a dead replica's.
        if self.roles.drain.ends and not await self.draining.owned([link.node for link in self.nodes]):
            with contextlib.suppress(StoreUnavailable):  # its lease ends without this, too
                await self.inflight.leave()
        await self.operators.close()
        await self.cache.close()
        await self.inflight.close()
        await self._command_store.close()
        await self._health.close()
        if self._traces is not None:
            await asyncio.to_thread(self._traces.close)
        log.info("stopped")

    def _look(self, now: float) -> None:
        if self.roles.drain.accepts:
            self.nodes.set_status(lambda node: "ready" if self.replicas.serves(node) else "degraded")
        self.journal.pack()
        if self.policy_file is not None:
            self.policy_file.look()
        if now >= self._note_at:
            self._note_at = now + NOTE_INTERVAL
            entry = self.journal.take()
            if entry is not None:
                self._begin(self.inflight.note(entry, self._settings.journal))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    def _about(self) -> Mapping[str, Any]:
        return {
            "version": VERSION,
            "since": self._since,
            "http": str(own_address.told(self._settings.http)),
            "machine": socket.gethostname(),
            "links": {link.node: link.state for link in self.nodes},
            "kamailio": {link.node: link.version for link in self.nodes if link.version},
            "receipts": {
                link.node: round(took, 4) for link in self.nodes if (took := link.writer.receipt_took)
            },
            "active": self.takeover.chosen_for(),
            "known": list(self.nodes.known),
            "links_per_node": self._settings.links_per_node,
            "clock_corrected": round(self.timekeeping.corrected, 3),
            "clock_off": round(self.timekeeping.off, 3),
            "dropped": list(self.broker.dropped.items()),
            "policy": self.policy.now.revision,
            "policy_problem": self.readiness.policy_problem,
            "without_ids": self.trip.without_ids,
        }

    def _measure(self) -> None:
        self.connector.measure()
        self.metrics.measure(self.nodes.names, self.clock())
        self.metrics.process.broker_ready.set(self.broker.ready)
        self.metrics.process.store_ready.set(self.replicas.store_ready)
        self.metrics.cluster.drained.set(self.membership.drain_ordered)
        self.metrics.cluster.frames_held.set(self.trip.held)
        for node in self.nodes.names:
            self.metrics.cluster.paused.labels(node).set(node in self.membership.paused)
        self.metrics.process.broker_counted(self.broker.counts)
        self.metrics.process.log_lost.set(outlet.lost())
        self.metrics.process.http_dropped.set(self._health.connections.dropped)
        self.metrics.process.journal_dropped.set(self.journal.dropped)
        self.metrics.courses.begin(self.policy.now.default, self.policy.now.events)
        self.metrics.process.policy(self.policy.now.revision, bool(self.readiness.policy_problem))
        broker = "rabbitmq" if self._settings.amqp_url else "embedded"
        store = "redis" if self._settings.redis_url else "embedded"
        self.metrics.process.replica_info.labels(self._settings.replica, broker, store).set(1)
