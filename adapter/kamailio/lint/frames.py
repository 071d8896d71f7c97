"""The frames that a configuration sends: of which texts, variables and members they are made."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from adapter.kamailio.lint.names import ASYNC, SENDS
from adapter.kamailio.lint.values import values
from adapter.kamailio.parser import variables

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from adapter.kamailio.lint.script import Script
    from adapter.kamailio.statements import Argument, Step

JSON_TYPES: Final = frozenset({"object", "obj", "array", "json"})
"""Types of jansson_set whose value is JSON text."""
_DATA: Final = "var(data)"
_TOKEN: Final = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(:)?|([{}\[\],])|([^\s"{}\[\],]+)')
MAX_DEPTH: Final = 5
"""Variables within variables that make up a frame."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a frame: its path, and its value as it is written. ``step``: what writes it."""

    path: str
    value: str
    quoted: bool
    step: Step


def is_json(text: str) -> bool:
    """Whether a frame that begins like this is of the JSON form."""
    return text.lstrip().startswith("{")


def members(text: str, step: Step, under: str = "") -> Iterator[Member]:
    """The members of a JSON text in which variables stand, as far as it can be read."""
    path: list[str] = [under] if under else []
    depths: list[int] = []
    key = ""
    for found in _TOKEN.finditer(text):
        name, colon, sign, bare = found.groups()
        if sign in ("{", "["):
            depths.append(len(path))
            path += [key] if key else []
            key = ""
        elif sign in ("}", "]") and depths:
            del path[depths.pop() :]
            key = ""
        elif sign == ",":
            key = ""
        elif colon:
            key = name
        elif key:
            value = name if name is not None else bare.lstrip(":")
            yield Member(".".join([*path, key]), value or "", name is not None, step)


class Frames:
    """What is written into which variable.

    Args:
        script: of the configuration.
        among: the steps that count; None: all, wherever they stand.
    """

    def __init__(self, script: Script, among: Collection[Step] | None = None) -> None:
        self._script = script
        self.sets: dict[str, list[Step]] = {}
        self.jansson: dict[str, list[Step]] = {}
        for own in script.own.values():
            for step in own:
                if among is not None and step not in among:
                    continue
                if step.kind == "set" and step.arguments:
                    self.sets.setdefault(step.name, []).append(step)
                elif step.kind == "call" and step.name == "jansson_set":
                    for name in variables(step.argument(3))[:1]:
                        self.jansson.setdefault(name, []).append(step)
        self.sent = frozenset(self._all_sent())

    def _all_sent(self) -> set[str]:
        """The variables of which frames are made."""
        found: set[str] = {_DATA} if self._script.included else set()
        waiting = list(found)
        for step in self._script.calls_of(*ASYNC, *SENDS):
            waiting += _kept(step.argument(0))
        while waiting:
            name = waiting.pop()
            if name in found and name != _DATA:
                continue
            first = name not in found or name == _DATA
            found.add(name)
            if not first:
                continue
            more = [text for step in self.sets.get(name, ()) for text in _words(step.arguments[0])]
            more += [one.argument(2) for one in self.jansson.get(name, ()) if one.argument(0) in JSON_TYPES]
            waiting += [other for text in more for other in _kept(text) if other not in found]
        return found

    def members(self, text: str, step: Step, under: str = "", depth: int = 0) -> tuple[list[Member], bool]:
        """The members of a JSON frame.

        Returns:
            The members, and whether they are all: False if some of it cannot be seen.
        """
        if depth > MAX_DEPTH:
            return [], False
        if is_json(text):
            found: list[Member] = []
            whole = True
            for one in members(text, step, under):
                found.append(one)
                inner = _only(one.value)
                if not one.quoted and inner and inner.startswith(("var(", "avp(", "xavp(")):
                    more, seen = self._variable(inner, one.path, depth + 1)
                    found += more
                    whole = whole and seen
            return found, whole
        name = _only(text)
        return self._variable(name, under, depth + 1) if name else ([], False)

    def _variable(self, name: str, under: str, depth: int) -> tuple[list[Member], bool]:
        found: list[Member] = []
        sets = self.sets.get(name, [])
        whole = bool(sets) and (name in self.jansson or any(is_json(_joined(one)) for one in sets))
        for one in sets:
            text = _joined(one)
            if text in ("", "{}"):
                continue
            more, seen = self.members(text, one, under, depth)
            found += more
            whole = whole and seen
        for one in self.jansson.get(name, ()):
            path = f"{under}.{one.argument(1)}" if under else one.argument(1)
            found.append(Member(path, one.argument(2), one.argument(0) in ("string", "str"), one))
            inner = _only(one.argument(2))
            if one.argument(0) in JSON_TYPES and inner:
                found += self._variable(inner, path, depth + 1)[0] if depth < MAX_DEPTH else []
            elif one.argument(0) in JSON_TYPES:
                found += members(one.argument(2), one, path)
        return found, whole


def _joined(step: Step) -> str:
    return "".join(word.text for word in step.arguments[0].words if word.text != "+")


def _words(argument: Argument) -> Iterable[str]:
    return (word.text for word in argument.words)


def _kept(text: str) -> list[str]:
    return [value.key for value in values(text) if value.name in ("var", "avp", "xavp", "shv")]


def _only(text: str) -> str:
    """The variable that a text consists of; "" if there is more, or less."""
    found = list(values(text))
    return found[0].key if len(found) == 1 and found[0].text == text.strip() and found[0].inside else ""
