"""What an operator may write, by mistake: refused with the name of what is wrong, and no password shown."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapter.bodies import MAX_DEPTH
from adapter.broker.rabbitmq import AmqpBroker
from adapter.errors import PolicyError, SettingsError
from adapter.inflight.redis import RedisStore
from adapter.relay import policy, policy_keys
from adapter.settings import load, without_password

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates()
tables = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=8), inner, max_size=3)
        | st.fixed_dictionaries(
            {},
            optional=dict.fromkeys(
                ("default", "events", "limits", "deadline", "fallback", "services"), inner
            ),
        )
    ),
    max_leaves=12,
)
plans = st.fixed_dictionaries(
    {}, optional={"deadline": scalars, "fallback": tables, "services": tables, "emergency": scalars}
)
policies = st.fixed_dictionaries(
    {},
    optional={
        "default": plans | tables,
        "events": st.dictionaries(st.text(max_size=8), plans | tables, max_size=3) | tables,
        "limits": st.fixed_dictionaries({}, optional={"in_flight": scalars, "emergency": scalars}) | tables,
    },
)


@given(policies | st.dictionaries(st.text(max_size=8), tables, max_size=3))
def test_any_policy(raw: dict[str, Any]) -> None:
    refused: PolicyError | None = None
    try:
        found = policy.parse(raw)
    except PolicyError as exc:
        refused = exc
    if refused is not None:
        assert refused.variable
        assert refused.problem
        return
    for plan in (found.default, *found.events.values()):
        assert policy_keys.MIN_DEADLINE <= plan.deadline <= policy_keys.MAX_DEADLINE
        assert len(plan.fallback) <= policy_keys.MAX_FALLBACK
    assert found.in_flight >= 1


@given(st.integers(0, 2 * MAX_DEPTH))
def test_a_policy_however_deep(depth: int) -> None:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    raw = {"default": {"fallback": {"a": value}}}
    if depth <= MAX_DEPTH - 2:
        policy.parse(raw)
        return
    with pytest.raises(PolicyError) as caught:
        policy.parse(raw)
    assert caught.value.variable == "default.fallback"


# Whatever surrounds the password; a comma begins another URL, "@" ends the password of this one.
junk = st.text(st.characters(exclude_characters=",@\0", exclude_categories=["Cs"]), max_size=6)
schemes = st.sampled_from(
    ["amqp://", "amqps://", "redis://", "rediss://", "redis+sentinel://", "redis+cluster://"]
)
users = st.sampled_from(["", "u", "guest"]) | junk
hosts = st.sampled_from(["h", "127.0.0.1", "[::1]", "h:1", "h:x", "[::1", "", "a:1,b:2"]) | junk
ends = st.sampled_from(
    ["", "/0", "/main", "/%2f", "?heartbeat=5", "?password=hunter2", "/x?y=hunter2&password=z"]
)


@given(schemes | junk, users, junk, junk, hosts, ends)
@example("redis://", "", "#", "?", "h", "")
@example("redis://", "", "#", "", "h", "")
@settings(deadline=None)
async def test_no_url_shows_its_password(
    scheme: str, user: str, before: str, after: str, host: str, end: str
) -> None:
    url = f"{scheme}{user}:{before}hunter2{after}@{host}{end}"
    for name in ("amqp_url", "redis_url"):
        try:
            shown = await told_of({"amqp_url": "amqp://h", name: url})
        except SettingsError as exc:
            shown = [str(exc), repr(exc), repr(None if exc.__suppress_context__ else exc.__context__)]
            shown.append(without_password(f"amqp://{url.partition('://')[2]}"))
        # In an option of no meaning it is not known as one.
        assert not any("hunter2" in text for text in shown if "y=" not in text)


async def told_of(flags: dict[str, Any]) -> list[str]:
    """Whatever is shown of settings that are taken, and of what is made of them."""
    found = load(**flags)
    assert found.amqp_url is not None
    given = [url.get_secret_value() for url in (found.amqp_url, found.redis_url) if url is not None]
    shown = [repr(found), *map(without_password, given), repr(AmqpBroker(given[0]))]
    if found.redis_url is not None:
        store = RedisStore(given[1], "r1")
        shown.append(repr(store))
        await store.close()
    return shown
