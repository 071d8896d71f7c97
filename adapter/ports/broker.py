"""The bus: requests out, replies in. Implemented by RabbitMQ and, in one process, embedded."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final, Protocol

from adapter.records import record

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from adapter.ports.commands import Asked, ReplyAddress

REMEDY: Final = (
    "find the service that answers by another protocol than AMQP 0.9.1 (AMQP 1.0, MQTT, STOMP), and have it "
    "keep its properties within 255 bytes each"
)
"""What to do about replies that RabbitMQ cannot hand over."""


@record
class Publication:
    """One event to publish. A notice has neither correlation id nor deadline.

    ``deadline`` is epoch seconds; the message expires with it. ``traceparent``: the header of that
    name (W3C Trace Context), left out where it is empty. ``queue``: the one to which it goes; empty: to
    whoever is bound to the event. ``expires``: epoch seconds after which it is taken off its queue if nobody
    had it by then, which is told as a reply that is ``rejected`` for ``expired``; None: at the deadline, and
    untold. ``batch``: how many requests for its queue may go in one message with it; each has its own result.
    """

    event: str
    node: str
    body: bytes
    correlation_id: str | None = None
    deadline: float | None = None
    traceparent: str = ""
    queue: str = ""
    expires: float | None = None
    batch: int = 1


class Published(IntEnum):
    """What became of a publication."""

    CONFIRMED = 1  # the broker has it in at least one queue
    UNROUTABLE = 2  # no queue is bound for the event
    UNAVAILABLE = 3  # the broker is away, or nobody knows whether it took it: worth another try
    REFUSED = 4  # the broker said no: so it will again


@record
class Reply:
    """What came to a node's results queue.

    ``status`` is the header ``x-status``. ``rejected`` says why the broker gave a request up
    (``rejected``, ``delivery_limit``, ``maxlen``, ``expired``); the body is then the request's own.
    ``received`` and ``replied``: when the consumer had the request and gave the reply, in epoch seconds by
    its clock, where it says so. ``detail`` is the header ``x-detail``: why an operator answers by hand, or a
    service failed. ``by_operator``: it came the way on which only operators may send. ``size``: bytes of the
    body, where it is longer than what was kept of it. ``extend``: the header ``x-extend``, milliseconds;
    ``cache``: the header ``x-cache``, seconds. ``service`` of a request that was given up: whose queue it was
    taken from.
    """

    correlation_id: str
    body: bytes
    content_type: str | None = None
    status: str | None = None
    service: str | None = None
    rejected: str | None = None
    received: float | None = None
    replied: float | None = None
    detail: str | None = None
    by_operator: bool = False
    size: int = 0
    extend: int = 0
    cache: int = 0


@record
class DeadLetter:
    """What could not be understood, kept for an operator. ``reason`` is machine-readable."""

    reason: str
    detail: str
    body: bytes
    node: str
    correlation_id: str | None = None
    content_type: str | None = None


class Receiver(Protocol):
    """Who takes in what comes from the bus."""

    async def on_replies(self, replies: Sequence[Reply]) -> None:
        """Take a batch. It is acknowledged when this returns, delivered again when it raises."""
        ...

    def on_command(self, asked: Asked) -> None:
        """Take a command, which is answered in time; never waits."""
        ...


class Broker(Protocol):
    """The port."""

    @property
    def ready(self) -> bool:
        """Whether a publication would be taken now."""
        ...

    @property
    def gone(self) -> bool:
        """Whether no server can be reached any more, so that what is under way will not be answered."""
        ...

    @property
    def messaging(self) -> Mapping[str, str | int]:
        """What spans say of where messages go: OpenTelemetry's attributes of system and server."""
        ...

    def takes_replies(self, node: str) -> bool:
        """Return False once the node's replies cannot be consumed here, so that asking is in vain.

        Preparing them, after a start or a reconnect, counts as taking them for a moment: ``publish``
        waits for it. A node that is not attached counts as well.
        """
        ...

    @property
    def beside(self) -> Mapping[str, str]:
        """The attached nodes whose replies are sent to a queue beside the usual one, and its name.

        It is there where the usual one was declared with other settings.
        """
        ...

    def hear(self, queues: Mapping[str, Collection[str]]) -> None:
        """Consume these queues of other replicas, by node, beside the own one. Said with each beat."""
        ...

    @property
    def unheard(self) -> Mapping[str, str]:
        """The attached nodes whose replies are not consumed at this instant, and why."""
        ...

    @property
    def problems(self) -> Mapping[str, str]:
        """What does not work at present, by part, and why."""
        ...

    @property
    def services(self) -> Mapping[str, Sequence[str]]:
        """The services that this process runs itself, each with its events."""
        ...

    @property
    def dropped(self) -> Mapping[str, int]:
        """Messages that were dropped since the start, as the broker could not hand them over, by queue."""
        ...

    @property
    def counts(self) -> Mapping[str, int]:
        """What it has counted since the start, by name, for the metrics."""
        ...

    async def start(self, receiver: Receiver) -> None:
        """Begin, and stay connected from now on; returns without waiting for a server."""
        ...

    def attach(self, node: str, priority: int = 0) -> None:
        """This process has a live link to the node: take in its replies and commands.

        Of the replicas that do, the one with the highest ``priority`` gets the replies; a call with
        another priority changes it.
        """
        ...

    def detach(self, node: str) -> None:
        """The link is gone: leave the node's replies to others."""
        ...

    def join(self, replica: str, lease: float, heard: Callable[[bytes], None]) -> None:
        """Hear what all replicas ``say``, this one among them. To be called before ``start``.

        Args:
            replica: the name of this life of this replica.
            lease: seconds after which nobody needs to hear what was said.
            heard: is given each body.
        """
        ...

    def say(self, body: bytes) -> None:
        """Say something to all replicas that can be reached; never waits, and it may be lost."""
        ...

    async def publish(self, publications: Sequence[Publication]) -> list[Published]:
        """Publish each. Results in the order of the arguments; never raises for a server's state."""
        ...

    def know(self, nodes: Collection[str]) -> None:
        """These nodes exist: take in their commands, also without a link, if nobody has one."""
        ...

    def reply(self, node: str, to: ReplyAddress, body: bytes) -> None:
        """Reply to a command of a node that was delivered to another replica; never waits."""
        ...

    def dead_letter(self, letter: DeadLetter) -> None:
        """Keep for an operator, as well as the server allows; never waits."""
        ...

    async def close(self) -> None:
        """Stop taking in, finish what is under way, disconnect."""
        ...
