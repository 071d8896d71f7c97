"""Names for the shell's completion: what the servers tell at once; else nothing, in silence."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import typer  # noqa: TC002  # Typer reads the annotations of what completes

from adapter.cli import contexts, options

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from adapter.inflight.operator import OperatorStore

LONGEST: Final = 0.3
"""Seconds that the servers have, all in all: somebody waits with a finger on the key.

The process as a whole took 0.32 s of CPU (best of 9; two quiet cores of AMD EPYC, Python 3.11), where it took
0.57 s with the modules of all commands, OpenTelemetry and Python's own end; 0.18 s for names that come along.
What is left is to import Typer (0.06 s), Pydantic and the settings (0.12 s), and the client of Redis (0.1 s).
"""
LATELY: Final = 60.0
"""Seconds of the journals in which events and services are looked for."""
_TELEMETRY: Final = "opentelemetry"


def replicas(ctx: typer.Context) -> list[str]:
    """Those that beat, or did."""
    return _asked(ctx, _replicas)


def nodes(ctx: typer.Context) -> list[str]:
    """Those to which a replica is linked, and those of the setting."""
    return _asked(ctx, _nodes)


def replicas_and_nodes(ctx: typer.Context) -> list[str]:
    """Both."""
    return sorted({*_asked(ctx, _replicas), *_asked(ctx, _nodes)})


def events(ctx: typer.Context) -> list[str]:
    """Those of the last calls, and those of the policy."""
    return sorted({*_asked(ctx, _events), *_of_policy("events")})


def services(ctx: typer.Context) -> list[str]:
    """Those that decided the last calls, and those of the policy."""
    return sorted({*_asked(ctx, _services), *_of_policy("services")})


def outcomes() -> list[str]:
    """Each, and each that is left out."""
    from adapter.model.transaction import Outcome

    return [*Outcome, *(f"!{outcome}" for outcome in Outcome)]


def steps() -> list[str]:
    """Of the ladder."""
    from adapter.model.ladder import Rung

    return list(Rung)


def settings() -> list[str]:
    """As ``--set`` takes them."""
    from adapter.settings import Settings

    return [f"{name}=" for name in Settings.model_fields]


def configurations() -> list[str]:
    """Of Kamailio, that come along."""
    from adapter import kamailio

    return kamailio.names()


def units() -> list[str]:
    """Of systemd, that come along."""
    from adapter import systemd

    return systemd.names()


def _asked(ctx: typer.Context, ask: Callable[[OperatorStore], Awaitable[set[str]]]) -> list[str]:
    """Ask Redis. If anything goes wrong nothing is completed: nobody must write over the shell's line."""
    import asyncio

    # To look for plugins reads the metadata of all that is installed.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

    async def work() -> set[str]:
        with _no_telemetry():
            from adapter.inflight.operator import OperatorStore

        chosen = options.settings(redis_url=ctx.params.get("redis_url"))
        if chosen.redis_url is None:
            return set()
        url = chosen.redis_url.get_secret_value()
        store = OperatorStore(
            url, "completion", prefix=chosen.redis_prefix, retention=chosen.retention, timeout=LONGEST
        )
        try:
            async with asyncio.timeout(LONGEST):
                return await ask(store)
        finally:
            await store.close()

    try:
        contexts.apply(ctx.find_root().params.get("named") or os.environ.get(contexts.VARIABLE), None)
        return sorted(asyncio.run(work()))
    except Exception:
        return []


@contextmanager
def _no_telemetry() -> Iterator[None]:
    """Import Redis' client as if OpenTelemetry was not installed, which takes longer than the client itself.

    The client imports it for metrics that nobody asks for here, and goes without if it cannot. None in
    `sys.modules` has an import fail (Python's language reference, 5.3.1).
    """
    added = sys.modules.setdefault(_TELEMETRY, None) is None  # type: ignore[arg-type]
    try:
        yield
    finally:
        if added:
            del sys.modules[_TELEMETRY]


async def _replicas(store: OperatorStore) -> set[str]:
    return {name.partition("~")[0] for name in await store.snapshot()}


async def _nodes(store: OperatorStore) -> set[str]:
    return {node for beat in (await store.snapshot()).values() for node in beat.nodes}


async def _events(store: OperatorStore) -> set[str]:
    return {step.event for step in await _steps(store) if step.event}


async def _services(store: OperatorStore) -> set[str]:
    return {step.more["service"] for step in await _steps(store) if step.more.get("service")}


async def _steps(store: OperatorStore) -> list[Any]:
    from adapter.admin.calls import read_entry

    since = f"{int((await store.time() - LATELY) * 1000)}"
    found = []
    for replica in await store.journals():
        for _, entry in await store.journal(replica, since, most=100):
            found += read_entry(entry)
    return found


def _of_policy(table: str) -> set[str]:
    """The names of the policy's tables, as the file has them: it need not be a good one."""
    import tomllib
    from pathlib import Path

    try:
        return set(tomllib.loads(Path(os.environ["EVAPI_POLICY"]).read_text("utf-8")).get(table, {}))
    except (KeyError, OSError, ValueError):
        return set()
