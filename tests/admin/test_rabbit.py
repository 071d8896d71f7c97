"""RabbitMQ as an operator asks it; what goes wrong is a sentence."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING, Any

import pytest
from pamqp.commands import Basic

from adapter.admin.rabbit import NoRights, NotThere, QueueState, Rabbit
from adapter.amqp.topology import Binding, Exchange, Queue
from adapter.amqp.words import DeclaredOtherwise
from adapter.errors import BrokerUnavailable, SettingsError
from tests.harness.process import free_port
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.harness.rabbitmq import RabbitServer


@pytest.fixture
async def rabbit(vhost: str) -> AsyncIterator[Rabbit]:
    async with Rabbit(vhost) as connected:
        yield connected


async def fill(rabbit: Rabbit, name: str, *bodies: bytes) -> None:
    await rabbit.declare(Queue(name))
    for body in bodies:
        assert await rabbit.publish("", name, body, Basic.Properties())


@contextlib.asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """A server that takes connections and says nothing."""
    holding: list[asyncio.Task[None] | None] = []

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        holding.append(asyncio.current_task())
        with contextlib.suppress(ConnectionError):
            await reader.read()  # until the client goes
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    async with server:
        yield f"amqp://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        await asyncio.gather(*filter(None, holding))


async def refusal(urls: str, patience: float = 2.0) -> str:
    with pytest.raises(BrokerUnavailable) as caught:
        async with Rabbit(urls, patience):
            pass
    return str(caught.value)


class TestConnecting:
    async def test_the_server_tells_who_it_is(self, rabbit: Rabbit, vhost: str) -> None:
        assert rabbit.version.count(".") == 2
        assert rabbit.properties["product"] in ("RabbitMQ", b"RabbitMQ")
        assert rabbit.url == vhost.replace("guest:guest", "guest")
        assert not rabbit.blocked

    async def test_nothing_listens(self) -> None:
        port = free_port()
        told = await refusal(f"amqp://guest:hush@127.0.0.1:{port}/")
        assert told.startswith(f"RabbitMQ: amqp://guest@127.0.0.1:{port}/: connection refused")
        assert "hush" not in told

    async def test_no_such_host(self) -> None:
        assert "there is no such host" in await refusal("amqp://no-such-host.invalid/")

    async def test_a_refused_login(self, managed_rabbitmq: RabbitServer) -> None:
        told = await refusal(managed_rabbitmq.url.replace("guest:guest", "guest:hush"))
        assert "the login was refused: check user and password in EVAPI_AMQP_URL" in told
        assert "hush" not in told

    async def test_an_unknown_vhost(self, managed_rabbitmq: RabbitServer) -> None:
        told = await refusal(managed_rabbitmq.url + "nowhere")
        assert "refused after the login: is there a vhost 'nowhere', and may the user use it?" in told
        assert "rabbitmqctl list_permissions -p nowhere" in told

    async def test_a_port_without_tls(self, managed_rabbitmq: RabbitServer) -> None:
        assert "speaks no TLS" in await refusal(f"amqps://127.0.0.1:{managed_rabbitmq.port}/")

    async def test_a_server_that_hangs(self) -> None:
        async with silent() as url:
            assert "no answer within 0.2 s: does it hang" in await refusal(url, 0.2)

    async def test_each_server_of_several_is_told(self) -> None:
        one, other = free_port(), free_port()
        told = await refusal(f"amqp://127.0.0.1:{one}/,amqp://127.0.0.1:{other}/")
        assert f":{one}/: connection refused" in told
        assert f":{other}/: connection refused" in told

    async def test_the_first_that_answers_is_taken(self, vhost: str) -> None:
        async with silent() as hung, Rabbit(f"{hung},amqp://127.0.0.1:{free_port()}/,{vhost}") as found:
            assert found.url == vhost.replace("guest:guest", "guest")

    def test_a_url_that_is_none(self) -> None:
        with pytest.raises(SettingsError, match="EVAPI_AMQP_URL"):
            Rabbit("http://127.0.0.1/")


class TestAsking:
    async def test_what_is_not_there(self, rabbit: Rabbit) -> None:
        assert await rabbit.queue("evapi.nothing") is None
        assert not await rabbit.exchange("evapi.nothing")

    async def test_what_is_there(self, rabbit: Rabbit) -> None:
        await rabbit.declare(Exchange("evapi.x", "topic"))
        await fill(rabbit, "evapi.q", b"one", b"two")
        assert await rabbit.exchange("evapi.x")
        assert await rabbit.queue("evapi.q") == QueueState("evapi.q", 2, 0)

    async def test_what_is_there_otherwise(self, rabbit: Rabbit) -> None:
        await rabbit.declare(Queue("evapi.q", {"x-expires": 60_000}))
        with pytest.raises(DeclaredOtherwise, match="inequivalent arg 'x-expires'"):
            await rabbit.declare(Queue("evapi.q", {"x-expires": 50_000}))
        assert await rabbit.queue("evapi.q") == QueueState("evapi.q", 0, 0)

    async def test_a_user_without_rights(self, managed_rabbitmq: RabbitServer, vhost: str) -> None:
        user = f"reader-{secrets.token_hex(4)}"
        managed_rabbitmq.call("PUT", f"users/{user}", {"password": "hush", "tags": ""})
        grant = {"configure": "^$", "write": "^$", "read": ".*"}
        managed_rabbitmq.call("PUT", f"permissions/{vhost.rpartition('/')[2]}/{user}", grant)
        async with Rabbit(vhost.replace("guest:guest", f"{user}:hush")) as reader:
            with pytest.raises(NoRights) as caught:
                await reader.declare(Queue("evapi.q"))
            assert "evapi.q: the user has no rights to it; let it configure, write and read" in str(
                caught.value
            )
            assert await reader.queue("evapi.q") is None
        managed_rabbitmq.call("DELETE", f"users/{user}")

    async def test_no_answer_ends_the_connection(self, vhost: str) -> None:
        async with Rabbit(vhost, 0.2) as rabbit:
            rabbit._timeout = 0.05
            with pytest.raises(BrokerUnavailable, match=r"a thing: no answer within 0\.05 s"):
                await rabbit.ask(asyncio.Event().wait(), "a thing")
            with pytest.raises(BrokerUnavailable):
                await rabbit.queue("evapi.q")

    async def test_a_request_that_is_given_up(self, rabbit: Rabbit) -> None:
        asking = asyncio.create_task(rabbit.ask(asyncio.Event().wait(), "a thing"))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert await rabbit.queue("evapi.q") is None

    async def test_a_connection_that_is_lost(self, rabbit: Rabbit) -> None:
        await rabbit.queue("evapi.q")
        rabbit._connection.abort("pulled")
        await asyncio.wait({rabbit._connection.below.closing})
        with pytest.raises(BrokerUnavailable, match="RabbitMQ at amqp://guest@"):
            await rabbit.queue("evapi.q")


class TestPublishing:
    async def test_whether_a_queue_has_it(self, rabbit: Rabbit) -> None:
        await rabbit.declare(Exchange("evapi.x", "topic"))
        await rabbit.declare(Queue("evapi.q"))
        await rabbit.bind(Binding("evapi.x", "evapi.q", "a.*"))
        assert await rabbit.publish("evapi.x", "a.b", b"1", Basic.Properties())
        assert not await rabbit.publish("evapi.x", "b.b", b"2", Basic.Properties())
        assert await rabbit.publish("evapi.x", "a.c", b"3", Basic.Properties())
        assert await rabbit.queue("evapi.q") == QueueState("evapi.q", 2, 0)

    async def test_an_exchange_that_is_missing(self, rabbit: Rabbit) -> None:
        with pytest.raises(NotThere, match=r"evapi\.x does not exist; evapi-adapter topology"):
            await rabbit.publish("evapi.x", "a", b"", Basic.Properties())
        await fill(rabbit, "evapi.q", b"goes on with a new channel")

    async def test_a_full_queue_refuses(self, rabbit: Rabbit) -> None:
        await rabbit.declare(Queue("evapi.q", {"x-max-length": 0, "x-overflow": "reject-publish"}))
        with pytest.raises(BrokerUnavailable, match="refused"):
            await rabbit.publish("", "evapi.q", b"", Basic.Properties())

    async def test_a_server_short_of_memory(self, rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Rabbit, "blocked", True)
        with pytest.raises(BrokerUnavailable, match="short of memory or disk"):
            await rabbit.publish("", "evapi.q", b"", Basic.Properties())


class TestBrowsing:
    async def test_all_are_held_and_back_in_their_places(self, rabbit: Rabbit) -> None:
        await fill(rabbit, "evapi.q", *b"1 2 3".split())
        async with rabbit.browse("evapi.q") as browse:
            found = await browse.everything()
            assert [(each.body, each.redelivered) for each in found] == [
                (b"1", False),
                (b"2", False),
                (b"3", False),
            ]
            assert await rabbit.queue("evapi.q") == QueueState("evapi.q", 0, 0)
            assert await browse.get() is None
        await self.counted(rabbit, 3)
        assert await self.left(rabbit) == [(b"1", True), (b"2", True), (b"3", True)]

    async def test_those_that_are_removed_are_gone(self, rabbit: Rabbit) -> None:
        await fill(rabbit, "evapi.q", *b"1 2 3 4 5 6".split())
        async with rabbit.browse("evapi.q") as browse:
            one, two, three, four, five, six = await browse.everything()
            await browse.remove([four, one, two])
            await browse.remove([three, six])
            await browse.remove([])
        await self.counted(rabbit, 1)
        assert await self.left(rabbit) == [(five.body, True)]

    async def test_nothing_is_lost_with_the_connection(self, rabbit: Rabbit, vhost: str) -> None:
        await fill(rabbit, "evapi.q", *b"1 2 3".split())
        async with Rabbit(vhost) as other, other.browse("evapi.q") as browse:
            await browse.everything()
            other._connection.abort("killed")
        await self.counted(rabbit, 3)
        assert [body for body, _ in await self.left(rabbit)] == [b"1", b"2", b"3"]

    async def test_of_a_queue_that_is_missing(self, rabbit: Rabbit) -> None:
        async with rabbit.browse("evapi.q") as browse:
            assert await browse.everything() == []

    async def left(self, rabbit: Rabbit) -> list[tuple[bytes, bool]]:
        async with rabbit.browse("evapi.q") as browse:
            return [(each.body, each.redelivered) for each in await browse.everything()]

    async def counted(self, rabbit: Rabbit, messages: int) -> None:
        async def there() -> bool:
            return await rabbit.queue("evapi.q") == QueueState("evapi.q", messages, 0)

        await until(there)


async def test_a_queue_of_our_own(rabbit: Rabbit, vhost: str) -> None:
    async with rabbit.listen("evapi.mine") as came:
        await rabbit.publish("", "evapi.mine", b"hello", Basic.Properties(headers={"x-a": "b"}))
        message = await asyncio.wait_for(came.get(), 10)
        assert (message.body, message.headers, message.routing_key) == (b"hello", {"x-a": "b"}, "evapi.mine")
        async with Rabbit(vhost) as other:
            with pytest.raises(BrokerUnavailable, match=r"RESOURCE_LOCKED|exclusive"):
                await other.queue("evapi.mine")
    assert await rabbit.queue("evapi.mine") is None


async def test_headers_may_be_missing(rabbit: Rabbit) -> None:
    await fill(rabbit, "evapi.q", b"")
    async with rabbit.browse("evapi.q") as browse:
        message: Any = await browse.get()
    assert message.headers == {}
