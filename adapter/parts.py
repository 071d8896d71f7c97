"""The parts of a bridge that its settings choose: the store, the broker, ids, and who follows the policy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import structlog

from adapter.errors import SettingsError
from adapter.model.correlation import Ids, derived_keys, keys_of
from adapter.relay.policy_file import PolicyFile
from adapter.relay.policy_keys import MAX_DEADLINE
from adapter.settings import without_password

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import SecretStr

    from adapter.broker.rabbitmq import Kind
    from adapter.cluster.clock import Clock
    from adapter.model.transaction import Transaction
    from adapter.ports.broker import Broker
    from adapter.ports.cache import Decisions
    from adapter.ports.store import Store
    from adapter.relay.policy import LivePolicy, Policy
    from adapter.settings import Settings

log = structlog.get_logger()


def shown(url: SecretStr | None) -> str:
    """A server's URL without its password; what is in its place, where there is none."""
    return "embedded" if url is None else without_password(url.get_secret_value())


def make_store(
    settings: Settings,
    owner: str,
    clock: Clock,
    on_away: Callable[[], None],
    on_added: Callable[[Transaction], None],
) -> Store:
    """The store: in memory, or in Redis and, while that is away, in memory.

    Args:
        settings: of this replica.
        owner: this life of this replica.
        clock: gives epoch seconds.
        on_away: is called at each outage of Redis.
        on_added: is told a record that waits here and to which another replica has added.
    """
    if settings.redis_url is None:
        from adapter.inflight.local import LocalStore

        return LocalStore(owner, retention=settings.retention, clock=clock)
    from adapter.inflight.failover import FailoverStore
    from adapter.inflight.redis import RedisStore

    return FailoverStore(
        RedisStore(
            settings.redis_url.get_secret_value(),
            owner,
            prefix=settings.redis_prefix,
            retention=settings.retention,
            timeout=settings.store_timeout,
            clock=clock,
        ),
        still=settings.lease,
        clock=clock,
        on_away=on_away,
        on_added=on_added,
    )


def make_command_store(settings: Settings, owner: str, clock: Clock) -> Store:
    """The store of commands that are under way: one of its own, as ``make_store`` makes it, so that no call
    waits for it. In Redis its keys have ``:commands`` after the prefix.
    """
    if settings.redis_url is None:
        from adapter.inflight.local import LocalStore

        return LocalStore(owner, clock=clock)
    from adapter.inflight.failover import FailoverStore
    from adapter.inflight.redis import RedisStore

    return FailoverStore(
        RedisStore(
            settings.redis_url.get_secret_value(),
            owner,
            prefix=f"{settings.redis_prefix}:commands",
            timeout=settings.store_timeout,
            clock=clock,
        ),
        still=settings.lease,
        clock=clock,
        quiet=True,
    )


def make_broker(settings: Settings, rules: LivePolicy, clock: Clock) -> Broker:
    """The broker: RabbitMQ, or the embedded one with the services that it runs.

    Raises:
        SettingsError: a service cannot be loaded.
    """
    if settings.amqp_url is None:
        from adapter.broker.embedded import EmbeddedBroker
        from consumers import LoadError, load
        from consumers.clash import add_current_folder

        add_current_folder()
        try:
            return EmbeddedBroker([load(name) for name in settings.consumer], clock=clock)
        except LoadError as exc:
            raise SettingsError("EVAPI_CONSUMER", str(exc)) from exc
    from adapter.broker.rabbitmq import AmqpBroker, Limits

    return AmqpBroker(
        settings.amqp_url.get_secret_value(),
        limits=Limits(settings.prefetch, settings.confirm_timeout),
        kind=_kind(settings, rules.now),
        services=lambda: rules.now.services,
        clock=clock,
    )


def _kind(settings: Settings, rules: Policy) -> Kind:
    from adapter.broker.rabbitmq import Kind

    return Kind(settings.results_expires, settings.queue_type, rules.longest_deadline, settings.mqtt)


def make_cache(store: Store, clock: Clock) -> Decisions:
    """What keeps decisions for equal calls, also in the store. ``clock`` gives epoch seconds."""
    from adapter.inflight.decisions import DecisionCache

    return DecisionCache(store, clock)


def follow_policy(settings: Settings, rules: LivePolicy) -> PolicyFile | None:
    """Who follows the policy's file; None if there is no file."""
    if settings.policy is None:
        return None
    embedded = settings.amqp_url is None
    most = MAX_DEADLINE if embedded else longest_taken_live(settings, rules.now)
    return PolicyFile(settings.policy, rules.now, most, rules.replace)


def longest_taken_live(settings: Settings, rules: Policy) -> float:
    """Seconds of the longest deadline that an adapter on RabbitMQ, started with ``rules``, takes live."""
    return _kind(settings, rules).longest_kept


def make_ids(settings: Settings, rules: LivePolicy) -> Ids:
    """How correlation ids are signed: not at all where consumers run in this process."""
    if settings.amqp_url is None:
        return Ids()
    services = lambda: rules.services  # noqa: E731
    if settings.id_key is not None:
        return Ids(keys_of(settings.id_keys), services=services)
    urls = settings.amqp_url.get_secret_value()
    if re.search("auth=external", urls, re.IGNORECASE):
        # What is in such a URL is no secret, so that ids made of it can be guessed.
        log.warning("EVAPI_ID_KEY is not set", do="set it: `openssl rand -base64 32`, alike for all replicas")
    return Ids(derived_keys(urls), services=services)
