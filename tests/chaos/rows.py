"""The rows of the table: what happens to which world, and what must come of it."""

from __future__ import annotations

from typing import Final

from tests.chaos import faults
from tests.chaos.report import Bounds
from tests.chaos.row import (
    NEARLY,
    SHORT_OF_IT,
    Row,
    after_the_return,
    at_once,
    decided_again,
    memory_bounded,
    nothing_stale,
    options_at_once,
    timeouts_on_time,
)
from tests.chaos.rows_clocks import CLOCKS
from tests.chaos.rows_names import NAMES
from tests.chaos.rows_plain import PLAIN
from tests.chaos.rows_together import TOGETHER
from tests.chaos.servers import Kind
from tests.chaos.witness import LOCAL
from tests.chaos.world import Setup

SINGLE: Final = (
    Row("nothing", faults.nothing, Bounds()),
    Row("SIGKILL active", faults.kill_active, NEARLY),
    Row(
        "SIGKILL only replica, back 1 s",
        faults.kill_only,
        # What it had claimed waits for its next life: start, lease and decision may take 3 s.
        Bounds(0.0, frozenset({LOCAL, "timeout"})),
        Setup(replicas=1),
        lasts=1.0,
        unclaimed=True,
    ),
    Row("rolling restart by SIGTERM", faults.restart_both, Bounds()),
    Row("SIGKILL 1 of 3 consumers", faults.kill_consumer, Bounds(), Setup(consumers=3, takes=0.2)),
    Row("SIGSTOP active 5 s", faults.pause_active, NEARLY),
    Row("Redis killed, back 5 s", faults.kill_redis, NEARLY),
    Row("Redis hangs 5 s", faults.pause_redis, NEARLY),
    Row("Redis fails over by Sentinel", faults.fail_over_redis, NEARLY, kind=Kind.SENTINEL),
    Row("cut off from Kamailio 5 s", faults.cut_evapi, NEARLY),
    Row("cut off from RabbitMQ 5 s", faults.cut_amqp, NEARLY),
    Row("cut off from Redis 5 s", faults.cut_redis, Bounds(SHORT_OF_IT, dropped=True)),
    Row(
        "RabbitMQ killed, back 10 s",
        faults.kill_rabbitmq,
        Bounds(
            0.0,
            frozenset({"unavailable", LOCAL}),
            checks=(at_once("unavailable"), decided_again, nothing_stale),
        ),
        lasts=10.0,
    ),
    Row(
        "RabbitMQ hangs 5 s",
        faults.pause_rabbitmq,
        Bounds(0.0, frozenset({"unavailable", "timeout", LOCAL}), checks=(decided_again,)),
    ),
    Row("1 of 3 RabbitMQ nodes killed", faults.kill_rabbitmq_node, Bounds(0.99), kind=Kind.CLUSTER),
    Row(
        "Kamailio killed and restarted",
        faults.kill_kamailio,
        Bounds(0.0, checks=(after_the_return,)),
        lasts=1.0,
    ),
    Row(
        "consumers stop 5 s",
        faults.pause_consumers,
        Bounds(0.0, frozenset({"timeout"}), checks=(timeouts_on_time,)),
    ),
    Row(
        "overload: 3 times, limit 500",
        faults.nothing,
        Bounds(
            0.0,
            frozenset({"overload"}),
            checks=(at_once("overload"), options_at_once, memory_bounded),
        ),
        # 2 consumers, 50 at a time, 0.5 s each: 200 decisions a second; 500 in flight wait 2.5 s.
        Setup(takes=0.5, prefetch=50, in_flight=500),
        times=3.0,
        seconds=10.0,
        lasts=0.0,
    ),
)
ROWS: Final[tuple[Row, ...]] = (*SINGLE, *TOGETHER, *CLOCKS, *NAMES, *PLAIN)
