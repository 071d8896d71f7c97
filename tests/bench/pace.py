"""How fast a plain configuration may be written to without losing a frame. See ``--help``.

Kamailio's reader takes what waits, up to 32,767 bytes, in one ``recv``, and loses frames where more waits
(see ``adapter.evapi.window``). Without receipts it is not known how much waits, so the writer rests. Here
the adapter's own link writes for some seconds as much as a pace allows, while SIPp calls and each call is
asked about, answered and continued by the dispatcher that reads; then the frames are counted.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvloop

from adapter.evapi import window
from adapter.evapi.limits import LinkSettings
from adapter.evapi.link import Link
from adapter.model.transaction import Outcome, TransactionId
from adapter.settings import Address
from adapter.wire import event, to_kamailio
from tests.harness.kamailio import KamailioServer
from tests.harness.sipp import SippCaller

if TYPE_CHECKING:
    from collections.abc import Sequence

PACES: Final = (
    (8_000, 0.02),
    (8_000, 0.01),
    (8_000, 0.005),
    (16_000, 0.02),
    (16_000, 0.01),
    (24_000, 0.02),
    (30_000, 0.02),
    (30_000, 0.01),
)
"""Bytes, and seconds of rest after them."""
SIZES: Final = (80, 250, 250, 250, 400, 700, 4_000)
"""Bytes of answers."""


class Owner:
    """Answers each call, and fills what the pace leaves with frames of other calls."""

    def __init__(self, pad: random.Random) -> None:
        self._random = pad
        self.loop = asyncio.get_running_loop()
        self.calls = self.sent = 0
        self.counted: int | None = None

    def may_write(self, node: str) -> bool:
        """It may."""
        return True

    def on_events(self, link: Link, events: Sequence[object]) -> None:
        """Answer; take a count."""
        for found in events:
            if isinstance(found, event.Suspended):
                self.calls += 1
                self.answer(link, found.index, found.label)
            elif isinstance(found, event.Notice):
                self.counted = int(found.data)

    def answer(self, link: Link, index: int, label: int) -> None:
        """One answer of any size."""
        decision = b'{"action":"reject","code":486,"reason":"Busy","notes":"%b"}'
        self.write(
            link, to_kamailio.resume(TransactionId("n", index, label, 1), "e", Outcome.DECIDED, decision)
        )

    def fill(self, link: Link) -> None:
        """Frames that continue nothing, of the same sizes."""
        self.write(link, b'{"event":"invite_request","notes":"%b"}')

    def write(self, link: Link, payload: bytes) -> None:
        """Queue it, as long as it is to be."""
        rest = max(self._random.choice(SIZES) - len(payload), 0)
        self.sent += 1
        link.send(payload.replace(b"%b", b"y" * rest), self.loop.time() + 3600)

    def on_read(self, link: Link, ids: Sequence[TransactionId]) -> None:
        """Nothing follows."""

    def on_result(self, link: Link, result: object) -> None: ...

    def on_link(self, link: Link) -> None:
        """Nothing follows."""


async def measure(port: int, seconds: float) -> tuple[int, int, int, float]:
    """Frames written, frames read, calls answered, bytes a second."""
    owner = Owner(random.Random(1))
    link = Link("n", Address("127.0.0.1", port), owner, "r1", LinkSettings())
    running = asyncio.create_task(link.run())
    try:
        while not owner.calls:
            await asyncio.sleep(0.01)
        written, read = await _count(link, owner)
        began, calls = owner.loop.time(), owner.calls
        while owner.loop.time() < began + seconds:
            while link.writer.waiting < 200:
                owner.fill(link)
            await asyncio.sleep(0.005)
        while link.writer.waiting > 50:
            await asyncio.sleep(0.005)
        calls, took = owner.calls - calls, owner.loop.time() - began
        all_written, all_read = await _count(link, owner)
        written, read = all_written - written, all_read
        return written, read, calls, written * sum(SIZES) / len(SIZES) / took
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _count(link: Link, owner: Owner) -> tuple[int, int]:
    """How many frames were written before the question, and read since the last one. Asked again until
    the question itself is read."""
    owner.counted = None
    while owner.counted is None:
        written = owner.sent
        link.send(b'{"count":1}', owner.loop.time() + 60)
        await asyncio.sleep(0.3)
    return written, owner.counted


def one(pace: tuple[int, float], seconds: float, rate: float) -> tuple[int, int, int, float]:
    """A run with Kamailio and SIPp of its own."""
    window.PACED_BYTES, window.PACED_REST = pace  # type: ignore[misc]
    folder = Path(tempfile.mkdtemp(prefix="pace-"))
    try:
        calls = round(rate * (seconds + 4))
        with (
            KamailioServer(folder, Path(__file__).with_name("pace.cfg"), workers=4) as kamailio,
            SippCaller(folder, kamailio.sip_port, calls=calls, rate=rate, timeout=60),
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            return runner.run(measure(kamailio.evapi_port, seconds))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Print a line for each pace."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.pace", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of writing for each run")
    parser.add_argument("--rate", type=float, default=300.0, help="calls a second beside it")
    parser.add_argument("--runs", type=int, default=2)
    options = parser.parse_args()
    print(f"{'bytes':>7}{'rest':>8}{'KB/s':>7}{'calls/s':>9}  {'written':>9}{'lost':>7}")
    for pace in PACES:
        for _ in range(options.runs):
            sent, read, calls, speed = one(pace, options.seconds, options.rate)
            took = f"{pace[0]:>7}{pace[1] * 1000:>5.0f} ms{speed / 1000:>7.0f}"
            print(f"{took}{calls / options.seconds:>9.0f}  {sent:>9}{sent - read:>7}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
