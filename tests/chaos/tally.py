"""Counts the answers to each suspension on the wire, between the adapters and Kamailio.

A configuration without the include drops no second answer and tells nobody: what tm does with it depends
on how far the transaction is. So answers are counted where they pass, by what the proxies show
(`Network.proxy`), before Kamailio's reader, which may lose some.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any


class Netstrings:
    """Takes a stream of netstrings apart. ``broken`` once it is none: nothing more comes of it."""

    def __init__(self) -> None:
        self._standby = b""
        self.broken = False

    def feed(self, data: bytes) -> list[bytes]:
        """Return the payloads that are whole now."""
        found: list[bytes] = []
        self._standby += data
        while not self.broken:
            size, colon, rest = self._standby.partition(b":")
            if not colon:
                self.broken = len(size) > 9 or not (size.isdigit() or not size)
                break
            if not size.isdigit():
                self.broken = True
                break
            length = int(size)
            if len(rest) <= length:
                break
            self.broken = rest[length : length + 1] != b","
            if not self.broken:
                found.append(rest[:length])
                self._standby = rest[length + 1 :]
        return found


class Tally:
    """``tap`` is what a proxy in front of Kamailio is to be given; one tally serves all of them."""

    def __init__(self) -> None:
        self._streams: dict[tuple[object, bool], Netstrings] = {}
        self._asked: dict[object, Counter[str]] = defaultdict(Counter)  # by connection: each gets a copy
        self._answered: Counter[str] = Counter()
        self._by_question: Counter[tuple[str, int]] = Counter()
        self.written = 0
        """Answers that were handed to Kamailio's socket."""

    def tap(self, connection: object, to_server: bool, data: bytes) -> None:
        """Take in what has passed one way of one connection."""
        stream = self._streams.setdefault((connection, to_server), Netstrings())
        for payload in stream.feed(data):
            if to_server:
                self._answer(payload)
            elif key := question(payload):
                self._asked[connection][key] += 1

    def _answer(self, payload: bytes) -> None:
        found = answer(payload)
        if found is not None:
            key, seq = found
            self.written += 1
            self._answered[key] += 1
            self._by_question[key, seq] += 1

    @property
    def twice(self) -> dict[str, int]:
        """Answers too many, by index:label: more than its suspensions, or two to one of them."""
        found: Counter[str] = Counter()
        for key, count in self._answered.items():
            asked = max((each[key] for each in self._asked.values()), default=0)
            found[key] = count - max(asked, 1)
        for (key, _), count in self._by_question.items():
            found[key] = max(found[key], count - 1)
        return {key: count for key, count in found.items() if count > 0}


def question(payload: bytes) -> str | None:
    """Return the index:label that an event has suspended; None if it is no question."""
    if payload.startswith(b"{"):
        ids = _object(payload).get("tm_trans")
        return _key(ids) if isinstance(ids, dict) else None
    parts = payload.split(b":", 3)
    if len(parts) < 4 or not (parts[1].isdigit() and parts[2].isdigit()):
        return None
    return f"{parts[1].decode()}:{parts[2].decode()}"


def answer(payload: bytes) -> tuple[str, int] | None:
    """Return what a frame of the adapter resumes: index:label and seq (0 if not told); None if nothing."""
    ids = _object(payload).get("tm_trans")
    if not isinstance(ids, dict) or (key := _key(ids)) is None:
        return None
    return key, int(ids.get("seq", 0))


def _object(payload: bytes) -> dict[str, Any]:
    try:
        found = json.loads(payload)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _key(ids: dict[str, Any]) -> str | None:
    index, label = ids.get("tm_index"), ids.get("tm_label")
    return None if index is None or label is None else f"{index}:{label}"
