"""The bindings of a service that cannot be made, as in a cluster without majority: pauses that grow."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

from yarl import URL

from adapter.amqp.limits import ConnectionLimits
from consumers import Service
from consumers.amqp import bindings
from consumers.amqp.bindings import Bindings
from tests.harness.held_clock import run

if TYPE_CHECKING:
    import pytest


def test_the_pause_grows_to_half_a_minute_and_begins_anew_once_they_are_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def work() -> None:
        kept = Bindings(Service("fraud"), ConnectionLimits(1))
        loop, tried = asyncio.get_running_loop(), []

        async def session(_: URL) -> None:
            tried.append(loop.time())
            await asyncio.sleep(30)  # so long a server without majority takes, and closes the connection
            if 0 < len(tried) - 10 <= 2:
                kept.bound.set()
            raise OSError("INTERNAL_ERROR")

        monkeypatch.setattr(kept, "_session", session)
        task = asyncio.create_task(kept.keep(URL("amqp://localhost")))
        await asyncio.sleep(780)
        pauses = [round(later - at - 30, 3) for at, later in itertools.pairwise(tried)]
        assert pauses[:10] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]
        assert pauses[10:14] == [0.2, 0.2, 0.4, 0.8]
        task.cancel()
        await asyncio.wait([task])

    run(work())


def test_all_of_it_is_on_a_connection_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is closed where a binding has no answer: what has none the server closes it for, in the end."""

    async def work() -> None:
        closed: list[str] = []

        class Connection:
            def __init__(self, name: str) -> None:
                self._name = name

            @classmethod
            async def open_any(cls, _: list[URL], __: ConnectionLimits, name: str) -> Connection:
                return cls(name)

            async def line(self, confirms: bool) -> Any:
                raise TimeoutError

            async def close(self) -> None:
                closed.append(self._name)

        monkeypatch.setattr(bindings, "Connection", Connection)
        kept = Bindings(Service("fraud"), ConnectionLimits(1))
        task = asyncio.create_task(kept.keep(URL("amqp://localhost")))
        await asyncio.sleep(0.5)
        assert closed == ["bindings fraud"] * 2
        assert not kept.bound.is_set()
        task.cancel()
        await asyncio.wait([task])

    run(work())
