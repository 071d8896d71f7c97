"""Certificates of clients, and their rotation: files that are replaced count from the next connection on."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from adapter.broker.rabbitmq import AmqpBroker
from adapter.errors import StoreUnavailable
from adapter.inflight.redis import RedisStore
from tests.broker.support import Recorder
from tests.harness.certificates import Identity
from tests.harness.process import free_port
from tests.harness.redis import RedisServer
from tests.harness.until import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.certificates import Authority
    from tests.harness.rabbitmq import RabbitServer

LISTEN = (
    'rabbit_networking:start_ssl_listener({{"127.0.0.1", {port}}}, [{{cacertfile, "{ca}"}}, '
    '{{certfile, "{certificate}"}}, {{keyfile, "{key}"}}, {{verify, verify_peer}}, '
    "{{fail_if_no_peer_cert, true}}], 1)"
)


class Files:
    """A client's certificate and key, which are replaced in place, as a mounted Secret's are."""

    def __init__(self, folder: Path) -> None:
        self.identity = Identity(folder / "client.pem", folder / "client.key")

    def hold(self, identity: Identity) -> None:
        shutil.copy(identity.certificate, self.identity.certificate)
        shutil.copy(identity.key, self.identity.key)


@pytest.fixture
def files(tmp_path: Path, stranger: Authority) -> Files:
    found = Files(tmp_path)
    found.hold(stranger.issue("adapter"))
    return found


async def test_redis(tmp_path: Path, authority: Authority, files: Files) -> None:
    with RedisServer(tmp_path, ["--tls-auth-clients", "yes"], authority=authority) as server:
        url = f"{server.tls_url}&ssl_certfile={files.identity.certificate}&ssl_keyfile={files.identity.key}"
        store = RedisStore(url, "one", timeout=10.0)
        try:
            for _ in range(2):
                with pytest.raises(StoreUnavailable):
                    await store.count("sbc1")
            files.hold(authority.issue("adapter"))
            assert await store.count("sbc1") == 0
        finally:
            await store.close()


async def test_rabbitmq(rabbitmq: RabbitServer, authority: Authority, files: Files) -> None:
    port, ca = free_port(), rabbitmq.ca.parent / "clients.pem"
    shutil.copy(authority.certificate, ca)
    ca.chmod(0o644)
    own = rabbitmq._identity
    rabbitmq.eval(LISTEN.format(port=port, ca=ca, certificate=own.certificate, key=own.key))
    url = f"amqps://guest:guest@localhost:{port}/?cafile={rabbitmq.ca}"
    broker = AmqpBroker(f"{url}&certfile={files.identity.certificate}&keyfile={files.identity.key}")
    await broker.start(Recorder())
    try:
        await until(lambda: "connection" in broker.problems)
        assert not broker.ready
        files.hold(authority.issue("adapter"))
        await until(lambda: broker.ready)
    finally:
        await broker.close()
