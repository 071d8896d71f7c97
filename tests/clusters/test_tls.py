"""TLS to RabbitMQ and Redis: only the right certificate will do; the log says whose was refused and why."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from adapter.broker.rabbitmq import AmqpBroker
from adapter.errors import SettingsError, StoreUnavailable
from adapter.inflight.redis import RedisStore
from adapter.simulator import SimulatedKamailio
from consumers import Service
from consumers.amqp import Runner
from tests.broker.support import Recorder
from tests.consumers.asker import running
from tests.harness.bridge import Bridge
from tests.harness.redis import NAMES, RedisSentinel, RedisServer
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.harness.certificates import Authority
    from tests.harness.rabbitmq import RabbitCluster, RabbitServer

ELSEWHERE = ("elsewhere.example",)
REFUSED = "certificate (refused|verify failed): "
UNKNOWN = REFUSED + "(self-signed certificate in certificate chain|unable to get local issuer certificate)"
MISMATCH = REFUSED + "(Hostname|IP address) mismatch"


def without_options(url: str) -> str:
    return url.partition("?")[0]


# Redis


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("tls-redis"), authority=authority) as server:
        yield server


@pytest.fixture(scope="module")
def misnamed(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[RedisServer]:
    folder = tmp_path_factory.mktemp("misnamed")
    with RedisServer(folder, authority=authority, names=ELSEWHERE) as server:
        yield server


@pytest.fixture(params=["tls_server", "tls_sentinel", "tls_redis_cluster"])
def redis_url(request: pytest.FixtureRequest) -> str:
    """A URL with the authority to trust."""
    servers = request.getfixturevalue(request.param)
    return servers.tls_url if request.param == "tls_server" else servers.url


async def count(url: str) -> int:
    store = RedisStore(url, "one", timeout=10.0)
    try:
        return await store.count("sbc1")
    finally:
        await store.close()


async def test_redis_with_the_right_certificate(redis_url: str) -> None:
    assert redis_url.startswith("rediss")
    assert await count(redis_url) == 0


async def test_redis_of_an_authority_that_the_system_does_not_know(redis_url: str) -> None:
    with pytest.raises(StoreUnavailable, match=UNKNOWN):
        await count(without_options(redis_url))


async def test_redis_of_an_authority_that_the_system_knows(
    redis_url: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    assert await count(without_options(redis_url)) == 0


async def test_redis_of_another_authority(redis_url: str, stranger: Authority) -> None:
    with pytest.raises(StoreUnavailable, match=UNKNOWN):
        await count(f"{without_options(redis_url)}?ssl_ca_certs={stranger.certificate}")


async def test_redis_unverified_on_request_alone(redis_url: str) -> None:
    assert await count(f"{without_options(redis_url)}?ssl_cert_reqs=none") == 0


@pytest.mark.parametrize("scheme", ["rediss", "rediss+sentinel", "rediss+cluster"])
async def test_an_authority_s_file_that_is_not_there(scheme: str) -> None:
    with pytest.raises(SettingsError, match="EVAPI_REDIS_URL: ssl_ca_certs: there is no file /nowhere"):
        await count(f"{scheme}://:s3cret@localhost/0?ssl_ca_certs=/nowhere")


@pytest.mark.parametrize(
    "form",
    ["rediss://{}", "rediss+sentinel://{}/main", "rediss+cluster://{}"],
    ids=["one", "sentinel", "cluster"],
)
async def test_redis_with_a_certificate_for_elsewhere(
    misnamed: RedisServer, authority: Authority, form: str
) -> None:
    url = form.format(f"localhost:{misnamed.tls_port}")
    with pytest.raises(StoreUnavailable, match=f":{misnamed.tls_port}: {MISMATCH}"):
        await count(f"{url}?ssl_ca_certs={authority.certificate}")


async def test_a_master_with_a_certificate_for_elsewhere(tmp_path: Path, authority: Authority) -> None:
    with RedisSentinel(tmp_path, authority, ELSEWHERE, sentinel_names=NAMES) as servers:
        with pytest.raises(StoreUnavailable, match=MISMATCH) as caught:
            await count(servers.url)
        assert str(caught.value).startswith(f"127.0.0.1:{servers.master_port()}: ")


# RabbitMQ


@pytest.fixture
def rabbit(whole: RabbitCluster) -> RabbitServer:
    return whole.nodes[0]


@pytest.fixture
def bad_urls(rabbit: RabbitServer, stranger: Authority) -> dict[str, str]:
    """URLs by what is wrong with the certificate."""
    url = without_options(rabbit.tls_url)
    return {
        "unknown": url,
        "unverified?": f"{url}?no_verify_ssl=0",
        "another's": f"{url}?cafile={stranger.certificate}",
        "misnamed": rabbit.tls_url.replace("localhost", "127.0.0.1"),
    }


WRONG = {"unknown": UNKNOWN, "unverified?": UNKNOWN, "another's": UNKNOWN, "misnamed": MISMATCH}


@asynccontextmanager
async def broker_at(url: str) -> AsyncIterator[AmqpBroker]:
    broker = AmqpBroker(url)
    await broker.start(Recorder())
    try:
        yield broker
    finally:
        await broker.close()


@pytest.mark.parametrize("options", ["", "?no_verify_ssl=1"])
async def test_rabbitmq_with_the_right_certificate(rabbit: RabbitServer, options: str) -> None:
    url = f"{without_options(rabbit.tls_url)}{options}" if options else rabbit.tls_url
    async with broker_at(url) as broker, running(Service("tls"), url):
        await until(lambda: broker.ready)


async def test_rabbitmq_of_an_authority_that_the_system_knows(
    rabbit: RabbitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(rabbit.ca))
    url = without_options(rabbit.tls_url)
    async with broker_at(url) as broker, running(Service("tls"), url):
        await until(lambda: broker.ready)


@pytest.mark.parametrize("wrong", WRONG)
async def test_rabbitmq_with_a_wrong_certificate(
    rabbit: RabbitServer, bad_urls: dict[str, str], wrong: str
) -> None:
    async with broker_at(bad_urls[wrong]) as broker:
        await until(lambda: "connection" in broker.problems or broker.ready)
        assert re.search(f":{rabbit.tls_port}/: .*{WRONG[wrong]}", broker.problems["connection"])


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_consumer_and_a_wrong_certificate(
    rabbit: RabbitServer, bad_urls: dict[str, str], wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    log = await first_of_a_consumer(bad_urls[wrong], caplog)
    assert re.search(f":{rabbit.tls_port}/: .*{WRONG[wrong]}", log)


async def first_of_a_consumer(url: str, caplog: pytest.LogCaptureFixture) -> str:
    """The first that it logs of its connection."""
    caplog.set_level("INFO", "consumers")
    runner = Runner(Service("tls"), [url])
    task = asyncio.ensure_future(runner.run())
    try:
        await until(lambda: "consumers" in {record.name for record in caplog.records})
        return next(each.getMessage() for each in caplog.records if each.name == "consumers")
    finally:
        runner.stop()
        await task


@pytest.mark.parametrize("value", ["0", "false", "no"])
async def test_only_a_yes_turns_the_verification_off(
    rabbit: RabbitServer, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"{without_options(rabbit.tls_url)}?no_verify_ssl={value}"
    with contextlib.suppress(SettingsError):
        async with broker_at(url) as broker:
            await until(lambda: "connection" in broker.problems or broker.ready)
            assert not broker.ready
    with contextlib.suppress(SettingsError):
        assert "consuming" not in await first_of_a_consumer(url, caplog)


# What a person sees


async def test_the_log_of_the_adapter(
    rabbit: RabbitServer, misnamed: RedisServer, authority: Authority, tmp_path: Path
) -> None:
    urls = {
        "EVAPI_AMQP_URL": without_options(rabbit.tls_url).replace("guest:guest", "guest:s3cret"),
        "EVAPI_REDIS_URL": f"rediss://:s3cret@localhost:{misnamed.tls_port}/0"
        f"?ssl_ca_certs={authority.certificate}",
    }
    async with SimulatedKamailio() as kamailio:
        bridge = Bridge("refused", tmp_path, {"sbc1": kamailio.port}, env=urls)
        bridge.process.start()
        try:
            for server, why in ((rabbit, UNKNOWN), (misnamed, MISMATCH)):
                line = re.compile(f"localhost:{server.tls_port}\\b[^,]*{why}")
                await until(lambda: line.search(bridge.process.tail()))
            checks = bridge.readiness()["checks"]
            assert (checks["broker"], checks["store"]) == (False, False)
        finally:
            await asyncio.to_thread(bridge.stop, signal.SIGKILL)
        assert "s3cret" not in bridge.process.log.read_text()
