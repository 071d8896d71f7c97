"""A service as the embedded broker runs it: what it is given, and what it answers. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from adapter.contract import content_type
from adapter.records import record

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Mapping


@record
class Delivery:
    """One request on its way to one service."""

    node: str
    body: bytes
    correlation_id: str | None
    deadline: float | None
    headers: Mapping[str, Any]
    direct: bool = False
    """Whether nobody else gets it."""

    @property
    def content_type(self) -> str:
        """Of the body."""
        return content_type(self.body)


class Answered(Protocol):
    """What a service did with a request."""

    @property
    def rejected(self) -> bool:
        """Whether it belongs to the dead letters."""
        ...

    @property
    def body(self) -> bytes | None:
        """The encoded reply; ``None`` where there is none."""
        ...

    @property
    def content_type(self) -> str | None:
        """Of the reply."""
        ...

    @property
    def headers(self) -> Mapping[str, Any]:
        """Of the reply."""
        ...


@runtime_checkable
class AsksKamailio(Protocol):
    """A core whose handlers may ask Kamailio."""

    def reach_kamailio(self, way: Any, /) -> None:
        """Have them ask by this way: see ``consumers.kamailio.Way``."""
        ...


class Core(Protocol):
    """A service without its transport; ``consumers.Service`` is one."""

    @property
    def name(self) -> str:
        """What the service is called."""
        ...

    @property
    def events(self) -> Collection[str]:
        """The events it is bound to."""
        ...

    @property
    def prefetch(self) -> int:
        """How many requests it works on at a time."""
        ...

    async def open(self) -> None:
        """Open what its handlers need, before the first request."""
        ...

    async def close(self) -> None:
        """Close that again, after the last; nothing if it is not open."""
        ...

    def begin(
        self, message: Delivery, send: Callable[[Delivery, Answered], None], /
    ) -> Answered | Coroutine[Any, Any, Answered]:
        """Answer a request: at once, or by a coroutine where the handler waits for something.

        ``send``: takes a reply that goes out before the answer.
        """
        ...

    def alone(self, answer: Any, /) -> Answered:
        """Return what to send where an answer of its own has no body, and nobody else got the request."""
        ...
