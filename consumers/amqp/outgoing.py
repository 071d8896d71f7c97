"""What is under way on one channel: replies that are not confirmed, requests not acknowledged; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from consumers.amqp import frames

if TYPE_CHECKING:
    from collections.abc import Iterable

    from consumers.amqp.incoming import Confirm, Delivery
    from consumers.service import Answer


class Reply(NamedTuple):
    """A reply on its way, and the request that waits for it."""

    request: Delivery
    answer: Answer
    body: bytes
    to: str
    message_id: str
    replied: float = 0.0
    """When the answer was there, in epoch seconds."""
    attempts: int = 0
    """How often it was refused."""


class Replies:
    """The replies of one channel with confirms, which nobody else publishes on: it numbers them."""

    def __init__(self, channel: int, most: int) -> None:
        self._channel = channel
        self._most = most
        self._number = 0
        self._oldest = 1
        self._unconfirmed: dict[int, Reply] = {}
        self.written: list[bytes] = []
        """Frames for the next write, in their order."""

    @property
    def busy(self) -> bool:
        """Whether the server has not answered all of them."""
        return bool(self._unconfirmed)

    def add(self, reply: Reply) -> None:
        """Have it written with the next ones. Raises ValueError where AMQP cannot carry it."""
        self.written.append(
            frames.reply(
                self._channel,
                self._most,
                reply.answer,
                reply.body,
                reply.to,
                reply.message_id,
                reply.request.received,
                reply.replied,
            )
        )
        self._number += 1
        self._unconfirmed[self._number] = reply

    def take(self) -> list[bytes]:
        """What is to be written now."""
        written, self.written = self.written, []
        return written

    def settle(self, confirms: Iterable[Confirm]) -> tuple[list[Reply], list[Reply]]:
        """Which replies RabbitMQ has taken, and which it has refused."""
        taken: list[Reply] = []
        refused: list[Reply] = []
        unconfirmed = self._unconfirmed
        for number, multiple, is_taken in confirms:
            into = taken if is_taken else refused
            for each in range(self._oldest, number) if multiple else ():
                reply = unconfirmed.pop(each, None)
                if reply is not None:
                    into.append(reply)
            reply = unconfirmed.pop(number, None)
            if reply is not None:
                into.append(reply)
            # Whatever is answered one by one need not be looked for at the next ``multiple``.
            while self._oldest <= self._number and self._oldest not in unconfirmed:
                self._oldest += 1
        return taken, refused

    def give_up(self) -> list[Reply]:
        """Forget all of them: the server will not answer. Gives what they were."""
        given_up = list(self._unconfirmed.values())
        self._unconfirmed.clear()
        self.written.clear()
        return given_up


class Acknowledgements:
    """What becomes of the requests of one channel.

    One frame acknowledges all up to a request where they are dealt with. RabbitMQ closes the
    channel over a tag that it does not wait for, so that one is never an answered one.
    """

    def __init__(self, channel: int) -> None:
        self._channel = channel
        self._up_to = 0  # it and all before it are answered
        self._beyond: set[int] = set()  # answered, too
        self._done: list[int] = []
        self._rejected: list[int] = []

    @property
    def waiting(self) -> int:
        """How many have to be written."""
        return len(self._done) + len(self._rejected)

    def done(self, tag: int) -> None:
        """Have it acknowledged with the next ones."""
        self._done.append(tag)

    def reject(self, tag: int) -> None:
        """Have it given to the dead letters with the next ones."""
        self._rejected.append(tag)

    def take(self) -> tuple[int, list[bytes]]:
        """How many requests are answered now, and by what, in its order."""
        done, rejected, channel = self._done, self._rejected, self._channel
        if not done and not rejected:
            return 0, []
        self._done, self._rejected = [], []
        written = [frames.reject(channel, tag) for tag in rejected]
        self._beyond.update(rejected)
        waiting = set(done)
        last, tag = 0, self._up_to + 1
        while True:
            if tag in waiting:
                waiting.remove(tag)
                last = tag
            elif tag in self._beyond:
                self._beyond.remove(tag)
            else:
                break
            tag += 1
        self._up_to = tag - 1
        if last:
            written.append(frames.ack(channel, last, True))
        written += [frames.ack(channel, tag, False) for tag in sorted(waiting)]
        self._beyond |= waiting
        return len(done) + len(rejected), written
