"""The golden messages that are checked in, read and written again: the same bytes."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from adapter import contract
from adapter.amqp import fields
from adapter.broker.rabbitmq import frames
from adapter.contract import Request
from adapter.ports.broker import DeadLetter, Publication
from consumers.amqp import frames as replies
from consumers.messages import Answer, Result
from tests.contract_files.files import FOLDER
from tests.contract_files.golden import CHANNEL, MOST, in_json, told, unmarshalled

GOLDEN = FOLDER / "golden"
INDEX: list[dict[str, Any]] = json.loads((GOLDEN / "index.json").read_bytes())
EVENTS = [entry for entry in INDEX if entry["message"] in ("request", "notice")]
REPLIES = [entry for entry in INDEX if entry["message"] == "reply"]
DECISIONS = [entry for entry in REPLIES if "fields" in entry]
FRAMES = [entry for entry in INDEX if "frames" in entry]
by_name = pytest.mark.parametrize


def name(entry: dict[str, Any]) -> str:
    return str(entry["name"])


def bytes_of(entry: dict[str, Any], part: str = "body") -> bytes:
    return (GOLDEN / entry[part]).read_bytes()


def asked(entry: dict[str, Any]) -> Request:
    """What the index says of a request, without a look at its bytes."""
    told = entry["fields"]
    data, deadline = told["data"], told.get("deadline")
    if data.keys() == {contract.BASE64}:
        data = base64.b64decode(data[contract.BASE64])
    ids = (told.get("tm_index"), told.get("tm_label"), told.get("seq"))
    seconds = None if deadline is None else deadline / 1000
    return Request(told["event"], told["node"], data, *ids, seconds, told.get("decisions", {}))


@pytest.mark.parametrize("entry", EVENTS, ids=name)
def test_requests_and_notices(entry: dict[str, Any]) -> None:
    body = bytes_of(entry)
    found = contract.decode_request(body, entry["headers"][contract.HEADER_VERSION])
    assert found == asked(entry)
    for request in (found, asked(entry)):
        assert contract.encode_request(request, entry["format"] == "json") == body


@pytest.mark.parametrize("entry", DECISIONS, ids=name)
def test_replies(entry: dict[str, Any]) -> None:
    body = bytes_of(entry)
    decision = contract.decode_reply(body)
    assert decision == entry["fields"]
    encode = in_json if entry["format"] == "json" else contract.encode_reply
    assert encode(decision) == encode(entry["fields"]) == body


def test_a_reply_without_a_decision_asks_for_more_time() -> None:
    (entry,) = (entry for entry in REPLIES if entry not in DECISIONS)
    assert bytes_of(entry) == b""
    assert entry["headers"][contract.HEADER_STATUS] == contract.STATUS_EXTEND
    assert entry["headers"][contract.HEADER_EXTEND] == 1500


@pytest.mark.parametrize("entry", FRAMES, ids=name)
def test_the_index_says_what_the_frames_do(entry: dict[str, Any]) -> None:
    publication = bytes_of(entry, "frames")
    assert told(publication).items() <= entry.items()
    _, header, body = unmarshalled(publication)
    assert body == bytes_of(entry)
    found, properties = fields.properties(header.marshal()), entry["properties"]
    assert found.headers == entry["headers"]
    for part in ("content_type", "correlation_id", "reply_to", "message_id"):
        assert getattr(found, part) == properties.get(part)


@pytest.mark.parametrize("entry", EVENTS, ids=name)
def test_the_frames_of_requests_are_written_from_the_index(entry: dict[str, Any]) -> None:
    properties, headers, request = entry["properties"], entry["headers"], asked(entry)
    publication = Publication(
        request.event,
        request.node,
        bytes_of(entry),
        properties.get("correlation_id"),
        request.deadline,
        headers.get(contract.HEADER_TRACEPARENT, ""),
        "" if entry["exchange"] else entry["routing_key"],
    )
    left = headers.get(contract.HEADER_TIME_LEFT, 0)
    expires = int(properties["expiration"]) if contract.HEADER_UNTAKEN in headers else None
    assert expires or left == int(properties.get("expiration", 0))
    written = frames.encode(
        *(CHANNEL, MOST, publication, properties["message_id"], properties["timestamp"], left),
        *(properties.get("reply_to", ""), properties.get("user_id", "")),
        contract.HEADER_REPLY_TOPIC in headers,
        expires,
    )
    assert written == bytes_of(entry, "frames")


@pytest.mark.parametrize("entry", [entry for entry in REPLIES if "frames" in entry], ids=name)
def test_the_frames_of_replies_are_written_from_the_index(entry: dict[str, Any]) -> None:
    properties, headers = entry["properties"], dict(entry["headers"])
    received, replied = (
        headers.pop(each) / 1e6 for each in (contract.HEADER_RECEIVED, contract.HEADER_REPLIED)
    )
    id_, kind = properties["correlation_id"], properties.get("content_type")
    answer = Answer(Result.DECIDED, id_, bytes_of(entry), kind, headers)
    written = replies.reply(
        *(CHANNEL, MOST, answer, bytes_of(entry), entry["routing_key"], properties["message_id"]),
        *(received, replied),
    )
    assert written == bytes_of(entry, "frames")


def test_the_frames_of_a_dead_letter_are_written_from_the_index() -> None:
    (entry,) = (entry for entry in INDEX if entry["message"] == "dead-letter")
    properties, headers = entry["properties"], entry["headers"]
    letter = DeadLetter(
        headers[contract.HEADER_REASON],
        headers[contract.HEADER_DETAIL],
        bytes_of(entry),
        headers[contract.HEADER_NODE],
        properties["correlation_id"],
        properties["content_type"],
    )
    written = frames.letter(CHANNEL, MOST, letter, properties["message_id"], properties["timestamp"])
    assert written == bytes_of(entry, "frames")
    longer = replace(letter, body=b"x" * (contract.MAX_BODY + 1), content_type="é" * 128)
    _, header, body = unmarshalled(frames.letter(CHANNEL, MOST, longer, "id", 0))
    assert len(body) == contract.MAX_BODY
    assert header.properties.content_type == "é" * 127
