"""The rules about answers: how they are read, and what the route of t_continue may do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from adapter.kamailio import INCLUDE
from adapter.kamailio.configuration import EVENT, FAILURE, REQUEST, ROUTE
from adapter.kamailio.lint.findings import Finding, finding
from adapter.kamailio.lint.names import ASYNC, CONNECTED, MESSAGE, RELAYS, STATELESS, TRANSACTION
from adapter.kamailio.lint.request import ANY
from adapter.kamailio.lint.script import calls_in
from adapter.kamailio.parser import variables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adapter.kamailio.lint.findings import Severity
    from adapter.kamailio.lint.flow import Flow
    from adapter.kamailio.lint.script import Script
    from adapter.kamailio.statements import Step

_HELLO: Final = 'evapi_relay("{\\"adapter\\":{\\"hello\\":1,\\"receipts\\":true,\\"gate\\":true}}");'
_RECEIPT: Final = (
    '$var(sync) = "";\nif (jansson_get("adapter.sync", "$evapi(msg)", "$var(sync)")) {\n'
    '\tevapi_relay("{\\"adapter\\":{\\"synced\\":\\"$var(sync)\\"}}");\n\texit;\n}'
)
_BLOCKING: Final = re.compile(
    r"(sql_(x?query|pvquery|query_device)|avp_db_\w+|db_\w+|http_(client_\w+|connect\w*|get|post)|curl_\w+"
    r"|rabbitmq_publish(_consume)?|u?sleep|exec_(msg|dset|avp|cmd)|redis_\w+|ldap_\w+|radius_\w+|memc_\w+"
    r"|enum_\w+|dns_query|nats_publish|kafka_send\w*|cassandra_\w+|lua_\w+|python_exec|perl_exec|jsonrpc_request)$"
)
_SCRIPTS: Final = frozenset({"python_exec", "lua_run", "lua_runstring", "jsdt_run", "sqlang_run"})
_TELLS_APART: Final = (
    "t_branch_timeout", "t_any_timeout", "t_check_status", "t_branch_replied", "t_any_replied",
    "t_is_canceled",
)  # fmt: skip


def no_answer_route(script: Script) -> Iterator[Finding]:
    """Questions without a reader of answers."""
    if script.questions and not script.continues:
        what = "Nothing calls t_continue: no suspended request ever goes on."
        why = "The adapter's answers are read and dropped; every call waits for the timer."
        write = (
            't_continue("$var(tmidx)", "$var(tmlabel)", "RESUME");   # in event_route[evapi:message-received]'
        )
        at = script.route(EVENT, MESSAGE) or script.questions[0].step
        yield finding("no-answer-route", at, what, why, write)


def receipts(script: Script) -> Iterator[Finding]:
    """Whether the adapter learns what was read: ``no-receipts``, ``no-hello``."""
    route = script.route(EVENT, MESSAGE)
    if route is None or not script.continues:
        return
    hello = [step for step in script.connected.visits if _argument_has(step, "hello")]
    receipts = any(_argument_has(step, "synced") for step in script.received.visits)
    if receipts and not hello:
        what = "No hello is sent to an adapter that connects."
        why = "Without it the adapter holds this for a plain configuration: no receipts, no status, slower."
        at = script.route(EVENT, CONNECTED) or route
        yield finding("no-hello", at, what, why, f"event_route[{CONNECTED}] {{\n\t{_HELLO}\n}}")
    elif not receipts:
        promised = any('"receipts":true' in step.argument(0).replace(" ", "") for step in hello)
        what = "The adapter's sync frames are not answered: there are no receipts."
        why = "Kamailio loses frames of a fast writer: without receipts it must be a slow one."
        if promised:
            why = "The hello promises receipts: the adapter waits for each one, and sends its answers again."
        severity: Severity = "error" if promised else "warning"
        yield finding(
            "no-receipts", route, what, why, f"{_RECEIPT}\n# and at its connection: {_HELLO}", severity
        )


def _argument_has(step: Step, word: str) -> bool:
    return step.kind == "call" and any(word in argument.text for argument in step.arguments)


def _path(step: Step) -> str:
    """The last key of what a jansson_get reads."""
    return step.argument(0).rsplit(".", 1)[-1] if step.name in ("jansson_get", "jansson_xget") else ""


def continue_route(script: Script) -> Iterator[Finding]:
    """Where a transaction goes on: ``continue-unknown-route``, ``continue-from-wire``."""
    for step in script.continues:
        name = step.argument(2)
        write = f't_continue("{step.argument(0)}", "{step.argument(1)}", "RESUME");'
        if "$" in name:
            what = f"The route of t_continue comes out of a variable ({name})."
            why = "Whoever writes the frame chooses the route; one that is not there hangs the call."
            yield finding("continue-from-wire", step, what, why, write)
        elif script.route(ROUTE, name) is None:
            what = f"t_continue goes on with route[{name}], which is not there."
            why = "Kamailio starts all the same; the call stays suspended until the timer."
            yield finding(
                "continue-unknown-route",
                step,
                what,
                why,
                f'route[{name}] {{\n\tt_reply("503", "No Decision");\n}}',
            )


def no_seq(script: Script) -> Iterator[Finding]:
    """A second question has the ids of the first."""
    again = [flow for _, flow in script.resumes] + list(script.failures.values())
    if next((visit for flow in again for visit in calls_in(flow, *ASYNC)), None) is None:
        return
    read = {
        name
        for step in script.received.visits
        if step.kind == "call" and _path(step) == "seq"
        for name in variables(step.argument(2))
    }
    looks = sum(script.facts.bit(f"test {name}") for name in read)
    for visit, _ in script.resumes:
        if script.ours(visit.step.file) and not visit.step.file.endswith(INCLUDE):
            continue  # a command: its ids come from the table of open questions
        if not visit.state.done & looks:
            what = "A request is asked about more than once, and the answer's seq is not compared."
            why = "Index and label stay the same: a late answer to the first question resumes the second."
            write = '$var(seq) = -1;\njansson_get("tm_trans.seq", "$evapi(msg)", "$var(seq)");\n'
            write += "if ($sht(asked=>$var(tmidx):$var(tmlabel)) != $var(seq)) exit;"
            yield finding("no-seq", visit.step, what, why, write)


def _everywhere(script: Script) -> Iterator[Flow]:
    """Every flow that begins somewhere of its own."""
    yield from script.requests
    yield from (flow for _, flow in script.resumes)
    yield from script.failures.values()
    for route in script.configuration.routes:
        if route.kind not in (ROUTE, REQUEST, FAILURE):
            yield script.flow(route.kind, route.name)


def unreset_variable(script: Script) -> Iterator[Finding]:
    """jansson_get leaves its target alone where the key is missing."""
    for flow in _everywhere(script):
        for visit in calls_in(flow, "jansson_get", "jansson_xget"):
            if visit.step not in script.unlooked:
                continue
            for name in variables(visit.step.argument(2))[:1]:
                if name.startswith("var(") and not visit.state.done & script.facts.bit(f"set {name}"):
                    what = f"${name} is not set before jansson_get writes into it."
                    why = "Where the key is missing it keeps what an earlier call left there: that is used."
                    write = f'${name} = "";   # before, or -1 for a number'
                    yield finding("unreset-variable", visit.step, what, why, write)


def lost_variable(script: Script) -> Iterator[Finding]:
    """$var belongs to a process, and the answer comes to another one."""
    before = {
        name
        for question in script.questions
        for name in script.facts.names(question.state.maybe, "set ")
        if name.startswith("var(")
    }
    flows = [flow for _, flow in script.resumes]
    flows += [script.failures[name] for name in sorted(_armed(script)) if name in script.failures]
    for flow in flows:
        told: set[str] = set()
        for visit in flow.steps:
            name = visit.step.name
            if visit.step.kind != "read" or name not in before - told:
                continue
            if not visit.state.done & script.facts.bit(f"set {name}"):
                told.add(name)
                what = f"${name} is set before the request is suspended and read after it."
                why = "The answer comes to another process, where it holds something else, or nothing."
                write = f"$a{name} = ...;   # before the suspension, and $a{name} here"
                yield finding("lost-variable", visit.step, what, why, write.replace("$avar(", "$avp("))


def _armed(script: Script) -> set[str]:
    """The failure routes that wait while a request is suspended."""
    armed = {one for question in script.questions for one in question.state.armed}
    return {one.argument(0) for one in armed if one is not None}


def blocking_resume(script: Script) -> Iterator[Finding]:
    """One process of EVAPI's reads all answers."""
    for flow in (script.received, *(flow for _, flow in script.resumes)):
        for step in flow.visits:
            if not script.native and step.name in _SCRIPTS:
                continue  # the language that all requests are handled in
            if step.kind == "call" and _BLOCKING.match(step.name):
                what = f"{step.name} may block, and it stands on the way of an answer."
                why = (
                    "EVAPI's only process runs it, under the transaction's lock: meanwhile no answer is read."
                )
                write = (
                    "# Ask the consumer for it, or do it before the suspension and keep it in an $avp(...)."
                )
                yield finding("blocking-resume", step, what, why, write)


def stateless_reply(script: Script) -> Iterator[Finding]:
    """A reply or a relay that knows nothing of the suspended transaction."""
    flows = [flow for _, flow in script.resumes]
    flows += [script.failures[name] for name in sorted(_armed(script)) if name in script.failures]
    flows += [script.flow(ROUTE, "NO_DECISION", ANY, script.transaction)] if script.included else []
    if any("$" in step.argument(0) for step in script.calls_of("route")):
        return  # a variable chooses the route: perhaps it stands before the suspension, too
    there = script.facts.bit(TRANSACTION)
    before = {step for flow in script.requests for step in flow.visits}
    if script.included:  # the include calls it behind t_newtran, always
        before -= set(script.own.get((ROUTE, "NO_DECISION"), ()))
    for flow in flows:
        for visit in calls_in(flow, *STATELESS):
            name = visit.step.name
            if (
                not visit.state.done & there
                or visit.step in before
                or (name == "sl_send_reply" and not visit.calls and flow.kind == FAILURE)
            ):
                continue  # a route for both, where it is most often right; or Kamailio does not start
            what = f"{name} stands behind the suspension, and knows nothing of the transaction."
            why = "The caller gets it, but the transaction goes on waiting, and tm replies once more."
            write = "t_relay();"
            if name == "sl_send_reply":
                code, reason = visit.step.argument(0), visit.step.argument(1)
                write = f't_reply("{code}", "{reason}");'
            elif name == "sl_reply_error":
                write = 't_reply("500", "Server Error");'
            yield finding("stateless-reply", visit.step, what, why, write)


def silent_route_armed(script: Script) -> Iterator[Finding]:
    """The failure route for silence also gets the callee's failures."""
    silent = {name for name in _armed(script) if not _tells_apart(script, name)}
    for _, flow in script.resumes:
        before = flow.begun.armed
        for relay in calls_in(flow, *RELAYS):
            armed = {one for one in relay.state.armed & before if one is not None}
            names = sorted(one.argument(0) for one in armed if one.argument(0) in silent)
            if names and not relay.state.asked:
                what = f"failure_route[{names[0]}] is still armed when the resumed call is sent on."
                why = "A callee who is busy comes there, too: the caller gets the reply for a silent adapter."
                yield finding(
                    "silent-route-armed", relay.step, what, why, 't_on_failure("0");\nt_reset_fr();'
                )
                break


def _tells_apart(script: Script, name: str) -> bool:
    flow = script.failures.get(name)
    return name == "0" or (flow is not None and next(calls_in(flow, *_TELLS_APART), None) is not None)


RULES: Final = (
    no_answer_route, receipts, continue_route, no_seq, unreset_variable, lost_variable, blocking_resume,
    stateless_reply, silent_route_armed,
)  # fmt: skip
