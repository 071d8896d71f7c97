"""The command on a terminal of 80 columns, as a process of its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios

from tests.harness.process import START_TIMEOUT, HarnessError

_STYLE = re.compile(r"\x1b\[[0-9;]*m")


def on_a_terminal(*words: str, answer: str = "", columns: int = 80, **variables: str) -> tuple[str, int]:
    """What is to be seen in the end, styles apart, and the exit code. ``answer``: to a question."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    bare = {name: value for name, value in os.environ.items() if not name.startswith("EVAPI_")}
    bare.pop("COLUMNS", None)
    environment = {**bare, "TERM": "xterm", "NO_COLOR": "1", **variables}
    command = [sys.executable, "-m", "adapter.cli", *words]
    child = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
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
    return "\n".join(lines) + "\n", code


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
