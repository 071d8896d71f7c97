"""Keeps a service bound to the events that it has handlers for, and to no others.

AMQP cannot list bindings, and a service's user need not have the management API. So a binding that the
service has no use for any more is noticed by the first request that comes by it. Whether another
instance of the service still has a handler (two versions of it run during a rolling update) is asked of
RabbitMQ itself: each instance consumes a queue ``evapi.handles.<service>.<event>`` for each of its
handlers, and who has none passes the request on to that queue. Is there no such queue, then no instance
has a handler, and the binding is taken away. A request that came straight to the service's queue says
nothing of bindings: it is passed on likewise, else answered as failed.

All of this is on a connection of its own. A cluster of RabbitMQ 4.3 without majority closes a connection
30 s after a binding was asked for, even one that is there; requests and replies go on beside it.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import aiormq

from adapter.amqp.backoff import Backoff
from adapter.amqp.connection import Connection
from adapter.amqp.footholds import untapped
from adapter.amqp.tasks import end, happens, outcome
from adapter.amqp.topology import Queue, declare_queue, messages_in
from adapter.amqp.words import NotAllowed, reason
from adapter.contract import (
    DEAD_EXCHANGE,
    EVENTS_EXCHANGE,
    HEADER_BCC,
    HEADER_DIRECT,
    HEADER_NODE,
    handles_queue,
    routing_key,
    service_queue,
    word,
)
from adapter.errors import BrokerUnavailable
from consumers.amqp.delivery import PassedOn
from consumers.amqp.topology import bind_service
from consumers.amqp.work import Work

if TYPE_CHECKING:
    from collections.abc import Collection

    from yarl import URL

    from adapter.amqp.limits import ConnectionLimits
    from consumers.amqp.delivery import Delivery
    from consumers.amqp.presence import Presence
    from consumers.service import Service

_log = logging.getLogger("consumers")

AGAIN_EACH: Final = 60.0
"""Seconds after which the bindings are made again: somebody may have taken one away."""
FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 30.0
"""Seconds between two attempts, twice as many after each that fails."""
GRACE: Final = 10.0
"""Seconds that requests which were passed on have to be decided at a stop."""
UNBIND_EACH: Final = 1.0
"""Seconds between two times that the same binding is taken away."""
HANDLES_ARGUMENTS: Final[dict[str, Any]] = {"x-dead-letter-exchange": DEAD_EXCHANGE, "x-expires": 60_000}
"""Of a queue ``evapi.handles...``. It goes with its last consumer, or, if nobody ever came, by itself."""


class Bindings:
    """The bindings of one instance of a service, and the requests that came by one it has no use for.

    ``bound`` is set while the service is bound to its events, as far as can be known. ``requests_from``:
    see ``Work``. ``presence``: says hello on the same connection, once the service is bound.
    """

    def __init__(
        self,
        service: Service,
        limits: ConnectionLimits,
        requests_from: Collection[str] = (),
        presence: Presence | None = None,
    ) -> None:
        self._presence = presence
        self._requests_from = requests_from
        self._user = ""
        self.bound = asyncio.Event()
        self._service = service
        self._limits = limits
        self._due = asyncio.Event()
        self._connection: Connection | None = None
        self._offers: aiormq.Channel | None = None
        self._consumed: dict[str, str] = {}  # consumer tags by queue
        self._refused: set[str] = set()
        self._unbound_at: dict[str, float] = {}
        self._told: set[str] = set()

    def make(self) -> None:
        """Bind, now that the exchange and the service's queue are there."""
        self.bound.clear()
        self._due.set()

    async def keep(self, url: URL) -> None:
        """Stay connected, until cancelled; what is in hand is finished then."""
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE, spread=False)
        self.bound.clear()
        self._due.clear()
        while True:
            trouble = await outcome(self._session(url))
            if self.bound.is_set():
                backoff.reset()
            self.bound.clear()
            self._due.set()
            self._tell_once(f"bindings: {reason(trouble)}; trying again")
            await asyncio.sleep(backoff.pause())

    async def _session(self, url: URL) -> None:
        self._user = url.user or "guest"
        name, prefetch = f"bindings {self._service.name}", self._limits.prefetch
        connection = self._connection = await Connection.open_any([url], self._limits, name)
        try:
            line = await connection.line(confirms=True)
            await connection.in_time(line.amqp.basic_qos(prefetch_count=prefetch))
            line.amqp.on_consumer_cancel_callbacks.add(self._on_cancelled)
            # Who passes a request on has looked at whose it is.
            own = (self._user,) if self._requests_from else ()
            another = partial(connection.line, confirms=True)
            work = Work(self._service, line, another, prefetch, requests_from=own, make=PassedOn.scanned)
            self._offers = await connection.channel(confirms=True)
            ends = [asyncio.ensure_future(self._keep_bound(connection, line.amqp))]
            hello = asyncio.ensure_future(self._say_hello(connection))
            try:
                await asyncio.wait(
                    [*ends, line.amqp.closing, self._offers.closing], return_when=asyncio.FIRST_COMPLETED
                )
                for ended in ends:
                    if ended.done():
                        ended.result()
            finally:
                for ended in ends:
                    ended.cancel()
                if line.alive:
                    await self._finish(connection, line.amqp, work)
                await work.close()
                await end(hello)
        finally:
            self._connection = self._offers = None
            self._consumed.clear()
            await connection.close()

    async def _say_hello(self, connection: Connection) -> None:
        if self._presence is not None:
            await self.bound.wait()
            await self._presence.keep(connection)

    async def _finish(self, connection: Connection, channel: aiormq.Channel, work: Work) -> None:
        """Take no more from others, and decide what they have passed on."""
        try:
            for tag in list(channel.consumers):
                await connection.in_time(channel.basic_cancel(tag))
            await work.finished(GRACE)
        except (aiormq.AMQPError, TimeoutError, asyncio.CancelledError) as exc:
            _log.debug("%s: bindings: %r", self._service.name, exc)

    async def _keep_bound(self, connection: Connection, channel: aiormq.Channel) -> None:
        await self._due.wait()
        while True:
            self._due.clear()
            for event in self._service.events:
                await self._consume(connection, channel, handles_queue(self._service.name, event))
            # Behind the queues, so that who unbinds sees them: see _unbind.
            await bind_service(connection, self._service)
            self.bound.set()
            await happens(self._due, AGAIN_EACH)

    async def _consume(self, connection: Connection, channel: aiormq.Channel, queue: str) -> None:
        """Take what other instances pass on. Where that is refused, they keep it to themselves."""
        if queue in self._consumed or queue in self._refused:
            return
        declaring = await connection.channel()
        try:
            await connection.in_time(
                declare_queue(declaring, Queue(queue, HANDLES_ARGUMENTS, auto_delete=True))
            )
            await declaring.close()
        except BrokerUnavailable as exc:
            if not isinstance(exc.__cause__, aiormq.AMQPChannelError):
                raise
            if isinstance(exc, NotAllowed):
                self._refused.add(queue)
            self._tell_once(
                f"{queue} cannot be declared: {reason(exc)}; until it can be, bindings that nobody uses "
                f"stay, and a request that comes to an instance without a handler is not passed on"
            )
            return
        try:
            begun = await connection.in_time(channel.basic_consume(queue, untapped))
        except aiormq.ChannelAccessRefused:
            self._refused.add(queue)  # the channel is closed; the next session leaves this queue alone
            raise
        self._consumed[queue] = str(begun.consumer_tag)

    def _on_cancelled(self, frame: Any) -> None:
        """Consume a queue again that somebody deleted, or that went to another server of the cluster."""
        for queue, tag in list(self._consumed.items()):
            if tag == frame.consumer_tag:
                del self._consumed[queue]
                self._due.set()

    async def pass_on(self, delivery: Delivery, event: str) -> bool:
        """Deal with a request that this instance has no handler for. Raises nothing.

        It goes to an instance that has one. If there is none, the service is unbound from the event, unless
        the request came straight to its queue: that tells nothing of bindings.

        Returns:
            Whether another instance has it.
        """
        name = self._service.name
        try:
            if await self._offer(delivery, event):
                self._tell_once(
                    f"no handler of {event!r} here: its requests are passed on to the instances of {name} "
                    f"that have one"
                )
                return True
            if delivery.direct:
                return False
            if (key := word(event)) in map(word, self._service.events):
                self._tell_once(
                    f"no handler of {event!r}, whose routing key {key}.* it shares with an event that "
                    f"{name} handles: its requests are left to other services. Rename one of the two"
                )
            else:
                await self._unbind(event, key)
        except (Exception, asyncio.CancelledError) as exc:  # whatever the library raised
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            self._tell_once(f"no handler of {event!r}; whether another instance has one is unknown: {exc!r}")
        return False

    async def _offer(self, delivery: Delivery, event: str) -> bool:
        """Whether another instance got it. Raises what the library raises."""
        if self._offers is None or self._connection is None:
            raise OSError("no connection for it")
        properties = delivery.properties()
        # The adapter's: RabbitMQ takes no message in another's name.
        properties.user_id = self._user if self._requests_from else None
        headers = dict(properties.headers or {})
        headers.pop(HEADER_DIRECT, None)
        if delivery.direct:
            headers[HEADER_DIRECT] = 1
        if isinstance(node := headers.get(HEADER_NODE), str):  # if it dies, its node is to hear of it
            headers[HEADER_BCC] = [routing_key(event, node)]
        properties.headers = headers
        try:
            await self._connection.in_time(
                self._offers.basic_publish(
                    delivery.content,
                    routing_key=handles_queue(self._service.name, event),
                    properties=properties,
                    mandatory=True,
                )
            )
        except aiormq.exceptions.PublishError:
            return False
        return True

    async def _unbind(self, event: str, key: str) -> None:
        """Take the binding away. An instance with a handler that has come meanwhile is bound again."""
        name, now = self._service.name, asyncio.get_running_loop().time()
        connection = self._connection
        if connection is None or not self._may_unbind or now < self._unbound_at.get(key, now):
            return
        self._unbound_at[key] = now + UNBIND_EACH
        self._tell_once(
            f"no handler of {event!r}: the binding {key}.* of {service_queue(name)} is to go, and its "
            f"requests are left to other services. If none is bound, calls of {event!r} are unroutable: "
            f"start a service that has a handler of it"
        )
        channel = await connection.channel()
        queue = service_queue(name)
        try:
            await connection.in_time(channel.queue_unbind(queue, EVENTS_EXCHANGE, f"{key}.*"))
        except aiormq.ChannelAccessRefused as exc:
            # A topic permission that has been narrowed already holds for unbinding, too.
            self._tell_once(
                f"the binding {key}.* of {queue} stays, as it may not be taken away: {reason(exc)}. Requests "
                f"come by it in vain; take it away as an administrator"
            )
            return
        if await connection.in_time(messages_in(channel, handles_queue(name, event))) is None:
            return
        channel = await connection.channel()
        await connection.in_time(channel.queue_bind(queue, EVENTS_EXCHANGE, f"{key}.*"))
        await channel.close()

    @property
    def _may_unbind(self) -> bool:
        """Whether instances can be told apart: who may not have such a queue cannot tell of its handlers."""
        return len(self._consumed) == len(self._service.events)

    def _tell_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            _log.warning("%s: %s", self._service.name, text)
