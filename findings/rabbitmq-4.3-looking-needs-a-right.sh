#!/bin/bash
# RabbitMQ 4.3.6 (sid), pika 1.3.2: a passive declaration of a queue or an exchange needs a right to that very thing;
# any of configure, write and read does. Rights to other things of the vhost are not enough, whatever 4.3.1's release
# notes say, and what is not there is refused as well (403, not 404). 3.10.8 and 4.0.5 let every user of the vhost look.
# Seen in output:
#   queue: configure 200, write 200, read 200, none 403
#   exchange: configure 200, write 200, read 200, none 403
#   queue that is not there: none 403
# Needs root's rights, mmdebstrap and python3-venv; all in a temporary folder and on 127.0.0.1.
# Exits 0 if it is as said, else non-zero.
source "$(dirname "$0")/root.inc"
root sid rabbitmq-server
rabbit
packages pika==1.3.2
for user in configure write read none; do ctl add_user "$user" secret; done
ctl set_permissions configure '^it$' '^other$' '^other$'
ctl set_permissions write '^other$' '^it$' '^other$'
ctl set_permissions read '^other$' '^other$' '^it$'
ctl set_permissions none '^other$' '^other$' '^other$'
python "$PORT" <<'PYTHON'
import sys, pika
users = ("configure", "write", "read", "none")
def channel_of(user, password="secret"):
    return pika.BlockingConnection(pika.URLParameters(f"amqp://{user}:{password}@127.0.0.1:{sys.argv[1]}/")).channel()
def answer(user, what, name):
    channel = channel_of(user)
    try:
        getattr(channel, f"{what}_declare")(name, passive=True)
    except pika.exceptions.ChannelClosedByBroker as exc:
        return exc.reply_code
    return 200
made = channel_of("guest", "guest")
made.queue_declare("it", durable=True)
made.exchange_declare("it", "topic", durable=True)
found = {what: {user: answer(user, what, "it") for user in users} for what in ("queue", "exchange")}
for what, codes in found.items():
    print(f"{what}: {', '.join(f'{user} {code}' for user, code in codes.items())}")
absent = answer("none", "queue", "absent")
print(f"queue that is not there: none {absent}")
assert absent == 403
assert all(codes == {"configure": 200, "write": 200, "read": 200, "none": 403} for codes in found.values()), found
PYTHON
