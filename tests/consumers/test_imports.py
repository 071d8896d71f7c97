"""What a consumer's author gets along with ``import consumers``: no driver, nothing of the bridge."""

from __future__ import annotations

import subprocess
import sys

import pytest

RUNNERS = {
    "adapter.address",
    "adapter.hello",
    "adapter.outlet",
    "adapter.watched",
    "adapter.amqp",
    "adapter.amqp.urls",
}
"""What both sides share beside the contract."""
DRIVERS = {"redis", "typer", "aio_pika", "aiormq", "aiohttp", "structlog", "pydantic", "uvloop"}


@pytest.mark.parametrize(
    "module",
    ["consumers", "consumers.testing", "consumers.least_cost", "consumers.screening", "consumers.__main__"],
)
def test_no_driver_comes_along(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert module in loaded
    assert not loaded & DRIVERS
    assert {name for name in loaded if name.split(".")[0] == "adapter"} - RUNNERS == {
        "adapter",
        "adapter.bodies",
        "adapter.contract",
        "adapter.errors",
        "adapter.records",
    }
