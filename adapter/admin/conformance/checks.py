"""What is asked of a consumer: each check with its sentence, its remedy and its judgement. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from adapter import contract
from adapter.admin.checks_finding import Status
from adapter.admin.conformance import judgements
from adapter.admin.conformance.judgements import Verdict
from adapter.admin.conformance.questions import Question

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.admin.conformance.observations import Observed


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that is asked of a consumer.

    Args:
        name: stable.
        right: what a consumer is to do, in a sentence.
        remedy: what its author is to change if it does not.
        judge: says what was observed of it; a remedy of its own replaces the check's.
    """

    name: str
    right: str
    remedy: str
    judge: Callable[[Observed], Verdict]

    def verdict(self, observed: Observed) -> Verdict:
        """The verdict, with its remedy unless all is well."""
        found = self.judge(observed)
        if found.status is Status.OK or found.remedy:
            return found
        needed = found.status in (Status.ERROR, Status.WARNING)
        return Verdict(found.status, found.seen, self.remedy if needed else "")


_CATCH: Final = (
    "catch what reading raises; then basic.reject with requeue=false, on a queue with "
    "x-dead-letter-exchange evapi.dead, or reply with the header x-status: failed"
)

CHECKS: Final = (
    Check(
        "answers",
        "It answers a call.",
        "publish a reply to the default exchange, with the request's reply_to for routing key; if it finds "
        "each deadline over, compare the clocks",
        judgements.answers,
    ),
    Check(
        "in-time",
        "It answers before the deadline.",
        "decide faster, or give up at x-deadline (epoch ms); the call has its fallback by then",
        judgements.in_time,
    ),
    Check(
        "correlation-id",
        "A reply carries the correlation id of its request.",
        "copy the property correlation_id of the request to the reply, as it is",
        judgements.correlation_id,
    ),
    Check(
        "reply-to",
        "A reply goes to the queue that its request names.",
        "take the routing key of each reply from its own request's property reply_to, exchange empty",
        judgements.reply_to,
    ),
    Check(
        "reply-body",
        "A decision is a msgpack map or a JSON object.",
        'reply with a map such as {"action": "allow"}, as a JSON object or a msgpack map',
        judgements.reply_body,
    ),
    Check(
        "x-service",
        "A reply says who decided.",
        "set the header x-service to the service's name: metrics, traces and logs tell by it who decided",
        judgements.service_name,
    ),
    Check("once", "A request gets one reply.", "publish one reply to each request", judgements.once),
    Check(
        "acknowledges",
        "It acknowledges or rejects each request.",
        "basic.ack each request once its reply is published",
        judgements.acknowledged,
    ),
    Check(
        "acknowledges-last",
        "It acknowledges a request after its reply.",
        "consume with no_ack=false, and ack behind the reply: a crash in between then loses no call",
        judgements.acknowledged_last,
    ),
    Check(
        "unknown-keys",
        "It passes over keys that it does not know.",
        "read the keys that you need and ignore all others: later versions add some",
        judgements.decides(Question.UNKNOWN_KEYS, "a request with unknown keys"),
    ),
    Check(
        "unknown-headers",
        "It passes over headers that it does not know, of any type.",
        "read the headers that you need and ignore all others: they may be of any type of AMQP",
        judgements.decides(Question.UNKNOWN_HEADERS, "a request with unknown headers"),
    ),
    Check(
        "decisions",
        "It answers a request that says what other services decided.",
        "read the body's key decisions or pass over it: policies that ask services in turn put it there",
        judgements.decides(Question.DECISIONS, "a request with decisions of other services"),
    ),
    Check(
        "other-node",
        "It answers several Kamailios.",
        "decide by the request alone: node and reply_to differ from call to call",
        judgements.decides(Question.OTHER_NODE, "a call of another node"),
    ),
    Check(
        "redelivery",
        "It answers a request that is delivered again.",
        "treat a redelivered request as any other: its first consumer may have died before it replied",
        judgements.decides(Question.REDELIVERED, "a redelivered request"),
    ),
    Check(
        "large-data",
        "It answers a request of 1 MB.",
        f"take bodies of up to {contract.MAX_BODY:,} bytes, which may come in several frames",
        judgements.decides(Question.LARGE, "a request of 1 MB"),
    ),
    Check(
        "expired",
        "It does not answer a request whose deadline is over.",
        "acknowledge without a reply once x-deadline is over, or x-time-left is used up",
        judgements.silent(Question.EXPIRED, "a request whose deadline is over"),
    ),
    Check(
        "notices",
        "It does not answer a notice.",
        "acknowledge a message that has no reply_to without a reply",
        judgements.silent(Question.NOTICE, "a notice"),
    ),
    Check(
        "observes",
        "It does not answer a request that it only observes.",
        "go by reply_to alone: without it acknowledge and send nothing, whatever else the message says",
        judgements.silent(Question.OBSERVED, "a request without reply_to"),
    ),
    Check(
        "bytes",
        "It survives data that are no map.",
        "reply with x-status: failed, or reject, if data is no map: Kamailio may send any bytes",
        judgements.refuses(Question.BYTES, "a request whose data are bytes"),
    ),
    Check(
        "batch",
        "It refuses several requests in one message, unless it is made for them.",
        _CATCH,
        judgements.refuses(Question.BATCH, "a batch"),
    ),
    Check(
        "unreadable",
        "It refuses a body that is no request.",
        _CATCH,
        judgements.refuses(Question.UNREADABLE, "a body that is no request"),
    ),
)
"""Every check, in the order in which they are told."""


def judge(observed: Observed) -> list[tuple[Check, Verdict]]:
    """Judge a run. Each check has its verdict."""
    return [(check, check.verdict(observed)) for check in CHECKS]
