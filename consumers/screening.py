"""Screening by caller and callee: ``python -m consumers consumers.screening:service``.

Event ``screening_request``. The caller is ``data["caller"]``, else ``data["from"]``; the callee
``data["callee"]``, else ``data["user"]``, else the user of ``data["ruri"]``; each a number, a
name or a SIP address. The answer is ``{"action": "allow"}``, or a rejection with 403 and the
rule's reason.

The rules are a text file, named by ``EVAPI_SCREENING_LIST``, read again when it changes::

    # block or allow, caller or callee, a pattern, and for block a reason
    block caller anonymous
    block caller +4477*           Caller is blocked
    allow caller +447700900123
    block callee +4490?00*        Premium numbers are not served

``*`` stands for any characters, ``?`` for one. Numbers match however they are written (``+44``,
``0044``, ``44``), names without regard to case. A call that any allow rule matches is allowed;
of block rules an exact one gives the reason before a prefix (``44*``, the longest first), and
that before any other pattern.
"""

from __future__ import annotations

import fnmatch
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adapter.watched import TableError, Watched
from consumers.decisions import DecisionError, allow, reject
from consumers.phone import normal, user_of
from consumers.service import Service

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter.contract import Decision, Request

LIST_VARIABLE: Final = "EVAPI_SCREENING_LIST"
EXAMPLE_LIST: Final = Path(__file__).with_name("screening.txt")
DEFAULT_REASON: Final = "Screened out"
MAX_PATTERN: Final = 128

_KEYS: Final = {"caller": ("caller", "from"), "callee": ("callee", "user", "ruri")}
_WILDCARD = re.compile(r"([*?])")
_BARE_SIGN = re.compile(r"(?:\+|00)[*?]")


@dataclass(slots=True)
class Patterns:
    """Patterns of one kind, each with its reason; found without a scan where they are exact or prefixes."""

    exact: dict[str, str] = field(default_factory=dict)
    prefixes: dict[str, str] = field(default_factory=dict)
    others: list[tuple[re.Pattern[str], str]] = field(default_factory=list)
    lengths: tuple[int, ...] = ()

    def add(self, pattern: str, reason: str) -> None:
        """Take in a pattern; of equal ones the first counts."""
        head, *tail = _WILDCARD.split(pattern, maxsplit=1)
        head = normal(head)
        if not tail:
            self.exact.setdefault(head, reason)
        elif tail == ["*", ""]:
            self.prefixes.setdefault(head, reason)
            if len(head) not in self.lengths:
                self.lengths = tuple(sorted((*self.lengths, len(head)), reverse=True))
        else:
            glob = "".join((head, *tail)).casefold().replace("[", "[[]")  # only * and ? are special here
            self.others.append((re.compile(fnmatch.translate(glob)), reason))

    def match(self, who: str) -> str | None:
        """The reason of the pattern that ``who`` matches, ``None`` where there is none."""
        found = self.exact.get(who)
        if found is not None:
            return found
        for length in self.lengths:
            found = self.prefixes.get(who[:length])
            if found is not None:
                return found
        return next((reason for pattern, reason in self.others if pattern.match(who)), None)


@dataclass(frozen=True, slots=True)
class Rules:
    """What is blocked and what is allowed, each by caller and by callee."""

    block: Mapping[str, Patterns]
    allow: Mapping[str, Patterns]

    def reason_against(self, who: Mapping[str, str]) -> str | None:
        """Why a call of this caller and callee is screened out; ``None`` where it is not."""
        if any(self.allow[side].match(name) is not None for side, name in who.items()):
            return None
        reasons = (self.block[side].match(name) for side, name in who.items())
        return next((reason for reason in reasons if reason is not None), None)


def parse_rules(text: str) -> Rules:
    """Read a list of rules. Raises TableError, naming line and column."""
    rules = Rules({side: Patterns() for side in _KEYS}, {side: Patterns() for side in _KEYS})
    kinds = {"block": rules.block, "allow": rules.allow}
    for number, line in enumerate(text.splitlines(), 1):
        cells = line.split(None, 3)
        if not cells or cells[0].startswith("#"):
            continue
        cells += [""] * (4 - len(cells))
        action, side, pattern, reason = cells
        if action not in kinds:
            raise TableError(f"{action!r} is neither block nor allow", number, "action")
        if side not in _KEYS:
            raise TableError(f"{side!r} is neither caller nor callee", number, "side")
        if not pattern or len(pattern) > MAX_PATTERN:
            raise TableError(f"a pattern has 1 to {MAX_PATTERN} characters", number, "pattern")
        if _BARE_SIGN.match(pattern):
            raise TableError(f"{pattern!r}: numbers are compared without + and 00", number, "pattern")
        try:
            reject(403, reason)
        except DecisionError as exc:
            raise TableError(str(exc), number, "reason") from exc
        kinds[action][side].add(pattern, reason.strip() or DEFAULT_REASON)
    return rules


def parties(data: Any) -> dict[str, str]:
    """Caller and callee, as far as the request names them. Raises ValueError where it names none."""
    found: dict[str, str] = {}
    for side, keys in _KEYS.items():
        for key in keys:
            value = data.get(key) if isinstance(data, dict) else None
            if isinstance(value, str) and value:
                found[side] = normal(user_of(value))
                break
    if not found:
        raise ValueError("data names neither caller nor callee")
    return found


def make_service(rules: Path, name: str = "screening") -> Service:
    """A service that screens by the file ``rules``."""
    made = Service(name)
    table = Watched(rules, parse_rules)
    made.at_start(table.load)

    @made.on("screening_request")
    def decide(request: Request) -> Decision:
        reason = table.current().reason_against(parties(request.data))
        return allow() if reason is None else reject(403, reason)

    return made


service = make_service(Path(os.environ.get(LIST_VARIABLE) or EXAMPLE_LIST))
