"""Prepaid calls: ``python -m consumers consumers.prepaid:service``.

Event ``invite_request``: the account is the caller's user in ``data["from"]``. A call may last as long as the
account has credit (``max_duration``): Kamailio itself ends it then, whoever has died meanwhile. Without
credit it is rejected with 402. One call at a time holds an account's credit.

Credit is given beside it, while calls run, too::

    python -m consumers.prepaid alice 600       # seconds; -600 takes them away
    python -m consumers.prepaid alice           # tells what is left

What a running call's account is given prolongs the call (command ``limit``). What is taken away ends the
call if nothing is left. Kamailio needs ``ADAPTER_CALLS`` (the end of each call is charged) and
``ADAPTER_COMMANDS``. An end that nobody heard of, since no adapter was there, is found by the command
``calls``; such a call is charged for as long as it was seen.

``EVAPI_PREPAID``: the file with the credit (SQLite). ``EVAPI_PREPAID_GATEWAY``: where calls go, a SIP URI.
``EVAPI_PREPAID_RECONCILE``: seconds after which it is asked which calls run (10).
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import os
import time
from collections.abc import AsyncIterator  # noqa: TC003  # a lifespan's annotation is looked at
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adapter.contract import Request  # noqa: TC001  # handlers' annotations are looked at
from consumers.credit import Credit
from consumers.decisions import reject
from consumers.gateways import MAX_DURATION, routes
from consumers.phone import normal, user_of
from consumers.service import Service

if TYPE_CHECKING:
    from adapter.contract import Decision
    from consumers.credit import Call

FILE_VARIABLE: Final = "EVAPI_PREPAID"
GATEWAY_VARIABLE: Final = "EVAPI_PREPAID_GATEWAY"
RECONCILE_VARIABLE: Final = "EVAPI_PREPAID_RECONCILE"
DEFAULT_FILE: Final = "prepaid.sqlite"
DEFAULT_GATEWAY: Final = "sip:127.0.0.1:5080"
LOOK_EVERY: Final = 1.0
"""Seconds after which a running call has what its account was given."""
RECONCILE_EVERY: Final = 10.0
"""Seconds after which it is asked which calls run. One that is younger may not have gone out yet."""

_log = logging.getLogger("consumers.prepaid")


def account_of(data: Any) -> str:
    """The account of a call. Raises ValueError where the request names no caller."""
    caller = data.get("from") if isinstance(data, dict) else None
    user = normal(user_of(caller)) if isinstance(caller, str) else ""
    if not user:
        raise ValueError('data["from"] names no caller')
    return user


class Watch:
    """Keeps the limits of running calls, and finds those that have ended unheard.

    Args:
        service: asks Kamailio.
        credit: of the accounts.
        reconcile_every: seconds.
    """

    def __init__(self, service: Service, credit: Credit, reconcile_every: float = RECONCILE_EVERY) -> None:
        self._service = service
        self._credit = credit
        self._every = reconcile_every
        self._missing: set[str] = set()  # calls that did not run when it was asked last

    async def run(self) -> None:
        """Do it for ever; ends by cancellation."""
        reconciled = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                await self.prolong()
                if time.monotonic() - reconciled >= self._every:
                    await self.reconcile()
                    reconciled = time.monotonic()
            except Exception:
                _log.exception("running calls were not looked after; the next turn does it")

    async def prolong(self) -> None:
        """Give running calls what their accounts were given."""
        for call in self._credit.calls():
            more = self._credit.move(call)
            if not more:
                continue
            reply = await self._service.ask_kamailio(
                call.node, "limit", call_id=call.call_id, max_duration=max(0, call.held + more)
            )
            if not reply.done:
                self._credit.move_back(call, more)

    async def reconcile(self) -> None:
        """Ask which calls run, and settle those that did not twice: by then the notice of an end has come."""
        missing = set()
        for call in self._credit.calls():
            if time.time() - call.began >= self._every and await self._is_missing(call):
                missing.add(call.call_id)
                if call.call_id in self._missing:
                    _log.warning("a call has ended, and nobody told: %s of %s", call.call_id, call.account)
                    self._credit.settle(call.call_id)
        self._missing = missing

    async def _is_missing(self, call: Call) -> bool:
        reply = await self._service.ask_kamailio(call.node, "calls", call_id=call.call_id)
        if reply.done:
            for each in (reply.result or {}).get("calls", ()):
                self._credit.note(call.call_id, int(each.get("duration", 0)))
        return reply.outcome == "not_found"


def make_service(
    file: Path, gateway: str, name: str = "prepaid", reconcile_every: float = RECONCILE_EVERY
) -> Service:
    """A service for the accounts of a file, whose calls go to ``gateway``."""
    made = Service(name)

    @made.lifespan
    async def accounts() -> AsyncIterator[Credit]:
        credit = Credit(file)
        watching = asyncio.create_task(Watch(made, credit, reconcile_every).run())
        yield credit
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    @made.on("invite_request")
    def decide(request: Request, credit: Credit) -> Decision:
        seconds = credit.hold(account_of(request.data), request.data["call_id"], request.node, time.time())
        if not seconds:
            return reject(402, "No Credit")
        return routes([gateway], max_duration=min(seconds, MAX_DURATION))

    @made.on("call_ended")
    def ended(request: Request, credit: Credit) -> None:
        credit.settle(request.data["call_id"], math.ceil(request.data.get("duration_ms", 0) / 1000))

    @made.on("call_cancelled")
    def cancelled(request: Request, credit: Credit) -> None:
        credit.settle(request.data["call_id"], 0)

    return made


def main() -> None:
    """Give an account credit, or tell what it has."""
    parser = argparse.ArgumentParser(prog="python -m consumers.prepaid", description=main.__doc__)
    parser.add_argument("account", help="the caller's user, as the service has it")
    parser.add_argument("seconds", type=int, nargs="?", help="credit to give; below 0 to take away")
    given = parser.parse_args()
    credit = Credit(Path(os.environ.get(FILE_VARIABLE) or DEFAULT_FILE))
    if given.seconds is not None:
        credit.top_up(normal(given.account), given.seconds)
    print(credit.left(normal(given.account)))


service = make_service(
    Path(os.environ.get(FILE_VARIABLE) or DEFAULT_FILE),
    os.environ.get(GATEWAY_VARIABLE) or DEFAULT_GATEWAY,
    reconcile_every=float(os.environ.get(RECONCILE_VARIABLE) or RECONCILE_EVERY),
)

if __name__ == "__main__":
    main()
