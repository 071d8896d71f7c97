"""As whom RabbitMQ knows us: what each publication says of its sender."""

from __future__ import annotations

import asyncio
import re
import secrets
from typing import TYPE_CHECKING, Final

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
    nobody = secrets.token_hex(16)
    channel = await connection.channel()
    properties = Basic.Properties(user_id=nobody)
    await channel.basic_publish(
        b"", exchange=contract.EVENTS_EXCHANGE, routing_key=nobody, properties=properties
    )
    answer = asyncio.ensure_future(channel.exchange_declare(contract.EVENTS_EXCHANGE, passive=True))
    await asyncio.wait({answer, channel.closing}, return_when=asyncio.FIRST_COMPLETED)
    if not channel.closing.done():  # somebody who may write in anybody's name
        await answer
        await channel.close()
        return ""
    await asyncio.gather(answer, return_exceptions=True)
    return known_as(None if channel.closing.cancelled() else channel.closing.exception())
