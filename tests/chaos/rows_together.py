"""Rows in which Redis is away when something else happens to the replicas."""

from __future__ import annotations

from typing import Final

from tests.chaos import faults_together as faults
from tests.chaos.report import Bounds
from tests.chaos.row import Row, decided_again, served_from

SERVED: Final = 0.9
"""The share of calls that replicas must answer while Redis is away and one of them is gone."""
_BOUNDS: Final = Bounds(0.0, dropped=True, by_adapter=SERVED, checks=(decided_again,))

TOGETHER: Final = (
    Row("Redis away, SIGKILL active", faults.redis_then_kill, _BOUNDS, lasts=8.0),
    Row("Redis away, SIGKILL active, Redis first", faults.redis_back_then_replica, _BOUNDS, lasts=8.0),
    Row("Redis away, active restarts", faults.redis_then_restart, _BOUNDS, lasts=8.0),
    Row(
        "both start without Redis",
        faults.start_without_redis,
        Bounds(0.0, dropped=True, checks=(served_from("started", SERVED), decided_again)),
        lasts=4.0,
    ),
)
