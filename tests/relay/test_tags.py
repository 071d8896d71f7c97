"""Replies whose correlation id has no good tag: of whom, what becomes of them, and of the call."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from adapter.cluster.membership import FORMER_FOR
from adapter.model.beat import Beat
from adapter.model.correlation import Ids, keys_of
from tests.relay_bench import FALLBACK, Bench, id_of, reply, suspended

IDS = Ids(keys_of(["a key that services do not have"]))
FORGED = ("{plain}", "{plain}:AAAAAAAAAAAA", "{plain}:AAAA")


@pytest.fixture
async def bench() -> Bench:
    return Bench(ids=IDS)


@pytest.mark.parametrize("form", FORGED)
@pytest.mark.parametrize(
    "fields", [{}, {"status": "failed"}, {"rejected": "rejected"}, {"status": "operator"}]
)
async def test_it_is_refused_counted_and_kept_and_the_call_goes_on(
    bench: Bench, form: str, fields: dict[str, Any]
) -> None:
    await bench.events(suspended())
    forged = form.format(plain=id_of())
    with capture_logs() as logged:
        for _ in range(9):
            await bench.reply(reply(correlation_id=forged, **fields))
    assert bench.links.sent == []
    assert bench.counted("replies_refused_total") == (0 if form.endswith(":AAAA") else 9)
    reason = "correlation-id" if form.endswith(":AAAA") else "wrong-tag"
    assert [letter.reason for letter in bench.broker.letters] == [reason] * 9
    assert {letter.correlation_id for letter in bench.broker.letters} == {forged}
    if reason == "wrong-tag":
        assert len(logged) == 2, "there may be as many as somebody likes"
    await bench.reply(reply(correlation_id=IDS.text(id_of())))
    (frame,) = bench.links.frames
    assert (frame["outcome"], frame["correlation_id"]) == ("decided", IDS.text(id_of()))
    assert bench.broker.asked == [IDS.text(id_of())]


async def test_a_rejected_request_has_its_tag(bench: Bench) -> None:
    await bench.events(suspended())
    await bench.reply(reply(correlation_id=IDS.text(id_of()), rejected="rejected"))
    (frame,) = bench.links.frames
    assert (frame["outcome"], frame["decision"]) == ("failed", FALLBACK)


@pytest.mark.parametrize("form", ["{plain}", "{plain}:AAAAAAAAAAAA"])
async def test_an_operator_needs_no_key(bench: Bench, form: str) -> None:
    await bench.events(suspended())
    await bench.reply(reply(correlation_id=form.format(plain=id_of()), by_operator=True))
    assert bench.outcomes == [(1, "operator")]


async def test_during_a_rolling_update_what_the_former_build_asked_is_answered(bench: Bench) -> None:
    former = Beat(nodes=frozenset(["sbc1"]), tags=False)
    bench.look(r0=former)
    await bench.events(suspended(1), suspended(2))
    await bench.tick(1.0)
    await bench.reply(reply(1, correlation_id=str(id_of(1))))
    assert bench.outcomes == [(1, "decided")]
    await bench.reply(reply(2, correlation_id=f"{id_of(2)}:AAAAAAAAAAAA"))
    assert bench.outcomes == [(1, "decided")], "a wrong tag is never good"
    del bench.others["r0"]
    bench.now += FORMER_FOR
    await bench.events(suspended(3))
    await bench.reply(reply(3, correlation_id=str(id_of(3))))
    assert (3, "decided") not in bench.outcomes
