"""The real Kamailio, a caller, and a raw EVAPI client in place of the adapter."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.evapi_client import EvapiClient
from tests.harness.kamailio import KamailioServer
from tests.harness.sip import Call, Caller

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(scope="module")
def kamailio(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KamailioServer]:
    """One Kamailio for each file, as its ``KAMAILIO`` says (arguments of `KamailioServer`).

    With one SIP worker by default: then what comes later on the wire is also handled later.
    """
    settings = {"workers": 1, "shared_memory": 64, **getattr(request.module, "KAMAILIO", {})}
    with KamailioServer(tmp_path_factory.mktemp("kamailio"), **settings) as server:
        yield server
        assert server.running, server.log
    assert "CRITICAL" not in server.log


@pytest.fixture
async def caller(kamailio: KamailioServer) -> AsyncIterator[Caller]:
    async with await Caller.open(kamailio.sip_port) as made:
        yield made


@pytest.fixture
async def link(kamailio: KamailioServer) -> AsyncIterator[EvapiClient]:
    """The only adapter, and ready, for as long as a busy machine takes."""
    async with kept_link(kamailio) as made:
        yield made


@asynccontextmanager
async def kept_link(kamailio: KamailioServer) -> AsyncIterator[EvapiClient]:
    """One that repeats to the gate what it has told last."""
    async with ready_link(kamailio) as made:
        repeating = asyncio.create_task(made.repeat_status())
        try:
            yield made
        finally:
            repeating.cancel()
            await asyncio.gather(repeating, return_exceptions=True)


@asynccontextmanager
async def ready_link(kamailio: KamailioServer, replica: str = "r1") -> AsyncIterator[EvapiClient]:
    """One adapter more, and ready."""
    async with await EvapiClient.connect(kamailio.evapi_port) as made:
        await made.status("ready", replica)
        yield made


async def settled(link: EvapiClient) -> None:
    """Wait until Kamailio has handled whatever happened to its other connections before this."""
    for number in range(3):  # one turn of its loop takes events in any order, and a reset needs two turns
        await link.receipt(f"turn:{number}")


async def is_asked(caller: Caller, link: EvapiClient) -> bool:
    """Whether a call now is asked about (and then refused), or answered by Kamailio alone."""
    call = caller.call()
    final = asyncio.create_task(call.final())
    event = asyncio.create_task(link.event("invite_request"))
    done, _ = await asyncio.wait({final, event}, return_when=asyncio.FIRST_COMPLETED)
    if event in done:
        link.answer(event.result(), {"action": "reject", "code": 403, "reason": "Seen"})
        assert (await final).code == 403
        return True
    event.cancel()
    assert (final.result().code, final.result().reason) == (503, "No Decision")
    return False


async def ask(call: Call, link: EvapiClient, times: int) -> dict[str, Any]:
    """Let the call ask so many times; the last question, unanswered."""
    event = await link.event("first")
    for _ in range(times - 1):
        link.answer(event, {"next": "again"})
        event = await link.event("further")
        await link.status("ready")
    assert event["tm_trans"]["seq"] == times
    return event
