#!/bin/bash
# RabbitMQ 4.3.6 (sid), pika 1.3.2: a message that was rejected and dead-lettered has `redelivered` set when it is
# delivered from the next queue for the first time. 3.10.8 (Debian 12) clears it, as it was never delivered from there.
# Seen in output:
#   first delivery from the dead letters' queue: redelivered=True
#   one that was published there: redelivered=False
# Needs root's rights, mmdebstrap and python3-venv; all in a temporary folder and on 127.0.0.1.
# Exits 0 if it is as said, else non-zero.
source "$(dirname "$0")/root.inc"
root sid rabbitmq-server
rabbit
packages pika==1.3.2
python "$PORT" <<'PYTHON'
import sys, time, pika
channel = pika.BlockingConnection(pika.URLParameters(f"amqp://127.0.0.1:{sys.argv[1]}/")).channel()
channel.queue_declare("dead", durable=True)
to_dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
channel.queue_declare("work", durable=True, arguments=to_dead)
channel.basic_publish("", "work", b"rejected")
method, _, _ = channel.basic_get("work")
assert not method.redelivered
channel.basic_reject(method.delivery_tag, requeue=False)
while channel.queue_declare("dead", passive=True).method.message_count < 1:
    time.sleep(0.05)
channel.basic_publish("", "dead", b"published")
found = {}
while len(found) < 2:
    method, _, body = channel.basic_get("dead")
    if method is not None:
        found[body] = method.redelivered
print(f"first delivery from the dead letters' queue: redelivered={found[b'rejected']}")
print(f"one that was published there: redelivered={found[b'published']}")
assert found == {b"rejected": True, b"published": False}
PYTHON
