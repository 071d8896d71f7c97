"""A private Redis: its own port and folder, nothing on disk."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Self

from tests.harness.process import Process, free_port

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class RedisServer:
    """One server. Keeps nothing over a stop: what ``start`` begins is empty."""

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        where = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder)]
        nothing_kept = ["--save", "", "--appendonly", "no", "--daemonize", "no"]
        self._process = Process("redis", ["redis-server", *where, *nothing_kept, *options], folder)

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process.start()
        self._process.wait_until(self._answers, "Redis to answer")

    def stop(self) -> None:
        """End it orderly, also when it is paused."""
        if self._process.running:
            self._process.resume()
        self._process.stop()

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()

    def restart(self) -> None:
        """Crash and start again, empty, on the same port."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Let it hang: connections stay open, nothing is answered."""
        self._process.pause()

    def resume(self) -> None:
        """Let it go on after ``pause``; what it was sent meanwhile it carries out now."""
        self._process.resume()

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                probe.sendall(b"PING\r\n")
                return probe.recv(7) == b"+PONG\r\n"
        except OSError:
            return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
