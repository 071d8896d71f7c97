#!/bin/bash
# RabbitMQ 3.10.8 (Debian 12), pika 1.3.2: a headers exchange leaves arguments whose names begin with x- out of account
# unless the binding says "all-with-x" or "any-with-x" (new in 3.10). A binding that compares nothing else is no
# error: with "all" every message matches it, also one without the header; with "any" none does, not even one that has it.
# So dead letters cannot be sorted by x-first-death-reason as one would write it.
# Seen in output:
#   all:        rejected expired (none)
#   any:        nothing
#   all-with-x: rejected
#   any-with-x: rejected
# Needs Debian's rabbitmq-server and python3-venv; all in a temporary folder and on 127.0.0.1.
# Exits 0 if it is as said, else non-zero.
source "$(dirname "$0")/rabbit.inc"
rabbit
packages pika==1.3.2
python "$PORT" <<'PYTHON'
import sys, pika
url = f"amqp://guest:guest@127.0.0.1:{sys.argv[1]}/"
channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
channel.confirm_delivery()
name = "x-first-death-reason"
channel.exchange_declare("sorted", "headers")
found = {}
for match in ("all", "any", "all-with-x", "any-with-x"):
    channel.queue_declare(match)
    channel.queue_bind(match, "sorted", "", {"x-match": match, name: "rejected"})
for said in ("rejected", "expired", None):
    headers = {} if said is None else {name: said}
    channel.basic_publish("sorted", "", (said or "(none)").encode(), pika.BasicProperties(headers=headers))
for match in ("all", "any", "all-with-x", "any-with-x"):
    got = []
    while (message := channel.basic_get(match, auto_ack=True))[0] is not None:
        got.append(message[2].decode())
    found[match] = " ".join(got) or "nothing"
    print(f"{match + ':':<11} {found[match]}")
assert found == {
    "all": "rejected expired (none)", "any": "nothing", "all-with-x": "rejected", "any-with-x": "rejected",
}, found
PYTHON
