"""Calls that several services decide, and a service, a replica or Redis is lost half-way."""

from __future__ import annotations

import asyncio
import itertools
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.harness.sip import Caller
from tests.harness.until import until
from tests.system.course_rows import FAILS, by
from tests.system.course_site import PATIENCE, THREE, Made, Site, flow, make

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.harness.rabbitmq import RabbitServer

CALLS: Final = 60
UNTAKEN: Final = 24
HELD: Final = 2
"""Requests that the service ``narrow`` takes at a time."""
SLOW: Final = {"screening": {}, "fraud": {"takes": 0.3}, "routing": {"takes": 0.4}}
"""So that half-way the store has some of a call's answers, and not the others."""
MERGED: Final = {"action": "allow", **by(*THREE)}
HEARD: Final = {**MERGED, "fraud heard": "screening", "routing heard": "fraud,screening"}
FORGETS: Final = {**SLOW, "routing": {"forgets": 1}}
"""Decided once ``routing`` is asked again."""
LATE: Final = {"shaky": {"takes": 0.6}}
"""More than its ``within`` in courses.toml."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, rabbitmq: RabbitServer) -> Iterator[Site]:
    with rabbitmq.vhost() as url, ExitStack() as stack:
        made = Site(tmp_path_factory.mktemp("courses"), url)
        made.start(stack)
        yield made


@pytest.fixture
def site(running: Site) -> Site:
    """With all there that an earlier test has killed."""
    running.settle()
    return running


@pytest.fixture
async def caller(site: Site) -> AsyncIterator[Caller]:
    async with await Caller.open(site.kamailio.sip_port) as opened:
        yield opened


def shaken(made: Made) -> str:
    """Check a call that a shaky service had a part in. Return what became of that service."""
    outcome, step, services = made.told
    status = services["shaky"]
    assert outcome == "decided"
    if made.event == "troubled":
        assert step == "service"
        assert services == {"screening": "decided", "shaky": status, "routing": "decided"}
        names = ["screening", "shaky", "routing"] if status == "decided" else ["screening", "routing"]
        assert made.decision == {"action": "allow", **by(*names)}
    elif status == "decided":
        assert (step, made.decision) == ("service", {"action": "allow", **by("shaky")})
    else:
        assert (step, made.decision) == ("backup", {"action": "allow", **by("reserve")})
    return status


async def test_what_nobody_takes_is_asked_again_and_then_the_backup_decides(
    site: Site, caller: Caller
) -> None:
    holding = {"narrow": {"until": "released"}}
    held = [asyncio.create_task(make(caller, "held", holding)) for _ in range(HELD)]
    await until(lambda: site.asked_of("narrow") == HELD)
    # RabbitMQ gives up what is first in a queue before what is behind it: these are to be first.
    untaken = [asyncio.create_task(make(caller, "untaken")) for _ in range(UNTAKEN)]
    await until(lambda: site.active.metric("evapi_in_flight") >= HELD + UNTAKEN)
    retaken = [asyncio.create_task(make(caller, "retaken")) for _ in range(UNTAKEN)]
    for each in await asyncio.gather(*untaken):
        assert each.told == ("decided", "backup", {"narrow": "untaken", "reserve": "decided"})
        assert site.asked(each) == ["reserve"]
    told = {"service": "narrow", "status": "untaken"}
    await until(lambda: site.metric("evapi_service_answers_total", **told) >= 3 * UNTAKEN)
    (site.folder / "released").touch()
    for each in await asyncio.gather(*retaken):
        assert each.told == ("decided", "retry", {"narrow": "decided"})
        assert site.asked(each) == ["narrow"]
    for each in await asyncio.gather(*held):
        assert each.told == ("decided", "service", {"narrow": "decided"})


@pytest.mark.parametrize("fault", ["killed", "hung", "late"])
async def test_a_service_that_is_lost_half_way_costs_no_call_its_answer(
    site: Site, caller: Caller, fault: str
) -> None:
    shaky, late = site.services["shaky"], site.metric("evapi_late_replies_total")
    do: list[dict[str, dict[str, Any]]] = [{}] * (CALLS // 2)
    do += [LATE if fault == "late" else {}] * (CALLS // 2)

    async def lose() -> None:
        await until(lambda: site.metric("evapi_service_answers_total", service="shaky", status="decided"))
        if fault == "killed":
            await asyncio.to_thread(shaky.kill)
        elif fault == "hung":
            await asyncio.to_thread(shaky.pause)

    try:
        made = await flow(caller, zip(itertools.cycle(("troubled", "laddered")), do, strict=False), lose)
    finally:
        shaky.resume()
    statuses = [shaken(each) for each in made]
    assert "decided" in statuses
    assert "timeout" in statuses
    if fault != "killed":  # what it answers by now is too late for all of them
        await until(lambda: site.metric("evapi_late_replies_total") > late)
    assert site.asked_again(made) == []


def modes(calls: int, first: dict[str, Any] = SLOW) -> list[tuple[str, dict[str, Any]]]:
    """Calls of the modes in which all three are asked; what is done of the first half of them."""
    events = itertools.islice(itertools.cycle(("all", "chain", "quorum")), calls)
    return [(event, first if number < calls // 2 else SLOW) for number, event in enumerate(events)]


def whole(made: Made) -> None:
    """Check a call that all three have decided, whoever carried it there.

    In mode quorum two are enough, and which two is not promised. Of a call that was claimed within 10 ms of a
    kill Redis knows nothing: another replica asks all three again, and ``routing``, which forgets but once,
    then answers before ``fraud`` has.
    """
    outcome, step, services = made.told
    assert (outcome, step) == ("decided", "service")
    if made.event == "quorum":
        pairs = itertools.combinations([name for name in THREE if services.get(name) == "decided"], 2)
        assert made.decision in [{"action": "allow", **by(*pair)} for pair in pairs]
    else:
        assert services == dict.fromkeys(THREE, "decided")
        assert made.decision == (HEARD if made.event == "chain" else MERGED)


async def half_answered(site: Site) -> dict[str, frozenset[str]]:
    """Wait until the store has some of the answers of several calls. Return whose it has, by Call-ID."""
    found: dict[str, frozenset[str]] = {}

    def several() -> bool:
        found.clear()
        found.update(site.taken_up())
        return len(found) >= CALLS // 10

    await until(several)
    return found


async def found_again(caller: Caller, key: str) -> Made:
    """Return the first call that is decided as an equal one before it was.

    A call waits 50 ms for what Redis keeps (``PATIENCE`` in adapter/inflight/decisions.py). If the machine
    takes longer the service is asked, which fails here: no decision takes the place of the one that is kept.
    """
    async with asyncio.timeout(PATIENCE):
        while True:
            made = await make(caller, "cached", {"fraud": FAILS}, key)
            if made.told[1] == "cache":
                return made
            assert made.told == ("failed", "fallback_on", {"fraud": "failed"})


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_a_replica_that_ends_half_way_hands_its_calls_on(
    site: Site, caller: Caller, how: signal.Signals
) -> None:
    """No service is asked once more whose answer had reached Redis.

    It is looked there before the end: what the replica took up within the last 10 ms of its life, it had not
    told Redis yet, so these may be asked again, as those may whose answer nobody has read. Who drains waits
    for its calls, and asks nobody twice.
    """
    active = site.active
    (standby,) = (each for each in site.bridges if each is not active)
    kept = await make(caller, "cached", {"fraud": {"holds": 600}}, how.name)
    before: dict[str, frozenset[str]] = {}
    noted: list[int] = []
    asked_before = site.asked_of("routing")

    async def end() -> None:
        if how is signal.SIGKILL:  # one that only the other replica asks about it would forget for good
            await until(lambda: site.asked_of("routing") >= asked_before + CALLS // 2)
        before.update(await half_answered(site))
        noted.append(len(site.notes()))
        await asyncio.to_thread(active.stop, how)

    made = await flow(caller, modes(CALLS, FORGETS if how is signal.SIGKILL else SLOW), end)
    for each in made:
        whole(each)
    assert before.keys() <= {each.call_id for each in made}
    asked = {(each.service, each.call) for each in site.notes()[noted[0] :] if each.what == "asked"}
    assert not {(name, call) for call, names in before.items() for name in names} & asked
    if how is signal.SIGKILL:
        assert standby.metric("evapi_adopted_total", state="claimed") > 0
        assert {("routing", call) for call in before} & asked, "it had not answered"
    else:
        assert site.asked_again(made) == []
    again = await found_again(caller, how.name)
    assert again.resume["decision"] == kept.resume["decision"]


async def test_calls_go_on_without_redis(site: Site, caller: Caller) -> None:
    """The standby stands still until the active replica has claimed the first half: what the standby claims,
    where a busy machine holds the active one up for 0.15 s, that one knows from Redis alone.
    """
    active, asked_before = site.active, site.asked_of(THREE[0])
    (standby,) = (each for each in site.bridges if each is not active)

    async def lose() -> None:
        await until(lambda: site.asked_of(THREE[0]) >= asked_before + CALLS // 2)
        standby.process.resume()
        await half_answered(site)
        await asyncio.to_thread(site.redis.kill)

    await asyncio.to_thread(standby.process.pause)
    try:
        made = await flow(caller, modes(CALLS), lose)
    finally:
        standby.process.resume()
    for each in made:
        whole(each)
    assert site.asked_again(made) == []
