"""``python -m tests.commands.hangups``: hang up running calls, also while the active replica is killed.

SIPp has made the calls, through a real Kamailio and two adapter processes on RabbitMQ and Redis; a service
finds them by ``calls`` and asks for each to be hung up.
"""

from __future__ import annotations

import asyncio
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from tests.commands.ground import asker, running
from tests.harness.bridge import Bridge
from tests.harness.kamailio import KamailioServer
from tests.harness.rabbitmq import RabbitServer
from tests.harness.redis import RedisServer
from tests.harness.sip import Gateway
from tests.harness.sipp import SippCaller

if TYPE_CHECKING:
    from consumers import Service
    from consumers.kamailio import CommandReply

RATE = 50.0
"""Calls begun, and hung up, each second."""
NODE = "sbc1"


@dataclass(frozen=True, slots=True)
class Figures:
    """What became of it.

    ``outcomes``: of the commands, by word. ``ended``: calls that got a BYE at their gateway. ``twice``: those
    of them that got another one. ``successful``: calls that SIPp saw end by one BYE. ``left``: dialogs that
    Kamailio still has. ``median`` and ``slowest``: seconds from the question to its reply.
    """

    outcomes: dict[str, int]
    ended: int
    twice: int
    successful: int
    left: int
    median: float
    slowest: float

    def right(self, calls: int) -> bool:
        """Whether all were ended, each by one BYE."""
        done = self.outcomes == {"done": calls}
        return done and (self.ended, self.twice, self.successful, self.left) == (calls, 0, calls, 0)


async def hang_up(
    folder: Path, rabbit_url: str, redis_url: str, calls: int, *, kill: bool, rate: float = RATE
) -> Figures:
    """Make the calls, hang all of them up, and count."""
    async with await Gateway.open() as gateway:
        with ExitStack() as stack:
            defines = {"ADAPTER_COMMANDS": None}
            kamailio = stack.enter_context(
                KamailioServer(folder, defines=defines, gateway_port=gateway.port, workers=2)
            )
            node = f"{NODE}-{uuid4().hex[:6]}"
            options = {"amqp-url": rabbit_url, "redis-url": redis_url}
            env, nodes = {"EVAPI_REDIS_PREFIX": node}, {node: kamailio.evapi_port}
            replicas = [Bridge(f"r{each}", folder, nodes, options, env) for each in (1, 2)]
            for replica in replicas:
                replica.process.start()
                stack.callback(replica.process.kill)
            for replica in replicas:
                await asyncio.to_thread(replica.wait_until_ready)
            async with running(asker(), rabbit_url) as service:
                port, waits = kamailio.sip_port, "uac_waits.xml"
                sipp = SippCaller(
                    folder, port, calls=calls, rate=rate, scenario=waits, timeout=400, patience=300
                )
                with sipp:
                    return await _play(service, node, replicas, gateway, sipp, calls, kill, rate)


async def _play(
    service: Service,
    node: str,
    replicas: list[Bridge],
    gateway: Gateway,
    sipp: SippCaller,
    calls: int,
    kill: bool,
    rate: float,
) -> Figures:
    async with asyncio.timeout(180):
        while len(up := await running_calls(service, node)) < calls:
            await asyncio.sleep(0.1)
    asking, took = [], list[float]()

    async def ask(call_id: str) -> CommandReply:
        began = time.monotonic()
        reply = await service.ask_kamailio(node, "hangup", call_id=call_id, within=20.0)
        took.append(time.monotonic() - began)
        return reply

    for number, call_id in enumerate(up):
        asking.append(asyncio.create_task(ask(call_id)))
        if kill and number == calls // 2:
            active = max(replicas, key=lambda each: each.metric("evapi_active"))
            active.process.signal(signal.SIGKILL)
        await asyncio.sleep(1 / rate)
    outcomes = Counter(str(reply.outcome) for reply in await asyncio.gather(*asking))
    left = len(await running_calls(service, node))
    result = await asyncio.to_thread(sipp.wait)
    byes: dict[str, set[str]] = {}
    for bye in gateway.of("BYE"):
        byes.setdefault(bye.get("call-id"), set()).add(bye.get("via"))  # a retransmission has the same
    twice = sum(len(each) > 1 for each in byes.values())
    median, slowest = statistics.median(took), max(took)
    return Figures(dict(outcomes), len(byes), twice, result.successful, left, median, slowest)


async def running_calls(service: Service, node: str) -> list[str]:
    """The Call-IDs of all answered calls, page by page. One may stand on two while others come."""
    found, page = dict[str, None](), 0
    while True:
        reply = await service.ask_kamailio(node, "calls", page=page)
        if not reply.done:
            return list(found)
        found.update((each["call_id"], None) for each in reply.result["calls"] if each["state"] == "answered")
        page = reply.result.get("next", 0)
        if not page:
            return list(found)


async def main(folder: Path, calls: int) -> bool:
    """Both runs, on servers of their own. Gives whether each call was ended, by one BYE."""
    for each in ("rabbitmq", "redis", "quiet", "killed"):
        (folder / each).mkdir()
    with RabbitServer(folder / "rabbitmq") as rabbit, RedisServer(folder / "redis") as redis:
        for kill, run in ((False, "quiet"), (True, "killed")):
            found = await hang_up(folder / run, rabbit.url, redis.url, calls, kill=kill)
            killed = ", the active replica killed half-way" if kill else ""
            print(f"{calls} calls at {RATE:.0f}/s{killed}: {found}")
            if not found.right(calls):
                return False
    return True


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        sys.exit(0 if asyncio.run(main(Path(name), 200)) else 1)
