"""A Redis with calls in it, as replicas leave them."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING, Any

from adapter import contract
from adapter.inflight.redis import RedisStore
from adapter.model.beat import Beat
from adapter.model.transaction import Outcome, Settlement, Transaction, TransactionId
from adapter.observe.journal import Journal
from adapter.ports.broker import Reply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Calls:
    """What replicas would have in Redis, written without an event loop around."""

    def __init__(self, url: str) -> None:
        self.prefix = f"test-{uuid.uuid4().hex[:8]}"
        self.url = url
        self.now = time.time()
        self.variables = {"EVAPI_REDIS_URL": url, "EVAPI_REDIS_PREFIX": self.prefix}

    def call(
        self, label: int, *, node: str = "sbc1", event: str = "invite_request", ago: float = 0.0, **data: Any
    ) -> Transaction:
        """A call with its data; ``ago``: seconds since it came."""
        id_, at = TransactionId(node, 1, label, 1), self.now - ago
        call_id = data.setdefault("call_id", f"call-{label}@h")
        body = contract.encode_request(contract.Request(event, node, data, *id_[1:], deadline=at + 30.0))
        return Transaction(id_, event, at + 30.0, at, body, "r1~ab", call_id=call_id)

    def beat(self, *replicas: str, node: str = "sbc1") -> None:
        """These replicas live, with a link to a node."""
        for replica in replicas:
            about = {"links": {node: "receipts"}}
            self._do(replica, lambda store: store.beat(Beat(nodes=frozenset(), about=about)))

    def claim(self, *calls: Transaction) -> None:
        """They are in flight."""
        self._do("r1~ab", lambda store: store.claim(calls, 1000))

    def settle(self, call: Transaction, outcome: Outcome) -> None:
        """It is answered, and Kamailio has not read it."""
        self._do("r1~ab", lambda store: store.settle([Settlement(call.id, outcome, b'{"code":503}')]))

    def write(self, journal: Journal, replica: str = "r1~ab") -> None:
        """An entry of all that was noted."""
        entry = journal.take()
        assert entry is not None
        self._do(replica, lambda store: store.note(entry, 600.0))

    def decided(
        self,
        *calls: Transaction,
        replica: str = "r1~ab",
        payloads: bool = False,
        service: str = "lcr",
        outcome: Outcome = Outcome.DECIDED,
    ) -> None:
        """A replica lives and has these behind it, each in 20 ms."""
        journal = Journal(payloads=payloads)
        for each in calls:
            at = each.claimed_at
            journal.claimed(at + 0.001, [each])
            journal.published(at + 0.002, [each])
            if outcome is Outcome.DECIDED:
                said = Reply(str(each.id), b"", service=service, received=at + 0.004, replied=at + 0.014)
                journal.replied(at + 0.016, [(each.id, said)])
            journal.resumed(at + 0.020, each, outcome, 0.020, b'{"action":"allow","token":"hunter2"}')
            journal.read(at + 0.120, [each.id])
        self.beat(replica)
        self.write(journal, replica)

    def coursed(
        self, call: Transaction, step: str, outcome: Outcome = Outcome.DECIDED, **statuses: str
    ) -> None:
        """A replica has asked several services, of which that became, and this step decided after 400 ms."""
        journal, at = Journal(), call.claimed_at
        journal.claimed(at + 0.001, [call])
        journal.published(at + 0.002, [call])
        for number, (service, status) in enumerate(statuses.items(), start=1):
            journal.stepped(at + 0.1 * number, call.id, call.event, service, status, 0.1 * number - 0.002)
        journal.resumed(at + 0.4, call, outcome, 0.4, b'{"action":"allow"}')
        journal.stepped(at + 0.4001, call.id, call.event, "", step, 0.4)
        journal.read(at + 0.5, [call.id])
        self.beat("r1~ab")
        self.write(journal)

    def _do(self, replica: str, verb: Callable[[RedisStore], Awaitable[object]]) -> None:
        async def done() -> None:
            store = RedisStore(self.url, replica, prefix=self.prefix, timeout=10.0)
            try:
                await verb(store)
            finally:
                await store.close()

        asyncio.run(done())
