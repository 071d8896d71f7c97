"""What was asked of a consumer and what came of it, as the checks judge it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from adapter import contract

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter.admin.conformance.questions import Question
    from adapter.admin.conformance.sight import Seen


@dataclass(frozen=True, slots=True)
class Reply:
    """A message that came to one of the kit's queues.

    Args:
        correlation_id: the id that it carries, by its property or the header ``x-correlation-id``.
        queue: the queue that it came to.
        after: seconds since the request was published.
        body: its body.
        content_type: the property of that name.
        headers: its headers.
    """

    correlation_id: str
    queue: str
    after: float
    body: bytes = b""
    content_type: str | None = None
    headers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether it says that the consumer could not decide, or has no say."""
        return self.status in (contract.STATUS_FAILED, contract.STATUS_NONE)

    @property
    def status(self) -> object:
        """What it says beside a decision, in the header ``x-status``; None if nothing."""
        return self.headers.get(contract.HEADER_STATUS)


@dataclass(slots=True)
class Played:
    """One question and what came of it. The player fills it in.

    Args:
        question: what was asked.
        id: its correlation id, or a notice's message id.
        reply_to: the queue in which its reply is to be.
        timeout: seconds that it had.
        consumers: of the queue, when it was asked.
    """

    question: Question
    id: str
    reply_to: str
    timeout: float
    consumers: int = 1
    replies: list[Reply] = field(default_factory=list)
    letters: list[str] = field(default_factory=list)
    """Why RabbitMQ gave the request to the dead letters: ``rejected``, ``expired``."""
    untaken: bool = False
    """Whether it was still on the queue when nobody waited for its reply any more, beside a consumer."""
    lost_consumer: bool = False
    """Whether a consumer went while it was played, or over the next calls."""
    alive: bool | None = None
    """Whether a plain call was answered after it; ``None`` if none was played: it was answered itself."""

    @property
    def over(self) -> bool:
        """Whether anything came back."""
        return bool(self.replies or self.letters)

    @property
    def decided(self) -> bool:
        """Whether a reply came that does not say ``failed`` or ``none``."""
        return any(not reply.failed for reply in self.replies)

    @property
    def failed(self) -> bool:
        """Whether a reply came that says ``failed`` or ``none``."""
        return any(reply.failed for reply in self.replies)

    @property
    def rejected(self) -> bool:
        """Whether the consumer rejected it."""
        return "rejected" in self.letters

    @property
    def expired(self) -> bool:
        """Whether RabbitMQ gave it up: it was on the queue until its expiry, or was delivered too often."""
        return any(letter != "rejected" for letter in self.letters)


@dataclass(slots=True)
class Observed:
    """A whole run.

    Args:
        played: every question, in the order in which it was asked; of ``Question.PLAIN`` there are several.
        left_out: why a question was not asked, by question.
        letters_seen: whether dead letters come to the kit.
        seen: what the relay saw of each request, by its message id; ``None`` without a relay.
        unsettled: of the management API, while nothing else was asked: the fewest messages that the queue's
            consumers held and had not acknowledged; ``None`` if nobody told.
        automatic: how many of the queue's consumers acknowledge automatically; ``None`` if nobody told.
    """

    played: list[Played] = field(default_factory=list)
    left_out: dict[Question, str] = field(default_factory=dict)
    letters_seen: bool = True
    seen: Mapping[str, Seen] | None = None
    unsettled: int | None = None
    automatic: int | None = None

    @property
    def answered(self) -> int:
        """How many requests got a reply."""
        return sum(bool(each.replies) for each in self.played)

    def of(self, question: Question) -> Played | None:
        """The last time that it was asked."""
        return next((each for each in reversed(self.played) if each.question is question), None)
