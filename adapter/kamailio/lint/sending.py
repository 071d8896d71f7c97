"""The rules about what is sent: to the adapter, and of it to the next hop."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from adapter.kamailio.lint.findings import Finding, finding
from adapter.kamailio.lint.names import ASYNC, CALL_ID, SENDS
from adapter.kamailio.parser import variables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adapter.kamailio.lint.script import Script
    from adapter.kamailio.statements import Step

_IDS: Final = frozenset({"tm_index", "tm_label", "tr_index", "tr_label"})
_QUOTED_ID: Final = re.compile(r'"\s*\$T\(id_(?:index|label)\)\s*"')
_NUMBERS: Final = re.compile(
    r"\$\(?(T\(id_|TS|TV\(s\)|sp\b|rp\b|Rp\b|rs\b|cs\b|pp\b|ml\b|mi\b|rc\b|retcode\b)"
)
"""Variables that hold a number, whatever a caller writes."""
_INTEGERS: Final = frozenset({"integer", "int"})
_TYPES: Final = frozenset(
    {"integer", "int", "real", "string", "str"} | {"object", "obj", "array", "true", "false", "null"}
)
"""Source: ``jansson_funcs.c`` of Kamailio."""
_MEANT: Final = {
    "number": "integer", "long": "integer", "uint": "integer", "float": "real", "double": "real",
    "text": "string", "json": "obj", "map": "obj", "dict": "obj", "list": "array",
    "boolean": "true", "bool": "true",
}  # fmt: skip
_JSON: Final = re.compile(r'"\s*:')
_ESCAPE: Final = "{s.escape.common}"
_HEADER: Final = "ADAPTER_STEP_HEADER"
_HEADER_NAME: Final = re.compile(r'"[A-Za-z0-9.!%*_+`\'~-]+"')
"""A name of a SIP header (RFC 3261, token) in quotes."""


def quoted_ids(script: Script) -> Iterator[Finding]:
    """Ids as JSON strings."""
    what = "The ids of the transaction are sent as strings."
    why = (
        "t_continue fails on ids that come back as strings. The adapter makes numbers of them; others do not."
    )
    for own in script.own.values():
        for step in own:
            if step.kind == "call" and step.name == "jansson_set" and step.argument(0) in ("string", "str"):
                key = step.argument(1).rsplit(".", 1)[-1]
                if key in _IDS or "$T(id_" in step.argument(2):
                    target = step.argument(3)
                    value = step.argument(2)
                    write = f'jansson_set("integer", "{step.argument(1)}", "{value}", "{target}");'
                    yield finding("quoted-ids", step, what, why, write)
            elif step.kind == "text" and _QUOTED_ID.search(step.name):
                write = '\\"tm_trans\\":{\\"tm_index\\":$T(id_index),\\"tm_label\\":$T(id_label)}'
                yield finding("quoted-ids", step, what, why, write)


def no_call_id(script: Script) -> Iterator[Finding]:
    """Nobody can find the call again."""
    named = script.facts.bit(CALL_ID)
    for question in script.questions:
        if question.state.done & named:
            continue
        what = "The data has no call_id."
        why = "Then `evapi-adapter trace CALL-ID` does not find the call, and no log line names it."
        write = 'jansson_set("string", "call_id", "$ci", "$var(data)");'
        yield finding("no-call-id", script.users(question.visit), what, why, write)


def escape_not_json(script: Script) -> Iterator[Finding]:
    """What C escapes is not what JSON escapes."""
    for own in script.own.values():
        tainted: set[str] = set()
        for step in own:
            texts = [one.text for one in step.arguments] if step.kind in ("call", "set") else []
            sent = step.kind == "call" and step.name in ASYNC | SENDS
            for text in texts:
                escaped = _ESCAPE in text or bool(tainted & set(variables(text)))
                if escaped and step.kind == "set" and not _JSON.search(text):
                    tainted.add(step.name)
                if not escaped or not (sent or _JSON.search(text)):
                    continue
                what = "A value is escaped by {s.escape.common} and put into JSON."
                why = (
                    "It writes ' as \\', which no JSON has: one caller's apostrophe makes the frame invalid."
                )
                write = 'jansson_set("string", "user_agent", "$ua", "$var(data)");'
                yield finding("escape-not-json", step, what, why, write)


def unquoted_variable(script: Script) -> Iterator[Finding]:
    """Values that are read as formats."""
    positions = dict.fromkeys(ASYNC | SENDS, (0,)) | {"jansson_set": (2,), "jansson_get": (1,)}
    for step in script.calls:
        for position in positions.get(step.name, ()):
            if position >= len(step.arguments) or not step.arguments[position].variable:
                continue
            text = step.argument(position)
            if _NUMBERS.match(text) or (step.name == "jansson_set" and step.argument(0) in _INTEGERS):
                continue
            what = f"{text} is handed to {step.name} without quotes."
            why = "Its value is then read as a format: what a caller writes as $env(...) is expanded."
            arguments = ", ".join(_written(step, at, position) for at in range(len(step.arguments)))
            yield finding("unquoted-variable", step, what, why, f"{step.name}({arguments});")


def _written(step: Step, at: int, wrong: int) -> str:
    argument = step.arguments[at]
    escaped = argument.text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if argument.quoted or at == wrong else argument.text


def type_unknown(script: Script) -> Iterator[Finding]:
    """A type that jansson_set does not know."""
    for step in script.calls_of("jansson_set", "jansson_append"):
        kind = step.argument(0)
        if kind in _TYPES or "$" in kind or not step.arguments:
            continue
        what = f"jansson_set knows no type {kind}."
        why = "Kamailio starts all the same; each call of it fails, and the member is missing in the data."
        right = _MEANT.get(kind.lower(), "string")
        rest = ", ".join(_written(step, at, -1) for at in range(1, len(step.arguments)))
        yield finding("type-unknown", step, what, why, f'{step.name}("{right}", {rest});')


def step_header(script: Script) -> Iterator[Finding]:
    """The define that has the next hop told what decided."""
    header = script.configuration.defines.get(_HEADER)
    if header is None or not script.included:
        return
    write = f'# above the include:\n#!define {_HEADER} "X-Decided-By"'
    if header.text != _HEADER and not _HEADER_NAME.fullmatch(header.text):  # itself: of the environment
        what = f"{_HEADER} is {header.text or 'empty'}: no header's name in quotes."
        why = "Kamailio does not start without the quotes; another text makes requests that nobody can read."
        yield finding("step-header", header, what, why, write)
    elif not any(
        script.ours(step.file) and step.argument(0) == header.text.strip('"')
        for step in script.calls_of("remove_hf")
    ):
        what = f"{_HEADER} is defined below the include."
        why = "evapi-adapter.cfg was read before it: no request has the header."
        yield finding("step-header", header, what, why, write)


RULES: Final = (quoted_ids, no_call_id, escape_not_json, unquoted_variable, type_unknown, step_header)
