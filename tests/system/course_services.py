"""Services that decide a call together: each does what the call says of it, and notes what it was asked.

``data["do"]`` is JSON, by service: ``takes`` (seconds), ``fails`` and ``forgets`` (so many
times), ``hangs``, ``until`` (a file that is there), ``more`` (seconds to ask for), ``action``, ``final``,
``holds`` (seconds), ``as`` (another name), ``idle`` (it has no say).
"""

from __future__ import annotations

import asyncio
import json
import os
import time
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapter.contract import HEADER_TIME_LEFT
from consumers import NO_ANSWER, Failed, MoreTime, Request, Service, cached

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumers import Decision
    from consumers.decisions import NoAnswer

FOLDER = "EVAPI_COURSE_FOLDER"
"""The variable that says where notes are."""
NOTES = "notes.jsonl"
POLICY = Path(__file__).with_name("courses.toml")
EVENTS = tuple(tomllib.loads(POLICY.read_text())["events"])

_tries: Counter[tuple[str, str]] = Counter()


async def _decide(name: str, request: Request, more: MoreTime) -> Decision | NoAnswer:
    call = str(request.call_id)
    do: dict[str, Any] = json.loads(request.data["do"]).get(name, {})
    _tries[name, call] += 1
    _note(name, "asked", request)
    if do.get("hangs") or _tries[name, call] <= do.get("forgets", 0):
        await asyncio.Event().wait()
    while not _is_there(do.get("until", "")):
        await asyncio.sleep(0.02)
    if "more" in do:
        more.ask(do["more"])
    if "takes" in do:
        await asyncio.sleep(do["takes"])
    if _tries[name, call] <= do.get("fails", 0):
        raise Failed("it was told to")
    if do.get("idle"):
        _note(name, "answered", request)
        return NO_ANSWER
    decision = {"action": do.get("action", "allow"), do.get("as", name): call}
    if request.decisions:
        decision[f"{name} heard"] = ",".join(sorted(request.decisions))
    if do.get("final"):
        decision["final"] = True
    _note(name, "answered", request)
    return cached(decision, seconds=do["holds"]) if "holds" in do else decision


def _is_there(file: str) -> bool:
    return Path(os.environ[FOLDER], file).exists()


def _note(service: str, what: str, request: Request) -> None:
    """One line, in one write: several processes write there."""
    said: dict[str, Any] = {
        "service": service,
        "what": what,
        "call": request.call_id,
        "id": request.correlation_id,
    }
    said |= {"sent": request.headers.get(HEADER_TIME_LEFT), "at": time.monotonic()}
    os.write(_notes(), json.dumps(said).encode() + b"\n")


@cache
def _notes() -> int:
    return os.open(Path(os.environ[FOLDER], NOTES), os.O_CREAT | os.O_WRONLY | os.O_APPEND)


def _service(name: str, prefetch: int | None = None, events: Sequence[str] = EVENTS) -> Service:
    made = Service(name, prefetch=prefetch)

    async def decide(request: Request, more: MoreTime) -> Decision | NoAnswer:
        return await _decide(name, request, more)

    made.on(*events)(decide)
    return made


screening, fraud, routing = _service("screening"), _service("fraud"), _service("routing")
shaky, silent, mute = _service("shaky"), _service("silent"), _service("mute")
reserve, watcher, candidate = _service("reserve"), _service("watcher"), _service("candidate")
narrow, deaf = _service("narrow", prefetch=2), _service("deaf", events=["nothing"])
