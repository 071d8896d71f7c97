from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.contract import MSGPACK, Request, decode_reply, encode_request
from consumers import Answer, Message, Result, Service, reject, route, time_left

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_000.0
URI = "sip:1@gw"


def asked(event: str = "invite_request", deadline: float | None = NOW + 2, **headers: Any) -> Message:
    request = Request(event, "sbc1", {"user": "1"}, 37, 1840980198, 1, deadline)
    return Message(encode_request(request), "sbc1:37:1840980198:1", headers=headers)


def noted(event: str = "call_ended") -> Message:
    return Message(encode_request(Request(event, "sbc1", {"call_id": "x"})))


@pytest.fixture
def service() -> Service:
    return Service("routes", clock=lambda: NOW)


def decision(answer: Answer) -> dict[str, Any]:
    assert answer.body is not None
    return decode_reply(answer.body)


async def test_an_async_handler_decides(service: Service) -> None:
    seen: list[Request] = []

    @service.on("invite_request")
    async def decide(request: Request) -> dict[str, Any]:
        seen.append(request)
        await asyncio.sleep(0)
        return route(URI)

    answer = await service.answer(asked())
    assert decision(answer) == route(URI)
    assert (answer.result, answer.correlation_id, answer.content_type) == (
        Result.DECIDED,
        "sbc1:37:1840980198:1",
        MSGPACK,
    )
    assert answer.headers == {"x-service": "routes"}
    assert seen == [Request("invite_request", "sbc1", {"user": "1"}, 37, 1840980198, 1, NOW + 2)]


async def test_a_plain_handler_decides_at_once(service: Service) -> None:
    service.on("invite_request", "other")(lambda request: {"action": request.event})
    answer = service.begin(asked("other"))
    assert isinstance(answer, Answer)
    assert decision(answer) == {"action": "other"}


async def test_callable_objects_and_partials(service: Service) -> None:
    class Decider:
        async def __call__(self, request: Request) -> dict[str, Any]:
            return route(URI)

    async def decide(code: int, request: Request) -> dict[str, Any]:
        return reject(code, "No")

    service.on("a")(Decider())
    service.on("b")(functools.partial(decide, 404))
    assert decision(await service.answer(asked("a"))) == route(URI)
    assert decision(await service.answer(asked("b"))) == reject(404, "No")


class Broken(Exception):
    pass


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_handler_that_raises_is_answered_as_failed(
    service: Service, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def decide(request: Request) -> Any:
        raise Broken("secret")

    async def decide_later(request: Request) -> Any:
        raise Broken("secret")

    service.on("invite_request")(decide_later if is_async else decide)
    answer = await service.answer(asked())
    assert answer.result is Result.FAILED
    line = (decide_later if is_async else decide).__code__.co_firstlineno + 1
    told = f"Broken at test_service.py, line {line}"
    assert answer.headers == {"x-service": "routes", "x-status": "failed", "x-detail": told}, "not its text"
    assert decision(answer) == {"error": "Broken"}
    assert isinstance(answer.error, Broken)
    assert "sbc1:37:1840980198:1" in caplog.text
    assert "Broken: secret" in caplog.text


async def test_data_that_are_no_map_are_told_where_a_handler_fails_over_them(service: Service) -> None:
    """Kamailio's JSON is broken: the handler gets the bytes, and cannot know why."""

    @service.on("invite_request")
    def decide(request: Request) -> Any:
        return route(request.data["user"])

    request = Request("invite_request", "sbc1", b'{"user":"4420', 37, 1840980198, 1, NOW + 2)
    answer = await service.answer(Message(encode_request(request), "sbc1:37:1840980198:1"))
    assert answer.result is Result.FAILED
    told = str(answer.headers["x-detail"])
    assert told.startswith("TypeError at test_service.py, line ")
    assert told.endswith("; its data are no JSON object, but 13 bytes")


@pytest.mark.parametrize(
    "given, told",
    [
        (None, "not NoneType"),
        ("route", "not str"),
        ([1], "not list"),
        ({1: 2}, "keys are strings"),
        ({"x": object()}, "object"),
        ({"x": 1 << 64}, "too big|bits|Overflow"),
        ({"x": "\ud800"}, "surrogates"),
    ],
)
async def test_what_is_no_decision_is_answered_as_failed(service: Service, given: Any, told: str) -> None:
    service.on("invite_request")(lambda request: given)
    answer = await service.answer(asked())
    assert answer.result is Result.FAILED
    with pytest.raises(BaseException, match=told):
        raise answer.error or AssertionError


async def test_a_forgotten_await_is_told(service: Service) -> None:
    async def look_up() -> dict[str, Any]:
        return route(URI)

    service.on("invite_request")(lambda request: look_up())
    answer = await service.answer(asked())
    assert "await" in str(answer.error)


async def test_a_service_has_no_say_in_an_event_without_handler(service: Service) -> None:
    service.on("other")(lambda request: route(URI))
    answer = await service.answer(asked())
    assert (answer.result, answer.body, answer.rejected) == (Result.UNHANDLED, None, False)
    assert service.counts == {Result.UNHANDLED: 1}


@pytest.mark.parametrize(
    "left, result", [(2, Result.DECIDED), (0, Result.EXPIRED), (-1, Result.EXPIRED), (None, Result.DECIDED)]
)
async def test_a_request_past_its_deadline_is_dropped(
    service: Service, left: float | None, result: Result
) -> None:
    called: list[Request] = []

    @service.on("invite_request")
    def decide(request: Request) -> dict[str, Any]:
        called.append(request)
        return route(URI)

    answer = await service.answer(asked(deadline=None if left is None else NOW + left))
    assert answer.result is result
    assert len(called) == (result is Result.DECIDED)
    assert (answer.body is None) == (result is Result.EXPIRED)


async def test_clocks_that_differ_are_hinted_at_once(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    service.on("invite_request")(lambda request: route(URI))
    for _ in range(10):
        await service.answer(asked(deadline=NOW - 5))
    assert service.counts == {Result.EXPIRED: 10}
    assert [record.getMessage() for record in caplog.records] == [
        "routes: dropped, with -5.000 s left where the handler takes 0.000 s (overload, or clocks that "
        "differ?): sbc1:37:1840980198:1; 1 so far"
    ]


async def test_a_slow_event_costs_no_request_of_another(service: Service) -> None:
    @service.on("slow")
    def slow(_: Request) -> Any:
        time.sleep(0.02)
        return route(URI)

    service.on("invite_request")(lambda _: route(URI))
    for _ in range(10):
        await service.answer(asked("slow", deadline=NOW + 5))
    found = await service.answer(asked(deadline=NOW + 0.01))
    assert found.result is Result.DECIDED


async def test_what_a_handler_that_computes_cannot_answer_in_time_is_dropped(service: Service) -> None:
    def slow(request: Request) -> dict[str, Any]:
        time.sleep(0.02)
        return route(URI)

    service.on("invite_request")(slow)
    for _ in range(10):
        await service.answer(asked(deadline=NOW + 5))
    found = await service.answer(asked(deadline=NOW + 0.02))
    assert found.result is Result.EXPIRED
    dropped = 1
    while found.result is Result.EXPIRED:  # one that was slow once is not the last
        found, dropped = await service.answer(asked(deadline=NOW + 0.02)), dropped + 1
    assert (found.result, dropped < 20) == (Result.DECIDED, True)


async def test_a_handler_is_cancelled_at_the_deadline(service: Service) -> None:
    ended = []

    @service.on("invite_request")
    async def decide(request: Request) -> dict[str, Any]:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)
        return route(URI)

    answer = await service.answer(asked(deadline=NOW + 0.02))
    assert (answer.result, answer.body, ended) == (Result.LATE, None, [True])


async def test_what_a_handler_makes_of_its_cancellation_is_late_too(service: Service) -> None:
    @service.on("raises")
    async def decide(request: Request) -> dict[str, Any]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise Broken from None
        return {}

    @service.on("returns")
    async def decide_too(request: Request) -> dict[str, Any]:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return route(URI)

    assert (await service.answer(asked("raises", NOW + 0.02))).result is Result.LATE
    assert (await service.answer(asked("returns", NOW + 0.02))).result is Result.LATE


async def test_a_time_out_of_the_handlers_own_is_its_failure(service: Service) -> None:
    @service.on("times_out")
    async def decide(request: Request) -> dict[str, Any]:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()
        return {}

    @service.on("cancelled")
    async def decide_too(request: Request) -> dict[str, Any]:
        inner = asyncio.ensure_future(asyncio.Event().wait())
        inner.cancel()
        await inner
        return {}

    assert decision(await service.answer(asked("times_out"))) == {"error": "TimeoutError"}
    assert decision(await service.answer(asked("cancelled"))) == {"error": "CancelledError"}


async def test_who_is_cancelled_from_without_ends(service: Service) -> None:
    begun = asyncio.Event()

    @service.on("invite_request")
    async def decide(request: Request) -> dict[str, Any]:
        begun.set()
        await asyncio.Event().wait()
        return {}

    task = asyncio.ensure_future(service.answer(asked()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not service.counts


async def test_nobody_is_answered_for_a_notice(service: Service) -> None:
    heard: list[Any] = []

    @service.on("call_ended")  # type: ignore[type-var]
    async def hear(request: Request) -> str:
        assert request.is_notice
        assert time_left(request) is None
        heard.append(request.data)
        return "ignored"

    @service.on("broken")
    def fail(request: Request) -> None:
        raise Broken

    assert await service.answer(noted()) == Answer(Result.NOTED)
    assert heard == [{"call_id": "x"}]
    answer = await service.answer(noted("broken"))
    assert (answer.result, answer.body) == (Result.FAILED, None)
    assert (await service.answer(noted("unknown"))).body is None


@pytest.mark.parametrize(
    "message",
    [
        Message(b""),
        Message(b"\xc1"),
        Message(msgpack.packb([1])),
        Message(msgpack.packb({"event": "e"})),
        Message(msgpack.packb({"event": "e", "node": "n", "tm_index": 1})),
        Message(encode_request(Request("e", "n", {})), headers={"x-version": 2}),
        Message(encode_request(Request("e", "n", {})), headers={"x-version": "1"}),
    ],
)
async def test_what_is_no_request_is_rejected(service: Service, message: Message) -> None:
    service.on("e")(lambda request: {})
    answer = await service.answer(message)
    assert answer.rejected
    assert answer.body is None


@given(st.binary(max_size=60), st.none() | st.text(max_size=5))
async def test_no_bytes_end_the_service(body: bytes, correlation_id: str | None) -> None:
    answer = await Service("x").answer(Message(body, correlation_id))
    assert answer.result in (Result.REJECTED, Result.FAILED, Result.EXPIRED)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), values, max_size=4))
async def test_any_data_comes_in_and_any_map_goes_out(data: dict[str, Any]) -> None:
    service = Service("echo")
    service.on("e")(lambda request: request.data)
    answer = await service.answer(Message(encode_request(Request("e", "n", data, 1, 2, 3)), "n:1:2:3"))
    assert decision(answer) == data


def test_a_deadline_beyond_all_time_is_no_trouble() -> None:
    service = Service("x")
    service.on("e")(lambda request: {})
    for deadline in (1 << 63, float("inf")):
        body = msgpack.packb(
            {"event": "e", "node": "n", "tm_index": 1, "tm_label": 1, "seq": 1, "deadline": deadline}
        )
        answer = service.begin(Message(body, "n:1:1:1"))
        assert isinstance(answer, Answer)
        assert answer.result in (Result.DECIDED, Result.REJECTED)


@pytest.mark.parametrize(
    "make, told",
    [
        (lambda: Service(""), "service name"),
        (lambda: Service("a b"), "service name"),
        (lambda: Service("x" * 101), "service name"),
        (lambda: Service("x", prefetch=0), "prefetch 0"),
        (lambda: Service("x", concurrency=0), "concurrency 0 is not from 1"),
        (lambda: Service("x", concurrency=5, prefetch=4), "prefetch 4 is below concurrency 5"),
        (lambda: Service("x", queue_type="stream"), "queue_type 'stream'"),  # type: ignore[arg-type]
        (lambda: Service("x").on(), "name the event"),
        (lambda: Service("x").on(""), "name the event"),
        (lambda: Service("x").on(lambda request: {}), "name the event"),  # type: ignore[arg-type]
        (lambda: Service("x").on("e")(None), "no function"),  # type: ignore[type-var]
        (lambda: Service("x").on("e", "e")(lambda request: {}), "a handler of 'e' already"),
    ],
)
def test_wrong_use_is_told(make: Callable[[], object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make()


async def test_what_it_says_of_itself(service: Service) -> None:
    service.on("invite_request")(lambda request: route(URI))
    await service.answer(asked())
    assert repr(service) == (
        "<Service routes on invite_request decided=1 failed=0 silent=0 noted=0 expired=0 late=0 "
        "rejected=0 unhandled=0 refused=0>"
    )


def test_time_left() -> None:
    left = time_left(Request("e", "n", {}, 1, 1, 1, NOW))
    assert left is not None
    assert left < 0
