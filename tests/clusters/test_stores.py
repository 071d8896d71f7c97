"""The in-flight store's conformance suite behind Sentinel, on a Cluster, and on both over TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.inflight.conformance import *  # noqa: F403 -- its tests, on the worlds below
from tests.inflight.conformance_time import *  # noqa: F403
from tests.inflight.worlds import RedisWorld

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(params=["sentinel", "redis_cluster"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[RedisWorld]:
    async with RedisWorld(request.getfixturevalue(request.param).url) as found:
        yield found


@pytest.fixture(params=["sentinel", "redis_cluster"])
async def forgetful(request: pytest.FixtureRequest) -> AsyncIterator[RedisWorld]:
    async with RedisWorld(request.getfixturevalue(request.param).url, retention=0.2) as found:
        yield found
