"""Real processes under a load; what is said where one of them does not live."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from adapter.bench import ground as module
from adapter.bench.ground import BenchError, Child, Ground, SourceProcess, stop, tail
from adapter.bench.load import Load
from adapter.bench.measure import measure

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.server

EMBEDDED = {"EVAPI_CONSUMER": "adapter.bench.service:service"}
SHORT = Load(200.0, 0.3, warm_up=0.1)
SAYS_AND_ENDS = (sys.executable, "-c", "print('no licence'); raise SystemExit(3)")
SLEEPS = (sys.executable, "-c", "import signal; signal.pause()")


def alive(*pids: int) -> list[int]:
    found = []
    for pid in pids:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            continue
        found.append(pid)
    return found


class TestEmbedded:
    def test_loads_one_after_the_other(self, tmp_path: Path) -> None:
        left: list[float] = []
        with Ground(tmp_path, 2, EMBEDDED, consumers=0) as ground:
            rate = measure(ground, SHORT, left.append)
            waits = measure(ground, Load(100.0, 0.3, decision=0.05, warm_up=0.1, payload=2_000))
            full = measure(ground, Load(None, 0.3, window=3, warm_up=0.1))
            pids = [ground.source.process.pid, *(child.process.pid for child in ground.adapters)]
        assert rate.outcomes == {"decided": rate.offered}
        assert abs(rate.offered - 60) <= 4
        assert rate.decided == 1.0
        assert 0 < rate.latency.p50 <= rate.latency.p99 <= rate.latency.longest
        assert rate.added == rate.latency
        assert set(rate.cpu) == {"adapter 1", "source"}
        assert all(cost > 0 for cost in rate.cpu.values())
        assert rate.after.cpu > rate.before.cpu > 0
        assert rate.peaks["adapter 1"] >= rate.after.memory > 10_000_000
        assert rate.busy > 0
        assert left
        assert all(0 <= each <= 0.4 for each in left)
        assert waits.latency.p50 >= 50_000
        assert waits.added.p50 < waits.latency.p50
        assert full.decided == 1.0
        assert full.throughput > 0
        assert alive(*pids) == []

    def test_settings_of_the_shell_are_not_the_adapters(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("EVAPI_AMQP_URL", "amqp://127.0.0.1:1")
        monkeypatch.setenv("EVAPI_LEASE", "nonsense")
        with Ground(tmp_path, 1, EMBEDDED, consumers=0) as ground:
            assert measure(ground, SHORT).decided == 1.0

    def test_an_adapter_that_dies_under_the_load(self, tmp_path: Path) -> None:
        with Ground(tmp_path, 1, EMBEDDED, consumers=0) as ground:

            def kill(_: float) -> None:
                ground.adapters[0].process.send_signal(signal.SIGKILL)

            with pytest.raises(BenchError, match=r"^adapter 1 has ended with -9; it said last:\n"):
                measure(ground, Load(100.0, 60.0), kill)

    def test_a_source_that_dies_under_the_load(self, tmp_path: Path) -> None:
        with Ground(tmp_path, 1, EMBEDDED, consumers=0) as ground:
            with pytest.raises(BenchError, match=r"^the source of calls has ended; it said last:"):
                measure(ground, Load(100.0, 60.0), lambda _: ground.source.process.kill())
            with pytest.raises(BenchError, match="the source of calls has ended"):
                ground.source.ask({})


class TestWhatCannotStart:
    def test_a_consumer(self, tmp_path: Path) -> None:
        ground = Ground(tmp_path, 1, EMBEDDED, adapter=SLEEPS, consumer=SAYS_AND_ENDS)
        with pytest.raises(BenchError) as caught, ground:
            pytest.fail("it has started")
        assert str(caught.value) == "consumer 1 has ended with 3; it said last:\nno licence"
        pids = [child.process.pid for child in (*ground.adapters, *ground.consumers)]
        assert alive(ground.source.process.pid, *pids) == []

    def test_the_real_consumer_without_a_url(self, tmp_path: Path) -> None:
        with pytest.raises(BenchError, match="consumer 1 has ended with 2") as caught:
            Ground(tmp_path, 1, EMBEDDED, adapter=SLEEPS).__enter__()
        assert "EVAPI_AMQP_URL: no RabbitMQ is named" in str(caught.value)

    def test_an_adapter_with_a_wrong_setting(self, tmp_path: Path) -> None:
        with pytest.raises(BenchError, match="adapter 1 has ended with 2") as caught:
            Ground(tmp_path, 1, {**EMBEDDED, "EVAPI_LEASE": "x"}, consumers=0).__enter__()
        assert "EVAPI_LEASE" in str(caught.value)

    def test_an_adapter_that_answers_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "START", 0.3)
        with pytest.raises(BenchError, match=r"no call was answered within 0\.3 s") as caught:
            Ground(tmp_path, 1, {}, consumers=0, adapter=SLEEPS).__enter__()
        assert "adapter 1 said last:\n(nothing)" in str(caught.value)

    def test_a_source(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "executable", "/bin/false")
        with pytest.raises(BenchError, match="the source of calls has ended"):
            SourceProcess(["bench1"], tmp_path / "source.log")


def test_a_process_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOP", 0.1)
    deaf = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); signal.pause()"
    )
    child = Child("deaf", [sys.executable, "-c", deaf], tmp_path / "log", {})
    while not child.log.read_text():
        child.process.poll()
    stop([child])
    assert child.process.returncode == -signal.SIGKILL


def test_other_processes_are_told_too(tmp_path: Path) -> None:
    with Ground(tmp_path, 1, EMBEDDED, consumers=0, others={"me": os.getpid()}) as ground:
        assert set(ground.usages()) == {"adapter 1", "me"}
        assert "me" in measure(ground, SHORT).cpu


def test_the_end_of_an_output(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"\n".join(b"%d" % number for number in range(30)) + b"\xff")
    assert tail(log, 2) == "28\n29\ufffd"
