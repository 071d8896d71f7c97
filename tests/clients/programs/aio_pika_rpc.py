"""aio-pika's RPC tutorial."""

import asyncio
import json
import os

import aio_pika

NAME, EVENT = os.environ["SERVICE"], os.environ["EVENT"]


async def main():
    connection = await aio_pika.connect(os.environ["EVAPI_AMQP_URL"])
    channel = await connection.channel()
    queue = await channel.declare_queue(f"evapi.decide.{NAME}", durable=True)
    await queue.bind("evapi.events", f"{EVENT}.*")
    async with queue.iterator() as requests:
        async for message in requests:
            async with message.process(requeue=False):
                json.loads(message.body)
                reply = aio_pika.Message(
                    json.dumps({"action": "allow"}).encode(), correlation_id=message.correlation_id
                )
                await channel.default_exchange.publish(reply, routing_key=message.reply_to)


asyncio.run(main())
