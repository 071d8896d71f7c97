"""The RabbitMQ and Redis that a measurement was given: whether they are there, and what stays in them.

RabbitMQ's exchanges are the production's, the queues are the measurement's own: those of its nodes, and
the service's, declared here without a way to the dead letters, which are for real calls. They are
deleted afterwards, and would go by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import aiormq

from adapter import contract
from adapter.amqp.connection import Connection
from adapter.amqp.servers import parse_urls
from adapter.amqp.words import reason
from adapter.bench.ground import BenchError, node_names
from adapter.bench.names import SERVICE
from adapter.broker.rabbitmq.limits import Limits
from adapter.errors import BrokerUnavailable, StoreUnavailable
from adapter.inflight.redis import RedisStore
from adapter.settings import without_password

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

EXPIRES: Final = 60.0
"""Seconds after which an unused queue goes by itself."""
REDIS_PREFIX: Final = "evapi-bench"
MOST_WAITING: Final = 100_000
"""Requests that wait for the service at most; the oldest give way, as with any service."""
ANSWER: Final = 5.0
"""Seconds that a server has for what is asked of it here."""


def prepare_rabbitmq(urls: str, nodes: int) -> None:
    """Declare the service's queue, and delete what another measurement left as it was killed.

    Raises BenchError where that fails, SettingsError for the URLs.
    """
    asyncio.run(_on_rabbitmq(urls, partial(_declare, nodes)))


def clear_rabbitmq(urls: str, nodes: int) -> None:
    """Delete the queues of a measurement. Raises BenchError where that cannot be done."""

    async def delete(channel: aiormq.Channel) -> None:
        for queue in _queues(nodes):
            await channel.queue_delete(queue)

    asyncio.run(_on_rabbitmq(urls, delete))


def check_redis(url: str) -> None:
    """Raises BenchError where it does not answer, SettingsError for a URL that cannot be used."""
    asyncio.run(_ask_redis(url))


def _queues(nodes: int) -> list[str]:
    queues = [contract.service_queue(SERVICE)]
    for node in node_names(nodes):
        queues += contract.results_queue(node), contract.commands_queue(node)
    return queues


async def _declare(nodes: int, channel: aiormq.Channel) -> None:
    with contextlib.suppress(aiormq.ChannelPreconditionFailed):
        for queue in _queues(nodes):  # those that are left may have other arguments
            await channel.queue_delete(queue, if_unused=True)
        queue = contract.service_queue(SERVICE)
        arguments: dict[str, Any] = {"x-expires": round(EXPIRES * 1000), "x-max-length": MOST_WAITING}
        await channel.queue_declare(queue, durable=True, arguments=arguments)
        return
    queue = contract.service_queue(SERVICE)
    raise BenchError(f"{queue} is in use: wait until the measurement that runs at this RabbitMQ is over")


async def _on_rabbitmq(urls: str, do: Callable[[aiormq.Channel], Awaitable[None]]) -> None:
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # what it would say is in what is raised
    limits = Limits(prefetch=1, confirm_timeout=ANSWER)
    try:
        connection = await Connection.open_any(parse_urls(urls), limits)
    except BrokerUnavailable as exc:
        raise BenchError(
            f"RabbitMQ: {exc}; start it, correct the URL, or give no URL to measure with the embedded broker"
        ) from exc
    try:
        async with asyncio.timeout(ANSWER):
            await do(await connection.channel())
    except (aiormq.AMQPError, TimeoutError, OSError) as exc:
        raise BenchError(
            f"RabbitMQ at {connection.url}: {reason(exc)}; its user must be allowed to configure, write and "
            "read evapi.*"
        ) from exc
    finally:
        await connection.close(limits.close_timeout)


async def _ask_redis(url: str) -> None:
    store = RedisStore(url, "bench", prefix=REDIS_PREFIX, timeout=ANSWER)
    try:
        await store.count(node_names(1)[0])
    except StoreUnavailable as exc:
        why = str(exc).rstrip(".")
        raise BenchError(
            f"Redis at {without_password(url)}: {why}; start it, correct the URL, or give no URL to measure "
            "with the embedded store"
        ) from exc
    finally:
        await store.close()
