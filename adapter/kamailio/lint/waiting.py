"""The rules about the time between question and answer: timer, failure route, health gate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapter.kamailio.configuration import EVENT, Setting, number
from adapter.kamailio.lint.findings import Finding, finding
from adapter.kamailio.lint.names import CLOSED, MESSAGE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adapter.kamailio.lint.findings import Place
    from adapter.kamailio.lint.script import Question, Script

DEFAULT_TIMER: Final = 30_000
"""Milliseconds: tm's fr_timer."""
MUCH_LONGER: Final = 20_000
"""Milliseconds above the deadline from which a timer is as good as none."""
INCLUDE_REMEMBERS: Final = 60_000
"""Milliseconds for which the include remembers an open question."""


_GATE: Final = 'if ($sht(gate=>open) == $null) { t_reply("503", "No Decision"); exit; }'


def timer(script: Script) -> Iterator[Finding]:
    """How long a call waits for an answer: ``no-timer``, ``short-timer``, ``long-timer``."""
    configured = script.configuration.setting("tm", "fr_timer")
    general = configured.number if configured else DEFAULT_TIMER
    for question in script.first_questions:
        for one in sorted(question.state.timers, key=lambda step: (step is not None, step and step.line)):
            at: Place | None = configured
            value = general
            if one is not None and one.name == "t_set_fr" and one.argument(1) not in ("", "0"):
                at, value = one, number(one.argument(1))
            if at is not None and script.ours(at.file):
                at = script.configuration.defines.get("ADAPTER_FR_TIMER", at)
            if value is not None:
                yield from _timer(script, question, at, value)


def _timer(script: Script, question: Question, at: Place | None, value: int) -> Iterator[Finding]:
    deadline = script.deadline * 1000
    enough = int(deadline) + 2000
    write = f"t_set_fr(0, {enough});"
    if script.included:
        write = f"# above the include:\n#!define ADAPTER_FR_TIMER {enough}"
    if isinstance(at, Setting):
        write = f'modparam("tm", "fr_timer", {enough})'
    waits = "With no answer the caller hears nothing for so long. The second parameter counts."
    if value <= deadline:
        what = f"Kamailio gives up after {value} ms, the adapter after {deadline:g} ms."
        why = "Kamailio's timer must be the later one: else every late decision finds the call already ended."
        yield finding("short-timer", at or question.step, what, why, write)
    elif at is None:
        what = f"No timer is set before the request is suspended: it is tm's {value / 1000:g} s."
        yield finding("no-timer", question.step, what, waits, write)
    elif script.included and script.ours(question.step.file) and value >= INCLUDE_REMEMBERS:
        what = f"ADAPTER_FR_TIMER is {value} ms."
        why = "evapi-adapter.cfg forgets an open question after 60 s, and drops the answer to it."
        yield finding("long-timer", at, what, why, write)
    elif value > deadline + MUCH_LONGER:
        what = f"The timer is {value / 1000:g} s, and the adapter answers within {deadline / 1000:g} s."
        yield finding("no-timer", at, what, waits, write)


def no_failure_route(script: Script) -> Iterator[Finding]:
    """Nobody is there when the timer fires."""
    free = next(name for name in ("SILENT", "NO_ANSWER", "NOBODY_ANSWERS") if name not in script.failures)
    write = f't_on_failure("{free}");\n\nfailure_route[{free}] {{\n\tt_reply("503", "No Decision");\n}}'
    for question in script.questions:
        for one in question.state.armed:
            name = "" if one is None else one.argument(0)
            if name in ("0", ""):
                what = "No failure route is armed when the request is suspended."
                why = "Where no answer comes in time, tm replies 408 or 500 by itself, and no fallback runs."
                yield finding("no-failure-route", question.step, what, why, write)
            elif name not in script.failures and "$" not in name and one is not None:
                what = f"There is no failure_route[{name}]."
                why = "Kamailio starts all the same; where no answer comes in time, no fallback runs."
                lines = f'failure_route[{name}] {{\n\tt_reply("503", "No Decision");\n}}'
                yield finding("no-failure-route", one, what, why, lines)


def no_gate(script: Script) -> Iterator[Finding]:
    """evapi_async_relay says "done" with nobody connected."""
    write = _GATE
    for question in script.questions:
        name = question.step.name
        looks = sum({script.facts.bit(f"test {gate}") for gate in question.flow.gates})
        if not question.state.done & looks:
            what = f"{name} is called without a look whether an adapter is there."
        elif question.state.maybe & script.facts.bit(CLOSED):
            what = f"{name} is called although the gate is closed: nothing ends the route there."
        else:
            continue
        why = "It succeeds with no client connected: every call then hangs until the timer. "
        why += "Keep the adapter's status frames in an htable that expires, each link's under its own key."
        yield finding("no-gate", question.step, what, why, write)


def gate_of_one_key(script: Script) -> Iterator[Finding]:
    """One key for the status of all replicas, which one that is not ready takes from those that are."""
    if not script.seen or script.replicas < 2:
        return
    gates = {
        name
        for question in script.questions
        for name in question.flow.gates & script.gates
        if question.state.done & script.facts.bit(f"test {name}")
    }
    for step in script.own.get((EVENT, MESSAGE), ()):
        if step.kind == "set" and step.name in gates and step.argument(0) in ("$null", "0"):
            if "evapi(conidx)" in " ".join(one.text for one in step.arguments[0].words):
                continue
            what = f"The health gate has one key for all of {script.replicas} replicas."
            why = (
                "One that is not ready closes it for those that are: of 600 calls up to 177 got no decision. "
            )
            why += "Open it at each `ready`, and let it expire."
            yield finding("gate-of-one-key", step, what, why, "")


RULES: Final = (timer, no_failure_route, no_gate, gate_of_one_key)
