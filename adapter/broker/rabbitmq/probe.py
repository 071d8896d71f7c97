"""Whether a server that says nothing still answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from adapter.amqp.words import reason
from adapter.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.broker.rabbitmq.limits import Limits
    from adapter.broker.rabbitmq.publisher import Publisher


class SilentServer(BrokerUnavailable):
    """It did not answer the probe: it hangs, or the network between is gone."""


class Probe:
    """Asks the server of a publisher, once a batch met silence and while nothing is published.

    So a replica that stands by, too, knows whether it could publish. ``wake`` is called when the
    answer is there.
    """

    def __init__(self, publisher: Publisher, limits: Limits, wake: Callable[[], None]) -> None:
        self._publisher = publisher
        self._limits = limits
        self._wake = wake
        self._asking: asyncio.Task[None] | None = None
        self._waited = 0.0
        self._looked = asyncio.get_running_loop().time()

    def look(self, blocked: bool) -> None:
        """Ask where it is time to, and take the answer in. Never waits.

        A server that has ``blocked`` us reads nothing and owes no answer. Raises SilentServer, or
        BrokerUnavailable where the answer is an error.
        """
        now = asyncio.get_running_loop().time()
        # Time for which this process stood still is not the server's: its answer may be here, unread.
        passed, self._looked = min(now - self._looked, 2 * self._limits.watch_interval), now
        if self._asking is None:
            idle = now - self._publisher.heard_at
            if not blocked and (self._publisher.silent or idle > self._limits.probe_interval):
                self._waited = 0.0
                self._asking = asyncio.create_task(self._publisher.probe())
                self._asking.add_done_callback(lambda _: self._wake())
        elif self._asking.done():
            self._answered(self._asking)
        elif not blocked:
            self._waited += passed
            if self._waited > self._limits.confirm_timeout:
                raise SilentServer(
                    f"the server is silent: no answer within {self._limits.confirm_timeout:g} s"
                )

    def _answered(self, asking: asyncio.Task[None]) -> None:
        self._asking = None
        exc = asyncio.CancelledError() if asking.cancelled() else asking.exception()
        if exc is not None:
            raise BrokerUnavailable(f"channel closed: {reason(exc)}") from exc
        self._publisher.heard()

    def end(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
