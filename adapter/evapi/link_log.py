"""What the log is told of one link to Kamailio."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from adapter.evapi.redial import WHY_AT_ONCE, Told

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.settings import Address
    from adapter.wire.event import Hello

log = structlog.get_logger()


class LinkLog:
    """Of the link to ``node``, at what ``address`` gives. ``told``: None if it was said a moment ago."""

    def __init__(self, node: str, address: Callable[[], Address]) -> None:
        self._node = node
        self._address = address

    def cannot_connect(self, error: str, told: Told | None) -> None:
        """There is no connection."""
        self._complain("cannot connect", told, error=error)

    def lost(self, reason: str, told: Told | None, at_once: bool) -> None:
        """A connection has ended; ``at_once``: before anything was read from it."""
        self._complain("lost", told, reason=reason, do=WHY_AT_ONCE if at_once else None)

    def up(self, receive_buffer: int) -> None:
        """A connection stands; ``receive_buffer``: bytes that the kernel keeps of it."""
        log.info(
            "evapi link: up", node=self._node, address=str(self._address()), receive_buffer=receive_buffer
        )

    def hello(self, found: Hello) -> None:
        """It is known what configuration is there."""
        about = {"receipts": found.receipts, "gate": found.gate, "version": found.version}
        log.info("evapi link: hello", node=self._node, **about)

    def no_hello(self) -> None:
        """It is a plain configuration."""
        log.warning(
            "evapi link: no hello, so no receipts: resumes are paced, the health gate is not fed",
            node=self._node,
            address=str(self._address()),
            do="include evapi-adapter.cfg in kamailio.cfg (evapi-adapter kamailio-cfg); if it is there: is "
            "this Kamailio's EVAPI port (bind_addr)?",
        )

    def unordered(self, found: Hello) -> None:
        """There are no receipts, since several workers handle what is written."""
        log.error(
            "evapi link: EVAPI has several workers, which handle frames out of order: no receipts",
            node=self._node,
            version=found.version,
            do='modparam("evapi", "workers", 0) after the include',
        )

    def _complain(self, what: str, told: Told | None, **about: str | None) -> None:
        tell, times = (log.debug, None) if told is None else (log.warning, told.times)
        said = {key: value for key, value in {**about, "times": times}.items() if value is not None}
        tell(f"evapi link: {what}", node=self._node, address=str(self._address()), **said)
