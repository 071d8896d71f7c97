"""Puts the line to write of a finding where an operator would."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from adapter.kamailio.lint import Finding

INSTEAD: Final = frozenset(
    {"short-timer", "no-timer", "raw-text"}
    | {"ask-in-no-decision", "type-unknown", "unquoted-variable", "answer-path", "stateless-reply"}
    | {"reply-not-expanded", "relay-refused", "lost-in-failure-route", "continue-from-wire", "quoted-ids"}
)
"""Rules whose line takes the place of the call that was found."""
INSIDE: Final = frozenset({"no-cancel", "no-receipts"})
"""Rules whose lines are the first ones of the route that was found."""
_CALL: Final = re.compile(r"(t_\w+|sl_\w+|jansson_\w+|evapi_\w+|route)\(")


def put_in(text: str, one: Finding) -> str:
    """Return the configuration with what the finding says to write."""
    lines = text.split("\n")
    at = one.line - 1
    write, blocks = _parts(one.write)
    if blocks:
        lines += ["", *blocks]
    if not write:
        return "\n".join(lines)
    first = write[0]
    if first.startswith("# evapi-adapter: accept"):
        lines[at] = first
        return "\n".join(lines)
    if first.startswith("# above the include"):
        return _above_include(lines, write[1:])
    if first.startswith("loadmodule"):
        name = first.split("#")[0].strip()
        lines = [line for line in lines if line.strip() != name]
        return _insert(
            lines, next(i for i, line in enumerate(lines) if line.startswith("loadmodule")) + 1, write
        )
    if first.startswith("modparam("):
        return _parameter(lines, write)
    if re.match(r"\w+=", first):
        return _parameter(lines, write)
    if first.startswith('\\"'):
        lines[at] = re.sub(r'\\"tm_trans\\":\{[^}]*\}', lambda _: first, lines[at])
        return "\n".join(lines)
    if re.match(r"\w+:\$T\(", first):
        lines[at] = re.sub(r'"\w+:[^"]*"', lambda _: f'"{first}"', lines[at])
        return "\n".join(lines)
    if one.rule in ("raw-text", "escape-not-json") and "jansson_set" not in lines[at]:
        lines[at] = re.sub(r'(" \+ )?\$(\(ua\{s\.escape\.common\}\)|ua\b)( \+ ")?', "", lines[at])
        return _insert(lines, at + 1, write)
    if one.rule == "flag-after-question":
        return _insert(lines, next(i for i, line in enumerate(lines) if "route(ADAPTER_ASK)" in line), write)
    if one.rule == "no-answer-route":
        return _insert(
            lines, next(i for i, line in enumerate(lines) if "message-received]" in line) + 1, write
        )
    wanted = "t_set_fr(" if "timer" in one.rule else ""
    if one.rule in INSTEAD and wanted in lines[at] and _CALL.search(lines[at]):
        lines[at] = _replaced(lines[at], one, write)
        return "\n".join(lines)
    if one.rule in INSIDE or lines[at].lstrip().startswith(("route[", "event_route[")):
        return _insert(lines, at + 1, write)
    return _insert(lines, at, write)


def _parts(write: str) -> tuple[list[str], list[str]]:
    """Statements, and whole routes to put at the end."""
    lines = write.split("\n")
    for number, line in enumerate(lines):
        if re.match(r"(failure_|event_)?route\[", line):
            return [line for line in lines[:number] if line], lines[number:]
    return [line for line in lines if line], []


def _insert(lines: list[str], at: int, write: list[str]) -> str:
    return "\n".join([*lines[:at], *write, *lines[at:]])


def _above_include(lines: list[str], write: list[str]) -> str:
    for name in re.findall(r"#!define (\w+)", "\n".join(write)):
        lines = [line for line in lines if not re.match(rf"\s*#!\w+ {name}\b", line)]
    return _insert(lines, next(i for i, line in enumerate(lines) if "include_file" in line), write)


def _parameter(lines: list[str], write: list[str]) -> str:
    """In the place of the one that is there; a new one stands below the modules."""
    start = re.match(r'modparam\("\w+", "\w+"|\w+=', write[0])
    assert start is not None
    lines = [line for line in lines if not line.startswith(start[0])]
    below = max(i for i, line in enumerate(lines) if line.startswith(("loadmodule", "include_file"))) + 1
    return _insert(lines, below, write)


def _replaced(line: str, one: Finding, write: list[str]) -> str:
    """The line with the found call gone: the one that the written line calls, or the first."""
    names = [found[1] for text in write[-1:] for found in _CALL.finditer(text)]
    starts = [found.start() for found in _CALL.finditer(line)]
    same = [found.start() for found in _CALL.finditer(line) if found[1] in names]
    start = (same or starts)[0]
    depth = 0
    for position in range(start, len(line)):
        depth += {"(": 1, ")": -1}.get(line[position], 0)
        if depth == 0 and line[position] == ";":
            return line[:start] + "\n".join(write) + line[position + 1 :]
    return line
