"""The AMQP frames of requests, notices and dead letters: see ``adapter.amqp.frames``. Pure."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pamqp.commands import Basic
from pamqp.header import ContentHeader

from adapter import contract
from adapter.amqp import fields
from adapter.amqp.frames import (
    TRANSIENT,
    constant,
    integer_field,
    long,
    message,
    publish_method,
    short,
    text_field,
    texts_field,
)

if TYPE_CHECKING:
    from adapter.ports.broker import DeadLetter, Publication

_TIME_LEFT: Final = integer_field(contract.HEADER_TIME_LEFT)
_times: Final = struct.Struct(f">q{len(_TIME_LEFT)}sq").pack
_COUNT: Final = integer_field(contract.HEADER_BATCH)

_NOTICE: Final = (
    fields.CONTENT_TYPE
    | fields.HEADERS
    | fields.DELIVERY_MODE
    | fields.MESSAGE_ID
    | fields.TIMESTAMP
    | fields.TYPE
    | fields.APP_ID
)
_OCTETS: Final = "application/octet-stream"
_PERSISTENT: Final = 2
_LETTER_KEY: Final = "dead-letter"
"""One word, so that it is no node's: see ``topology.declare_node``."""
_MAX_DETAIL: Final = 500
_REQUEST: Final = _NOTICE | fields.CORRELATION_ID | fields.REPLY_TO | fields.EXPIRATION
_BATCH: Final = _REQUEST & ~fields.CORRELATION_ID


class _Route(NamedTuple):
    """What is the same in every request, and in every notice, of one event of one node, in one format."""

    method: bytes
    notice: bytes
    """Its first properties."""
    request: bytes
    """Its first properties, up to the value of the deadline."""
    reply_to: bytes
    end: bytes


def encode(
    channel: int,
    most: int,
    publication: Publication,
    message_id: str,
    now: int,
    left: int,
    reply_to: str,
    user: str = "",
    mqtt: bool = False,
    expires: int | None = None,
) -> bytes:
    """Write a publication out, for a channel that takes ``most`` bytes of a body in a frame.

    ``now`` in epoch seconds; ``left`` in milliseconds, of no interest to a notice, nor is ``reply_to``.
    ``user``: as whom the server knows us, for the property ``user_id``, which is left out where that is
    empty. ``mqtt``: a request names the topic by which MQTT clients reply. ``expires``: milliseconds for
    which a request waits to be taken, of which the adapter is to hear; None: until its deadline.
    """
    event, node, body, correlation_id, deadline = (
        publication.event,
        publication.node,
        publication.body,
        publication.correlation_id,
        publication.deadline,
    )
    trace = _trace(publication.traceparent) if publication.traceparent else b""
    kind, queue, untaken = contract.content_type(body), publication.queue, expires is not None
    route = _route(channel, event, node, len(trace), reply_to, user, kind, mqtt, queue, untaken)
    stamp = short(message_id)
    if correlation_id is None or deadline is None:
        flags = _NOTICE
        properties = b"".join((route.notice, stamp, long(now), route.end))
    else:
        flags = _REQUEST
        properties = b"".join(
            (
                route.request,
                _times(round(deadline * 1000), _TIME_LEFT, left),
                trace,
                TRANSIENT,
                stamp if correlation_id == message_id else short(correlation_id),
                route.reply_to,
                _expiration(left if expires is None else expires),
                stamp,
                long(now),
                route.end,
            )
        )
    if user:
        flags |= fields.USER_ID
    return message(route.method, channel, most, flags, properties, body)


def batch(
    channel: int,
    most: int,
    first: Publication,
    body: bytes,
    count: int,
    now: int,
    deadline: float,
    left: int,
    reply_to: str,
    user: str = "",
    expires: int | None = None,
) -> bytes:
    """Write several requests out that go to one queue in one message: see ``adapter.batches``.

    ``first``: of them, by whose id the message is known; ``body`` holds ``count``. ``deadline``: the last of
    theirs, in epoch seconds, and ``left`` until it. The rest is as in ``encode``.
    """
    id_, more, untaken = first.correlation_id, len(_COUNT) + 8, expires is not None
    which = channel, first.event, first.node, more, reply_to, user, contract.MSGPACK, False
    route, stamp = _route(*which, first.queue, untaken), short(id_ or "")
    properties = b"".join(
        (
            route.request,
            _times(round(deadline * 1000), _TIME_LEFT, left),
            _COUNT,
            long(count),
            TRANSIENT,
            route.reply_to,
            _expiration(left if expires is None else expires),
            stamp,
            long(now),
            route.end,
        )
    )
    flags = _BATCH | fields.USER_ID if user else _BATCH
    return message(route.method, channel, most, flags, properties, body)


def letter(channel: int, most: int, kept: DeadLetter, message_id: str, now: int) -> bytes:
    """Write a dead letter out, as much of it as a body may hold. ``now`` in epoch seconds.

    They are few, so the library writes their properties.
    """
    body = kept.body[: contract.MAX_BODY]
    headers: dict[str, Any] = {
        contract.HEADER_REASON: kept.reason,
        contract.HEADER_DETAIL: kept.detail[:_MAX_DETAIL],
        contract.HEADER_NODE: kept.node,
    }
    properties = Basic.Properties(
        content_type=_fitting(kept.content_type) or _OCTETS,
        headers=headers,
        delivery_mode=_PERSISTENT,
        correlation_id=_fitting(kept.correlation_id),
        message_id=message_id,
        timestamp=datetime.fromtimestamp(now, UTC),
        app_id=contract.APP_ID,
    )
    header = ContentHeader(body_size=len(body), properties=properties).marshal()
    flags, values = (
        int.from_bytes(header[fields.PROPERTIES - 2 : fields.PROPERTIES], "big"),
        header[fields.PROPERTIES :],
    )
    return message(
        publish_method(channel, contract.DEAD_EXCHANGE, _LETTER_KEY), channel, most, flags, values, body
    )


def _fitting(text: str | None) -> str | None:
    """A text as a property of AMQP, which has 255 bytes: what a peer sent may have become longer here."""
    return text if text is None else text.encode()[:255].decode(errors="ignore")


@lru_cache(maxsize=1024)
def _route(
    channel: int,
    event: str,
    node: str,
    more: int,
    reply_to: str,
    user: str,
    content_type: str,
    mqtt: bool,
    queue: str,
    untaken: bool,
) -> _Route:
    """``more``: bytes of the headers that follow the time left."""
    always = text_field(contract.HEADER_NODE, node)
    always += integer_field(contract.HEADER_VERSION) + long(contract.VERSION)
    deadline = integer_field(contract.HEADER_UNTAKEN) + long(1) if untaken else b""
    key = contract.routing_key(event, node)
    if queue:  # a dead request goes to its node by this key: see topology.results_bindings
        deadline += texts_field(contract.HEADER_BCC, key)
    deadline += text_field(contract.HEADER_REPLY_TOPIC, reply_to) if mqtt else b""
    deadline += integer_field(contract.HEADER_DEADLINE)
    kind = short(content_type)
    with_deadline = len(always) + len(deadline) + 8 + len(_TIME_LEFT) + 8 + more
    return _Route(
        publish_method(channel, "" if queue else contract.EVENTS_EXCHANGE, queue or key),
        kind + len(always).to_bytes(4, "big") + always + TRANSIENT,
        kind + with_deadline.to_bytes(4, "big") + always + deadline,
        short(reply_to),
        short(event) + (short(user) if user else b"") + constant(contract.APP_ID),
    )


@lru_cache(maxsize=4096)
def _expiration(left: int) -> bytes:
    return short(str(left))


def _trace(traceparent: str) -> bytes:
    return text_field(contract.HEADER_TRACEPARENT, traceparent)
