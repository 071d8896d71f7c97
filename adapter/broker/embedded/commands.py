"""Commands of the services in this process, straight to whoever carries them out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from adapter.broker.embedded.cores import AsksKamailio
from adapter.contract import ALL_NODES
from adapter.ports.broker import DeadLetter
from adapter.ports.commands import Asked, ReplyAddress

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.broker.embedded.cores import Core
    from adapter.ports.broker import Receiver

HERE = "embedded"
"""The queue that replies are said to go to: none."""


class KeepsLetters(Protocol):
    """Keeps what could not be carried out; the embedded broker does."""

    def dead_letter(self, letter: DeadLetter) -> None:
        """Keep it."""
        ...


class EmbeddedCommands:
    """The way of a service to Kamailio: see ``consumers.kamailio.Way``.

    ``receiver``: who carries commands out; None before the start. ``linked`` and ``unlinked``: the nodes.
    """

    def __init__(self, letters: KeepsLetters) -> None:
        self.receiver: Receiver | None = None
        self.linked: set[str] = set()
        self.unlinked: frozenset[str] = frozenset()
        self._letters = letters

    def serve(self, core: Core) -> None:
        """Have a service ask by this way, if it asks at all."""
        if isinstance(core, AsksKamailio):
            core.reach_kamailio(self)

    async def send(
        self, node: str, body: bytes, id_: str, within: float, take: Callable[[bytes, int], None]
    ) -> str:
        """Hand a command over; its replies come to ``take``. Returns why not, or an empty text."""
        receiver, known = self.receiver, self.linked | self.unlinked
        if receiver is None:
            return "the bridge has not started"
        to = ReplyAddress(HERE, id_)

        def answer(reply: bytes | None) -> None:
            if reply is not None:
                take(reply, len(known))

        for each in sorted(known) if node == ALL_NODES else [node]:

            def keep(why: str, detail: str, to_node: str = each) -> None:
                self._letters.dead_letter(DeadLetter(why, detail, body, to_node))

            receiver.on_command(Asked(each, body, to, within, False, answer, keep))
        return ""

    def forget(self, id_: str) -> None:
        """Nobody waits for replies to it any more: there is nothing to do."""
