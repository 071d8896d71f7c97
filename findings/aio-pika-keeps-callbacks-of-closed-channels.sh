#!/bin/bash
# aio-pika 10.2.1 (with aiormq 7.2.4) keeps two callbacks, about 4 KB, of each channel that was opened and closed until
# its connection closes: UnderlayChannel adds its callback to one observer of the connection's closing and, once the
# channel closes, removes it from another, since aiormq gives a new one each time that ``closing`` is read.
# Seen in output:
#   aiormq: 0 callbacks left of 50 channels
#   aio-pika: 100 callbacks left of 50 channels
# Needs Debian's rabbitmq-server and python3-venv; all in a temporary folder and on 127.0.0.1.
# Exits 0 if it is as said, else non-zero.
source "$(dirname "$0")/rabbit.inc"
rabbit
packages aio-pika==10.2.1 aiormq==7.2.4 pamqp==4.0.1
python "$PORT" <<'PYTHON'
import asyncio, sys
import aio_pika

async def main() -> None:
    connection = await aio_pika.connect(f"amqp://127.0.0.1:{sys.argv[1]}/")
    below = connection.transport.connection
    left = lambda: len(below._closing._callbacks)
    before = left()
    for _ in range(50):
        await (await below.channel()).close()
    of_aiormq = left() - before
    print(f"aiormq: {of_aiormq} callbacks left of 50 channels")
    for _ in range(50):
        await (await connection.channel()).close()
    of_aio_pika = left() - before - of_aiormq
    print(f"aio-pika: {of_aio_pika} callbacks left of 50 channels")
    await connection.close()
    assert (of_aiormq, of_aio_pika) == (0, 100)

asyncio.run(main())
PYTHON
