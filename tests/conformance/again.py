"""``make conformance``: the kit plays at every consumer that is right, many times, without a false alarm."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from adapter.admin.checks_finding import Status
from adapter.admin.conformance.questions import Call
from adapter.admin.conformance.relay import Relay
from adapter.admin.conformance.run import conform
from adapter.admin.rabbit import Rabbit
from tests.conformance.faulty import EVENT
from tests.conformance.right import CONSUMERS
from tests.harness.rabbitmq import RabbitServer
from tests.harness.until import WITHIN


@dataclass
class Rounds:
    """What came of the rounds of one consumer: seconds of each, and what was told of it."""

    took: list[float] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{len(self.took)} runs of {min(self.took):.1f} to {max(self.took):.1f} s, "
            f"{len(self.alarms)} false alarms"
        )


async def play(url: str, consumer: str, name: str, through: bool, rounds: Rounds) -> None:
    """Play at one consumer, once."""
    async with AsyncExitStack() as stack:
        rabbit = await stack.enter_async_context(Rabbit(url))
        relay = await stack.enter_async_context(Relay(rabbit.server, "127.0.0.1", 0)) if through else None
        await stack.enter_async_context(CONSUMERS[consumer](relay.url if relay else url, name))
        began = time.monotonic()
        data = {"user": "441632960000", "ruri": "sip:1@gw"}
        found = await conform(rabbit, name, Call(EVENT, "", data), relay=relay, wait=WITHIN)
        rounds.took.append(time.monotonic() - began)
        for check, verdict in found:
            if verdict.status in (Status.ERROR, Status.WARNING):
                rounds.alarms.append(f"{check.name}: {verdict.seen}")


async def main(url: str, times: int) -> bool:
    """Play at each of them; whether none was wrongly told of a fault."""
    good = True
    for consumer in CONSUMERS:
        for through in (False, True):
            rounds = Rounds()
            for number in range(times):
                await play(url, consumer, f"again-{consumer}-{through:d}-{number}", through, rounds)
            print(f"{consumer:<12} {'--listen' if through else '':<9} {rounds}", *rounds.alarms, sep="\n  ")
            good &= not rounds.alarms
    return good


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    times = parser.parse_args().times
    logging.disable()  # what services say of requests that are wrong on purpose
    with tempfile.TemporaryDirectory() as folder, RabbitServer(Path(folder), "rabbitmq") as server:
        sys.exit(not asyncio.run(main(server.url, times)))
