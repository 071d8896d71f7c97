"""Write a service that decides calls, and run it: ``python -m consumers module:service``.

::

    from consumers import Request, Service, reject, route

    service = Service("my_service")


    @service.on("invite_request")
    async def decide(request: Request) -> dict:
        if request.data["user"].startswith("999"):
            return reject(403, "Forbidden")
        return route("sip:gw1.example.net")

Ready ones: ``consumers.least_cost:service`` and ``consumers.screening:service``. To test your
own without a broker: ``consumers.testing.ask``.
"""

from __future__ import annotations

from adapter.contract import Decision, Request
from consumers.decisions import DecisionError, allow, redirect, reject, route
from consumers.loading import LoadError, load
from consumers.service import Answer, Message, Result, Service, time_left

__all__ = [
    "Answer",
    "Decision",
    "DecisionError",
    "LoadError",
    "Message",
    "Request",
    "Result",
    "Service",
    "allow",
    "load",
    "redirect",
    "reject",
    "route",
    "time_left",
]
