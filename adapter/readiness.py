"""What a replica says of its own readiness: ``/readyz``, its checks and their details."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapter import outlet
from adapter.cluster.clock import WRONG
from adapter.inflight.words import redis_away
from adapter.ports.broker import REMEDY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter.cluster.clock import Timekeeping
    from adapter.cluster.heartbeat import Heartbeat
    from adapter.cluster.placement import Placement
    from adapter.cluster.roles import Roles
    from adapter.evapi.nodes import Nodes
    from adapter.ports.broker import Broker
    from adapter.relay.policy_file import PolicyFile
    from adapter.settings import Settings


_SILENT: Final = (
    "{} takes connections, and nothing ever came from it: no hello, as the include says it, and no event. "
    "A plain configuration without calls, or no EVAPI at all: is the port right (EVAPI_NODES, bind_addr)?"
)


class Readiness:
    """Asks the parts of a replica each time.

    Args:
        settings: of this replica.
        broker: whether requests can be published, and replies come.
        nodes: the links.
        placement: which nodes this replica connects to.
        replicas: this replica's heartbeat: whether the store answers.
        roles: what this replica does for each node.
        timekeeping: how far its clock is off.
        policy_file: who follows the policy's file; None if there is no file.
    """

    def __init__(
        self,
        settings: Settings,
        broker: Broker,
        nodes: Nodes,
        placement: Placement,
        replicas: Heartbeat,
        roles: Roles,
        timekeeping: Timekeeping,
        policy_file: PolicyFile | None,
    ) -> None:
        self._settings = settings
        self._broker = broker
        self._nodes = nodes
        self._placement = placement
        self._replicas = replicas
        self._roles = roles
        self._timekeeping = timekeeping
        self._policy_file = policy_file

    def checks(self) -> Mapping[str, bool]:
        """Return what readiness rests on, by name."""
        nodes, roles = self._nodes, self._roles
        return {
            "broker": self._broker.ready,
            "store": self._replicas.store_ready,
            # A replica may have none to connect to, where others have them all.
            "links": bool(nodes.readers) or bool(nodes.known and not self._placement.wanted),
            "accepting": roles.drain.accepts and not self._listens and not self._replicas.waits_for_store,
            "replies": not self._broker.unheard,
            "clock": not roles.clock_wrong,
        }

    def details(self) -> Mapping[str, str]:
        """Return what is to be told beside the checks, by subject."""
        found = {f"replies {node}": why for node, why in self._broker.unheard.items()}
        found |= {
            f"listens {node}": "whether another replica serves it, before it does" for node in self._listens
        }
        found |= {f"names {', '.join(clash.names)}": clash.text for clash in self._replicas.watch.told}
        for link in self._nodes:
            if link.state == "silent":
                found[f"link {link.node}"] = _SILENT.format(link.address)
        if not self._broker.ready and (problems := self._broker.problems):
            found["broker"] = "; ".join(dict.fromkeys(problems.values()))  # often the same for each part
        for queue, number in self._broker.dropped.items():
            found[f"queue {queue}"] = f"{number} replies dropped that RabbitMQ cannot hand over: {REMEDY}"
        if problem := self._replicas.store_problem:
            found["store"] = self._of_store(problem)
        if trouble := outlet.trouble():
            found["log"] = trouble
        if self._policy_file is not None and self._policy_file.problem:
            counts = self._policy_file.revision
            found["policy"] = f"{self._policy_file.problem}; the one before it counts: {counts}"
        if abs(self._timekeeping.corrected) > WRONG:
            corrected = self._timekeeping.corrected
            found["machine's clock"] = f"{corrected:+.1f} s off Redis' when this replica started"
        if abs(self._timekeeping.off) > WRONG:
            found["clock"] = f"{self._timekeeping.off:+.1f} s off Redis'"
        return found

    @property
    def policy_problem(self) -> str:
        """What is wrong with the policy's file; empty if nothing is."""
        return "" if self._policy_file is None else self._policy_file.problem

    @property
    def _listens(self) -> list[str]:
        """The nodes that nobody serves yet, since this replica listens first whether another does."""
        return [node for node in self._nodes.readers if self._roles.of(node).listens]

    def _of_store(self, problem: str) -> str:
        """What the store's absence means: one that was never there is a mistake in the settings, mostly."""
        told = redis_away(self._settings, problem).rstrip(".")
        if self._replicas.store_seen:
            return f"{told}. It was there before: this replica goes on in its memory, and gives all back then"
        if self._replicas.waits_for_store:
            return (
                f"{told}. It was never there since this replica started: the health gate stays shut, and no "
                "call is asked about, since without EVAPI_AMQP_URL nothing else tells who serves the nodes"
            )
        return (
            f"{told}. It was never there since this replica started: calls are decided in its memory, and "
            "no other replica can take them over"
        )
