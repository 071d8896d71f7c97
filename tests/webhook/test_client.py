"""The client against real servers on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from standardwebhooks.webhooks import Webhook

from adapter.contract import Request
from consumers.webhook import client as module
from consumers.webhook.client import Client, NotDecided
from consumers.webhook.message import Call
from consumers.webhook.target import Target
from tests.harness.until import until
from tests.webhook.functions import ALLOW, Function, fixed, loaded, raw, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from consumers.webhook.files import Loaded

SECRETS = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]
REFUSED = "http://127.0.0.1:1/hush?code=hush"
DECIDED = {"action": "allow"}
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 18\r\n\r\n" + ALLOW


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.001)


def call(left: float = 5.0, data: object = None) -> Call:
    request = Request("e", "n", data or {"user": "4420"}, 1, 2, 3, time.time() + left)
    return Call(request, "n:1:2:3:tag", "00-t-s-01")


NOTICE = Call(Request("e", "n", {}))


@contextlib.asynccontextmanager
async def asking(settings: Loaded) -> AsyncIterator[Client]:
    client = Client(settings, Counter())
    try:
        yield client
    finally:
        await client.close()


def at(function: Function, path: str = "hush?code=hush") -> str:
    return f"http://127.0.0.1:{function.port}/{path}"


async def undecided(client: Client, asked: Call | None = None) -> str:
    with pytest.raises(NotDecided) as caught:
        await client.decide(asked or call())
    assert "hush" not in str(caught.value)
    return str(caught.value)


async def test_a_decision_with_all_that_goes_with_the_question() -> None:
    async with (
        serving(fixed()) as function,
        asking(loaded(at(function), secrets=SECRETS, headers='{ x-key = "hush" }')) as client,
    ):
        assert await client.decide(call()) == DECIDED
        assert await client.decide(call()) == DECIDED
        assert len(function.connections) == 1, "connections are kept"
    (headers, body), (again, _) = function.asked
    assert json.loads(body)["data"] == {"user": "4420"}
    assert (headers["content-type"], headers["x-key"]) == ("application/json", "hush")
    assert 4_000 < int(headers["x-time-left"]) <= 5_000
    assert abs(int(headers["x-deadline"]) / 1000 - time.time() - 5) < 1
    assert (headers["x-correlation-id"], headers["traceparent"]) == ("n:1:2:3:tag", "00-t-s-01")
    for secret in SECRETS:
        assert Webhook(secret).verify(body, headers)["correlation_id"] == "n:1:2:3:tag"
    assert headers["webhook-id"] == again["webhook-id"], "by it a function knows what it was asked before"


async def test_no_answer_and_notices() -> None:
    async with serving(fixed(204, b"")) as function, asking(loaded(at(function))) as client:
        assert await client.decide(call()) is None
        assert await client.decide(NOTICE) is None
    assert "x-deadline" not in function.asked[1][0]
    assert "x-time-left" not in function.asked[1][0]
    assert function.asked[1][0]["webhook-id"] != function.asked[0][0]["webhook-id"]
    assert "webhook-signature" not in function.asked[0][0]


async def test_redirects_are_not_followed() -> None:
    async with serving(fixed()) as other, serving(fixed(307, b"", location=at(other))) as function:
        async with asking(loaded(at(function))) as client:
            assert "redirects (status 307)" in await undecided(client)
        assert not other.asked


async def test_who_is_away_is_followed_by_the_next() -> None:
    async with serving(fixed()) as function, asking(loaded(REFUSED, at(function))) as client:
        assert await client.decide(call()) == DECIDED


async def test_who_comes_back_is_found_by_another_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    function = fixed()
    async with serving(function):
        pass
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.2)
    async with asking(loaded(at(function), attempts=20)) as client:
        deciding = asyncio.ensure_future(client.decide(call()))
        await until(lambda: "failures=1" in repr(client))
        async with serving(function):
            assert await deciding == DECIDED


async def test_a_url_that_fails_again_and_again_rests(caplog: pytest.LogCaptureFixture) -> None:
    function = fixed(500)
    async with serving(function):
        settings = loaded(at(function), breaker="{ after = 2, pause = 0.2 }", attempts=1)
        async with asking(settings) as client:
            with caplog.at_level(logging.INFO, "consumers"):
                for _ in range(2):
                    assert "it failed (status 500)" in await undecided(client)
                for _ in range(3):
                    assert "not asked, after failures or by Retry-After" in await undecided(client)
                assert len(function.asked) == 2
                function.answer = fixed().answer
                await until(lambda: _decided(client))
        assert len(function.asked) == 3
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert "is not asked for 0.2 s: it failed (status 500)" in told[0]
    assert "answers again" in told[1]
    assert "hush" not in str(told)


async def _decided(client: Client) -> bool:
    try:
        return await client.decide(call()) == DECIDED
    except NotDecided:
        return False


async def test_who_is_busy_rests_for_as_long_as_it_says() -> None:
    busy = fixed(503, b"", retry_after="30")
    async with serving(busy), serving(fixed()) as other:
        async with asking(loaded(at(busy), at(other))) as client:
            for _ in range(3):
                assert await client.decide(call()) == DECIDED
        assert len(busy.asked) == 1
        async with asking(loaded(at(busy))) as client:
            began = time.monotonic()
            assert "it is busy (status 503)" in await undecided(client), "no time to wait for it"
            assert time.monotonic() - began < 4


async def test_who_is_busy_for_a_moment_is_asked_again() -> None:
    function = fixed(429, b"", retry_after="0")

    async def answer(_: web.Request) -> web.Response:
        function.answer = fixed().answer
        return web.Response(status=429, headers={"retry-after": "0"})

    function.answer = answer
    async with serving(function), asking(loaded(at(function))) as client:
        assert await client.decide(call()) == DECIDED


@pytest.mark.parametrize("retry, asked", [('["connect"]', 1), ('["5xx"]', 3), ("[]", 1)])
async def test_what_may_have_run_is_repeated_only_if_that_is_wanted(retry: str, asked: int) -> None:
    async with serving(fixed(502)) as function, asking(loaded(at(function), retry=retry)) as client:
        assert "status 502" in await undecided(client)
    assert len(function.asked) == asked


@pytest.mark.parametrize("retry, asked", [('["connect"]', 1), ('["connect", "read"]', 3)])
async def test_a_connection_that_breaks_off(retry: str, asked: int) -> None:
    async with raw(b"HTTP/1.1 200 OK\r\ncontent-length: 18\r\n\r\n{") as (port, heads):
        async with asking(loaded(f"http://127.0.0.1:{port}/", retry=retry)) as client:
            assert "the connection broke" in await undecided(client)
        assert len(heads) == asked
    async with raw(b"") as (port, heads):
        async with asking(loaded(f"http://127.0.0.1:{port}/", retry=retry)) as client:
            assert "the connection broke" in await undecided(client)
        assert len(heads) == asked


async def test_a_kept_connection_that_the_server_has_closed_costs_no_call() -> None:
    async with (
        raw(WHOLE, b"") as (port, heads),  # the second request on a connection gets no answer
        asking(loaded(f"http://127.0.0.1:{port}/", retry='["connect"]')) as client,
    ):
        assert await client.decide(call()) == DECIDED
        assert await client.decide(call()) == DECIDED
        assert len(heads) == 3


async def test_silence_and_bodies_that_do_not_end() -> None:
    begun = b"HTTP/1.1 200 OK\r\ncontent-length: 18\r\n\r\n{"
    for answer in (b"", begun):
        async with (
            raw(answer, close=False) as (port, _),
            serving(fixed()) as other,
            asking(loaded(f"http://127.0.0.1:{port}/", timeout=0.1)) as client,
            asking(loaded(f"http://127.0.0.1:{port}/", at(other), timeout=0.1, retry='["read"]')) as two,
        ):
            assert "no whole answer within 0.100 s" in await undecided(client)
            assert "failures=1" in repr(client)
            assert await two.decide(call()) == DECIDED


async def test_what_was_late_before_it_was_asked_counts_against_nobody() -> None:
    async with (
        raw(b"", close=False) as (port, _),
        asking(loaded(f"http://127.0.0.1:{port}/", breaker="{ after = 1 }")) as client,
    ):
        for _ in range(2):
            assert "no whole answer" in await undecided(client, call(0.05))
        assert "not asked" in await undecided(client, call(-1))
        assert "closed failures=0" in repr(client)


async def test_a_fault_of_ours_leaves_the_probe_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(fixed(500)) as function:
        settings = loaded(at(function), breaker="{ after = 1, pause = 0.001 }", attempts=1)
        async with asking(settings) as client:
            await undecided(client)
            function.answer = fixed().answer
            with monkeypatch.context() as broken:
                broken.setattr(Target, "post", fault)
                await until(lambda: _raises(client, ZeroDivisionError))
            assert await client.decide(call()) == DECIDED


async def fault(*_: object) -> None:
    raise ZeroDivisionError


async def _raises(client: Client, kind: type[Exception]) -> bool:
    try:
        await client.decide(call())
    except kind:
        return True
    except NotDecided:
        pass
    return False


@pytest.mark.parametrize("waited, expected", [(0.4, "closed failures=0"), (0.6, "open failures=1")])
async def test_a_call_that_is_cancelled_counts_if_it_waited_long_enough(
    monkeypatch: pytest.MonkeyPatch, waited: float, expected: str
) -> None:
    now = 0.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now, time=time.time))
    async with (
        raw(b"", close=False) as (port, heads),
        asking(loaded(f"http://127.0.0.1:{port}/", breaker="{ after = 1 }")) as client,
    ):
        asked = asyncio.ensure_future(client.decide(call(60)))
        await until(lambda: heads)
        now = waited
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert expected in repr(client)


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_answer_that_is_too_long(chunked: bool) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if not chunked:
            response.content_length = 1 << 40
        await response.prepare(request)
        with contextlib.suppress(OSError):
            while True:
                await response.write(b" " * 65_536)
        return response

    async with (
        serving(Function(answer)) as function,
        asking(loaded(at(function), max_response=1000)) as client,
    ):
        assert "longer than max_response" in await undecided(client)


async def test_an_answer_of_the_longest_kind_is_taken() -> None:
    body = ALLOW.ljust(1000)
    async with serving(fixed(body=body)) as function:
        async with asking(loaded(at(function), max_response=1000)) as client:
            assert await client.decide(call()) == DECIDED
        async with asking(loaded(at(function), max_response=999)) as client:
            assert "longer than max_response" in await undecided(client)


async def test_nothing_is_unpacked() -> None:
    packed = fixed(content_encoding="gzip", body=b"x")
    async with serving(packed) as function, asking(loaded(at(function))) as client:
        assert "compressed" in await undecided(client)
    assert function.asked[0][0]["accept-encoding"] == "identity"


async def test_a_request_that_is_too_long_is_not_sent() -> None:
    async with serving(fixed()) as function, asking(loaded(at(function), max_request=200)) as client:
        assert "more bytes than max_request" in await undecided(client, call(data={"user": "4" * 200}))
        assert "cannot be written as JSON" in await undecided(client, call(data={"user": object()}))
    assert not function.asked


async def test_the_longest_request_of_the_bus_is_sent() -> None:
    """JSON is longer than the msgpack that came."""
    async with serving(fixed()) as function, asking(loaded(at(function))) as client:
        assert await client.decide(call(data={"blob": b"x" * (1 << 20)})) == DECIDED
    headers, body = function.asked[0]
    assert int(headers["content-length"]) == len(body) > 1 << 20


async def test_what_is_no_http_is_told() -> None:
    async with (
        raw(b"220 mail.example.net ESMTP\r\n") as (port, _),
        asking(loaded(f"http://127.0.0.1:{port}/")) as client,
    ):
        assert "its answer is no HTTP" in await undecided(client)


async def test_cookies_are_not_kept() -> None:
    async with serving(fixed(set_cookie="a=b")) as function, asking(loaded(at(function))) as client:
        await client.decide(call())
        await client.decide(call())
    assert "cookie" not in function.asked[1][0]


async def test_one_that_retires_finishes_what_it_has_in_hand() -> None:
    go = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        await go.wait()
        return web.Response(body=ALLOW)

    async with serving(Function(answer)) as function:
        client = Client(loaded(at(function)), Counter())
        deciding = asyncio.ensure_future(client.decide(call()))
        await until(lambda: function.asked)
        await client.retire()
        go.set()
        assert await deciding == DECIDED
        assert client.closed
        other = Client(loaded(at(function)), Counter())
        await other.retire()
        assert other.closed
