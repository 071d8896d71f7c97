"""What RabbitMQ, or the way to it, says of a fault: the errors of the libraries as ours, in few words."""

from __future__ import annotations

import asyncio
from typing import Final

import aiormq

from adapter.certificates import refusal
from adapter.errors import BrokerUnavailable

EXPECTED: Final = (
    BrokerUnavailable,
    aiormq.AMQPError,
    aiormq.ChannelInvalidStateError,
    OSError,
    asyncio.CancelledError,
)
"""What a server that goes away may raise. Anything else is a fault of ours and gets a traceback."""


class UndecodableMessage(BrokerUnavailable):
    """A message on a queue of ours cannot be read: the connection is closed for it.

    ``dropped``: it was taken off the queue, so the next connection is a step further.
    """

    dropped = False


class NotThere(BrokerUnavailable):
    """There is no such queue or exchange, or the server that has it is down."""


class NotAllowed(BrokerUnavailable):
    """The user has not the permissions for it."""


class DeclaredOtherwise(BrokerUnavailable):
    """It is there with other arguments, which cannot be changed."""


_REFUSALS: Final[dict[type[aiormq.AMQPError], tuple[type[BrokerUnavailable], str]]] = {
    aiormq.ChannelNotFoundEntity: (NotThere, ""),
    aiormq.ChannelPreconditionFailed: (
        DeclaredOtherwise,
        "; it was declared otherwise: delete it, or give the setting the value it was made with",
    ),
    aiormq.ChannelAccessRefused: (
        NotAllowed,
        "; the user needs the permissions to configure, write and read evapi.*",
    ),
}


def reason(exc: BaseException | None) -> str:
    """An error in a few words."""
    if exc is None:
        return "closed"
    if isinstance(exc, TimeoutError):
        return "no answer in time"
    if isinstance(exc, asyncio.CancelledError) and not exc.args:
        return "the connection was closed, or no heartbeat came"
    return refusal(exc) or " ".join(str(part) for part in exc.args) or type(exc).__name__


def refused(kind: str, name: str, exc: aiormq.AMQPError) -> BrokerUnavailable:
    """What the server refused about a thing, and what to do."""
    kind_of, remedy = _REFUSALS.get(type(exc), (BrokerUnavailable, ""))
    return kind_of(f"{kind} {name}: {reason(exc)}{remedy}")
