"""Any interleaving of the verbs, by several replicas, resumes each suspension once; and every store
answers any sequence alike."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapter.ports.store import Claim
from tests.harness.examples import examples
from tests.inflight.steps import IDS, REPLICAS, VERBS, Step, lines
from tests.inflight.worlds import FailoverWorld, LocalWorld, RedisWorld

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adapter.model.transaction import TransactionId
    from tests.harness.redis import RedisServer
    from tests.inflight.worlds import World


# A claim is due at once, past its retention already, or far from due: nothing hangs on the speed.
steps = st.builds(
    Step,
    st.sampled_from(VERBS),
    st.sampled_from(REPLICAS),
    st.sampled_from(IDS),
    st.sampled_from([-1.0, 1000.0]),
    st.sampled_from([1, 10]),
)
ticks = st.lists(st.lists(steps, min_size=1, max_size=6), max_size=8)
sequences = st.lists(st.builds(replace, steps, left=st.sampled_from([-1000.0, -1.0, 1000.0])), max_size=25)
few = settings(
    max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


async def licences(world: World, run: list[list[Step]]) -> tuple[Counter[TransactionId], set[TransactionId]]:
    """Who was granted a resume, and how often; and what was claimed. The steps of a tick are simultaneous.

    Whoever is granted it knows of each answer that was added before, once.
    """
    stores = {name: world.store(name) for name in REPLICAS}
    granted: Counter[TransactionId] = Counter()
    taken: Counter[TransactionId] = Counter()
    added: defaultdict[TransactionId, Counter[bytes]] = defaultdict(Counter)
    known: dict[TransactionId, Counter[bytes]] = {}
    for tick in [*run, [Step("settle", "one", id_, 0, 0) for id_ in IDS]]:
        results = await asyncio.gather(*(step.carry_out(stores[step.replica], world) for step in tick))
        for step, result in zip(tick, results, strict=True):
            if step.verb in ("claim", "claim settled"):
                taken[step.id] += result != [Claim.LOST]
                granted[step.id] += result == [Claim.FULL] or (
                    step.verb == "claim settled" and result == [Claim.WON]
                )
            elif step.verb == "progress":
                added[step.id].update([step.progress(world).course] * (result != [None]))
            elif step.verb in ("settle", "expire"):
                records = [record for record in result if record is not None]
                granted.update(record.id for record in records)
                known.update((record.id, lines(record)) for record in records)
    await world.close()
    assert all(number <= 1 for number in taken.values()), "claimed twice"
    assert {id_: found for id_, found in known.items() if found} == {
        id_: found for id_, found in added.items() if found
    }
    return granted, set(+taken)


@settings(max_examples=examples(150), deadline=None)
@given(ticks)
def test_each_suspension_is_resumed_once_locally(run: list[list[Step]]) -> None:
    granted, taken = asyncio.run(licences(LocalWorld(), run))
    assert +granted == Counter(taken)


@pytest.mark.parametrize("kind", [RedisWorld, FailoverWorld])
@few
@given(run=ticks)
def test_each_suspension_is_resumed_once_redis(
    redis_server: RedisServer, kind: type[RedisWorld], run: list[list[Step]]
) -> None:
    granted, taken = asyncio.run(licences(kind(redis_server.url), run))
    assert +granted == Counter(taken)


async def answers(world: World, run: list[Step]) -> list[Any]:
    """All that the verbs answer, one after the other, without the times."""
    stores = {name: world.store(name) for name in REPLICAS}
    found: list[Any] = []
    for step in run:
        found.append(_timeless(await step.carry_out(stores[step.replica], world)))
        found.append(await stores["one"].count(step.id.node))
        found.append(_timeless(await stores["two"].scan(step.id.node)))
    await world.close()
    return found


def _timeless(result: Any) -> Any:
    if not isinstance(result, list):
        return result
    plain = [each if not hasattr(each, "id") else replace(each, deadline=0, claimed_at=0) for each in result]
    return sorted(plain, key=repr)


async def of_each(worlds: Iterable[World], run: list[Step]) -> list[list[Any]]:
    return [await answers(world, run) for world in worlds]


@few
@given(sequences)
def test_the_local_store_answers_as_redis_does(redis_server: RedisServer, run: list[Step]) -> None:
    async def both() -> list[list[Any]]:
        return await of_each([LocalWorld(), RedisWorld(redis_server.url)], run)

    local, redis = asyncio.run(both())
    assert local == redis


# What is past its retention Redis forgets at once, and whoever has claimed it goes on by his own copy.
@few
@given(st.lists(steps, max_size=25))
def test_the_failover_store_answers_as_redis_does(redis_server: RedisServer, run: list[Step]) -> None:
    async def both() -> list[list[Any]]:
        return await of_each([FailoverWorld(redis_server.url), RedisWorld(redis_server.url)], run)

    failover, redis = asyncio.run(both())
    assert failover == redis
