"""What a service opens is there from before its first request until after its last."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from adapter.broker.embedded import EmbeddedBroker
from adapter.contract import Request, encode_request, service_queue
from adapter.errors import AdapterError
from adapter.ports.broker import Publication
from consumers import Service, SignatureError, allow
from consumers.amqp import Runner
from consumers.testing import opened
from tests.broker.stubs import Receiver
from tests.consumers.asker import numbers, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.consumers.asker import Asker
    from tests.harness.rabbitmq import RabbitServer


class Pool:
    steps: list[str]

    def __init__(self) -> None:
        self.steps = []


class Opening:
    """A service whose pool notes what happens to it."""

    def __init__(self, name: str, event: str) -> None:
        self.service = Service(name)
        self.pool = Pool()
        self.entered = asyncio.Event()
        self.go_on = asyncio.Event()
        self.service.lifespan(self.lifespan)
        self.service.on(event)(self.decide)

    async def lifespan(self) -> AsyncIterator[Pool]:
        self.pool.steps.append("opened")
        yield self.pool
        self.pool.steps.append("closed")

    async def decide(self, pool: Pool) -> dict[str, Any]:
        pool.steps.append("asked")
        self.entered.set()
        await self.go_on.wait()
        pool.steps.append("decided")
        return allow()


ALL = ["opened", "asked", "decided", "closed"]


async def test_on_rabbitmq_it_is_closed_after_the_handlers(asker: Asker, rabbitmq: RabbitServer) -> None:
    number = next(numbers)
    made = Opening(f"s{number}", f"e{number}")
    async with running(made.service, rabbitmq.url) as runner:
        id_ = await asker.ask(f"e{number}")
        await made.entered.wait()
        runner.stop()
        made.go_on.set()
    assert await asker.reply(id_) == allow()
    assert made.pool.steps == ALL
    await asker.channel.queue_delete(service_queue(made.service.name))


async def test_on_rabbitmq_a_value_of_ones_own(asker: Asker, rabbitmq: RabbitServer) -> None:
    number = next(numbers)
    made, mine = Opening(f"s{number}", f"e{number}"), Pool()
    made.go_on.set()
    async with opened(made.service, {Pool: mine}), running(made.service, rabbitmq.url):
        await asker.reply(await asker.ask(f"e{number}"))
    assert (mine.steps, made.pool.steps) == (["asked", "decided"], [])
    await asker.channel.queue_delete(service_queue(made.service.name))


async def test_in_the_adapter_it_is_closed_after_the_handlers() -> None:
    made, receiver = Opening("s", "e"), Receiver()
    made.go_on.set()
    broker = EmbeddedBroker([made.service])
    await broker.start(receiver)
    broker.attach("n")
    deadline = time.time() + 10
    body = encode_request(Request("e", "n", {}, 1, 1, 1, deadline))
    await broker.publish([Publication("e", "n", body, "n:1:1:1", deadline)])
    await broker.close()
    assert receiver.ids == ["n:1:1:1"]
    assert made.pool.steps == ALL


async def test_in_the_adapter_one_that_fails_closes_the_others() -> None:
    made, failing = Opening("s", "e"), Service("f")

    @failing.lifespan
    async def broken() -> AsyncIterator[Pool]:
        raise OSError("no database")
        yield

    failing.on("e")(lambda: allow())
    with pytest.raises(AdapterError, match="lifespan broken cannot be opened: OSError: no database"):
        await EmbeddedBroker([made.service, failing]).start(Receiver())
    assert made.pool.steps == ["opened", "closed"]


async def test_what_nothing_can_fill_does_not_begin(rabbitmq: RabbitServer) -> None:
    made = Service("unfilled")
    made.on("e")(_wants_a_pool)
    with pytest.raises(SignatureError, match="nothing gives its parameter 'pool'"):
        await Runner(made, [rabbitmq.url]).run()


def _wants_a_pool(pool: Pool) -> dict[str, Any]:
    return allow()


def test_the_command_ends_with_1_over_a_lifespan_and_with_2_over_a_parameter(tmp_path: Path) -> None:
    (tmp_path / "svc.py").write_text(
        "from collections.abc import AsyncIterator\n"
        "from consumers import Service, allow\n"
        "class Pool: ...\n"
        "failing, unfilled = Service('failing'), Service('unfilled')\n"
        "@failing.lifespan\n"
        "async def pool() -> AsyncIterator[Pool]:\n"
        "    raise OSError('no database')\n"
        "    yield\n"
        "failing.on('e')(lambda request: allow())\n"
        "@unfilled.on('e')\n"
        "def decide(pool: Pool): return allow()\n"
    )
    for name, code, told in (
        ("failing", 1, "lifespan pool cannot be opened: OSError: no database"),
        (
            "unfilled",
            2,
            "svc:unfilled cannot begin: decide of 'e': nothing gives its parameter 'pool' (Pool)",
        ),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "consumers", f"svc:{name}", "--amqp-url", "amqp://127.0.0.1:1/"],
            cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
        assert (done.returncode, told in done.stderr, "Traceback" in done.stderr) == (code, True, False)


async def test_two_that_run_one_service_share_what_it_opens() -> None:
    made = Opening("shared", "shared")
    for _ in range(2):
        await made.service.open()
    await made.service.close()
    assert made.pool.steps == ["opened"]
    await made.service.close()
    assert made.pool.steps == ["opened", "closed"]
