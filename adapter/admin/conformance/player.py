"""Asks a running consumer every question over RabbitMQ, and notes what comes of it.

It is safe beside calls: nodes and queues are the kit's own, every message expires, requests go to the one
service's queue alone, one at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from adapter import contract
from adapter.admin import dead_letters
from adapter.admin.conformance import messages, questions
from adapter.admin.conformance.mailbox import Mailbox
from adapter.admin.conformance.observations import Observed, Played, Reply
from adapter.admin.conformance.publishing import Publishing
from adapter.admin.conformance.questions import Call, Question
from adapter.admin.rabbit import NoRights
from adapter.errors import AdapterError

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.admin.conformance.sight import Sight
    from adapter.admin.rabbit import Message, Rabbit

TRIES: Final = 3
"""Plain calls until one is answered in time: the first one may meet a consumer that is still cold."""
AGAIN: Final = 1
"""Times that another question is asked again if nothing came back: a fault is there each time."""
_FIRST_SEQ: Final = 1 << 30
"""No transaction of a Kamailio's is suspended so often."""


class NobodyThere(AdapterError):
    """No consumer is on the queue, or there is no queue."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the player waits, in seconds.

    Args:
        grace: for a reply, after its deadline.
        comeback: for a consumer that went away to be there again.
        quiet: in the end, for what nobody expects any more: a second reply, or one to a notice.
        settle: in the end, for acknowledgements.
        look: between two looks at the queue.
        answer: for RabbitMQ.
        stale: until the figures of the management API are of after the run: they were up to 5.1 s old (3.10).
        stale_quorum: likewise of a quorum queue: up to 10 s old (4.3).
        looks: at these figures, while they are bad: beside calls consumers hold now more, now fewer.
    """

    grace: float = 3.0
    comeback: float = 10.0
    quiet: float = 1.0
    settle: float = 5.0
    look: float = 0.1
    answer: float = 5.0
    stale: float = 6.0
    stale_quorum: float = 11.0
    looks: int = 3


class Player:
    """One run. Made and used in one event loop.

    Args:
        rabbit: a connection.
        service: the consumer's name.
        call: the call that is played; its node is replaced by one of the kit's own.
        sight: what a relay sees; ``None`` without one.
        patience: how long it waits.
        say: is told of each question.
        by_exchange: publish to the exchange of all events, as the adapter does, not to the one queue.
        queue: of the consumer, if it is not the service's.
        mqtt: whether requests name the topic by which MQTT clients reply.
    """

    def __init__(
        self,
        rabbit: Rabbit,
        service: str,
        call: Call,
        *,
        sight: Sight | None = None,
        patience: Patience | None = None,
        say: Callable[[str], None] = lambda _: None,
        by_exchange: bool = False,
        queue: str = "",
        mqtt: bool = False,
    ) -> None:
        node = f"conformance-{secrets.token_hex(4)}"
        self._rabbit = rabbit
        self._call = replace(call, node=node)
        self.queue = queue or contract.service_queue(service)
        """The consumer's."""
        self._by_exchange = by_exchange
        self.patience = patience or Patience()
        self._say = say
        self._sight = sight
        self._publishing = Publishing(rabbit, self.patience.answer)
        self._user = ""
        self._nodes = {
            Question.OTHER_NODE: f"{node}-b",
            Question.NOTICE: f"{node}-c",
            Question.OBSERVED: f"{node}-d",
        }
        self._all_nodes = (node, *self._nodes.values())
        self._mailbox = Mailbox(rabbit, self._all_nodes, self._nodes[Question.OTHER_NODE], mqtt)
        self._mqtt = mqtt
        self._ids: dict[str, Played] = {}
        self._current: Played
        self._published_at: dict[str, float] = {}
        self._seq = itertools.count(_FIRST_SEQ + secrets.randbelow(1 << 29))
        self._something = asyncio.Event()
        self._gone = ""
        self._hidden = self._away = False
        self.observed = Observed(seen=None if sight is None else sight.requests)

    async def run(self) -> Observed:
        """Ask everything. Raises BrokerUnavailable, and NobodyThere if there is no consumer."""
        self._hidden = self._by_exchange and not await self._is_seen()
        if not await self.consumers():
            raise NobodyThere(f"nobody consumes the queue {self.queue}: start the consumer first")
        self._user = await self._rabbit.user()
        async with contextlib.aclosing(self._mailbox) as mailbox:
            keys = {self._way(node).key for node in self._all_nodes}
            self.observed.letters_seen = await mailbox.open(self._on_reply, self._on_letter, keys)
            await self._ask_plain()
            for question in Question:
                if question is not Question.PLAIN:
                    await self._ask_unless_over(question)
            await asyncio.sleep(self.patience.quiet)
            await self._all_settled()
        return self.observed

    def _node(self, question: Question) -> str:
        return self._nodes.get(question, self._call.node)

    def _on_reply(self, message: Message, queue: str) -> None:
        id_ = message.properties.correlation_id or message.headers.get("x-correlation-id") or ""
        id_ = id_.decode(errors="replace") if isinstance(id_, bytes) else str(id_)
        played = self._ids.get(id_) or self._asked_at(queue)
        after = asyncio.get_running_loop().time() - self._published_at[played.id]
        kind = message.properties.content_type
        played.replies.append(Reply(id_, queue, after, message.body, kind, message.headers))
        self._something.set()

    def _on_letter(self, message: Message, _: str) -> None:
        played = self._ids.get(message.properties.message_id or "")
        if played is not None:
            played.letters.append(dead_letters.read(0, message).reason)
            self._something.set()

    def _asked_at(self, queue: str) -> Played:
        """Whose reply it is that says nothing of its request: by the queue, if nobody waits, or the last."""
        for question in Question:
            asked = self.observed.of(question) if question.unaddressed else None
            if asked is not None and queue.endswith(self._node(question)):
                return asked
        return self._current

    async def _ask_plain(self) -> None:
        for _ in range(TRIES):
            played = await self._ask(Question.PLAIN)
            in_time = played.replies and played.replies[0].after <= played.timeout
            if in_time or played.letters or played.lost_consumer:
                break
        if not any(played.decided for played in self.observed.played):
            self._gone = "left out: no plain call is decided"

    async def _ask_unless_over(self, question: Question) -> None:
        if self._gone:
            self.observed.left_out[question] = self._gone
            return
        self._away = False
        played = await self._ask(question)
        for _ in range(AGAIN):
            if not self._in_doubt(played):
                break
            played = await self._ask(question)
        if played.replies:
            return
        # Silence is right for some questions: whether it broke anything, the next calls tell.
        played.alive = await self._answers() or await self._answers()
        played.lost_consumer = self._away or await self.consumers() < played.consumers
        if not played.alive and not (played.lost_consumer and await self._comes_back()):
            self._gone = f"left out: nothing is answered any more since {question}"

    def _in_doubt(self, played: Played) -> bool:
        """Whether nothing came back, which may be as the machine is busy, or as the kit could not ask."""
        if played.question in self.observed.left_out:
            del self.observed.left_out[played.question]
            return True
        silent = not played.replies and not played.rejected and not played.lost_consumer
        return silent and self._awaited(played.question)

    async def _answers(self) -> bool:
        """Whether a plain call is answered."""
        return bool((await self._ask(Question.PLAIN)).replies)

    async def _comes_back(self) -> bool:
        """Whether a consumer that went away, or hangs, answers again."""
        until = time.monotonic() + self.patience.comeback
        while time.monotonic() < until:
            if await self.consumers() and await self._answers():
                return True
            await asyncio.sleep(self.patience.look)
        return False

    async def _ask(self, question: Question) -> Played:
        node, seq = self._node(question), next(self._seq)
        played = Played(question, f"{node}:0:0:{seq}", self._mailbox.reply_to(node), self._call.timeout)
        played.consumers = await self.consumers()
        self._current = self._ids[played.id] = played
        if self._sight is not None:
            self._sight.of(played.id)
        self._say(question)
        await self._publish(played, replace(self._call, node=node), seq)
        if self._awaited(question) and question not in self.observed.left_out:
            await self._answered(played)
        return played

    def _awaited(self, question: Question) -> bool:
        """Whether something is to come back that can be seen."""
        return question.answerable and (self.observed.letters_seen or not question.refusable)

    async def _publish(self, played: Played, call: Call, seq: int) -> None:
        now, question = time.time(), played.question
        content = questions.content(question, call, seq, now)
        to = messages.Addressed(call.event, call.node, played.id, question.unaddressed, played.reply_to)
        way = self._way(call.node)

        def write(line: tuple[int, int]) -> bytes:
            return messages.written(line, way, to, content, now, call.timeout)

        self._published_at[played.id] = asyncio.get_running_loop().time()
        if question is Question.REDELIVERED:
            if not await self._publishing.twice(self.queue, played.id, write, lambda: played.over):
                self.observed.left_out[question] = "not checked: the kit could not take the request first"
                return
        elif not await self._publishing.publish(write):
            raise NobodyThere(f"no queue takes {call.event}: {self.queue} is gone, or not bound to it")
        self.observed.played.append(played)

    def _way(self, node: str) -> messages.Way:
        if not self._by_exchange:
            return messages.Way("", self.queue, self._user, self._mqtt)
        key = contract.routing_key(self._call.event, node)
        return messages.Way(contract.EVENTS_EXCHANGE, key, self._user, self._mqtt)

    async def _answered(self, played: Played) -> None:
        """Return once something came back, nobody is there any more, or the time is over."""
        loop = asyncio.get_running_loop()
        deadline = self._published_at[played.id] + played.timeout
        waited = []
        while not played.over and loop.time() < deadline + self.patience.grace:
            self._something.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.patience.look):
                    await self._something.wait()
            state = None if played.over else await self._rabbit.queue(self.queue)
            if state is None:
                continue
            if state.consumers < played.consumers or not state.consumers:
                played.lost_consumer = self._away = True
                break
            if loop.time() < deadline:
                waited.append(state.messages > 0)
        played.untaken = not played.replies and bool(waited) and all(waited)

    async def _is_seen(self) -> bool:
        """Whether the queue can be looked at. That of an MQTT client, for one, has a name of its own."""
        with contextlib.suppress(NoRights):  # RabbitMQ 4.3 asks for some right, even to look
            return await self._rabbit.queue(self.queue) is not None
        return False

    async def consumers(self) -> int:
        """Return how many consume its queue; 1 if nobody can know. Raises BrokerUnavailable."""
        if self._hidden:
            return 1
        state = await self._rabbit.queue(self.queue)
        return 0 if state is None else state.consumers

    async def _all_settled(self) -> None:
        """Wait for the acknowledgements of what came by the relay."""
        seen = self.observed.seen or {}
        until = time.monotonic() + self.patience.settle
        while time.monotonic() < until and any(each.delivered and not each.settled for each in seen.values()):
            await asyncio.sleep(self.patience.look)
