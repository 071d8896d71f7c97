"""An EVAPI server that behaves like Kamailio, its faults included: for tests, bench and your own consumers.

::

    async with SimulatedKamailio() as sim:
        ...  # start evapi-adapter with EVAPI_NODES=sim1=<sim.address>
        call = await sim.suspend("invite_request", {"ruri": "sip:+4930123@example.net"})
        answer = await call.resumed(timeout=2)
        assert answer["decision"] == {"action": "route", "uri": "sip:gw7.example.net"}

Its parts are Kamailio's: ``reader`` the netstring reader of evapi_dispatch.c, ``dispatcher`` the
process that owns the sockets, ``tm`` the transactions, ``routes`` the configuration's event
routes, ``frames`` what it emits; ``kamailio`` is the handle on all of it.
"""

from __future__ import annotations

from adapter.simulator.counters import Counters
from adapter.simulator.frames import Form
from adapter.simulator.kamailio import SimulatedKamailio
from adapter.simulator.routes import Configuration, Status
from adapter.simulator.tm import NotResumed, SimTransaction, State, TooManySuspensions

__all__ = [
    "Configuration",
    "Counters",
    "Form",
    "NotResumed",
    "SimTransaction",
    "SimulatedKamailio",
    "State",
    "Status",
    "TooManySuspensions",
]
