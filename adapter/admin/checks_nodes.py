"""What DNS says of the nodes that are looked up there, asked from this machine."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from adapter.admin.checks_finding import Finding, Group, counted
from adapter.evapi.discovery import Discovery, LookupFailed

if TYPE_CHECKING:
    from adapter.evapi.discovery import Resolver
    from adapter.settings import Lookup, Settings

NODES: Final = Group("nodes")
_SHOWN: Final = 8
"""Names of nodes that are told at most."""


async def discovery(settings: Settings, resolver: Resolver | None = None) -> list[Finding]:
    """A finding for each name in EVAPI_NODES; ``resolver``: another than this machine's."""
    return list(await asyncio.gather(*(_lookup(each, settings, resolver) for each in settings.lookups)))


async def _lookup(lookup: Lookup, settings: Settings, resolver: Resolver | None) -> Finding:
    asked, name = Discovery((), [lookup], lambda _: None, settings.nodes_refresh, resolver), str(lookup)
    todo = f"dig {'SRV ' if lookup.kind == 'srv' else ''}{lookup.host}    # where the adapters run"
    try:
        found = [node.name for node in await asked.once()]
    except LookupFailed as exc:
        why = "Adapters that ask the same DNS keep the nodes they know; one that starts finds none."
        return NODES.warning("discovery", f"no answer from DNS: {exc}", why, todo, name)
    if not found:
        why = "Where the adapters are told the same, they connect to none of these Kamailios."
        return NODES.warning("discovery", "there is no such name, or it has no address", why, todo, name)
    told = ", ".join(found[:_SHOWN]) + (", ..." if len(found) > _SHOWN else "")
    return NODES.ok("discovery", f"{counted(len(found), 'node')}: {told}", name)
