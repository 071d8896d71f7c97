"""A healthy site: nothing to be told by `doctor` and `topology diff`, nothing to be read in a server's log.

With the servers that are first in PATH, of whatever version.
"""

from __future__ import annotations

import itertools
import json
import re
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tests.cli.command import evapi_adapter
from tests.harness.bridge import PATIENT, Bridge, Consumer
from tests.harness.kamailio import KamailioServer
from tests.harness.process import wait_until
from tests.harness.rabbitmq import ROOT
from tests.harness.redis import RedisServer
from tests.harness.sipp import run_sipp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.rabbitmq import RabbitServer

pytestmark = pytest.mark.usefixtures("patient_doctor")

SERVICE = """
from consumers import Service, reject

service = Service("silent", queue_type="{queue_type}")


@service.on("invite_request")
async def decide(request):
    return reject(486, "Taken")


@service.on("call_cancelled")
async def cancelled(request):
    return None
"""
CALLS = 20
OF_RABBITMQ = re.compile(r"\[(?:warning|error|critical|alert|emergency)\]|deprecated", re.IGNORECASE)
OF_THE_TEST = re.compile(r"rebuilding indices from scratch")
"""The vhost is new."""
RACE = re.compile(
    r"^(\S+ \S+) \[error\] (<[\d.]+>)     supervisor: \{\2,rabbit_channel_sup_sup\}\n"
    r"(?:\1 \[error\] \2.*\n)*?\1 \[error\] \2     reason: shutdown\n(?:\1 \[error\] \2.*\n?)*",
    re.MULTILINE,
)
"""A connection ends while one of its channels does. RabbitMQ's own processes race then, and it reports (3.10,
rarely) as an error that the channel's supervisor ended in order, by `shutdown`."""
OF_KAMAILIO = re.compile(r"\b(?:WARNING|ERROR|CRITICAL|ALERT|BUG):")
OF_REDIS = re.compile(r"^\d+:\w .{20,28} # ")
"""A warning."""


class Site:
    """Kamailio, two adapters, a service of the SDK, RabbitMQ and Redis."""

    def __init__(self, folder: Path, url: str, redis: RedisServer, queue_type: str) -> None:
        self.folder, self.node = folder, f"sbc-{uuid4().hex[:8]}"
        (folder / "silent_service.py").write_text(SERVICE.format(queue_type=queue_type))
        self.kamailio = KamailioServer(folder, shared_memory=64)
        options = {"amqp_url": url, "redis_url": redis.url, "set": f"queue_type={queue_type}"}
        nodes = {self.node: self.kamailio.evapi_port}
        self.bridges = [Bridge(name, folder, nodes, options, PATIENT) for name in ("one", "two")]
        env = {"PYTHONPATH": str(folder)}
        self.consumer = Consumer("consumer", folder, ["silent_service:service"], url, env)
        self.env = {"EVAPI_AMQP_URL": url, "EVAPI_REDIS_URL": redis.url, "EVAPI_QUEUE_TYPE": queue_type}

    def start(self, stack: ExitStack) -> None:
        stack.enter_context(self.kamailio)
        for each in self.bridges:
            each.process.start()
            stack.callback(each.stop)
        for each in self.bridges:
            each.wait_for_gate()
        stack.enter_context(self.consumer)  # on an empty vhost it finds no exchange before (README)
        wait_until(self.decides, "the service decides")
        wait_until(lambda: sum(each.metric("evapi_active") for each in self.bridges) == 1, "one active")

    def decides(self) -> bool:
        with tempfile.TemporaryDirectory() as place:
            return run_sipp(Path(place), self.kamailio.sip_port, calls=1, rate=1).codes == {486: 1}

    @contextmanager
    def called(self) -> Iterator[None]:
        """Calls come all the time; the journal has some of them."""
        over = threading.Event()

        def call() -> None:
            for number in itertools.count():
                place = self.folder / f"calls-{number}"
                place.mkdir()
                run_sipp(place, self.kamailio.sip_port, calls=5, rate=20)
                if over.is_set():
                    break

        with ThreadPoolExecutor(1) as pool:
            calls = pool.submit(call)
            try:
                while self.run("top")[0]["calls"]["calls"] <= CALLS:
                    pass
                yield
            finally:
                over.set()
            calls.result()

    def run(self, *words: str) -> tuple[dict[str, Any], int]:
        """What one of the operator's commands says, and its exit code."""
        done = evapi_adapter(*words, "-o", "json", **self.env)
        assert done.out, done.err
        return json.loads(done.out), done.code


# In `make test` one of them: what each is for doctor is looked at in tests/admin, too.
@pytest.fixture(params=["quorum"] if Path("/") == ROOT else ["classic", "quorum"])
def queue_type(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_healthy_site_has_nothing_to_be_told(
    tmp_path: Path, managed_rabbitmq: RabbitServer, queue_type: str
) -> None:
    log = managed_rabbitmq.log
    before = log.stat().st_size
    with managed_rabbitmq.vhost() as url, RedisServer(tmp_path) as redis, ExitStack() as stack:
        site = Site(tmp_path, url, redis, queue_type)
        site.env["EVAPI_AMQP_API"] = managed_rabbitmq.api
        started = redis.log.stat().st_size
        site.start(stack)
        assert run_sipp(tmp_path, site.kamailio.sip_port, calls=CALLS, rate=100).codes == {486: CALLS}
        # Before doctor, which finds out what is allowed by asking for what is refused.
        told = lines(log, before)
        of_redis = lines(redis.log, started)
        with site.called():  # doctor compares clocks by the calls of the last 3 s
            report, code = site.run("doctor")
        drift, _ = site.run("topology", "diff")
        of_kamailio = site.kamailio.log.splitlines()
    assert [each for each in report["rows"] if each["status"] != "ok"] == []
    assert (code, drift["rows"]) == (0, [])
    told = RACE.sub("", "\n".join(told)).splitlines()
    seen = [line for line in told if OF_RABBITMQ.search(line)]
    assert [line for line in seen if not OF_THE_TEST.search(line)] == []
    assert [line for line in of_kamailio if OF_KAMAILIO.search(line)] == []
    assert [line for line in of_redis if OF_REDIS.search(line)] == []


def lines(log: Path, begin: int) -> list[str]:
    """What a log has from this byte on."""
    return log.read_bytes()[begin:].decode(errors="replace").splitlines()
