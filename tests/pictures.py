"""The pictures of README.md: ``evapi-adapter top`` and ``doctor`` on a bad night.

One service has died, another's handler raises for some callers, one of two adapters was killed, and nobody
decides one event. ``make pictures`` draws them anew, by rich, into ``.readme/``. The servers, adapters and
consumers are real; the Kamailios are simulated, since nobody sees the difference.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from adapter.simulator import SimulatedKamailio
from tests.harness.bridge import Bridge, Consumer
from tests.harness.rabbitmq import RabbitServer
from tests.harness.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import Mapping

PICTURES: Final = Path(__file__).parent.parent / ".readme"
CONFIGURATIONS: Final = Path(__file__).parent.parent / "adapter" / "kamailio"
FAULT: Final = '"127.0.0.1:8448"', '"0.0.0.0:8448"'
"""What is planted in the configuration, so that there is a finding to see."""
RATE: Final = 40.0
"""Calls/s of each node."""
SECONDS: Final = 14.0
NIGHT: Final = 6.0
"""Seconds of health before the night begins."""
LEAST_COST: Final = """\
from consumers import Service, route

service = Service("least_cost")


@service.on("invite_request")
async def decide(request):
    gateways = {"440": "gw1", "441": "gw2", "442": "gw3"}
    return route(f"sip:{request.data['user']}@{gateways[request.data['user'][:3]]}.example.net")
"""
"""A service that nobody has told of new numbers."""
POLICY: Final = """\
[events.invite_request]
services = ["least_cost"]

[events.screening_request]
services = ["screening"]
"""


async def main() -> None:
    """Draw them all."""
    PICTURES.mkdir(exist_ok=True)
    with ExitStack() as servers, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rabbit = RabbitServer(folder, management=True)
        servers.callback(rabbit.close)
        redis = RedisServer(folder)
        rabbit.start()
        redis.start()
        servers.callback(redis.stop)
        (folder / "policy.toml").write_text(POLICY)
        for each in CONFIGURATIONS.glob("*.cfg"):
            (folder / each.name).write_text(each.read_text().replace(*FAULT))
        async with AsyncExitStack() as stack:
            sims = {f"sbc{n}": await stack.enter_async_context(SimulatedKamailio()) for n in (1, 2)}
            ports = {node: sim.port for node, sim in sims.items()}
            env = {
                "EVAPI_AMQP_URL": rabbit.url,
                "EVAPI_AMQP_API": rabbit.api,
                "EVAPI_REDIS_URL": redis.url,
            }
            (folder / "night_service.py").write_text(LEAST_COST)
            services = {"least_cost": "night_service:service", "screening": "consumers.screening:service"}
            found: dict[str, Consumer | Bridge] = {}
            for service, module in services.items():
                path = {"PYTHONPATH": f"{folder}:{PICTURES.parent}"}
                found[service] = consumer = Consumer(service, folder, [module], rabbit.url, path)
                consumer.start()
                stack.callback(consumer.stop)
            for replica in ("adapter-0", "adapter-1"):
                found[replica] = bridge = Bridge(
                    replica, folder, ports, {"policy": str(folder / "policy.toml")}, env
                )
                await asyncio.to_thread(bridge.start)
                stack.callback(bridge.stop)
            offered = [calls(sim) for sim in sims.values()]
            await asyncio.gather(*offered, night(found), drawn("top", env, folder, SECONDS - 2))
            await drawn("doctor", env, folder, 0.0)


async def night(found: Mapping[str, Consumer | Bridge]) -> None:
    """It begins: a service and a replica die."""
    await asyncio.sleep(NIGHT)
    for name in ("screening", "adapter-1"):
        await asyncio.to_thread(found[name].stop, signal.SIGKILL)


async def calls(sim: SimulatedKamailio) -> None:
    """Offer calls, one of eight after a screening; to every tenth number no gateway is known."""
    end = asyncio.get_running_loop().time() + SECONDS
    while asyncio.get_running_loop().time() < end:
        number = f"44{random.choice('0012') if random.random() > 0.1 else 7}{random.randint(10**7, 10**8)}"
        event = "screening_request" if random.random() < 0.125 else "invite_request"
        event = "emergency_request" if random.random() < 0.01 else event
        await sim.suspend(event, {"call_id": f"{number}@sbc", "user": number, "ruri": f"sip:{number}@sbc"})
        await asyncio.sleep(random.expovariate(RATE))


async def drawn(command: str, env: dict[str, str], folder: Path, after: float) -> None:
    """Draw what a command shows."""
    await asyncio.sleep(after)
    path = PICTURES / f"{command}.svg"
    more = ["--kamailio-cfg", "kamailio.cfg"] if command == "doctor" else ["--once"]
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "adapter.cli", command, *more, "--svg", str(path)],
        cwd=folder,
        env={**os.environ, **env, "EVAPI_POLICY": "policy.toml"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    sys.stdout.write(ended.stdout)
    sys.stderr.write(ended.stderr)
    sys.stdout.write(f"{path.name}: exit code {ended.returncode}\n")


if __name__ == "__main__":
    asyncio.run(main())
