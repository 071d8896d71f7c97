"""Who of the services is there: asked on ``evapi.services``, where each instance answers at once.

Nobody keeps what they say, so nothing is out of date, and an instance that does not answer hangs, or does not
know the question: one of another SDK, or without the rights to it.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Final

from pamqp.commands import Basic

from adapter import hello
from adapter.admin.rabbit import NoRights, NotThere, Refused
from adapter.amqp.topology import Binding
from adapter.contract import APP_ID, ASK, HELLO, SERVICES_EXCHANGE, ask_key
from adapter.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter.admin.rabbit import Rabbit
    from adapter.hello import Hello

WAIT: Final = 1.0
"""Seconds for which answers are waited for: a handler that computes for so long is too slow for any call."""
MOST: Final = 10_000
"""Answers that are read: whoever may say hello may say it often."""


async def who_is_there(rabbit: Rabbit, wait: float = WAIT) -> Mapping[str, tuple[Hello, ...]]:
    """Ask all services.

    Args:
        rabbit: is asked as an operator, who may read and write ``evapi.services``.
        wait: seconds for the answers, if somebody hears the question.

    Returns:
        The instances that answered, by service.

    Raises:
        NoRights: the user may not ask.
        BrokerUnavailable: RabbitMQ does not answer.
    """
    queue = f"evapi.answers.{secrets.token_hex(8)}"
    async with rabbit.listen(queue) as came:
        try:
            await rabbit.bind(Binding(SERVICES_EXCHANGE, queue, f"{HELLO}.#"))
            heard = await rabbit.publish(SERVICES_EXCHANGE, ASK, b"", _question())
        except Refused:  # by the queue of an instance that is just leaving: the others have the question
            heard = True
        except NotThere:  # no service of this SDK was ever here
            return {}
        if heard:
            await asyncio.sleep(wait)
        found: dict[tuple[str, str], Hello] = {}
        for _ in range(min(came.qsize(), MOST)):
            message = came.get_nowait()
            try:
                told = hello.decode(message.routing_key, message.body)
            except CodecError:
                continue
            found[told.service, told.instance] = told
    return _by_service(found)


async def is_heard(rabbit: Rabbit, service: str) -> bool:
    """Whether an instance of a service hears such questions. Raises BrokerUnavailable."""
    try:
        return await rabbit.publish(SERVICES_EXCHANGE, ask_key(service), b"", _question())
    except (NotThere, NoRights, Refused):
        return False


def _question() -> Basic.Properties:
    return Basic.Properties(delivery_mode=1, expiration=str(round(WAIT * 1000)), app_id=APP_ID)


def _by_service(found: Mapping[tuple[str, str], Hello]) -> Mapping[str, tuple[Hello, ...]]:
    """The last that each said, without those that leave."""
    by_service: dict[str, list[Hello]] = {}
    for (service, _), told in sorted(found.items()):
        if not told.leaves:
            by_service.setdefault(service, []).append(told)
    return {service: tuple(instances) for service, instances in by_service.items()}
