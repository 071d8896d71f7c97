"""A raw EVAPI client of a configuration without the include, which asks in the colon form."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.harness.evapi_client import EvapiClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.harness.kamailio import KamailioServer
    from tests.harness.sip import Call, Caller

_FORM = re.compile(rb"invite_request:([0-9]+):([0-9]+):([A-Za-z0-9+/]+={0,2})")


@asynccontextmanager
async def taken(kamailio: KamailioServer, caller: Caller) -> AsyncIterator[EvapiClient]:
    """A client that Kamailio has taken. Nothing greets it: a call that it is asked about shows it."""
    async with await EvapiClient.connect(kamailio.evapi_port) as made:
        first = asyncio.create_task(asked(made))
        calls: list[Call] = []
        while not first.done():  # until it is taken, calls are told to nobody
            calls.append(caller.call())
            await asyncio.wait([first], timeout=0.3)
        data, ids = await first
        # Those after the one that came are told, too, however slow Kamailio is.
        missed = [call.call_id for call in calls].index(data["call_id"])
        for call in calls[missed:]:
            if call.call_id != data["call_id"]:
                data, ids = await asked(made)
            assert data["call_id"] == call.call_id
            made.write({"tm_trans": ids, "decision": {"action": "reject", "code": 486, "reason": "Taken"}})
            await call.final()
        yield made


async def asked(link: EvapiClient) -> tuple[dict[str, Any], dict[str, int]]:
    """The data and the ids of the next frame."""
    found = _FORM.fullmatch(await link.frame())
    assert found
    ids = {"tm_index": int(found[1]), "tm_label": int(found[2])}
    return json.loads(base64.b64decode(found[3], validate=True)), ids
