"""A service that takes 20 ms of its process for each request: a plain ``def`` that computes."""

from __future__ import annotations

import time

from consumers import Decision, Request, Service, allow

TAKES = 0.02

service = Service("slow", prefetch=100)


@service.on("slow_request")
def decide(request: Request) -> Decision:
    """Compute, and allow; tell when that began, in epoch seconds."""
    began = time.time()
    time.sleep(TAKES)
    return allow(began=began)
