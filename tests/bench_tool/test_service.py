"""The service that decides in a measurement."""

from __future__ import annotations

from adapter.bench.names import CALL, SERVICE, TAKES, TOOK, WAIT
from adapter.bench.service import service
from consumers.testing import ask


async def test_at_once() -> None:
    assert await ask(service, CALL, {TAKES: 0}) == {
        "action": "reject",
        "code": 486,
        "reason": "Busy Here",
        TOOK: 0,
    }


async def test_after_a_while() -> None:
    found = await ask(service, WAIT, {TAKES: 2_000})
    assert found["code"] == 486
    assert found[TOOK] >= 2_000


def test_it_decides_nothing_of_a_production() -> None:
    assert service.name == SERVICE
    assert set(service.events) == {"bench_call", "bench_wait"}
