"""stomp.py's listener. ``queue``: as its documentation subscribes; ``events``: to the exchange."""

import json
import os
import sys
import time

import stomp

NAME, EVENT = os.environ["SERVICE"], os.environ["EVENT"]
OWN = {"x-queue-name": f"evapi.decide.{NAME}", "durable": "true", "auto-delete": "false"}
OWN["exclusive"] = "false"
OWN["x-dead-letter-exchange"] = "evapi.dead"


class Listener(stomp.ConnectionListener):
    def on_message(self, frame):
        headers = {"correlation-id": frame.headers["correlation-id"]}
        connection.send(frame.headers["reply-to"], json.dumps({"action": "allow"}), headers=headers)

    def on_error(self, frame):
        print(frame.headers["message"], frame.body, file=sys.stderr)


connection = stomp.Connection12([("127.0.0.1", int(os.environ["STOMP_PORT"]))], vhost="/")
connection.set_listener("", Listener())
connection.connect("guest", "guest", wait=True)
if sys.argv[1] == "queue":
    connection.subscribe(f"/queue/evapi.decide.{NAME}", id="1")
else:
    connection.subscribe(f"/exchange/evapi.events/{EVENT}.*", id="1", headers=OWN)
time.sleep(600)
