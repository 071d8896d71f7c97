"""An event's data in the type that a handler asks for, and what becomes of data that do not fit."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from pydantic import BaseModel, Field, field_validator
from typing_extensions import TypedDict

from adapter.contract import Request, decode_reply, encode_request
from consumers import Message, PayloadError, Result, Service, SignatureError, allow
from consumers.testing import Undecided, ask, tell

if TYPE_CHECKING:
    from collections.abc import Mapping


DATA = {"user": "441632960000", "rate": "3", "call_id": "abc@sbc1"}


@dataclass
class AsDataclass:
    user: str
    rate: int = 0


class AsTypedDict(TypedDict):
    user: str


class AsModel(BaseModel):
    user: str = Field(min_length=3)
    rate: Annotated[int, Field(gt=0)] = 1

    @field_validator("user")
    @classmethod
    def _not_secret(cls, value: str) -> str:
        if value == "secret":
            raise ValueError(f"{value} is not allowed")
        return value


@pytest.fixture
def service() -> Service:
    return Service("typed")


def asked(data: Any, event: str = "e", correlation_id: str | None = "n:1:2:3", **headers: Any) -> Message:
    request = Request(event, "n", data, *((None,) * 3 if correlation_id is None else (1, 2, 3)))
    return Message(encode_request(request), correlation_id, headers=headers)


async def test_the_data_come_as_the_type_that_is_asked_for(service: Service) -> None:
    @service.on("dataclass")
    async def first(request: Request, call: AsDataclass) -> dict[str, Any]:
        return allow(user=call.user, rate=call.rate, kind=type(call).__name__, event=request.event)

    @service.on("typed_dict")
    def second(call: AsTypedDict) -> dict[str, Any]:
        return allow(user=call["user"], kind="TypedDict")

    @service.on("model")
    def third(*, call: AsModel, request: Request) -> dict[str, Any]:
        return allow(user=call.user, rate=call.rate, kind=type(call).__name__, event=request.event)

    @service.on("plain")
    def fourth(_: Any, data: Mapping[str, str] | bytes) -> dict[str, Any]:
        return allow(user=data.decode() if isinstance(data, bytes) else data["user"])

    service.check()
    found = await ask(service, "dataclass", DATA)
    assert found == allow(user=DATA["user"], rate=3, kind="AsDataclass", event="dataclass")
    assert await ask(service, "typed_dict", DATA) == allow(user=DATA["user"], kind="TypedDict")
    found = await ask(service, "model", DATA)
    assert found == allow(user=DATA["user"], rate=3, kind="AsModel", event="model")
    assert await ask(service, "plain", DATA) == allow(user=DATA["user"])
    assert await ask(service, "plain", b"44") == allow(user="44")


async def test_what_does_not_fit_has_failed_at_once_with_the_field_named(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    @service.on("e")
    async def decide(call: AsModel) -> dict[str, Any]:
        raise AssertionError("not to be called")

    answer = await service.answer(asked({"user": "1", "rate": "high"}))
    told = (
        "user: String should have at least 3 characters; "
        "rate: Input should be a valid integer, unable to parse string as an integer"
    )
    assert answer.result is Result.FAILED
    assert answer.headers == {"x-service": "typed", "x-status": "failed", "x-detail": told}
    assert answer.body is not None
    assert decode_reply(answer.body) == {"error": "PayloadError"}
    (record,) = caplog.records
    assert record.getMessage() == f"typed: e failed: n:1:2:3: its data do not fit: {told}"
    assert record.exc_info is None
    with pytest.raises(Undecided, match="user: Field required") as caught:
        await ask(service, "e", {})
    assert isinstance(caught.value.__cause__, PayloadError)


async def test_a_notice_that_does_not_fit_is_logged_and_not_answered(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    service.on("e")(_hear)
    answer = await service.answer(asked({}, correlation_id=None))
    assert (answer.result, answer.body) == (Result.FAILED, None)
    assert "its data do not fit: user: Field required" in caplog.text
    with pytest.raises(Undecided, match="user: Field required"):
        await tell(service, "e", {})


def _hear(call: AsDataclass) -> None:
    raise AssertionError("not to be called")


@pytest.mark.parametrize(
    "data, told",
    [
        ({"user": "secret"}, "user: is refused"),  # a validator's text may quote what is nobody's business
        (b"\xff", "data: Input should be a valid dictionary or instance of AsModel"),
        ({"user": "x" * 9, "rate": {"a": 1}}, "rate: Input should be a valid integer"),
    ],
)
async def test_what_is_told_quotes_no_data(service: Service, data: Any, told: str) -> None:
    service.on("e")(_decide_model)
    answer = await service.answer(asked(data))
    assert answer.headers["x-detail"] == told


def _decide_model(call: AsModel) -> dict[str, Any]:
    raise AssertionError("not to be called")


async def test_what_is_told_is_one_short_line_whatever_comes(service: Service) -> None:
    @service.on("e")
    def decide(data: dict[str, int]) -> dict[str, Any]:
        raise AssertionError("not to be called")

    answer = await service.answer(asked({f"\n\x1b{number}": "x" for number in range(100)}))
    told = str(answer.headers["x-detail"])
    assert len(told) == 255
    assert told.isprintable()


async def test_a_request_tells_of_its_message(service: Service) -> None:
    seen: list[Request] = []

    @service.on("e")
    def decide(request: Request) -> dict[str, Any]:
        seen.append(request)
        return allow()

    await service.answer(asked(DATA, **{"x-node": "n"}))
    (request,) = seen
    assert (request.correlation_id, request.call_id) == ("n:1:2:3", "abc@sbc1")
    assert request.headers == {"x-node": "n"}
    with pytest.raises(TypeError):
        request.headers["x-node"] = "other"  # type: ignore[index]
    await service.answer(asked(b"no map", correlation_id=None))
    assert (seen[1].correlation_id, seen[1].call_id, dict(seen[1].headers)) == (None, None, {})
    assert Request("e", "n", {"call_id": 7}).call_id is None
    assert dict(Request("e", "n", {}).headers) == {}


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="since Python 3.12 both will do")
def test_a_typed_dict_that_pydantic_cannot_read_is_refused(service: Service) -> None:
    service.on("e")(_old_typed_dict)
    with pytest.raises(SignatureError, match=r"typing_extensions\.TypedDict"):
        service.check()


if sys.version_info < (3, 12):
    import typing

    class OldTypedDict(typing.TypedDict):
        user: str

    def _old_typed_dict(call: OldTypedDict) -> Any:
        return allow()
