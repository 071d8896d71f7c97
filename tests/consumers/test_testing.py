from __future__ import annotations

import asyncio
from typing import Any

import pytest

from consumers import Request, Service, route
from consumers.testing import Undecided, ask, tell


@pytest.fixture
def service() -> Service:
    return Service("routes")


async def test_the_decision_is_given(service: Service) -> None:
    @service.on("invite_request")
    async def decide(request: Request) -> dict[str, Any]:
        assert request.deadline is not None
        return {**route(f"sip:{request.data['user']}@gw"), "node": request.node, "seq": request.seq}

    found = await ask(service, "invite_request", {"user": "1"}, node="sbc2", seq=3)
    assert found == {"action": "route", "uri": "sip:1@gw", "node": "sbc2", "seq": 3}


async def test_a_failure_is_told_with_its_cause(service: Service) -> None:
    @service.on("invite_request")
    def decide(request: Request) -> dict[str, Any]:
        return {"action": request.data["absent"]}

    with pytest.raises(Undecided, match="routes on invite_request: failed: KeyError: 'absent'") as caught:
        await ask(service, "invite_request", {})
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(Undecided, match="no handler of 'other'"):
        await ask(service, "other", {})


async def test_deadlines_are_told_apart(service: Service) -> None:
    @service.on("invite_request")
    async def decide(request: Request) -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    with pytest.raises(Undecided, match="still at work at the deadline"):
        await ask(service, "invite_request", {}, deadline=0.02)
    with pytest.raises(Undecided, match="had passed before"):
        await ask(service, "invite_request", {}, deadline=-1)


@pytest.mark.parametrize(
    "decision", [{"uri": b"sip:x"}, {"rate": float("nan")}, {"at": {1: 2}}, {"at": {b"x": 1}}]
)
async def test_what_kamailio_cannot_be_told_is_told_here(service: Service, decision: dict[str, Any]) -> None:
    service.on("invite_request")(lambda request: decision)
    with pytest.raises(Undecided, match="its decision is no JSON"):
        await ask(service, "invite_request", {})


async def test_a_notice_is_heard(service: Service) -> None:
    heard: list[Any] = []

    @service.on("call_ended")
    def hear(request: Request) -> None:
        heard.append((request.data, request.is_notice))

    await tell(service, "call_ended", {"call_id": "x"})
    assert heard == [({"call_id": "x"}, True)]
    with pytest.raises(Undecided, match="no handler of 'other'"):
        await tell(service, "other", {})
