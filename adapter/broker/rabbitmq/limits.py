"""What bounds the use of RabbitMQ, and what is counted."""

from __future__ import annotations

from dataclasses import dataclass

from adapter.amqp.limits import ConnectionLimits


@dataclass(slots=True)
class Limits(ConnectionLimits):
    """Every limit, shared by the parts of one broker. Times in seconds."""

    prefetch: int = 500
    backoff_first: float = 0.1
    backoff_longest: float = 1.0
    """Between two attempts. A part that stood for longer than this is begun again at once."""
    watch_interval: float = 0.05
    """Between two looks for ``connection.blocked``, of which the library gives no notice."""
    refused_for: float = 1.0
    """For which refused publications are tried again on new channels. An election takes less."""
    renew_interval: float = 0.1
    """Between two new channels for that, growing with the time for which it has gone on."""
    refusals_apart: float = 5.0
    """Without a refusal, after which the next one is the first again."""
    max_unconfirmed: int = 20_000
    """Publications that never were confirmed; with more of them the channel is opened anew."""
    max_letters: int = 100
    """Dead letters under way to the server at a time."""
    letters_at_once: int = 500
    letters_a_second: float = 200.0
    """Dead letters that are kept of many. They are written to disk: at 3,000 a second RabbitMQ held up what
    is published by the same connection, and the answer to each call came a second later."""
    ack_pause: float = 0.1
    """For which replies that were taken in wait to be acknowledged together: a write of its own costs
    more than all else that is done with a reply. If the channel is lost meanwhile, they come again, late."""
    prefetch_commands: int = 50
    slice_replies: int = 64
    """Replies that are looked at before the loop gets its turn. 250 took up to 22 ms; fallbacks waited."""
    slice_bytes: int = 256_000
    """Bytes of them, likewise."""
    long_queue: int = 2_000
    """Replies that wait in a queue before it is consumed, with more of which new ones are sent to another."""
    others_interval: float = 2.0
    """Between two looks for a queue of another replica that is not there yet."""
    bind_first: float = 1.0
    bind_longest: float = 120.0
    """Between two attempts to make bindings. A cluster without majority takes 30 s to refuse one."""
    requeue_pause: float = 0.2
    """Before replies that could not be taken in go back, to be delivered again."""
    services_interval: float = 10.0
    """Between two looks for the queues of the services that ought to be there."""


@dataclass(slots=True)
class Counters:
    """What happened since the start."""

    connects: int = 0
    published: int = 0
    """Confirmed, dead letters included."""
    batches: int = 0
    """Messages that held several requests."""
    batched: int = 0
    """Requests that went in such a message."""
    returned: int = 0
    nacked: int = 0
    """Refused by a queue, each attempt counted."""
    renewed: int = 0
    """Channels opened in place of one on which publications were refused."""
    unconfirmed: int = 0
    """Publications of which the server said nothing within the confirm timeout."""
    redelivered: int = 0
    requeued: int = 0
    """Batches of replies that were given back since they could not be taken in."""
    ignored: int = 0
    """Dead requests of no interest: expired ones, and other nodes'."""
    dead_letters: int = 0
    dead_letters_dropped: int = 0
    refused: int = 0
    """Commands and answers by hand that did not come by the exchange for them."""
    undecodable: int = 0
    """Connections that were closed over a message, which was then taken off its queue."""
    reply_connects: int = 0
    """Connections for replies and commands, each counted."""
