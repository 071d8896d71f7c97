"""baresip, a real phone without sound: it dials, holds and hangs up as it is told, and tells what happens."""

from __future__ import annotations

import asyncio
import json
import socket
import wave
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.harness.process import HarnessError, Process, free_port, listening

if TYPE_CHECKING:
    from collections.abc import Callable

MODULES = ("lib*/baresip/modules", "lib/*/baresip/modules")
"""Under /usr."""
TIMEOUT = 20.0
CONFIG = """\
module_path {modules}
sip_listen 127.0.0.1:{sip}
rtp_ports {rtp}-{rtp_last}
audio_source aufile,{folder}/silence.wav
audio_player aubridge,heard
audio_alert aubridge,alert
ctrl_tcp_listen 127.0.0.1:{control}
module g711.so
module aufile.so
module aubridge.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
"""
"""What is heard goes nowhere: a player that writes it down ends the phone at times (baresip 1.1.0)."""
RTP_PORTS = 10
SPEAKS = 60
"""Seconds of silence that it has to say."""


def _free_pair() -> int:
    """A port that nobody has, and nor the next one, at which baresip takes calls by TLS."""
    while True:
        port = free_port(socket.SOCK_DGRAM)
        if free_port() == port + 1:
            return port


class Phone:
    """One phone, whose calls all go by the SIP proxy on 127.0.0.1:``proxy``.

    ``events``: what it has told so far, as baresip's module ctrl_tcp writes it.
    """

    def __init__(self, folder: Path, proxy: int, name: str = "alice") -> None:
        found = [found for pattern in MODULES for found in Path("/usr").glob(pattern)]
        if not found:
            raise HarnessError("no baresip under /usr: apt-get install baresip-core")
        folder = folder / f"{name}.baresip"
        folder.mkdir()
        self._control, sip = free_port(), _free_pair()
        rtp = [free_port(socket.SOCK_DGRAM) for _ in range(RTP_PORTS)]
        ports = {"sip": sip, "rtp": min(rtp), "rtp_last": max(rtp), "control": self._control}
        with wave.open(str(folder / "silence.wav"), "wb") as silence:
            silence.setparams((1, 2, 8000, 0, "NONE", ""))
            silence.writeframes(bytes(2 * 8000 * SPEAKS))
        (folder / "config").write_text(CONFIG.format(modules=found[0], folder=folder, **ports))
        way = f'outbound="sip:127.0.0.1:{proxy};transport=udp"'
        (folder / "accounts").write_text(f"<sip:{name}@127.0.0.1:{sip}>;regint=0;{way}\n")
        (folder / "contacts").write_text("")
        self._proxy = proxy
        self._process = Process(name, ["baresip", "-f", str(folder)], folder)
        self._task: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._news = asyncio.Event()
        self.events: list[dict[str, Any]] = []

    def dial(self, user: str) -> None:
        """Begin a call; returns at once."""
        self._command("dial", f"sip:{user}@127.0.0.1:{self._proxy}")

    def hold(self) -> None:
        """Put the call on hold."""
        self._command("hold")

    def resume(self) -> None:
        """Take the call from hold."""
        self._command("resume")

    def hang_up(self) -> None:
        """End the call, however far it is."""
        self._command("hangup")  # 1.1.0 does so once it rings; 1.0.0 has nothing else
        self._command("hangupall")

    async def event(self, kind: str, times: int = 1) -> dict[str, Any]:
        """Wait for so many events of a kind, such as ``CALL_ESTABLISHED``; gives the last of them."""

        def found() -> list[dict[str, Any]]:
            return [event for event in self.events if event["type"] == kind]

        await self._until(lambda: len(found()) >= times)
        return found()[times - 1]

    async def _until(self, condition: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                while not condition():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise HarnessError(f"the phone has told {self.events}\n{self._process.tail()}") from None

    def _command(self, name: str, parameters: str = "") -> None:
        assert self._writer is not None, "not started"
        text = json.dumps({"command": name, "params": parameters, "token": name}).encode()
        self._writer.write(b"%d:%b," % (len(text), text))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while True:
            length = int((await reader.readuntil(b":"))[:-1])
            told = json.loads((await reader.readexactly(length + 1))[:-1])
            if told.get("event"):
                self.events.append(told)
                self._news.set()

    async def __aenter__(self) -> Phone:
        self._process.start()
        await asyncio.to_thread(
            self._process.wait_until, lambda: listening(self._control), "the phone's control port"
        )
        reader, self._writer = await asyncio.open_connection("127.0.0.1", self._control)
        self._task = asyncio.create_task(self._read(reader))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        assert self._writer is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._writer.close()
        await asyncio.to_thread(self._process.kill)
