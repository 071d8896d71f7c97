"""Write a service that decides calls, and run it: ``evapi-adapter consume module:service``.

::

    from consumers import Request, Service, reject, route

    service = Service("my_service")


    @service.on("invite_request")
    async def decide(request: Request) -> dict:
        if request.data["user"].startswith("999"):
            return reject(403, "Forbidden")
        return route("sip:gw1.example.net")

Ready ones: ``consumers.least_cost:service``, ``consumers.screening:service`` and, for decisions by HTTP, the
settings of a webhook (``webhook.toml``: see ``consumers.webhook``). To test your own without a broker:
``consumers.testing.ask``.
"""

from __future__ import annotations

try:
    from adapter.contract import Decision, Request
except ImportError as exc:
    from consumers.clash import shadowed

    raise ImportError(shadowed("adapter", __file__) or str(exc), name=exc.name) from exc
from consumers.decisions import NO_ANSWER, DecisionError, Failed, allow, cached, redirect, reject, route
from consumers.gateways import Route, routes
from consumers.loading import LoadError, load
from consumers.messages import Answer, Message, Result
from consumers.more_time import MoreTime
from consumers.parameters import DecidedBy, PayloadError, SignatureError
from consumers.service import Service, time_left

__all__ = [
    "NO_ANSWER",
    "Answer",
    "DecidedBy",
    "Decision",
    "DecisionError",
    "Failed",
    "LoadError",
    "Message",
    "MoreTime",
    "PayloadError",
    "Request",
    "Result",
    "Route",
    "Service",
    "SignatureError",
    "allow",
    "cached",
    "load",
    "redirect",
    "reject",
    "route",
    "routes",
    "time_left",
]
