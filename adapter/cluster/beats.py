"""This replica's own beats: what they say, and how those of the others are taken in."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from adapter.cluster.view import NEVER
from adapter.contract import results_queue
from adapter.model.beat import Beat, heard, told

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from adapter.cluster.clock_watch import ClockWatch
    from adapter.cluster.membership import Membership
    from adapter.cluster.roles import Roles
    from adapter.model.beat import Snapshot
    from adapter.ports.broker import Broker
    from adapter.ports.nodes import NodeView


class Beats:
    """Made of what the other parts know.

    Args:
        membership: takes in what the others say.
        roles: what this replica claims and yields.
        broker: whether requests can be published; carries beats where there is a bus.
        nodes: what this replica is linked to.
        clocks: judges this replica's clock by what the store and the others say.
        about: gives what people may want to know of this replica.
        clock: gives epoch seconds.
    """

    def __init__(
        self,
        membership: Membership,
        roles: Roles,
        broker: Broker,
        nodes: NodeView,
        clocks: ClockWatch,
        about: Callable[[], Mapping[str, Any]] = dict,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._membership = membership
        self._roles = roles
        self._broker = broker
        self._nodes = nodes
        self._clocks = clocks
        self._about = about
        self._clock = clock
        self._number = 0  # of the last beat
        self._answered = 0  # number of the last one that the store has answered, with no outage since
        self._whole = 0  # and of the one before: all that was done before that one is in the store by now
        self._said_last: Beat | None = None  # over the bus
        self._say_at = NEVER

    @property
    def state(self) -> Beat:
        """What this replica says of itself."""
        readers, stuck = frozenset(self._nodes.readers), frozenset(self._nodes.unsound)
        accepting = self._roles.drain.accepts and not self._roles.clock_wrong
        deaf = frozenset(node for node in readers if not self._broker.takes_replies(node))
        names = self._nodes.names if self._membership.bus else ()
        decisions = [(node, self._roles.of(node)) for node in names]
        return Beat(
            self._broker.ready,
            accepting,
            readers,
            self._membership.priority,
            stuck=stuck,
            deaf=deaf,
            claiming=self._roles.drain.claims,
            unheard=readers.intersection(self._broker.unheard),
            results=self._broker.beside,
            claims=frozenset(node for node, decision in decisions if decision.is_active),
            yields=frozenset(node for node, decision in decisions if decision.yields),
            identities=self._nodes.identities,
        )

    def serves(self, node: str, store_ready: bool) -> bool:
        """Return True if the node may count on this replica: what its health gate is told."""
        membership, decision = self._membership, self._roles.of(node)
        if not (self._roles.drain.accepts and decision.asks) or node in membership.paused:
            return False
        seen = membership.updated_at != NEVER or membership.bus  # who starts without the store listens first
        return store_ready or (seen and decision.is_active)

    def numbered(self, state: Beat) -> Beat:
        """Return what this replica says now: numbered, with its time."""
        self._number += 1
        now = self._clock()
        contact = self._membership.contact_age(now)
        number, whole = self._number, self._whole
        return replace(state, number=number, at=now, contact=contact, whole=whole, about=self._about())

    def say(self, state: Beat, now: float) -> None:
        """Beat over the bus if it is time, so that others know of this replica where the store is away.

        Args:
            state: what this replica says of itself.
            now: seconds of the monotonic clock.
        """
        if not self._membership.bus or (now < self._say_at and state == self._said_last):
            return
        self._say_at, self._said_last = now + self._membership.lease / 4, state
        said = replace(self.numbered(state), about={})
        if self._broker.ready:
            self._membership.said(said, self._clock())
            self._broker.say(f"{self._membership.replica}\n{told(said)}".encode())

    def on_said(self, body: bytes) -> None:
        """Take in what a replica says of itself over the bus."""
        name, _, said = body.partition(b"\n")
        beat = heard(said)
        if beat is not None:
            self._membership.heard(name.decode(errors="replace"), beat, self._clock())

    def take_in(self, own: Beat, snapshot: Snapshot, asked: float) -> None:
        """Take in what the store says of everybody.

        Args:
            own: what this replica has said of itself, numbered.
            snapshot: the store's answer.
            asked: when it was asked, in epoch seconds.
        """
        if self._membership.away:  # what was read by Kamailio before this answer is told with the next beat
            self._answered = 0
        else:
            self._whole, self._answered = self._answered or self._whole, own.number
        asked += self._clocks.learn(snapshot, asked)
        self._membership.update(snapshot, asked, self._clock())
        self._clocks.judge(snapshot)
        self._broker.hear(self._queues_of_others(own, snapshot))

    def everybody(self, own: Beat) -> dict[str, Beat]:
        """Return the last beats of all that live; of this replica alone while the store is away."""
        seen = {} if self._membership.away else self._membership.others
        return {**seen, self._membership.replica: replace(own, about=self._about())}

    def _queues_of_others(self, own: Beat, snapshot: Snapshot) -> Mapping[str, set[str]]:
        """By node, where other replicas that live have replies sent, where that is not where this one has."""
        found: dict[str, set[str]] = {}
        for replica, beat in snapshot.beats.items():
            if replica == self._membership.replica or beat.age > self._membership.lease:
                continue
            if beat.results == own.results:
                continue
            for node in beat.nodes | beat.results.keys():
                queue = beat.results.get(node) or results_queue(node)
                if queue != (own.results.get(node) or results_queue(node)):
                    found.setdefault(node, set()).add(queue)
        return found
