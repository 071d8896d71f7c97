"""Every foothold in the libraries that is no documented interface of theirs.

Checked on aio-pika 10.2.1, aiormq 7.2.4 and pamqp 4.0.1; ``tests/amqp/test_footholds.py`` fails for each that
an upgrade moves. Beside these functions the fast path relies on what the libraries do:

- aiormq reads its frames from the StreamReader that the transport factory gives, and from nowhere else: so
  ``wire`` may take frames out before it sees them, and make up heartbeats.
- A message reaches the socket in one piece, by one ``write`` of the transport: so whole frames of ours may go
  between those of aiormq, on channels that it does not publish on.
- aiormq numbers no publications of ours, and waits for no confirm that it did not ask for.
- It needs a callback for each consumer; it is never called, since deliveries do not get so far.
- It ends the callers of a channel that closes by CancelledError, and closes the channel of a request that is
  given up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import aio_pika

if TYPE_CHECKING:
    import asyncio
    import ssl

    import aiormq
    from aiormq.abc import DeliveredMessage
    from yarl import URL


def unconnected(url: URL, name: str, transport: aiormq.TransportFactory) -> aio_pika.Connection:
    """Make a connection of aio-pika's that opens its socket by ``transport``.

    aio-pika hands ``kwargs`` on to ``aiormq.connect``, which takes a transport factory; its own constructor
    takes none (10.2.1).
    """
    made = aio_pika.Connection(url, client_properties={"connection_name": name})
    made.kwargs["transport_factory"] = transport
    return made


def below(connection: aio_pika.Connection) -> aiormq.Connection:
    """Return aiormq's connection under an open one of aio-pika's (10.2.1)."""
    assert connection.transport is not None, "it is open"
    return cast("aiormq.Connection", connection.transport.connection)


async def tls(url: URL, options: dict[str, Any]) -> ssl.SSLContext | None:
    """Take the TLS context out of what aiormq gives a transport factory; none for ``amqp://`` (7.2.4)."""
    provider = options.pop("ssl_context_provider")
    return cast("ssl.SSLContext", await provider.get_context()) if url.scheme == "amqps" else None


def unblocked(connection: aiormq.Connection) -> asyncio.Event | None:
    """Return the event that is set while the server takes publications: no memory or disk alarm (7.2.4).

    To ask ``is_blocked`` ten times for each publication cost 1 % of all CPU. None if there is no such event.
    """
    return getattr(connection, "_Connection__connection_unblocked", None)


def is_blocked(connection: aiormq.Connection) -> bool:
    """Whether the server takes no publications, by what aiormq has for it: a coroutine."""
    ready = connection.ready()
    try:
        ready.send(None)  # it has to wait where, and only where, the server has blocked us
    except StopIteration:
        return False
    ready.close()
    return True


def usable(channel: aiormq.abc.AbstractChannel) -> bool:
    """Whether the server still knows the channel: a frame on another closes the whole connection.

    aiormq keeps its channels by number, until the server has confirmed that one is closed (7.2.4).
    """
    return channel.connection.channels.get(channel.number) is channel and not channel.is_closed


async def untapped(message: DeliveredMessage) -> None:
    """For aiormq, which asks for somebody: what is delivered goes past it, unless the stream is broken."""
