"""``python -m tests.bench.replies``: a simulated Kamailio in a process of its own; and what one link brings.

It tells its address, then reads a JSON object a line from stdin and answers each by one:
``{"suspend": n}`` by ``{"suspended": n}`` once n events are emitted, ``{}`` by what it counted.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, process_time
from typing import TYPE_CHECKING, Any, Final

import uvloop

from adapter.evapi.limits import LinkSettings
from adapter.evapi.link import Link
from adapter.model.transaction import Outcome, TransactionId
from adapter.settings import Address
from adapter.simulator import SimulatedKamailio
from adapter.wire import event, to_kamailio
from tests.harness.kamailio import KamailioServer
from tests.harness.process import HarnessError
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

NODE: Final = "bench1"
EVENT: Final = "invite_request"
DECISION: Final = to_kamailio.decision_json(
    {"action": "route", "uri": "sip:+441632960000@gw7.example.net:5060"}
)
PATIENCE: Final = 60.0
"""Seconds for each step."""
COUNTING: Final = Path(__file__).parent.parent / "kamailio" / "counting.cfg"


@dataclass(frozen=True, slots=True)
class Brought:
    """What came of ``frames`` replies: how many arrived, and how long until all were known to be read."""

    frames: int
    arrived: int
    seconds: float
    cpu: float

    @property
    def rate(self) -> float:
        """Replies a second."""
        return self.arrived / self.seconds

    @property
    def lost(self) -> int:
        """Replies that did not arrive."""
        return self.frames - self.arrived


class Replier:
    """The owner of the link."""

    def __init__(self) -> None:
        self.asked: list[TransactionId] = []
        self.counted: list[int] = []
        self.read = 0

    def may_write(self, node: str) -> bool:
        return True

    def on_events(self, link: Link, events: Sequence[object]) -> None:
        for found in events:
            if isinstance(found, event.Suspended):
                self.asked.append(TransactionId(NODE, found.index, found.label, found.seq or 1))
            elif isinstance(found, event.Notice):
                self.counted.append(found.data["frames"])

    def on_read(self, link: Link, ids: Sequence[TransactionId]) -> None:
        self.read += len(ids)

    def on_result(self, link: Link, result: object) -> None: ...

    def on_link(self, link: Link) -> None:
        pass


def simulated(frames: int) -> Brought:
    """Resume so many suspensions of a simulated Kamailio, flat out. Raises HarnessError."""
    return _run(_simulated(frames))


def real(frames: int, folder: Path) -> Brought:
    """As many replies to the real Kamailio, which counts them. Raises HarnessError."""
    with KamailioServer(folder, COUNTING) as kamailio:
        return _run(_real(frames, kamailio.evapi_port))


def _run(coroutine: Any) -> Brought:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            found: Brought = runner.run(coroutine)
            return found
        except TimeoutError:
            raise HarnessError(f"the replies were not all read within {PATIENCE:g} s") from None


async def _simulated(frames: int) -> Brought:
    kamailio = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.bench.replies"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    stdin, stdout = kamailio.stdin, kamailio.stdout
    assert stdin is not None
    assert stdout is not None

    async def ask(what: dict[str, Any]) -> dict[str, Any]:
        stdin.write(json.dumps(what).encode() + b"\n")
        return await hear()

    async def hear() -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            line = await stdout.readline()
        if not line:
            raise HarnessError("the simulated Kamailio has ended")
        heard: dict[str, Any] = json.loads(line)
        return heard

    try:
        port = (await hear())["port"]
        owner = Replier()
        async with _linked(port, owner) as link:
            await ask({"suspend": frames})
            await until(lambda: len(owner.asked) >= frames, PATIENCE)
            seconds, cpu = await _send(link, owner, owner.asked)
        counted = await ask({})
    finally:
        kamailio.terminate()
        await kamailio.wait()
    return Brought(frames, counted["resumed"], seconds, cpu)


async def _real(frames: int, port: int) -> Brought:
    owner = Replier()
    ids = [TransactionId(NODE, number, number, 1) for number in range(frames)]
    async with _linked(port, owner) as link:
        seconds, cpu = await _send(link, owner, ids)
        link.send(b'{"count":"now"}', asyncio.get_running_loop().time() + PATIENCE)
        await until(lambda: owner.counted, PATIENCE)
    return Brought(frames, owner.counted[0], seconds, cpu)


@asynccontextmanager
async def _linked(port: int, owner: Replier) -> AsyncIterator[Link]:
    """A link that has got its hello."""
    link = Link(NODE, Address("127.0.0.1", port), owner, "bench", LinkSettings())
    task = asyncio.create_task(link.run())
    try:
        await until(lambda: link.writer.receipts, PATIENCE)
        yield link
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _send(link: Link, owner: Replier, ids: Sequence[TransactionId]) -> tuple[float, float]:
    """Resume them all; the seconds until all were read, and the CPU seconds that it took here."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    begun, cpu = monotonic(), process_time()
    for id_ in ids:
        link.send(to_kamailio.resume(id_, EVENT, Outcome.DECIDED, DECISION), deadline, id_)
    await until(lambda: owner.read >= len(ids), PATIENCE)
    return monotonic() - begun, process_time() - cpu


async def serve() -> None:
    """Do what is asked until nobody can ask any more."""
    loop = asyncio.get_running_loop()
    async with SimulatedKamailio(fr_timer=4 * PATIENCE) as kamailio:
        say = {"port": kamailio.port}
        while True:
            print(json.dumps(say), flush=True)
            line = await loop.run_in_executor(None, sys.stdin.readline)
            if not line:
                return
            frames = json.loads(line).get("suspend", 0)
            for _ in range(frames):
                await kamailio.suspend(EVENT, {})
            counters = kamailio.counters
            say = {"suspended": frames} if frames else {"resumed": counters.resumed}


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as main:
        main.run(serve())
