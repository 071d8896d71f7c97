#!/bin/bash
# RabbitMQ 4.0.5 (trixie) and 4.3.6 (sid), its STOMP plugin, stomp.py 9.0.0: a subscription to an exchange with
# x-queue-name, durable:true and auto-delete:false declares a queue that is exclusive and not durable, unless it also says
# exclusive:false. A second connection gets RESOURCE_LOCKED, and the queue goes with the first. On 3.10.8 (Debian 12) the
# same headers make a durable queue that all share: who moves from 3.x to 4.x loses instances, and what waits.
# Seen in output:
#   durable:true, auto-delete:false: a second connection: resource_locked; after both: no queue
#   exclusive:false, too: a second connection: subscribed; after both: a queue
# Needs root's rights, mmdebstrap and python3-venv; all in a temporary folder and on 127.0.0.1.
# Exits 0 if it is as said, else non-zero.
source "$(dirname "$0")/root.inc"
root trixie rabbitmq-server
STOMP=$(free_port)
PLUGINS=rabbitmq_stomp CONF="stomp.listeners.tcp.1 = 127.0.0.1:$STOMP\n" rabbit
wait_for "$STOMP"
packages stomp.py==9.0.0 pika==1.3.2
python "$PORT" "$STOMP" <<'PYTHON'
import sys, threading
import pika, stomp

amqp, port = map(int, sys.argv[1:])


class Told(stomp.ConnectionListener):
    """What the server says to a subscription."""

    def __init__(self):
        self.came, self.what = threading.Event(), []

    def on_receipt(self, frame):
        self.what.append("subscribed")
        self.came.set()

    def on_error(self, frame):
        self.what.append(frame.headers["message"])
        self.came.set()


def subscribed(headers):
    connection, told = stomp.Connection12([("127.0.0.1", port)], vhost="/"), Told()
    connection.set_listener("", told)
    connection.connect("guest", "guest", wait=True)
    connection.subscribe("/exchange/amq.topic/event.*", id="1", headers={**headers, "receipt": "1"})
    assert told.came.wait(20)
    return connection, told.what[0]


def is_there(queue):
    with pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", amqp)) as connection:
        try:
            connection.channel().queue_declare(queue, passive=True)
        except pika.exceptions.ChannelClosedByBroker:
            return "no queue"
        return "a queue"


def tried(name, queue, **more):
    headers = {"x-queue-name": queue, "durable": "true", "auto-delete": "false", **more}
    first, second = subscribed(headers), subscribed(headers)
    assert first[1] == "subscribed"
    for connection, _ in (second, first):
        if connection.is_connected():
            connection.disconnect("end")
    found = second[1], is_there(queue)
    print(f"{name}: a second connection: {found[0]}; after both: {found[1]}")
    return found


assert tried("durable:true, auto-delete:false", "one") == ("resource_locked", "no queue")
assert tried("exclusive:false, too", "two", exclusive="false") == ("subscribed", "a queue")
PYTHON
