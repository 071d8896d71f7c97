#!/bin/bash
# RabbitMQ 3.10.8 (Debian 12), pika 1.3.2: a topic permission holds for queue.unbind, too. A user whose topic
# permission for reading has been narrowed cannot take away the binding that he made before it was: 403.
# Seen in output:
#   bound by a.*, and by b.*
#   from here on the user may read a.* only
#   unbind a.*: done
#   unbind b.*: 403
# Needs Debian's rabbitmq-server and python3-venv; all in a temporary folder and on 127.0.0.1.
# Exits 0 if it is as said, else non-zero.
source "$(dirname "$0")/rabbit.inc"
rabbit
packages pika==1.3.2
ctl add_user reader secret
ctl set_permissions reader '.*' '.*' '.*'
python "$PORT" <<'PYTHON'
import sys, pika
url = f"amqp://reader:secret@127.0.0.1:{sys.argv[1]}/"
channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
channel.exchange_declare("topics", "topic", durable=True)
channel.queue_declare("q", durable=True)
for key in ("a.*", "b.*"):
    channel.queue_bind("q", "topics", key)
print("bound by a.*, and by b.*")
PYTHON
ctl set_topic_permissions reader topics '.*' '^a\.\*$'
echo "from here on the user may read a.* only"
python "$PORT" <<'PYTHON'
import sys, pika
url = f"amqp://reader:secret@127.0.0.1:{sys.argv[1]}/"
found = {}
for key in ("a.*", "b.*"):
    channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
    try:
        channel.queue_unbind("q", "topics", key)
        found[key] = "done"
    except pika.exceptions.ChannelClosedByBroker as exc:
        found[key] = exc.reply_code
    print(f"unbind {key}: {found[key]}")
assert found == {"a.*": "done", "b.*": 403}, found
PYTHON
