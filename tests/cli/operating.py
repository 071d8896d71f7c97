"""The commands about calls, in this process or as users run them; and a Redis with calls in it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import io
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

from adapter import contract
from adapter.cli import main
from adapter.inflight.redis import RedisStore
from adapter.model.beat import Beat
from adapter.model.transaction import Outcome, Settlement, Transaction, TransactionId
from adapter.observe.journal import Journal
from adapter.ports.broker import Reply
from tests.harness.process import START_TIMEOUT, HarnessError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

COMMAND = (sys.executable, "-m", "adapter.cli")
_STYLE = re.compile(r"\x1b\[[0-9;]*m")


class Done(NamedTuple):
    """How a command ended: exit code, stdout, stderr (of a terminal: all in ``out``, styles apart)."""

    code: int
    out: str
    err: str


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """This one without the settings of an adapter, in a zone that is known."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("EVAPI_")}
    bare.pop("COLUMNS", None)
    return {**bare, "TZ": "UTC", **extra}


def ask(*words: str, **variables: str) -> Done:
    """In this process, into pipes."""
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.dict(os.environ, environment(variables), clear=True),
        patch.object(sys, "argv", ["evapi-adapter", *words]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        time.tzset()
        try:
            main()
            code: Any = 0
        except SystemExit as end:
            code = end.code
    time.tzset()
    return Done(code or 0, out.getvalue(), err.getvalue())


def run(*words: str, **variables: str) -> Done:
    """In a process of its own, into pipes, to its end."""
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
def started(*words: str, **variables: str) -> Any:
    """In a process of its own, into pipes; killed in the end where it has not ended by then."""
    child = subprocess.Popen(
        [*COMMAND, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(variables),
    )
    assert child.stdout is not None
    assert child.stderr is not None
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
        child.stderr.close()


def on_terminal(*words: str, answer: str = "", columns: int = 80, **variables: str) -> Done:
    """In a process of its own, on a terminal; ``answer`` is typed once it is asked for."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    child = subprocess.Popen(
        [*COMMAND, *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment({"TERM": "xterm", **variables}),
        start_new_session=True,
    )
    os.close(theirs)
    try:
        said = _read(ours, answer)
        code = child.wait(START_TIMEOUT)
    finally:
        child.kill()
        child.wait()
        os.close(ours)
    return Done(code, _STYLE.sub("", said.decode()).replace("\r\n", "\n"), "")


def _read(ours: int, answer: str) -> bytes:
    """Until the process is gone: the terminal then breaks off."""
    said = b""
    with contextlib.suppress(OSError):
        while select.select([ours], [], [], START_TIMEOUT)[0]:
            part = os.read(ours, 65_536)
            if not part:
                return said
            said += part
            if answer and b"[y/N]" in said:
                os.write(ours, f"{answer}\n".encode())
                answer = ""
        raise HarnessError(f"silent for {START_TIMEOUT} s after {said!r}")
    return said


class Calls:
    """What replicas would have in Redis, written without an event loop around."""

    def __init__(self, url: str) -> None:
        self.prefix = f"test-{uuid.uuid4().hex[:8]}"
        self.url = url
        self.now = time.time()
        self.variables = {"EVAPI_REDIS_URL": url, "EVAPI_REDIS_PREFIX": self.prefix}

    def call(
        self, label: int, *, node: str = "sbc1", event: str = "invite_request", ago: float = 0.0, **data: Any
    ) -> Transaction:
        """A call with its data; ``ago``: seconds since it came."""
        id_, at = TransactionId(node, 1, label, 1), self.now - ago
        call_id = data.setdefault("call_id", f"call-{label}@h")
        body = contract.encode_request(contract.Request(event, node, data, *id_[1:], deadline=at + 30.0))
        return Transaction(id_, event, at + 30.0, at, body, "r1~ab", call_id=call_id)

    def beat(self, *replicas: str, node: str = "sbc1") -> None:
        """These replicas live, with a link to a node."""
        for replica in replicas:
            about = {"links": {node: "receipts"}}
            self._do(replica, lambda store, about=about: store.beat(Beat(nodes=frozenset(), about=about)))

    def claim(self, *calls: Transaction) -> None:
        """They are in flight."""
        self._do("r1~ab", lambda store: store.claim(calls, 1000))

    def settle(self, call: Transaction, outcome: Outcome) -> None:
        """It is answered, and Kamailio has not read it."""
        self._do("r1~ab", lambda store: store.settle([Settlement(call.id, outcome, b'{"code":503}')]))

    def write(self, journal: Journal, replica: str = "r1~ab") -> None:
        """An entry of all that was noted."""
        entry = journal.take()
        assert entry is not None
        self._do(replica, lambda store: store.note(entry, 600.0))

    def decided(
        self,
        *calls: Transaction,
        replica: str = "r1~ab",
        payloads: bool = False,
        service: str = "lcr",
        outcome: Outcome = Outcome.DECIDED,
    ) -> None:
        """A replica lives and has these behind it, each in 20 ms."""
        journal = Journal(payloads=payloads)
        for each in calls:
            at = each.claimed_at
            journal.claimed(at + 0.001, [each])
            journal.published(at + 0.002, [each])
            if outcome is Outcome.DECIDED:
                said = Reply(str(each.id), b"", service=service, received=at + 0.004, replied=at + 0.014)
                journal.replied(at + 0.016, [(each.id, said)])
            journal.resumed(at + 0.020, each, outcome, 0.020, b'{"action":"allow","token":"hunter2"}')
            journal.read(at + 0.120, [each.id])
        self.beat(replica)
        self.write(journal, replica)

    def _do(self, replica: str, verb: Callable[[RedisStore], Awaitable[object]]) -> None:
        async def done() -> None:
            store = RedisStore(self.url, replica, prefix=self.prefix, timeout=10.0)
            try:
                await verb(store)
            finally:
                await store.close()

        asyncio.run(done())
