"""What passes between a consumer and RabbitMQ: requests, replies, acknowledgements, in their order. Pure."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pamqp import frame as frames
from pamqp.commands import Basic
from pamqp.exceptions import PAMQPException
from pamqp.header import ContentHeader

if TYPE_CHECKING:
    from collections.abc import Callable

_LONGEST: Final = 1 << 22
"""Bytes of what is no AMQP 0-9-1 that are kept before a stream is given up."""


@dataclass(slots=True)
class Seen:
    """What a consumer did with one request. Of two numbers the smaller one came first; 0: it has not been.

    Args:
        delivered: when it was delivered for the first time.
        automatic: whether it was acknowledged by being delivered (``no_ack``).
        settled: when it was acknowledged or rejected.
        rejected: whether it was rejected.
        requeued: how often it was given back to be delivered again.
        replied: when the reply was published.
        sent_to: where replies went: exchange and routing key of each.
    """

    delivered: int = 0
    automatic: bool = False
    settled: int = 0
    rejected: bool = False
    requeued: int = 0
    replied: int = 0
    sent_to: list[tuple[str, str]] = field(default_factory=list)


class Sight:
    """All connections of one run, by the message id of each request."""

    def __init__(self) -> None:
        self.requests: dict[str, Seen] = {}
        self._consumed: set[str] = set()
        self._numbers = itertools.count(1)

    def of(self, message_id: str) -> Seen:
        """What was seen of a request."""
        return self.requests.setdefault(message_id, Seen())

    def consumes(self, queue: str) -> bool:
        """Whether anybody has asked for the messages of a queue."""
        return queue in self._consumed

    def consumed(self, queue: str) -> None:
        """Take in that somebody asks for the messages of a queue."""
        self._consumed.add(queue)

    def number(self) -> int:
        """The place of what happens now."""
        return next(self._numbers)

    def connection(self) -> tuple[Callable[[bytes], None], Callable[[bytes], None]]:
        """Two readers of a new connection: of what the consumer sends, and of what it is sent."""
        known = _Connection(self)
        return _Stream(known.from_consumer).feed, _Stream(known.from_server).feed


class _Stream:
    """One direction of a connection, cut into frames; what is no AMQP 0-9-1 is not looked at."""

    def __init__(self, take: Callable[[int, Any], None]) -> None:
        self._take = take
        self._kept = b""
        self._blind = False

    def feed(self, data: bytes) -> None:
        """Take in what was read."""
        if self._blind:
            return
        self._kept += data
        try:
            while (size := self._whole()) and len(self._kept) >= size:
                _, channel, found = frames.unmarshal(self._kept[:size])
                self._kept = self._kept[size:]
                self._take(channel, found)
        except (PAMQPException, ValueError, IndexError, KeyError, OverflowError):
            self._blind = True
        self._blind |= len(self._kept) > _LONGEST

    def _whole(self) -> int:
        """Bytes of the frame that comes next; 0 while that cannot be known."""
        if self._kept[:4] == b"AMQP":
            return 8
        return int.from_bytes(self._kept[3:7], "big") + 8 if len(self._kept) >= 7 else 0


class _Connection:
    """The deliveries and publications of one connection."""

    def __init__(self, sight: Sight) -> None:
        self._sight = sight
        self._automatic: set[str] = set()  # consumer tags
        self._named: dict[int, bool] = {}  # of consumers that RabbitMQ names, by channel: automatic or not
        self._held: dict[tuple[int, int], str] = {}  # message ids by channel and delivery tag
        self._delivery: dict[int, Basic.Deliver | Basic.GetOk] = {}
        self._publication: dict[int, Basic.Publish] = {}

    def from_consumer(self, channel: int, found: Any) -> None:
        """Take a frame of the consumer's."""
        if isinstance(found, Basic.Consume | Basic.Get):
            self._sight.consumed(found.queue or "")
        if isinstance(found, Basic.Consume):
            if found.consumer_tag:
                (self._automatic.add if found.no_ack else self._automatic.discard)(found.consumer_tag)
            else:
                self._named[channel] = bool(found.no_ack)
        elif isinstance(found, Basic.Publish):
            self._publication[channel] = found
        elif isinstance(found, ContentHeader) and channel in self._publication:
            self._published(self._publication.pop(channel), found)
        elif isinstance(found, Basic.Ack):
            self._settled(channel, found.delivery_tag, found.multiple)
        elif isinstance(found, Basic.Reject):
            self._settled(channel, found.delivery_tag, False, rejected=True, requeue=found.requeue)
        elif isinstance(found, Basic.Nack):
            self._settled(channel, found.delivery_tag, found.multiple, rejected=True, requeue=found.requeue)

    def from_server(self, channel: int, found: Any) -> None:
        """Take a frame of RabbitMQ's."""
        if isinstance(found, Basic.ConsumeOk):
            if self._named.pop(channel, False):
                self._automatic.add(found.consumer_tag or "")
        elif isinstance(found, Basic.Deliver | Basic.GetOk):
            self._delivery[channel] = found
        elif isinstance(found, ContentHeader) and channel in self._delivery:
            self._delivered(channel, self._delivery.pop(channel), found)

    def _delivered(self, channel: int, method: Basic.Deliver | Basic.GetOk, header: ContentHeader) -> None:
        message_id = header.properties.message_id
        if not message_id or method.delivery_tag is None:
            return
        seen = self._sight.of(message_id)
        seen.delivered = seen.delivered or self._sight.number()
        if isinstance(method, Basic.Deliver) and method.consumer_tag in self._automatic:
            seen.automatic = True
            seen.settled = seen.settled or self._sight.number()
        else:
            self._held[channel, method.delivery_tag] = message_id

    def _published(self, method: Basic.Publish, header: ContentHeader) -> None:
        properties = header.properties
        id_ = properties.correlation_id or (properties.headers or {}).get("x-correlation-id")
        if isinstance(id_, bytes):
            id_ = id_.decode(errors="replace")
        if isinstance(id_, str) and id_ in self._sight.requests:
            seen = self._sight.of(id_)
            seen.replied = seen.replied or self._sight.number()
            seen.sent_to.append((method.exchange or "", method.routing_key or ""))

    def _settled(
        self, channel: int, tag: int | None, multiple: bool, *, rejected: bool = False, requeue: bool = False
    ) -> None:
        upto = tag or 0
        for key in [key for key in self._held if key[0] == channel and self._names(key[1], upto, multiple)]:
            seen = self._sight.of(self._held.pop(key))
            if rejected and requeue:
                seen.requeued += 1
                continue
            seen.settled = seen.settled or self._sight.number()
            seen.rejected = rejected

    @staticmethod
    def _names(tag: int, upto: int, multiple: bool) -> bool:
        """Whether an acknowledgement is of a delivery; with ``multiple`` 0 means all."""
        return tag == upto or (multiple and (tag < upto or not upto))
