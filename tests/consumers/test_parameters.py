"""What handlers ask for by their annotations, and what they get."""

from __future__ import annotations

import asyncio
import functools
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NewType, Protocol

import pytest
from pydantic import BaseModel

from adapter.contract import Request, encode_request
from consumers import DecidedBy, Message, Result, Service, SignatureError, allow
from consumers.lifespan import LifespanError
from consumers.testing import Undecided, ask, opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from elsewhere import Unknown  # type: ignore[import-not-found]

    from adapter import contract

DATA = {"user": "441632960000", "rate": "3", "call_id": "abc@sbc1"}


@dataclass
class AsDataclass:
    user: str
    rate: int = 0


class AsModel(BaseModel):
    user: str


class Pool:
    """What a lifespan makes."""

    def __init__(self, name: str = "real") -> None:
        self.name = name
        self.closed = False


class Named(Protocol):
    name: str


Rates = NewType("Rates", dict)  # type: ignore[type-arg]


@dataclass
class Settings:
    name: str


@pytest.fixture
def service() -> Service:
    return Service("typed")


def asked(data: Any, event: str = "e", correlation_id: str | None = "n:1:2:3", **headers: Any) -> Message:
    request = Request(event, "n", data, *((None,) * 3 if correlation_id is None else (1, 2, 3)))
    return Message(encode_request(request), correlation_id, headers=headers)


async def test_what_a_lifespan_makes_is_given_by_type(service: Service) -> None:
    steps: list[str] = []

    @service.on("e")
    async def decide(call: AsDataclass, pool: Pool, rates: Rates, request: Request) -> dict[str, Any]:
        steps.append("asked")
        assert not pool.closed
        return allow(pool=pool.name, rates=rates, event=request.event)

    @service.on("named")
    def decide_named(named: Named | None = None, *, pool: Pool) -> dict[str, Any]:
        return allow(pool=pool.name, named=named)

    @service.lifespan
    async def open_pool() -> AsyncIterator[Pool]:
        pool = Pool()
        steps.append("opened")
        yield pool
        await asyncio.sleep(0)
        pool.closed = True
        steps.append("closed")

    @service.lifespan
    @asynccontextmanager
    async def read_rates() -> AsyncIterator[Rates]:
        steps.append("read")
        yield Rates({"44": 1})
        steps.append("forgotten")

    @service.lifespan
    async def beside() -> AsyncIterator[None]:
        yield

    service.prepare()
    async with opened(service):
        for _ in range(2):
            assert await ask(service, "e", DATA) == allow(pool="real", rates={"44": 1}, event="e")
    assert steps == ["opened", "read", "asked", "asked", "forgotten", "closed"]
    assert await ask(service, "named", DATA) == allow(pool="real", named=None)
    async with opened(service, {Pool: Pool("fake")}):
        assert (await ask(service, "e", DATA))["pool"] == "fake"
    answer = await service.answer(asked(DATA))
    assert "the lifespans are not open" in str(answer.error)


async def test_a_dataclass_that_a_lifespan_makes_is_no_payload(service: Service) -> None:
    @service.on("e")
    def decide(settings: Settings, call: AsDataclass) -> dict[str, Any]:
        return allow(name=settings.name, user=call.user)

    @service.lifespan
    async def read() -> AsyncIterator[Settings]:
        yield Settings("mine")

    assert await ask(service, "e", DATA) == allow(name="mine", user=DATA["user"])


async def test_a_base_class_is_enough(service: Service) -> None:
    class Special(Pool):
        pass

    service.lifespan(functools.partial(_yielding, Special()))  # what it says it yields counts: a Pool

    @service.on("e")
    def decide(pool: Pool) -> dict[str, Any]:
        return allow(kind=type(pool).__name__)

    assert await ask(service, "e", DATA) == allow(kind="Special")


@asynccontextmanager
async def _yielding(pool: Pool) -> AsyncIterator[Pool]:
    yield pool


async def test_a_lifespan_that_fails_closes_those_before_it(service: Service) -> None:
    pool = Pool()

    @service.lifespan
    async def first() -> AsyncIterator[Pool]:
        yield pool
        pool.closed = True

    @service.lifespan
    async def second() -> AsyncIterator[Rates]:
        raise ConnectionRefusedError("no database")
        yield

    with pytest.raises(LifespanError, match="second cannot be opened: ConnectionRefusedError: no database"):
        await service.open()
    assert (pool.closed, service.is_open) == (True, False)


async def test_a_lifespan_that_cannot_be_closed_is_told(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    @service.lifespan
    async def broken() -> AsyncIterator[Pool]:
        yield Pool()
        raise OSError("gone")

    async with opened(service):
        pass
    assert "a lifespan could not be closed" in caplog.text
    assert "OSError: gone" in caplog.text


def _no_annotation(request, other):  # type: ignore[no-untyped-def]
    return allow()


def _nothing_gives(request: Request, pool: Pool) -> Any:
    return allow()


def _number(request: Request, code: int) -> Any:
    return allow()


def _unreadable(request: Request, what: Unknown) -> Any:
    return allow()


def _two(one: AsModel, other: AsDataclass) -> Any:
    return allow()


def _unclear(pool: Pool) -> Any:
    return allow()


@pytest.mark.parametrize(
    "handler, told",
    [
        (
            _no_annotation,
            r"_no_annotation of 'e': its parameter 'other' has no annotation: annotate it with Request, with",
        ),
        (
            _nothing_gives,
            r"_nothing_gives of 'e': nothing gives its parameter 'pool' \(Pool\): let a @service.lifespan "
            r"yield one \(-> AsyncIterator\[Pool\]\), or make the type a dataclass",
        ),
        (_number, r"nothing gives its parameter 'code' \(int\)"),
        (
            _unreadable,
            r"the annotation of its parameter 'what' cannot be read \(NameError: name 'Unknown' "
            r"is not defined\): define or import the type at the head of the module",
        ),
        (_two, "two of its parameters are for the event's data: leave one"),
    ],
)
async def test_what_nothing_can_fill_is_refused_at_the_start(
    service: Service, handler: Callable[..., Any], told: str
) -> None:
    service.on("e", "e2")(handler)
    with pytest.raises(SignatureError, match=told):
        service.prepare()
    with pytest.raises(SignatureError, match=told):
        await service.open()
    assert (await service.answer(asked(DATA))).result is Result.FAILED


class One(Pool): ...


class Other(Pool): ...


async def _one() -> AsyncIterator[One]:
    yield One()


async def _other() -> AsyncIterator[Other]:
    yield Other()


def test_what_could_be_either_is_refused(service: Service) -> None:
    service.lifespan(_one)
    service.on("e")(_unclear)
    service.check()  # a class that it is derived from is enough
    service.lifespan(_other)
    with pytest.raises(SignatureError, match=r"'pool' \(Pool\) could be One and Other: annotate it"):
        service.check()


def _silent():  # type: ignore[no-untyped-def]
    yield


async def _lost() -> AsyncIterator[Unknown]:
    yield


@pytest.mark.parametrize(
    "function, told",
    [
        (_silent, "lifespan _silent does not say what it yields: write `-> AsyncIterator"),
        (_lost, r"lifespan _lost: what it returns cannot be read \(NameError"),
    ],
)
def test_a_lifespan_says_what_it_yields(service: Service, function: Any, told: str) -> None:
    with pytest.raises(SignatureError, match=told):
        service.lifespan(function)


def test_no_two_lifespans_yield_the_same(service: Service) -> None:
    service.lifespan(functools.partial(_yielding, Pool()))
    with pytest.raises(SignatureError, match="another one yields Pool already"):
        service.lifespan(functools.partial(_yielding, Pool()))


async def test_handlers_as_they_always_were(service: Service) -> None:
    class Later:
        async def __call__(self, request: Request) -> dict[str, Any]:
            return allow(event=request.event)

        def method(self, request: Request) -> dict[str, Any]:
            return allow(event=request.event)

    handlers: list[Any] = [
        lambda request: allow(event=request.event),
        lambda *args: allow(event=args[0].event),
        lambda: allow(event="e"),
        Later(),
        Later().method,
        functools.partial(_coded, 7),
        functools.partial(_coded, code=7),
        _of_a_module_for_types,
    ]
    for handler in handlers:
        made = Service("old")
        made.on("e")(handler)
        made.check()
        assert await ask(made, "e", {}) == allow(event="e")


def _of_a_module_for_types(request: contract.Request) -> dict[str, Any]:
    return allow(event=request.event)


def _coded(code: int, request: Request) -> dict[str, Any]:
    assert code == 7
    return allow(event=request.event)


def test_the_fast_way_calls_the_handler_itself(service: Service) -> None:
    """What a plain handler costs has not grown: nothing stands between."""

    def decide(request: Request) -> dict[str, Any]:
        return allow()

    service.on("e")(decide)
    assert service._handlers.bound["e"] == (False, decide, False)


LATER = """
from typing import TYPE_CHECKING

from consumers import Request, Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from elsewhere import Unknown

service = Service("lazy")


class Pool: ...


@service.lifespan
async def pool() -> AsyncIterator[Pool]:
    yield Pool()


@service.on("e")
def decide(request: Request, pool: Pool): ...


@service.on("unknown")
def decide_unknown(request: Request, what: Unknown): ...
"""


@pytest.mark.skipif(sys.version_info < (3, 14), reason="before Python 3.14 such a module cannot be imported")
def test_annotations_that_python_reads_late() -> None:
    names: dict[str, Any] = {"__name__": "lazy"}
    exec(compile(LATER, "lazy.py", "exec", dont_inherit=True), names)
    with pytest.raises(
        SignatureError, match="decide_unknown of 'unknown': the annotation of its parameter 'what'"
    ):
        names["service"].check()


# Decisions of other services.


class Fraud(BaseModel):
    action: str
    score: float = 0.0


FORMER: dict[str, dict[str, Any]] = {"fraud": {"action": "allow", "score": "0.5"}, "screening": {}}


async def test_decisions_are_read_of_the_request(service: Service) -> None:
    service.on("e")(lambda request: allow(found=request.decisions))
    assert (await ask(service, "e", {}, decisions=FORMER))["found"] == FORMER
    assert (await ask(service, "e", {}))["found"] == {}


async def test_a_decision_comes_in_its_type(service: Service) -> None:
    @service.on("e")
    async def decide(
        data: AsModel,
        fraud: Annotated[Fraud, DecidedBy("fraud")],
        *,
        screening: Annotated[dict[str, Any], DecidedBy("screening")],
    ) -> dict[str, Any]:
        return allow(user=data.user, score=fraud.score, screening=screening)

    found = await ask(service, "e", DATA, decisions=FORMER)
    assert found == allow(user=DATA["user"], score=0.5, screening={})


async def test_without_a_decision(service: Service) -> None:
    nobody = Fraud(action="unknown", score=1.0)

    @service.on("default")
    async def default(fraud: Annotated[Fraud, DecidedBy("fraud")] = nobody) -> dict[str, Any]:
        return allow(score=fraud.score)

    @service.on("none")
    async def none(fraud: Annotated[Fraud | None, DecidedBy("fraud")]) -> dict[str, Any]:
        return allow(found=fraud)

    @service.on("needed")
    async def needed(fraud: Annotated[Fraud, DecidedBy("fraud")]) -> dict[str, Any]:
        return allow()

    assert await ask(service, "default", {}) == allow(score=1.0)
    assert await ask(service, "none", {}) == allow(found=None)
    with pytest.raises(Undecided, match="there is no decision of fraud"):
        await ask(service, "needed", {})


async def test_a_decision_that_does_not_fit(service: Service) -> None:
    @service.on("e")
    async def decide(fraud: Annotated[Fraud, DecidedBy("fraud")]) -> dict[str, Any]:
        return allow()

    with pytest.raises(Undecided, match=r"decision of fraud\.score: Input should be a valid number"):
        await ask(service, "e", {}, decisions={"fraud": {"action": "allow", "score": "high"}})


def test_what_no_decision_can_be_made_into(service: Service) -> None:
    @service.on("e")
    async def decide(fraud: Annotated[int, DecidedBy("fraud")]) -> dict[str, Any]:
        return allow()

    with pytest.raises(SignatureError, match="its parameter 'fraud' is for a decision"):
        service.check()
