"""Whether a socket was read empty, as the loop tells: no read came in while it asked once more."""

from __future__ import annotations

import asyncio

import pytest

from consumers.amqp import unread as module
from consumers.amqp.unread import Unread
from tests.harness.until import until

NEVER = float("inf")


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_EACH", 0.001)


class Busy:
    """Reads something in each turn of the loop, until it is ``over``."""

    def __init__(self, unread: Unread) -> None:
        self.unread, self.over, self.reads = unread, False, 0
        self._loop = asyncio.get_running_loop()
        self._read()

    def _read(self) -> None:
        self.unread.batch()
        self.reads += 1
        if not self.over:
            self._loop.call_soon(self._read)


async def test_it_is_not_known_before_it_was_asked_for_and_then_soon() -> None:
    unread = Unread()
    await asyncio.sleep(0.01)
    assert unread.seconds() == NEVER
    await until(lambda: unread.seconds() < NEVER)
    unread.close()


async def test_as_long_as_each_turn_brings_something_the_socket_was_not_empty() -> None:
    unread = Unread()
    busy = Busy(unread)
    began = asyncio.get_running_loop().time()
    while asyncio.get_running_loop().time() < began + 0.02 or busy.reads < 10:
        assert unread.seconds() == NEVER
        await asyncio.sleep(0)
    busy.over = True
    await until(lambda: unread.seconds() < NEVER)
    unread.close()


async def test_nobody_asks_any_more_so_it_looks_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOKS", 2)
    unread = Unread()
    unread.seconds()
    await until(lambda: unread._timer is None)
