"""``evapi-adapter doctor`` as an operator meets it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from adapter import kamailio
from adapter.admin.checks_finding import Finding, Group, Status
from adapter.cli.doctor import lines
from adapter.kamailio.lint import RULES
from tests.cli.command import evapi_adapter, in_pipes, on_terminal
from tests.cli.ground import Ground, in_thread, on_ground
from tests.harness.process import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.harness.rabbitmq import RabbitServer
    from tests.harness.redis import RedisServer

pytestmark = pytest.mark.usefixtures("patient_doctor")

KEYS = ["group", "check", "of", "status", "seen", "why", "todo", "file", "line"]
REDIS = Group("redis")
FAULT = """\
#!KAMAILIO
# evapi-adapter: accept no-question, no-receipts
loadmodule "tm.so"
request_route {
    sl_send_reply("404", "Nobody");
}
"""


@pytest.fixture
async def ground(
    redis_server: RedisServer, managed_rabbitmq: RabbitServer, vhost: str
) -> AsyncIterator[Ground]:
    async with on_ground(redis_server.url, vhost, managed_rabbitmq.api) as found:
        found.service()
        for name in ("r1", "r2"):
            bridge = await found.replica(name)
            await bridge.replicas.beat()
        # An adapter is ready before all of its bindings are there: commands may come a moment later.
        while (await found.run("topology", "diff", "--also", "lcr")).code:
            pass
        yield found


def away() -> dict[str, str]:
    """Nothing is where these say."""
    return {
        "EVAPI_REDIS_URL": f"redis://:hidden@127.0.0.1:{free_port()}/0",
        "EVAPI_AMQP_URL": f"amqp://user:hidden@127.0.0.1:{free_port()}/",
    }


class TestHealthy:
    async def test_a_row_for_each_check(self, ground: Ground) -> None:
        done = await ground.run("doctor", "-o", "json")
        assert done.code == 0
        assert {tuple(row) for row in done.rows} == {tuple(KEYS)}
        assert {row["status"] for row in done.rows} <= {"ok", "unknown"}
        assert {row["group"] for row in done.rows} == {
            *("settings", "redis", "rabbitmq", "replicas", "nodes", "services")
        }
        assert done.err.startswith("0 errors, 0 warnings, ")
        lined = await ground.run("doctor", "-o", "jsonl")
        assert [list(json.loads(line)) for line in lined.out.splitlines()] == [KEYS] * len(done.rows)

    async def test_in_a_pipe_each_check_has_one_line(self, ground: Ground) -> None:
        done = await asyncio.to_thread(in_pipes, "doctor", **ground.env)
        assert done.code == 0
        assert "\x1b" not in done.out
        assert done.out.startswith("Settings\n  ok       settings  5 settings given (5 by environment)")
        titles = [line for line in done.out.splitlines() if line and not line.startswith(" ")]
        assert titles == ["Settings", "Redis", "RabbitMQ", "Replicas", "Nodes", "Services"]
        (node,) = (line for line in done.out.splitlines() if line.startswith("  ok       node "))
        assert node.endswith("is active, 0 calls in flight; 2 links with receipts")

    async def test_with_the_shipped_configurations(self, ground: Ground) -> None:
        for name, words in (
            ("kamailio.cfg", []),
            ("kamailio.cfg", ["-A", "WITH_SCREENING"]),
            ("plain.cfg", []),
        ):
            done = await ground.run("doctor", "--kamailio-cfg", str(kamailio.path(name)), *words, "--strict")
            assert done.code == 0, done.out
            assert "with 2 replicas and a longest deadline of 2 s" in done.out


class TestFaults:
    async def test_a_warning_is_an_error_with_strict(self, ground: Ground) -> None:
        words = ("doctor", "-o", "json")
        slip = {"EVAPI_REDIS_ULR": "redis://x"}
        assert (await ground.run(*words, **slip)).code == 0
        done = await ground.run(*words, "--strict", **slip)
        assert done.code == 1
        assert done.err.startswith("0 errors, 1 warning, ")
        (row,) = (row for row in done.rows if row["status"] == "warning")
        assert (row["group"], row["check"], row["of"]) == ("settings", "variables", "EVAPI_REDIS_ULR")

    async def test_a_kamailio_configuration(self, ground: Ground, tmp_path: Path) -> None:
        file = tmp_path / "kamailio.cfg"
        file.write_text(FAULT)
        done = await ground.run(
            "doctor", "--kamailio-cfg", str(file), "--kamailio-version", "5.8.1", "-o", "json"
        )
        assert done.code == 1
        wrong = [row for row in done.rows if row["status"] != "ok" and row["check"] != "clock"]
        assert {row["group"] for row in wrong} == {"kamailio"}
        assert "evapi-not-loaded" in {row["check"] for row in wrong}
        assert all(row["file"] == str(file) and row["why"] for row in wrong)

    async def test_the_policy_decides_how_long_kamailio_must_wait(self, tmp_path: Path) -> None:
        policy, words = (
            tmp_path / "policy.toml",
            ("doctor", "--kamailio-cfg", str(kamailio.path("kamailio.cfg"))),
        )
        for text, found in (
            ("deadline = 2", False),
            ("deadline = 20", True),
            ("deadline = 2\nmax_deadline = 3", False),
            ("deadline = 2\nmax_deadline = 20", True),
        ):
            policy.write_text(f"[default]\n{text}\n")
            done = await in_thread(*words, "-o", "json", EVAPI_POLICY=str(policy))
            assert any(row["check"] == "short-timer" for row in done.rows) is found

    @pytest.mark.parametrize("form", ["table", "json"])
    def test_both_away(self, form: str) -> None:
        done = evapi_adapter("doctor", "-o", form, **away())
        assert done.code == 1
        assert done.err.startswith("2 errors, 0 warnings, ")
        assert "hidden" not in done.out + done.err
        assert "Traceback" not in done.err
        if form == "table":
            assert done.out.count("connection refused") == 3, "the adapter at EVAPI_HTTP is asked, too"
            assert (
                "  unknown  left out   version, memory-policy, memory, clock, rights: Redis does not answer"
                in (done.out)
            )

    def test_a_wrong_setting(self) -> None:
        done = evapi_adapter(
            "doctor", "-o", "json", "--redis-url", "redis://127.0.0.1:1/", EVAPI_LEASE="soon"
        )
        assert done.code == 1
        wrong = [(row["check"], row["of"]) for row in done.rows if row["status"] == "error"]
        assert wrong == [("settings", "EVAPI_LEASE"), ("reachable", "")]

    def test_another_service_that_must_be_there(self, managed_rabbitmq: RabbitServer, vhost: str) -> None:
        variables = {"EVAPI_AMQP_URL": vhost, "EVAPI_AMQP_API": managed_rabbitmq.api}
        done = evapi_adapter("doctor", "--also", "lcr", "-o", "json", **variables)
        assert done.code == 1
        (row,) = (row for row in done.rows if row["check"] == "service")
        assert (row["of"], row["todo"]) == ("lcr", "python -m consumers MODULE:lcr")


class TestTerminal:
    def test_it_fits_80_columns(self) -> None:
        code, shown, _ = on_terminal("doctor", **away())
        assert code == 1
        assert max(map(len, shown.splitlines())) <= 80
        first = "  error    reachable  Redis at redis://:***@127.0.0.1:"
        at = next(at for at, line in enumerate(shown.splitlines()) if line.startswith(first))
        assert shown.splitlines()[at + 1].startswith(" " * 22 + "refused: nothing listens")

    def test_a_picture(self, tmp_path: Path) -> None:
        picture = tmp_path / "doctor.svg"
        done = evapi_adapter("doctor", "--svg", str(picture), **away())
        assert done.code == 1
        assert done.out
        text = "".join(ElementTree.parse(picture).getroot().itertext()).replace("\xa0", " ")
        assert "reachable" in text
        assert "2 errors, 0 warnings" in text
        done = evapi_adapter("doctor", "--svg", str(tmp_path / "no" / "folder.svg"), **away())
        assert done.code == 1
        assert "cannot be written: No such file or directory" in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-A", "WITH_X"), "need --kamailio-cfg"),
        (("--kamailio-cfg", "x", "-A", "=1"), "is no NAME or NAME=VALUE"),
        (("--kamailio-cfg", "x", "--kamailio-version", "new"), "is no version of Kamailio"),
        (("--set", "redis_url=x"), "give redis_url by its own flag"),
        (("--set", "lease"), "takes NAME=VALUE"),
        (("-o", "xml"), "xml"),
    ],
)
def test_wrong_usage(words: tuple[str, ...], said: str) -> None:
    done = evapi_adapter("doctor", *words)
    assert done.code == 2
    assert done.out == ""
    assert said in " ".join(done.err.split())


def test_help() -> None:
    done = evapi_adapter("doctor", "--help")
    assert done.code == 0
    assert max(map(len, done.out.splitlines())) <= 80
    assert "Exit codes: 0 nothing wrong" in " ".join(done.out.split())


def test_rules() -> None:
    done = evapi_adapter("doctor", "--rules", "-o", "json")
    assert done.code == 0
    assert {row["rule"] for row in json.loads(done.out)["rows"]} == set(RULES)
    assert "goes-on" in evapi_adapter("doctor", "--rules").out


class TestLines:
    def test_what_came_from_a_peer_is_escaped(self) -> None:
        found = REDIS.error("reachable", "x\x1b[2J", "y\x07", "first\n\tsecond\x1b", of="z\r")
        shown = "\n".join(line.plain for line in lines([found], 80))
        assert not {"\x1b", "\x07", "\r", "\t"} & set(shown)
        assert "> first\n" in shown
        assert ">     second\\x1b" in shown

    def test_advice_that_is_the_same_is_given_once(self) -> None:
        found = [REDIS.error("topology", f"queue {name} is missing", "why", "apply") for name in "abc"]
        shown = [line.plain for line in lines(found, 80)]
        assert [line.strip() for line in shown[4:]] == ["why", "> apply"]
        assert len(shown) == 6

    def test_a_command_stays_whole_and_what_is_said_of_it_does_not(self) -> None:
        command = "rabbitmqctl " + "x" * 70
        found = [REDIS.error("a", "seen", "why", f"{command}    # and then {'again ' * 20}")]
        shown = [line.plain for line in lines(found, 80)]
        assert f"           > {command}" in shown
        assert [line for line in shown if line.strip().startswith("# and then")]
        assert all(len(line) <= 80 for line in shown if command not in line)
        assert any("    # and then again" in line.plain for line in lines(found, None))

    def test_a_long_name_has_a_line_of_its_own(self) -> None:
        found = [Finding("nodes", "node", Status.OK, "fine", of="a" * 60)]
        shown = [line.plain for line in lines(found, 80)]
        assert shown[1].endswith("a" * 60 + "  ")
        assert shown[2].strip() == "fine"
