"""What tests of ``evapi-adapter policy`` share."""

from __future__ import annotations

import json
from typing import Any

from tests.cli.command import evapi_adapter

PLAIN: dict[str, Any] = {
    "max_deadline": None,
    "mode": "first",
    "quorum": None,
    "services": [],
    "retry": None,
    "backup": [],
    "cache": None,
    "observers": [],
    "shadows": [],
}
"""What is shown of a plan that says nothing of it."""


def told(*words: str, **variables: str) -> Any:
    done = evapi_adapter("policy", *words, "-o", "json", **variables)
    assert (done.code, done.err) == (0, "")
    return json.loads(done.out)
