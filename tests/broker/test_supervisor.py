"""The supervisor: what it does beside."""

from __future__ import annotations

import asyncio

from adapter.broker.rabbitmq.limits import Limits
from adapter.broker.rabbitmq.supervisor import Supervisor


async def test_what_is_begun_at_the_end_of_something_beside_is_waited_for_too() -> None:
    supervisor, closed = Supervisor(Limits()), []

    async def close(name: str) -> None:
        await asyncio.sleep(0.01)  # the server says goodbye, too
        closed.append(name)

    async def work() -> None:
        supervisor.aside(close("a connection that was there for this alone"))

    supervisor.aside(work())
    await supervisor.finish(5)
    assert closed
