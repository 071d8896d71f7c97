"""RabbitMQ as an operator asks it: over AMQP alone, each answer within a time.

Whatever fails is BrokerUnavailable, with a sentence that says where, what and what to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import aiormq
from pamqp.commands import Basic

from adapter.amqp.connection import Connection
from adapter.amqp.servers import parse_urls, shown
from adapter.amqp.topology import Exchange, bind, declare_exchange, declare_queue
from adapter.amqp.words import DeclaredOtherwise, reason
from adapter.broker.rabbitmq.limits import Limits
from adapter.broker.rabbitmq.sender import user
from adapter.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping

    from aiormq.abc import DeliveredMessage
    from yarl import URL

    from adapter.amqp.line import Line
    from adapter.amqp.topology import Binding, Queue

T = TypeVar("T")

TIMEOUT: Final = 2.0
_GOODBYE: Final = 0.3
"""Seconds for a server to take leave of us."""
_HEAD_START: Final = 0.1

# The library logs what it raises as well; only what is raised is for an operator.
logging.getLogger("aiormq").addHandler(logging.NullHandler())


class NotThere(BrokerUnavailable):
    """The queue or exchange does not exist."""


class NoRights(BrokerUnavailable):
    """The user may not do it."""


class Refused(BrokerUnavailable):
    """A queue did not take the message; others may have it."""


@dataclass(frozen=True, slots=True)
class QueueState:
    """A queue as it is: messages that wait (not those that a consumer holds), and who consumes it."""

    name: str
    messages: int
    consumers: int


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it was got; ``tag`` is of use to who got it."""

    tag: int
    redelivered: bool
    exchange: str
    routing_key: str
    properties: Basic.Properties
    body: bytes

    @property
    def headers(self) -> Mapping[str, Any]:
        """Its headers."""
        return self.properties.headers or {}


class Browse:
    """The messages of one queue, on one channel: each is held until the end, and back in its place then.

    A crash of this process gives them back as well. RabbitMQ marks them redelivered.
    """

    def __init__(self, rabbit: Rabbit, channel: aiormq.Channel, queue: str) -> None:
        self._rabbit = rabbit
        self._channel = channel
        self._queue = queue
        self._standby: list[int] = []

    async def get(self) -> Message | None:
        """The next one; ``None`` where no more wait. Raises BrokerUnavailable."""
        found = await self._rabbit.ask(self._channel.basic_get(self._queue), f"queue {self._queue}")
        if not isinstance(found.delivery, Basic.GetOk):
            return None
        message = _message(found)
        self._standby.append(message.tag)
        return message

    async def everything(self) -> list[Message]:
        """All that wait now; not what comes meanwhile. Raises BrokerUnavailable."""
        state = await self._rabbit.queue(self._queue)
        found: list[Message] = []
        while state is not None and len(found) < state.messages and (message := await self.get()) is not None:
            found.append(message)
        return found

    async def remove(self, messages: Iterable[Message]) -> None:
        """Take them off the queue for good; returns once RabbitMQ has. Raises BrokerUnavailable."""
        what = f"queue {self._queue}"
        tags = {message.tag for message in messages}
        first = list(itertools.takewhile(tags.__contains__, self._standby))
        if first:
            await self._rabbit.ask(self._channel.basic_ack(first[-1], multiple=True), what)
        for tag in sorted(tags.difference(first)):
            await self._rabbit.ask(self._channel.basic_ack(tag), what)
        self._standby = [tag for tag in self._standby if tag not in tags]
        # An acknowledgement has no answer of its own; what comes after it on the channel has.
        await self._rabbit.ask(self._channel.basic_qos(prefetch_count=0), what)


class Rabbit:
    """A connection, as an asynchronous context manager.

    ``urls``: of one cluster, separated by commas; the first that answers is taken. ``timeout``: seconds
    for the connection, and for each answer. Raises SettingsError for a URL that is none.
    """

    def __init__(self, urls: str, timeout: float = TIMEOUT) -> None:
        self._urls = parse_urls(urls)
        self._timeout = timeout
        self._connection: Connection
        self._spare: aiormq.Channel | None = None
        self._publisher: aiormq.Channel | None = None
        self._opening = asyncio.Lock()
        self.url = ", ".join(shown(url) for url in self._urls)
        """Where it is, without a password."""

    async def __aenter__(self) -> Self:
        """Connect. Raises BrokerUnavailable."""
        connect = max(self._timeout - _HEAD_START * (len(self._urls) - 1), self._timeout / 2)
        limits = Limits(1, self._timeout, connect_timeout=connect, head_start=_HEAD_START)
        try:
            self._connection = await Connection.open_any(list(self._urls), limits)
        except BrokerUnavailable as exc:
            raise BrokerUnavailable(f"RabbitMQ: {exc}") from exc
        self.url = self._connection.url
        return self

    async def __aexit__(self, *_: object) -> None:
        self._spare = self._publisher = None
        await self._connection.close(_GOODBYE)

    @property
    def server(self) -> URL:
        """The server that is connected, password and all."""
        return self._connection.server

    @property
    def properties(self) -> Mapping[str, Any]:
        """What the server says of itself."""
        return self._connection.server_properties

    @property
    def version(self) -> str:
        """Of RabbitMQ; empty where it does not say."""
        found = self.properties.get("version", "")
        return found.decode(errors="replace") if isinstance(found, bytes) else str(found)

    async def user(self) -> str:
        """Return the name by which RabbitMQ knows us; empty if it does not tell. Raises BrokerUnavailable."""
        return await self.ask(user(self._connection), "exchange evapi.events")

    @property
    def alive(self) -> bool:
        """Whether the connection is there, as far as is known."""
        return self._connection.alive

    @property
    def blocked(self) -> bool:
        """Whether it takes no publications at present: short of memory or disk."""
        return self._connection.blocked

    async def queue(self, name: str) -> QueueState | None:
        """A queue; ``None`` where there is none. Changes nothing. Raises BrokerUnavailable."""
        try:
            found = await self._on_spare(
                lambda channel: channel.queue_declare(name, passive=True), f"queue {name}"
            )
        except NotThere:
            return None
        return QueueState(name, found.message_count or 0, found.consumer_count or 0)

    async def exchange(self, name: str) -> bool:
        """Whether there is such an exchange. Changes nothing. Raises BrokerUnavailable."""
        try:
            await self._on_spare(
                lambda channel: channel.exchange_declare(name, passive=True), f"exchange {name}"
            )
        except NotThere:
            return False
        return True

    async def declare(self, thing: Exchange | Queue) -> None:
        """Declare it. Raises BrokerUnavailable; DeclaredOtherwise where it is there with other arguments."""
        if isinstance(thing, Exchange):
            await self._on_spare(lambda channel: declare_exchange(channel, thing), thing.name)
        else:
            await self._on_spare(lambda channel: declare_queue(channel, thing), thing.name)

    async def bind(self, binding: Binding) -> None:
        """Make a binding. Raises BrokerUnavailable."""
        what = f"binding {binding.source} -> {binding.to}"
        await self._on_spare(lambda channel: bind(channel, binding), what)

    async def delete_unused(self, queue: str) -> int:
        """Delete a queue that nobody consumes; return how many messages went with it.

        Raises BrokerUnavailable, if somebody consumes it, too.
        """
        try:
            found = await self._on_spare(
                lambda channel: channel.queue_delete(queue, if_unused=True), f"queue {queue}"
            )
        except BrokerUnavailable as exc:
            if isinstance(exc.__cause__, aiormq.ChannelPreconditionFailed):
                raise BrokerUnavailable(self._at(f"queue {queue}: somebody consumes it now")) from exc
            raise
        return found.message_count or 0

    async def publish(self, exchange: str, key: str, body: bytes, properties: Basic.Properties) -> bool:
        """Publish, confirmed. Whether a queue has it. Raises BrokerUnavailable."""
        if self.blocked:
            raise BrokerUnavailable(self._at("takes no messages: it is short of memory or disk"))
        async with self._opening:  # of several at a time the first one opens the channel for all
            if self._publisher is None or self._publisher.is_closed:
                self._publisher = await self._channel(confirms=True)
            publisher = self._publisher
        what = f"exchange {exchange}" if exchange else f"queue {key}"
        return await self.ask(_publish(publisher, exchange, key, body, properties), what)

    async def line(self) -> Line:
        """Open a channel with confirms, whose messages go past the library. Raises BrokerUnavailable."""
        return await self.ask(self._connection.line(confirms=True), "channel")

    @contextlib.asynccontextmanager
    async def browse(self, queue: str) -> AsyncIterator[Browse]:
        """Look through a queue; in the end what was not removed is back. Raises BrokerUnavailable."""
        channel = await self._channel()
        try:
            yield Browse(self, channel, queue)
        finally:
            await self._close(channel)

    @contextlib.asynccontextmanager
    async def listen(self, queue: str) -> AsyncIterator[asyncio.Queue[Message]]:
        """A queue of our own, which goes with us; gives what comes to it. Raises BrokerUnavailable."""
        channel = await self._channel()
        came: asyncio.Queue[Message] = asyncio.Queue()

        async def take(message: DeliveredMessage) -> None:
            came.put_nowait(_message(message))

        what = f"queue {queue}"
        try:
            await self.ask(channel.queue_declare(queue, exclusive=True, auto_delete=True), what)
            await self.ask(channel.basic_consume(queue, take, no_ack=True), what)
            yield came
        finally:
            await self._close(channel)

    async def ask(self, request: Coroutine[Any, Any, T], what: str) -> T:
        """Wait for an answer about ``what``. Raises BrokerUnavailable.

        A server that does not answer is let go of: a request of which nobody knows what became must
        not be mistaken for the next one.
        """
        asking = asyncio.ensure_future(request)
        try:
            done, _ = await asyncio.wait({asking}, timeout=self._timeout)
        except asyncio.CancelledError:
            asking.cancel()
            raise
        if not done:
            self._connection.abort("no answer")
            asking.cancel()
            await asyncio.wait({asking})
            raise BrokerUnavailable(self._at(f"{what}: no answer within {self._timeout:g} s; does it hang?"))
        try:
            return asking.result()
        except DeclaredOtherwise:
            raise
        except (aiormq.AMQPError, BrokerUnavailable, OSError, RuntimeError) as exc:
            # RuntimeError: what the library raises of a connection or channel that is closed.
            raise self._translated(exc, what) from exc
        except asyncio.CancelledError as exc:  # the library's way to say that the connection is gone
            raise BrokerUnavailable(self._at(f"{what}: the connection was lost")) from exc

    def _translated(self, exc: Exception, what: str) -> BrokerUnavailable:
        known = exc.__cause__ if isinstance(exc, BrokerUnavailable) and exc.__cause__ is not None else exc
        why = reason(known)
        if isinstance(known, aiormq.ChannelNotFoundEntity):
            return NotThere(
                self._at(f"{what} does not exist; evapi-adapter topology diff tells what is missing")
            )
        if isinstance(known, aiormq.ChannelAccessRefused):
            return NoRights(
                self._at(
                    f"{what}: the user has no rights to it; let it configure, write and read evapi.* ({why})"
                )
            )
        if isinstance(known, RuntimeError):
            why = "the connection was lost"
        if isinstance(known, aiormq.exceptions.DeliveryError):
            return Refused(self._at(f"{what}: refused; is a queue full, or without a leader?"))
        return BrokerUnavailable(self._at(f"{what}: {why}"))

    def _at(self, words: str) -> str:
        return f"RabbitMQ at {self.url}: {words}"

    async def _channel(self, confirms: bool = False) -> aiormq.Channel:
        return await self.ask(self._connection.channel(confirms=confirms), "channel")

    async def _close(self, channel: aiormq.Channel) -> None:
        """Close a channel where it is still open; a connection that is gone has closed it already."""
        if not channel.is_closed and self._connection.alive:
            with contextlib.suppress(BrokerUnavailable):
                await self.ask(channel.close(), "channel")

    async def _on_spare(self, request: Callable[[aiormq.Channel], Coroutine[Any, Any, T]], what: str) -> T:
        """Ask on a channel that is kept until a refusal closes it."""
        if self._spare is None or self._spare.is_closed:
            self._spare = await self._channel()
        channel = self._spare
        try:
            return await self.ask(request(channel), what)
        except BrokerUnavailable:
            self._spare = None
            raise


async def _publish(
    channel: aiormq.Channel, exchange: str, key: str, body: bytes, properties: Basic.Properties
) -> bool:
    try:
        await channel.basic_publish(
            body, exchange=exchange, routing_key=key, properties=properties, mandatory=True
        )
    except aiormq.exceptions.PublishError:  # returned: no queue is bound
        return False
    return True


def _message(found: DeliveredMessage) -> Message:
    return Message(
        found.delivery_tag or 0,
        bool(found.redelivered),
        found.exchange or "",
        found.routing_key or "",
        found.header.properties,
        found.body,
    )
