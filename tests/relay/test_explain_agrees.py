"""What `policy explain` says of several services is what then happens to a call, whatever they do."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from adapter import contract
from adapter.admin.policy_explained import explain
from adapter.model.correlation import Ids, keys_of
from adapter.model.ladder import Status
from adapter.ports.broker import Published, Reply
from adapter.ports.cache import Kept
from adapter.relay import course
from adapter.relay.policy import Policy, parse
from adapter.relay.policy_keys import WITH_FALLBACK
from tests.harness.examples import examples
from tests.relay.foretold import End, Foretold
from tests.relay_bench import NOW, Bench, suspended

if TYPE_CHECKING:
    from random import Random

    from adapter.admin.policy_asked import Recipient
    from adapter.ports.broker import Publication

EVENT: Final = "invite"
KEYS: Final = keys_of(["a key that services do not have"])
MORE: Final = 0.5
BLINK: Final = 0.001
KEPT: Final = b'{"action":"allow","kept":true}'
ACTIONS: Final = ("allow", "route", "reject")
FAILURES: Final = (
    Status.FAILED,
    Status.FAILED,
    Status.MALFORMED,
    Status.OVERSIZED,
    Status.UNTAKEN,
    Status.NONE,
)
NAMES: Final = ("ab", "abc", "dcba", "a", "")
NOT_BROUGHT: Final = {Published.UNROUTABLE: Status.UNROUTABLE, Published.REFUSED: Status.UNAVAILABLE}


class Does(NamedTuple):
    """What a service does when it is asked: it decides, or fails so, or is silent (neither)."""

    decision: dict[str, Any] | None = None
    fails: Status | None = None


class Service(NamedTuple):
    """What a service does each time that it is asked, over and over; ``more``: whether it first asks for more
    time; ``gone``: why no request can be brought to it.
    """

    does: list[Does]
    more: bool
    gone: Published | None


def behaviour(chance: Random) -> Service:
    """What a service does; most decide."""

    def does() -> Does:
        kind = chance.random()
        if kind > 0.7:
            return Does(fails=chance.choice(FAILURES)) if kind > 0.8 else Does()
        given_ = {"action": chance.choice(ACTIONS), "final": chance.choice([False, False, True, 1])}
        given_ |= {"uri": chance.choice(["sip:a", "sip:b"]), "code": chance.randint(400, 403)}
        return Does({key: value for key, value in given_.items() if chance.random() > 0.2})

    gone = chance.choice([None] * 24 + [*NOT_BROUGHT])
    return Service([does() for _ in range(3)], chance.random() > 0.8, gone)


fallbacks = st.builds(lambda code: {"action": "reject", "code": code}, st.integers(500, 699))
tables = st.fixed_dictionaries(
    {},
    optional={
        "optional": st.booleans(),
        "within": st.sampled_from([0.3, 0.5]),
        "fields": st.sampled_from([["user"], ["account", "gone"]]),
        "accepts": st.sampled_from([["allow", "route", "reject"], ["allow", "reject"]]),
        "format": st.sampled_from(["json", "msgpack"]),
    },
)
rest = st.fixed_dictionaries(
    {"backup": st.lists(st.sampled_from("xy"), unique=True)},
    optional={
        "observers": st.just(["o"]),
        "shadows": st.sampled_from([["s"], [{"service": "s", "share": 0.5}]]),
        "retry": st.fixed_dictionaries(
            {"on": st.lists(st.sampled_from(["failed", "untaken"]), min_size=1, unique=True)},
            optional={"times": st.integers(1, 3)},
        ),
        "cache": st.fixed_dictionaries({"key": st.just(["account"]), "stale": st.sampled_from([0, 60])}),
        "max_deadline": st.sampled_from([2.2, 4.0]),
        "format": st.sampled_from(["json", "msgpack"]),
        "fallback": fallbacks,
        "fallback_on": st.dictionaries(st.sampled_from([each.value for each in WITH_FALLBACK]), fallbacks),
    },
)
data = st.fixed_dictionaries(
    {"user": st.just("100"), "call_id": st.sampled_from(["1@a", "2@b", "3@c"])},
    optional={"account": st.just(7)},
)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Policies that are good."""
    names = list(draw(st.sampled_from(NAMES)))
    modes = ["first", "all", "chain", "quorum"] if len(names) > 1 else ["first"]
    rules: dict[str, Any] = {"services": names, "mode": draw(st.sampled_from(modes)), **draw(rest)}
    if rules["mode"] == "quorum":
        rules["quorum"] = draw(st.integers(1, len(names)))
    return parse(
        {
            "events": {EVENT: rules},
            "services": draw(st.dictionaries(st.sampled_from("abcdxyos"), tables)),
        }
    )


@settings(max_examples=examples(300))
@given(policies(), data, st.sampled_from([None, 10.0, -1.0, -100.0]), st.randoms(use_true_random=True))
def test_it_is_what_then_happens(
    policy: Policy, given_: dict[str, Any], holds: float | None, chance: Random
) -> None:
    services = {name: behaviour(chance) for name in ("", *"abcdxy")}
    asyncio.run(play(policy, services, given_, holds, chance))


async def play(
    policy: Policy,
    services: dict[str, Service],
    given_: dict[str, Any],
    holds: float | None,
    chance: Random,
) -> None:
    """Have a call happen, and see at each step whether it is as was told.

    Args:
        policy: which counts.
        services: what each does.
        given_: the event's data.
        holds: for how many seconds what was decided of an equal call still holds; None: nothing was.
        chance: who comes first.
    """
    told = explain(policy, EVENT, json.dumps(given_).encode())
    assert told.asked is not None
    bench = Bench(policy, ids=Ids(KEYS, services=lambda: policy.services))
    kept = None
    if told.asked.key is not None and told.plan.cache is not None and holds is not None:
        key = course.cache_key(EVENT, list(told.asked.key), dict(told.asked.key))
        assert key is not None
        kept = KEPT, NOW + holds
        bench.cache.keep(key, Kept(KEPT, kept[1], kept[1] + told.plan.cache.stale))
    gone = {name: each.gone for name, each in services.items() if each.gone is not None}
    for name, answer in gone.items():
        bench.broker.by_queue[f"evapi.decide.{name}" if name else ""] = answer
    call = Foretold(told, NOW, {name: NOT_BROUGHT[each] for name, each in gone.items()}, kept)
    await bench.events(suspended(event=EVENT, data=given_))
    await Played(bench, call, services).to_the_end(chance)


class Played:
    """A call that happens, and what is foretold of it."""

    def __init__(self, bench: Bench, call: Foretold, services: dict[str, Service]) -> None:
        self.bench = bench
        self.call = call
        self.services = services
        self.asked_for_more: set[str] = set()
        self.seen = 0

    async def to_the_end(self, chance: Random) -> None:
        self.agree()
        while self.call.end is None:
            await self.happens(*chance.choice(self.possible()))
            self.agree()
        for each in [each for each in self.bench.broker.published if each.correlation_id is not None]:
            await self.bench.reply(decided(each, {"action": "late"}))
        assert len(self.bench.links.frames) == 1

    def possible(self) -> list[tuple[str, str]]:
        """What may happen next."""
        waiting = self.call.waiting
        found = [("answers", name) for name in waiting if self.next_of(name) != Does()]
        if len(found) < len(waiting):
            found.append(("nothing", ""))
        wants = [name for name in waiting if self.services[name].more]
        found += [("more", name) for name in wants if name not in self.asked_for_more]
        return found

    def next_of(self, name: str) -> Does:
        """What a service that is waited for does."""
        does = self.services[name].does
        found = does[self.call.tries[name] % len(does)]
        untaken = found.fails is Status.UNTAKEN and self.call.rules.taken_within is None
        return Does() if untaken else found

    async def happens(self, what: str, name: str) -> None:
        bench, call = self.bench, self.call
        if what == "nothing":
            await self.wait(call.next_time())
            return
        queue = f"evapi.decide.{name}" if name else ""
        asked = [each for each in bench.broker.published if each.queue == queue][-1]
        if what == "more":
            self.asked_for_more.add(name)
            call.more(name, MORE)
            await bench.reply(answer(asked, b"", status="extend", extend=int(MORE * 1000)))
            return
        does = self.next_of(name)
        if does.decision is not None:
            call.came(name, Status.DECIDED, does.decision)
            await bench.reply(decided(asked, does.decision))
        elif does.fails is not None:
            call.came(name, does.fails)
            await bench.reply(answer(asked, **FAILING[does.fails]))

    async def wait(self, until: float) -> None:
        """Let nobody answer until then."""
        bench, is_over = self.bench, until >= self.call.deadline
        bench.now = until - BLINK
        await bench.tick()
        await bench.trip.expire("sbc1")
        self.agree()
        bench.now = until + BLINK * is_over
        self.call.pass_time(bench.now)
        await bench.tick()
        await bench.trip.expire("sbc1")
        await bench.trip.idle()

    def agree(self) -> None:
        """Compare all that was published and written with what was foretold."""
        published, call = self.bench.broker.published, self.call
        queues = [each.queue for each in published]
        assert queues == [each.service.queue for each in call.asked]
        for each, recipient in list(zip(published, call.asked, strict=True))[self.seen :]:
            self.is_as_told(each, recipient)
        self.seen = len(published)
        assert [end_of(each) for each in self.bench.links.frames] == ([] if call.end is None else [call.end])

    def is_as_told(self, each: Publication, recipient: Recipient) -> None:
        """Look at what was published."""
        request, name = contract.decode_request(each.body), recipient.service.name
        assert request.data == recipient.data
        assert each.body.startswith(b"{") == recipient.as_json
        assert (each.correlation_id is None) == request.is_notice == (recipient.role == "observer")
        if recipient.role in ("service", "backup"):
            share = self.call.rules.taken_within
            assert (each.expires is None) == (share is None)
            if share is not None and each.expires is not None and name in self.call.waiting:
                left = self.call.waiting[name] - self.bench.now
                assert abs(each.expires - self.bench.now - share * left) < BLINK
            assert request.decisions == self.call.earlier()


def decided(asked: Publication, decision: dict[str, Any]) -> Reply:
    """A decision."""
    return answer(asked, json.dumps(decision).encode())


def answer(asked: Publication, body: bytes = b"{}", **more: Any) -> Reply:
    """A reply to a request."""
    assert asked.correlation_id is not None
    service = asked.queue.removeprefix("evapi.decide.") or "somebody"
    return Reply(asked.correlation_id, body, "application/json", service=service, **more)


FAILING: Final[dict[Status, dict[str, Any]]] = {
    Status.FAILED: {"body": b"", "status": "failed"},
    Status.NONE: {"body": b"", "status": contract.STATUS_NONE},
    Status.MALFORMED: {"body": b"\xc1"},
    Status.OVERSIZED: {"size": contract.MAX_REPLY + 1},
    Status.UNTAKEN: {"rejected": "expired"},
}


def end_of(frame: dict[str, Any]) -> End:
    """What a resume tells."""
    return End(frame["outcome"], frame["decision"], frame.get("services"), frame.get("step"))
