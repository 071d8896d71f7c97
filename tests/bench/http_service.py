"""``python -m tests.bench.http_service PORT``: the decision over HTTP."""

from __future__ import annotations

import asyncio
import sys

import uvloop
from aiohttp import web

from tests.bench.service import decide


async def answer(request: web.Request) -> web.Response:
    await request.json()
    return web.json_response(await decide())


async def serve(port: int) -> None:
    """Answer until the process is ended."""
    app = web.Application()
    app.router.add_post("/", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(serve(int(sys.argv[1])))
