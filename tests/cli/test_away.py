"""Every command that asks a server, with Redis, RabbitMQ or both away: a sentence, and the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from typer.main import get_command

from adapter.cli.main import app
from tests.cli.command import in_pipes
from tests.cli.ground import in_thread
from tests.harness.process import free_port

if TYPE_CHECKING:
    from pathlib import Path

DECIDE = ("--decision", '{"action":"allow"}', "--reason", "a test", "--yes")
COMMANDS: dict[str, tuple[str, ...]] = {
    "check": (),
    "top": ("--once",),
    "doctor": (),
    "inflight list": (),
    "inflight show": ("sbc1:1:2:1",),
    "inflight settle": ("sbc1:1:2:1", *DECIDE),
    "trace": ("a@b",),
    "tail": ("--for", "1s"),
    "replicas": (),
    "nodes": (),
    "services": ("--also", "lcr"),
    "services remove": ("lcr", "--yes"),
    "dead-letters list": (),
    "dead-letters show": ("1",),
    "dead-letters replay": (),
    "dead-letters purge": ("--yes",),
    "topology show": (),
    "topology diff": (),
    "topology apply": (),
    "drain": ("adapter-0", "--yes"),
    "pause": ("sbc1", "--yes"),
    "resume": ("sbc1",),
    "send": ("sbc1", "{}"),
    "kamailio hangup": ("sbc1", "a@b"),
    "kamailio limit": ("sbc1", "a@b", "--left", "5"),
    "kamailio cancel": ("sbc1", "a@b"),
    "kamailio transfer": ("sbc1", "a@b", "sip:c@d"),
    "kamailio request": ("sbc1", "OPTIONS", "sip:a@b"),
    "kamailio rpc": ("sbc1", "core.version"),
    "kamailio calls": ("sbc1",),
    "replay": ("--event", "invite", "--service", "lcr"),
    "conformance": ("--service", "lcr"),
}
OFFLINE: dict[str, tuple[str, ...]] = {
    "kamailio-cfg": (),
    "systemd-unit": (),
    "settings show": (),
    "context add": ("test", "redis_url=redis://127.0.0.1"),
    "context list": (),
    "context use": ("--none",),
}
"""These ask no server."""
OTHERS = {
    *("run", "consume", "bench", "call", "new", "context remove"),
    *("policy show", "policy check", "policy explain"),
}
"""These wait for whoever is away, ask SIP servers only, or ask nobody, given what they work on."""
CODES = {"conformance": 2}
"""Exit codes with RabbitMQ away, of those that have another than 1."""
TELLS_ALL = {"check": 2, "top": 1, "doctor": 1}
"""These say of each server what is the matter with it, on stdout; their exit codes with both away."""


def test_no_command_is_forgotten() -> None:
    found: set[str] = set()
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        below = getattr(command, "commands", None)
        found |= {name} if below is None or command.invoke_without_command else set()
        found |= {f"{name} {each}" for each in below or ()}
    assert found == COMMANDS.keys() | OFFLINE.keys() | OTHERS


@pytest.mark.parametrize("name", COMMANDS)
async def test_both_away(name: str) -> None:
    urls = {
        "EVAPI_REDIS_URL": f"redis://:hunter2@127.0.0.1:{free_port()}",
        "EVAPI_AMQP_URL": f"amqp://guest:hunter2@127.0.0.1:{free_port()}",
    }
    done = await in_thread(*name.split(), *COMMANDS[name], **urls)
    assert done.code == TELLS_ALL.get(name, CODES.get(name, 1)), done
    told = done.out if name in TELLS_ALL else done.err
    assert "127.0.0.1" in told
    assert "connection refused" in told.lower()
    assert "hunter2" not in done.out + done.err
    assert "Traceback" not in done.err
    if name not in TELLS_ALL:
        assert (done.out, done.err.count("\n")) == ("", 1)


@pytest.mark.parametrize("name", COMMANDS)
async def test_no_server_is_named(name: str) -> None:
    nobody = {"EVAPI_HTTP": f"127.0.0.1:{free_port()}"}  # an adapter without servers may run on this machine
    done = await in_thread(*name.split(), *COMMANDS[name], **nobody)
    told = done.out + done.err
    assert (done.code == 0) == (name == "doctor"), done  # which says what it left out
    assert "EVAPI_REDIS_URL" in told or "EVAPI_AMQP_URL" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("name", OFFLINE)
async def test_what_asks_no_server_is_done_with_both_away(name: str, tmp_path: Path) -> None:
    urls = {
        "EVAPI_REDIS_URL": f"redis://127.0.0.1:{free_port()}",
        "EVAPI_AMQP_URL": f"amqp://guest:hunter2@127.0.0.1:{free_port()}",
        "XDG_CONFIG_HOME": str(tmp_path),
    }
    done = await in_thread(*name.split(), *OFFLINE[name], **urls)
    assert done.code == 0, done
    assert "refused" not in done.err
    assert "hunter2" not in done.out + done.err


def test_consume_names_the_variable_if_no_server_is() -> None:
    """In a process of its own: it sets up the logs of the whole process."""
    done = in_pipes("consume", "consumers.least_cost:service")
    assert (done.code, done.out) == (2, "")
    assert "EVAPI_AMQP_URL" in done.err
    assert "Traceback" not in done.err
