"""The requests in hand of one channel: decide, reply, acknowledge."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from adapter.amqp.ledgers import Acknowledgements
from adapter.amqp.scanner import Returned
from adapter.amqp.tasks import happens
from adapter.contract import MAX_BODY
from consumers.amqp import several
from consumers.amqp.delivery import Delivery
from consumers.amqp.outlet import Letter, Outlet, Reply
from consumers.amqp.unread import Unread
from consumers.messages import Answer, UnknownEvent, about, told

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container, Coroutine, Iterable

    from adapter.amqp.line import Line
    from adapter.amqp.scanner import Confirm
    from consumers.messages import Extension
    from consumers.service import Service

_log = logging.getLogger("consumers")

REPLY_ATTEMPTS: Final = 8
"""In about a second: a quorum queue without a leader refuses, and an election takes less."""
REPLY_PAUSE: Final = 0.05
"""Seconds before the second attempt, twice as many before the third; less at random."""
ACK_PAUSE: Final = 0.01
"""Seconds for which acknowledgements wait for replies to go out with: at low rates a write of their
own costs as much as all the rest."""
TURN: Final = 0.01
"""Seconds for which one turn of the loop begins with requests: a handler may compute for each."""
END_TIMEOUT: Final = 2.0
"""Seconds that handlers which were cancelled have to end."""


class Work:
    """Takes requests until the line closes; RabbitMQ then delivers again what was not acknowledged.

    All that one turn of the loop brings about is one write: replies, and the acknowledgements of
    the requests whose replies RabbitMQ has confirmed. A task is made only where a handler is a
    coroutine.

    Replies go out on the same line, until one is refused: a channel whose first publication met
    a quorum queue without a leader is refused for good (RabbitMQ 3.10), so ``another`` opens the
    next one.

    prefetch: of the line. A quarter of it may be done with and wait to be acknowledged together.
    pass_on: is given a request that the service has no handler for, and its event; returns whether another
    instance of it has the request now. Then the request is acknowledged, as is one that nobody has, unless it
    came to this service alone: that one is answered (``Service.alone``).
    requests_from: the users of RabbitMQ whose requests are taken; empty: everybody's.
    make: makes the deliveries.
    """

    def __init__(
        self,
        service: Service,
        line: Line,
        another: Callable[[], Awaitable[Line]],
        prefetch: int,
        pass_on: Callable[[Delivery, str], Awaitable[bool]] | None = None,
        requests_from: Container[str | None] = (),
        make: Callable[[bytes, bytes, bytes, int], Delivery] = Delivery.scanned,
    ) -> None:
        self._pass_on = pass_on
        self._requests_from = requests_from
        self._prefetch, self._most_done = prefetch, prefetch // 4
        self._pause: asyncio.TimerHandle | None = None
        self._service = service
        self._line = line
        self._another = another
        self._main = self._outlet = Outlet(line)
        self._acknowledgements = Acknowledgements(line.number)
        self._renewing = asyncio.Lock()
        self._tasks: dict[asyncio.Task[None], Coroutine[Any, Any, Answer] | None] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._flush_due = False
        self._over = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._untaken: list[Delivery] = []
        self._numbers = itertools.count(1)
        self._unread = Unread()
        self.in_hand = 0
        line.listen(self._on_batch, make, MAX_BODY)
        line.on_closed(lambda _: self._end())

    async def finished(self, grace: float) -> None:
        """Return once nothing is in hand, or after ``grace`` seconds: the rest is delivered again.

        Nothing is written after it.
        """
        self._most_done = 0
        self._flush()
        if not await happens(self._idle, grace):
            _log.warning("%s: %d requests left after %g s", self._service.name, self.in_hand, grace)
        self._end()

    async def close(self) -> None:
        """End what is in hand, whatever it is at."""
        self._end()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=END_TIMEOUT)
        for task, answering in self._tasks.items():
            if task.done() and answering is not None:
                answering.close()  # the task was cancelled before it began

    def _end(self) -> None:
        self._over = True
        self._unread.close()
        if self._pause is not None:
            self._pause.cancel()
        for task in self._tasks:
            task.cancel()
        self._untaken.clear()
        self.in_hand = 0
        self._idle.set()

    def _on_batch(self, deliveries: list[Delivery], confirms: list[Confirm | Returned]) -> None:
        """Take what one read brought."""
        if self._over:
            return
        self._unread.batch()
        if deliveries:
            self.in_hand += len(deliveries)
            self._idle.clear()
            now = time.time()
            for delivery in deliveries:
                delivery.received = now
            if any(each.body >= several.ARRAY for each in deliveries):
                deliveries = [part for each in deliveries for part in several.parts(each)]
                self._service.bound(self._prefetch)
            if self._untaken:
                self._untaken += deliveries
            else:
                self._take(deliveries)
        self._on_confirms(self._main, deliveries, confirms)

    def _take_on(self) -> None:
        """Go on with what one turn of the loop was too short for."""
        if not self._over:
            self._unread.batch()
            deliveries, self._untaken = self._untaken, []
            self._take(deliveries)
            self._flush()

    def _take(self, deliveries: list[Delivery]) -> None:
        """Begin with each. What takes longer than ``TURN`` goes on in the next turn of the loop: replies
        go out meanwhile."""
        begin, send, tasks = self._service.begin, self._extend, False
        decoded = self._service.begin_decoded
        self._service.unread = self._unread.seconds
        found: Answer | Coroutine[Any, Any, Answer] | None
        until = time.monotonic() + TURN
        for at, delivery in enumerate(deliveries):
            if at and time.monotonic() > until:
                self._untaken = deliveries[at:]
                # By two turns: uvloop writes what was handed to it at the end of the first.
                self._loop.call_soon(self._loop.call_soon, self._take_on)
                break
            try:
                delivery.read()
                map_, found = delivery.request, self._refused(delivery) if self._requests_from else None
                if map_ is None:
                    found = found or begin(delivery, send)
                else:
                    found = found or decoded(delivery, map_, send, delivery.lasts)
            except Exception:
                self._give_up(delivery)
                continue
            if isinstance(found, Answer):
                self._answer(delivery, found)
            else:
                self._tasks[self._loop.create_task(self._wait_for(delivery, found))] = found
                tasks = True
        if tasks:
            # It comes behind the first steps of these tasks: those that do not wait are in it.
            self._flush_soon()

    def _refused(self, delivery: Delivery) -> Answer | None:
        user = delivery.user_id  # whoever may reply to the adapter may write to this queue, too
        return None if user in self._requests_from else self._service.refuse(delivery, user)

    async def _wait_for(self, delivery: Delivery, answering: Coroutine[Any, Any, Answer]) -> None:
        try:
            answer = await answering
        except Exception:
            self._give_up(delivery)
        else:
            self._answer(delivery, answer)
        finally:
            self._forget()
        self._flush_soon()

    def _forget(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.pop(task, None)

    def _answer(self, delivery: Delivery, answer: Answer) -> None:
        """Have done what an answer asks for."""
        if self._replied(delivery, answer):
            return
        if answer.rejected:
            self._reject(delivery)
        elif self._pass_on is not None and isinstance(answer.error, UnknownEvent):
            event = answer.error.event
            passing = self._loop.create_task(self._hand_over(delivery, answer, self._pass_on, event))
            self._tasks[passing] = None
        else:
            self._leave(delivery, answer)

    def _replied(self, delivery: Delivery, answer: Answer) -> bool:
        """Whether there is a reply, which goes out."""
        to = delivery.reply_to
        if answer.body is None or not to:
            return False
        now = time.time()
        self._service.spent += now - delivery.received
        self._publish(Reply(delivery, answer, answer.body, to, self._message_id(), now))
        return True

    def _leave(self, delivery: Delivery, answer: Answer) -> None:
        """Leave a request to others; reply if there are none."""
        if not (delivery.direct and self._replied(delivery, self._service.alone(answer))):
            self._done(delivery)

    def _done(self, delivery: Delivery, lost: bool = False) -> None:
        """Have the message acknowledged, once all requests in it are done with; rejected if one is lost."""
        if delivery.settle(lost):
            (self._acknowledgements.reject if delivery.lost else self._acknowledgements.done)(delivery.tag)

    def _reject(self, delivery: Delivery, alone: bool = True) -> None:
        """Give a request to the dead letters. One that came with others goes there ``alone``, if it can."""
        if delivery.request is None:
            self._acknowledgements.reject(delivery.tag)
        elif not (alone and self._outlet.give_up_one(delivery, self._service.name, self._message_id())):
            self._done(delivery, lost=True)

    def _message_id(self) -> str:
        return f"{self._service.name}:{next(self._numbers)}"

    def _extend(self, delivery: Delivery, extension: Extension) -> None:
        """Have more time asked for, at once: the answer is still to come."""
        to = delivery.reply_to
        if to and not self._over:
            reply = Reply(
                delivery, extension, extension.body, to, self._message_id(), time.time(), last=False
            )
            self._publish(reply)
            self._write()

    async def _hand_over(
        self,
        delivery: Delivery,
        answer: Answer,
        pass_on: Callable[[Delivery, str], Awaitable[bool]],
        event: str,
    ) -> None:
        """Pass a request on, or else leave it. If the line is lost first, it comes again."""
        try:
            if await pass_on(delivery, event):
                self._done(delivery)
            else:
                self._leave(delivery, answer)
        except Exception:
            self._give_up(delivery)
        finally:
            self._forget()
        self._flush_soon()

    def _publish(self, reply: Reply) -> None:
        try:
            self._outlet.add(reply)
        except Exception:
            # What a service may put there need not fit. Unacknowledged it would stay here for ever.
            self._give_up(reply.request, reply.last)

    def _give_up(self, delivery: Delivery, last: bool = True, alone: bool = True) -> None:
        """Give a request to the dead letters over the exception that is being handled: see ``_reject``.

        Not if its answer is still to come: more time for it is not asked for, then.
        """
        named = (self._service.name, told(delivery), "to the dead letters" if last else "no more time")
        _log.exception("%s: %s: %s", *named, extra=about(named[0], delivery))
        if last:
            self._reject(delivery, alone)

    def _on_confirms(self, outlet: Outlet, _: object, confirms: list[Confirm | Returned]) -> None:
        """A request is done with when RabbitMQ has its reply."""
        refused: list[Reply] = []
        for each in confirms:
            if isinstance(each, Returned):
                name, id_, key = self._service.name, each.correlation_id, each.routing_key
                _log.warning("%s: %s: there is no queue %s", name, id_, key)
                continue
            for _number, replies in outlet.unconfirmed.answered(each):
                if not each.taken:
                    refused += replies
                    continue
                for reply in replies:
                    if reply.last:
                        self._done(reply.request)
        if refused:
            self._on_refused(outlet, refused)
        if confirms:
            self._retire(outlet)
        if not self._flush_due:
            self._flush()

    def _flush_soon(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Write what there is, unless it is but a few acknowledgements, for which nobody waits."""
        self._flush_due = False
        if self._over:
            return
        waiting = self._acknowledgements.waiting
        if self._main.waiting or self._outlet.waiting or waiting > self._most_done:
            self._write()
        elif waiting and self._pause is None:
            self._pause = self._loop.call_later(ACK_PAUSE, self._write)

    def _write(self) -> None:
        """Write all there is. What cannot be written is lost with the line, and delivered again."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        frames = self._main.take()
        if self._outlet is not self._main:
            replies = self._outlet.take()
            if replies and not self._outlet.line.write(b"".join(replies)):
                self._on_outlet_closed(self._outlet)
        answered, acknowledgements = self._acknowledgements.take()
        frames += acknowledgements
        if frames:
            self._line.write(b"".join(frames))
        self.in_hand -= answered
        if not self.in_hand:
            self._idle.set()

    def _on_refused(self, outlet: Outlet, refused: Iterable[Reply]) -> None:
        for reply in refused:
            self._tasks[self._loop.create_task(self._again(outlet, reply))] = None

    async def _again(self, outlet: Outlet, refused: Reply) -> None:
        """Reply once more, on another line."""
        reply = refused._replace(attempts=refused.attempts + 1)
        try:
            await self._renew(outlet)
            if reply.attempts < REPLY_ATTEMPTS:
                await asyncio.sleep(REPLY_PAUSE * reply.attempts * random.uniform(0.5, 1))
                self._publish(reply)
            else:
                named = (self._service.name, told(reply.request), *reply.untaken)
                _log.error("%s: %s: %s takes no %s", *named, extra=about(named[0], reply.request))
                if reply.last:
                    self._reject(reply.request, not isinstance(reply, Letter))
        except Exception:  # whatever the library raised
            if self._line.alive:
                self._give_up(reply.request, reply.last, not isinstance(reply, Letter))
        finally:
            self._forget()
        self._flush_soon()

    async def _renew(self, refused: Outlet) -> None:
        """Reply on another line from now on; once for all that were refused on this one."""
        async with self._renewing:
            if self._outlet is refused:
                line = await self._another()
                outlet = self._outlet = Outlet(line)
                line.listen(partial(self._on_confirms, outlet))
                line.on_closed(partial(self._on_outlet_closed, outlet))
                self._retire(refused)

    def _on_outlet_closed(self, outlet: Outlet, _: str = "") -> None:
        if not self._over:
            self._on_refused(outlet, outlet.give_up())

    def _retire(self, outlet: Outlet) -> None:
        """Close a line for replies once it is not used and nothing is under way on it."""
        if outlet is not self._outlet and outlet is not self._main and not outlet.unconfirmed:
            closing = asyncio.ensure_future(outlet.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
