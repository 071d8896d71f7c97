"""Has commands carried out: each message from the bus gets one outcome, whoever of the replicas gives it.

The store for commands holds what is under way, as the in-flight store holds suspensions: a command is claimed
by its id, so that one which is repeated is known, and whoever settles it may reply. RabbitMQ hands a command
on to another replica when the one that has it dies, and a replica that merely hangs is looked after by the
others (``look_after``). Either writes it again under its id, for which the include does nothing twice.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

import structlog

from adapter.command_contract import CommandOutcome, CommandReply, encode_reply
from adapter.commands.command import held, read, taken_over
from adapter.commands.execution import Execution, Verdict
from adapter.commands.frames import PushedFrames
from adapter.errors import CodecError
from adapter.model.transaction import Outcome, Settlement, State
from adapter.observe.sink import Commanded
from adapter.ports.store import Claim

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence

    from adapter.commands.command import Command
    from adapter.model.transaction import Transaction
    from adapter.observe.command_metrics import CommandMetrics
    from adapter.observe.sink import Sink
    from adapter.ports.commands import Asked, CommandReplies
    from adapter.ports.links import Links
    from adapter.ports.store import Store
    from adapter.wire.command import Result

log = structlog.get_logger()

MOST: Final = 1_000
"""Commands of one node under way; more are refused."""
REPEAT: Final = 0.05
"""Seconds between two looks for the outcome of a command that another replica has under way."""
RESERVED: Final = 0.5
"""Seconds for which a frame is written past its command's deadline: the link may lag behind."""


class Commands:
    """Takes commands from the broker, and their results from the links. Made within the loop.

    Args:
        links: the way to Kamailio.
        store: holds what is under way: a store of commands alone.
        replies: sends replies to what another replica was asked.
        metrics: of commands.
        sinks: are told of each outcome.
        confirmed: returns whether nobody can have taken over from this replica.
        clock: gives epoch seconds.
    """

    def __init__(
        self,
        links: Links,
        store: Store,
        replies: CommandReplies,
        metrics: CommandMetrics,
        sinks: Sequence[Sink],
        confirmed: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self._links = links
        self._store = store
        self._replies = replies
        self._metrics = metrics
        self._sinks = tuple(sinks)
        self._confirmed = confirmed
        self._clock = clock
        self._frames = PushedFrames(links, self._end_frame, clock)
        self._executions: dict[tuple[str, str], Execution] = {}
        self._asked: dict[tuple[str, str], list[Asked]] = {}  # the messages that wait for each
        self._came: list[tuple[Asked, Command]] = []
        self._taking: asyncio.Handle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Commands {len(self._executions)} under way, {len(self._frames)} frames without receipt>"

    @property
    def under_way(self) -> int:
        """How many have no outcome yet."""
        return len(self._executions) + len(self._came)

    # From the bus

    def on_command(self, asked: Asked) -> None:
        """Take a command. Never waits."""
        now = self._clock()
        try:
            command = read(asked, now)
        except CodecError as exc:
            log.warning("command refused", node=asked.node, reason=exc.detail)
            self._tell(asked, "", now, Verdict(CommandOutcome.REFUSED, None, exc.detail))
            return
        if command is None:
            self._frames.push(asked, now)
            return
        self._came.append((asked, command))
        if self._taking is None:
            self._taking = asyncio.get_running_loop().call_soon(self._take)

    def _take(self) -> None:
        self._taking = None
        came, self._came = self._came, []
        self._spawn(self._claim(came))

    async def _claim(self, came: Sequence[tuple[Asked, Command]]) -> None:
        """Claim what one turn of the loop brought; begin what was won, and tell of what is known."""
        records = [held(command, self._store.replica) for _, command in came]
        claims = await self._store.claim(records, MOST)
        for (asked, command), claim in zip(came, claims, strict=True):
            if claim is Claim.WON:
                self._begin(command, [asked])
            elif claim is Claim.FULL:
                detail = f"{MOST} commands of the node are under way: send fewer at a time"
                self._finish(command, [asked], Verdict(CommandOutcome.REFUSED, None, detail))
            else:
                self._spawn(self._repeated(asked, command))

    def _begin(self, command: Command, asked: list[Asked]) -> None:
        key = command.node, command.id
        if self._clock() >= command.deadline:
            late = "whoever had it died, and its time was over when that was known"
            self._settle(command, asked, Verdict(CommandOutcome.TIMEOUT, None, late))
            return
        if why := self._links.refuses_commands(command.node):
            self._settle(command, asked, Verdict(CommandOutcome.UNAVAILABLE, None, why))
            return
        execution = self._executions[key] = Execution(command)
        self._asked[key] = asked
        self._write(execution, execution.begin())

    def _write(self, execution: Execution, frames: Iterable[bytes]) -> None:
        node, left = execution.command.node, execution.command.deadline + RESERVED - self._clock()
        for frame in frames:
            if len(frame) > self._links.max_payload(node):
                execution.end(CommandOutcome.REFUSED, f"{len(frame)} bytes are more than Kamailio reads")
                break
            self._links.send(node, frame, left, None)
        self._look_at(execution)

    # From Kamailio

    def on_result(self, node: str, result: Result) -> None:
        """Take a result. One of another replica's command is ignored."""
        if self._frames.on_result(node, result):
            return
        execution = self._executions.get((node, result.id.partition("#")[0]))
        if execution is not None:
            self._write(execution, execution.told(result, self._clock()))

    def tick(self, _: float = 0.0) -> None:
        """Do what is due. To be called often."""
        if self._executions:
            now = self._clock()
            for execution in list(self._executions.values()):
                if now >= execution.next_at:
                    self._write(execution, execution.tick(now))
        self._frames.tick()

    def _look_at(self, execution: Execution) -> None:
        if execution.verdict is None:
            return
        key = execution.command.node, execution.command.id
        if self._executions.pop(key, None) is not None:
            self._settle(execution.command, self._asked.pop(key, []), execution.verdict)

    # The outcome

    def _settle(self, command: Command, asked: list[Asked], verdict: Verdict) -> None:
        """Ask for the licence to reply, and reply."""
        self._spawn(self._ask_licence(command, asked, verdict))

    async def _ask_licence(self, command: Command, asked: list[Asked], verdict: Verdict) -> None:
        told = json.dumps([verdict.outcome.value, verdict.result, verdict.detail]).encode()
        settlement = Settlement(command.key, Outcome.DECIDED, told)
        (record,) = await self._store.settle([settlement], write_behind=self._confirmed())
        if record is not None:
            self._finish(command, asked, verdict)
            return
        for each in asked[:1]:
            each.answer(None)  # whoever has settled it has replied
        for each in asked[1:]:
            self._spawn(self._repeated(each, command))

    def _finish(self, command: Command, asked: Sequence[Asked], verdict: Verdict) -> None:
        seconds = max(self._clock() - command.came_at, 0.0)
        self._metrics.ended(command.node, command.label, verdict.outcome, seconds)
        outcome, detail = verdict.outcome.value, verdict.detail
        told = Commanded(command.node, command.name, command.id, command.call_id, outcome, seconds, detail)
        for sink in self._sinks:
            sink.commanded(self._clock(), told)
        if asked:
            for each in asked:
                self._tell(each, command.id, command.came_at, verdict, counted=False)
        elif command.to.queue:
            self._replies.reply(command.node, command.to, self._body(command, verdict, command.as_json))

    def _tell(self, asked: Asked, id_: str, came_at: float, verdict: Verdict, counted: bool = True) -> None:
        if counted:
            self._metrics.ended(asked.node, "", verdict.outcome, 0.0)
        as_json = asked.body.lstrip()[:1] == b"{"
        took = round(max(self._clock() - came_at, 0.0) * 1000)
        reply = CommandReply(verdict.outcome, asked.node, verdict.result, took, verdict.detail)
        asked.answer(encode_reply(reply, as_json) if asked.to.queue else None)

    def _body(self, command: Command, verdict: Verdict, as_json: bool) -> bytes:
        took = round(max(self._clock() - command.came_at, 0.0) * 1000)
        reply = CommandReply(verdict.outcome, command.node, verdict.result, took, verdict.detail)
        return encode_reply(reply, as_json)

    def _end_frame(self, asked: Asked, verdict: Verdict, came_at: float) -> None:
        self._tell(asked, "", came_at, verdict)

    # What is known already, or another replica's

    async def _repeated(self, asked: Asked, command: Command) -> None:
        """Answer a command whose id is known: by its former outcome, which may still be to come."""
        key = command.node, command.id
        while True:
            if key in self._executions:
                self._asked[key].append(asked)
                return
            record = await self._store.get(command.key)
            if record is None or record.state is State.SETTLED:
                self._tell(asked, command.id, command.came_at, _verdict_of(record), counted=False)
                return
            if asked.redelivered:
                await self._adopt(command.node, [record.owner], {key: asked})
                if key in self._executions:
                    return
            if self._clock() >= command.deadline:
                late = Verdict(CommandOutcome.TIMEOUT, None, "the command with this id has no outcome yet")
                self._tell(asked, command.id, command.came_at, late, counted=False)
                return
            await asyncio.sleep(REPEAT)

    async def _adopt(
        self, node: str, owners: Collection[str], asked: dict[tuple[str, str], Asked] | None = None
    ) -> None:
        """Go on with what these replicas had under way."""
        for record in await self._store.adopt(node, sorted(owners), State.CLAIMED):
            command = taken_over(record)
            if command is None or (command.node, command.id) in self._executions:
                continue
            waits = (asked or {}).get((command.node, command.id))
            log.info("command taken over", node=node, command=command.name, id=command.id, owner=record.owner)
            self._begin(command, [] if waits is None else [waits])

    async def look_after(self, nodes: Collection[str], dead: Collection[str]) -> None:
        """Go on with what dead replicas had under way, and forget what is long over."""
        for node in nodes:
            if dead:
                await self._adopt(node, dead)
            if self._store.due(node):
                await self._store.expire(node)  # what is left of those that nobody could go on with

    async def idle(self) -> None:
        """Return once nothing is being told."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            log.error("commands: a batch failed; whoever asked is told nothing", exc_info=exc)


def _verdict_of(record: Transaction | None) -> Verdict:
    """The former outcome, out of its record."""
    if record is None or record.decision is None:
        return Verdict(CommandOutcome.TIMEOUT, None, "nobody knows what became of the command with this id")
    outcome, result, detail = json.loads(record.decision)
    return Verdict(CommandOutcome(outcome), result, detail)
