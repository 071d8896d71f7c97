"""Asking a Kamailio: ``await service.ask_kamailio("sbc1", "hangup", call_id=...)``."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any, Final, Protocol

from adapter.command_contract import LONGEST, decode_reply, encode_command
from adapter.command_contract import CommandOutcome as CommandOutcome
from adapter.command_contract import CommandReply as CommandReply
from adapter.contract import ALL_NODES
from adapter.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

GRACE: Final = 1.0
"""Seconds for which a reply may be on its way when the command's own are over."""
_WORST_FIRST: Final = (
    *(CommandOutcome.DONE, CommandOutcome.FAILED, CommandOutcome.REFUSED, CommandOutcome.TIMEOUT),
    *(CommandOutcome.UNAVAILABLE, CommandOutcome.NOT_FOUND),
)
"""Of several nodes' outcomes, which one tells most of what became of a call that only one of them has."""


class Way(Protocol):
    """How commands get to the adapter."""

    async def send(
        self, node: str, body: bytes, id_: str, within: float, take: Callable[[bytes, int], None]
    ) -> str:
        """Send a command.

        Args:
            node: to which, or ``all``.
            body: of the command.
            id_: names it among others on this way; goes with each reply.
            within: seconds after which it is of no use.
            take: gets the body of each reply, and how many nodes there are (0: that is not told).

        Returns:
            Why it could not be sent, in words; empty once it was.
        """
        ...

    def forget(self, id_: str) -> None:
        """Nobody waits for replies to it any more."""
        ...


class _Replies:
    """The replies to one command, as they come."""

    def __init__(self, is_enough: Callable[[list[CommandReply], int], bool]) -> None:
        self.found: list[CommandReply] = []
        self.enough = asyncio.Event()
        self._is_enough = is_enough

    def take(self, body: bytes, nodes: int) -> None:
        """Take one. A second one of the same node repeats the first: an adapter has died over it."""
        try:
            reply = decode_reply(body)
        except CodecError as exc:
            reply = CommandReply(CommandOutcome.FAILED, "", None, 0, f"the reply cannot be read: {exc}")
        if all(each.node != reply.node for each in self.found):
            self.found.append(reply)
        if self._is_enough(self.found, nodes):
            self.enough.set()


async def ask(
    way: Way | None, node: str, command: str, args: Mapping[str, Any], *, within: float, id_: str | None
) -> CommandReply:
    """See ``Service.ask_kamailio``."""
    if node != ALL_NODES:
        return (await _ask(way, node, command, args, within, id_, lambda found, _: True))[0]
    found = await _ask(
        way, node, command, args, within, id_, lambda found, nodes: found[-1].done or 0 < nodes <= len(found)
    )
    return min(found, key=lambda reply: _WORST_FIRST.index(reply.outcome))


async def ask_every(
    way: Way | None, command: str, args: Mapping[str, Any], *, within: float, id_: str | None
) -> list[CommandReply]:
    """See ``Service.ask_every_kamailio``."""
    every = lambda found, nodes: 0 < nodes <= len(found)  # noqa: E731
    return await _ask(way, ALL_NODES, command, args, within, id_, every)


async def _ask(
    way: Way | None,
    node: str,
    command: str,
    args: Mapping[str, Any],
    within: float,
    id_: str | None,
    is_enough: Callable[[list[CommandReply], int], bool],
) -> list[CommandReply]:
    if not 0 < within <= LONGEST:
        raise ValueError(f"within is {within} s: more than 0, at most {LONGEST:.0f}")
    name = secrets.token_hex(8)
    body = encode_command(command, args, id_ or name)
    if way is None:
        why = "the service does not run, or has no connection to RabbitMQ"
        return [CommandReply(CommandOutcome.UNAVAILABLE, node, None, 0, why)]
    replies = _Replies(is_enough)
    try:
        why = await way.send(node, body, name, within, replies.take)
        if why:
            return [CommandReply(CommandOutcome.UNAVAILABLE, node, None, 0, why)]
        async with asyncio.timeout(within + GRACE):
            await replies.enough.wait()
    except TimeoutError:
        pass
    finally:
        way.forget(name)
    late = CommandReply(CommandOutcome.TIMEOUT, node, None, round(within * 1000), "no reply came in time")
    return replies.found or [late]
