"""The rules about what both sides agree on: names of ids, encodings, paths of an answer.

Source: ``adapter/wire/event.py`` (what is read) and ``adapter/wire/to_kamailio.py`` (what is written).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from adapter.kamailio import INCLUDE
from adapter.kamailio.lint.findings import Finding, finding
from adapter.kamailio.lint.frames import Frames, is_json
from adapter.kamailio.lint.names import ASYNC, SENDS, TRANSACTION
from adapter.kamailio.lint.script import first_of, was_checked
from adapter.kamailio.lint.values import values
from adapter.kamailio.parser import variables

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from adapter.kamailio.lint.flow import Visit
    from adapter.kamailio.lint.frames import Member
    from adapter.kamailio.lint.script import Script
    from adapter.kamailio.statements import Step

_INDEX: Final = ("tm_trans.tm_index", "tm_trans.tr_index", "tm_index", "tr_index")
_LABEL: Final = ("tm_trans.tm_label", "tm_trans.tr_label", "tm_label", "tr_label")
_LOOKS: Final = re.compile(
    r"(^|[._])(t[a-z]?_?|id_?|trans\w*_?)?(index|label)$|transactionindex|transactionlabel", re.I
)
"""Names that ids might have."""
_WRITTEN: Final = frozenset(
    {"tm_trans", "event", "outcome", "correlation_id", "decision"}
    | {"traceparent", "services", "step", "adapter"}
)
"""The members of an answer."""
_DECIDES: Final = frozenset(
    {"action", "uri", "code", "reason", "routes", "uris"} | {"headers", "mode", "max_duration", "contacts"}
)
_ENCODED: Final = re.compile(r"\{s\.encode\.(\w+)\}")
_IDS: Final = '\\"tm_trans\\":{\\"tm_index\\":$T(id_index),\\"tm_label\\":$T(id_label)}'
_JANSSON_IDS: Final = (
    'jansson_set("integer", "tm_trans.tm_index", "$T(id_index)", "{0}");\n'
    'jansson_set("integer", "tm_trans.tm_label", "$T(id_label)", "{0}");'
)


def ids(script: Script) -> Iterator[Finding]:
    """The ids of a question: ``no-ids``, ``ids-not-read``, ``event-without-name``, ``encoding``."""
    met = {step for flow in script.asking_flows for step in flow.visits}
    frames = Frames(script, met)
    for visit in first_of(_sending(script)):
        step = visit.step
        for text, written in _texts(script, frames, step):
            if is_json(text) or _built(frames, text):
                yield from _json(frames, text, written)
            elif ":" in text:
                yield from _colon(frames, text, written)


def _sending(script: Script) -> Iterator[Visit]:
    """The calls that send a question."""
    for question in script.questions:
        if question.step.name in ASYNC:
            yield question.visit
        else:
            for visit in question.flow.steps:
                if (
                    visit.step.kind == "call"
                    and visit.step.name in SENDS
                    and question.step in visit.state.asked
                ):
                    yield visit


def _built(frames: Frames, text: str) -> bool:
    return any(value.text == text.strip() and value.key in frames.jansson for value in values(text))


def _texts(script: Script, frames: Frames, step: Step) -> Iterator[tuple[str, Step]]:
    """What a step may send, each with the step that writes it: a variable is one of its values."""
    text = step.argument(0)
    only = [value for value in values(text) if value.text == text.strip()]
    if not only or only[0].key in frames.jansson or only[0].key not in frames.sets:
        yield text, step
        return
    for one in frames.sets[only[0].key]:
        yield "".join(word.text for word in one.arguments[0].words if word.text != "+"), one


def _json(frames: Frames, text: str, step: Step) -> Iterator[Finding]:
    found, whole = frames.members(text, step)
    paths = {member.path: member for member in found}
    index = next((path for path in _INDEX if path in paths), None)
    label = next((path for path in _LABEL if path in paths), None)
    target = next((value.text for value in values(text)), "") if not is_json(text) else ""
    write = _JANSSON_IDS.replace("{0}", target) if target else _IDS
    if whole and (index is None or label is None):
        yield _missing(found, step, write)
    elif index and label and _swapped(paths[index], paths[label]):
        what = "The ids of the transaction are swapped: the index holds the label."
        why = "t_continue looks for a transaction that is not there: the call waits for the timer."
        yield finding("ids-not-read", paths[index].step, what, why, write)
    if whole and "event" not in paths:
        what = "The frame names no event."
        why = (
            "The adapter does not know which policy and which consumers it is for: the call gets `malformed`."
        )
        named = f'jansson_set("string", "event", "invite_request", "{target}");'
        yield finding(
            "event-without-name", step, what, why, named if target else '\\"event\\":\\"invite_request\\"'
        )


def _missing(found: list[Member], step: Step, write: str) -> Finding:
    right = {*_INDEX, *_LABEL}
    other = [one for one in found if "$T(id_" in one.value or _LOOKS.search(one.path)]
    other = [one for one in other if one.path not in right] or other
    if other:
        names = ", ".join(dict.fromkeys(one.path for one in other[:4]))
        what = f"The ids of the transaction are under names that the adapter does not read ({names})."
        why = "It takes the frame for a notice: nobody answers, and the call waits for the timer."
        return finding("ids-not-read", other[0].step, what, why, write)
    what = "The frame of a suspended request has no ids."
    why = "The adapter takes it for a notice: nobody answers, and the call waits for the timer."
    return finding("no-ids", step, what, why, write)


def _swapped(index: Member, label: Member) -> bool:
    return "id_label" in index.value and "id_index" in label.value


def _colon(frames: Frames, text: str, step: Step) -> Iterator[Finding]:
    """``name:index:label:base64``."""
    parts = _split(text)
    name = parts[0]
    write = f"{name}:$T(id_index):$T(id_label):$(var(data){{s.encode.base64}})"
    if len(parts) < 4 or not parts[1].strip() or not parts[2].strip():
        what = "The frame of a suspended request has no ids."
        why = "The adapter takes it for a notice: nobody answers, and the call waits for the timer."
        yield finding("no-ids", step, what, why, write)
        return
    if "id_label" in parts[1] or "id_index" in parts[2]:
        what = "The ids of the transaction are swapped: first the index, then the label."
        why = "t_continue looks for a transaction that is not there: the call waits for the timer."
        yield finding("ids-not-read", step, what, why, write)
    data = ":".join(parts[3:])
    wrong = _wrong_encoding(frames, data)
    if wrong:
        what = f"The data of the colon form are {wrong}, and the adapter reads base64."
        why = "It cannot read them: the call gets the outcome `malformed`, and no consumer is asked."
        yield finding("encoding", step, what, why, write)


def _split(text: str) -> list[str]:
    """Parts between colons that stand in no variable."""
    taken = [(value.start, value.start + len(value.text)) for value in values(text)]
    parts = [""]
    for position, sign in enumerate(text):
        if sign == ":" and not any(start <= position < end for start, end in taken):
            parts.append("")
        else:
            parts[-1] += sign
    return parts


def _wrong_encoding(frames: Frames, data: str, depth: int = 0) -> str:
    """What the data are encoded as; "" if it is base64 or cannot be known."""
    found = list(values(data))
    if not found:
        return "" if re.fullmatch(r"[A-Za-z0-9+/]*=*", data) else "plain text"
    encoded = _ENCODED.findall(found[-1].changes)
    if encoded:
        return "" if encoded[-1] == "base64" else f"encoded by {{s.encode.{encoded[-1]}}}"
    if len(found) > 1 or found[0].text != data.strip():
        return "plain text"
    if found[0].key in frames.jansson:
        return "JSON as it is"
    sets = frames.sets.get(found[0].key, [])
    if depth > 3 or not sets:
        return "plain text" if found[0].from_caller else ""
    told = [_wrong_encoding(frames, one.arguments[0].text, depth + 1) for one in sets]
    return told[0] if all(told) else ""


def ids_too_early(script: Script) -> Iterator[Finding]:
    """The ids are read before there is a transaction."""
    there = script.facts.bit(TRANSACTION)
    checked = [question.flow for question in script.first_questions if was_checked(script, question)]
    for flow in script.requests:
        if flow not in checked:
            continue  # what no-retransmission-check writes makes one, too
        for visit in flow.steps:
            step = visit.step
            if visit.state.done & there or not any("$T(id_" in one.text for one in step.arguments):
                continue
            if step.kind == "set" or step.name == "jansson_set" or step.name in SENDS:
                what = "The ids of the transaction are read before there is one."
                why = "They are <null> until t_newtran: the frame has no ids, and nobody answers it."
                yield finding("ids-too-early", step, what, why, "t_newtran();   # above this line")


def answer_path(script: Script) -> Iterator[Finding]:
    """Answers that are read where nothing is written."""
    gets = [step for step in script.calls if step.name in ("jansson_get", "jansson_xget")]
    roots = _roots(gets, script)
    for step in first_steps(script):
        for position, wanted in enumerate(("tm_index", "tm_label")):
            for name in variables(step.argument(position))[:1]:
                mine = [one for one in gets if variables(one.argument(2))[:1] == [name]]
                mine = [one for one in mine if one in script.received.visits] or mine
                yield from _ids_read(mine, roots, f"tm_trans.{wanted}", step)
    for _, flow in script.resumes:
        for get in flow.visits:
            if (
                get.kind == "call"
                and get.name in ("jansson_get", "jansson_xget")
                and not script.ours(get.file)
            ):
                yield from _decision_read(get, roots)


def first_steps(script: Script) -> Iterable[Step]:
    """Each t_continue of the user's."""
    return [step for step in script.continues if step.file.endswith(INCLUDE) or not script.ours(step.file)]


def _roots(gets: list[Step], script: Script) -> dict[str, str]:
    """Variables that hold an answer or a part of it -> the path of that part, "" for all of it."""
    roots = {"evapi(msg)": ""}
    if script.included:
        roots |= {"var(decision)": "decision", "var(answer)": ""}
    for own in script.own.values():
        for step in own:
            if step.kind == "set" and step.arguments and step.arguments[0].text.strip('"') in _WHOLE:
                roots.setdefault(step.name, "")
    for _ in range(3):
        for get in gets:
            source = _source(get)
            target = variables(get.argument(2))[:1]
            if source in roots and target and target[0] not in roots and get.argument(0) in _PARTS:
                roots[target[0]] = _path(roots[source], get.argument(0))
    return roots


_WHOLE: Final = frozenset({"$evapi(msg)", "$(evapi(msg))"})
_PARTS: Final = frozenset({"tm_trans", "decision", "services"})


def _source(get: Step) -> str:
    return next((value.key for value in values(get.argument(1))), "")


def _path(root: str, path: str) -> str:
    return f"{root}.{path}" if root else path


def _ids_read(gets: list[Step], roots: dict[str, str], wanted: str, at: Step) -> Iterator[Finding]:
    known = [(get, _path(roots[_source(get)], get.argument(0))) for get in gets if _source(get) in roots]
    if not known or len(known) < len(gets) or any(path == wanted for _, path in known):
        return
    get, path = known[0]
    what = f"{at.name} takes an id that is read at {path}, where the adapter writes none."
    why = "An answer has its ids in tm_trans: here they stay empty, and every call waits for the timer."
    root = roots[_source(get)]
    right = wanted.removeprefix(f"{root}.") if root else wanted
    write = f'jansson_get("{right}", "{get.argument(1)}", "{get.argument(2)}");'
    yield finding("answer-path", get, what, why, write)


def _decision_read(get: Step, roots: dict[str, str]) -> Iterator[Finding]:
    root = roots.get(_source(get))
    first, _, rest = get.argument(0).partition(".")
    if root == "" and first in _DECIDES:
        right = f"decision.{get.argument(0)}"
    elif root == "" and first not in _WRITTEN and re.fullmatch(r"\w+", first):
        right = ""
    elif root == "decision" and first == "decision" and rest:
        right = rest
    else:
        return
    what = f"{get.argument(0)} is read of an answer, where the adapter writes nothing of that name."
    why = "What a consumer decides is in `decision`: here the variable keeps what it was set to before."
    write = f'jansson_get("{right}", "{get.argument(1)}", "{get.argument(2)}");' if right else ""
    yield finding("answer-path", get, what, why, write)


RULES: Final = (ids, ids_too_early, answer_path)
