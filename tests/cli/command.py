"""How tests run the command: in this process, as a process in pipes, or on a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

import typer.main

from adapter.cli.main import execute
from tests.harness.process import START_TIMEOUT, HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

COMMAND = (sys.executable, "-m", "adapter.cli")
WIDTH = "80"
TREE = cache(typer.main.get_command)
"""Typer makes every command anew for each line that is run in one process: 0.1 s of CPU."""
_STYLE = re.compile(r"\x1b\[[0-9;]*m")


class Done(NamedTuple):
    """How a command ended: exit code, stdout, stderr (of a terminal: all in ``out``, styles apart)."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Of ``-o json``."""
        found: list[dict[str, Any]] = json.loads(self.out)["rows"]
        return found


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with these variables and no other EVAPI_ ones, 80 columns, UTC."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("EVAPI_")}
    return {**bare, "COLUMNS": WIDTH, "TZ": "UTC", "XDG_CONFIG_HOME": "/nonexistent", **variables}


def evapi_adapter(*words: str, stdin: str = "", **variables: str) -> Done:
    """Run it to its end in this process, as if in pipes."""
    raw_out, raw_err = io.BytesIO(), io.BytesIO()
    out, err = (io.TextIOWrapper(raw, "utf-8", write_through=True) for raw in (raw_out, raw_err))
    with (
        patch.dict(os.environ, environment(variables), clear=True),
        patch.object(typer.main, "get_command", TREE),
        patch.object(sys, "argv", ["evapi-adapter", *words]),
        patch.object(sys, "path", sys.path[:]),
        patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()), "utf-8")),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        time.tzset()
        try:
            execute()
            code: Any = 0
        except SystemExit as end:
            code = end.code or 0
    time.tzset()
    return Done(code, raw_out.getvalue().decode(), raw_err.getvalue().decode())


def in_pipes(*words: str, **variables: str) -> Done:
    """Run it to its end as a process of its own."""
    done = subprocess.run(
        [*COMMAND, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT,
        env=environment(variables),
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@contextlib.contextmanager
def started(*words: str, **variables: str) -> Iterator[Any]:
    """Start it as a process of its own, in pipes; it is killed in the end if it still runs."""
    with subprocess.Popen(
        [*COMMAND, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(variables),
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def on_terminal(*words: str, answer: str = "", **variables: str) -> Done:
    """Run it to its end on a terminal, ``COLUMNS`` wide. ``answer`` is typed once it asks."""
    given = environment({"TERM": "xterm", **variables})
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, int(given.pop("COLUMNS")), 0, 0))
    child = subprocess.Popen(
        [*COMMAND, *words], stdin=theirs, stdout=theirs, stderr=theirs, env=given, start_new_session=True
    )
    os.close(theirs)
    try:
        shown = _read(ours, answer)
        code = child.wait(START_TIMEOUT)
    finally:
        child.kill()
        child.wait()
        os.close(ours)
    lines = (line.rstrip() for line in _STYLE.sub("", shown.decode()).splitlines())
    return Done(code, "\n".join(lines) + "\n", "")


def _read(ours: int, answer: str) -> bytes:
    """Until the process is gone: the terminal then breaks off."""
    shown = b""
    with contextlib.suppress(OSError):
        while select.select([ours], [], [], START_TIMEOUT)[0]:
            part = os.read(ours, 65_536)
            if not part:
                return shown
            shown += part
            if answer and b"[y/N]" in shown:
                os.write(ours, f"{answer}\n".encode())
                answer = ""
        raise HarnessError(f"silent for {START_TIMEOUT} s after {shown!r}")
    return shown
