"""What RabbitMQ, or the way to it, says of a fault: the errors of the libraries as ours, in few words."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

import aiormq

from adapter.certificates import refusal
from adapter.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
        "; the user lacks a permission: `evapi-adapter doctor` gives what an adapter's needs, README, "
        '"Security", what a service\'s does',
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


def explained(failures: str) -> str:
    """What a server or the system says, in an operator's words."""
    for pattern, words in _SAYINGS:
        failures = pattern.sub(words, failures)
    return failures


def _no_vhost(found: re.Match[str]) -> str:
    vhost = found["path"] or "/"
    return (
        f"{found['url']}: refused after the login: is there a vhost {vhost!r}, and may the user use it? "
        f"(rabbitmqctl list_permissions -p {vhost})"
    )


_SAYINGS: Final[Sequence[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]]] = (
    (
        re.compile(r"ACCESS_REFUSED - Login was refused[^;]*"),
        "the login was refused: check user and password in EVAPI_AMQP_URL "
        "(guest is let in from RabbitMQ's own machine only)",
    ),
    (
        re.compile(
            r"(?P<url>amqps?://[^/\s;]*/?(?P<path>[^\s;]*)): Expected one of \['Connection.OpenOk'\][^;]*"
        ),
        _no_vhost,
    ),
    (
        re.compile(r"\d+ Connect call failed \([^)]*\)"),
        "connection refused: nothing listens there; is RabbitMQ running, and the port right?",
    ),
    (
        re.compile(r"-\d+ (?:Name or service not known|No address associated with hostname)"),
        "there is no such host",
    ),
    (re.compile(r"-3 Temporary failure in name resolution"), "the name cannot be resolved: does DNS work?"),
    (
        re.compile(r"\d+ \[SSL: WRONG_VERSION_NUMBER\][^;]*"),
        "the port speaks no TLS (amqps:// is usually port 5671, amqp:// 5672)",
    ),
    (
        re.compile(r"no answer within ([\d.]+) s"),
        r"no answer within \1 s: does it hang, does a firewall drop the packets, or is it no RabbitMQ?",
    ),
)
