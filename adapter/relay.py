"""The middle: an event becomes a request, a reply becomes a resume.

Out:  `on_events` -> claim -> publish
Back: reply, deadline, failure, operator or adoption -> settle -> `_resume`, the one exit

Whoever wins ``settle`` (or claims with an outcome known at once) holds the licence to resume,
and nobody else writes a decision. Everything travels in batches: one socket read, one batch of
deliveries, one sweep. Only a store that is away takes the licence out of the trip: then the
fallback is written without it, since a caller waits; the include drops a second answer.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog

from adapter import contract
from adapter.broker.base import Broker, DeadLetter, Publication, Published, Reply
from adapter.errors import CodecError, StoreUnavailable
from adapter.inflight.base import Claim, InFlight
from adapter.rendezvous import active
from adapter.transaction import Outcome, Settlement, State, Transaction, TransactionId
from adapter.wire import event as wire
from adapter.wire import netstring

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Sequence

    from adapter.metrics import Metrics
    from adapter.policy import Policy

log = structlog.get_logger()

RESEND_FOR: Final = 2.0
"""Seconds past its deadline, or past now if that is later, for which a resume is written again
while no receipt has come. Kamailio's own timer should end the wait no earlier."""
YIELD_FOR: Final = 0.05
"""Seconds for which a replica whose broker is away leaves an event to those that live beside it."""
MAX_IN_DOUBT: Final = 100_000
"""Resumes that Kamailio has read, kept while the store cannot be told."""
_REFUSED: Final = {Published.UNROUTABLE: Outcome.UNROUTABLE, Published.UNAVAILABLE: Outcome.UNAVAILABLE}


class Links(Protocol):
    """The way to Kamailio."""

    def send(self, node: str, payload: bytes, wait: float, id: TransactionId | None) -> bool:  # noqa: A002
        """Queue a payload, of use for ``wait`` seconds. False: no such node here."""
        ...

    def max_payload(self, node: str) -> int:
        """Bytes of the longest payload that the node can make use of; 0: no such node here."""
        ...

    def unread(self, node: str) -> set[TransactionId]:
        """The resumes of a node that are queued, or written and not known to be read."""
        ...

    def takes_commands(self, node: str) -> bool:
        """Whether the node is up and its configuration tells commands from resumes."""
        ...


class Relay:
    """See above. ``clock`` gives epoch seconds."""

    def __init__(
        self,
        inflight: InFlight,
        broker: Broker,
        links: Links,
        policy: Policy,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._inflight = inflight
        self._broker = broker
        self._links = links
        self._policy = policy
        self._metrics = metrics
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._read: set[TransactionId] = set()  # read, which the store could not be told
        self.claiming = True
        self.in_doubt = False
        """Whether the store may have settled for us what we were not told of; see ``recover``."""
        self.replicas: Collection[str] = (inflight.replica,)
        """Those that live, this one among them; the sweeper knows."""

    def __repr__(self) -> str:
        claiming = "claiming" if self.claiming else "draining"
        return f"<Relay {self._inflight.replica} {claiming}, {len(self._tasks)} batches under way>"

    # Out: from Kamailio to the broker

    def on_events(self, node: str, events: Sequence[wire.Suspended | wire.Notice | wire.Malformed]) -> None:
        """Take what one read of a node's link held. Never waits."""
        claims: list[Transaction] = []
        notices: list[Publication] = []
        for found in events:
            self._metrics.events.labels(node, type(found).__name__.lower()).inc()
            if isinstance(found, wire.Suspended):
                claims.append(self._to_claim(node, found))
            elif isinstance(found, wire.Notice):
                self._add_notice(notices, node, found)
            else:
                self._keep(node, found)
                if found.ids is not None:
                    claims.append(self._malformed(node, found))
        if claims and self.claiming:
            able = self._broker.ready or len(self.replicas) == 1
            self._spawn(self._ask(claims, 0.0 if able else YIELD_FOR))
        if notices and self._active(node):
            self._spawn(self._tell(notices))

    def _to_claim(self, node: str, found: wire.Suspended) -> Transaction:
        now = self._clock()
        deadline = now + self._policy.plan(found.event).deadline
        assert found.seq is not None, "the link counts what the frame does not"
        ids = found.index, found.label, found.seq
        try:
            body = contract.encode_request(
                contract.Request(found.event, node, found.data, *ids, deadline=deadline)
            )
        except CodecError as exc:
            frame = repr(found).encode()
            malformed = wire.Malformed(exc.reason, exc.detail, frame, found.event, ids)
            self._keep(node, malformed)
            return self._malformed(node, malformed)
        id_ = TransactionId(node, *ids)
        transaction = Transaction(id_, found.event, deadline, now, body, self._inflight.replica)
        if self._broker.ready:
            return transaction
        return replace(transaction, request=b"", state=State.SETTLED, outcome=Outcome.UNAVAILABLE)

    def _malformed(self, node: str, found: wire.Malformed) -> Transaction:
        """The claim to answer at once what was suspended behind a frame not understood."""
        assert found.ids is not None
        index, label, seq = found.ids
        now = self._clock()
        return Transaction(
            TransactionId(node, index, label, seq or 1),
            found.event,
            now + self._policy.plan(found.event).deadline,
            now,
            b"",
            self._inflight.replica,
            State.SETTLED,
            Outcome.MALFORMED,
        )

    async def _ask(self, transactions: Sequence[Transaction], wait: float) -> None:
        """Claim, after ``wait`` seconds, then publish what was won."""
        if wait:
            await asyncio.sleep(wait)
        try:
            claims = await self._inflight.claim(transactions, self._policy.in_flight)
        except StoreUnavailable as exc:
            self._store_error("claim", exc)
            for transaction in transactions:
                self._resume(settled(transaction, transaction.outcome or Outcome.UNAVAILABLE))
            return
        won: list[Transaction] = []
        for transaction, claim in zip(transactions, claims, strict=True):
            if claim is Claim.LOST:
                self._metrics.duplicates.labels(transaction.id.node).inc()
            elif claim is Claim.FULL:
                self._resume(settled(transaction, Outcome.OVERLOAD))
            elif transaction.state is State.SETTLED:
                self._resume(transaction)
            else:
                won.append(transaction)
        if won:
            await self._publish(won)

    async def _publish(self, transactions: Sequence[Transaction]) -> None:
        """Publish; what the broker refuses is answered at once."""
        results = await self._broker.publish(
            [Publication(t.event, t.id.node, t.request, str(t.id), t.deadline) for t in transactions]
        )
        refused = {
            transaction.id: (transaction, _REFUSED[result])
            for transaction, result in zip(transactions, results, strict=True)
            if result is not Published.CONFIRMED
        }
        if not refused:
            return
        try:
            await self._settle([Settlement(id_, outcome) for id_, (_, outcome) in refused.items()])
        except StoreUnavailable:  # counted there; a caller waits
            for transaction, outcome in refused.values():
                self._resume(settled(transaction, outcome))

    def _add_notice(self, notices: list[Publication], node: str, found: wire.Notice) -> None:
        try:
            body = contract.encode_request(contract.Request(found.event, node, found.data))
        except CodecError as exc:
            self._keep(node, wire.Malformed(exc.reason, exc.detail, repr(found).encode(), found.event))
        else:
            notices.append(Publication(found.event, node, body))

    async def _tell(self, notices: Sequence[Publication]) -> None:
        for result in await self._broker.publish(notices):
            self._metrics.notices.labels(result.name.lower()).inc()

    def _keep(self, node: str, found: wire.Malformed) -> None:
        """A frame not understood goes to the dead letters."""
        log.warning("malformed frame", node=node, reason=found.reason, detail=found.detail, ids=found.ids)
        if self._active(node):
            self._broker.dead_letter(DeadLetter(found.reason, found.detail, found.frame, node))

    def _active(self, node: str) -> bool:
        """Whether what nobody claims, and every replica reads, is this one's to publish."""
        return active(node, self.replicas) == self._inflight.replica

    # Back: from wherever an answer comes to Kamailio

    async def on_replies(self, replies: Sequence[Reply]) -> None:
        """Settle and resume a batch. Raises StoreUnavailable: then it must be delivered again."""
        settlements = [found for reply in replies if (found := self._settlement(reply)) is not None]
        if settlements:
            for late in await self._settle(settlements):
                self._metrics.late_replies.labels(late.node).inc()

    def _settlement(self, reply: Reply) -> Settlement | None:
        try:
            id_ = TransactionId.parse(reply.correlation_id)
        except ValueError as exc:
            self._bury(reply, "correlation-id", str(exc), "")
            return None
        if not self._links.max_payload(id_.node):  # whoever has a link to that node must settle it
            self._bury(reply, "another-node", "the correlation id is of a node that is not here", id_.node)
            return None
        if reply.rejected is not None or reply.status == contract.STATUS_FAILED:
            log.info(
                "request failed",
                correlation_id=str(id_),
                reason=reply.rejected or "x-status",
                service=reply.service,
            )
            return Settlement(id_, Outcome.FAILED)
        if len(reply.body) > contract.MAX_BODY:
            return Settlement(id_, Outcome.OVERSIZED)
        try:
            decision = wire.decision_json(contract.decode_reply(reply.body, reply.content_type))
        except CodecError as exc:
            self._bury(reply, exc.reason, exc.detail, id_.node)
            return Settlement(id_, Outcome.MALFORMED)
        by_hand = reply.status == contract.STATUS_OPERATOR
        return Settlement(id_, Outcome.OPERATOR if by_hand else Outcome.DECIDED, decision)

    def _bury(self, reply: Reply, reason: str, detail: str, node: str) -> None:
        log.warning("malformed reply", correlation_id=reply.correlation_id, reason=reason, detail=detail)
        self._broker.dead_letter(
            DeadLetter(reason, detail, reply.body, node, reply.correlation_id, reply.content_type)
        )

    async def _settle(self, settlements: Sequence[Settlement]) -> list[TransactionId]:
        """Ask for the licences and resume where they are granted. Gives the ids for which they
        were not. Raises StoreUnavailable.
        """
        try:
            records = await self._inflight.settle(settlements)
        except StoreUnavailable as exc:
            self._store_error("settle", exc)
            raise
        lost: list[TransactionId] = []
        for settlement, transaction in zip(settlements, records, strict=True):
            if transaction is not None:
                self._resume(transaction)
            else:
                lost.append(settlement.id)
        return lost

    async def expire(self, node: str) -> None:
        """Answer what is past its deadline."""
        try:
            for transaction in await self._inflight.expire(node):
                self._resume(transaction)
        except StoreUnavailable as exc:
            self._store_error("expire", exc)

    async def adopt(self, node: str, dead: Sequence[str]) -> int:
        """Go on where dead replicas stopped: publish or resume again. Gives how many.

        Raises StoreUnavailable.
        """
        adopted = await self._inflight.adopt(node, dead)
        again: list[Transaction] = []
        for transaction in adopted:
            self._metrics.adopted.labels(node, transaction.state.name.lower()).inc()
            if transaction.state is State.SETTLED:
                self._resume(transaction)
            elif transaction.deadline > self._clock():  # else it is the next sweep's, as a timeout
                again.append(transaction)
        if adopted:
            resumed = sum(transaction.state is State.SETTLED for transaction in adopted)
            log.warning("adopted", node=node, of=list(dead), claimed=len(adopted) - resumed, settled=resumed)
        if again:
            self._spawn(self._publish(again))  # deadlines are swept meanwhile
        return len(adopted)

    def _resume(self, transaction: Transaction) -> None:
        """The one exit: write the answer to Kamailio."""
        id_, outcome = transaction.id, transaction.outcome
        assert outcome is not None, "only what is settled is resumed"
        fallback = self._policy.plan(transaction.event).fallback
        decision = fallback if transaction.decision is None else transaction.decision
        payload = wire.resume(id_, transaction.event, outcome, decision)
        if len(payload) > self._links.max_payload(id_.node):
            outcome = Outcome.OVERSIZED
            payload = wire.resume(id_, transaction.event, outcome, fallback)
        now = self._clock()
        if not self._links.send(id_.node, payload, max(transaction.deadline - now, 0.0) + RESEND_FOR, id_):
            log.error("no link to resume by", correlation_id=str(id_), event_name=transaction.event)
            return
        self._metrics.outcomes.labels(id_.node, transaction.event, outcome.value).inc()
        seconds = max(now - transaction.claimed_at, 0.0)
        self._metrics.decision_seconds.labels(outcome.value).observe(seconds)
        say = log.debug if outcome in (Outcome.DECIDED, Outcome.OPERATOR) else log.warning
        say(
            "resumed",
            correlation_id=str(id_),
            event_name=transaction.event,
            outcome=outcome.value,
            seconds=seconds,
        )

    def on_read(self, ids: Sequence[TransactionId]) -> None:
        """Kamailio has read these resumes: only their ids need be remembered."""
        self._spawn(self._resumed(ids))

    async def _resumed(self, ids: Sequence[TransactionId]) -> None:
        try:
            await self._inflight.resumed(ids)
        except StoreUnavailable as exc:
            if len(self._read) < MAX_IN_DOUBT:
                self._read.update(ids)
            self._store_error("resumed", exc)

    async def recover(self, node: str) -> None:
        """Resume what the store settled for this replica while its answer was lost.

        To be called once a store that failed is back. Raises StoreUnavailable.
        """
        read = [id_ for id_ in self._read if id_.node == node]
        await self._inflight.resumed(read)
        self._read.difference_update(read)
        under_way = self._links.unread(node)
        for record in await self._inflight.scan(node):
            ours = record.owner == self._inflight.replica and record.state is State.SETTLED
            if ours and record.id not in under_way:
                self._resume(record)

    # Beside the trip

    def on_command(self, node: str, body: bytes) -> None:
        """Push a frame as it is. Raises CodecError where Kamailio would take it for another."""
        wire.check_command(body)
        if not self._links.takes_commands(node):
            raise CodecError("no-hello", "the node's configuration does not tell commands from resumes")
        if len(body) > self._links.max_payload(node):
            raise CodecError("too-large", f"{len(body)} bytes; Kamailio reads {netstring.MAX_OUT}")
        self._links.send(node, body, RESEND_FOR, None)
        self._metrics.commands.labels(node).inc()

    async def idle(self) -> None:
        """Return once no batch is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            log.error("relay: a batch failed; its deadlines answer it", exc_info=exc)

    def _store_error(self, verb: str, exc: StoreUnavailable) -> None:
        self._metrics.store_errors.labels(verb).inc()
        tell = log.debug if self.in_doubt else log.error  # once for each outage, not for each call
        self.in_doubt = True
        tell("in-flight store", verb=verb, error=str(exc))


def settled(transaction: Transaction, outcome: Outcome) -> Transaction:
    """The transaction as settled with its fallback."""
    return replace(transaction, state=State.SETTLED, outcome=outcome, decision=None)
