"""Services that take requests and never answer, as ``services`` and ``doctor`` tell of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from adapter.admin.silence import silent_events, unanswered
from adapter.inflight.operator import OperatorStore
from adapter.observe.journal_entry import Kind
from tests.cli.ground import Ground, on_ground
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from tests.harness.rabbitmq import RabbitServer
    from tests.harness.redis import RedisServer

QUICK: dict[str, object] = {
    "default": {"deadline": 20.0},
    "events": {event: {"deadline": 0.2} for event in ("screen", "invite")},
}
"""Of the events that nobody answers. One that is answered has the time of a busy machine."""


@pytest.fixture
async def ground(
    redis_server: RedisServer, managed_rabbitmq: RabbitServer, vhost: str
) -> AsyncIterator[Ground]:
    async with on_ground(redis_server.url, vhost, managed_rabbitmq.api) as made:
        await made.replica("one", rules=QUICK)
        yield made


async def listed(ground: Ground, **variables: str) -> dict[str, str]:
    """The remark on each service."""
    done = await ground.run("services", "-o", "json", **variables)
    return {row["name"]: row["remark"] for row in done.rows}


async def test_one_that_acknowledges_and_never_answers(ground: Ground) -> None:
    """Beside another that answers, and is not to be blamed."""
    ground.service("mute", lambda _: None, ["screen"])
    ground.service("lcr", None, ["call"])
    assert {found["outcome"] for found in await ground.calls(3, "call")} == {"decided"}
    assert await listed(ground) == {"lcr": "", "mute": ""}
    assert {found["outcome"] for found in await ground.calls(3, "screen")} == {"timeout"}
    told = "takes requests and answers none: the last 3 calls of screen timed out"

    async def seen() -> bool:
        remarks = await listed(ground)  # the journal is written each half second
        assert remarks["lcr"] == ""
        return remarks["mute"].startswith(told)

    await until(seen)
    done = await ground.run("doctor", "-o", "json")
    (finding,) = [row for row in done.rows if (row["check"], row["of"]) == ("service", "mute")]
    assert finding["status"] == "error"
    assert told in finding["seen"]
    assert finding["todo"].startswith("evapi-adapter conformance --service mute")
    (fine,) = [row for row in done.rows if (row["check"], row["of"]) == ("service", "lcr")]
    assert fine["status"] == "ok"


async def test_who_only_listens_is_not_blamed(ground: Ground, tmp_path: Path) -> None:
    """One that hears everything, beside one that decides and does not run, or is named by the policy."""
    ground.service("audit", lambda _: None, ["#"])
    ground.abandoned("lcr")
    await ground.calls(3, "invite")

    store = OperatorStore(ground.redis_url, "test", prefix=ground.node)

    async def told() -> bool:
        return bool(await silent_events(store))

    try:
        await until(told)
    finally:
        await store.close()
    assert "takes requests" not in str(await listed(ground))
    policy = tmp_path / "policy.toml"
    policy.write_text('[events.invite]\nservices = ["audit"]\n')
    assert "answers none" in (await listed(ground, EVAPI_POLICY=str(policy)))["audit"]
    policy.write_text('[events.invite]\nservices = ["lcr"]\n')
    assert "takes requests" not in (await listed(ground, EVAPI_POLICY=str(policy)))["audit"]


async def test_without_redis_nothing_is_said(ground: Ground) -> None:
    ground.service("mute", lambda _: None, ["screen"])
    await ground.calls(3, "screen")
    done = await ground.run("services", "-o", "json", EVAPI_REDIS_URL="")
    assert [row["remark"] for row in done.rows] == [""]
    away = await ground.run("services", "-o", "json", EVAPI_REDIS_URL="redis://127.0.0.1:1")
    assert json.loads(away.out)["rows"][0]["remark"] == ""
    assert "so whether a service answers is not known" in away.err


def resumed(outcome: str, *labels: int, event: str = "e") -> Any:
    items = [(("n", 1, label, 1), event, "", outcome, 0.1, None) for label in labels]
    return (Kind.RESUME, 1.0, items)


def replied(*labels: int) -> Any:
    return (Kind.REPLY, 1.0, [(("n", 1, label, 1), None, None, None) for label in labels])


@pytest.mark.parametrize(
    ("batches", "silent"),
    [
        ([resumed("timeout", 1, 2, 3)], {"e": 3}),
        ([resumed("timeout", 1, 2)], {}),  # too few to judge
        ([resumed("timeout", 1, 2, 3), resumed("decided", 4)], {}),
        ([resumed("timeout", 1, 2, 3), resumed("failed", 4)], {}),
        ([resumed("timeout", 1, 2, 3), resumed("unroutable", 4)], {"e": 3}),
        ([resumed("timeout", 1, 2, 3), resumed("decided", 4, event="other")], {"e": 3}),
        ([resumed("timeout", 1, 2, 3), replied(2)], {}),  # too late
        ([replied(2), resumed("timeout", 1, 2, 3)], {}),
        ([resumed("timeout", 1, 2, 3), resumed("timeout", 1, 2)], {"e": 3}),  # written again
        ([], {}),
    ],
)
def test_who_is_silent(batches: Sequence[Any], silent: dict[str, int]) -> None:
    together = msgpack.packb(batches)
    apart = [msgpack.packb([batch]) for batch in batches]
    assert unanswered([together]) == unanswered(apart) == silent


def test_entries_of_other_versions_are_left_out() -> None:
    good = msgpack.packb([resumed("timeout", 1, 2, 3)])
    strange = [b"", b"\xc1", msgpack.packb([1]), msgpack.packb([(4, 1.0, [("x",)])]), msgpack.packb({})]
    assert unanswered([*strange, good]) == {"e": 3}
