"""The rules about what is lost, and where to set it: headers, accounting, questions in the wrong route."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapter.kamailio.configuration import FAILURE
from adapter.kamailio.lint.findings import Finding, finding
from adapter.kamailio.lint.names import ASYNC, RELAYS
from adapter.kamailio.lint.script import calls_in
from adapter.kamailio.lint.values import values

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adapter.kamailio.lint.flow import Flow
    from adapter.kamailio.lint.script import Script
    from adapter.kamailio.lint.state import State
    from adapter.kamailio.statements import Step

CHANGES: Final = (
    *("record_route", "record_route_preset", "append_hf", "append_hf_value", "insert_hf", "insert_hf_value"),
    *("remove_hf", "remove_hf_re", "remove_hf_exp", "subst_hf", "uac_replace_from", "uac_replace_to"),
)
"""Functions whose effect on a request ends with the route that calls them, if that is RESUME."""
_ACCOUNTING: Final = (
    *("log_flag", "log_missed_flag", "db_flag", "db_missed_flag", "radius_flag", "radius_missed_flag"),
    *("diameter_flag", "diameter_missed_flag"),
)
_REFUSED: Final = {
    **dict.fromkeys(ASYNC, frozenset({"branch_route", "reply_route", "onsend_route", "failure_route"})),
    **dict.fromkeys(RELAYS, frozenset({"branch_route", "reply_route", "onsend_route"})),
    "t_reply": frozenset({"branch_route", "onsend_route"}),
    "t_newtran": frozenset({"branch_route", "reply_route", "onsend_route", "failure_route"}),
    "sl_send_reply": frozenset({"branch_route", "reply_route", "onsend_route", "failure_route"}),
    "record_route": frozenset({"reply_route", "onsend_route"}),
}
"""Functions -> the kinds of routes in whose body Kamailio refuses them, tried with ``kamailio -c``."""


def lost_in_failure_route(script: Script) -> Iterator[Finding]:
    """What RESUME adds to the request is not on one that a later failure route sends."""
    silent = {one for question in script.questions for one in question.state.armed}
    for _, flow in script.resumes:
        for relay in calls_in(flow, *RELAYS):
            added = [step for step in _changes(flow) if relay.state.maybe & _bit(script, step)]
            if not added:
                continue
            for armed in relay.state.armed - silent:
                name = "" if armed is None else armed.argument(0)
                if name in script.failures:
                    yield from _lost(script, name, added)


def _changes(flow: Flow) -> Iterator[Step]:
    for visit in calls_in(flow, *CHANGES):
        yield visit.step


def _bit(script: Script, step: Step) -> int:
    return script.facts.bit(f"call {step.name}")


def _lost(script: Script, name: str, added: list[Step]) -> Iterator[Finding]:
    for relay in calls_in(script.failures[name], *RELAYS):
        missing = [step for step in added if not relay.state.maybe & _bit(script, step)]
        if not missing or script.ours(relay.step.file):
            continue
        calls = list(dict.fromkeys(_written(step) for step in missing))
        names = ", ".join(dict.fromkeys(step.name for step in missing))
        what = f"failure_route[{name}] sends the call on without what RESUME added ({names})."
        why = (
            "What RESUME changes is on the requests that it sends itself, on no later one: a BYE may pass by."
        )
        yield finding("lost-in-failure-route", relay.step, what, why, "\n".join([*calls, "t_relay();"]))


def _written(step: Step) -> str:
    parts = []
    for one in step.arguments:
        text = one.text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "\\r").replace("\n", "\\n")
        parts.append(f'"{text}"' if one.quoted else one.text)
    return f"{step.name}({', '.join(parts)});"


def flag_after_question(script: Script) -> Iterator[Finding]:
    """Flags of accounting that are set too late."""
    flags = {
        one.value for one in script.configuration.settings if one.module == "acc" and one.name in _ACCOUNTING
    }
    if not flags or not script.questions:
        return
    known = sum(script.facts.bit(f"flag {flag}") for flag in flags)
    if all(question.state.done & known for question in script.questions):
        return
    flows = [flow for _, flow in script.resumes]
    flows += [flow for name, flow in script.failures.items() if name in _armed(script)]
    for flow in flows:
        for visit in calls_in(flow, "setflag"):
            if visit.step.argument(0) in flags and not visit.state.done & known:
                flag = visit.step.argument(0)
                what = f"The flag {flag} of accounting is set after the question."
                why = "acc looks at it when the transaction is made: set later, it writes no record."
                write = f"setflag({flag});   # before the question"
                yield finding("flag-after-question", visit.step, what, why, write)


def _armed(script: Script) -> set[str]:
    states: list[State] = [question.state for question in script.questions]
    return {one.argument(0) for state in states for one in state.armed if one is not None}


def ask_in_branch_or_reply(script: Script) -> Iterator[Finding]:
    """A question asked where there is no request to suspend."""
    for route in script.configuration.routes:
        if route.kind not in ("branch_route", "reply_route", "onsend_route"):
            continue
        for visit in calls_in(script.flow(route.kind, route.name), *ASYNC, "t_suspend"):
            if visit.step.name in ASYNC and not visit.calls:
                continue  # relay-refused
            what = f"{route.title} asks a question."
            why = "It breaks the call: a branch or a reply cannot be suspended. Ask before the call is sent."
            write = "# Take it away here; in a failure route, or in RESUME, route(ADAPTER_ASK); works."
            at = visit.calls[0] if visit.calls else visit.step
            yield finding("ask-in-branch-or-reply", at, what, why, write)


def relay_refused(script: Script) -> Iterator[Finding]:
    """A function that Kamailio does not take in this kind of route."""
    for (kind, name), own in script.own.items():
        for step in own:
            if step.kind != "call" or kind not in _REFUSED.get(step.name, ()):
                continue
            title = f"{kind}[{name}]" if name else kind
            what = f"{step.name} stands in {title}, where Kamailio refuses it."
            why = "Kamailio does not start."
            write = ""
            if kind == FAILURE and step.name in ASYNC:
                why += " Called through a route of its own it works in a failure route."
                write = "route(ASK);   # and the question in route[ASK] { ... }"
            elif kind == FAILURE and step.name == "sl_send_reply":
                write = f't_reply("{step.argument(0)}", "{step.argument(1)}");'
            yield finding("relay-refused", step, what, why, write)


def reply_not_expanded(script: Script) -> Iterator[Finding]:
    """Text and a variable mixed in t_reply."""
    for step in script.calls_of("t_reply"):
        for position in (0, 1):
            text = step.argument(position)
            found = list(values(text))
            if not found or (len(found) == 1 and found[0].text == text):
                continue
            code = step.argument(0)
            what = f'"{text}" in t_reply mixes text and a variable.'
            why = "t_reply expands a variable that stands alone; beside text the caller gets its name."
            name = ("code", "reason")[position]
            write = f'$var({name}) = "{text}";\n'
            write += (
                f't_reply("{code}", "$var(reason)");'
                if position
                else f't_reply("$var(code)", "{step.argument(1)}");'
            )
            yield finding("reply-not-expanded", step, what, why, write)


RULES: Final = (
    lost_in_failure_route, flag_after_question, ask_in_branch_or_reply, relay_refused, reply_not_expanded,
)  # fmt: skip
