"""The rules about the suspension: what comes before it, what after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapter.kamailio.configuration import REQUEST, ROUTE, number
from adapter.kamailio.lint.findings import Finding, finding
from adapter.kamailio.lint.names import ASYNC, REPLIES, SENDS
from adapter.kamailio.lint.request import INVITE
from adapter.kamailio.lint.script import calls_in, was_checked
from adapter.kamailio.tokens import Noted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adapter.kamailio.lint.script import Script
    from adapter.kamailio.statements import Step

DEFAULT_BRANCHES: Final = 12
_CANCEL: Final = (
    'if (is_method("CANCEL")) {\n\tif (t_check_trans()) { route(ADAPTER_CANCEL); t_relay(); }\n\texit;\n}'
)
_CANCEL_BY_HAND: Final = (
    'if (is_method("CANCEL")) {\n\tif (t_check_trans()) {\n'
    '\t\tevapi_relay("{\\"event\\":\\"call_cancelled\\",\\"data\\":{\\"call_id\\":\\"$ci\\"}}");\n'
    "\t\tt_relay();\n\t}\n\texit;\n}"
)


def no_question(script: Script) -> Iterator[Finding]:
    """Nothing is ever asked."""
    if script.questions or script.configuration.module("evapi") is None or not script.native:
        return
    if any("$" in step.argument(0) for step in script.calls_of("route")):
        return  # a variable chooses the route: perhaps it asks
    what = "No request comes to a question: nothing that the main route calls suspends a transaction."
    why = "The adapter is connected in vain: every call takes its way without a decision."
    write = "route(ADAPTER_ASK);   # in request_route, after $var(event) and $var(data) are set"
    at = script.route(REQUEST, "") or Noted("", script.configuration.path, 0)
    yield finding("no-question", at, what, why, write)


def question_incomplete(script: Script) -> Iterator[Finding]:
    """The include's ADAPTER_ASK without what it asks."""
    if not script.included:
        return
    flows = [*script.requests, *script.failures.values(), *(flow for _, flow in script.resumes)]
    for flow in flows:
        for visit in calls_in(flow, "route"):
            if visit.step.argument(0) != "ADAPTER_ASK":
                continue
            for name, example in (("event", '"invite_request"'), ("data", '"{}"')):
                if not visit.state.done & script.facts.bit(f"set var({name})"):
                    what = f"ADAPTER_ASK is called, but $var({name}) was not set before."
                    why = "It still holds what an earlier call in this process left in it: that is asked."
                    yield finding("question-incomplete", visit.step, what, why, f"$var({name}) = {example};")


def no_retransmission_check(script: Script) -> Iterator[Finding]:
    """A phone repeats its INVITE after half a second."""
    for question in script.first_questions:
        if not was_checked(script, question):
            what = "Nothing looks for retransmissions before the request is suspended."
            why = (
                "A phone repeats its request after 0.5 s: each repeat is asked about, and suspends once more."
            )
            write = "if (t_precheck_trans()) { t_check_trans(); exit; }\nt_check_trans();\nt_newtran();"
            yield finding("no-retransmission-check", question.step, what, why, write)


def no_reply_when_unsent(script: Script) -> Iterator[Finding]:
    """What fails after the suspension leaves the transaction suspended."""
    yield from _no_decision(script)
    flows = [*script.requests, *script.failures.values(), *(flow for _, flow in script.resumes)]
    for state in (state for flow in flows for state in flow.ends):
        failed = {step: f"Where {step.name} fails nothing is replied." for step in state.unsent}
        failed |= {step: f"Whether {step.name} failed is not looked at." for step, _ in state.unlooked}
        for step, what in failed.items():
            if script.ours(step.file):
                continue
            why = "Where it fails the transaction is already suspended: the caller waits for the timer."
            argument = step.argument(0).replace("\\", "\\\\").replace('"', '\\"')
            write = f'if (!{step.name}("{argument}")) {{\n\tt_reply("503", "No Decision");\n}}\nexit;'
            yield finding("no-reply-when-unsent", step, what, why, write)


def _no_decision(script: Script) -> Iterator[Finding]:
    """The include leaves the reply to the user's route."""
    route = script.route(ROUTE, "NO_DECISION")
    if not script.included or route is None:
        return
    flow = script.flow(ROUTE, "NO_DECISION", INVITE, script.unanswered)
    if any(state.unsent for state in flow.ends) and next(calls_in(flow, *ASYNC), None) is None:
        what = "route[NO_DECISION] has a way on which it replies nothing and sends the call nowhere."
        why = "It is called where no answer will come: the caller waits, and hears nothing."
        yield finding("no-reply-when-unsent", route, what, why, 't_reply("503", "No Decision");')


def goes_on(script: Script) -> Iterator[Finding]:
    """What a suspended request must not meet: a relay, a reply, a second suspension."""
    flows = [*script.requests, *script.failures.values(), *(flow for _, flow in script.resumes)]
    told: set[Step] = set()
    for flow in flows:
        for visit in calls_in(flow, *REPLIES, *ASYNC):
            waiting = visit.state.asked - told
            if waiting:
                step = min(waiting, key=lambda one: (one.file, one.line))
                told |= waiting
                what = f"{visit.step.name} comes after {step.name}: nothing ends the route between them."
                why = (
                    "The request is suspended and waits for its answer; what touches it now comes too early."
                )
                yield finding("goes-on", visit.step, what, why, "exit;   # after the suspension")


def ask_in_no_decision(script: Script) -> Iterator[Finding]:
    """The include calls NO_DECISION where it cannot ask."""
    if not script.included:
        return
    for visit in script.flow(ROUTE, "NO_DECISION", INVITE, script.transaction).steps:
        if visit.step.kind == "call" and visit.step.name in ASYNC:
            what = "route[NO_DECISION] asks again."
            why = "With no adapter ready each calls the other, 256 times, until Kamailio stops them."
            yield finding(
                "ask-in-no-decision",
                script.users(visit),
                what,
                why,
                't_reply("503", "No Decision");',
            )


def too_many_questions(script: Script) -> Iterator[Finding]:
    """Each question takes a branch, and the call needs one."""
    limit = script.configuration.defines.get("ADAPTER_MAX_QUESTIONS")
    branches = script.configuration.setting("", "max_branches")
    allowed = (branches.number if branches else DEFAULT_BRANCHES) or DEFAULT_BRANCHES
    asked = number(limit.text) if limit else None
    if script.included and limit is not None and asked is not None and asked >= allowed:
        what = f"ADAPTER_MAX_QUESTIONS is {asked}, and tm has {allowed} branches."
        why = "Each question takes one of them and the call needs one: the last question ends in a 500."
        yield finding(
            "too-many-questions",
            limit,
            what,
            why,
            f"# above the include:\n#!define ADAPTER_MAX_QUESTIONS {allowed - 1}",
        )


def no_cancel(script: Script) -> Iterator[Finding]:
    """Only the configuration can tell that a caller hung up."""
    if not script.questions or next(calls_in(script.cancel, *SENDS), None) is not None:
        return
    what = "Nobody is told of a CANCEL."
    why = "Kamailio answers it by itself: consumers go on deciding a call that is gone."
    write = _CANCEL if script.included else _CANCEL_BY_HAND
    at = script.route(REQUEST, "") or script.route(ROUTE, "") or Noted("", script.configuration.path, 0)
    yield finding("no-cancel", at, what, why, write)


RULES: Final = (
    no_question, question_incomplete, no_retransmission_check, no_reply_when_unsent, goes_on,
    ask_in_no_decision, too_many_questions, no_cancel,
)  # fmt: skip
