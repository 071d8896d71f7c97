"""Frames that a consumer sends to a node beside all calls, such as one that ends a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapter.errors import CodecError
from adapter.model.transaction import RESEND_FOR
from adapter.wire import command, netstring

if TYPE_CHECKING:
    from adapter.observe.trip_metrics import TripMetrics
    from adapter.ports.links import Links

MAX_UNREAD: Final = 10_000
"""Frames of a node that wait to be read, beyond which no command is pushed."""


class Commands:
    """Pushes them, if Kamailio tells them from resumes.

    Args:
        links: the way to Kamailio.
        metrics: of the trip.
    """

    def __init__(self, links: Links, metrics: TripMetrics) -> None:
        self._links = links
        self._metrics = metrics

    def push(self, node: str, body: bytes) -> None:
        """Push a frame as it is.

        Args:
            node: to which.
            body: JSON text.

        Raises:
            CodecError: Kamailio would take it for another frame, or could not read it or all that waits.
        """
        command.check_command(body)
        if not self._links.takes_commands(node):
            raise CodecError("no-hello", "the node's configuration does not tell commands from resumes")
        if self._links.waiting(node) >= MAX_UNREAD:
            raise CodecError("overload", f"{MAX_UNREAD} frames wait to be read by the node")
        if len(body) > self._links.max_payload(node):
            raise CodecError("too-large", f"{len(body)} bytes; Kamailio reads {netstring.MAX_OUT}")
        self._links.send(node, body, RESEND_FOR, None)
        self._metrics.commands.labels(node).inc()
