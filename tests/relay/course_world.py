"""Replicas, services and a policy that do anything: what calls of several services must stand."""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING, Any

from adapter import contract
from adapter.errors import StoreUnavailable
from adapter.inflight.failover import FailoverStore
from adapter.inflight.local import LocalStore
from adapter.model.beat import Beat
from adapter.model.correlation import Ids, keys_of
from adapter.model.ladder import Rung, Status
from adapter.model.transaction import Outcome, State, Transaction, TransactionId
from adapter.ports.broker import Publication, Published, Reply
from adapter.relay import course
from adapter.relay.policy import Policy, parse
from adapter.wire.event import Suspended
from tests.inflight.faulty import Fault, FaultyStore
from tests.relay_bench import NOW, Bench

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Sequence

    from adapter.relay.plan import Plan

NODE = "sbc1"
EVENTS = ("one", "two", "three")
SERVICES = ("a", "b", "c")
NAMES = (*SERVICES, "d", "e", "shade")
KINDS = (
    *(["decides"] * 5),
    *(
        "fails",
        "silent",
        "twice",
        "extends",
        "empty",
        "malformed",
        "oversized",
        "forged",
        "rejected",
        "untaken",
    ),
)
"""What a service may do with a request."""
KEYS = keys_of(["what services do not have"])
STEP = 0.3
"""Seconds between two ticks, at most: by so much an answer may be late."""
QUIET = 3.0
"""Seconds between two outages, or deaths of replicas."""
BEYOND = 8.0
"""Seconds for which a call is remembered at most, by the longest deadline here."""
RESULTS = (*([Published.CONFIRMED] * 12), Published.UNROUTABLE, Published.UNAVAILABLE, Published.REFUSED)
ENDED_OTHERWISE = {Outcome.OPERATOR, Outcome.UNAVAILABLE, Outcome.TIMEOUT}
"""How a call may end that its services have not ended."""


def some_service(draw: random.Random) -> dict[str, Any]:
    """Rules of a service."""
    found: dict[str, Any] = {"optional": draw.random() < 0.3}
    if draw.random() < 0.3:
        found["within"] = draw.choice([0.2, 0.5])
    if draw.random() < 0.2:
        found["accepts"] = ["allow", "reject"]
    if draw.random() < 0.2:
        found["fields"] = ["account"]
    if draw.random() < 0.2:
        found["format"] = "json"
    if draw.random() < 0.4:
        found["breaker"] = {"after": draw.choice([1, 2, 3]), "pause": draw.choice([0.1, 1.0])}
    return found


def some_plan(draw: random.Random) -> dict[str, Any]:
    """How an event is handled."""
    mode = draw.choice(["first", "all", "chain", "quorum"])
    services = draw.sample(SERVICES, draw.choice([0, 1, 2, 3] if mode == "first" else [2, 3]))
    found: dict[str, Any] = {"mode": mode, "services": services, "deadline": draw.choice([0.5, 1.0])}
    if mode == "quorum":
        found["quorum"] = draw.randint(2, len(services))
    if draw.random() < 0.4:
        found["max_deadline"] = 1.5
    if draw.random() < 0.4:
        on = draw.choice([["failed"], ["untaken"], ["failed", "untaken"]])
        found["retry"] = {"on": on, "times": draw.choice([1, 2])}
    if draw.random() < 0.4:
        found["backup"] = draw.sample(["d", "e"], draw.choice([1, 2]))
    if draw.random() < 0.2:
        found["cache"] = {"key": ["account"], "stale": draw.choice([0, 2])}
    if draw.random() < 0.3:
        found["observers"] = ["watcher"]
    if draw.random() < 0.4:
        found["shadows"] = ["shade"]
    if draw.random() < 0.3:
        found["fallback_on"] = {"timeout": {"action": "allow"}}
    return found


def some_policy(draw: random.Random) -> Policy:
    """A policy for every event, or none."""
    if draw.random() < 0.1:
        return Policy()
    tables = {name: some_service(draw) for name in ("a", "b", "c", "d", "e") if draw.random() < 0.7}
    return parse({"events": {event: some_plan(draw) for event in EVENTS}, "services": tables})


class World:
    """Two replicas on one store. Times are of one clock, which moves by ``tick`` alone.

    Args:
        seed: of all that happens.
        failover: whether each replica has a store of its own before the common one, whose way may fail.
        tagged: whether correlation ids have tags.
    """

    def __init__(self, seed: int, failover: bool = False, tagged: bool = True) -> None:
        self.draw = random.Random(seed)
        self.now = NOW
        self.tagged = tagged
        self.common = LocalStore("r0", clock=lambda: self.now)
        self.policy = some_policy(self.draw)
        self.plans: dict[TransactionId, Plan] = {}
        self.benches: list[Bench] = []
        self.ways: dict[str, FaultyStore] = {}
        self.failover = failover
        self.kept: dict[str, Any] = {}
        self.replies: list[tuple[float, Reply]] = []
        self.sent: dict[TransactionId, list[tuple[float, dict[str, Any], bool]]] = {}
        self.work: set[asyncio.Task[Any]] = set()
        self.stored: dict[TransactionId, bytes] = {}
        self.dead: list[Bench] = []
        self.label = 0
        self.quiet_until = self.whole_until = 0.0
        for _ in range(2 if tagged else 1):
            self.start()

    # Replicas

    def start(self) -> None:
        """Another replica comes."""
        name = f"r{len(self.benches) + len(self.dead) + 1}"
        store: Any = self.common.beside(name)
        if self.failover:
            self.ways[name] = way = FaultyStore(store)
            store = FailoverStore(way, clock=lambda: self.now, on_added=lambda record: added(record))
            store._behind._flush_soon = lambda: None  # ``step`` does it
        ids = Ids(KEYS if self.tagged else (), services=lambda: bench.policy.services)
        bench = Bench(self.policy, store, name=name, ids=ids)

        def added(record: Transaction) -> None:
            bench.trip.on_added(record)

        if self.benches:  # else it would go by the newest policy alone, as a process that starts late does
            rules = self.benches[0].policy
            bench.policy._before, bench.policy.courses = list(rules._before), rules.courses
        bench.now = self.now
        bench.cache.kept = self.kept
        taken = bench.broker.publish

        async def publish(publications: Sequence[Publication]) -> list[Published]:
            await taken(publications)
            return [self.publish(each) for each in publications]

        bench.broker.publish = publish  # type: ignore[method-assign]
        sent = bench.links.send

        def send(
            node: str,
            payload: bytes,
            wait: float,
            id: TransactionId | None,  # noqa: A002
            again: bool = False,
        ) -> bool:
            assert id is not None
            if bench in self.benches:
                self.sent.setdefault(id, []).append((self.now, json.loads(payload), again))
            return sent(node, payload, wait, id, again)

        bench.links.send = send  # type: ignore[method-assign]
        self.benches.append(bench)
        self.meet()

    def meet(self) -> None:
        """All have beaten, and heard each other."""
        for bench in self.benches:
            bench.others = {
                each.name: Beat(nodes=frozenset([NODE])) for each in self.benches if each is not bench
            }
            if not bench.membership.away:
                bench.look()
            bench.roles.refresh(self.now)

    async def die(self) -> None:
        """A replica is killed; another adopts what it left."""
        if len(self.benches) < 2 or self.now < max(self.quiet_until, self.whole_until):
            return  # else a frame that has just come has nobody to take it over
        await self.settle_down()
        dead = self.draw.choice(self.benches)
        self.benches.remove(dead)
        self.whole_until = self.now + QUIET
        self.dead.append(dead)
        self.start()
        heir = self.draw.choice(self.benches)
        for state in (State.CLAIMED, State.SETTLED):
            await heir.recovery.adopt(NODE, [dead.name], state)

    # The bus

    def publish(self, each: Publication) -> Published:
        """What becomes of a request, and what its service will say."""
        draw = self.draw
        service = each.queue.removeprefix("evapi.decide.")
        if service == "watcher":
            assert each.correlation_id is None
            return Published.CONFIRMED
        assert each.correlation_id is not None
        read = Ids(KEYS if self.tagged else (), services=lambda: NAMES).read(each.correlation_id)
        id_ = read if isinstance(read, TransactionId) else read.id
        plan = self.plans[id_]
        over = course.ends(course.lines(self.stored.get(id_, b"")), plan.retry)
        if plan.courses:
            assert service not in over, f"{service} is asked again about {id_}: {over}"
        result = draw.choice(RESULTS)
        if result is Published.CONFIRMED or (result is Published.UNAVAILABLE and draw.random() < 0.5):
            self.replies += self.said(each, service)
        return result

    def said(self, each: Publication, service: str) -> Iterator[tuple[float, Reply]]:
        """What a service says of a request, and when."""
        draw, id_ = self.draw, each.correlation_id
        assert id_ is not None
        action = "shadow" if service == "shade" else draw.choice(["allow", "allow", "reject", "route"])
        name = service or "anybody"
        decision: dict[str, Any] = {"action": action, "by": service, "n": draw.randint(0, 2)}
        if draw.random() < 0.1:
            decision["final"] = True
        body = contract.encode_reply(decision)
        at = self.now + draw.choice([0.0, 0.0, 0.05, 0.2, 0.6, 3.0])
        decides = Reply(id_, body, None, None, name, cache=draw.choice([0, 0, 1]))
        kind = draw.choice(KINDS)
        if kind == "decides":
            yield at, decides
        elif kind == "fails":
            yield at, Reply(id_, b"", None, "failed", name, detail="no\tsuch\naccount")
        elif kind == "none":
            yield at, Reply(id_, b"", None, "none", name)
        elif kind == "twice":
            yield at, decides
            yield at + draw.choice([0.0, 0.1]), decides
        elif kind == "extends":
            yield at, Reply(id_, b"", None, "extend", name, extend=draw.choice([0, 100, 400, 5000]))
            yield at + 0.3, decides
        elif kind == "empty":
            yield at, Reply(id_, b"", None, None, name)
        elif kind == "malformed":
            yield at, Reply(id_, b"\xc1", None, None, name)
        elif kind == "oversized":
            yield at, Reply(id_, b"x", None, None, name, size=10_000_000)
        elif kind == "forged" and self.tagged:
            other = draw.choice(SERVICES)
            yield at, Reply(id_, body, None, None, other)
            plain, _, tag = id_.rpartition(":")
            yield at, Reply(f"{plain}:{tag[::-1]}", body, None, None, other)
        elif kind == "rejected":
            yield at, Reply(id_, each.body, None, None, name, "rejected")
        elif kind == "untaken" and each.expires is not None:
            yield each.expires, Reply(id_, each.body, None, None, name, "expired")

    # What happens

    def begin(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do something beside all else."""
        task = asyncio.ensure_future(work)
        self.work.add(task)
        task.add_done_callback(self.work.discard)

    def event(self) -> None:
        """Kamailio suspends a call; every replica reads of it, and the active one claims it."""
        self.label += 1
        event = self.draw.choice(EVENTS)
        id_ = TransactionId(NODE, 37, self.label, 1)
        self.plans[id_] = self.policy.plan(event)
        data = {"account": self.draw.choice("xy"), "call_id": str(self.label)}
        for bench in self.benches:
            bench.trip.on_events(NODE, [Suspended(event, 37, self.label, 1, data)])

    def deliver(self) -> None:
        """Replies that have been given come to a replica."""
        here = [each for each in self.replies if each[0] <= self.now]
        self.draw.shuffle(here)
        here = here[: self.draw.randint(1, 6)]
        if here:
            self.replies = [each for each in self.replies if each not in here]
            bench = self.benches[0] if self.draw.random() < 0.8 else self.draw.choice(self.benches)
            self.begin(self._deliver(bench, [reply for _, reply in here]))

    async def _deliver(self, bench: Bench, replies: list[Reply]) -> None:
        try:
            await bench.trip.on_replies(replies)
        except StoreUnavailable:
            self.replies += [(self.now, each) for each in replies]

    def operate(self) -> None:
        """An operator answers a call."""
        id_ = TransactionId(NODE, 37, self.draw.randint(1, max(self.label, 1)), 1)
        reply = Reply(str(id_), b'{"action":"allow"}', None, "operator", "me", by_operator=True)
        self.begin(self.draw.choice(self.benches).trip.on_replies([reply]))

    def ask_again(self) -> None:
        """A replica's broker has come back."""
        self.begin(self.draw.choice(self.benches).recovery.ask_again(NODE))

    def replace(self) -> None:
        """Every replica has a new policy."""
        self.now += 0.001
        self.policy = some_policy(self.draw)
        for bench in self.benches:
            bench.now = self.now
            bench.policy.replace(self.policy)
        self.now += 0.001

    def disturb(self) -> None:
        """The way of a replica to the common store fails, or is slow."""
        if self.failover:
            way = self.ways[self.draw.choice(self.benches).name]
            if self.draw.random() < 0.1 and self.now >= self.whole_until:
                way.away = True
                self.quiet_until = self.now + QUIET
            draw = self.draw
            way.faults = iter([Fault(draw.randint(0, 4), draw.randint(0, 4)) for _ in range(6)])

    async def tick(self, seconds: float) -> None:
        """Time goes by."""
        self.now += seconds
        for bench in self.benches:
            bench.now = self.now
            if self.failover and bench.store.inner.away:  # type: ignore[attr-defined]
                self.ways[bench.name].mend()
                await bench.store.inner.beat(Beat(nodes=frozenset([NODE])))
        self.meet()
        for bench in self.benches:
            bench.trip.tick()
        for bench in self.benches:
            if bench.trip.due(NODE):
                await bench.trip.expire(NODE)

    async def settle_down(self) -> None:
        """All that is under way is done, and told."""
        while self.work or any(bench.trip._tasks for bench in self.benches):
            await asyncio.sleep(0)
        for bench in self.benches:
            if self.failover:
                await bench.store.inner.flushed()  # type: ignore[attr-defined]

    async def step(self) -> None:
        """One thing happens, beside what is under way."""
        draw = self.draw
        what = draw.choices(
            ("event", "deliver", "tick", "operate", "ask_again", "replace", "disturb", "die"),
            (12, 30, 12, 1, 1, 1, 3, 1),
        )[0]
        if what == "tick":
            await self.tick(draw.choice([0.0, 0.02, 0.05, 0.1, STEP]))
        elif what == "die":
            await self.die()
        else:
            getattr(self, what)()
        for _ in range(draw.choice([0, 0, 1, 3, 8])):
            await asyncio.sleep(0)
        if self.failover and draw.random() < 0.3:
            self.begin(draw.choice(self.benches).store.inner.flushed())  # type: ignore[attr-defined]
        if draw.random() < 0.3:
            await self.settle_down()
            self.stored = {each.id: each.course for each in self.common.records()}

    async def run(self, steps: int) -> None:
        """So many things happen; then nothing but time goes by."""
        for _ in range(steps):
            await self.step()
        for _ in range(int(BEYOND / STEP)):
            await self.settle_down()
            self.deliver()
            await self.settle_down()
            await self.tick(STEP)
        await self.settle_down()

    # What must be

    def check(self) -> None:
        """Every call was resumed once, in time and as its answers say; and nothing is left."""
        for id_, plan in self.plans.items():
            sent = self.sent.get(id_, [])
            assert sent, f"{id_} was not answered: {plan}"
            assert sum(not again for _, _, again in sent) <= 1, f"{id_} was answered twice"
            record = self.common.peek(id_)
            assert record is not None, f"{id_} is not known"
            assert record.state is State.SETTLED, f"{id_} is open: {record}"
            at, frame, _ = sent[0]
            late = at - record.claimed_at - plan.longest
            assert late <= 2 * STEP + 0.01, f"{id_}: {late} s late, {frame} by {plan}"
            assert "shadow" not in json.dumps(frame.get("decision")), f"{id_}: a shadow has decided"
            if plan.courses:
                self._agrees(plan, record, frame)
        for bench in self.benches:
            self._has_nothing_left(bench)

    def _agrees(self, plan: Plan, record: Transaction, frame: dict[str, Any]) -> None:
        answers = course.lines(record.course)
        for each in answers:
            if each.status is Status.DECIDED:
                assert json.loads(each.text)["by"] == each.service, f"{record.id}: {each}"
        if self.failover:
            return  # what is told there, and in which order, hangs on who has told the common store first
        outcome, rung = Outcome(frame["outcome"]), frame["step"]
        done = course.next_step(plan, answers).done
        said = f"{record.id}: {frame} by {plan} and {answers}"
        assert frame.get("services", {}) == course.statuses(plan, answers, outcome), said
        if rung == Rung.CACHE:
            assert plan.cache is not None, said
            assert not answers or outcome is Outcome.DECIDED, said
        elif done is None or outcome is Outcome.OPERATOR:
            assert outcome in ENDED_OTHERWISE, said
        else:
            assert outcome in (done.outcome, Outcome.UNAVAILABLE), said
            if done.decision is not None and outcome is done.outcome:
                assert (frame["decision"], rung) == (json.loads(done.decision), done.rung), said

    @staticmethod
    def _has_nothing_left(bench: Bench) -> None:
        courses = bench.trip._courses
        assert courses._calls.kept == 0, courses
        assert len(courses.endings.shadows) == 0
        assert not courses._replies._early.waiting
        assert not bench.trip._republish
        assert not bench.trip._early_replies.waiting
