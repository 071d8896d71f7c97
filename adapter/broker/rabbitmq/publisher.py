"""Publishing with confirms: a batch is one write, and its confirms are awaited together."""

from __future__ import annotations

import asyncio
import uuid
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from adapter import contract
from adapter.amqp.ledgers import Unconfirmed
from adapter.amqp.scanner import Returned
from adapter.broker.rabbitmq import frames, gathering
from adapter.ports.broker import DeadLetter, Publication, Published

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from adapter.amqp.line import Line
    from adapter.amqp.scanner import Confirm
    from adapter.broker.rabbitmq.shared import Shared

_DECIDES: Final = contract.service_queue("")


class _Message(NamedTuple):
    """A message as it goes on the wire."""

    id: str
    frames: bytes


class _Batch:
    """Publications that were written together, the first of them under the number ``first``."""

    __slots__ = ("answered", "done", "first", "given_up", "left", "messages", "results", "until")

    def __init__(self, messages: Sequence[_Message], until: float, done: asyncio.Future[None]) -> None:
        self.first = 0
        self.messages = messages
        self.until = until  # by the loop's clock
        self.done = done
        self.results: list[Published | None] = [None] * len(messages)
        self.left = len(messages)
        self.answered = False  # to any of them, anything
        self.given_up = False

    def end(self) -> None:
        """Wait no longer."""
        if not self.done.done():
            self.done.set_result(None)


class Publisher:
    """One line with confirms, of which it is the only user.

    It numbers what it publishes, from 1, as the server does: by these numbers it is confirmed.
    """

    def __init__(
        self,
        line: Line,
        shared: Shared,
        clock: Callable[[], float],
        on_silence: Callable[[], None] = lambda: None,
        results: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.user = ""
        """The user as whom the server knows us: what each publication says of its sender; empty: nothing."""
        self.silent = False
        """Whether the server said nothing at all to a batch in time; until ``heard`` nothing is sent."""
        self._loop = asyncio.get_running_loop()  # to ask for it costs a system call (Python 3.11)
        self.heard_at = self._loop.time()
        """When the server last answered, by the loop's clock."""
        self.channel = line.amqp
        self._line = line
        self._on_silence = on_silence
        self._limits = shared.limits
        self._counters = shared.counters
        self._clock = clock
        self._mqtt = shared.mqtt
        self._without_queue = shared.without_queue
        self._reply_to = results  # where replies are to be sent, by node
        self._unanswered: Unconfirmed[_Batch] = Unconfirmed()
        self._numbers: dict[str, int] = {}  # by id, of those that may come back
        self._waiting: dict[_Batch, None] = {}  # the one that was written first comes first
        self._timer: asyncio.TimerHandle | None = None
        line.listen(self._on_confirms)

    @property
    def unconfirmed(self) -> int:
        """Publications that the server has not answered yet, or never will."""
        return len(self._unanswered)

    async def probe(self) -> None:
        """Return once the server has answered anything at all."""
        await self.channel.exchange_declare(contract.EVENTS_EXCHANGE, passive=True)

    def heard(self) -> None:
        """The server has answered: go on."""
        self.silent = False
        self.heard_at = self._loop.time()

    async def publish(self, publications: Sequence[Publication]) -> list[Published]:
        """Publish each; what has no time left is not sent."""
        now, channel, most = self._clock(), self._line.number, self._line.most
        groups = gathering.groups(publications, now) if len(publications) > 1 else None
        if groups is None:
            messages = [self._message(each, now, channel, most) for each in publications]
        else:
            messages = [self._message_of(group, publications, now, channel, most) for group in groups]
        results = iter(await self._send([each for each in messages if each is not None]))
        found = [Published.UNAVAILABLE if each is None else next(results) for each in messages]
        return found if groups is None else gathering.spread(groups, found)

    async def keep(self, letter: DeadLetter) -> bool:
        """Publish a dead letter, as much of it as a body may hold. Whether a queue has it."""
        message_id, now = uuid.uuid4().hex, int(self._clock())
        written = frames.letter(self._line.number, self._line.most, letter, message_id, now)
        return await self._send([_Message(message_id, written)]) == [Published.CONFIRMED]

    async def retire(self) -> None:
        """Close the channel once what is under way has its answers, or will have none."""
        pending = [batch.done for batch in self._waiting]
        if pending:
            await asyncio.wait(pending, timeout=self._limits.confirm_timeout)
        await self.close()

    async def close(self) -> None:
        """Close the channel."""
        self.fail()
        await self._line.close()

    def fail(self) -> None:
        """Give up what is under way: nobody will answer it."""
        for batch in self._waiting:
            batch.given_up = True
            batch.end()

    def _message_of(
        self, group: Sequence[int], of: Sequence[Publication], now: float, channel: int, most: int
    ) -> _Message | None:
        """The message of those that go together, or of the one that goes alone."""
        if len(group) == 1:
            return self._message(of[group[0]], now, channel, most)
        batch = gathering.batch([of[place] for place in group], now)
        first = batch.first
        written = frames.batch(
            *(channel, most, first, batch.body, len(group), int(now), batch.deadline, batch.left),
            *(self._reply_to_of(first.node), self.user, batch.expires),
        )
        self._counters.batches += 1
        self._counters.batched += len(group)
        return _Message(first.correlation_id or "", written)

    def _reply_to_of(self, node: str) -> str:
        return self._reply_to.get(node) or contract.results_queue(node)

    def _message(self, publication: Publication, now: float, channel: int, most: int) -> _Message | None:
        """The id is what a returned message is known by: a notice has one for that alone."""
        left, expires = 0, None
        if publication.deadline is not None:
            left = int((publication.deadline - now) * 1000)
            if left <= 0:
                return None
            if publication.expires is not None and publication.expires < publication.deadline:
                expires = max(0, int((publication.expires - now) * 1000))
        message_id = publication.correlation_id or uuid.uuid4().hex
        reply_to = self._reply_to_of(publication.node)
        return _Message(
            message_id,
            frames.encode(
                *(channel, most, publication, message_id, int(now), left, reply_to, self.user, self._mqtt),
                expires,
            ),
        )

    async def _send(self, messages: Sequence[_Message]) -> list[Published]:
        """Write them in one piece and wait for the confirms."""
        if not messages:
            return []
        batch = self._write(messages)
        if batch is None:
            return [Published.UNAVAILABLE] * len(messages)
        self._waiting[batch] = None
        if self._timer is None:
            self._timer = self._loop.call_at(batch.until, self._end_late)
        try:
            await batch.done
        finally:
            del self._waiting[batch]
            if batch.left:
                self._forget(batch)
        if not batch.answered and not batch.given_up:
            self.silent = True
            self._on_silence()
        return self._results(batch)

    def _end_late(self) -> None:
        """One timer, for the batch that waits the longest: to set and clear one for each costs more."""
        now = self._loop.time()
        self._timer = None
        for batch in self._waiting:
            if batch.until > now:
                self._timer = self._loop.call_at(batch.until, self._end_late)
                return
            batch.end()

    def _write(self, messages: Sequence[_Message]) -> _Batch | None:
        """Write them and give them their numbers: both at once, so that the server counts the same."""
        if self.silent:
            return None
        if not self._line.write(b"".join([message.frames for message in messages])):
            return None
        until = self._loop.time() + self._limits.confirm_timeout
        batch = _Batch(messages, until, self._loop.create_future())
        batch.first = self._unanswered.add(batch, len(messages))
        numbers = self._numbers
        for number, each in enumerate(messages, batch.first):
            numbers[each.id] = number
        return batch

    def _on_confirms(self, _: object, came: list[Confirm | Returned]) -> None:
        self.heard_at = self._loop.time()
        for each in came:
            if isinstance(each, Returned):
                self._return(each)
                continue
            result = Published.CONFIRMED if each.taken else Published.REFUSED
            for number, batch in self._unanswered.answered(each):
                place = number - batch.first
                if batch.results[place] is None:
                    batch.results[place] = result
                batch.answered = True
                batch.left -= 1
                self._forget_one(batch.messages[place].id, number)
                if not batch.left:
                    batch.end()

    def _return(self, returned: Returned) -> None:
        """No queue has it: that counts, whatever its confirm says.

        Of two with the same id the later one is meant: a request is asked again only if the first was
        answered, so a queue had that, or if nobody waits for its confirm any more.
        """
        if returned.routing_key.startswith(_DECIDES):  # no event's key has two dots
            self._without_queue.add(returned.routing_key.removeprefix(_DECIDES))
        number = self._numbers.get(returned.message_id or "", 0)
        batch = self._unanswered.get(number)
        if batch is not None:
            batch.answered = True
            batch.results[number - batch.first] = Published.UNROUTABLE

    def _forget(self, batch: _Batch) -> None:
        """Of a batch for which nobody waits any more: what comes back of it is of no interest."""
        for number, each in enumerate(batch.messages, batch.first):
            self._forget_one(each.id, number)

    def _forget_one(self, message_id: str, number: int) -> None:
        if self._numbers.get(message_id) == number:  # it may have been published again
            del self._numbers[message_id]

    def _results(self, batch: _Batch) -> list[Published]:
        counters = self._counters
        results = [Published.UNAVAILABLE if result is None else result for result in batch.results]
        if not batch.given_up:
            counters.unconfirmed += batch.results.count(None)
        counters.published += results.count(Published.CONFIRMED)
        counters.nacked += results.count(Published.REFUSED)
        counters.returned += results.count(Published.UNROUTABLE)
        return results
