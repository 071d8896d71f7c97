"""The service: through the SDK's own codec, with the settings as they are in files."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING

import pytest

from adapter import watched as watched_module
from adapter.contract import Request, encode_request
from consumers import LoadError, Message, Result, load
from consumers.metrics import ConsumerMetrics
from consumers.testing import Undecided, ask, opened, tell
from consumers.webhook.signing import HEADER_SIGNATURE, parse_secret, signature
from tests.harness.until import until
from tests.webhook.functions import LOOPBACK, fixed, serving

if TYPE_CHECKING:
    from pathlib import Path

    from tests.webhook.functions import Function

DECIDED = {"action": "allow"}
OLD, NEW = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


def write(folder: Path, function: Function, more: str = "") -> str:
    """Settings in a file, replaced in one step; gives its path."""
    path = folder / "webhook.toml"
    text = f'events = ["e", "n"]\nurls = ["http://127.0.0.1:{function.port}/hush"]\n{LOOPBACK}{more}'
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").rename(path)
    return str(path)


async def test_a_function_decides(tmp_path: Path) -> None:
    async with serving(fixed()) as function:
        service = load(write(tmp_path, function, 'name = "functions"\nrequests = 7\n'))
        assert (service.name, service.prefetch, service.events) == ("functions", 7, ("e", "n"))
        assert await ask(service, "e", {"user": "4420"}) == DECIDED
        await tell(service, "n", b"\x00")
    (headers, _), (_, notice) = function.asked
    assert headers["x-service"] == "functions"
    assert json.loads(notice) == {"event": "n", "node": "test", "data": {"base64": "AA=="}}


async def test_a_function_gets_former_decisions_and_says_for_how_long_its_own_holds(tmp_path: Path) -> None:
    former = {"fraud": {"action": "allow", "score": 0.5}}
    async with serving(fixed(Cache_Control="max-age=30")) as function:
        service = load(write(tmp_path, function))
        async with opened(service):
            request = Request("e", "n", {}, 1, 1, 1, time.time() + 5, former)
            answer = await service.answer(Message(encode_request(request), "id"))
    assert json.loads(function.asked[0][1])["decisions"] == former
    assert answer.result is Result.DECIDED
    assert answer.headers["x-cache"] == 30


async def test_a_function_that_has_no_say(tmp_path: Path) -> None:
    async with serving(fixed(204, b"")) as function:
        with pytest.raises(Undecided) as caught:
            await ask(load(write(tmp_path, function)), "e", {})
    assert caught.value.answer.result is Result.SILENT


async def test_a_function_that_fails(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(fixed(500)) as function:
        with pytest.raises(Undecided) as caught:
            await ask(load(write(tmp_path, function)), "e", {})
    answer = caught.value.answer
    assert answer.result is Result.FAILED
    assert str(answer.headers["x-detail"]).endswith("it failed (status 500): see the function's own log")
    (record,) = caplog.records
    assert record.exc_info is None
    assert "hush" not in caplog.text


async def test_what_became_of_attempts_is_counted(tmp_path: Path) -> None:
    more = "attempts = 2\nbreaker = { after = 2 }\n"
    async with serving(fixed(500)) as function, opened(load(write(tmp_path, function, more))) as service:
        whom = f"urls[0] (127.0.0.1:{function.port})"
        for _ in range(3):
            with pytest.raises(Undecided):
                await ask(service, "e", {})
        assert service.asked == {(whom, "5xx"): 2, (whom, "resting"): 1}
        metrics = ConsumerMetrics([service], {service.name: lambda: True})
        metrics.measure()
        labels = {"service": "webhook", "whom": whom, "outcome": "5xx"}
        assert metrics.registry.get_sample_value("evapi_consumer_asked_total", labels) == 2


async def test_the_trace_goes_on(tmp_path: Path) -> None:
    async with serving(fixed()) as function, opened(load(write(tmp_path, function))) as service:
        body = encode_request(Request("n", "sbc1", {}))
        traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        await service.answer(Message(body, headers={"traceparent": traceparent}))
        # As it came, or this process's own span of that trace where another test has loaded OpenTelemetry.
        assert function.asked[0][0]["traceparent"].startswith("00-0af7651916cd43dd8448eb211c80319c-")


async def test_files_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watched_module, "CHECK_EVERY", 0.0)
    caplog.set_level(logging.INFO, "consumers")
    secret = tmp_path / "secret"
    secret.write_text(OLD + "\n")
    signed = 'secrets = [{ file = "secret" }]\n'

    def signs(key: str) -> bool:
        headers, body = function.asked[-1]
        id_, at = headers["webhook-id"], int(headers["webhook-timestamp"])
        return headers[HEADER_SIGNATURE] == signature([parse_secret(key)], id_, at, body)

    async def asked_with(key: str) -> bool:
        assert await ask(service, "e", {}) == DECIDED
        return signs(key)

    async with serving(fixed()) as function, opened(load(write(tmp_path, function, signed))) as service:
        assert await asked_with(OLD)
        secret.write_text(NEW + " \n")
        await until(lambda: asked_with(NEW))
        secret.write_text("nonsense")
        await until(lambda: _told(caplog, "secrets[0]: does not begin with whsec_", asked_with(NEW)))
        secret.write_text(OLD)
        await until(lambda: asked_with(OLD))
        write(tmp_path, function, signed + 'name = "other"\n')
        await until(lambda: _told(caplog, "name: has changed, which takes a restart", asked_with(OLD)))
        async with serving(fixed(body=b'{"action":"reject"}')) as other:
            write(tmp_path, other, signed)

            async def moved() -> bool:
                return (await ask(service, "e", {}))["action"] == "reject"

            await until(moved)
    assert "nonsense" not in caplog.text
    assert OLD not in caplog.text


async def _told(caplog: pytest.LogCaptureFixture, text: str, asked: object) -> bool:
    assert await asked  # type: ignore[misc]  # what is there goes on meanwhile
    return text in caplog.text and "the one before it still counts" in caplog.text


def test_what_cannot_be_loaded_is_told(tmp_path: Path) -> None:
    path = tmp_path / "webhook.toml"
    with pytest.raises(LoadError, match=r"webhook\.toml cannot be read: No such file"):
        load(str(path))
    path.write_text('events = ["e"]\nurls = ["https://x/"]\nsecrets = [{ file = "absent" }]\n')
    with pytest.raises(LoadError, match=rf"{path}, secrets\[0\]: {tmp_path}/absent cannot be read: No such"):
        load(str(path))
    (tmp_path / "absent").write_bytes(b"\xff")
    with pytest.raises(LoadError, match=r"secrets\[0\]: .*absent is not ASCII"):
        load(str(path))
    path.write_text('events = ["e"]\nurls = ["https://x/"]\nheaders = { a = { file = "token" } }\n')
    (tmp_path / "token").write_text("a\nb")
    with pytest.raises(LoadError, match=r"headers\.a: is no header's value: one line"):
        load(str(path))
    path.write_text("urls = []\n")
    with pytest.raises(LoadError, match="events: is missing; write for example"):
        load(str(path))
