"""A handler that has no say, and one that fails for a reason it foresaw."""

from __future__ import annotations

import logging
import time

import pytest

from adapter.contract import HEADER_DETAIL, HEADER_STATUS, Request, encode_request
from consumers import NO_ANSWER, Failed, Message, Result, Service
from consumers.testing import Undecided, ask, tell

REQUEST = encode_request(Request("e", "n", {}, 1, 2, 3, time.time() + 3600))


async def test_who_has_no_say_sends_no_reply() -> None:
    service = Service("s")
    service.on("e")(lambda request: NO_ANSWER)
    answer = await service.answer(Message(REQUEST, "id"))
    assert (answer.result, answer.body, answer.error) == (Result.SILENT, None, None)
    with pytest.raises(Undecided, match="silent"):
        await ask(service, "e", {})
    await tell(service, "e", {})


async def test_what_was_foreseen_is_told_in_a_line(caplog: pytest.LogCaptureFixture) -> None:
    service = Service("s")

    @service.on("e")
    async def decide(request: Request) -> None:
        raise Failed("the database is away")

    answer = await service.answer(Message(REQUEST, "id"))
    assert answer.result is Result.FAILED
    assert answer.headers[HEADER_STATUS] == "failed"
    assert answer.headers[HEADER_DETAIL] == "the database is away"
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "s: e failed: id: the database is away"
    assert record.exc_info is None
