"""Kamailio, adapters, services, RabbitMQ and Redis, for calls that several services decide.

The configuration is the packaged one, but that a call names its event and what the services do of it
(``X-Event``, ``X-Do``), and that the reply to it tells the whole resume (``X-Resume``).
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgpack

import adapter.kamailio
from tests.harness.bridge import PATIENT, Bridge, Consumer
from tests.harness.kamailio import KamailioServer
from tests.harness.process import wait_until
from tests.harness.redis import RedisServer
from tests.system import course_services
from tests.system.course_services import FOLDER, NOTES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from contextlib import ExitStack
    from pathlib import Path

    from tests.harness.sip import Caller

NODE: Final = "sbc1"
PATIENCE: Final = 30.0
"""Seconds within which each call has its answer, however busy the machine is; no deadline is as long."""
LEASE: Final = 2
"""Seconds: a busy machine may stand still for one."""
MODULE: Final = course_services.__name__
THREE: Final = ("screening", "fraud", "routing")
APART: Final = ("reserve", "watcher", "candidate", "narrow", "deaf", "silent", "mute")

_ASKED = "\troute(DESCRIBE);\n\troute(ADAPTER_ASK);\n}\n\n# (*) What the consumers get"
_DESCRIBED = 'route[DESCRIBE] {\n\t$var(data) = "{}";\n'
_RESUME = "route[RESUME] {\n"
_CHANGES: Final = {
    _ASKED: f"\t$var(event) = $hdr(X-Event);\n{_ASKED}",
    _DESCRIBED: (
        f'{_DESCRIBED}\tjansson_set("string", "do", "$hdr(X-Do)", "$var(data)");\n'
        '\tjansson_set("string", "kept", "$hdr(X-Kept)", "$var(data)");\n'
    ),
    _RESUME: (
        f'{_RESUME}\tappend_to_reply("X-Resume: $var(answer)\\r\\n");\n'
        '\tt_reply("486", "Resumed");\n\texit;\n'
    ),
    'include_file "evapi-adapter.cfg"': f'include_file "{adapter.kamailio.path("evapi-adapter.cfg")}"',
}


@dataclass(frozen=True)
class Made:
    """What became of a call. ``seconds`` from INVITE to its final response."""

    call_id: str
    event: str
    code: int
    seconds: float
    resume: dict[str, Any]

    @property
    def told(self) -> tuple[str, str, dict[str, str]]:
        """Outcome, step, services."""
        return self.resume["outcome"], self.resume["step"], self.resume.get("services", {})

    @property
    def decision(self) -> dict[str, Any]:
        """What Kamailio was told to do, with the Call-ID of this call as its own."""
        found: dict[str, Any] = self.resume["decision"]
        return {key: "mine" if value == self.call_id else value for key, value in found.items()}


@dataclass(frozen=True)
class Note:
    """A line of what services have noted. ``sent``: of the message, which another one has not alike."""

    service: str
    what: str
    call: str
    id: str | None
    sent: int | None
    at: float


async def make(
    caller: Caller, event: str, do: Mapping[str, Mapping[str, Any]] | None = None, kept: str = ""
) -> Made:
    """Make a call, and wait for its answer."""
    headers = f"X-Event: {event}\r\nX-Do: {json.dumps(do or {})}\r\nX-Kept: {kept}\r\n"
    begin = time.monotonic()
    call = caller.call(headers=headers)
    final = await call.final(PATIENCE)
    seconds = time.monotonic() - begin
    return Made(call.call_id, event, final.code, seconds, json.loads(final.get("x-resume") or "{}"))


async def flow(
    caller: Caller,
    calls: Iterable[tuple[str, Mapping[str, Mapping[str, Any]]]],
    half_way: Callable[[], Awaitable[object]],
    rate: float = 60.0,
) -> list[Made]:
    """Make these calls, so many a second, and something else once the half of them is begun."""
    wanted, tasks = list(calls), []
    for number, (event, do) in enumerate(wanted):
        if number == len(wanted) // 2:
            await half_way()
        tasks.append(asyncio.create_task(make(caller, event, do)))
        await asyncio.sleep(1 / rate)
    return await asyncio.gather(*tasks)


class Site:
    """See above: two replicas, and a process for each service that is killed or hung.

    Without ``amqp_url`` one adapter, with all services in its process, and neither RabbitMQ nor Redis.
    ``lease``: of the replicas, in seconds.
    """

    def __init__(self, folder: Path, amqp_url: str | None, lease: int = LEASE) -> None:
        self.folder = folder
        self.lease = lease
        self.redis = RedisServer(folder)
        self.kamailio = KamailioServer(folder, configured(folder), {"ADAPTER_FR_TIMER": 60_000})
        self.services: dict[str, Consumer] = {}
        self._lots = {name: (name,) for name in (*THREE, "shaky")} | {"apart": APART}
        nodes, env = {NODE: self.kamailio.evapi_port}, {FOLDER: str(folder)}
        options = {"policy": str(course_services.POLICY)}
        if amqp_url is None:
            options["consumer"] = ",".join(f"{MODULE}:{each}" for lot in self._lots.values() for each in lot)
            self.bridges = [Bridge("one", folder, nodes, options, env)]
            return
        options |= {"amqp_url": amqp_url, "redis_url": self.redis.url, "set": f"lease={lease}"}
        self.bridges = [Bridge(name, folder, nodes, options, PATIENT) for name in ("one", "two")]
        for name, lot in self._lots.items():
            named = [f"{MODULE}:{each}" for each in lot]
            self.services[name] = Consumer(name, folder, named, amqp_url, env)

    def start(self, stack: ExitStack) -> None:
        """Start all of it, to be ended with the stack, and wait until calls can be made."""
        if self.services:
            stack.enter_context(self.redis)
        stack.enter_context(self.kamailio)
        for process in (*self.services.values(), *(each.process for each in self.bridges)):
            stack.callback(process.kill)  # they need not wait for what a test has left with them
        self.settle()

    def settle(self) -> None:
        """Start what does not run. Return once all serve, one replica has been active for a lease, and each
        service takes requests."""
        waiting = []
        for service in self.services.values():
            if not service.running:
                waiting.append((service, _consuming(service) + len(self._lots[service.name])))
                service.start()
        fresh = [each for each in self.bridges if not each.process.running]
        for bridge in fresh:
            bridge.process.start()
        wait_until(lambda: all(_consuming(each) >= times for each, times in waiting), "the services")
        for bridge in self.bridges:
            bridge.wait_for_gate()
        if fresh:
            since, seen = time.monotonic(), [0.0]

            def settled() -> bool:
                nonlocal since, seen
                now, before = time.monotonic(), seen
                seen = [each.metric("evapi_active") for each in self.bridges]
                since = since if seen == before and sum(seen) == 1 else now
                return now >= since + (self.lease if self.services else 0)

            wait_until(settled, "one replica to be active")

    @property
    def active(self) -> Bridge:
        """The replica that asks."""
        return next(each for each in self.bridges if each.process.running and each.metric("evapi_active"))

    def notes(self) -> list[Note]:
        """What all services have noted so far."""
        text = (self.folder / NOTES).read_text() if (self.folder / NOTES).exists() else ""
        return [Note(**json.loads(line)) for line in text.splitlines()]

    def asked_of(self, service: str) -> int:
        """How many requests it has taken."""
        return sum((each.service, each.what) == (service, "asked") for each in self.notes())

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric over both replicas."""
        return sum(each.metric(name, **labels) for each in self.bridges)

    def asked(self, made: Made) -> list[str]:
        """By whom a call was taken, in their order."""
        return [each.service for each in self.notes() if each.call == made.call_id and each.what == "asked"]

    def asked_again(self, made: Iterable[Made]) -> list[tuple[str, str]]:
        """Services, and those of these calls, of which they were asked after they had answered.

        A message that RabbitMQ delivers once more, since its service died before the acknowledgement, is not
        another question.
        """
        calls = {each.call_id for each in made}
        answered: dict[tuple[str, str], set[int | None]] = {}
        found = []
        for each in self.notes():
            key = each.service, each.call
            if each.call not in calls:
                continue
            if each.what == "answered":
                answered.setdefault(key, set()).add(each.sent)
            elif key in answered and each.sent not in answered[key]:
                found.append(key)
        return found

    def taken_up(self) -> dict[str, frozenset[str]]:
        """By Call-ID, of the calls that wait: whose answers the store has."""
        found = {}
        for record in self.redis.ask("HVALS", f"evapi:{{{NODE}}}:records"):
            fields = msgpack.unpackb(record)
            if len(fields) == WITH_COURSE and fields[0] == CLAIMED:
                lines = fields[7].splitlines()
                found[fields[6]] = frozenset(line.partition("\t")[0] for line in lines)
        return found


WITH_COURSE: Final = 11
CLAIMED: Final = 1
"""Of a record in Redis (adapter/inflight/lua/record.lua): its fields, and its state."""


def _consuming(service: Consumer) -> int:
    """How many queues it has begun to consume, all its lives together."""
    return service.log.read_text().count(": consuming ") if service.log.exists() else 0


def configured(folder: Path) -> Path:
    """The packaged configuration with the changes above."""
    text = adapter.kamailio.path("kamailio.cfg").read_text()
    for old, new in _CHANGES.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = folder / "courses.cfg"
    path.write_text(text)
    return path
