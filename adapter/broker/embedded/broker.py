"""The broker in one process: services run beside the bridge and nothing is connected to.

It behaves as RabbitMQ does, so that what works here works there. Bodies pass encoded. Every
service that handles an event gets its copy; an event nobody handles is unroutable. (Two events that
share a routing key are told apart here before they are delivered, on RabbitMQ by the service.) A service
works on ``prefetch`` requests at a time, the rest waits in its queue; a full queue does not take
more (UNAVAILABLE). What has expired is not handed over; a request that was to be taken before its deadline
comes back as ``Reply(rejected="expired")``. A rejected request comes back as
``Reply(rejected="rejected")`` and stays in ``dead_letters``. Replies wait until their node is
attached, and are delivered again when the receiver raises.

Unlike RabbitMQ, it ends with the process, and what waits in it too.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from adapter.amqp.urls import EMBEDDED
from adapter.broker.embedded.commands import EmbeddedCommands
from adapter.broker.embedded.cores import Delivery
from adapter.broker.embedded.questions import Questions
from adapter.broker.embedded.queues import Queue, Untaken
from adapter.broker.embedded.results import RETRY, Results
from adapter.broker.headers import count
from adapter.contract import (
    HEADER_CACHE,
    HEADER_DEADLINE,
    HEADER_DETAIL,
    HEADER_EXTEND,
    HEADER_NODE,
    HEADER_SERVICE,
    HEADER_STATUS,
    HEADER_TIME_LEFT,
    HEADER_TRACEPARENT,
    HEADER_UNTAKEN,
    HEADER_VERSION,
    VERSION,
    service_queue,
)
from adapter.ports.broker import DeadLetter, Publication, Published, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from adapter.broker.embedded.cores import Answered, Core
    from adapter.ports.broker import Receiver
    from adapter.ports.commands import ReplyAddress

_log = logging.getLogger(__name__)

QUEUE_LIMIT: Final = 10_000
"""Requests that wait for one service, and replies that wait for one node."""
DEAD_LETTERS: Final = 1_000
DEAD_LETTER_BYTES: Final = 4_096
"""Of the body of each that is kept."""
GRACE: Final = 10.0
"""Seconds that ``close`` gives to the work under way."""
SLICE: Final = 64
"""Requests handed to one service before the loop gets its turn."""


class EmbeddedBroker:
    """The port ``adapter.ports.broker.Broker`` over ``cores``. Made and used in one event loop."""

    def __init__(
        self,
        cores: Sequence[Core],
        *,
        queue_limit: int = QUEUE_LIMIT,
        retry: float = RETRY,
        grace: float = GRACE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.dead_letters: deque[DeadLetter] = deque(maxlen=DEAD_LETTERS)
        self.expired = 0
        self._letters = 0
        self._queue_limit = queue_limit
        self._retry = retry
        self._grace = grace
        self._clock = clock
        self._queues = [Queue(core) for core in cores]
        self._bound: dict[str, list[Queue]] = {}
        self._named: dict[str, list[Queue]] = {}  # by the name that their queue has on RabbitMQ
        for queue in self._queues:
            self._named.setdefault(service_queue(queue.core.name), []).append(queue)
            for event in set(queue.core.events):
                self._bound.setdefault(event, []).append(queue)
        self._untaken = Untaken(clock, self._give_up)
        self.questions = Questions(self._publish, self._queues, self.dead_letters, clock)
        self._results: dict[str, Results] = {}
        self._commands = EmbeddedCommands(self)
        self._tasks: set[asyncio.Task[None]] = set()
        self._receiver: Receiver | None = None
        self._closed = False
        self._idle = asyncio.Event()

    def __repr__(self) -> str:
        queues = " ".join(f"{queue.core.name}={queue.in_hand}+{len(queue.waiting)}" for queue in self._queues)
        held = sum(len(results.replies) for results in self._results.values())
        return f"<EmbeddedBroker {'ready' if self.ready else 'closed'} {queues} replies={held}>"

    @property
    def ready(self) -> bool:
        """Whether a publication would be taken now."""
        return self._receiver is not None and not self._closed

    @property
    def gone(self) -> bool:
        """Never: it is in this process."""
        return False

    @property
    def messaging(self) -> Mapping[str, str | int]:
        """See ``Broker``: there is no server."""
        return EMBEDDED

    def takes_replies(self, _: str) -> bool:
        """Always: nothing stands between a service and the bridge."""
        return True

    @property
    def beside(self) -> Mapping[str, str]:
        """None: there are no queues."""
        return {}

    @property
    def problems(self) -> Mapping[str, str]:
        """None: all of it is in this process."""
        return {}

    @property
    def services(self) -> Mapping[str, Sequence[str]]:
        """All."""
        return {queue.core.name: sorted(queue.core.events) for queue in self._queues}

    @property
    def dropped(self) -> Mapping[str, int]:
        """None: what is handed over has no other protocol's form."""
        return {}

    def hear(self, _: Mapping[str, Collection[str]]) -> None:
        """There are no others."""

    @property
    def unheard(self) -> Mapping[str, str]:
        """None."""
        return {}

    @property
    def counts(self) -> Mapping[str, int]:
        """What it has counted since the start, by name, for the metrics."""
        return {"expired": self.expired, "dead_letters": self._letters}

    async def start(self, receiver: Receiver) -> None:
        """Begin; ``receiver`` gets the replies. Raises what the services raise that cannot be opened."""
        try:
            for queue in self._queues:
                self._commands.serve(queue.core)
                await queue.core.open()
        except BaseException:
            await self._close_cores()
            raise
        self._receiver = self._commands.receiver = receiver

    def attach(self, node: str, priority: int = 0) -> None:
        """Deliver the node's replies, those that waited first. Nobody else does, whatever the priority."""
        results = self._results_of(node)
        results.attached = True
        self._commands.linked.add(node)
        results.deliver_soon(self._receiver)

    def detach(self, node: str) -> None:
        """Keep the node's replies from now on."""
        self._results_of(node).attached = False
        self._commands.linked.discard(node)

    def know(self, nodes: Collection[str]) -> None:
        """See ``ports.broker.Broker``."""
        self._commands.unlinked = frozenset(nodes)

    def reply(self, node: str, to: ReplyAddress, body: bytes) -> None:
        """See ``ports.broker.Broker``. There is no other replica."""

    def join(self, replica: str, lease: float, heard: Callable[[bytes], None]) -> None:
        """See ``ports.broker.Broker``. There is nobody else."""

    def say(self, body: bytes) -> None:
        """See ``ports.broker.Broker``. Nobody hears it."""

    async def publish(self, publications: Sequence[Publication]) -> list[Published]:
        """Hand each to its services, in the next round of the loop."""
        now = self._clock()
        return [self._publish(publication, now) for publication in publications]

    def dead_letter(self, letter: DeadLetter) -> None:
        """Keep it; the oldest gives way."""
        self._letters += 1
        self.dead_letters.append(replace(letter, body=letter.body[:DEAD_LETTER_BYTES]))

    async def close(self) -> None:
        """Take nothing more in, finish what is waiting and in hand, within ``grace`` seconds."""
        self._closed = True
        if self._busy():
            try:
                async with asyncio.timeout(self._grace):
                    await self._idle.wait()
            except TimeoutError:
                _log.warning("closing with work left: %r", self)
        self._untaken.end()
        tasks = [*self._tasks, *(results.task for results in self._results.values() if results.task)]
        for queue in self._queues:
            queue.waiting.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._close_cores()

    async def _close_cores(self) -> None:
        for queue in self._queues:
            await queue.core.close()

    def _publish(self, publication: Publication, now: float) -> Published:
        if not self.ready:
            return Published.UNAVAILABLE
        to = publication.queue
        queues = self._asked(to, publication.event) if to else self._bound.get(publication.event)
        if queues is None:
            return Published.UNROUTABLE
        for queue in queues:
            if len(queue.waiting) >= self._queue_limit:
                return Published.REFUSED
        node, deadline = publication.node, publication.deadline
        headers: dict[str, Any] = {HEADER_NODE: node, HEADER_VERSION: VERSION}
        if deadline is not None:
            headers[HEADER_DEADLINE] = round(deadline * 1000)
            headers[HEADER_TIME_LEFT] = round((deadline - now) * 1000)
        if publication.traceparent:
            headers[HEADER_TRACEPARENT] = publication.traceparent
        expires = publication.expires
        if expires is not None and (deadline is None or expires >= deadline):
            expires = None
        if expires is not None:
            headers[HEADER_UNTAKEN] = 1
        id_, body, direct = publication.correlation_id, publication.body, bool(to)
        delivery = Delivery(node, body, id_, deadline, headers, direct)
        for queue in queues:
            queue.waiting.append(delivery)
            if expires is not None:
                self._untaken.add(queue, delivery, expires)
            if not queue.scheduled:
                self._serve_soon(queue)
        return Published.CONFIRMED

    def _asked(self, name: str, event: str) -> list[Queue] | None:
        """Those whose queue has this name. Of several that service is asked which handles the event."""
        named = self._named.get(name)
        if named is None or len(named) == 1:
            return named
        return [queue for queue in named if event in queue.core.events] or named[:1]

    def _serve_soon(self, queue: Queue) -> None:
        if not queue.scheduled:
            queue.scheduled = True
            asyncio.get_running_loop().call_soon(self._serve, queue)

    def _serve(self, queue: Queue) -> None:
        """Hand over what the service may have. Where its handlers do not wait, no task is made."""
        queue.scheduled = False
        now = self._clock()
        for _ in range(SLICE):
            if not queue.waiting or queue.in_hand >= queue.core.prefetch:
                break
            delivery = queue.waiting.popleft()
            received = now
            if queue.expires and queue.expires.pop(id(delivery), received + 1) <= received:
                self._give_up(queue, delivery)
                continue
            if delivery.deadline is not None and delivery.deadline <= received:
                self.expired += 1
                continue
            try:
                found = queue.core.begin(delivery, self._send)
            except Exception:
                _log.exception("%s: %s", queue.core.name, delivery.correlation_id)
                self._reject(queue, delivery)
                continue
            now = self._clock()  # the next one's turn begins where this one's ends
            if isinstance(found, Coroutine):
                queue.in_hand += 1
                task = asyncio.get_running_loop().create_task(
                    self._wait_for(queue, delivery, found, received)
                )
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            else:
                self._answer(queue, delivery, found, received, now)
        else:
            self._serve_soon(queue)
        self._tell_idle()

    async def _wait_for(
        self, queue: Queue, delivery: Delivery, answer: Coroutine[Any, Any, Answered], received: float
    ) -> None:
        try:
            found = await answer
            self._answer(queue, delivery, found, received, self._clock())
        except Exception:
            _log.exception("%s: %s", queue.core.name, delivery.correlation_id)
            self._reject(queue, delivery)
        finally:
            queue.in_hand -= 1
            if queue.waiting:
                self._serve_soon(queue)
            self._tell_idle()

    def _answer(
        self, queue: Queue, delivery: Delivery, answer: Answered, received: float, replied: float
    ) -> None:
        if answer.rejected:
            self._reject(queue, delivery)
            return
        if answer.body is None and delivery.direct:
            answer = queue.core.alone(answer)
        self._send(delivery, answer, queue.core.name, received, replied)

    def _send(
        self,
        delivery: Delivery,
        answer: Answered,
        service: str | None = None,
        received: float | None = None,
        replied: float | None = None,
    ) -> None:
        """Reply, with the answer or before it. Nothing if nobody waits for one."""
        if answer.body is not None and delivery.correlation_id is not None:
            headers = answer.headers
            service = service or headers.get(HEADER_SERVICE)
            id_, body, kind = delivery.correlation_id, answer.body, answer.content_type
            if len(headers) > 1:  # else it says nothing but whose it is
                status, extend, cache = map(headers.get, (HEADER_STATUS, HEADER_EXTEND, HEADER_CACHE))
                detail = None if status is None else headers.get(HEADER_DETAIL)
                reply = Reply(id_, body, kind, status, service, None, received, replied, detail)
                if extend is not None or cache is not None:
                    reply = replace(reply, extend=count(extend), cache=count(cache))
            else:
                reply = Reply(id_, body, kind, headers.get(HEADER_STATUS), service, None, received, replied)
            self._give(delivery.node, reply)

    def _reject(self, queue: Queue, delivery: Delivery) -> None:
        reason, service, kind = "rejected", queue.core.name, delivery.content_type
        self.dead_letter(
            DeadLetter(reason, service, delivery.body, delivery.node, delivery.correlation_id, kind)
        )
        self._return(queue, delivery, reason)

    def _give_up(self, queue: Queue, delivery: Delivery) -> None:
        """Nobody took it in the time that it had for that."""
        self.expired += 1
        self._return(queue, delivery, "expired")
        self._tell_idle()

    def _return(self, queue: Queue, delivery: Delivery, why: str) -> None:
        if delivery.correlation_id is not None:
            service, kind = queue.core.name, delivery.content_type
            reply = Reply(delivery.correlation_id, delivery.body, kind, None, service, why)
            self._give(delivery.node, reply)

    def _give(self, node: str, reply: Reply) -> None:
        if not (self.questions.waiting and self.questions.takes(reply)):
            self._results_of(node).add(reply, self._receiver)

    def _results_of(self, node: str) -> Results:
        results = self._results.get(node)
        if results is None:
            results = Results(node, self._retry, self._queue_limit, self._tell_idle)
            self._results[node] = results
        return results

    def _busy(self) -> bool:
        return any(queue.waiting or queue.in_hand for queue in self._queues) or any(
            results.task is not None for results in self._results.values()
        )

    def _tell_idle(self) -> None:
        if self._closed and not self._busy():
            self._idle.set()
