"""The kit's own queues, which go with it: of replies, and of its requests that became dead letters."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from adapter import contract
from adapter.admin.rabbit import NoRights, NotThere
from adapter.amqp.topology import Binding

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from adapter.admin.rabbit import Message, Rabbit

    Receiver = Callable[[Message, str], None]
    """Is given a message, and the queue that it came to."""

_OPERATORS: Final = "evapi.answers."
"""Begins the names of queues that an operator has the rights to."""


class Mailbox:
    """The queues of several nodes.

    If the user may have them, replies go to queues called as an adapter's are: a consumer may have the right
    to reply to those alone (MQTT). One node's is called a little otherwise, as an adapter's whose usual one
    was declared with other arguments: by that one a consumer is found that makes up the name.

    Args:
        rabbit: a connection.
        nodes: the names of the nodes.
        unusual: the node whose queue is called otherwise.
        mqtt: whether replies may come by ``amq.topic``, too.
    """

    def __init__(self, rabbit: Rabbit, nodes: Collection[str], unusual: str, mqtt: bool = False) -> None:
        self._rabbit = rabbit
        self._nodes = nodes
        self._unusual = unusual
        self._mqtt = mqtt
        self._prefix = contract.results_queue("")
        self._tasks: list[asyncio.Task[None]] = []
        self._stack = contextlib.AsyncExitStack()

    def reply_to(self, node: str) -> str:
        """The queue to which replies to a node are to go."""
        return f"{self._prefix}{node}{'.other' if node == self._unusual else ''}"

    async def open(self, on_reply: Receiver, on_letter: Receiver, keys: Collection[str]) -> bool:
        """Have the queues.

        Args:
            on_reply: takes replies.
            on_letter: takes dead letters: the kit's, and others' where there is no other way.
            keys: the routing keys of requests, which dead letters keep.

        Returns:
            Whether dead letters come.

        Raises:
            BrokerUnavailable: RabbitMQ is away, or the user may have no queues at all.
        """
        usual = {contract.results_queue(node) for node in self._nodes}
        try:
            for queue in usual:
                await self._listen(queue, on_reply)
        except NoRights:
            self._prefix, usual = _OPERATORS, set()
        for queue in set(map(self.reply_to, self._nodes)) - usual:
            await self._listen(queue, on_reply)
        if self._mqtt:
            for queue in map(self.reply_to, self._nodes):
                await self._rabbit.bind(Binding(contract.TOPIC_EXCHANGE, queue, queue))
        letters = f"{_OPERATORS}letters.{self._unusual}"
        await self._listen(letters, on_letter)
        return await self._bind(letters, keys)

    async def aclose(self) -> None:
        """Let them go."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    async def _listen(self, queue: str, receiver: Receiver) -> None:
        came = await self._stack.enter_async_context(self._rabbit.listen(queue))

        async def take() -> None:
            while True:
                receiver(await came.get(), queue)

        self._tasks.append(asyncio.create_task(take()))

    async def _bind(self, letters: str, keys: Collection[str]) -> bool:
        for exchange in (contract.DEAD_BY_NODE_EXCHANGE, contract.DEAD_EXCHANGE):
            with contextlib.suppress(NotThere, NoRights):
                for key in keys:
                    await self._rabbit.bind(Binding(exchange, letters, key))
                return True
        return False
