"""Says hello: that this instance of a service is there, and how it fares.

It does so on ``evapi.services``: every few seconds, when it leaves, and at once when somebody asks who is
there. So a command that has just begun knows within a second, and an instance that does not answer hangs.

Nothing depends on it: it has a channel of its own, on the connection of the bindings, and a user without the
rights to it (README, "Security") serves all the same. Whoever may ask makes an instance say hello five times
a second at most: of more questions the latest waits, and RabbitMQ drops the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import time
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

from pamqp.commands import Basic

from adapter import hello
from adapter.amqp.backoff import Backoff
from adapter.amqp.tasks import happens, outcome
from adapter.amqp.topology import Binding, Exchange, Queue, bind, declare_queue
from adapter.amqp.words import EXPECTED, reason
from adapter.contract import (
    APP_ID,
    ASK,
    HEADER_VERSION,
    JSON,
    SERVICES_EXCHANGE,
    VERSION,
    ask_key,
    asked_queue,
    word,
)
from adapter.errors import BrokerUnavailable
from consumers.amqp.topology import declare_missing
from consumers.messages import Result

if TYPE_CHECKING:
    from aiormq import Channel
    from aiormq.abc import DeliveredMessage

    from adapter.amqp.connection import Connection
    from consumers.service import Service

_log = logging.getLogger("consumers")

LEAST_PAUSE: Final = 0.2
"""Seconds between two, however often somebody asks."""
EXPIRES: Final = 30_000
"""Milliseconds for which RabbitMQ keeps a hello."""
FIRST_RETRY: Final = 10.0
LONGEST_RETRY: Final = 600.0
"""Seconds after which it is tried again, where something is in the way: mostly missing rights."""
EXCHANGE: Final = Exchange(SERVICES_EXCHANGE, "topic")
ASKED_ARGUMENTS: Final[dict[str, Any]] = {"x-max-length": 1, "x-message-ttl": 2_000, "x-expires": 60_000}
"""Of the queue of questions. It goes with its instance, or, if nobody ever came, by itself."""


class Presence:
    """One instance of a service, as it says of itself.

    Args:
        service: what it runs.
        prefetch: requests that it holds at a time.
        each: seconds between two hellos.
    """

    def __init__(self, service: Service, prefetch: int, each: float = hello.EACH) -> None:
        self.host = socket.gethostname()
        self.instance = f"{word(self.host)[:60]}-{os.getpid()}-{secrets.token_hex(4)}"
        self.prefetch = prefetch
        self._service = service
        self._each = each
        self._began = time.monotonic()
        self._replies, self._spent = 0, 0.0  # at the last hello
        self._per_decision: float | None = None
        self._told: set[str] = set()
        self._question: int | None = None  # its delivery tag
        self._asked = asyncio.Event()
        self._deaf = False
        self._backoff = Backoff(FIRST_RETRY, LONGEST_RETRY, spread=False)

    def hello(self, leaves: bool = False) -> hello.Hello:
        """What is to be said now."""
        service, now = self._service, time.monotonic()
        counts = service.counts
        decided, failed = counts[Result.DECIDED], counts[Result.FAILED]
        if (replies := decided + failed) > self._replies:
            self._per_decision = max((service.spent - self._spent) / (replies - self._replies), 0.0)
            self._replies, self._spent = replies, service.spent
        failure = service.last_failure
        return hello.Hello(
            service=service.name,
            instance=self.instance,
            host=self.host,
            version=service.version,
            sdk=_sdk(),
            events=service.events,
            uptime=now - self._began,
            requests=sum(counts.values()),
            decided=decided,
            failed=failed,
            prefetch=self.prefetch,
            concurrency=service.concurrency,
            per_decision=self._per_decision,
            error=None if failure is None else failure[1],
            error_age=None if failure is None else now - failure[0],
            leaves=leaves,
        )

    async def keep(self, connection: Connection) -> None:
        """Say hello on a connection until cancelled. What hinders it is told once, and hinders no call."""
        while True:
            trouble = await outcome(self._session(connection))
            if not isinstance(trouble, EXPECTED):
                _log.error("%s: hello", self._service.name, exc_info=trouble)
            elif connection.alive:
                self._tell_once(f"it cannot say hello (evapi-adapter services): {reason(trouble)}")
            await asyncio.sleep(self._backoff.pause())

    async def _session(self, connection: Connection) -> None:
        """Say hello until something breaks, which is raised, or until cancelled: it leaves then."""
        await declare_missing(connection, EXCHANGE)
        channel = await connection.channel()
        queue = Queue(asked_queue(self._service.name, self.instance), ASKED_ARGUMENTS, auto_delete=True)
        await connection.in_time(declare_queue(channel, queue))
        for key in (ASK, ask_key(self._service.name)):
            await connection.in_time(bind(channel, Binding(EXCHANGE.name, queue.name, key)))
        await connection.in_time(channel.basic_qos(prefetch_count=1))
        self._question, self._deaf = None, False
        self._asked.clear()
        channel.on_consumer_cancel_callbacks.add(self._on_cancelled)
        await connection.in_time(channel.basic_consume(queue.name, self._on_question))
        self._backoff.reset()
        task, closing = asyncio.current_task(), channel.closing
        assert task is not None
        closing.add_done_callback(lambda _: self._asked.set())
        try:
            while not (closing.done() or self._deaf):
                await self._say(connection, channel)
                # A request of the library's is a task of its own: if that is done all the same, nothing is
                # raised (aiormq 7.2.4).
                if task.cancelling():
                    break
                await asyncio.sleep(min(LEAST_PAUSE, self._each))
                await happens(self._asked, self._each)
        finally:
            if connection.alive and not channel.is_closed and not connection.blocked:
                with contextlib.suppress(*EXPECTED):
                    await self._say(connection, channel, leaves=True)
        if not closing.done():
            raise BrokerUnavailable(f"{queue.name} was deleted")
        closing.result()

    async def _on_question(self, message: DeliveredMessage) -> None:
        """The next one comes when this one is acknowledged."""
        self._question = message.delivery_tag
        self._asked.set()

    def _on_cancelled(self, _: object) -> None:
        """Somebody deleted the queue."""
        self._deaf = True
        self._asked.set()

    async def _say(self, connection: Connection, channel: Channel, leaves: bool = False) -> None:
        await connection.unblocked()
        self._asked.clear()
        question, self._question = self._question, None
        told = self.hello(leaves)
        publishing = channel.basic_publish(
            hello.encode(told), exchange=EXCHANGE.name, routing_key=told.key, properties=properties()
        )
        await connection.in_time(publishing)
        if question is not None:
            await connection.in_time(channel.basic_ack(question))

    def _tell_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            _log.warning("%s: %s", self._service.name, text)


def properties() -> Basic.Properties:
    """Of each hello."""
    return Basic.Properties(
        content_type=JSON,
        delivery_mode=1,
        expiration=str(EXPIRES),
        app_id=APP_ID,
        headers={HEADER_VERSION: VERSION},
    )


def _sdk() -> str:
    try:
        return f"python {version(APP_ID)}"
    except PackageNotFoundError:  # copied to where it runs, not installed
        return "python"
