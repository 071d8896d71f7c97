"""Dead messages that hold several requests: each request is a letter of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pamqp.commands import Basic

from adapter import batches, contract
from adapter.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter.admin.rabbit import Message

_KEPT: Final = ("content_type", "delivery_mode", "reply_to", "expiration", "timestamp", "app_id")


def parts(message: Message) -> Sequence[Message]:
    """Return the requests of a message, each as it would have died alone; it alone if it holds one."""
    if contract.HEADER_BATCH not in message.headers:
        return [message]
    try:
        return [_part(message, each) for each in batches.asked(message.body)] or [message]
    except CodecError:
        return [message]  # it is shown as it is


def _part(message: Message, asked: batches.Asked) -> Message:
    shared = {name: each for name, each in message.headers.items() if name != contract.HEADER_BATCH}
    deadline, event = asked.request.get("deadline"), asked.request.get("event")
    own = {contract.HEADER_DEADLINE: deadline} if type(deadline) is int else {}
    given = message.properties
    properties = Basic.Properties(
        **{name: getattr(given, name) for name in _KEPT},
        headers={**shared, **own, **asked.headers},
        correlation_id=asked.correlation_id,
        message_id=asked.correlation_id,
        message_type=event if isinstance(event, str) else given.message_type,
    )
    return replace(message, properties=properties, body=batches.alone(asked.request))
