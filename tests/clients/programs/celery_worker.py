"""Celery's first steps: an app, a task by the event's name, a worker for the queue."""

import os

from celery import Celery
from kombu import Exchange, Queue, binding

NAME, EVENT = os.environ["SERVICE"], os.environ["EVENT"]
EVENTS = Exchange("evapi.events", "topic", durable=True)

app = Celery(NAME, broker=os.environ["EVAPI_AMQP_URL"], backend="rpc://")
app.conf.task_queues = [Queue(f"evapi.decide.{NAME}", durable=True, bindings=[binding(EVENTS, f"{EVENT}.*")])]


@app.task(name=EVENT)
def decide(request):
    return {"action": "allow"}


app.worker_main(["worker", "--pool", "solo", "--without-mingle", "--without-gossip", "--loglevel", "WARNING"])
