#!/bin/bash
# RabbitMQ 4.0.5 (trixie) and 4.3.6 (sid), pika 1.3.2: the headers of a message come sorted by name, whatever order they
# were published in. 3.10.8 (Debian 12) hands on the bytes of the table as they came. Whoever knows messages again by
# the bytes of their properties, or finds a header where the publisher put it, does so on 3.x alone.
# Seen in output:
#   published: zulu, alpha, mike; delivered: alpha, mike, zulu
# Needs root's rights, mmdebstrap and python3-venv; all in a temporary folder and on 127.0.0.1.
# Exits 0 if it is as said, else non-zero.
source "$(dirname "$0")/root.inc"
root trixie rabbitmq-server
rabbit
packages pika==1.3.2
python "$PORT" <<'PYTHON'
import sys, time, pika

channel = pika.BlockingConnection(pika.URLParameters(f"amqp://127.0.0.1:{sys.argv[1]}/")).channel()
channel.queue_declare("queue", durable=True)
published = ["zulu", "alpha", "mike"]
channel.basic_publish("", "queue", b"x", pika.BasicProperties(headers={name: 1 for name in published}))
found = None
while found is None:
    _, found, _ = channel.basic_get("queue", auto_ack=True)
    time.sleep(0.05)
delivered = list(found.headers)  # pika decodes a table in the order of its bytes
print(f"published: {', '.join(published)}; delivered: {', '.join(delivered)}")
assert delivered == sorted(published)
PYTHON
