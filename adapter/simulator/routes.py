"""The event routes of our two configurations, as far as an EVAPI client can tell."""

from __future__ import annotations

import secrets
from collections import deque
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Literal

from adapter.simulator import frames
from adapter.simulator.tm import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.simulator.counters import Counters
    from adapter.simulator.tm import Tm

Configuration = Literal["include", "plain"]

GATE_EXPIRY: Final = 3.0
"""Seconds for which a replica's ``ready`` counts."""


@dataclass(frozen=True, slots=True)
class Status:
    """What a replica told the health gate last; ``at`` by ``time.monotonic``."""

    state: str
    node: str
    at: float


class Routes:
    """``include``: hello, receipts, health gate, seq checked before ``t_continue``. ``plain``: nothing of it.

    ``relay(payload)`` is evapi_relay. ``lose``: frames still to be lost before they get here.
    """

    def __init__(
        self, configuration: Configuration, tm: Tm, counters: Counters, trip: Callable[[bytes], None]
    ) -> None:
        self._include = configuration == "include"
        self._tm = tm
        self._counters = counters
        self._trip = trip
        self._last_ids: tuple[Any, Any] | None = None
        self._ready: dict[int, float] = {}  # when the link at this place said so last
        self.statuses: dict[str, Status] = {}
        self.commands: deque[Any] = deque(maxlen=100)
        self.carried_out: deque[Any] = deque(maxlen=100)
        self.withhold_receipts = False
        self.lose = 0
        self.incarnation = secrets.token_hex(8)

    def restart(self) -> None:
        """A new life: nothing is known of the old one."""
        self.incarnation = secrets.token_hex(8)
        self._ready.clear()

    @property
    def gate_open(self) -> bool:
        """Whether a link that is still there said ``ready`` last, and lately."""
        since = monotonic() - GATE_EXPIRY
        return any(at > since for at in self._ready.values())

    def connection_new(self) -> None:
        """A client has connected."""
        if self._include:
            self._trip(frames.hello(self.incarnation))

    def connection_closed(self, conidx: int) -> None:
        """The client at this place is gone."""
        self._ready.pop(conidx, None)

    def message_received(self, conidx: int, payload: bytes) -> None:
        """A frame has come from the client at this place."""
        if self.lose:
            self.lose -= 1
            self._counters.lost += 1
            return
        self._counters.frames_in += 1
        told: dict[str, Any] = {}
        try:
            told = frames.loads(payload)
        except ValueError:
            self._counters.not_json += 1
        ids = told.get("tm_trans")
        if not isinstance(ids, dict):
            ids = {}
        if not self._include:
            self._resume_unchecked(told, ids)
        elif "tm_trans" in told:
            self._resume(told, ids)
        elif "adapter" in told:
            self._adapter_frame(conidx, told["adapter"])
        elif told:
            self._counters.other += 1
            self.commands.append(told)

    def _resume(self, told: dict[str, Any], ids: dict[str, Any]) -> None:
        index, label = ids.get("tm_index"), ids.get("tm_label")
        if type(index) is not int or type(label) is not int:
            self._counters.bad_ids += 1
            return
        found = self._tm.find(index, label)
        if found is not None and ids.get("seq") != found.seq:
            self._counters.stale += 1
        elif found is not None and found.state is State.RESUMED:
            self._counters.duplicates += 1
        else:
            self._tm.t_continue(index, label, told)

    def _resume_unchecked(self, told: dict[str, Any], ids: dict[str, Any]) -> None:
        if "tm_index" in ids and "tm_label" in ids:
            self._last_ids = ids["tm_index"], ids["tm_label"]
        else:
            # jansson_get leaves its target as it was where the key is not there.
            self._counters.other += 1
        if self._last_ids is None:
            return
        index, label = self._last_ids
        if type(index) is not int or type(label) is not int:
            self._counters.bad_ids += 1
            return
        found = self._tm.find(index, label)
        if found is not None and found.state is State.SUSPENDED and ids.get("seq", found.seq) != found.seq:
            self._counters.wrong_question += 1
        self._tm.t_continue(index, label, told)

    def _still_open(self, told: dict[str, Any]) -> bool | None:
        index, _, label = str(told.get("asked", "")).partition(":")
        if not (index.isdecimal() and label.isdecimal()):
            return None
        found = self._tm.find(int(index), int(label))
        return found is not None and found.state is State.SUSPENDED and found.seq == told.get("seq")

    def _adapter_frame(self, conidx: int, told: Any) -> None:
        if isinstance(told, dict) and isinstance(told.get("sync"), str):
            if self.withhold_receipts:
                self._counters.receipts_withheld += 1
            else:
                self._counters.receipts += 1
                self._trip(frames.receipt(told["sync"], self._still_open(told)))
        elif isinstance(told, dict) and isinstance(told.get("status"), str):
            self._counters.statuses += 1
            status = Status(told["status"], str(told.get("node")), monotonic())
            self.statuses[str(told.get("replica"))] = status
            if status.state == "ready":
                self._ready[conidx] = status.at
            else:
                self._ready.pop(conidx, None)
        elif isinstance(told, dict) and isinstance(told.get("command"), str):
            self.carried_out.append(told)
            self._trip(frames.result(told["command"], str(told.get("name"))))
        else:
            self._counters.other += 1
