"""The rule about what callers write: their text must stay inside its JSON string."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapter.kamailio.lint.findings import Finding, finding
from adapter.kamailio.lint.frames import JSON_TYPES, Frames, is_json
from adapter.kamailio.lint.names import ASYNC, SENDS
from adapter.kamailio.lint.values import Value, values

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adapter.kamailio.lint.script import Script
    from adapter.kamailio.statements import Step


def raw_text(script: Script) -> Iterator[Finding]:
    """Text of a caller's in a frame as it was written."""
    frames = Frames(script)
    tainted = _tainted(frames)
    for own in script.own.values():
        for step in own:
            if step.kind == "call" and step.name in ASYNC | SENDS:
                texts = [step.argument(0)] if is_json(step.argument(0)) else []
            elif step.kind == "call" and step.name == "jansson_set" and step.argument(0) in JSON_TYPES:
                texts = [step.argument(2)]
            elif step.kind == "set" and step.arguments and step.name in frames.sent:
                texts = [word.text for word in step.arguments[0].words] if _is_built(step) else []
            else:
                continue
            found = next((one for text in texts for one in values(text) if _bad(one, tainted)), None)
            if found is not None:
                yield _told(step, found)


def _is_built(step: Step) -> bool:
    """Whether JSON is made by this assignment."""
    words = step.arguments[0].words
    return any(word.kind == "text" and ("{" in word.text or '"' in word.text) for word in words)


def _tainted(frames: Frames) -> set[str]:
    """Variables that were set to a caller's text, perhaps by way of others."""
    found: set[str] = set()
    for _ in range(3):
        for name, steps in frames.sets.items():
            for step in steps:
                for word in step.arguments[0].words:
                    inside = values(word.text) if word.kind in ("text", "variable") else ()
                    bad = any(one.from_caller or (one.key in found and one.kept) for one in inside)
                    if bad and not _is_built(step):
                        found.add(name)
    return found - frames.jansson.keys()


def _bad(one: Value, tainted: set[str]) -> bool:
    return one.from_caller or (one.key in tainted and one.kept)


def _told(step: Step, value: Value) -> Finding:
    what = f"{value.text} stands in a frame as the caller wrote it."
    why = "A quote in it ends the JSON string: that frame is `malformed`, or says what the caller wants."
    name = {"ua": "user_agent", "fn": "from_name", "tn": "to_name", "ct": "contact"}.get(value.name)
    name = name or value.inside.lower().replace("-", "_") or value.name
    target = "$var(data)"
    write = f'jansson_set("string", "{name}", "{value.text}", "{target}");'
    return finding("raw-text", step, what, why, write)


RULES: Final = (raw_text,)
