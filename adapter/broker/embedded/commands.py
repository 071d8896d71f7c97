"""Commands of the services in this process, straight to whoever carries them out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapter.contract import ALL_NODES
from adapter.ports.commands import Asked, ReplyAddress

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from adapter.ports.broker import Receiver

HERE = "embedded"
"""The queue that replies are said to go to: none."""


class EmbeddedCommands:
    """The way of a service to Kamailio: see ``consumers.kamailio.Way``.

    Args:
        receiver: gives whoever carries commands out; None before the start.
        nodes: gives the names of all nodes.
        dead_letter: keeps what could not be carried out: node, reason, detail and body.
    """

    def __init__(
        self,
        receiver: Callable[[], Receiver | None],
        nodes: Callable[[], Collection[str]],
        dead_letter: Callable[[str, str, str, bytes], None],
    ) -> None:
        self._receiver = receiver
        self._nodes = nodes
        self._dead_letter = dead_letter

    async def send(
        self, node: str, body: bytes, id_: str, within: float, take: Callable[[bytes, int], None]
    ) -> str:
        """Hand a command over; its replies come to ``take``. Returns why not, or an empty text."""
        receiver, known = self._receiver(), self._nodes()
        if receiver is None:
            return "the bridge has not started"
        to = ReplyAddress(HERE, id_)

        def answer(reply: bytes | None) -> None:
            if reply is not None:
                take(reply, len(known))

        for each in sorted(known) if node == ALL_NODES else [node]:

            def keep(why: str, detail: str, to_node: str = each) -> None:
                self._dead_letter(to_node, why, detail, body)

            receiver.on_command(Asked(each, body, to, within, False, answer, keep))
        return ""

    def forget(self, id_: str) -> None:
        """Nobody waits for replies to it any more: there is nothing to do."""
