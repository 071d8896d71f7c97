"""What is told of each step of a call, and to whom: metrics, journal, traces and log are sinks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter.model.transaction import Outcome, State, Transaction, TransactionId
    from adapter.ports.broker import Reply


class Commanded(NamedTuple):
    """A command to Kamailio, and what became of it. ``seconds``: since it came."""

    node: str
    name: str
    id: str
    call_id: str
    outcome: str
    seconds: float
    detail: str


class Sink:
    """Is told of each step, and does nothing: a sink overrides what it is interested in.

    ``at`` is epoch seconds, ``took`` and ``seconds`` are seconds. No method may wait or raise.
    """

    def claimed(self, at: float, transactions: Sequence[Transaction], took: float = 0.0) -> None:
        """This replica has these to decide; the store took so long to say so."""

    def published(self, at: float, transactions: Sequence[Transaction], took: float = 0.0) -> None:
        """The broker has confirmed these, so long after they were handed to it."""

    def replied(self, at: float, replies: Sequence[tuple[TransactionId, Reply]]) -> None:
        """Replies came that were understood."""

    def stepped(
        self, at: float, id_: TransactionId, event: str, service: str, status: str, seconds: float
    ) -> None:
        """A course went on: this became of asking that service, so long after it was asked.

        ``service`` is "" for whoever is bound to the event, and for the last step: then ``status`` is a
        ``model.ladder.Rung``, which tells what decided, and ``seconds`` count since the claim.
        """

    def adopted(
        self, at: float, node: str, owners: Sequence[str], state: State, transactions: Sequence[Transaction]
    ) -> None:
        """This replica has taken these over from other replicas."""

    def resumed(
        self, at: float, transaction: Transaction, outcome: Outcome, seconds: float, decision: bytes
    ) -> None:
        """A resume was handed to the link, so many seconds after its event came."""

    def commanded(self, at: float, command: Commanded) -> None:
        """A command to Kamailio has its outcome."""

    def read(self, at: float, ids: Sequence[TransactionId]) -> None:
        """Kamailio has read these resumes."""

    def tick(self, at: float) -> None:
        """Time has passed. To be called often."""
