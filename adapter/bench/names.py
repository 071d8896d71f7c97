"""What the source and the service of a measurement tell each other."""

from __future__ import annotations

from typing import Final

CALL: Final = "bench_call"
"""The event of a call whose decision takes no time."""
WAIT: Final = "bench_wait"
"""The event of one whose decision takes time. Both are no names of a production's events."""
SERVICE: Final = "bench"
TAKES: Final = "takes_us"
"""Of an event: microseconds that the decision takes."""
TOOK: Final = "took_us"
"""Of a decision: microseconds that it took."""
LIFE: Final = ("call_started", "call_answered", "call_ended")
"""Notices that Kamailio tells of a call as it lives."""
