"""Asks a candidate about calls that are over, without touching one, and compares its decisions.

Its replies come to a queue of our own, under correlation ids that no adapter has ever made: no call waits for
them, and none could be answered by one. To the candidate they are requests like any other, so what it does
beside deciding it does for them as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from pamqp.commands import Basic

from adapter import contract
from adapter.admin import dead_letters
from adapter.admin.differences import Compared, Result, differences
from adapter.admin.rabbit import NoRights, NotThere
from adapter.amqp.topology import Binding
from adapter.broker.headers import count
from adapter.errors import BrokerUnavailable, CodecError
from adapter.model.correlation import Ids
from adapter.model.transaction import Outcome
from adapter.ports.broker import Reply
from adapter.relay.translate import settlement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from adapter.admin.differences import Difference, Tally
    from adapter.admin.rabbit import Message, Rabbit
    from adapter.admin.recorded import Recorded
    from adapter.relay.plan import Service

MORE_TIME: Final = 0.3
"""Seconds after the deadline for which RabbitMQ may still tell that nobody took the request."""
NOT_TAKEN: Final = "no instance took it from the queue in time"
SILENT: Final = "no reply in time"
LATE: Final = "its reply came too late"
_EXPIRED: Final = "expired"
_PLAIN: Final = Ids()
_WHY: Final = {Outcome.FAILED: "it failed, and does not say why", Outcome.OVERSIZED: "its reply is too long"}


@dataclass(frozen=True, slots=True)
class Terms:
    """How a candidate is asked.

    ``candidate``: with what a policy says of it: format, fields, actions that it may decide. ``timeout``:
    seconds that it has for each request, and as many more if it asks for more time. ``rate``: requests a
    second; ``in_flight``: requests that wait for their replies at a time; at most, both. ``fields``: keys of
    a decision that are compared; empty: all. ``clock_ahead``: seconds by which the adapters' clock is ahead
    of this machine's.
    """

    candidate: Service
    timeout: float = 2.0
    rate: float = 50.0
    in_flight: int = 100
    fields: frozenset[str] = frozenset()
    clock_ahead: float = 0.0


class NoCandidate(BrokerUnavailable):
    """Nobody is there who could be asked."""


async def look_for(rabbit: Rabbit, service: str) -> None:
    """Raises NoCandidate if nobody takes requests from a service's queue; BrokerUnavailable.

    RabbitMQ 4.3 does not let an operator look at it. So the first request tells whether it is there, and the
    time of each whether somebody consumes it.
    """
    queue = contract.service_queue(service)
    try:
        state = await rabbit.queue(queue)
    except NoRights:
        return
    if state is None:
        raise _no_queue(service)
    if not state.consumers:
        raise NoCandidate(
            f"nobody consumes {queue}: start an instance of {service}, with a user who may consume it"
        )


def _no_queue(service: str) -> NoCandidate:
    return NoCandidate(
        f"{service} has no queue {contract.service_queue(service)}: start an instance of it, which declares "
        "it; evapi-adapter services lists those that have one"
    )


class Replay:
    """Asks about calls, one after the other.

    Args:
        rabbit: a connection.
        terms: how.
        tally: counts what comes of it, while it goes on.
        told: called after each call.
    """

    def __init__(
        self, rabbit: Rabbit, terms: Terms, tally: Tally, told: Callable[[], object] = lambda: None
    ) -> None:
        self._rabbit = rabbit
        self._terms = terms
        self._tally = tally
        self._told = told
        self._run = uuid.uuid4().hex[:12]
        self._reply_to = f"evapi.answers.{uuid.uuid4().hex}"
        self._user: str | None = None
        self._waiting: dict[str, asyncio.Queue[Message]] = {}
        self._problem: BrokerUnavailable | None = None

    async def run(self, calls: Iterable[Recorded]) -> None:
        """Ask about all of them. Raises NoCandidate if the queue is gone, BrokerUnavailable."""
        self._user = await self._rabbit.user() or None
        async with self._rabbit.listen(self._reply_to) as came:
            # By this way it is told at once that a request was rejected; without it the deadline tells.
            with contextlib.suppress(NotThere, NoRights):
                queue = self._terms.candidate.queue
                await self._rabbit.bind(Binding(contract.DEAD_BY_NODE_EXCHANGE, self._reply_to, queue))
            receiving = asyncio.create_task(self._receive(came))
            asking: set[asyncio.Task[None]] = set()
            try:
                await self._ask_all(calls, asking)
                while asking and self._problem is None:
                    await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (receiving, *asking):
                    task.cancel()
                await asyncio.gather(receiving, *asking, return_exceptions=True)
        if self._problem is not None:
            raise self._problem

    async def _ask_all(self, calls: Iterable[Recorded], asking: set[asyncio.Task[None]]) -> None:
        pace = dead_letters.Pace(self._terms.rate)
        for number, call in enumerate(calls, 1):
            await pace.role()
            while len(asking) >= self._terms.in_flight and self._problem is None:
                await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            if self._problem is not None:
                return
            task = asyncio.create_task(self._ask(f"replay-{self._run}-{number}", call))
            asking.add(task)
            task.add_done_callback(asking.discard)

    async def _receive(self, came: asyncio.Queue[Message]) -> None:
        while True:
            message = await came.get()
            id_ = message.properties.correlation_id or message.headers.get(contract.HEADER_CORRELATION_ID)
            waiting = self._waiting.get(str(id_))
            if waiting is not None:  # not one that is late, or another's dead letter
                waiting.put_nowait(message)

    async def _ask(self, id_: str, call: Recorded) -> None:
        """Ask about one call, and count what comes of it."""
        began = asyncio.get_running_loop().time()
        came = self._waiting[id_] = asyncio.Queue()
        try:
            request = contract.decode_request(call.request)
            if not await self._publish(id_, request, call.request.startswith(b"{")):
                raise _no_queue(self._terms.candidate.name)
            result, detail, decision = await self._answer(call, came)
            if result is Result.NO_ANSWER and not self._rabbit.alive:
                raise BrokerUnavailable(f"RabbitMQ at {self._rabbit.url}: the connection was lost")
        except BrokerUnavailable as exc:
            self._problem = self._problem or exc
            return
        except CodecError as exc:
            result, detail, decision = Result.FAILED, f"it cannot be asked: {exc}", None
        finally:
            del self._waiting[id_]
        differ: tuple[Difference, ...] = ()
        if decision is not None:
            differ = differences(call.decision, decision, self._terms.fields)
            result = Result.DIFFERENT if differ else Result.SAME
        seconds = round(asyncio.get_running_loop().time() - began, 6)
        told = seconds if result is not Result.NO_ANSWER else None
        self._tally.add(
            Compared(
                str(call.id),
                call.call_id,
                call.at,
                call.outcome,
                result,
                detail,
                seconds=told,
                differences=differ,
            )
        )
        self._told()

    async def _publish(self, id_: str, request: contract.Request, as_json: bool) -> bool:
        """Publish a request as an adapter would. Whether a queue has it.

        Unlike an adapter's it has no second routing key: if it dies, no adapter is to hear of it. Raises
        BrokerUnavailable, CodecError.
        """
        candidate, left = self._terms.candidate, round(self._terms.timeout * 1000)
        deadline = time.time() + self._terms.clock_ahead + self._terms.timeout
        body = contract.encode_request(
            replace(request, deadline=deadline, data=candidate.cut(request.data)),
            as_json if candidate.as_json is None else candidate.as_json,
        )
        properties = Basic.Properties(
            content_type=contract.content_type(body),
            headers={
                contract.HEADER_NODE: request.node,
                contract.HEADER_VERSION: contract.VERSION,
                contract.HEADER_DEADLINE: round(deadline * 1000),
                contract.HEADER_TIME_LEFT: left,
            },
            delivery_mode=1,
            correlation_id=id_,
            reply_to=self._reply_to,
            expiration=str(left),
            message_id=id_,
            timestamp=datetime.now(UTC),
            message_type=request.event,
            user_id=self._user,
            app_id=contract.APP_ID,
        )
        try:
            return await self._rabbit.publish("", candidate.queue, body, properties)
        except NoRights as exc:
            raise NoRights(
                f"RabbitMQ at {self._rabbit.url}: the user may not write to the queues of services; "
                "let it write amq.default (README, Security)"
            ) from exc

    async def _answer(
        self, call: Recorded, came: asyncio.Queue[Message]
    ) -> tuple[Result, str, contract.Decision | None]:
        """What the candidate says within its time, with why it says nothing, or its decision."""
        loop = asyncio.get_running_loop()
        until, more = loop.time() + self._terms.timeout, True
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout_at(until + MORE_TIME):
                    message = await came.get()
                if message.exchange == contract.DEAD_EXCHANGE:
                    reason = dead_letters.read(0, message).reason
                    if reason == _EXPIRED:
                        return Result.NO_ANSWER, NOT_TAKEN, None
                    return Result.FAILED, f"the request was {reason}", None
                if loop.time() > until:
                    return Result.NO_ANSWER, LATE, None
                reply = _reply(call, message)
                if reply.status == contract.STATUS_EXTEND:
                    if more and reply.extend > 0:
                        until += min(reply.extend / 1000, self._terms.timeout)
                        more = False
                    continue
                judged = judge(reply, self._terms.candidate)
                if judged is not None:
                    return judged
        return Result.NO_ANSWER, SILENT, None


def judge(reply: Reply, candidate: Service) -> tuple[Result, str, contract.Decision | None] | None:
    """What the adapter would make of a reply; None of one that it would not count as an answer."""
    found, letter, _ = settlement(reply, _PLAIN)
    if found is None:
        return None
    if found.outcome is not Outcome.DECIDED or found.decision is None:
        detail = reply.detail if letter is None else f"{letter.reason}: {letter.detail}"
        return Result.FAILED, detail or _WHY.get(found.outcome, found.outcome.value), None
    decision: Mapping[str, Any] = json.loads(found.decision)
    if not candidate.may_decide(action := decision.get("action")):
        return Result.FAILED, f"it may not decide {action!r}: see accepts in the policy", None
    return Result.SAME, "", decision


def _reply(call: Recorded, message: Message) -> Reply:
    """As an adapter would read it, had it answered the call itself."""
    headers, extend = message.headers, message.headers.get(contract.HEADER_EXTEND)
    status, detail = headers.get(contract.HEADER_STATUS), headers.get(contract.HEADER_DETAIL)
    return Reply(
        str(call.id),
        message.body,
        message.properties.content_type,
        None if status is None else str(status),
        detail=None if detail is None else str(detail)[:200],
        extend=0 if extend is None else count(extend),
    )
