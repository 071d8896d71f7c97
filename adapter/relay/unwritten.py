"""Answers that are not written to Kamailio, though this replica could: why, how many, said how often.

A configuration without the include drops no second answer, and gives no receipts: what may have been
answered is not answered again, and what would come too late makes nobody else wait. What this replica has no
link for is, for certain, not written: it is released, and whoever has a link adopts it and writes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import structlog

from adapter.observe.sparse import Sparse

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from adapter.model.transaction import TransactionId
    from adapter.observe.trip_metrics import TripMetrics

log = structlog.get_logger()

LINES: Final = 1
"""Lines a second of each kind."""
GRACE: Final = 1.0
"""Seconds past its deadline within which a fallback is still worth the bytes: Kamailio's own timer should
be 2 s above the deadline (``transaction.RESEND_FOR``)."""
SHARE: Final = 0.5
"""Of the time left to the deadline, within which a decision must be written; the rest is for fallbacks."""


class Unwritten:
    """Counts and tells. ``text`` of an id is its correlation id; ``release``: what the store does; ``spawn``
    does work in the background."""

    def __init__(
        self,
        metrics: TripMetrics,
        text: Any,
        release: Callable[[Sequence[TransactionId]], Coroutine[Any, Any, None]],
        spawn: Callable[[Coroutine[Any, Any, object]], None],
    ) -> None:
        self._metrics = metrics
        self._text = text
        self._release = release
        self._spawn = spawn
        self._left: list[TransactionId] = []
        self.leaving: set[TransactionId] = set()
        """What is being released: this replica writes it no more unless the store was away."""
        self._shed = Sparse(LINES)
        self._withheld = Sparse(LINES)

    def leave(self, id_: TransactionId) -> None:
        """Let another replica write it, or this one once it has a link."""
        if not self._left:
            self._spawn(self._leave_all())  # of this turn together
        self._left.append(id_)
        self.leaving.add(id_)

    async def _leave_all(self) -> None:
        ids, self._left = self._left, []
        try:
            await self._release(ids)
        finally:
            self.leaving.difference_update(ids)

    def shed(self, id_: TransactionId, now: float, silent: bool) -> None:
        """More answers than the pace carries: this one is its fallback, or ``silent``: none."""
        how = "silence" if silent else "fallback"
        self._metrics.shed.labels(id_.node, how).inc()
        hidden = self._shed.take(now)
        if hidden is not None:
            do = "include evapi-adapter.cfg, which needs no pace; or make decisions shorter"
            self._tell("more answers than a plain configuration can be written", id_, hidden, got=how, do=do)

    def withheld(self, id_: TransactionId, now: float, why: str) -> None:
        """Another replica, or an earlier life, may have written it, and nothing there drops a second one."""
        self._metrics.withheld.labels(id_.node).inc()
        hidden = self._withheld.take(now)
        if hidden is not None:
            do = "include evapi-adapter.cfg, which drops a second answer"
            self._tell("answer withheld: it may have been written", id_, hidden, why=why, do=do)

    def _tell(self, what: str, id_: TransactionId, hidden: int, **about: str) -> None:
        said = {"correlation_id": self._text(id_), "node": id_.node, **about}
        log.warning(what, **said, **({"not_shown": hidden} if hidden else {}))
