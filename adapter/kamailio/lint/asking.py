"""The rules about the suspension: what comes before it, what after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapter.kamailio.configuration import REQUEST, ROUTE, number
from adapter.kamailio.lint.findings import Finding, finding
from adapter.kamailio.lint.script import ASYNC, REPLIES, SENDS, answers, called, comes_first, suspends
from adapter.kamailio.tokens import Noted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from adapter.kamailio.lint.findings import Place
    from adapter.kamailio.lint.script import Script
    from adapter.kamailio.lint.steps import Step

DEFAULT_TIMER: Final = 30_000
"""Milliseconds: tm's fr_timer."""
DEFAULT_BRANCHES: Final = 12
INCLUDE_REMEMBERS: Final = 60_000
"""Milliseconds for which the include remembers an open question."""
_CHECKS: Final = ("t_precheck_trans", "t_check_trans", "t_newtran", "t_lookup_request")
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
    if script.asking or script.calls_of("t_suspend") or script.configuration.module("evapi") is None:
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
    flows = [(set[str](), flow) for flow in (*script.requests, *script.failures.values())]
    flows += [({step.name for step in before if step.kind == "set"}, flow) for before, flow in script.resumes]
    for known, flow in flows:
        for step in flow:
            if step.kind == "set":
                known.add(step.name)
            elif step.kind == "call" and step.name == "route" and step.argument(0) == "ADAPTER_ASK":
                for name, example in (("event", '"invite_request"'), ("data", '"{}"')):
                    if f"var({name})" not in known:
                        what = f"ADAPTER_ASK is called, but $var({name}) was not set before."
                        why = "It still holds what an earlier call in this process left in it: that is asked."
                        yield finding("question-incomplete", step, what, why, f"$var({name}) = {example};")


def no_retransmission_check(script: Script) -> Iterator[Finding]:
    """A phone repeats its INVITE after half a second."""
    for step, before, _ in script.asking_first:
        if not any(comes_first(one, step) for one in called(before, *_CHECKS)):
            what = "Nothing looks for retransmissions before the request is suspended."
            why = (
                "A phone repeats its request after 0.5 s: each repeat is asked about, and suspends once more."
            )
            write = "if (t_precheck_trans()) { t_check_trans(); exit; }\nt_check_trans();"
            yield finding("no-retransmission-check", step, what, why, write)


def timer(script: Script) -> Iterator[Finding]:
    """How long a call waits for an answer: ``no-timer``, ``short-timer``, ``long-timer``."""
    configured = script.configuration.setting("tm", "fr_timer")
    for step, before, _ in script.asking_first:
        at: Place | None = configured
        value = configured.number if configured else DEFAULT_TIMER
        for one in called(before, "t_set_fr", "t_reset_fr"):
            if not comes_first(one, step):
                continue
            if one.name == "t_reset_fr":
                at, value = configured, configured.number if configured else DEFAULT_TIMER
            elif len(one.arguments) > 1 and one.argument(1) != "0":
                at, value = one, number(one.argument(1))
        if at is not None and script.ours(at.file):
            at = script.configuration.defines.get("ADAPTER_FR_TIMER", at)
        if value is not None:
            yield from _timer(script, step, at, value)


def _timer(script: Script, step: Step, at: Place | None, value: int) -> Iterator[Finding]:
    enough = int(script.deadline * 1000) + 2000
    write = f"t_set_fr(0, {enough});"
    if script.included:
        write = f"# above the include:\n#!define ADAPTER_FR_TIMER {enough}"
    if value <= script.deadline * 1000:
        what = f"Kamailio gives up after {value} ms, the adapter after {script.deadline * 1000:g} ms."
        why = "Kamailio's timer must be the later one: else every late decision finds the call already ended."
        yield finding("short-timer", at or step, what, why, write)
    elif at is None:
        what = f"No timer is set before the request is suspended: it is tm's {value / 1000:g} s."
        why = "With no answer the caller hears nothing for so long. The second parameter counts."
        yield finding("no-timer", step, what, why, write)
    elif script.included and script.ours(step.file) and value >= INCLUDE_REMEMBERS:
        what = f"ADAPTER_FR_TIMER is {value} ms."
        why = "evapi-adapter.cfg forgets an open question after 60 s, and drops the answer to it."
        yield finding("long-timer", at, what, why, write)


def no_failure_route(script: Script) -> Iterator[Finding]:
    """Nobody is there when the timer fires."""
    write = 't_on_failure("SILENT");\n\nfailure_route[SILENT] {\n\tt_reply("503", "No Decision");\n}'
    for step, before, _ in script.asking:
        armed = [one for one in called(before, "t_on_failure") if comes_first(one, step)]
        if not armed or armed[-1].argument(0) in ("0", ""):
            what = "No failure route is armed when the request is suspended."
            why = "Where no answer comes in time, tm replies 408 or 500 by itself, and no fallback runs."
            yield finding("no-failure-route", step, what, why, write)
        elif armed[-1].argument(0) not in script.failures and "$" not in armed[-1].argument(0):
            name = armed[-1].argument(0)
            what = f"There is no failure_route[{name}]."
            why = "Kamailio starts all the same; where no answer comes in time, no fallback runs."
            write = f'failure_route[{name}] {{\n\tt_reply("503", "No Decision");\n}}'
            yield finding("no-failure-route", armed[-1], what, why, write)


def no_gate(script: Script) -> Iterator[Finding]:
    """evapi_async_relay says "done" with nobody connected."""
    told: set[str] = set()
    for route in script.configuration.routes:
        if route.name.startswith("evapi:"):
            told |= {step.name for step in script.flow(route.kind, route.name) if step.kind == "set"}
    told = {name for name in told if name.startswith(("sht(", "shv("))}
    for step, before, _ in script.asking:
        if not any(one.kind == "read" and one.name in told for one in before):
            what = f"{step.name} is called without a look whether an adapter is there."
            why = "It succeeds with no client connected: every call then hangs until the timer. "
            why += "Keep the adapter's status frames in an htable that expires."
            write = 'if ($sht(adapter_gate=>open) == $null) { t_reply("503", "No Decision"); exit; }'
            yield finding("no-gate", step, what, why, write)


def no_reply_when_unsent(script: Script) -> Iterator[Finding]:
    """What fails after the suspension leaves the transaction suspended."""
    yield from _no_decision(script)
    for step, _, after in script.asking:
        if script.ours(step.file):
            continue
        if step.checked:
            if any(answers(one) for one in _when_failed(step, after)):
                continue
            what = f"Where {step.name} fails nothing is replied."
        elif any(one.name == "rc" for one in after[:4] if one.kind == "read"):
            continue
        else:
            what = f"Whether {step.name} failed is not looked at."
        why = "Where it fails the transaction is already suspended: the caller waits for the timer."
        argument = step.argument(0).replace('"', '\\"')
        write = f'if (!{step.name}("{argument}")) {{\n\tt_reply("503", "No Decision");\n}}\nexit;'
        yield finding("no-reply-when-unsent", step, what, why, write)


def _no_decision(script: Script) -> Iterator[Finding]:
    """The include leaves the reply to the user's route."""
    route = script.route(ROUTE, "NO_DECISION")
    flow = script.flow(ROUTE, "NO_DECISION")
    if script.included and route is not None and not any(answers(step) for step in flow):
        what = "route[NO_DECISION] replies nothing and sends the call nowhere."
        why = "It is called where no answer will come: the caller waits, and hears nothing."
        yield finding("no-reply-when-unsent", route, what, why, 't_reply("503", "No Decision");')


def _when_failed(step: Step, after: Sequence[Step]) -> list[Step]:
    """What may follow when the suspending function says no."""
    if step.tested is None or not step.negated:
        return [one for one in after if step.tested is None or step.tested not in one.blocks]
    inside = [one for one in after if step.tested in one.blocks]
    return inside if any(one.kind == "end" for one in inside) else list(after)


def goes_on(script: Script) -> Iterator[Finding]:
    """What a suspended request must not meet: a relay, a reply, a second suspension."""
    for step, _, after in script.asking:
        returned: set[int] = set()
        for one in after:
            if returned & set(one.frames) or not _follows(one, step):
                continue
            if one.kind == "end" and one.name in ("exit", "drop"):
                break
            if one.kind == "end" and one.name == "return":
                if len(one.frames) == 1:
                    break
                returned.add(one.frames[-1])
            elif one.kind == "call" and (one.name in REPLIES or one.name in ASYNC):
                what = f"{one.name} comes after {step.name}: nothing ends the route between them."
                why = (
                    "The request is suspended and waits for its answer; what touches it now comes too early."
                )
                yield finding("goes-on", one, what, why, "exit;   # after the suspension")
                break


def _follows(one: Step, step: Step) -> bool:
    """Whether ``one`` happens where the suspension at ``step`` worked."""
    extra = [block for block in one.blocks if block not in step.blocks]
    if not extra:
        return True
    if len(extra) > 1 or step.tested is None:
        return False
    return step.tested is (extra[0].otherwise if step.negated else extra[0])


def ask_in_no_decision(script: Script) -> Iterator[Finding]:
    """The include calls NO_DECISION where it cannot ask."""
    flow = script.flow(ROUTE, "NO_DECISION")
    for at, step in enumerate(flow):
        if script.included and suspends(step):
            what = "route[NO_DECISION] asks again."
            why = "With no adapter ready each calls the other, 256 times, until Kamailio stops them."
            yield finding(
                "ask-in-no-decision",
                script.users(step, flow[:at]),
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
    if not script.asking:
        return
    for flow in script.requests:
        for step in called(flow, *SENDS):
            if any("CANCEL" in block.condition for block in step.blocks):
                return
    what = "Nobody is told of a CANCEL."
    why = "Kamailio answers it by itself: consumers go on deciding a call that is gone."
    write = _CANCEL if script.included else _CANCEL_BY_HAND
    at = script.route(REQUEST, "") or script.route(ROUTE, "") or Noted("", script.configuration.path, 0)
    yield finding("no-cancel", at, what, why, write)


RULES: Final = (
    no_question, question_incomplete, no_retransmission_check, timer, no_failure_route, no_gate,
    no_reply_when_unsent, goes_on, ask_in_no_decision, too_many_questions, no_cancel,
)  # fmt: skip
