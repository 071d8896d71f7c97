"""Changes of the contract that break those who hold to it, and changes that do not."""

from __future__ import annotations

import copy
import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.contract_files.__main__ import WITHIN, compare
from tests.contract_files.changes import changes
from tests.contract_files.files import DOCUMENT, files

if TYPE_CHECKING:
    from pathlib import Path

NOW: dict[str, Any] = {
    name: json.loads(text)
    for name, text in files().items()
    if name == DOCUMENT or name.startswith("schemas/")
}
REQUEST, REPLY, DECISION = (f"schemas/{name}.json" for name in ("request", "reply", "decision"))
HEADERS = "schemas/request.headers.json"


def differs(path: tuple[Any, ...], value: Any = None) -> list[tuple[str, bool]]:
    """What is told of a contract in which one value is set, or (None) is not there any more."""
    new = copy.deepcopy(NOW)
    at: Any = new
    for key in path[:-1]:
        at = at[key]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return [(change.what, change.breaks) for change in changes(NOW, new)]


def required(name: str, *more: str, without: str = "") -> list[str]:
    return [key for key in [*NOW[name].get("required", []), *more] if key != without]


def test_nothing_has_changed() -> None:
    assert changes(NOW, NOW) == []


BREAKING = {
    "a key of a request is gone": ((REQUEST, "properties", "seq"), None),
    "a header of a request is gone": ((HEADERS, "properties", "x-deadline"), None),
    "a key of a reply is gone": ((REPLY, "properties", "action"), None),
    "a key is of another type": ((REQUEST, "properties", "deadline", "type"), "string"),
    "a header is of another type": ((HEADERS, "properties", "x-time-left", "type"), "string"),
    "a reply must have more": ((REPLY, "required"), ["action"]),
    "a request may lack what it had": ((REQUEST, "required"), required(REQUEST, without="deadline")),
    "a request may have longer names": ((REQUEST, "properties", "event", "maxLength"), 256),
    "a request may have a lower seq": ((REQUEST, "properties", "seq", "minimum"), 0),
    "a request may have any seq": ((REQUEST, "properties", "seq", "minimum"), None),
    "requests in another format": (
        ("schemas/request.properties.json", "properties", "content_type", "enum"),
        ["application/cbor"],
    ),
    "another version": ((HEADERS, "properties", "x-version", "const"), 2),
    "an action is gone": ((DECISION, "oneOf"), NOW[DECISION]["oneOf"][1:]),
    "an action takes less": ((DECISION, "oneOf", 1, "properties", "code", "maximum"), 599),
    "an action asks for more": ((DECISION, "oneOf", 1, "required"), ["action", "code"]),
    "an action takes other URIs": (
        (DECISION, "oneOf", 2, "properties", "uris", "items", "maxLength"),
        100,
    ),
    "a schema is gone": (("schemas/notice.json",), None),
    "another exchange": ((DOCUMENT, "channels", "events", "bindings", "amqp", "exchange", "name"), "other"),
    "another routing key": ((DOCUMENT, "channels", "events", "address"), "{node}.{event}"),
    "a channel is gone": ((DOCUMENT, "channels", "commands"), None),
    "an operation lost a message": (
        (DOCUMENT, "operations", "notify", "messages"),
        NOW[DOCUMENT]["operations"]["notify"]["messages"][:1],
    ),
    "another content type": ((DOCUMENT, "components", "messages", "notice", "contentType"), "text/plain"),
}
HARMLESS = {
    "a request has one key more": ((REQUEST, "properties", "later"), {"type": "string"}),
    "a reply may have one key more": ((REPLY, "properties", "later"), {"type": "string"}),
    "a request always has what it may have": ((HEADERS, "required"), required(HEADERS, "traceparent")),
    "a request has shorter names": ((REQUEST, "properties", "event", "maxLength"), 100),
    "an action needs less": ((DECISION, "oneOf", 0, "required"), ["action"]),
    "an action takes more": ((DECISION, "oneOf", 1, "properties", "code", "maximum"), 799),
    "one action more": (
        (DECISION, "oneOf"),
        [*NOW[DECISION]["oneOf"], {"title": "queue", "type": "object", "properties": {}}],
    ),
    "one schema more": (("schemas/batch.json",), {"x-written-by": "adapter", "type": "array"}),
    "one channel more": ((DOCUMENT, "channels", "batches"), {"address": "b"}),
}


@pytest.mark.parametrize("change", BREAKING.values(), ids=list(BREAKING))
def test_a_change_that_breaks(change: tuple[tuple[Any, ...], Any]) -> None:
    assert [breaks for _, breaks in differs(*change)] == [True]


@pytest.mark.parametrize("change", HARMLESS.values(), ids=list(HARMLESS))
def test_a_change_that_breaks_nobody(change: tuple[tuple[Any, ...], Any]) -> None:
    assert [breaks for _, breaks in differs(*change)] == [False]


def test_other_words_are_no_change() -> None:
    assert differs((REQUEST, "properties", "seq", "description"), "Counts.") == []
    assert differs((DOCUMENT, "channels", "events", "description"), "Events.") == []


def committed(root: Path, text: str) -> None:
    """A repository whose contract is ours, but for a request's schema."""
    for name, content in files().items():
        path = root / WITHIN / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (root / WITHIN / REQUEST).write_text(text)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.net", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "a contract"]):
        subprocess.run([*git, *command], cwd=root, check=True)


@pytest.mark.parametrize(
    ("name", "of_type", "code", "told"),
    [
        ("seq", "string", 1, "is of the type integer, was string"),
        ("gone", "string", 1, "gone: is there no more"),
        ("seq", "integer", 0, "0 of 1 changes since HEAD"),
    ],
)
def test_the_command_compares_with_a_revision(
    name: str, of_type: str, code: int, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = copy.deepcopy(NOW[REQUEST])
    del old["properties"]["data"]
    old["required"].remove("data")
    old["properties"].setdefault(name, {})["type"] = of_type
    committed(tmp_path, json.dumps(old))
    assert compare("HEAD", tmp_path) == code
    assert told in capsys.readouterr().out


def test_the_command_needs_a_revision_with_a_contract(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert compare("HEAD", tmp_path) == 2
    assert "HEAD has no consumers/contract/" in capsys.readouterr().err
