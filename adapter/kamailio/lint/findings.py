"""What a rule says, and which rules there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol

Severity = Literal["error", "warning"]

RULES: Final[dict[str, Severity]] = {
    # What cannot start, or hides everything else.
    "unreadable": "error",
    "unknown-rule": "warning",
    "duplicate-route": "error",
    "missing-route": "error",
    "define-too-late": "error",
    "evapi-not-loaded": "error",
    "missing-module": "error",
    "loaded-too-late": "error",
    # EVAPI's socket and its parameters.
    "default-address": "warning",
    "public-address": "error",
    "few-clients": "error",
    "links-beyond-gate": "warning",
    "netstring-off": "error",
    "slow-workers": "error",
    "many-workers": "error",
    "small-buffer": "warning",
    # Asking.
    "no-question": "warning",
    "question-incomplete": "error",
    "no-retransmission-check": "error",
    "no-timer": "warning",
    "short-timer": "error",
    "long-timer": "error",
    "no-failure-route": "error",
    "no-gate": "error",
    "gate-of-one-key": "warning",
    "no-reply-when-unsent": "error",
    "goes-on": "error",
    "ask-in-no-decision": "error",
    "too-many-questions": "error",
    "no-cancel": "warning",
    # What both sides agree on.
    "no-ids": "error",
    "ids-not-read": "error",
    "ids-too-early": "error",
    "event-without-name": "error",
    "encoding": "error",
    "answer-path": "error",
    # What is sent.
    "raw-text": "error",
    "type-unknown": "error",
    "quoted-ids": "warning",
    "no-call-id": "warning",
    "escape-not-json": "error",
    "unquoted-variable": "error",
    "step-header": "error",
    # The answer.
    "no-answer-route": "error",
    "no-receipts": "warning",
    "no-hello": "error",
    "no-seq": "error",
    "continue-unknown-route": "error",
    "continue-from-wire": "error",
    "unreset-variable": "error",
    "lost-variable": "error",
    "blocking-resume": "error",
    "stateless-reply": "error",
    "silent-route-armed": "warning",
    # What is lost, and where to set it.
    "lost-in-failure-route": "warning",
    "flag-after-question": "error",
    "ask-in-branch-or-reply": "error",
    "relay-refused": "error",
    "reply-not-expanded": "warning",
    "kemi-native-part": "error",
    # Commands.
    "rpc-allowed": "error",
    "bye-twice": "warning",
    "not-found": "warning",
}
"""The name of every rule -> how bad what it finds is, where the rule says nothing else."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of a configuration.

    ``what``: one sentence; ``why``: the reason; ``write``: the very line or lines to write, "" where
    something is only to be taken away. ``line`` is 0 where no line can be named; ``file`` is as it was
    reached, or the ``-A NAME=VALUE`` of the command line.
    """

    rule: str
    severity: Severity
    file: str
    line: int
    what: str
    why: str
    write: str


class Place(Protocol):
    """Whatever knows where it stands."""

    @property
    def file(self) -> str:
        """The file, as it was reached."""

    @property
    def line(self) -> int:
        """From 1; 0 where there is none."""


def finding(
    rule: str, at: Place, what: str, why: str, write: str, severity: Severity | None = None
) -> Finding:
    """A finding of a rule, as bad as the rule says, or as ``severity`` does."""
    return Finding(rule, severity or RULES[rule], at.file, at.line, what, why, write)
