"""What a replica that drains waits for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from adapter.draining import Draining
from adapter.inflight.local import LocalStore
from adapter.model.transaction import RESEND_FOR, Outcome, Settlement, Transaction, TransactionId

NODE = "sbc1"


class Now:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def now() -> Now:
    return Now()


def draining(inflight: LocalStore, now: Now) -> Draining:
    async def idle() -> None:
        """No batch is under way."""

    none: Any = None
    trip: Any = SimpleNamespace(idle=idle)
    return Draining(1.0, none, none, none, trip, inflight, none, none, now)


async def test_an_answer_is_waited_for_as_long_as_somebody_would_write_it(now: Now) -> None:
    inflight = LocalStore("r1~1", clock=now)
    drain, id_ = draining(inflight, now), TransactionId(NODE, 1, 2, 1)
    await inflight.claim([Transaction(id_, "e", now() + 3, now(), b"", inflight.replica)], 10)
    assert await drain.owned([NODE]) == 1
    await inflight.settle([Settlement(id_, Outcome.DECIDED, b"{}")])
    assert await drain.owned([NODE]) == 1
    now.seconds += 3 + RESEND_FOR - 0.1
    assert await drain.owned([NODE]) == 1
    now.seconds += 0.2
    assert await inflight.get(id_) is not None
    assert await drain.owned([NODE]) == 0, "no receipt came, and nobody repeats it any more"


async def test_what_waits_for_its_services_is_waited_for_however_late(now: Now) -> None:
    inflight = LocalStore("r1~1", clock=now)
    drain, id_ = draining(inflight, now), TransactionId(NODE, 1, 2, 1)
    await inflight.claim([Transaction(id_, "e", now() + 3, now(), b"", inflight.replica)], 10)
    now.seconds += 60
    assert await drain.owned([NODE]) == 1
