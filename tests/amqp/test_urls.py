"""Lists of servers, and passwords with a comma."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from adapter.admin.rabbit import Rabbit
from adapter.amqp.urls import messaging, split_urls, stray_comma
from adapter.broker.rabbitmq import AmqpBroker
from adapter.errors import SettingsError
from adapter.settings import load
from consumers.__main__ import UsageError, amqp_urls
from tests.broker.support import Recorder, unique
from tests.harness.until import until

if TYPE_CHECKING:
    from tests.harness.rabbitmq import RabbitServer


def test_a_comma_parts_urls_where_a_scheme_follows() -> None:
    assert split_urls(" amqp://a , amqps://b/v,amqp://u:p,w@c:1 ") == [
        "amqp://a",
        "amqps://b/v",
        "amqp://u:p,w@c:1",
    ]
    assert split_urls("amqp://u:p%2Cw@a") == ["amqp://u:p%2Cw@a"]
    assert not any(map(stray_comma, split_urls("amqp://u:p,w@a,amqp://b/v")))


@pytest.mark.parametrize("wrong", ["amqp://u:p@a,b", "amqp://a/,b", "amqp://a,b:5672/v"])
def test_a_comma_among_hosts_is_told_of_and_no_password_shown(wrong: str) -> None:
    with pytest.raises(SettingsError, match="between whole URLs") as told:
        load(bridge=False, amqp_url=wrong)
    assert "u:p" not in str(told.value)
    with pytest.raises(SettingsError, match="between whole URLs"):
        AmqpBroker(wrong)
    with pytest.raises(UsageError, match="between whole URLs"):
        amqp_urls(wrong)


@pytest.mark.parametrize("written", ["pa,ss", "pa%2Css", "pa,amqp:ss"])
async def test_a_password_with_a_comma_opens_the_door(rabbitmq: RabbitServer, written: str) -> None:
    user, secret = unique("user"), written.replace("%2C", ",")
    rabbitmq.add_user(user, secret, ".*", ".*", ".*")
    url = rabbitmq.url.replace("guest:guest", f"{user}:{written}")
    assert load(bridge=False, amqp_url=url).amqp_url is not None
    assert amqp_urls(url) == [url]
    async with Rabbit(f"{url},{url}"):
        pass
    broker = AmqpBroker(url)
    await broker.start(Recorder())
    await until(lambda: broker.ready)
    await broker.close()


@pytest.mark.parametrize(
    ("url", "address", "port"),
    [
        ("amqp://u:p@rabbit/v", "rabbit", 5672),
        ("amqps://rabbit", "rabbit", 5671),
        ("amqp://[::1]:7000/?heartbeat=5", "::1", 7000),
    ],
)
def test_a_span_says_the_server_and_no_secret(url: str, address: str, port: int) -> None:
    assert messaging(url) == {
        "messaging.system": "rabbitmq",
        "server.address": address,
        "server.port": port,
    }
    assert messaging("amqp:...") == {"messaging.system": "rabbitmq"}
