"""Qpid Proton's tutorial server.py, by AMQP 1.0. ``kept``: with RabbitMQ 3's addresses, and senders that are kept."""

import json
import os
import sys

from proton import Message
from proton.handlers import MessagingHandler
from proton.reactor import Container

QUEUE = f"/amq/queue/evapi.decide.{os.environ['SERVICE']}"


class Server(MessagingHandler):
    def on_start(self, event):
        self.senders = {}
        self.connection = event.container.connect(os.environ["EVAPI_AMQP_URL"], allowed_mechs="PLAIN")
        event.container.create_receiver(self.connection, QUEUE)
        if sys.argv[1] == "tutorial":
            self.anonymous = event.container.create_sender(self.connection, None)

    def on_message(self, event):
        asked = event.message
        reply = Message(body=json.dumps({"action": "allow"}), correlation_id=asked.correlation_id)
        if sys.argv[1] == "tutorial":
            reply.address = asked.reply_to
            self.anonymous.send(reply)
            return
        name = asked.reply_to.removeprefix("/queue/")
        if name not in self.senders:
            self.senders[name] = event.container.create_sender(self.connection, f"/amq/queue/{name}")
        self.senders[name].send(reply)


Container(Server()).run()
