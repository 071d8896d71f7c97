"""Asks the URLs of a webhook in turn, until one answers or the deadline is near."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from adapter.amqp.backoff import Backoff
from consumers.decisions import Failed
from consumers.webhook import message, signing
from consumers.webhook.outcomes import Decided, Failure, Response, Silent, Verdict, judge, outcome
from consumers.webhook.target import Target

if TYPE_CHECKING:
    from aiohttp.abc import AbstractResolver

    from consumers.webhook.files import Loaded
    from consumers.webhook.message import Call

_log = logging.getLogger("consumers")

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0
"""Seconds between two attempts at one URL."""


class NotDecided(Failed):
    """No URL gave a decision; the text says why, with nothing that a function said, and no more of a URL than
    its host."""


class Client:
    """Asks. To be made, used and closed in one event loop.

    Args:
        loaded: The settings.
        asked: Counts the attempts, by URL and outcome.
        resolver: Looks names up; None: the system's.
    """

    def __init__(
        self,
        loaded: Loaded,
        asked: Counter[tuple[str, str]],
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._asked = asked
        self._hook = loaded.hook
        self._secrets = loaded.secrets
        self._headers = loaded.headers
        self._targets = [Target(url, loaded, resolver) for url in loaded.hook.urls]
        self._in_hand = 0
        self._retired = False

    def __repr__(self) -> str:
        return f"<Client {self._targets!r} in_hand={self._in_hand}>"

    @property
    def closed(self) -> bool:
        """Whether the connections are closed."""
        return all(target.closed for target in self._targets)

    async def decide(self, call: Call) -> dict[str, Any] | None:
        """Return the decision; None if the function has no say, and for a notice.

        Raises:
            NotDecided: None came.
        """
        self._in_hand += 1
        try:
            return await self._decide(call)
        finally:
            self._in_hand -= 1
            if self._retired and not self._in_hand:
                await self.close()

    async def retire(self) -> None:
        """Close once what is in hand is done: others are asked by another client from now on."""
        self._retired = True
        if not self._in_hand:
            await self.close()

    async def close(self) -> None:
        """Close the connections."""
        for target in self._targets:
            await target.close()

    async def _decide(self, call: Call) -> dict[str, Any] | None:
        body = self._body(call)
        headers = {**message.headers(call, self._hook.name), **self._headers}
        headers[signing.HEADER_ID] = signing.message_id(call.correlation_id or uuid.uuid4().hex)
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        failures: Counter[str] = Counter()
        target: Target | None = None
        for _ in range(self._hook.attempts):
            target = await self._next(target, backoff, call)
            if target is None:
                break
            verdict = await self._attempt(target, call, body, headers)
            if isinstance(verdict, Decided):
                return verdict.decision
            if isinstance(verdict, Silent):
                return None
            failures[f"{target.url.shown}: {verdict.text}"] += 1
            if verdict.reason not in self._hook.retry:
                break
        raise NotDecided("; ".join(_times(*each) for each in failures.items()) or self._resting())

    def _body(self, call: Call) -> bytes:
        try:
            return message.body(call, self._hook.max_request)
        except ValueError as exc:
            raise NotDecided(str(exc)) from exc

    async def _next(self, last: Target | None, backoff: Backoff, call: Call) -> Target | None:
        """The URL behind the last one that may be asked, that one itself at the end, after a pause."""
        at = -1 if last is None else self._targets.index(last)
        for step in range(1, len(self._targets) + 1):
            target = self._targets[(at + step) % len(self._targets)]
            if target is last:
                pause = max(backoff.pause(), target.breaker.left(time.monotonic()))
                if pause >= _left(call):
                    return None
                await asyncio.sleep(pause)
            if _left(call) > 0:
                if target.breaker.allows(time.monotonic()):
                    return target
                self._asked[target.url.shown, "resting"] += 1
        return None

    def _resting(self) -> str:
        now = time.monotonic()
        rests = [f"{target.url.shown} for {target.breaker.left(now):.1f} s" for target in self._targets]
        return f"not asked, after failures or by Retry-After: {', '.join(rests)}"

    async def _attempt(self, target: Target, call: Call, body: bytes, headers: dict[str, str]) -> Verdict:
        left, now = _left(call), time.time()
        own = {} if call.request.deadline is None else message.time_left(left)
        if self._secrets:
            own[signing.HEADER_TIMESTAMP] = str(int(now))
            own[signing.HEADER_SIGNATURE] = signing.signature(
                self._secrets, headers[signing.HEADER_ID], int(now), body
            )
        began = time.monotonic()
        try:
            found = await target.post(body, {**headers, **own}, min(self._hook.timeout, left))
        except asyncio.CancelledError:
            self._note(target, target.silence(time.monotonic() - began))
            raise
        except BaseException:
            target.breaker.abandoned()  # or nobody would ask it again, if this was its probe
            raise
        verdict: Verdict = (
            judge(found, notice=call.request.is_notice, now=now) if isinstance(found, Response) else found
        )
        self._note(target, verdict)
        return verdict

    def _note(self, target: Target, verdict: Verdict) -> None:
        """Tell the metrics and the breaker, and the log what that makes of it."""
        self._asked[target.url.shown, outcome(verdict)] += 1
        now, breaker = time.monotonic(), target.breaker
        if not isinstance(verdict, Failure) or verdict.reason is None:
            if breaker.answered():
                _log.info("%s: %s answers again", self._hook.name, target.url.shown)
        elif not verdict.counts:
            breaker.abandoned()
        elif breaker.failed(now, verdict.rest):
            _log.warning(
                "%s: %s is not asked for %.1f s: %s",
                *(self._hook.name, target.url.shown, breaker.left(now), verdict.text),
            )


def _times(text: str, number: int) -> str:
    return text if number == 1 else f"{text} ({number} times)"


def _left(call: Call) -> float:
    """Seconds until the deadline; of a notice as many as anybody could want."""
    deadline = call.request.deadline
    return float("inf") if deadline is None else deadline - time.time()
