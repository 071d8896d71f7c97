"""Whether this machine's clock is right, by what the store and the other replicas say, and what follows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from adapter.cluster.clock import WRONG

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.cluster.clock import Timekeeping
    from adapter.cluster.membership import Membership
    from adapter.cluster.roles import Roles
    from adapter.model.beat import Snapshot
    from adapter.ports.nodes import NodeView

log = structlog.get_logger()

MEND_CLOCK: Final = "chronyc tracking; timedatectl set-ntp true"
RESTART: Final = "chronyc tracking; then restart this replica: it sets its clock by Redis' when it starts"


class ClockWatch:
    """Leaves the nodes to others while this replica's clock is wrong.

    Args:
        timekeeping: keeps the clock right; None: nothing is done.
        membership: who else lives.
        roles: are told of a wrong clock.
        nodes: what this replica is linked to.
        clock: gives epoch seconds, and is what ``timekeeping`` keeps.
    """

    def __init__(
        self,
        timekeeping: Timekeeping | None,
        membership: Membership,
        roles: Roles,
        nodes: NodeView,
        clock: Callable[[], float],
    ) -> None:
        self._timekeeping = timekeeping
        self._membership = membership
        self._roles = roles
        self._nodes = nodes
        self._clock = clock

    def learn(self, snapshot: Snapshot, asked: float) -> float:
        """Correct the clock by what the store says. Return the seconds by which it was set, else 0.0."""
        if self._timekeeping is None or snapshot.at is None:
            return 0.0
        me, lease = self._membership.replica, self._membership.lease
        living = [
            each for name, each in snapshot.beats.items() if name != me and each.at and each.age <= lease
        ]
        others, may_step = [beat.off for beat in living], not self._nodes.names
        moved = self._timekeeping.learn(snapshot.at, asked, self._clock(), others, may_step)
        if moved:
            self._roles.stepped(moved)
        if abs(moved) > WRONG:
            off = f"{abs(moved):.1f} s {'behind' if moved > 0 else 'ahead of'} that of Redis and the others"
            log.error("this machine's clock is wrong: this replica does not go by it", off=off, do=MEND_CLOCK)
        return moved

    def judge(self, snapshot: Snapshot) -> None:
        """Leave the nodes to others while this replica's clock is wrong, and theirs is not."""
        roles, keeping = self._roles, self._timekeeping
        if keeping is None or snapshot.at is None:
            return
        can_serve = [
            beat.off
            for name, beat in snapshot.beats.items()
            if name in self._membership.others and beat.at
            # Who is not accepting since its clock is wrong, too, is not left the nodes.
            if beat.accepting and beat.broker and beat.nodes.issuperset(self._nodes.readers)
        ]
        clock_wrong = keeping.is_wrong(can_serve)
        if clock_wrong != roles.clock_wrong:
            roles.clock_wrong = clock_wrong
            off = round(keeping.off, 3)
            if clock_wrong:
                log.error("clock wrong: nodes are left to other replicas", seconds_ahead=off, do=RESTART)
            else:
                log.info("clock right again, or no other replica has a better one", seconds_ahead=off)
