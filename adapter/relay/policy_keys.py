"""What each key of a policy may be: the value, or PolicyError with the remedy. Pure."""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, Any, Final

from adapter.errors import CodecError, PolicyError
from adapter.model.transaction import BY_SOMEBODY, Outcome
from adapter.wire.to_kamailio import decision_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from adapter.errors import PolicyPath

MIN_DEADLINE: Final = 0.01
MAX_DEADLINE: Final = 120.0
MAX_FALLBACK: Final = 7_000
"""Bytes of a fallback as JSON: with its envelope it always fits a resume, a plain one too (8,000)."""
FORMATS: Final = ("msgpack", "json")
TABLES: Final = ("default", "limits", "services", "events")
LIMITS: Final = ("in_flight", "emergency")
PLAN: Final = (
    *("deadline", "max_deadline", "fallback", "fallback_on", "services", "mode", "quorum", "observers"),
    *("shadows", "retry", "backup", "cache", "emergency", "format"),
)
"""Keys of ``[default]`` and of each event's table."""
SERVICE: Final = ("within", "optional", "format", "fields", "accepts", "breaker", "batch")
"""Keys of each service's table."""
WITH_FALLBACK: Final = tuple(outcome for outcome in Outcome if outcome not in BY_SOMEBODY)
"""The outcomes of calls that nobody decided."""
_ALSO_CALLED: Final = {
    **dict.fromkeys(("timeout", "ttl"), ("deadline", "within")),
    "deadline": ("within",),
    "limit": ("in_flight",),
    **dict.fromkeys(("shadow", "mirror"), ("shadows",)),
    **dict.fromkeys(("retries", "attempts"), ("retry", "times")),
    **dict.fromkeys(("fallbacks", "secondary"), ("backup",)),
    **dict.fromkeys(("percent", "sample", "weight"), ("share",)),
    "actions": ("accepts",),
    **dict.fromkeys(("batch_size", "batches"), ("batch",)),
}
"""Keys that other programs have, and those of ours that may be meant."""
_SHOWN: Final = 60
"""Letters of a wrong value that are shown."""
_EXAMPLE: Final = 'write { action = "reject", code = 503 }, for example'
_UNSENDABLE: Final = {
    "not-json": "write times in quotes, and no nan or inf",
    "nul": "leave \\u0000 out",
    "integer": "write it in quotes",
    "depth": "nest it less deeply",
}


def known(raw: Mapping[str, Any], path: PolicyPath, names: Iterable[str]) -> None:
    """Check that a table has no keys but these. Raises PolicyError, saying which may be meant."""
    for key, value in raw.items():
        if key not in names:
            raise PolicyError((*path, key), "is not known here", _meant(key, value, path, list(names)))


def _meant(key: str, value: Any, path: PolicyPath, names: list[str]) -> str:
    other = [name for name in _ALSO_CALLED.get(key, ()) if name in names]
    if found := slip(key, names) or "".join(other[:1]):
        return f"did you mean {found}?"
    if not path and isinstance(value, dict):
        return f"write [events.{PolicyError.dotted([key])}] if it is an event"
    for below, of in (
        ("[default] or [events.NAME]", PLAN),
        ("[limits]", LIMITS),
        ("[services.NAME]", SERVICE),
    ):
        if key in of:
            return f"write it below {below}"
    return f"known are {', '.join(names)}"


def slip(text: str, words: Iterable[str]) -> str:
    """The word that one with a slip of the pen may be; empty if there is none."""
    found = difflib.get_close_matches(text.lower().replace("-", "_"), list(words), 1, 0.7)
    return "".join(found)


def table(raw: Mapping[str, Any], key: str, above: PolicyPath = ()) -> Mapping[str, Any]:
    """Return a table of a table, an empty one if it is not there. Raises PolicyError."""
    found = raw.get(key, {})
    if not isinstance(found, dict):
        path = (*above, key)
        name = PolicyError.dotted(path)
        example = f"[{name}.NAME]" if path in (("events",), ("services",)) else f"[{name}]"
        example += " once, in single brackets" if isinstance(found, list) else ""
        do = f"write {example}, and its keys below it"
        if path == ("services",):
            do = f"write services = [...] below [default] or [events.NAME], or {example[:15]} for one service"
        raise PolicyError(path, f"{shown(found)} is no table", do)
    return found


def number(raw: Mapping[str, Any], key: str, default: int, least: int) -> int:
    """Return a limit. Raises PolicyError."""
    return whole(raw.get(key, default), ("limits", key), default, least)


def whole(raw: Any, path: PolicyPath, example: int, least: int, most: int | None = None) -> int:
    """Return a whole number. Raises PolicyError."""
    if type(raw) is not int or raw < least or (most is not None and raw > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        wrong = f"{shown(raw)} is no whole number {bounds}"
        raise PolicyError(path, wrong, f"write {path[-1]} = {example}, for example")
    return raw


def deadline(raw: Any, path: PolicyPath) -> float:
    """Return seconds of a deadline. Raises PolicyError."""
    return seconds(raw, path, 2.0)


def seconds(
    raw: Any, path: PolicyPath, example: float, least: float = MIN_DEADLINE, most: float = MAX_DEADLINE
) -> float:
    """Return seconds within bounds. Raises PolicyError."""
    do = f"write {path[-1]} = {example}, for example"
    if type(raw) not in (int, float):
        raise PolicyError(path, f"{shown(raw)} is no number of seconds", do)
    if not least <= raw <= most:
        if most < raw <= most * 1000 and least <= raw / 1000:
            do = f"write {path[-1]} = {raw / 1000:g} for {shown(raw)} ms"
        raise PolicyError(path, f"{shown(raw)} is not within {least:g} to {most:g} seconds", do)
    return float(raw)


def fallback(raw: Any, path: PolicyPath) -> bytes:
    """Return a decision as JSON. Raises PolicyError."""
    if not isinstance(raw, dict):
        raise PolicyError(path, f"{shown(raw)} is no table", _EXAMPLE)
    try:
        text = decision_json(raw)
    except CodecError as exc:
        do = _UNSENDABLE.get(exc.reason, _EXAMPLE)
        why = "JSON has no such value" if exc.reason == "not-json" else exc.detail
        raise PolicyError(path, f"cannot be sent to Kamailio: {why}", do) from exc
    if len(text) > MAX_FALLBACK:
        raise PolicyError(path, f"is {len(text)} bytes of JSON", f"shorten it to {MAX_FALLBACK} bytes")
    return text


def fallback_on(raw: Any, path: PolicyPath) -> dict[Outcome, bytes]:
    """Return decisions as JSON, by outcome. Raises PolicyError."""
    if not isinstance(raw, dict):
        do = 'write { timeout = { action = "allow" } }, for example'
        raise PolicyError(path, f"{shown(raw)} is no table by outcome", do)
    for key in raw:
        if key in BY_SOMEBODY:
            raise PolicyError((*path, key), "is somebody's decision, never a fallback", "leave it out")
    known(raw, path, WITH_FALLBACK)
    return {Outcome(key): fallback(value, (*path, key)) for key, value in raw.items()}


def truth(raw: Any, path: PolicyPath) -> bool:
    """Return True or False. Raises PolicyError."""
    if not isinstance(raw, bool):
        do = f"write {path[-1]} = true, or leave it out"
        raise PolicyError(path, f"{shown(raw)} is neither true nor false", do)
    return raw


def as_json(raw: Any, path: PolicyPath) -> bool:
    """Return True if requests are in JSON. Raises PolicyError."""
    if raw not in FORMATS:
        meant = next((each for each in FORMATS if each == str(raw).lower()), "json")
        do = f'write format = "{meant}"' + (", or leave it out" if meant == "json" else "")
        raise PolicyError(path, f"{shown(raw)} is neither {' nor '.join(FORMATS)}", do)
    return bool(raw == "json")


def shown(value: Any) -> str:
    """A value as TOML has it, as far as a reader needs it to find it again."""
    if isinstance(value, list | dict):
        return "an array" if isinstance(value, list) else "a table"
    text = json.dumps(value) if isinstance(value, bool | str) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
