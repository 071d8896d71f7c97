"""As whom RabbitMQ knows us: what each publication says of its sender."""

from __future__ import annotations

import asyncio
import re
import secrets
from typing import TYPE_CHECKING, Final

import aiormq
from pamqp.commands import Basic

from adapter import contract
from adapter.amqp.words import reason

if TYPE_CHECKING:
    from adapter.amqp.connection import Connection

_AUTHENTICATED: Final = re.compile(r"authenticated user was '([^']+)'")  # 3.10 to 4.3


def known_as(exc: BaseException | None) -> str:
    """Return as whom the server knows us, if it refused a message in another's name; else nothing."""
    told = _AUTHENTICATED.search(reason(exc))
    return told[1] if told else ""


async def user(connection: Connection) -> str:
    """Return the name by which RabbitMQ knows us; empty if it does not tell.

    With a password that is the name in the URL. A login by certificate has none there, so the server is
    asked: it refuses a message in another's name, and says in whose name it takes one.
    """
    if connection.server.query.get("auth", "").lower() != "external":
        return connection.server.user or "guest"
    # Nothing is refused to somebody who may write in anybody's name.
    return known_as(await _refusal(connection, contract.EVENTS_EXCHANGE, secrets.token_hex(16)))


async def refused_queues(connection: Connection) -> str:
    """Return what the server says if the user may not send to a queue by its name; empty if it may.

    It is asked with a message to a queue that is not there. Raises what the library raises.
    """
    exc = await _refusal(connection, "")
    return reason(exc) if isinstance(exc, aiormq.ChannelAccessRefused) else ""


async def _refusal(connection: Connection, exchange: str, user_id: str | None = None) -> BaseException | None:
    """What the server says to a message that goes nowhere; None if it takes it."""
    channel = await connection.channel()
    nowhere, properties = f"evapi.nowhere.{secrets.token_hex(16)}", Basic.Properties(user_id=user_id)
    await channel.basic_publish(b"", exchange=exchange, routing_key=nowhere, properties=properties)
    answer = asyncio.ensure_future(channel.exchange_declare(contract.EVENTS_EXCHANGE, passive=True))
    await asyncio.wait({answer, channel.closing}, return_when=asyncio.FIRST_COMPLETED)
    if not channel.closing.done():
        await answer
        await channel.close()
        return None
    await asyncio.gather(answer, return_exceptions=True)
    return None if channel.closing.cancelled() else channel.closing.exception()
