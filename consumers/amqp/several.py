"""Requests that came in one message, each as if it had come alone. Pure."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from pamqp.commands import Basic
from pamqp.header import ContentHeader

from adapter import batches
from adapter.amqp import fields
from adapter.amqp.frames import message, publish_method
from adapter.contract import (
    APP_ID,
    DEAD_EXCHANGE,
    FIRST_DEATH,
    HEADER_BATCH,
    HEADER_DEADLINE,
    HEADER_NODE,
    HEADER_TIME_LEFT,
    MSGPACK,
    VERSION,
    routing_key,
    service_queue,
)
from adapter.errors import CodecError
from consumers.amqp.delivery import Delivery
from consumers.messages import version_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from adapter.batches import Asked

ARRAY: Final = b"\x90"
"""No body of a single request is as great: one in msgpack begins with a lower byte, one in JSON, too."""
_TRANSIENT: Final = 1


class _Whole:
    """The message of several requests. ``left``: how many of them are not done with; ``lost``: whether one
    of them had to go to the dead letters, and could not."""

    __slots__ = ("delivery", "headers", "left", "lost")

    def __init__(self, delivery: Delivery, headers: Mapping[str, Any], left: int) -> None:
        self.delivery = delivery
        self.headers = headers
        self.left = left
        self.lost = False


class Part(Delivery):
    """One of several requests in a message. Its tag is that of the message: see ``settle``."""

    __slots__ = ("_more", "_whole", "request")

    def __init__(self, whole: _Whole, asked: Asked) -> None:
        of = whole.delivery
        super().__init__(of.tag, b"", b"")
        self._whole = whole
        self._more = asked.headers
        self.request: dict[str, Any] = asked.request
        self.received = of.received
        self.reply_to = of.reply_to
        self.correlation_id = asked.correlation_id if of.reply_to else None

    def read(self) -> None:
        """Nothing is left to be read."""

    def settle(self, lost: bool = False) -> bool:
        """Note that this one is done with. Return True if all of the message are.

        ``lost``: it had to go to the dead letters alone, and could not.
        """
        whole = self._whole
        whole.lost |= lost
        whole.left -= 1
        return whole.left == 0

    @property
    def lasts(self) -> Any:
        """The time that the message had, as it says."""
        return self._whole.headers.get(HEADER_TIME_LEFT)

    @property
    def lost(self) -> bool:  # type: ignore[override]
        """Whether any of the message was lost."""
        return self._whole.lost

    @property
    def message_id(self) -> str | None:
        """The correlation id of the message. The adapter gives it none."""
        return self._whole.delivery.correlation_id

    @property
    def direct(self) -> bool:
        """Whether the message came straight to its queue."""
        return self._whole.delivery.direct

    @property
    def user_id(self) -> str | None:
        """See ``Delivery``."""
        return self._whole.delivery.user_id

    @property
    def headers(self) -> Mapping[str, Any]:
        """Those of the message, and its own, which count before them."""
        return {**self._whole.headers, HEADER_DEADLINE: self.request.get("deadline"), **self._more}

    @property
    def content(self) -> bytes:
        """The body with which it is sent on alone."""
        return batches.alone(self.request)

    def properties(self) -> Basic.Properties:
        """Those with which it is sent on alone."""
        deadline, now = self.request.get("deadline"), time.time()
        left = None if type(deadline) is not int else str(max(1, int(deadline - now * 1000)))
        return Basic.Properties(
            content_type=MSGPACK,
            headers=dict(self.headers),
            delivery_mode=_TRANSIENT,
            correlation_id=self.correlation_id,
            reply_to=self.reply_to,
            expiration=left,
            message_id=self.correlation_id,
            timestamp=datetime.fromtimestamp(int(now), UTC),
            message_type=str(self.request.get("event")),
            app_id=APP_ID,
        )

    def dead(self, service: str, channel: int, most: int) -> bytes:
        """Return the frames by which it goes to the dead letters alone, as RabbitMQ would send it there.

        Args:
            service: which rejects it.
            channel: to be written on.
            most: bytes of a body that one frame takes there.
        """
        queue, found = service_queue(service), self.properties()
        death: Any = {
            "reason": "rejected",
            "queue": queue,
            "exchange": "",
            "routing-keys": [queue],
            "count": 1,
            "time": found.timestamp,
            "original-expiration": found.expiration or "",
        }
        found.expiration = None
        found.headers = {**(found.headers or {}), "x-death": [death], FIRST_DEATH: "rejected"}
        body = self.content
        header = ContentHeader(body_size=len(body), properties=found).marshal()
        flags = int.from_bytes(header[fields.PROPERTIES - 2 : fields.PROPERTIES], "big")
        key = routing_key(str(self.request.get("event")), str(self.headers.get(HEADER_NODE)))
        method = publish_method(channel, DEAD_EXCHANGE, key)
        return message(method, channel, most, flags, header[fields.PROPERTIES :], body)


def parts(delivery: Delivery) -> Sequence[Delivery]:
    """Return the requests of a message; it alone if it holds no several, or cannot be read.

    That one is rejected, as any that is no request.
    """
    if not batches.is_one(delivery.body):
        return [delivery]
    try:
        delivery.read()
        headers = delivery.headers
        if HEADER_BATCH not in headers or version_of(headers) > VERSION:
            return [delivery]
        found = batches.asked(delivery.body)
    except (CodecError, ValueError):
        return [delivery]
    shared = {name: value for name, value in headers.items() if name != HEADER_BATCH}
    whole = _Whole(delivery, shared, len(found))
    return [Part(whole, each) for each in found] or [delivery]
