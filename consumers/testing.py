"""Try a service in a test, without a broker, through the codec, types and deadlines it meets in service.

::

    async def test_a_known_prefix_is_routed():
        decision = await ask(service, "invite_request", {"user": "441632960000"})
        assert decision["uri"] == "sip:441632960000@gw1.example.net"


    async def test_with_a_pool_of_my_own():
        async with opened(service, {Pool: FakePool()}):
            decision = await ask(service, "invite_request", {"user": "441632960000"})
"""

from __future__ import annotations

import itertools
import json
import time
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from adapter.contract import (
    HEADER_DEADLINE,
    HEADER_NODE,
    HEADER_VERSION,
    VERSION,
    Request,
    decode_reply,
    encode_request,
)
from consumers.messages import Answer, Message, Result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from adapter.contract import Decision
    from consumers.service import Service

_indexes = itertools.count(1)


class Undecided(AssertionError):
    """A service gave no decision; ``answer`` is what it gave, the handler's error is the cause."""

    def __init__(self, text: str, answer: Answer) -> None:
        super().__init__(text)
        self.answer = answer


@asynccontextmanager
async def opened(
    service: Service, instead: Mapping[Any, Any] = MappingProxyType({})
) -> AsyncIterator[Service]:
    """The service with its lifespans open. ``ask`` and ``tell`` open them for one question otherwise.

    Args:
        service: the one to be tried.
        instead: values by type, such as ``{Pool: FakePool()}``: a lifespan that yields that type is not
            opened, handlers get this value.

    Raises:
        SignatureError: a handler's parameters ask for what nothing gives.
        LifespanError: a lifespan failed.
    """
    await service.open(instead)
    try:
        yield service
    finally:
        await service.close()


async def ask(
    service: Service,
    event: str,
    data: Any,
    *,
    deadline: float = 2.0,
    node: str = "test",
    seq: int = 1,
    decisions: Mapping[str, Decision] = MappingProxyType({}),
) -> dict[str, Any]:
    """The service's decision, as the adapter would read it.

    Args:
        service: the one to be tried.
        event: its event.
        data: a map, or bytes.
        deadline: seconds from now; a handler that asks for more time gets it.
        node: the name of the Kamailio.
        seq: how often its transaction was suspended.
        decisions: what other services of a chain decided before, by their names.

    Raises:
        Undecided: the service failed, was cancelled at the deadline, or decided what Kamailio cannot be told.
    """
    async with _open(service):
        request = Request(event, node, data, next(_indexes), 1, seq, time.time() + deadline, dict(decisions))
        answer = await _answer(service, request, f"{node}:{request.tm_index}:1:{seq}")
    if answer.result is not Result.DECIDED or answer.body is None:
        raise Undecided(f"{service.name} on {event}: {_why(answer)}", answer) from answer.error
    try:
        decision = decode_reply(answer.body)
        json.dumps(decision, allow_nan=False)
    except Exception as exc:
        raise Undecided(f"{service.name} on {event}: its decision is no JSON: {exc}", answer) from exc
    return decision


async def tell(service: Service, event: str, data: Any, *, node: str = "test") -> None:
    """Give the service a notice, for which nobody waits. Raises Undecided where its handler failed."""
    async with _open(service):
        answer = await _answer(service, Request(event, node, data), None)
    if answer.result is not Result.NOTED:
        raise Undecided(f"{service.name} on {event}: {_why(answer)}", answer) from answer.error


def _open(service: Service) -> AbstractAsyncContextManager[object]:
    return nullcontext() if service.is_open else opened(service)


async def _answer(service: Service, request: Request, correlation_id: str | None) -> Answer:
    headers = {HEADER_NODE: request.node, HEADER_VERSION: VERSION}
    if request.deadline is not None:
        headers[HEADER_DEADLINE] = round(request.deadline * 1000)
    message = Message(encode_request(request), correlation_id, headers=headers)
    return await service.answer(message)


def _why(answer: Answer) -> str:
    match answer.result:
        case Result.FAILED | Result.REJECTED if answer.error is not None:
            return f"{answer.result}: {type(answer.error).__name__}: {answer.error}"
        case Result.UNHANDLED:
            return str(answer.error)
        case Result.EXPIRED:
            return "the deadline had passed before it was asked"
        case Result.LATE:
            return "still at work at the deadline, and cancelled"
        case _:
            return str(answer.result)
