"""The contract's files are what the code makes of them, and say what the code does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgpack
import pytest
from jsonschema import Draft7Validator

from adapter import contract
from adapter.errors import CodecError
from adapter.message_fields import Message, Place, fields
from adapter.wire.command import check_command
from consumers.decisions import DecisionError, redirect, reject, route
from tests.contract_files.files import differing, write
from tests.contract_files.golden import ASKED, Golden, goldens, in_json, plain
from tests.contract_files.schemas import schemas

if TYPE_CHECKING:
    from pathlib import Path

SCHEMAS = schemas()
GOLDENS = {golden.name: golden for golden in goldens()}


def validator(name: str) -> Draft7Validator:
    return Draft7Validator(SCHEMAS[name])


def test_the_folder_is_made_the_same(tmp_path: Path) -> None:
    made = {"a/one": b"1", "two": b"2"}
    assert write(made, tmp_path) == ["a/one", "two"]
    assert write(made, tmp_path) == []
    (tmp_path / "three").write_bytes(b"3")
    assert write({**made, "two": b"4"}, tmp_path) == ["three", "two"]
    assert differing({**made, "two": b"4"}, tmp_path) == []


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_one(name: str) -> None:
    Draft7Validator.check_schema(SCHEMAS[name])


@pytest.mark.parametrize("golden", GOLDENS.values(), ids=list(GOLDENS))
def test_a_golden_message_is_as_the_schemas_say(golden: Golden) -> None:
    entry = golden.entry()
    if "fields" in entry:
        validator(golden.message).validate(entry["fields"])
    for part in ("headers", "properties"):
        if part in entry:
            validator(f"{golden.message}.{part}").validate(entry[part])


# The table of fields.


@pytest.mark.parametrize("message", [each for each in Message if each is not Message.COMMAND])
@pytest.mark.parametrize("place", [Place.HEADER, Place.PROPERTY])
def test_the_table_knows_all_that_is_written(message: Message, place: Place) -> None:
    """A header that the code writes has a row; what a row says is always there, always is."""
    part = "headers" if place is Place.HEADER else "properties"
    written = [golden.entry() for golden in GOLDENS.values() if golden.message is message]
    for entry in written:
        if part in entry:
            assert set(entry[part]) <= {row.name for row in fields(message, place)}, entry["name"]
    seen: set[str] = set().union(*(entry.get(part, {}) for entry in written))
    foreign = {
        contract.HEADER_CORRELATION_ID,  # which RabbitMQ writes, of other protocols' replies
        contract.HEADER_DIRECT,  # which instances of a service write, for each other
        contract.HEADER_BATCH,  # of messages of several, which are no golden ones: see tests/broker
    }
    assert {row.name for row in fields(message, place)} - seen <= foreign


def told(message: Message) -> dict[str, Any]:
    name = "request" if message is Message.REQUEST else "notice"
    found: dict[str, Any] = msgpack.unpackb(GOLDENS[name].body)
    assert list(found) == [row.name for row in fields(message, Place.BODY) if message in row.always]
    return found


@pytest.mark.parametrize("message", [Message.REQUEST, Message.NOTICE])
def test_the_body_has_the_keys_of_the_table_in_its_order(message: Message) -> None:
    assert told(message)


@pytest.mark.parametrize("missing", ["event", "node", "tm_index", "tm_label", "seq"])
def test_the_schema_misses_what_the_reader_does(missing: str) -> None:
    body = told(Message.REQUEST)
    del body[missing]
    assert not validator("request").is_valid(body)
    with pytest.raises(CodecError):
        contract.decode_request(msgpack.packb(body))


@pytest.mark.parametrize(
    "wrong",
    [
        {"event": 1},
        {"node": None},
        {"tm_index": "37"},
        {"seq": 1.5},
        {"deadline": "soon"},
        {"event": "e" * 256},
        {"decisions": [{"action": "allow"}]},
        {"decisions": {"fraud": "allow"}},
    ],
)
def test_the_schema_refuses_what_the_reader_does(wrong: dict[str, Any]) -> None:
    body = {**told(Message.REQUEST), **wrong}
    assert not validator("request").is_valid(body)
    with pytest.raises(CodecError):
        contract.decode_request(msgpack.packb(body))


def test_the_last_key_of_a_chain_s_request_is_the_table_s() -> None:
    found = msgpack.unpackb(GOLDENS["request-with-decisions"].body)
    assert list(found) == [row.name for row in fields(Message.REQUEST, Place.BODY)]


def test_a_key_that_nobody_knows_is_no_matter() -> None:
    body = {**told(Message.REQUEST), "later": 1}
    validator("request").validate(body)
    assert contract.decode_request(msgpack.packb(body)) == ASKED


# Decisions and commands.


@pytest.mark.parametrize("name", [name for name in GOLDENS if name.startswith("decision-")])
def test_the_decisions_of_the_sdk_are_known(name: str) -> None:
    found = validator("decision").is_valid(GOLDENS[name].entry()["fields"])
    assert found is not name.startswith("decision-of-your-own")


URIS = [
    "sip:a@b",
    "SIPS:a@b",
    "tel:+441",
    "http://a",
    "sip:",
    "sip:a b",
    'sip:"a"@b',
    "sip:<a>",
    "sip:" + "x" * 1021,
]


@pytest.mark.parametrize("uri", URIS)
def test_the_schema_knows_a_uri_as_the_sdk_does(uri: str) -> None:
    assert validator("decision").is_valid({"action": "route", "uri": uri}) is taken(lambda: route(uri))
    one = {"action": "redirect", "uris": [uri], "code": 302}
    assert validator("decision").is_valid(one) is taken(lambda: redirect(uri))


@pytest.mark.parametrize("code", [299, 300, 399, 400, 699, 700])
def test_the_schema_knows_a_status_as_the_sdk_does(code: int) -> None:
    one = {"action": "reject", "code": code, "reason": "No"}
    assert validator("decision").is_valid(one) is taken(lambda: reject(code, "No"))
    one = {"action": "redirect", "uris": ["sip:a@b"], "code": code}
    assert validator("decision").is_valid(one) is taken(lambda: redirect("sip:a@b", code))


@pytest.mark.parametrize("reason", ["", "Forbidden", "Verböten", "two\nlines", "\x7f", "x" * 128, "x" * 129])
def test_the_schema_knows_a_reason_as_the_sdk_does(reason: str) -> None:
    one = {"action": "reject", "code": 403, "reason": reason}
    assert validator("decision").is_valid(one) is taken(lambda: reject(403, reason))


def taken(make: Any) -> bool:
    try:
        make()
    except DecisionError:
        return False
    return True


@pytest.mark.parametrize(
    "command", [{}, {"event": "reload"}, {"tm_trans": {}}, {"adapter": {}}, {"tm_index": 1}]
)
def test_the_schema_knows_a_command_as_the_adapter_does(command: dict[str, Any]) -> None:
    known = True
    try:
        check_command(in_json(command))
    except CodecError:
        known = False
    assert validator("command").is_valid(command) is known
    assert plain(command) == command
