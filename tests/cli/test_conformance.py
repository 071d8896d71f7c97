"""``evapi-adapter conformance`` as the author of a consumer meets it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.cli.command import evapi_adapter, started
from tests.cli.ground import in_thread
from tests.conformance.faulty import EVENT, Fault, consuming
from tests.conformance.plain import plain
from tests.harness.process import free_port

if TYPE_CHECKING:
    from tests.harness.rabbitmq import RabbitServer

KEYS = ["check", "status", "seen", "remedy", "right"]


@pytest.fixture
def name() -> str:
    return f"kit-{uuid4().hex[:8]}"


def words(name: str, *more: str) -> tuple[str, ...]:
    return ("conformance", "--service", name, "--event", EVENT, *more)


async def test_one_that_is_right(rabbitmq: RabbitServer, name: str) -> None:
    async with consuming(rabbitmq.url, name):
        done = await in_thread(*words(name, "-o", "json", "--amqp-url", rabbitmq.url))
    assert done.code == 0, done
    assert [list(row) for row in done.rows] == [KEYS] * len(done.rows)
    assert not any(row["remedy"] for row in done.rows)
    assert "playing plain\n" in done.err
    assert "0 errors, 0 warnings, 19 ok, 2 not checked" in done.err


async def test_one_line_and_the_remedy(rabbitmq: RabbitServer, name: str) -> None:
    async with consuming(rabbitmq.url, name, Fault.TWICE):
        done = await in_thread(*words(name), EVAPI_AMQP_URL=rabbitmq.url)
    assert done.code == 1
    (line,) = [line for line in done.out.splitlines() if line.startswith("error")]
    assert line.split(maxsplit=2)[:2] == ["error", "once"]
    assert line.endswith("publish one reply to each request")
    assert "2 replies came to one request" in line


async def test_requests_in_json(rabbitmq: RabbitServer, name: str) -> None:
    async with consuming(rabbitmq.url, name):
        done = await in_thread(*words(name, "--format", "json"), EVAPI_AMQP_URL=rabbitmq.url)
    assert done.code == 0, done


async def test_a_call_of_ones_own(rabbitmq: RabbitServer, name: str) -> None:
    """The plain consumer decides by ``ruri``: without it, it says that it failed."""
    with plain(rabbitmq.url, name, EVENT):
        done = await in_thread(*words(name, "--data", "{}"), EVAPI_AMQP_URL=rabbitmq.url)
    assert done.code == 1
    assert "a plain call is answered with x-status failed" in done.out
    assert "(--event, --data)" in done.out


async def test_through_the_kit(rabbitmq: RabbitServer, name: str) -> None:
    port = free_port()
    given = words(name, "-o", "json", "--listen", f"127.0.0.1:{port}")
    with started(*given, EVAPI_AMQP_URL=rabbitmq.url) as child:
        waiting = await asyncio.to_thread(child.stderr.readline)
        assert f"start it with amqp://guest@127.0.0.1:{port}/" in waiting
        through = f"amqp://guest:guest@127.0.0.1:{port}/"
        async with consuming(rabbitmq.url, name, Fault.ACK_FIRST, through=through):
            out, err = await asyncio.to_thread(child.communicate)
    assert child.returncode == 1
    assert "a request was acknowledged before its reply was sent" in out
    assert "1 error, 0 warnings, 20 ok\n" in err


class TestNothingToPlay:
    def test_nobody_consumes(self, rabbitmq: RabbitServer, name: str) -> None:
        done = evapi_adapter(*words(name), EVAPI_AMQP_URL=rabbitmq.url)
        assert (done.code, done.out) == (2, "")
        assert f"nobody consumes the queue evapi.decide.{name}: start the consumer first" in done.err

    def test_no_rabbitmq(self, name: str) -> None:
        done = evapi_adapter(*words(name), EVAPI_AMQP_URL=f"amqp://127.0.0.1:{free_port()}")
        assert (done.code, done.out) == (2, "")
        assert "connection refused" in done.err

    def test_nobody_comes(self, rabbitmq: RabbitServer, name: str) -> None:
        given = words(name, "--listen", f"127.0.0.1:{free_port()}", "--wait", "1")
        done = evapi_adapter(*given, EVAPI_AMQP_URL=rabbitmq.url)
        assert (done.code, done.out) == (2, "")
        assert f"nobody consumes evapi.decide.{name} by amqp://" in done.err

    @pytest.mark.parametrize(
        "more,said",
        [
            (("--data", "{"), "--data"),
            (("--data", "[]"), "is no JSON object"),
            (("--listen", "5673"), "is no HOST:PORT"),
            (("--service", ""), "--service"),
        ],
    )
    def test_wrong_usage(self, name: str, more: tuple[str, ...], said: str) -> None:
        done = evapi_adapter(*words(name, *more), EVAPI_AMQP_URL="amqp://127.0.0.1")
        assert (done.code, done.out) == (2, "")
        assert said in done.err
