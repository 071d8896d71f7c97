"""One run of the kit: the player, what a relay sees meanwhile, and the verdicts."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from adapter.admin.conformance.checks import judge
from adapter.admin.conformance.player import NobodyThere, Patience, Player

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.admin.conformance.checks import Check
    from adapter.admin.conformance.judgements import Verdict
    from adapter.admin.conformance.observations import Observed
    from adapter.admin.conformance.questions import Call
    from adapter.admin.conformance.relay import Relay
    from adapter.admin.management import Holding, Management
    from adapter.admin.rabbit import Rabbit


async def conform(
    rabbit: Rabbit,
    service: str,
    call: Call,
    *,
    relay: Relay | None = None,
    management: Management | None = None,
    wait: float = 0.0,
    patience: Patience | None = None,
    say: Callable[[str], None] = lambda _: None,
    by_exchange: bool = False,
    queue: str = "",
    mqtt: bool = False,
) -> list[tuple[Check, Verdict]]:
    """Play calls at a consumer and judge it.

    Args:
        rabbit: a connection.
        service: the consumer's name.
        call: the call that is played.
        relay: the consumer's way to RabbitMQ; ``None`` if it goes there directly.
        management: tells what it does not acknowledge, if there is no relay; some seconds late.
        wait: seconds for which the consumer is waited for.
        patience: how long is waited for anything else.
        say: is told how far it is.
        by_exchange: publish to the exchange of all events.
        queue: of the consumer, if it is not the service's.
        mqtt: whether requests name the topic by which MQTT clients reply.

    Returns:
        Each check with its verdict.

    Raises:
        BrokerUnavailable: RabbitMQ is away.
        ManagementUnavailable: its management API is away.
        NobodyThere: there is no consumer.
    """
    player = Player(
        rabbit,
        service,
        call,
        sight=None if relay is None else relay.sight,
        patience=patience,
        say=say,
        by_exchange=by_exchange,
        queue=queue,
        mqtt=mqtt,
    )
    if relay is not None:
        await _come(player, relay, wait)
    if relay is not None or management is None:
        return judge(await player.run())
    before = await management.holding(player.queue)
    observed = await player.run()
    await _holds(observed, management, player, before, say)
    return judge(observed)


async def _holds(
    observed: Observed, management: Management, player: Player, before: Holding, say: Callable[[str], None]
) -> None:
    """Note what the consumers hold once the figures are of after the run."""
    stale = player.patience.stale_quorum if before.kind == "quorum" else player.patience.stale
    for _ in range(player.patience.looks):
        say(f"nothing more, and waiting {stale:g} s for the management API's figures")
        await asyncio.sleep(stale)
        after = await management.holding(player.queue)
        held = max(after.unacknowledged - before.unacknowledged, 0)
        observed.unsettled = min(held, held if observed.unsettled is None else observed.unsettled)
        observed.automatic = after.automatic
        if observed.unsettled < observed.answered:
            return


async def _come(player: Player, relay: Relay, wait: float) -> None:
    """Wait until the consumer consumes its queue, by the relay."""
    until = time.monotonic() + wait
    while not (relay.sight.consumes(player.queue) and await player.consumers()):
        if time.monotonic() > until:
            raise NobodyThere(f"nobody consumes {player.queue} by {relay.shown} after {wait:g} s")
        await asyncio.sleep(0.05)
