"""The Node.js SDK (consumers/node): its types, its own tests, and the package as it is handed on."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING
from uuid import uuid4

import pika
import pytest

from consumers import Service, allow
from tests.consumers.asker import running
from tests.harness import node
from tests.harness.node import PACKAGE
from tests.harness.process import Process, wait_until
from tests.harness.readme import README, block
from tests.harness.until import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.rabbitmq import RabbitServer

ROOT = PACKAGE.parents[1]


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    node.install()


def test_its_types_hold() -> None:
    node.run(["npm", "run", "--silent", "check"], PACKAGE)


def test_its_own_tests(rabbitmq: RabbitServer) -> None:
    urls = {"EVAPI_TEST_AMQP_URL": rabbitmq.url, "EVAPI_TEST_AMQPS_URL": rabbitmq.tls_url}
    told = node.run(["npm", "test", "--silent"], PACKAGE, {**os.environ, **urls})
    assert "# fail 0" in told or "ℹ fail 0" in told


def unpack(archive: Path, folder: Path) -> None:
    """Put a package where npm would, beside what it depends on: without asking a registry."""
    folder.mkdir()
    subprocess.run(["tar", "-xzf", str(archive), "-C", str(folder)], check=True)
    (folder / "package").rename(folder / "evapi-consumers")
    for name in json.loads((PACKAGE / "package.json").read_text("utf-8"))["dependencies"]:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).symlink_to(PACKAGE / "node_modules" / name)


def test_the_package_has_what_its_users_need(tmp_path: Path) -> None:
    told = json.loads(node.run(["npm", "pack", "--json", "--pack-destination", str(tmp_path)], PACKAGE))
    (packed,) = told.values() if isinstance(told, dict) else told  # by name since npm 12
    names = {each["path"] for each in packed["files"]}
    assert {"LICENSE", "README.md", "package.json", "src/index.js", "types/index.d.ts"} <= names
    assert not [name for name in names if name.startswith(("test/", "node_modules/"))]
    unpack(tmp_path / packed["filename"], tmp_path / "node_modules")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "service.ts").write_text(block("ts", "new Service", PACKAGE / "README.md"))
    decided = block("js", "evapi-consumers/testing", PACKAGE / "README.md")
    service = "import type { Service } from 'evapi-consumers';\ndeclare const service: Service;\n"
    (tmp_path / "tested.ts").write_text(service + decided)
    options = ["--noEmit", "--strict", "--module", "nodenext", "--target", "es2022"]
    types = ["--typeRoots", str(PACKAGE / "node_modules/@types"), "--types", "node"]
    tsc = PACKAGE / "node_modules/.bin/tsc"
    node.run([str(tsc), *options, *types, "service.ts", "tested.ts"], tmp_path)


def test_it_is_told_alike_wherever_it_is_told() -> None:
    told = json.loads((PACKAGE / "package.json").read_text("utf-8"))
    assert told["license"] == "MIT"
    assert (PACKAGE / "LICENSE").read_text("utf-8") == (ROOT / "LICENSE").read_text("utf-8")
    lock = (PACKAGE / "package-lock.json").read_text("utf-8")
    assert '"resolved"' not in lock, "no registry's host"


def service(folder: Path, url: str, name: str) -> Process:
    """A service that decides the event of its own name."""
    node.provide(folder)
    (folder / "service.mjs").write_text(f"""\
        import {{ Service, allow, run }} from 'evapi-consumers';
        await run(new Service('{name}').on('{name}', () => allow({{ by: 'node' }})));
    """)
    (folder / "ask.mjs").write_text("""\
        import { ask } from 'evapi-consumers/testing';
        for (let at = 0; at < 4; at += 1) console.log((await ask(process.argv[2], {})).by);
    """)
    command = [shutil.which("node") or "node", str(folder / "service.mjs")]
    return Process("service", command, folder, {"EVAPI_AMQP_URL": url})


def bound(process: Process) -> bool:
    return "bound to" in process.log.read_text()


def test_it_lets_go_of_a_server_that_is_short_of_memory(tmp_path: Path, rabbitmq: RabbitServer) -> None:
    """Which takes the goodbye, and keeps the socket open."""
    node.provide(tmp_path)
    (tmp_path / "ask.mjs").write_text("""\
        import { ask } from 'evapi-consumers/testing';
        await ask('nobody', {}, { deadline: 200 }).catch((error) => console.log(String(error)));
    """)
    env = {"EVAPI_AMQP_URL": rabbitmq.url}
    asking = Process("ask", [shutil.which("node") or "node", str(tmp_path / "ask.mjs")], tmp_path, env)
    rabbitmq.memory_alarm(True)
    try:
        asking.start()
        wait_until(lambda: not asking.running, "it to end", 20)
    finally:
        rabbitmq.memory_alarm(False)
        asking.stop()
    assert "Undecided: nobody: no reply in 200 ms" in asking.log.read_text()


def test_it_stops_even_if_the_server_hangs(tmp_path: Path, rabbitmq: RabbitServer) -> None:
    process = service(tmp_path, rabbitmq.url, f"hung-{uuid4().hex[:8]}")
    process.start()
    try:
        process.wait_until(lambda: bound(process), "it to be bound")
        rabbitmq.pause()
        assert process.stop(timeout=9) == 0, "3 s for an answer, 2 s for a goodbye, no heartbeat"
    finally:
        rabbitmq.resume()
        process.stop()


def test_the_rights_that_the_readme_gives_are_enough(tmp_path: Path, rabbitmq: RabbitServer) -> None:
    name = f"rights_{uuid4().hex[:8]}"
    line = next(line for line in README.read_text().splitlines() if "set_permissions -p / least-cost" in line)
    rights = re.findall(r"'([^']+)'", line.replace("least_cost", name))
    url = rabbitmq.add_user(name, "secret", *rights)
    with pika.BlockingConnection(pika.URLParameters(rabbitmq.url)) as connection:  # an adapter makes these
        for exchange, kind in (("evapi.events", "topic"), ("evapi.dead", "fanout")):
            connection.channel().exchange_declare(exchange, kind, durable=True)
    process = service(tmp_path, url, name)
    process.start()
    try:
        process.wait_until(lambda: bound(process), "it to be bound")
        told = node.run(["node", "ask.mjs", name], tmp_path, {**os.environ, "EVAPI_AMQP_URL": rabbitmq.url})
    finally:
        assert process.stop() == 0
        rabbitmq.delete_user(name)
    assert told.split() == ["node"] * 4
    assert "WARNING" not in process.log.read_text()


async def test_instances_of_both_sdks_share_a_service(tmp_path: Path, rabbitmq: RabbitServer) -> None:
    """Neither finds the queue declared otherwise; what one has no handler of, the other gets."""
    name = f"both_{uuid4().hex[:8]}"
    python = Service(name)
    python.on(f"{name}_python")(lambda _: allow(by="python"))
    other = service(tmp_path, rabbitmq.url, name)
    async with running(python, rabbitmq.url) as runner:
        await runner._bindings.bound.wait()
        other.start()
        try:
            await until(lambda: bound(other))
            env = {**os.environ, "EVAPI_AMQP_URL": rabbitmq.url}
            for event, by in ((f"{name}_python", "python"), (name, "node")):
                told = await asyncio.to_thread(node.run, ["node", "ask.mjs", event], tmp_path, env)
                assert told.split() == [by] * 4
        finally:
            assert other.stop() == 0
    said = other.log.read_text()
    assert "used as it is" not in said
    assert "stopped: " in said
