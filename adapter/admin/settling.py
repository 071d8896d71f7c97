"""An answer by hand: through the exchange that only operators may publish to, into a node's results queue."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pamqp.commands import Basic

from adapter import contract
from adapter.admin import calls
from adapter.admin.rabbit import NotThere, Rabbit
from adapter.admin.timelines import OPERATOR
from adapter.model.transaction import Outcome
from adapter.observe.journal_entry import Kind

if TYPE_CHECKING:
    from adapter.inflight.operator import OperatorStore
    from adapter.model.transaction import Transaction, TransactionId
    from adapter.settings import Settings

WAIT: Final = 2.0
"""Seconds within which an adapter has taken an answer, or none does."""
LOOK: Final = 0.02
"""Seconds between two looks: a settled record is there until Kamailio has read the resume."""


@dataclass(frozen=True, slots=True)
class Answer:
    """``body``: a decision as JSON text; ``by`` whom (user@host) and why."""

    body: bytes
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Done:
    """What came of it: the outcome as far as it is known, whether the answer is the one that counts, and
    why not where it is not."""

    outcome: str | None
    by_us: bool
    why: str = ""


async def settle(
    settings: Settings,
    store: OperatorStore,
    urls: str,
    record: Transaction,
    answer: Answer,
    wait: float = WAIT,
) -> Done:
    """Give the answer and wait for what becomes of it. Closes the store.

    Raises StoreUnavailable, BrokerUnavailable: of the second, nobody knows whether it took the answer.
    """
    async with calls.opened(settings, store), Rabbit(urls) as rabbit:
        left = record.deadline - await store.time()
        properties = Basic.Properties(
            content_type=contract.JSON,
            correlation_id=str(record.id),
            delivery_mode=1,
            expiration=str(round(max(left, wait) * 1000)),
            app_id=contract.APP_ID,
            headers={
                contract.HEADER_STATUS: contract.STATUS_OPERATOR,
                contract.HEADER_SERVICE: f"{OPERATOR}{answer.by}",
                contract.HEADER_DETAIL: answer.reason,
            },
        )
        node = record.id.node
        try:
            bound = await rabbit.publish(contract.OPERATOR_EXCHANGE, node, answer.body, properties)
        except NotThere:  # no adapter was ever here
            bound = False
        if not bound:
            return Done(None, False, f"no queue is bound for {node}: no adapter has a link to the node")
        return await _came(store, record.id, answer, wait)


async def _came(store: OperatorStore, id_: TransactionId, answer: Answer, wait: float) -> Done:
    end = time.monotonic() + wait
    while time.monotonic() < end:
        record = await store.get(id_)
        if record is None:
            return await _resumed(store, id_)
        if record.outcome is not None:
            ours = record.outcome is Outcome.OPERATOR and record.decision == answer.body
            return _judged(record.outcome.value, ours=ours)
        await asyncio.sleep(LOOK)
    why = f"the answer waits in {contract.results_queue(id_.node)}, and no adapter took it within {wait:g} s"
    return Done(None, False, why)


async def _resumed(store: OperatorStore, id_: TransactionId) -> Done:
    """It was over between two looks: how tells a journal, once it is written."""
    end = time.monotonic() + 2 * calls.WRITTEN
    while time.monotonic() < end:
        for noted in await calls.noted(store, await store.journals(), {id_[:3]}):
            if noted.step.id == id_ and noted.step.kind is Kind.RESUME:
                outcome = noted.step.more["outcome"]
                return _judged(outcome, ours=outcome == Outcome.OPERATOR)
        await asyncio.sleep(10 * LOOK)
    return Done(None, False, "it is over, and no journal tells how: see the adapter's log (EVAPI_JOURNAL)")


def _judged(outcome: str, *, ours: bool) -> Done:
    if ours:
        return Done(outcome, True)
    faster = "another operator" if outcome == Outcome.OPERATOR else f"the outcome {outcome!r}"
    return Done(outcome, False, f"{faster} was faster: the answer came too late")
