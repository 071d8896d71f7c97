#!/bin/bash
# RabbitMQ 4.3.6 (sid; 3.10.8 alike), pika 1.3.2: whoever asks by a passive declaration whether a queue is there writes
# two lines of level error into the server's log where it is not, and loses the channel; a monitor that counts errors
# sees each look. AMQP 0.9.1 has no question without that. A mandatory message has: it comes back from where there is
# no queue, and nobody notes it. With an expiration of 0 nothing stays where there is one, classic or quorum, that
# nobody consumes; a quorum queue counts it for a moment more.
# Seen in output:
#   a passive declaration, no queue: channel closed (404), 2 lines of level error
#   a mandatory message, no queue: returned (312), 0 lines of level error
#   a mandatory message, a classic queue with one message: not returned, 0 lines of level error, 1 message in it
#   a mandatory message, a quorum queue with one message: not returned, 0 lines of level error, 1 message in it
# Needs root's rights, mmdebstrap and python3-venv; all in a temporary folder and on 127.0.0.1.
# Exits 0 if it is as said, else non-zero.
source "$(dirname "$0")/root.inc"
root sid rabbitmq-server
rabbit
packages pika==1.3.2
python "$PORT" "$FOLDER/log" <<'PYTHON'
import sys, time, pika
connection = pika.BlockingConnection(pika.URLParameters(f"amqp://127.0.0.1:{sys.argv[1]}/"))
log = open(sys.argv[2], errors="replace")
asking = pika.BasicProperties(expiration="0")

def errors() -> int:
    time.sleep(1.0)  # the log is written a little later
    return log.read().count("[error]")

def passive(queue: str) -> str:
    try:
        connection.channel().queue_declare(queue, passive=True)
    except pika.exceptions.ChannelClosedByBroker as exc:
        return f"channel closed ({exc.reply_code})"
    return "declared"

def mandatory(queue: str) -> str:
    channel = connection.channel()
    channel.confirm_delivery()
    try:
        channel.basic_publish("", queue, b"", asking, mandatory=True)
    except pika.exceptions.UnroutableError as exc:
        return f"returned ({exc.messages[0].method.reply_code})"
    return "not returned"

def say(what: str) -> None:
    print(what)
    found.append(what)

errors()
found = []
say(f"a passive declaration, no queue: {passive('nothing')}, {errors()} lines of level error")
say(f"a mandatory message, no queue: {mandatory('nothing')}, {errors()} lines of level error")
for kind in "classic", "quorum":
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare(kind, durable=True, arguments={"x-queue-type": kind})
    channel.basic_publish("", kind, b"waits")
    answer = mandatory(kind)
    noted, bodies = errors(), []
    while (got := channel.basic_get(kind, auto_ack=True))[0] is not None:
        bodies.append(got[2])
    assert bodies == [b"waits"], bodies
    say(f"a mandatory message, a {kind} queue with one message: {answer}, {noted} lines of level error, "
        f"{len(bodies)} message in it")
assert found == [
    "a passive declaration, no queue: channel closed (404), 2 lines of level error",
    "a mandatory message, no queue: returned (312), 0 lines of level error",
    "a mandatory message, a classic queue with one message: not returned, 0 lines of level error, 1 message in it",
    "a mandatory message, a quorum queue with one message: not returned, 0 lines of level error, 1 message in it",
]
PYTHON
