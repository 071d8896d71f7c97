"""``evapi-adapter top``: one frame in a pipe, as JSON and as a picture; live on a terminal."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import fcntl
import io
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from adapter.admin.overview import Bus, Load, Overview, Store
from adapter.admin.recent import Recent
from adapter.admin.services import Service
from adapter.cli import top
from adapter.cli.frame import frame, sparkline, text_frame
from adapter.model.transaction import Outcome, TransactionId
from adapter.observe.journal import Journal
from tests.admin.site import NOW, answers, beat
from tests.cli.command import environment, in_pipes
from tests.cli.ground import Ground, in_thread, on_ground
from tests.harness.process import free_port
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from adapter.model.beat import Beat
    from tests.harness.rabbitmq import RabbitServer
    from tests.harness.redis import RedisServer

KEYS = [
    *("at", "redis", "rabbitmq", "calls", "nodes", "replicas", "services", "services_complete"),
    "dead_letters",
]


@pytest.fixture
async def ground(
    redis_server: RedisServer, managed_rabbitmq: RabbitServer, vhost: str
) -> AsyncIterator[Ground]:
    """With one replica and one service, which have decided 30 calls."""
    async with on_ground(redis_server.url, vhost, managed_rabbitmq.api) as found:
        found.service()
        await found.replica("one")
        await found.calls(30)
        yield found


class TestOnce:
    async def test_text_json_and_a_picture(self, ground: Ground, tmp_path: Path) -> None:
        told: Any = {"calls": {"calls": 0}}
        while told["calls"]["calls"] < 30:  # the journal is written twice a second
            told = json.loads((await ground.run("top", "-o", "json")).out)
        assert list(told) == KEYS
        assert told["calls"]["outcomes"] == {"decided": 30}
        assert told["calls"]["fallback_share"] == 0
        assert len(told["calls"]["per_second"]) == 60
        assert list(told["calls"]["latency"]) == ["p50", "p95", "p99", "max"]
        assert 0 < told["calls"]["latency"]["p50"] <= told["calls"]["latency"]["max"]
        assert [row["node"] for row in told["nodes"]] == [ground.node]
        assert [(row["name"], row["consumers"]) for row in told["services"]] == [("lcr", 1)]
        assert (told["redis"]["ok"], told["rabbitmq"]["ok"], told["dead_letters"]) == (True, True, 0)
        line = await ground.run("top", "-o", "jsonl")
        assert line.out.count("\n") == 1

        done = await asyncio.to_thread(in_pipes, "top", **ground.env)
        assert (done.code, done.err) == (0, "")
        assert "\x1b" not in done.out
        for part in (
            "30 in 60 s",
            "fallbacks 0.00%",
            "p99",
            "NODES",
            "REPLICAS",
            "SERVICES",
            "lcr",
            ground.node,
        ):
            assert part in done.out

        picture = tmp_path / "top.svg"
        done = await ground.run("top", "--svg", str(picture))
        assert (done.code, done.out, done.err) == (0, "", "")
        drawn = ElementTree.parse(picture)
        words = "".join(drawn.getroot().itertext()).replace("\xa0", " ")
        assert ground.node in words
        assert (await ground.run("top", "--svg", "/no/such/folder.svg")).code == 1

    async def test_servers_that_are_away_are_told_of(self, ground: Ground) -> None:
        nobody = free_port()
        redis = {"EVAPI_REDIS_URL": f"redis://127.0.0.1:{nobody}"}
        rabbit = {"EVAPI_AMQP_URL": f"amqp://127.0.0.1:{nobody}"}
        done = await ground.run("top", **redis)
        assert done.code == 1, "a script must not take it for all"
        assert "Redis is away" in done.out
        assert "connection refused" in done.out
        assert "lcr" in done.out, "the rest goes on"
        done = await ground.run("top", **rabbit)
        assert "RabbitMQ is away" in done.out
        assert ground.node in done.out
        both = json.loads((await ground.run("top", "-o", "json", **redis, **rabbit)).out)
        assert (both["redis"]["ok"], both["rabbitmq"]["ok"]) == (False, False)

    async def test_no_redis_is_set(self) -> None:
        done = await in_thread("top")
        assert (done.code, done.out) == (2, "")
        assert "EVAPI_REDIS_URL: is not set" in done.err


class Screen:
    """The command on a terminal of 80 by 24."""

    def __init__(self, env: dict[str, str]) -> None:
        self.master, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(theirs)
        self.child = subprocess.Popen(
            [sys.executable, "-m", "adapter.cli", "top"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**env, "TERM": "xterm-256color"},
            start_new_session=True,
        )
        self.theirs = theirs
        os.set_blocking(self.master, False)
        self.shown = ""
        self.decoder = codecs.getincrementaldecoder("utf-8")()  # a read may end within a character

    def read(self) -> str:
        """All that was written up to now."""
        with contextlib.suppress(BlockingIOError):
            while part := os.read(self.master, 65_536):
                self.shown += self.decoder.decode(part)
        return self.shown

    def frames(self) -> list[list[str]]:
        """The lines of each frame, without styles."""
        bare = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", each) for each in self.read().split("\x1b[H")]
        return [each.replace("\r", "").split("\n") for each in bare if each.strip()]

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)


@pytest.fixture
def screen(ground: Ground) -> Iterator[Callable[[dict[str, str]], Screen]]:
    made: list[Screen] = []

    def make(more: dict[str, str]) -> Screen:
        made.append(Screen(environment({**ground.env, **more})))
        return made[-1]

    yield make
    for each in made:
        each.child.kill()
        each.child.wait()
        os.close(each.theirs)
        os.close(each.master)


class TestLive:
    async def test_frames_follow_each_other_until_q(
        self, ground: Ground, screen: Callable[[dict[str, str]], Screen]
    ) -> None:
        shown = screen({})
        await until(lambda: len(shown.frames()) >= 3)
        shown.type(b"x")
        frames = len(shown.frames())
        await until(lambda: len(shown.frames()) > frames)
        shown.type(b"q")
        await until(lambda: shown.child.poll() is not None)
        assert shown.child.returncode == 0
        assert shown.read().startswith("\x1b[?1049h"), "the alternate screen"
        assert "\x1b[?1049l" in shown.shown
        last = shown.frames()[-2]
        assert len(last) <= 24
        assert max(map(len, last)) <= 80
        assert any(ground.node in line for line in last)
        assert any("p99" in line for line in last)
        assert termios.tcgetattr(shown.theirs) == shown.before, "the keyboard is as it was"

    async def test_ctrl_c_and_servers_that_are_away(self, screen: Callable[[dict[str, str]], Screen]) -> None:
        nobody = free_port()
        away = {
            "EVAPI_REDIS_URL": f"redis://127.0.0.1:{nobody}",
            "EVAPI_AMQP_URL": f"amqp://127.0.0.1:{nobody}",
        }
        shown = screen(away)
        await until(lambda: "Redis is away" in shown.read() and "RabbitMQ is away" in shown.shown)
        os.killpg(shown.child.pid, signal.SIGINT)
        await until(lambda: shown.child.poll() is not None)
        assert shown.child.returncode == 130
        assert "Traceback" not in shown.read()
        assert termios.tcgetattr(shown.theirs) == shown.before


async def test_it_is_live_in_this_process_too(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """q typed while it looks, and while it waits."""
    from adapter import settings
    from adapter.admin.watch import Watch
    from adapter.cli import options

    master, theirs = pty.openpty()
    shown: list[bytes] = []
    loop = asyncio.get_running_loop()
    loop.add_reader(master, lambda: shown.append(os.read(master, 65_536)))
    chosen = settings.load(bridge=False, redis_url=ground.redis_url, redis_prefix=ground.node)
    with os.fdopen(theirs, "r+b", buffering=0) as raw, io.TextIOWrapper(raw, write_through=True) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        monkeypatch.setattr(sys, "stdout", terminal)
        for frames in (1, 0):
            watch = Watch(chosen, options.redis(chosen), None)
            shown.clear()
            if not frames:
                looked = watch.look

                async def typed(look: Callable[[], Awaitable[Overview]] = looked) -> Overview:
                    os.write(master, b"q")
                    await asyncio.Event().wait()
                    return await look()

                monkeypatch.setattr(watch, "look", typed)
            live = asyncio.create_task(top._live(watch))
            if frames:
                await until(lambda: b"p99" in b"".join(shown))
                os.write(master, b"xQ")
            await live
            await watch.close()
    loop.remove_reader(master)
    os.close(master)


def drawn(overview: Overview, width: int, height: int) -> list[str]:
    """The frame's lines, without styles."""
    canvas = Console(width=width, height=height, record=True, file=io.StringIO())
    canvas.print(frame(overview, width, height, NOW))
    return canvas.export_text().splitlines()


def full(nodes: int = 1, replicas: int = 2, services: int = 1, share: float = 0.0) -> Overview:
    links = {f"sbc{at:02}": "receipts" for at in range(nodes)}
    beats: dict[str, Beat] = {
        f"adapter-{at:02}~ab{at:02}": beat(*(links if at == 0 else ()), links=links) for at in range(replicas)
    }
    recent = Recent()
    recent.covered = 60.0
    recent.add(NOW - 2, answers(100, outcome=Outcome.TIMEOUT if share else Outcome.DECIDED))
    found = tuple(Service(f"service{at:02}", f"q{at}", at, 1, None) for at in range(services))
    return Overview(
        1.0,
        Store(NOW, beats, {}, {"sbc00": Load(10_000, 1.99, 0)}),
        bus=Bus("4.1", False, 3, found, True),
        recent=recent,
    )


class TestFrame:
    @pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 40), (200, 60)])
    @pytest.mark.parametrize("many", [1, 3, 12])
    def test_it_fits(self, width: int, height: int, many: int) -> None:
        lines = drawn(full(many, many, many), width, height)
        assert len(lines) <= height
        assert max(map(len, lines)) <= width
        text = "\n".join(lines)
        for part in ("calls", "latency", "nodes", "replicas", "services", "sbc00", "adapter-00", "service00"):
            assert part in text
        if many == 12 and height == 24:
            assert re.search(r"and \d+ more", text), "what is left out is told"
        if many == 12 and height == 60:
            assert "more" not in text, "where there is room it is used"
        if many == 1 and width == 200:
            assert "VERSION" in text

    def test_who_else_has_decided_is_told(self) -> None:
        found = full()
        assert found.recent is not None
        journal = Journal()
        for step, times in (("service", 95), ("backup", 3), ("stale", 2)):
            for _ in range(times):
                journal.stepped(NOW, TransactionId("sbc1", 1, 1, 1), "e", "", step, 0.1)
        found.recent.add(NOW - 2, journal.take() or b"")
        text = "\n".join(drawn(found, 120, 24))
        assert "decided 100.0%  by backup 3.0%  by stale 2.0%" in text

    def test_what_is_wrong_is_told(self) -> None:
        away = Overview(1.0, store_problem="Redis at h: gone", bus_problem="gone")
        text = "\n".join(drawn(away, 80, 24))
        for part in ("Redis is away", "RabbitMQ is away", "Redis at h: gone", "unknown: RabbitMQ is away"):
            assert part in text
        alone = replace(full(), bus=None)
        assert "EVAPI_AMQP_URL is not set" in "\n".join(drawn(alone, 80, 24))
        blocked = replace(full(), bus=Bus("4.1", True))
        text = "\n".join(drawn(blocked, 120, 24))
        assert "takes nothing: short of memory or disk" in text
        assert "none known; name them with --also" in text
        assert "EVAPI_JOURNAL" in "\n".join(drawn(replace(full(), recent=Recent()), 80, 24))
        assert "100.00%" in "\n".join(drawn(full(share=1.0), 80, 24))

    def test_what_is_short_is_whole_and_what_is_wrong_comes_first(self) -> None:
        """Where there is no room for all."""
        order = {"by": "operator@jump-host", "reason": "a new kernel, and a very long story about it"}
        good = full(3, 5)
        assert good.store is not None
        beats = {**good.store.beats, "z~1": beat(accepting=False, links={}), "zz~1": beat(age=99.0, links={})}
        orders = {"replica:z~1": order, "node:sbc02": order}
        lines = drawn(replace(good, store=replace(good.store, beats=beats, orders=orders)), 80, 24)
        text = "\n".join(lines)
        for part in (
            "z   ",
            "zz  ",
            "silent",
            "sbc02",
            "10000",
            "1.99 s",
            "IN FLIGHT",
            "UP",
            "paused by op",
            "…",
        ):
            assert part in text
        assert max(map(len, lines)) <= 80
        narrow = drawn(replace(good, store=replace(good.store, beats=beats, orders=orders)), 30, 24)
        assert max(map(len, narrow)) <= 30

    def test_as_text_nothing_is_left_out(self) -> None:
        canvas = Console(width=300, record=True, file=io.StringIO())
        canvas.print(text_frame(full(30, 30, 30), 300, NOW))
        text = canvas.export_text()
        assert "more" not in text
        assert text.count("adapter-") >= 30
        assert "sbc29" in text
        assert "╭" not in text

    def test_bars(self) -> None:
        assert sparkline([0, 1, 4, 8], 10) == " ▁▄█"
        assert sparkline([9, 9, 0, 0], 2) == "  "
        assert sparkline([], 5) == ""
        assert sparkline([1000, 1], 2) == "█▁", "what is there is seen"
