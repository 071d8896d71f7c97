"""What an answer means. Pure.

=============================== ====================================================== ===================
answer                          of a request                                           of a notice
=============================== ====================================================== ===================
200 and a JSON object           the decision; it holds for the max-age of its          noted
                                Cache-Control, if it has one
202, 204                        no say: another service decides, or the deadline       noted
any other 2xx, or another body  failed                                                 noted
3xx                             failed: redirects are not followed                     failed
429, 503                        ``busy``: the URL rests for ``Retry-After``, or as     the same
                                after any failure; tried again, or failed
any other 4xx                   failed, never tried again                              failed
any other 5xx                   ``5xx``: failed, or tried again if ``retry`` says so   the same
no answer, or half of one       ``read``: the same                                     the same
no connection                   ``connect``: tried again, or failed                    the same
=============================== ====================================================== ===================
"""

from __future__ import annotations

import json
from email.utils import parsedate_to_datetime
from typing import Any, Final

from adapter.records import record
from consumers.decisions import MAX_CACHE, cached
from consumers.webhook.settings import Reason

LONGEST_REST: Final = 60.0
"""Seconds for which a URL rests at most, whatever Retry-After says: then it is asked how it is."""
_NOT_KEPT: Final = frozenset(("no-store", "no-cache", "private"))
_DIGITS: Final = 10
"""Of a number of seconds that are looked at: more than any has."""


@record
class Response:
    """What came back. ``body`` is whole, or None if it was longer than allowed."""

    status: int
    body: bytes | None
    retry_after: str | None = None
    encoding: str | None = None
    cache_control: str | None = None


@record
class Decided:
    """The function decided."""

    decision: dict[str, Any]


@record
class Silent:
    """The function has no say in it, or it was a notice."""


@record
class Failure:
    """Nothing came of an attempt.

    Args:
        text: Why, and what to do. Nothing of the answer's body is in it.
        reason: As ``retry`` names it; None if another attempt would bring the same.
        rest: Seconds for which the server asked to be let alone, if it did.
        counts: Whether it says anything about the URL, so that the breaker has to know.
    """

    text: str
    reason: Reason | None = None
    rest: float | None = None
    counts: bool = True


Verdict = Decided | Silent | Failure


def outcome(verdict: Verdict) -> str:
    """Return the word by which a verdict is counted: ``decided``, ``silent``, ``failed``, or its reason."""
    match verdict:
        case Decided():
            return "decided"
        case Silent():
            return "silent"
        case Failure(reason=reason):
            return "failed" if reason is None else reason.value


def judge(response: Response, *, notice: bool, now: float) -> Verdict:
    """Return what an answer means: see the table at the head.

    Args:
        response: The answer.
        notice: Whether nobody waits for a decision.
        now: Epoch seconds, for a Retry-After that is a date.
    """
    status = response.status
    if status in (429, 503):
        rest = _seconds(response.retry_after, now)
        return Failure(f"it is busy (status {status})", Reason.BUSY, rest)
    if status >= 500:
        return Failure(f"it failed (status {status}): see the function's own log", Reason.SERVER)
    if status >= 400:
        return Failure(f"it refused the request (status {status}): see the function's own log")
    if status >= 300:
        return Failure(f"it redirects (status {status}), which is not followed: name the new address in urls")
    if notice or status in (202, 204):
        return Silent()
    if status != 200:
        return Failure(f"it answered with status {status}: a decision comes with 200")
    return _decision(response)


def _decision(response: Response) -> Verdict:
    if response.body is None:
        return Failure("its answer is longer than max_response")
    if response.encoding not in (None, "", "identity"):
        return Failure("its answer is compressed, which was not asked for: let it send it as it is")
    try:
        found = json.loads(response.body, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return Failure("its answer is no JSON: a decision is a JSON object")
    if not isinstance(found, dict):
        kind = type(found).__name__
        return Failure(f"its answer is JSON, but a {kind}: a decision is a JSON object")
    holds = _max_age(response.cache_control)
    return Decided(cached(found, seconds=holds) if holds else found)


def _max_age(cache_control: str | None) -> int:
    """The seconds for which an answer may be kept, for others, too (RFC 9111, 5.2.2); 0: not at all."""
    directives: dict[str, str] = {}
    for each in (cache_control or "").split(","):
        name, _, value = each.strip().partition("=")
        directives.setdefault(name.lower(), value.strip('"'))
    if _NOT_KEPT & directives.keys():
        return 0
    age = directives.get("s-maxage", directives.get("max-age", ""))
    return min(int(age[:_DIGITS]), MAX_CACHE) if age.isascii() and age.isdigit() else 0


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _seconds(retry_after: str | None, now: float) -> float | None:
    """The seconds of a Retry-After (RFC 9110, 10.2.3: seconds, or a date); None without a good one."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), LONGEST_REST)
    try:
        then = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, then - now), LONGEST_REST)
