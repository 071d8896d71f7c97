"""What EVAPI_MQTT needs of RabbitMQ, as ``doctor`` sees it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, cast

import pytest

from adapter.admin import checks_rabbit
from adapter.admin.checks_finding import Status
from adapter.admin.checks_rights import ADAPTER, BY_MQTT

if TYPE_CHECKING:
    from adapter.admin.management import Management
    from tests.harness.rabbitmq import RabbitServer


class Told:
    """A management API that tells these things of its server."""

    def __init__(self, version: str, *protocols: str) -> None:
        self._overview = {
            "rabbitmq_version": version,
            "listeners": [{"protocol": each, "port": 1} for each in protocols],
        }

    async def overview(self) -> Any:
        return self._overview


@pytest.mark.parametrize(
    ("version", "protocols", "status", "words"),
    [
        ("3.10.8", ("amqp", "mqtt"), Status.ERROR, "RabbitMQ 3.10.8 does not speak MQTT 5"),
        ("3.13.0", ("amqp", "mqtt"), Status.OK, "it speaks MQTT 5"),
        ("4.3.6", ("amqp", "mqtt/ssl"), Status.OK, "it speaks MQTT 5"),
        ("4.0.5", ("amqp", "http/web-mqtt"), Status.OK, "it speaks MQTT 5"),
        ("4.0.5", ("amqp", "http"), Status.ERROR, "no MQTT port is open"),
    ],
)
async def test_who_speaks_it(version: str, protocols: tuple[str, ...], status: Status, words: str) -> None:
    (found,) = await checks_rabbit.mqtt(cast("Management", Told(version, *protocols)))
    assert (found.status, found.check) == (status, "mqtt")
    assert words in found.seen


async def test_the_rights_for_it(managed_rabbitmq: RabbitServer, vhost: str) -> None:
    user, name = f"mqtt-{secrets.token_hex(4)}", vhost.rpartition("/")[2]
    managed_rabbitmq.call("PUT", f"users/{user}", {"password": "p", "tags": ""})
    url = vhost.replace("guest:guest@", f"{user}:p@")

    def permit(rights: tuple[str, str, str]) -> None:
        given = dict(zip(("configure", "write", "read"), rights, strict=True))
        managed_rabbitmq.call("PUT", f"permissions/{name}/{user}", given)

    try:
        permit(ADAPTER)
        (fine,) = await checks_rabbit.rights(url, ["sbc1"])
        assert fine.status is Status.OK
        (found,) = await checks_rabbit.rights(url, ["sbc1"], mqtt=True)
        assert found.seen == f"{user} may not read amq.topic"
        assert found.todo.endswith(f"'{BY_MQTT[2]}'")
        permit(BY_MQTT)
        (fine,) = await checks_rabbit.rights(url, ["sbc1"], mqtt=True)
        assert fine.status is Status.OK
    finally:
        managed_rabbitmq.call("DELETE", f"users/{user}")
