"""Completion of names in the shell: what the servers know, at once, and in silence."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from adapter import kamailio
from adapter.cli import complete
from adapter.cli.table import COMMANDS
from tests.cli.command import environment, evapi_adapter
from tests.cli.operating import Calls
from tests.harness.process import free_port

if TYPE_CHECKING:
    from tests.harness.redis import RedisServer

COMMAND = str(Path(sys.executable).with_name("evapi-adapter"))


def completed(words: str, **variables: str) -> list[str]:
    """What bash would offer: the last word is the one that is begun."""
    asked = f"evapi-adapter {words}"
    typed = {"_EVAPI_ADAPTER_COMPLETE": "complete_bash", "COMP_WORDS": asked}
    done = evapi_adapter(**typed, COMP_CWORD=str(asked.count(" ")), **variables)
    assert done.err == ""
    return done.out.split()


def test_names_that_are_known_without_a_server() -> None:
    assert completed("kamailio-cfg ") == kamailio.names()
    assert completed("tail --outcome !ti") == ["!timeout"]
    assert "timeout" in completed("tail --outcome ")
    assert completed("tail --set retent") == ["retention="]
    assert completed("systemd-unit evapi-a") == ["evapi-adapter.service"]


def test_names_that_redis_knows(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(complete, "LONGEST", 20)  # what is asked for, not how fast this machine is
    calls = Calls(redis_server.url)
    calls.decided(calls.call(1, event="asked_request"), service="lcr")
    assert completed("drain ", **calls.variables) == ["r1"]
    assert completed("tail --event as", **calls.variables) == ["asked_request"]
    assert completed("tail --service ", **calls.variables) == ["lcr"]
    url = calls.variables.pop("EVAPI_REDIS_URL")
    assert completed(f"inflight list --redis-url {url} --event ", **calls.variables) == ["asked_request"]


def test_names_of_the_policy(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("[events.policed]\n[services.fraud]\n")
    assert completed("policy explain ", EVAPI_POLICY=str(path)) == ["policed"]
    assert completed("top --also ", EVAPI_POLICY=str(path)) == ["fraud"]


@pytest.mark.parametrize("url", ["redis://127.0.0.1:{}", "nonsense"])
def test_a_server_that_is_away_is_silence(url: str) -> None:
    assert completed("drain ", EVAPI_REDIS_URL=url.format(free_port())) == []


def test_a_server_that_hangs_is_not_waited_for() -> None:
    completed("drain ", EVAPI_REDIS_URL=f"redis://127.0.0.1:{free_port()}")  # what is imported is by now
    with socket.create_server(("127.0.0.1", 0)) as hung:
        begun = time.monotonic()
        assert completed("drain ", EVAPI_REDIS_URL=f"redis://127.0.0.1:{hung.getsockname()[1]}") == []
        assert time.monotonic() - begun < complete.LONGEST + 1


def test_the_shell_gets_it() -> None:
    typed = {"_EVAPI_ADAPTER_COMPLETE": "complete_bash", "COMP_WORDS": "evapi-adapter do", "COMP_CWORD": "1"}
    done = subprocess.run(
        [COMMAND], env=environment(typed), capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.stdout.split(), done.stderr) == (["doctor"], "")


SERVERS = {"aio_pika", "aiormq", "aiohttp"}
HEAVY = {*SERVERS, "rich", "prometheus_client", "uvloop", "structlog", "opentelemetry"}
TO_ASK = {"redis", "pydantic_settings"}
MODULES = {f"adapter.cli.{place.module}" for place in COMMANDS.values()}


@pytest.mark.parametrize(
    ("words", "modules", "unwanted"),
    [
        ("dr", set(), HEAVY | TO_ASK),
        ("tail --outcome ", {"tail"}, HEAVY | TO_ASK),
        ("kamailio-cfg ", {"kamailio_cfg"}, HEAVY | TO_ASK),
        ("drain ", {"control"}, HEAVY),
        ("inflight list --node ", {"inflight"}, HEAVY),
    ],
)
def test_what_is_imported_while_somebody_waits(words: str, modules: set[str], unwanted: set[str]) -> None:
    """Python and Typer (with pydantic) are needed, the command's own module, and Redis' client to ask it."""
    asked = f"evapi-adapter {words}"
    variables = {
        "_EVAPI_ADAPTER_COMPLETE": "complete_bash",
        "COMP_WORDS": asked,
        "COMP_CWORD": str(asked.count(" ")),
        "EVAPI_REDIS_URL": "redis://127.0.0.1:1",
    }
    code = (
        "import sys\n"
        "from adapter.cli.main import execute\n"
        "try: execute()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print(*sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    imported = set(done.stdout.splitlines()[-1].split())
    assert "typer" in imported
    assert imported & MODULES == {f"adapter.cli.{module}" for module in modules}
    assert {name.partition(".")[0] for name in imported} & unwanted == set()
