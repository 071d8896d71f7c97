"""What is said of a server's version, and that the tests run against versions that are listed."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from adapter.admin import checks_kamailios, tried
from adapter.admin.checks_finding import Status, version_of
from adapter.inflight.operator import OperatorStore
from tests.admin.findings import NODE, bad, beat, overview
from tests.harness import kamailio

if TYPE_CHECKING:
    from tests.harness.rabbitmq import RabbitServer
    from tests.harness.redis import RedisServer


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("8.0.6", "Redis 8.0.6 (tried)"),
        ("8.0.4", "Redis 8.0.4 (tried with 8.0.2, 8.0.6)"),
        ("9.0.0", "Redis 9.0.0 (not tried; with 7.0.15, 8.0.2, 8.0.6 it was)"),
    ],
)
def test_a_version_and_what_was_tried(version: str, told: str) -> None:
    assert tried.REDIS.describe(version) == told


@pytest.mark.parametrize("server", tried.SERVERS)
def test_what_is_listed_is_in_order_and_supported(server: tried.Server) -> None:
    assert sorted(server.tried, key=version_of) == list(server.tried)
    assert all(map(server.supports, server.tried))
    assert not server.supports("1.0")
    assert not server.supports("")


async def store_told(url: str) -> dict[str, Any]:
    store = OperatorStore(url, "test")
    try:
        return await store.server()
    finally:
        await store.close()


async def test_the_servers_of_these_tests_are_listed(
    redis_server: RedisServer, rabbitmq: RabbitServer
) -> None:
    """By major and minor number: Debian's updates bring later patches."""
    told = await store_told(redis_server.url)
    store = {server.name: server for server in tried.SERVERS}[told["name"]]
    version = re.search(r"[0-9.]+", rabbitmq.eval("rabbit_misc:version()"))
    assert version is not None
    for said in (
        store.describe(told["version"]),
        tried.RABBITMQ.describe(version[0]),
        tried.KAMAILIO.describe(".".join(map(str, kamailio.version()))),
    ):
        assert "not tried" not in said


async def test_the_name_of_the_server_is_its_own(redis_server: RedisServer) -> None:
    shown = await asyncio.to_thread(subprocess.check_output, ["redis-server", "--version"], text=True)
    told = await store_told(redis_server.url)
    assert shown.startswith(told["name"])
    assert f"v={told['version']} " in shown


def test_what_is_listed_is_what_the_matrix_ran_against() -> None:
    """`make matrix` writes COMPATIBILITY.md: what it found there belongs into the list, and nothing else."""
    document = (Path(__file__).parents[2] / "COMPATIBILITY.md").read_text()
    tables = [line.split("|")[1] for line in document.splitlines() if line.startswith("| ")]
    for server in tried.SERVERS:
        ran = {found for cell in tables for found in re.findall(rf"\b{server.name} ([0-9.]+)", cell)}
        assert ran <= set(server.tried), f"add them to adapter/admin/tried.py: {ran}"
        if "not run" not in document and ran:
            assert set(server.tried) <= ran, f"run `make matrix` for {server.name}"


class TestKamailios:
    def check(self, **about: object) -> list[tuple[str, str, str]]:
        told = {name: {NODE: value} for name, value in about.items()}
        return bad(checks_kamailios.check(overview({"a~1": beat(about=told), "b~1": beat(active=False)})))

    def test_one_that_says_nothing(self) -> None:
        assert checks_kamailios.check(overview({"a~1": beat(), "b~1": beat(active=False)})) == []

    def test_one_that_is_well(self) -> None:
        about = {"kamailio": {NODE: "6.1.5"}, "receipts": {NODE: 0.004}}
        (found,) = checks_kamailios.check(overview({"a~1": beat(about=about)}))
        assert (found.status, found.seen, found.of) == (Status.OK, "Kamailio 6.1.5 (tried)", NODE)

    def test_an_old_one(self) -> None:
        assert self.check(kamailio="5.5.4") == [("version", NODE, "error")]

    @pytest.mark.parametrize(
        ("version", "todo"),
        [("5.6.3", "blocking-resume"), ("5.7.0", "workers"), ("", "workers"), (7, "workers")],
    )
    def test_one_whose_answers_wait(self, version: object, todo: str) -> None:
        about = {"kamailio": {NODE: version}, "receipts": {NODE: 0.25}}
        *_, found = checks_kamailios.check(overview({"a~1": beat(about=about)}))
        assert (found.check, found.status) == ("slow-receipts", Status.WARNING)
        assert "250 ms" in found.seen
        assert todo in found.todo

    def test_nonsense_of_another_version(self) -> None:
        assert self.check(kamailio=7, receipts="soon") == []
        assert checks_kamailios.check(overview({"a~1": beat(about={"kamailio": 7})})) == []
