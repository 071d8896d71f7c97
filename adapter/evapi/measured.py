"""What metrics tell of the links."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adapter.evapi.link import Link
    from adapter.observe.metrics import LinkMetrics


def measure(links: Iterable[Link], metrics: LinkMetrics) -> None:
    """Bring the metrics up to date."""
    for link in links:
        metrics.link_up.labels(link.node).set(link.up)
        metrics.link_sound.labels(link.node).set(link.sound)
        metrics.link_receipts.labels(link.node).set(link.up and link.writer.receipts)
        metrics.gate_open.labels(link.node).set(link.opens_gate)
        metrics.link_connects.set(link.connects, link.node)
        metrics.link_frames.set(link.frames_in, link.node)
        metrics.link_bytes.set(link.bytes_in, link.node)
        metrics.receipts_missed.set(link.writer.receipts_missed, link.node)
        metrics.frames_resent.set(link.writer.resent, link.node)
        metrics.frames_expired.set(link.writer.expired, link.node)
        metrics.frames_unread.labels(link.node).set(link.writer.waiting)
