#!/bin/bash
# aiormq 7.2.4, RabbitMQ 3.10.8, Python 3.11.7: a task that is cancelled in the instant in which the server closes its
# channel gets the channel's error in place of CancelledError. The wrapper round each request keeps the error that it is
# to raise, and raises it over the caller's own cancellation, too (aiormq.abc.TaskWrapper). Whoever handles the error
# and goes on ("not there: look again later") goes on for ever, although he was told to end: Task.cancelling() tells.
# Seen in output:
#   cancelled before it was done: CancelledError 83 times, ChannelNotFoundEntity 9 times
# Needs rabbitmq-server and python3-venv (Debian), and setpriv if it is root; all in a temporary folder and on 127.0.0.1.
# Exits 0 if it is as said, else non-zero.
source "$(dirname "$0")/rabbit.inc"
rabbit
packages aiormq==7.2.4
python "$PORT" <<'PYTHON'
import asyncio, collections, logging, sys
import aiormq

logging.disable()


async def raised(after: float) -> tuple[str, int]:
    """What a task gets that is cancelled so many seconds after it asked for a queue that is not there."""
    connection = await aiormq.connect(f"amqp://127.0.0.1:{sys.argv[1]}/")
    channel = await connection.channel()
    looking = asyncio.create_task(channel.queue_declare("is-not-there", passive=True))
    asyncio.get_running_loop().call_later(after, looking.cancel)
    (found,) = await asyncio.gather(looking, return_exceptions=True)
    await connection.close()
    return type(found).__name__, looking.cancelling()


async def main() -> None:
    seen = collections.Counter()
    while not seen["ChannelNotFoundEntity", 1] and seen.total() < 1500:
        seen.update([await raised(number * 0.00002) for number in range(150)])
    cancelled = [f"{name} {seen[name, count]} times" for name, count in sorted(seen) if count]
    print(f"cancelled before it was done: {', '.join(cancelled)}")
    assert seen["ChannelNotFoundEntity", 1]


asyncio.run(main())
PYTHON
