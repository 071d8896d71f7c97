"""What is under way on one channel: publications not confirmed, deliveries not acknowledged. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from adapter.amqp import frames

if TYPE_CHECKING:
    from adapter.amqp.scanner import Confirm

T = TypeVar("T")


class Unconfirmed(Generic[T]):
    """The publications of one channel with confirms, each with what is kept of it.

    Nobody else publishes on the channel: they are numbered from 1, as the server numbers them.
    """

    __slots__ = ("_entries", "_number", "_oldest")

    def __init__(self) -> None:
        self._entries: dict[int, T] = {}
        self._number = 0  # of the last one written
        self._oldest = 1  # all before it are answered

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: T, count: int = 1) -> int:
        """Note so many that are written now, of which the same is kept; gives the number of the first."""
        first = self._number + 1
        self._number += count
        for number in range(first, first + count):
            self._entries[number] = entry
        return first

    def get(self, number: int) -> T | None:
        """Return what is kept of a publication; None once it is answered."""
        return self._entries.get(number)

    def answered(self, confirm: Confirm) -> list[tuple[int, T]]:
        """Take out what the server says something of: numbers, in order, and what was kept of each."""
        entries, number = self._entries, confirm.number
        if confirm.multiple:
            upto = min(number, self._number) + 1
            found = [(each, entries.pop(each)) for each in range(self._oldest, upto) if each in entries]
        elif (entry := entries.pop(number, None)) is not None:
            found = [(number, entry)]
        else:
            found = []
        # What is answered one by one need not be looked for at the next ``multiple``.
        while self._oldest <= self._number and self._oldest not in entries:
            self._oldest += 1
        return found

    def give_up(self) -> list[T]:
        """Forget all of them: the server will not answer. Gives what was kept."""
        given_up = list(self._entries.values())
        self._entries.clear()
        return given_up


class Acknowledgements:
    """What becomes of the deliveries of one channel.

    One frame acknowledges all up to a delivery where they are dealt with. RabbitMQ closes the
    channel over a tag that it does not wait for, so that one is never an answered one.
    """

    __slots__ = ("_beyond", "_channel", "_done", "_rejected", "_up_to")

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

    def done_up_to(self, tag: int) -> None:
        """Have it acknowledged with all before it. For a channel whose deliveries are dealt with in order."""
        self._done += range((self._done[-1] if self._done else self._up_to) + 1, tag + 1)

    def reject(self, tag: int) -> None:
        """Have it given to the dead letters with the next ones."""
        self._rejected.append(tag)

    def give_back_up_to(self, tag: int) -> bytes:
        """Return the frame that has all be delivered again up to ``tag``, behind what ``take`` gave last."""
        self._up_to = tag
        return frames.give_back(self._channel, tag)

    def take(self) -> tuple[int, list[bytes]]:
        """How many deliveries are answered now, and by what, in its order."""
        done, rejected, channel = self._done, self._rejected, self._channel
        if not done and not rejected:
            return 0, []
        self._done, self._rejected = [], []
        if not rejected and not self._beyond and (last := max(done)) - self._up_to == len(done):
            self._up_to = last  # no gap, in whatever order they were dealt with: the usual case
            return len(done), [frames.ack(channel, last, True)]
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
