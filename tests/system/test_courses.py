"""Several services on one call, and the ladder: real calls, with all servers, and with Kamailio alone."""

from __future__ import annotations

import asyncio
import statistics
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.harness.sip import Caller
from tests.harness.until import until
from tests.system.course_rows import FAILS, IDLE, NEVER, ROWS, by
from tests.system.course_site import Site, make

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.harness.rabbitmq import RabbitServer
    from tests.system.course_rows import Row
    from tests.system.course_site import Made

CALLS: Final = 24
"""Of each kind, all at a time."""
AFTER: Final = 3
"""Silences that open a breaker in courses.toml."""
PAIRS: Final = 150
LEASE: Final = 10
"""Seconds: no replica is to take over from one that a busy machine has let stand still. It would ask a silent
service again, since each has breakers of its own."""


@pytest.fixture(scope="module", params=["servers", "embedded"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """With two replicas, RabbitMQ and Redis, and with one adapter that has all services in its process."""
    with ExitStack() as stack:
        url = None
        if request.param == "servers":
            server: RabbitServer = request.getfixturevalue("rabbitmq")
            url = stack.enter_context(server.vhost())
        made = Site(tmp_path_factory.mktemp("courses"), url, LEASE)
        made.start(stack)
        yield made


@pytest.fixture
async def caller(site: Site) -> AsyncIterator[Caller]:
    async with await Caller.open(site.kamailio.sip_port) as opened:
        yield opened


@pytest.mark.parametrize("wanted", ROWS.values(), ids=ROWS)
async def test_what_decides_a_call_and_what_its_resume_tells(site: Site, caller: Caller, wanted: Row) -> None:
    made = await asyncio.gather(*(make(caller, wanted.event, wanted.do) for _ in range(CALLS)))
    for each in made:
        assert each.told == (wanted.outcome, wanted.step, wanted.services)
        assert each.decision == wanted.decision
    assert site.asked_again(made) == []


@pytest.mark.parametrize(("event", "do"), [("unheard_alone", {}), ("alone", {"screening": IDLE})])
async def test_one_service_that_decides_nothing_ends_the_call_at_once(
    site: Site, caller: Caller, event: str, do: dict[str, Any]
) -> None:
    """It has no handler of the event, or no say. The deadline is 10 s away."""
    for made in await asyncio.gather(*(make(caller, event, do) for _ in range(CALLS))):
        assert (made.resume["outcome"], made.decision) == ("failed", {"action": "reject", "code": 503})
        assert "step" not in made.resume
        assert made.seconds < 8


async def test_a_decision_is_kept_while_it_is_fresh_and_for_when_nobody_decides(
    site: Site, caller: Caller
) -> None:
    first = await make(caller, "cached", {"fraud": {"holds": 2}}, "a")
    assert first.told == ("decided", "service", {"fraud": "decided"})
    decision = {"action": "allow", "fraud": first.call_id}
    for each in await asyncio.gather(*(make(caller, "cached", {"fraud": FAILS}, "a") for _ in range(CALLS))):
        assert (each.told, each.decision) == (("decided", "cache", {}), decision)
        assert site.asked(each) == []

    async def past() -> bool:
        return (await make(caller, "cached", {"fraud": FAILS}, "a")).told[1] != "cache"

    await until(past, pause=0.05)
    for each in await asyncio.gather(*(make(caller, "cached", {"fraud": FAILS}, "a") for _ in range(CALLS))):
        assert (each.told, each.decision) == (("failed", "stale", {"fraud": "failed"}), decision)
    other = await make(caller, "cached", {"fraud": FAILS}, "b")
    assert other.told == ("failed", "fallback_on", {"fraud": "failed"})


async def test_observers_get_a_copy_and_shadows_are_compared_and_never_applied(
    site: Site, caller: Caller
) -> None:
    made: list[Made] = []
    for do in ({"as": "screening"}, {}, FAILS):
        made += await asyncio.gather(*(make(caller, "watched", {"candidate": do}) for _ in range(CALLS)))
    for each in made:
        assert each.told == ("decided", "service", {"screening": "decided"})
        assert each.decision == {"action": "allow", **by("screening")}
    compared = "evapi_shadow_replies_total"
    await until(lambda: site.metric(compared, service="candidate") == len(made))
    for result in ("same", "different", "failed"):
        assert site.metric(compared, service="candidate", result=result) == CALLS
    await until(lambda: site.asked_of("watcher") == len(made))
    copies = [each for each in site.notes() if (each.service, each.what) == ("watcher", "asked")]
    assert {each.id for each in copies} == {None}, "nothing that could be answered"
    assert {each.call for each in copies} == {each.call_id for each in made}


async def test_the_breaker_of_a_silent_service_opens_and_closes(site: Site, caller: Caller) -> None:
    statuses: list[str] = []
    while statuses[-1:] != ["unavailable"]:
        made = await make(caller, "broken", {"silent": NEVER})
        assert made.decision == {"action": "allow", **by("screening")}
        statuses.append(made.told[2]["silent"])
    assert statuses == ["timeout"] * AFTER + ["unavailable"]
    await until(lambda: site.asked_of("silent") == AFTER)  # it notes them in its own time
    assert site.active.metric("evapi_breaker_open", service="silent") == 1

    async def closed() -> bool:
        made = await make(caller, "broken")
        assert made.told[2]["silent"] in ("unavailable", "decided")
        return made.told[2]["silent"] == "decided"

    await until(closed, pause=0.02)
    assert site.metric("evapi_breaker_open", service="silent") == 0
    assert site.metric("evapi_breaker_opened_total", service="silent") == 1


async def test_a_hung_service_costs_nothing_once_its_breaker_is_open(site: Site, caller: Caller) -> None:
    """Calls with and without it in turn, so that both have the same machine. Waited for, it costs 0.5 s."""
    for _ in range(AFTER):
        assert (await make(caller, "beside", {"mute": NEVER})).told[2]["mute"] == "timeout"
    seconds: dict[str, list[float]] = {"alone": [], "beside": []}
    for _ in range(PAIRS):
        for event, found in seconds.items():
            made = await make(caller, event, {"mute": NEVER})
            assert made.decision == {"action": "allow", **by("screening")}
            assert event == "alone" or made.told[2]["mute"] == "unavailable"
            found.append(made.seconds)
    await until(lambda: site.asked_of("mute") == AFTER)
    # Of each call its resume tells that nobody was waited for; a busy machine holds up some of both kinds.
    without, beside = map(statistics.median, seconds.values())
    assert beside < 2 * without + 0.05
