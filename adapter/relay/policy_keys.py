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
TABLES: Final = ("default", "limits", "events")
LIMITS: Final = ("in_flight", "emergency")
PLAN: Final = ("deadline", "fallback", "fallback_on", "services", "emergency", "format")
"""Keys of ``[default]`` and of each event's table."""
WITH_FALLBACK: Final = tuple(outcome for outcome in Outcome if outcome not in BY_SOMEBODY)
"""The outcomes of calls that nobody decided."""
_ALSO_CALLED: Final = {"timeout": "deadline", "ttl": "deadline", "limit": "in_flight"}
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
    slips = difflib.get_close_matches(key.lower().replace("-", "_"), names, 1, 0.7)
    if slips or _ALSO_CALLED.get(key) in names:
        return f"did you mean {slips[0] if slips else _ALSO_CALLED[key]}?"
    if not path and isinstance(value, dict):
        return f"write [events.{PolicyError.dotted([key])}] if it is an event"
    if key in PLAN:
        return "write it below [default] or [events.NAME]"
    if key in LIMITS:
        return "write it below [limits]"
    return f"known are {', '.join(names)}"


def table(raw: Mapping[str, Any], key: str, above: PolicyPath = ()) -> Mapping[str, Any]:
    """Return a table of a table, an empty one if it is not there. Raises PolicyError."""
    found = raw.get(key, {})
    if not isinstance(found, dict):
        path = (*above, key)
        name = PolicyError.dotted(path)
        example = f"[{name}.NAME]" if path == ("events",) else f"[{name}]"
        example += " once, in single brackets" if isinstance(found, list) else ""
        raise PolicyError(path, f"{shown(found)} is no table", f"write {example}, and its keys below it")
    return found


def number(raw: Mapping[str, Any], key: str, default: int, least: int) -> int:
    """Return a limit. Raises PolicyError."""
    found = raw.get(key, default)
    if type(found) is not int or found < least:
        wrong = f"{shown(found)} is no whole number of at least {least}"
        raise PolicyError(("limits", key), wrong, f"write {key} = {default}, for example")
    return found


def deadline(raw: Any, path: PolicyPath) -> float:
    """Return seconds. Raises PolicyError."""
    if type(raw) not in (int, float):
        raise PolicyError(path, f"{shown(raw)} is no number of seconds", "write deadline = 2.0, for example")
    if not MIN_DEADLINE <= raw <= MAX_DEADLINE:
        wrong = f"{shown(raw)} is not within {MIN_DEADLINE} to {MAX_DEADLINE:.0f} seconds"
        meant = raw / 1000 if MAX_DEADLINE < raw <= MAX_DEADLINE * 1000 else 0.0
        do = (
            f"write deadline = {meant:g} for {shown(raw)} ms"
            if meant
            else "write deadline = 2.0, for example"
        )
        raise PolicyError(path, wrong, do)
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


def services(raw: Any, path: PolicyPath) -> tuple[str, ...]:
    """Return names. Raises PolicyError."""
    if not isinstance(raw, list):
        name = raw if isinstance(raw, str) and raw else "least_cost"
        do = f"write services = [{shown(name)}]"
        raise PolicyError(path, f"{shown(raw)} is no list of service names", do)
    for name in raw:
        if not isinstance(name, str) or not name:
            wrong = f"{shown(name)} is no name of a service"
            raise PolicyError(path, wrong, 'write names in quotes, such as services = ["least_cost"]')
    return tuple(raw)


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
