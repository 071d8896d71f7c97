"""Awaiting a library that ends its callers by CancelledError when a channel closes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine


async def end(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks and wait until they are over."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.exception()  # it was told to end: how it did is of no interest


def heed_cancellation() -> None:
    """Raise CancelledError if the current task was told to end; to be asked by who goes on after an error.

    Whoever waits for a channel that closes gets the channel's error, even if he is cancelled at this instant:
    aiormq's ``TaskWrapper`` raises that in place of CancelledError (7.2).
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def outcome(work: Coroutine[Any, Any, Any]) -> BaseException | None:
    """Run it and give what it raised.

    In a task of its own: what the library ends by CancelledError must not be taken for a cancellation
    of ours.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        await end(task)
        raise
    return asyncio.CancelledError("closed") if task.cancelled() else task.exception()


async def ask(request: Coroutine[Any, Any, Any]) -> None:
    """Ask the server. A request that is given up makes the library close the channel.

    Nothing must be written on it any more by then, so that is settled first. Raises CancelledError then.
    """
    asking = asyncio.ensure_future(request)
    try:
        await asyncio.wait({asking})
    except asyncio.CancelledError:
        await end(asking)
        raise
    asking.result()


async def happens(event: asyncio.Event, within: float) -> bool:
    """Wait for an event, for so many seconds at most. Gives whether it has happened."""
    try:
        async with asyncio.timeout(within):
            await event.wait()
    except TimeoutError:
        return False
    return True
