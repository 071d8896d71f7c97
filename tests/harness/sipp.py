"""SIPp as caller and as gateway: complete calls at a rate, and what became of them."""

from __future__ import annotations

import csv
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.harness.kamailio import udp_bound
from tests.harness.process import HarnessError, Process, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SCENARIOS = Path(__file__).with_name("sipp")
MAX_CALLS = 100_000
MAX_RATE = 5_000
GATEWAY_LIFE = 3600.0
"""Seconds after which a gateway ends by itself, should whoever started it be gone."""
WAIT_FOR_A_MESSAGE = 25.0
"""Seconds after which a call that hears nothing counts as failed; above Kamailio's own timer (4 s)."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    started: int
    successful: int
    failed: int

    @property
    def ended(self) -> int:
        """Calls that are over."""
        return self.successful + self.failed


@dataclass(frozen=True, slots=True)
class SippResult:
    """What became of the calls.

    ``successful``: went through the scenario, accepted to the end or refused with one of its
    codes. ``failed``: an unexpected message, or none. ``codes``: final responses to the INVITE
    by status code. ``response_times``: seconds from INVITE to ringing or refusal, of each call,
    in steps of SIPp's clock (up to 4 ms).
    """

    calls: int
    successful: int
    failed: int
    retransmissions: int
    codes: dict[int, int]
    response_times: tuple[float, ...]

    def percentile(self, share: float) -> float:
        """The response time in seconds within which this share (0 to 1) of the calls was answered."""
        if not self.response_times:
            raise HarnessError("no call was answered")
        ordered = sorted(self.response_times)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class SippGateway:
    """A gateway that takes every call: 180, 200, and 200 to its BYE."""

    def __init__(self, folder: Path, name: str = "gateway") -> None:
        self.port = free_port(socket.SOCK_DGRAM)
        self._statistics = folder / f"{name}.csv"
        command = [*_sipp(folder, "uas.xml", self.port), "-timeout", f"{GATEWAY_LIFE:.0f}s"]
        command += ["-trace_stat", "-stf", self._statistics.name, "-fd", "1"]
        self._process = Process(name, command, folder)

    def start(self) -> SippGateway:
        """Start it; returns once its port is bound."""
        self._process.start()
        self._process.wait_until(lambda: udp_bound(self.port), "the gateway's port")
        return self

    def taken(self) -> int:
        """How many calls have come so far; SIPp tells once a second."""
        last = _last_row(self._statistics)
        self._process.wait_until(lambda: _last_row(self._statistics) != last, "SIPp's next statistics", 10)
        return int(_last_row(self._statistics)["TotalCallCreated"])

    def stop(self) -> None:
        """End it."""
        self._process.kill()  # a SIPp that is asked to stop first waits for the calls it still knows

    def __enter__(self) -> SippGateway:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class SippCaller:
    """One run of ``calls`` calls, ``rate`` of them begun each second, to 127.0.0.1:``port``.

    ``numbers``: pairs of number dialled and caller's user, taken in turn. ``timeout``: seconds
    for the whole run; ``patience``: for the next message of a call, else it failed. Nothing holds
    the rate back while calls are unanswered. ``scenario``: ``uac_waits.xml`` ends no call itself.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        *,
        calls: int,
        rate: float,
        numbers: Sequence[tuple[str, str]] = (("442079460000", "alice"),),
        timeout: float = 60.0,
        patience: float = WAIT_FOR_A_MESSAGE,
        name: str = "caller",
        scenario: str = "uac.xml",
    ) -> None:
        if not 0 < calls <= MAX_CALLS or not 0 < rate <= MAX_RATE or not numbers:
            raise ValueError(f"{calls} calls at {rate}/s: at most {MAX_CALLS} at {MAX_RATE}/s, with numbers")
        self.calls = calls
        self._timeout = timeout
        self._folder = folder / f"{name}.sipp"
        self._folder.mkdir()
        lines = "".join(f"{dialled};{caller}\n" for dialled, caller in numbers)
        (self._folder / "numbers.csv").write_text("SEQUENTIAL\n" + lines, encoding="utf-8")
        command = _sipp(self._folder, scenario, free_port(socket.SOCK_DGRAM))
        command += ["-inf", "numbers.csv", "-m", str(calls), "-l", str(calls)]
        command += ["-r", f"{rate * 10:.0f}", "-rp", "10000", "-timeout", f"{timeout:.0f}s"]
        command += ["-recv_timeout", f"{patience * 1000:.0f}"]
        command += ["-trace_stat", "-stf", "stat.csv", "-fd", "1", "-trace_counts"]
        command += ["-trace_rtt", "-rtt_freq", "1", f"127.0.0.1:{port}"]
        self._process = Process(name, command, folder)

    def start(self) -> SippCaller:
        """Begin calling."""
        self._process.start()
        return self

    def progress(self) -> Progress:
        """How far it is; SIPp tells once a second."""
        last = _last_row(self._folder / "stat.csv")
        return Progress(
            int(last.get("TotalCallCreated", 0)),
            int(last.get("SuccessfulCall(C)", 0)),
            int(last.get("FailedCall(C)", 0)),
        )

    def wait(self, on_progress: Callable[[Progress], None] | None = None) -> SippResult:
        """Wait for the end. Raises HarnessError where it was not over in time or SIPp gave up."""
        end = time.monotonic() + self._timeout + 10
        while self._process.running:
            if time.monotonic() > end:
                self.stop()
                raise HarnessError(f"SIPp did not end\n{self._process.tail()}")
            time.sleep(0.1)
            if on_progress is not None:
                on_progress(self.progress())
        result = self._result()
        if result.successful + result.failed < self.calls:
            raise HarnessError(f"SIPp ended early: {result}\n{self._process.tail(60)}")
        return result

    def stop(self) -> None:
        """End it at once."""
        self._process.kill()

    def _result(self) -> SippResult:
        done = _last_row(self._folder / "stat.csv")
        if not done:
            raise HarnessError(f"SIPp did not run\n{self._process.tail()}")
        codes: dict[int, int] = {}
        for name, value in _last_row(_only(self._folder, "*_counts.csv")).items():
            _, _, rest = name.partition("_")
            code, _, what = rest.partition("_")
            # The first 200 of the scenario answers the INVITE, the second the BYE.
            if what == "Recv" and code.isdigit() and int(code) >= 200 and int(code) not in codes:
                codes[int(code)] = int(value)
        with _only(self._folder, "*_rtt.csv").open(newline="") as file:
            times = tuple(
                float(row["response_time_ms"]) / 1000 for row in csv.DictReader(file, delimiter=";")
            )
        return SippResult(
            calls=int(done["TotalCallCreated"]),
            successful=int(done["SuccessfulCall(C)"]),
            failed=int(done["FailedCall(C)"]),
            retransmissions=int(done["Retransmissions(C)"]),
            codes={code: count for code, count in codes.items() if count},
            response_times=times,
        )

    def __enter__(self) -> SippCaller:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def run_sipp(
    folder: Path,
    port: int,
    *,
    calls: int,
    rate: float,
    numbers: Sequence[tuple[str, str]] = (("442079460000", "alice"),),
    timeout: float = 60.0,
    on_progress: Callable[[Progress], None] | None = None,
    name: str = "caller",
) -> SippResult:
    """Make the calls and wait for their end; see `SippCaller`."""
    made = SippCaller(folder, port, calls=calls, rate=rate, numbers=numbers, timeout=timeout, name=name)
    with made:
        return made.wait(on_progress)


def _sipp(folder: Path, scenario: str, port: int) -> list[str]:
    # SIPp names some of its files itself and writes them where it stands.
    command = ["env", "-C", str(folder), "sipp", "-sf", str(SCENARIOS / scenario)]
    command += ["-i", "127.0.0.1", "-p", str(port), "-nostdin"]
    # Over UDP and several workers a 200 may overtake its 180, a BYE its ACK: no reason to give up a call.
    command += ["-default_behaviors", "all,-abortunexp"]
    command += ["-buff_size", "4000000"]  # of its socket: a burst must not be lost
    # Its watchdog takes a busy machine for a fault and ends the run.
    return [*command, "-watchdog_major_maxtriggers", "100000", "-watchdog_minor_maxtriggers", "100000"]


def _last_row(file: Path) -> dict[str, str]:
    """The last whole line of a SIPp CSV by its header; empty where there is none yet."""
    try:
        whole = file.read_text().rpartition("\n")[0]
    except FileNotFoundError:
        return {}
    lines = whole.splitlines()
    if len(lines) < 2:
        return {}
    return dict(zip(lines[0].split(";"), lines[-1].split(";"), strict=False))


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise HarnessError(f"{len(found)} files {pattern} in {folder}")
    return found[0]
