"""Events that nobody waits behind: published once, not claimed, not answered."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from adapter import contract
from adapter.errors import CodecError
from adapter.ports.broker import Broker, Publication
from adapter.relay.unanswerable import Unanswerable
from adapter.wire.event import Malformed, Notice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter.observe.trip_metrics import TripMetrics
    from adapter.relay.malformed import MalformedFrames
    from adapter.relay.policy import LivePolicy


class Notices:
    """Publishes them.

    Args:
        broker: takes them.
        policy: in which format.
        metrics: of the trip.
        malformed: keeps those that cannot be published.
    """

    def __init__(
        self, broker: Broker, policy: LivePolicy, metrics: TripMetrics, malformed: MalformedFrames
    ) -> None:
        self._broker = broker
        self._policy = policy
        self._metrics = metrics
        self._malformed = malformed
        self.unanswerable = Unanswerable(metrics)
        """Tells of those that look like questions."""

    async def publish(self, node: str, notices: Sequence[Notice]) -> None:
        """Publish what one read of a node's link held. What is not taken is lost, and counted."""
        for notice in notices:
            self.unanswerable.look(node, notice)
        encoded = [each for each in map(partial(self._encode, node), notices) if each is not None]
        for result in await self._broker.publish(encoded):
            self._metrics.notices.labels(result.name.lower()).inc()

    def _encode(self, node: str, notice: Notice) -> Publication | None:
        """Encode a notice; None, and it is kept as malformed, if that cannot be."""
        try:
            request = contract.Request(notice.event, node, notice.data)
            body = contract.encode_request(request, self._policy.plan(notice.event).as_json)
        except CodecError as exc:
            self._malformed.keep(node, Malformed(exc.reason, exc.detail, repr(notice).encode(), notice.event))
            return None
        return Publication(notice.event, node, body)
