#!/bin/bash
# pamqp 4.0.1 (aiormq 7.2.4 and aio-pika 10.2.1 stand on it) refuses names of queues that RabbitMQ 3.10.8 takes: only
# letters, digits and - _ . : @ # , / + and space may be in them, so for instance no "~". (The pattern in AMQP
# 0-9-1 is narrower still; RabbitMQ and pika 1.3.2 keep to its length alone.)
# Seen in output:
#   pamqp: ValueError
#   pika: declared reply~1
# Needs Debian's rabbitmq-server and python3-venv; all in a temporary folder and on 127.0.0.1.
# Exits 0 if it is as said, else non-zero.
source "$(dirname "$0")/rabbit.inc"
rabbit
packages pika==1.3.2 pamqp==4.0.1
python "$PORT" <<'PYTHON'
import sys, pika
from pamqp.commands import Queue
try:
    Queue.Declare(queue="reply~1").validate()
    refused = ""
except ValueError as exc:
    refused = type(exc).__name__
print(f"pamqp: {refused}")
channel = pika.BlockingConnection(pika.URLParameters(f"amqp://127.0.0.1:{sys.argv[1]}/")).channel()
name = channel.queue_declare("reply~1").method.queue
print(f"pika: declared {name}")
assert refused and name == "reply~1"
PYTHON
