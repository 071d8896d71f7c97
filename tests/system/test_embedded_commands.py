"""An adapter without Redis and RabbitMQ is not blind: the operator's commands ask it."""

from __future__ import annotations

import asyncio
import io
import json
import os
import socket
import time
from typing import TYPE_CHECKING, Any, cast

import pytest
import structlog
import structlog.testing

from adapter.admin.running import RunningAdapter, runs
from adapter.errors import StoreUnavailable
from adapter.inflight import questions
from adapter.inflight.kept_journal import MOST_BYTES, KeptJournal
from adapter.inflight.local import LocalStore
from adapter.model.transaction import Outcome, Transaction, TransactionId
from adapter.operator_socket import OperatorSocket
from adapter.simulator import SimulatedKamailio
from consumers import Request, Service, allow
from tests.cli.ground import in_thread
from tests.harness.process import free_port
from tests.harness.until import until
from tests.system.conftest import bridged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.cli.command import Done

pytestmark = pytest.mark.usefixtures("patient_doctor")

PATIENT = {"default": {"deadline": 30.0}}
service = Service("screening")
released: list[asyncio.Event] = []
"""The last lets go of who is held; of each test's loop its own."""


@service.on("screened")
async def screen(request: Request) -> dict[str, str]:
    return allow()


@service.on("held")
async def hold(request: Request) -> dict[str, str]:
    await released[-1].wait()
    return allow()


@service.on("raises")
async def raises(request: Request) -> dict[str, str]:
    return {"action": request.data["not there"]}


class Here:
    """A bridge that runs embedded, and its operator."""

    def __init__(self, sim: SimulatedKamailio, port: int) -> None:
        self.sim = sim
        self._env = {"EVAPI_HTTP": f"127.0.0.1:{port}"}

    async def run(self, *words: str) -> Done:
        return await in_thread(*words, **self._env)

    async def rows(self, *words: str) -> list[dict[str, Any]]:
        done = await self.run(*words, "-o", "json")
        assert done.code == 0, done
        return done.rows


@pytest.fixture
async def here() -> AsyncIterator[Here]:
    port = free_port()
    options = {"consumer": "tests.system.test_embedded_commands:service", "http": f"127.0.0.1:{port}"}
    # The bridge is in this process as well: what it logs is not to be taken for a command's output.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(io.StringIO()))
    try:
        async with SimulatedKamailio() as sim, bridged(sim, "sbc1", options, PATIENT):
            released.append(asyncio.Event())
            yield Here(sim, port)
            released[-1].set()
    finally:
        structlog.reset_defaults()


async def test_every_command_that_reads_works(here: Here) -> None:
    for event, outcome in (("screened", "decided"), ("raises", "failed"), ("unheard", "unroutable")):
        call = await here.sim.suspend(event, {"call_id": f"{event}@h"})
        assert (await call.resumed())["outcome"] == outcome
    here.sim.emit_payload(b"not:understood")
    waiting = await here.sim.suspend("held", {"call_id": "held@h"})
    (replica,) = await here.rows("replicas")
    assert (replica["state"], replica["active_for"]) == ("live", ["sbc1"])
    (listed,) = await here.rows("services")
    assert (listed["name"], listed["events"]) == ("screening", ["held", "raises", "screened"])

    async def only_the_last() -> bool:  # the others are listed until Kamailio has read their answers
        return len(await here.rows("inflight", "list")) == 1

    await until(only_the_last)
    (flying,) = await here.rows("inflight", "list")
    assert flying["call_id"] == "held@h"
    (node,) = await here.rows("nodes")
    assert (node["in_flight"], node["gate"]) == (1, "open")
    (letter,) = await here.rows("dead-letters", "list")
    assert (letter["kind"], letter["node"]) == ("frame", "sbc1")
    assert b"not:understood".decode() in (await here.run("dead-letters", "show", "1")).out

    async def journalled() -> bool:  # it is written twice a second; this one was answered last
        return "unroutable" in (await here.run("trace", "unheard@h")).out

    await until(journalled)
    assert "failed: KeyError" in (await here.run("trace", "raises@h")).out
    tailed = await here.run("tail", "--since", "60s", "--for", "100ms", "-o", "jsonl")
    resumes = [json.loads(line) for line in tailed.out.splitlines()]
    assert {row["outcome"] for row in resumes if row["outcome"]} == {"decided", "failed", "unroutable"}
    top = json.loads((await here.run("top", "-o", "json")).out)
    assert (top["services"][0]["name"], top["dead_letters"], top["calls"]["calls"]) == ("screening", 1, 3)
    checked = await here.run("check")
    assert "no queue gets unheard; screening: failed: KeyError" in checked.out
    told = await here.run("doctor")
    assert "unroutable: no queue gets them; screening handles held, raises, screened" in told.out
    released[-1].set()
    assert (await waiting.resumed())["outcome"] == "decided"


async def test_questions_and_commands(here: Here) -> None:
    async def sent(*words: str, within: str = "20") -> dict[str, Any]:
        done = await here.run("send", *words, "--timeout", within, "-o", "json")
        found: dict[str, Any] = json.loads(done.out)
        assert (done.code == 0) == (found["outcome"] in ("decided", "sent")), done
        return found

    decided = await sent("--event", "screened", "--data", "{}")
    assert (decided["outcome"], decided["decision"], decided["service"]) == (
        *("decided", {"action": "allow"}, "screening"),
    )
    failed = await sent("--event", "raises")
    assert (failed["outcome"], failed["detail"].partition(" at ")[0]) == ("failed", "KeyError")
    assert (await sent("--event", "unheard"))["outcome"] == "unroutable"
    assert (await sent("--event", "held", within="0.1"))["outcome"] == "timeout"
    assert (await sent("sbc1", '{"reload":"gateways"}'))["outcome"] == "sent"
    assert (await sent("all", '{"reload":"gateways"}'))["outcome"] == "sent"
    assert (await sent("sbc9", "{}"))["outcome"] == "unroutable"


async def test_where_none_runs_that_is_said() -> None:
    port = free_port()
    done = await in_thread("nodes", EVAPI_HTTP=f"127.0.0.1:{port}")
    assert done.code == 2
    assert f"with port {port} (EVAPI_HTTP) there is none" in done.err
    assert not runs(port)
    with pytest.raises(StoreUnavailable, match="does it run"):
        await RunningAdapter(port).time()


async def test_where_nobody_can_ask_the_log_says_what_to_do() -> None:
    port, unused, store = free_port(), cast("Any", None), LocalStore("r1")
    with socket.socket(socket.AF_UNIX) as taken, structlog.testing.capture_logs() as logs:
        taken.bind(questions.address(port))
        asked = OperatorSocket(port, store, unused, unused, unused, unused, time.time)
        await asked.start()
        await asked.close()
    (told,) = logs
    assert "Address already in use" in told["error"]
    assert "EVAPI_HTTP" in told["do"]


async def test_what_is_no_question_costs_nothing(here: Here) -> None:
    port = int(here._env["EVAPI_HTTP"].rpartition(":")[2])
    adapter = RunningAdapter(port)
    for verb, arguments in (("nonsense", ()), ("journal", ("x", 1)), ("get", ([1],)), ("look", (1,))):
        with pytest.raises(StoreUnavailable, match="does not do this"):
            await adapter._ask(verb, *arguments)
    with socket.socket(socket.AF_UNIX) as rude:
        rude.connect(questions.address(port))
        rude.sendall(b"\xff" * 64)
        rude.settimeout(10)
        assert await asyncio.to_thread(rude.recv, 1) == b"", "longer than any question: it is left"
    assert await adapter.time() > 0
    await adapter.close()


def test_another_users_process_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert questions.is_trusted(ours)
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        assert questions.is_trusted(ours) == (os.getuid() == 0), "but for root"


def test_a_record_comes_back_as_it_was() -> None:
    id_ = TransactionId("sbc1", 1, 2, 3)
    plain = Transaction(id_, "e", 2.0, 1.0, b"\x80", "r~1")
    full = Transaction(id_, "e", 2.0, 1.0, b"", "r~1", outcome=Outcome.FAILED, decision=b"{}", call_id="c@h")
    for record in (plain, full):
        assert questions.unpack_record(questions.pack_record(record)) == record


def test_the_journal_is_bounded_and_read_in_order() -> None:
    journal = KeptJournal()
    for number in range(5):
        journal.add(b"%d" % number, 100.0 + number / 2, 1.0)
    found = journal.read("0", 10)
    assert [entry for _, entry in found] == [b"2", b"3", b"4"], "a second of it"
    assert journal.read(found[0][0], 1) == [found[1]]
    assert journal.read("$", 1) == [(found[-1][0], b"")]
    journal.add(b"5", 101.0, 1.0)  # a clock that was set back
    assert [entry for _, entry in journal.read(found[-1][0], 9)] == [b"5"]
    journal.add(b"x" * MOST_BYTES, 102.0, 1.0)
    assert len(journal.read("0", 9)) == 1
