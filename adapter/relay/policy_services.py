"""What a policy's keys that speak of services may be: the value, or PolicyError with the remedy. Pure."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from adapter.batches import MOST
from adapter.contract import word
from adapter.errors import PolicyError
from adapter.relay import policy_keys as keys
from adapter.relay.plan import Breaker, Caching, Mode, Retry, Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from adapter.errors import PolicyPath

MAX_NAME: Final = 100
"""Letters of a service's name, as the SDK has it: it names queues."""
MAX_TIMES: Final = 5
"""How often a service may be asked again."""
MAX_PAUSE: Final = 3600.0
MAX_STALE: Final = 86_400.0
RETRIED: Final = ("failed", "untaken")
_KEY: Final = 'write cache = { key = ["account"], stale = 60 }, for example'
_RETRY: Final = 'write retry = { on = ["failed", "untaken"], times = 1 }, for example'
_BREAKER: Final = "write breaker = { after = 5, pause = 5.0 }, for example"
_SHADOW: Final = '{ service = "least_cost_next", share = 0.05 }'


def known_services(raw: Mapping[str, Any]) -> dict[str, Service]:
    """What ``[services.NAME]`` says, by name. Raises PolicyError."""
    found = {}
    tables = keys.table(raw, "services")
    for given in tables:
        of = keys.table(tables, given, ("services",))
        path = ("services", given)
        _named(given, path, "write [services.least_cost], for example")
        keys.known(of, path, keys.SERVICE)
        checked = {name: check(of[key], (*path, key)) for key, check, name in _OF_SERVICE if key in of}
        found[given] = Service(given, **checked)
    return found


def services(raw: Any, path: PolicyPath) -> tuple[str, ...]:
    """Return names of services. Raises PolicyError."""
    if not isinstance(raw, list):
        given = raw if isinstance(raw, str) and raw else "least_cost"
        do = f"write {path[-1]} = [{keys.shown(given)}]"
        raise PolicyError(path, f"{keys.shown(raw)} is no list of service names", do)
    for each in raw:
        _named(each, path, f'write names in quotes, such as {path[-1]} = ["least_cost"]')
    return _once(raw, path)


def shadows(raw: Any, path: PolicyPath) -> tuple[tuple[str, float], ...]:
    """Return names and shares. Raises PolicyError."""
    if not isinstance(raw, list):
        raise PolicyError(path, f"{keys.shown(raw)} is no list", f"write shadows = [{_SHADOW}], for example")
    found = [_shadow(each, (*path, place)) for place, each in enumerate(raw)]
    _once([name for name, _ in found], path)
    return tuple(found)


def mode(raw: Any, path: PolicyPath) -> Mode:
    """Return a mode. Raises PolicyError."""
    if not isinstance(raw, str) or raw not in set(Mode):
        meant = keys.slip(raw, Mode) if isinstance(raw, str) else ""
        do = f'write mode = "{meant}"' if meant else "write one of them in quotes, or leave mode out"
        raise PolicyError(path, f"{keys.shown(raw)} is none of {', '.join(Mode)}", do)
    return Mode(raw)


def quorum(raw: Any, path: PolicyPath) -> int:
    """Return a number of services. Raises PolicyError."""
    return keys.whole(raw, path, 2, 1)


def retry(raw: Any, path: PolicyPath) -> Retry | None:
    """Return when to ask again; None for false. Raises PolicyError."""
    if raw is False:
        return None
    _table(raw, path, ("on", "times"), _RETRY)
    on = (*path, "on")
    words = raw.get("on", list(RETRIED))
    if not isinstance(words, list) or not words:
        what = "is empty: nobody would be asked again" if words == [] else f"{keys.shown(words)} is no list"
        raise PolicyError(on, what, _RETRY)
    for each in words:
        if each not in RETRIED:
            meant = keys.slip(each, RETRIED) if isinstance(each, str) else ""
            do = f"did you mean {meant}?" if meant else _RETRY
            raise PolicyError(on, f"{keys.shown(each)} is neither {' nor '.join(RETRIED)}", do)
    times = keys.whole(raw.get("times", 1), (*path, "times"), 1, 1, MAX_TIMES)
    return Retry("failed" in words, "untaken" in words, times)


def cache(raw: Any, path: PolicyPath) -> Caching | None:
    """Return by what decisions are kept; None for false. Raises PolicyError."""
    if raw is False:
        return None
    _table(raw, path, ("key", "stale"), _KEY)
    if "key" not in raw:
        raise PolicyError(path, "has no key: the keys of the data by which a decision is found again", _KEY)
    key = _texts(raw["key"], (*path, "key"), "all calls would have one decision", "account")
    return Caching(key, keys.seconds(raw.get("stale", 0), (*path, "stale"), 60, 0.0, MAX_STALE))


def _breaker(raw: Any, path: PolicyPath) -> Breaker:
    _table(raw, path, ("after", "pause"), _BREAKER)
    usual = Breaker()
    after = keys.whole(raw.get("after", usual.after), (*path, "after"), usual.after, 1)
    pause = keys.seconds(raw.get("pause", usual.pause), (*path, "pause"), usual.pause, most=MAX_PAUSE)
    return Breaker(after, pause)


def _batch(raw: Any, path: PolicyPath) -> int:
    return keys.whole(raw, path, 64, 1, MOST)


def _fields(raw: Any, path: PolicyPath) -> tuple[str, ...]:
    return _texts(raw, path, "it would get nothing of the data", "user")


def _accepts(raw: Any, path: PolicyPath) -> frozenset[str]:
    return frozenset(_texts(raw, path, "each of its decisions would count as failed", "allow"))


_OF_SERVICE: Final[tuple[tuple[str, Callable[[Any, PolicyPath], Any], str], ...]] = (
    ("within", partial(keys.seconds, example=0.3), "within"),
    ("optional", keys.truth, "optional"),
    ("format", keys.as_json, "as_json"),
    ("fields", _fields, "fields"),
    ("accepts", _accepts, "accepts"),
    ("breaker", _breaker, "breaker"),
    ("batch", _batch, "batch"),
)
"""Each key of a service: how it is checked, and its field."""


def _table(raw: Any, path: PolicyPath, names: Iterable[str], example: str) -> None:
    if not isinstance(raw, dict):
        raise PolicyError(path, f"{keys.shown(raw)} is no table", example)
    keys.known(raw, path, names)


def _shadow(raw: Any, path: PolicyPath) -> tuple[str, float]:
    do = f"write {_SHADOW}, for example"
    if isinstance(raw, str):
        return _named(raw, path, do), 1.0
    _table(raw, path, ("service", "share"), do)
    if "service" not in raw:
        raise PolicyError(path, "names no service", do)
    share = raw.get("share", 1.0)
    if type(share) not in (int, float) or not 0 < share <= 1:
        meant = f"{share / 100:g}" if type(share) in (int, float) and 1 < share <= 100 else "0.05"
        wrong = f"{keys.shown(share)} is no share of the calls: over 0, up to 1"
        raise PolicyError((*path, "share"), wrong, f"write share = {meant}, for example")
    return _named(raw["service"], (*path, "service"), do), float(share)


def _named(raw: Any, path: PolicyPath, do: str) -> str:
    if not isinstance(raw, str) or not raw:
        raise PolicyError(path, f"{keys.shown(raw)} is no name of a service", do)
    if len(raw) > MAX_NAME:
        wrong = f"has a name of {len(raw)} letters, and a service's has {MAX_NAME} at most"
        raise PolicyError(path, wrong, "shorten it, here and where the service starts")
    if word(raw) != raw:
        wrong = f"{keys.shown(raw)} is no name of a service, which has letters, digits, _ and - alone"
        raise PolicyError(path, wrong, f"write {keys.shown(word(raw))}, and let the service start so")
    return raw


def _texts(raw: Any, path: PolicyPath, empty: str, example: str) -> tuple[str, ...]:
    do = f'write {path[-1]} = ["{example}"], for example'
    if not isinstance(raw, list):
        raise PolicyError(path, f"{keys.shown(raw)} is no list", do)
    if not raw:
        raise PolicyError(path, f"is empty: {empty}", do)
    for each in raw:
        if not isinstance(each, str) or not each:
            raise PolicyError(path, f"{keys.shown(each)} is no text", do)
    return _once(raw, path)


def _once(raw: list[str], path: PolicyPath) -> tuple[str, ...]:
    twice = next((each for at, each in enumerate(raw) if each in raw[:at]), None)
    if twice is not None:
        raise PolicyError(path, f"{keys.shown(twice)} is there twice", "leave one of them out")
    return tuple(raw)
