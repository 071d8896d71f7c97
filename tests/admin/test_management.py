"""RabbitMQ's management API: what it tells, and the sentence where it does not."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING

import pytest
from yarl import URL

from adapter.admin.management import (
    ManagedQueue,
    Management,
    ManagementUnavailable,
    _tls,
    event_of,
    events_of,
    reached,
)
from adapter.admin.rabbit import Rabbit
from adapter.amqp.topology import Binding, Queue
from adapter.broker.rabbitmq.topology import EXCHANGES
from adapter.errors import SettingsError
from adapter.settings import Settings, load
from tests.harness.process import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.harness.rabbitmq import RabbitServer


def settings(**flags: str) -> Settings:
    return load(bridge=False, **flags)


@contextlib.asynccontextmanager
async def server(answer: bytes | None) -> AsyncIterator[URL]:
    """Gives this answer to each request; ``None``: none at all."""

    speaking: list[asyncio.Task[None] | None] = []

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        speaking.append(asyncio.current_task())
        await reader.readuntil(b"\r\n\r\n")
        if answer is None:
            await reader.read()  # until the client goes
        else:
            writer.write(b"HTTP/1.1 " + answer)
        writer.close()
        await writer.wait_closed()

    listening = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with listening:
        yield URL(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
        await asyncio.gather(*filter(None, speaking))


async def failure(*urls: URL, patience: float = 2.0) -> str:
    async with Management(urls, timeout=patience) as management:
        with pytest.raises(ManagementUnavailable) as caught:
            await management.queues()
    return str(caught.value)


class TestTheRealOne:
    async def test_what_it_tells(self, managed_rabbitmq: RabbitServer, vhost: str) -> None:
        binding = Binding("evapi.events", "evapi.decide.x", "invite_request.*")
        between = Binding("evapi.dead", "evapi.dead.by-node", to_exchange=True)
        async with (
            Rabbit(vhost) as rabbit,
            Management.of(settings(amqp_url=vhost, amqp_api=managed_rabbitmq.api)) as management,
        ):
            for thing in (*EXCHANGES, Queue("evapi.decide.x", {"x-max-length": 7}), Queue("other")):
                await rabbit.declare(thing)
            await rabbit.bind(binding)
            await rabbit.bind(between)
            async with rabbit.listen("evapi.mine"):
                found = await management.queues()
                assert found.keys() == {"evapi.decide.x", "evapi.mine"}
                assert found["evapi.mine"].exclusive
            assert found["evapi.decide.x"].arguments == {"x-max-length": 7}
            assert (found["evapi.decide.x"].kind, found["evapi.decide.x"].exclusive) == ("classic", False)
            assert set(await management.bindings()) == {binding, between}
            assert (await management.overview())["rabbitmq_version"] == rabbit.version

    async def test_a_refused_login(self, managed_rabbitmq: RabbitServer) -> None:
        told = await failure(URL(managed_rabbitmq.api.replace("guest:guest", "guest:hush")))
        assert "refused; check user and password" in told
        assert "rabbitmqctl set_user_tags" in told
        assert "hush" not in told

    async def test_a_vhost_that_is_not_there(self, managed_rabbitmq: RabbitServer) -> None:
        async with Management([URL(managed_rabbitmq.api)], "a/b") as management:
            with pytest.raises(ManagementUnavailable, match="answers 404 to /api/queues/a%2Fb"):
                await management.queues()

    async def test_the_next_one_is_asked_and_stays_the_first(self, managed_rabbitmq: RabbitServer) -> None:
        away = URL(f"http://127.0.0.1:{free_port()}")
        async with Management([away, URL(managed_rabbitmq.api)]) as management:
            await management.overview()
            assert management.url.startswith(managed_rabbitmq.api.replace("guest:guest", "guest"))


class TestOthers:
    async def test_nothing_listens(self) -> None:
        told = await failure(URL(f"http://a:hush@127.0.0.1:{free_port()}"))
        assert "connection refused" in told
        assert "rabbitmq-plugins enable rabbitmq_management" in told
        assert "hush" not in told

    async def test_it_hangs(self) -> None:
        async with server(None) as url:
            assert "no answer within 0.1 s" in await failure(url, patience=0.1)

    async def test_it_is_another_server(self) -> None:
        async with server(b"404 Not Found\r\nContent-Length: 0\r\n\r\n") as url:
            assert f"{str(url).rstrip('/')}: answers 404 to /api/queues/%2F" in await failure(url)

    async def test_it_gives_no_json(self) -> None:
        async with server(b"200 OK\r\nContent-Length: 6\r\n\r\n<html>") as url:
            assert "answers, but no JSON" in await failure(url)

    async def test_it_gives_other_json(self) -> None:
        async with server(b'200 OK\r\nContent-Length: 7\r\n\r\n{"a":1}') as url:
            assert "is no management API" in await failure(url)
            async with Management([url]) as management:
                with pytest.raises(ManagementUnavailable, match="is no management API"):
                    await management.overview()

    async def test_it_breaks_off(self) -> None:
        async with server(b"200 OK\r\nContent-Length: 600\r\n\r\n[") as url:
            assert "is the plugin on" in await failure(url)

    async def test_a_certificate_file_that_is_missing(self, tmp_path: Path) -> None:
        told = await failure(URL(f"https://127.0.0.1:1/?cafile={tmp_path}/none"))
        assert "its cafile, certfile or keyfile" in told


def test_tls_as_the_options_of_the_url_say(managed_rabbitmq: RabbitServer) -> None:
    identity = managed_rabbitmq._identity
    options = {"cafile": str(managed_rabbitmq.ca), "certfile": str(identity.certificate)}
    url = URL("https://localhost").with_query(options | {"keyfile": str(identity.key)})
    strict, lax = _tls(url), _tls(url.update_query(no_verify_ssl="1"))
    assert isinstance(strict, ssl.SSLContext)
    assert isinstance(lax, ssl.SSLContext)
    assert strict.verify_mode is ssl.CERT_REQUIRED
    assert len(strict.get_ca_certs()) == 1
    assert (lax.check_hostname, lax.verify_mode) == (False, ssl.CERT_NONE)


class TestWhere:
    def test_beside_the_amqp_url(self) -> None:
        made = Management.of(settings(amqp_url="amqp://u:p@a/v,amqps://b:1"))
        assert made.url == "http://u@a:15672, https://guest@b:15671"
        assert made._vhost == "v"

    def test_as_it_is_set_with_the_user_of_the_amqp_url(self) -> None:
        made = Management.of(settings(amqp_url="amqp://u:p@a/", amqp_api="http://b:8080/rabbit"))
        assert made.url == "http://u@b:8080/rabbit"
        assert made._urls[0].password == "p"
        assert made._vhost == "%2F"

    def test_with_a_user_of_its_own_and_no_amqp_url(self) -> None:
        assert Management.of(settings(amqp_api="http://w:x@b:8080")).url == "http://w@b:8080"

    @pytest.mark.parametrize("flags", [{}, {"amqp_api": "http://"}, {"amqp_api": "http://a:b:c"}])
    def test_nowhere(self, flags: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("EVAPI_AMQP_URL", "EVAPI_AMQP_API"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(SettingsError, match="EVAPI_AMQP_API"):
            Management.of(settings(**flags))


async def test_where_it_is_away_somebody_is_told(managed_rabbitmq: RabbitServer) -> None:
    said: list[str] = []
    url = managed_rabbitmq.url
    async with reached(settings(amqp_url=url, amqp_api=managed_rabbitmq.api), said.append) as found:
        assert found is not None
    assert said == []
    away = f"http://127.0.0.1:{free_port()}"
    async with reached(settings(amqp_url=url, amqp_api=away), said.append) as found:
        assert found is None
    assert said[0].startswith(f"RabbitMQ's management API: http://guest@{away[7:]}")
    assert said[0].endswith("what only it knows is left out")


@pytest.mark.parametrize(
    ("key", "event"), [("invite_request.*", "invite_request"), ("#", "#"), ("a.sbc1", "a.sbc1"), ("", "")]
)
def test_the_event_of_a_routing_key(key: str, event: str) -> None:
    assert event_of(key) == event


def test_the_events_of_a_service() -> None:
    bindings = [
        Binding("evapi.events", "evapi.decide.x", "b.*"),
        Binding("evapi.events", "evapi.decide.x", "a.*"),
        Binding("evapi.events", "evapi.decide.y", "c.*"),
        Binding("evapi.dead", "evapi.decide.x", "d.*"),
        Binding("evapi.events", "evapi.decide.x", "e.*", to_exchange=True),
    ]
    assert events_of("x", bindings) == ("a", "b")
    assert ManagedQueue("q", "classic").messages is None
