"""``evapi-adapter top``: a live screen of the whole."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from adapter.cli import options, services
from adapter.cli.contexts import VARIABLE
from adapter.cli.help import Commands
from adapter.cli.output import Format, console

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from rich.console import RenderableType

    from adapter.admin.overview import Overview
    from adapter.admin.watch import Watch

app = Commands()

REFRESH: Final = 1.0
WIDTH: Final = 100
"""Columns of a frame that no terminal shows."""
EPILOG: Final = (
    "Examples:  evapi-adapter top    evapi-adapter top --once    evapi-adapter top -o json | jq .calls    "
    "evapi-adapter top --svg top.svg"
)


@app.command(epilog=EPILOG)
def top(
    once: Annotated[bool, typer.Option("--once", help="One frame as text, as into a pipe.")] = False,
    svg: Annotated[str | None, typer.Option(metavar="FILE", help="One frame, as a picture.")] = None,
    also: services.Also = None,
    redis_url: options.RedisUrl = None,
    amqp_url: options.AmqpUrl = None,
    amqp_api: options.AmqpApi = None,
    nodes: options.Nodes = None,
    policy: options.PolicyFile = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """Show calls, outcomes, latency, nodes, replicas, services and dead letters, live; q ends it.

    Calls and their latency are of the last minute, from event to answer, by the journal (EVAPI_JOURNAL).
    A server that is away is told of; the rest goes on. Into a pipe goes one frame, with -o json one
    object. Exit codes: 0 shown, 1 of one frame, if a server is away, 2 wrong usage or settings, 130 Ctrl-C.
    """
    from adapter.admin.watch import Watch

    chosen = options.settings(
        more, redis_url=redis_url, amqp_url=amqp_url, amqp_api=amqp_api, nodes=nodes, policy=policy
    )
    amqp = None if chosen.amqp_url is None else options.amqp(chosen)
    lively = output is Format.TABLE and not (once or svg) and sys.stdout.isatty() and sys.stdin.isatty()

    async def work() -> bool:
        away = False
        watch = Watch(chosen, options.calls_of(chosen), amqp, also or ())
        try:
            if lively:
                await _live(watch)
            else:
                found = await watch.look()
                _show_once(found, output, svg)
                away = bool(found.store_problem or found.bus_problem)
        finally:
            await watch.close()
        return away

    if options.run(work()):
        raise typer.Exit(1)


def _show_once(overview: Overview, output: Format, svg: str | None) -> None:
    from adapter.admin.overview import whole
    from adapter.cli.frame import frame, text_frame

    context = os.environ.get(VARIABLE, "")
    if svg is not None:
        _draw(frame(overview, WIDTH, 40, time.time(), context), svg)
    elif output is not Format.TABLE:
        typer.echo(json.dumps(whole(overview), indent=2 if output is Format.JSON else None))
    else:
        screen = console()
        screen.print(
            text_frame(overview, screen.width, time.time(), context), soft_wrap=not sys.stdout.isatty()
        )


def _draw(picture: RenderableType, path: str) -> None:
    """Write it as SVG. Raises AdapterError where the file cannot be written."""
    import io
    from pathlib import Path

    from rich.console import Console

    from adapter.errors import AdapterError

    canvas = Console(
        record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    canvas.print(picture)
    drawn = canvas.export_svg(title="evapi-adapter top", unique_id="top")
    try:
        Path(path).write_text(drawn, "utf-8")
    except OSError as exc:
        raise AdapterError(f"{path}: cannot be written: {exc.strerror}") from exc


async def _live(watch: Watch) -> None:
    """Until q is typed. Frames follow each other by the clock, however long a look takes."""
    import asyncio

    from rich.live import Live

    from adapter.cli.frame import frame

    screen, context = console(), os.environ.get(VARIABLE, "")
    with _keys() as ended, Live(console=screen, screen=True, auto_refresh=False) as live:
        while not ended.is_set():
            due = asyncio.get_running_loop().time() + REFRESH
            looking = asyncio.create_task(watch.look())
            await _first(looking, ended)
            if ended.is_set():
                looking.cancel()
                await asyncio.wait([looking])
                return
            found = looking.result()
            live.update(frame(found, screen.width, screen.height, time.time(), context), refresh=True)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), due - asyncio.get_running_loop().time())


async def _first(work: asyncio.Task[Overview], ended: asyncio.Event) -> None:
    """Return once either is there."""
    import asyncio

    waiting = asyncio.create_task(ended.wait())
    await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


@contextlib.contextmanager
def _keys() -> Iterator[asyncio.Event]:
    """An event that q sets; keys come at once and are not shown."""
    import asyncio
    import termios
    import tty

    loop, ended, keyboard = asyncio.get_running_loop(), asyncio.Event(), sys.stdin.fileno()

    def typed() -> None:
        keys = os.read(keyboard, 64)
        if not keys or set(keys.lower()) & set(b"q\x04"):
            ended.set()

    before = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)
    loop.add_reader(keyboard, typed)
    try:
        yield ended
    finally:
        loop.remove_reader(keyboard)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
