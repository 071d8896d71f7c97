"""Small configurations, one matter each: what is found in them, and what is not."""
# ruff: noqa: E501  # lines of configurations, as operators write them

from __future__ import annotations

from pathlib import Path

import pytest

from adapter.kamailio.lint import lint

BASE = Path(__file__).parent / "good" / "colon.cfg"
QUESTION = 'evapi_async_relay("invite_request:$T(id_index):$T(id_label):$(var(data){s.encode.base64})")'
IDS = r"\"tm_trans\":{\"tm_index\":$T(id_index),\"tm_label\":$T(id_label)}"
HEAD = rf'evapi_async_relay("{{\"event\":\"invite_request\",{IDS},\"data\":{{\"call_id\":\"$ci\",'
TIMER = "\tt_set_fr(0, 4000);\n"
ARMED = '\tt_on_failure("SILENT");\n'
GATE = '\tif ($sht(gate=>open) == $null) { t_reply("503", "No Decision"); exit; }\n'
SILENT = "failure_route[SILENT]"
REPLY = '\tt_reply("302", "Moved");'
BY_VARIABLE = 'evapi_async_relay("invite_request:$T(id_index):$T(id_label):$var(b)")'
HELD = 'evapi_async_relay("invite_request:$var(i1):$var(l1):$(var(data){s.encode.base64})")'

Changes = dict[str, str]

CASES: dict[str, tuple[Changes, list[str]]] = {
    "ids under CGRateS's names": (
        {
            QUESTION: r'evapi_async_relay("{\"event\":\"AUTH\",\"tr_index\":$T(id_index),\"tr_label\":$T(id_label),\"call_id\":\"$ci\"}")'
        },
        [],
    ),
    "the same as texts": (
        {
            QUESTION: r'evapi_async_relay("{\"event\":\"AUTH\",\"tr_index\":\"$T(id_index)\",\"tr_label\":\"$T(id_label)\",\"call_id\":\"$ci\"}")'
        },
        ["quoted-ids"],
    ),
    "ids in the data": (
        {
            QUESTION: r'evapi_async_relay("{\"event\":\"invite_request\",\"data\":{\"tm_index\":$T(id_index),\"tm_label\":$T(id_label),\"call_id\":\"$ci\"}}")'
        },
        ["ids-not-read"],
    ),
    "to one client": ({QUESTION: QUESTION.replace("relay(", "multicast(").replace('")', '", "x")')}, []),
    "a frame put together": (
        {
            QUESTION: 'evapi_async_relay("$var(f)")',
            TIMER: '\t$var(f) = "invite_request:" + $T(id_index) + ":" + $T(id_label) + ":" + $(var(data){s.encode.base64});\n'
            + TIMER,
        },
        [],
    ),
    "base64 by a variable": (
        {QUESTION: BY_VARIABLE, TIMER: "\t$var(b) = $(var(data){s.encode.base64});\n" + TIMER},
        [],
    ),
    "hexa by a variable": (
        {QUESTION: BY_VARIABLE, TIMER: "\t$var(b) = $(var(data){s.encode.hexa});\n" + TIMER},
        ["encoding"],
    ),
    "ids by variables": (
        {QUESTION: HELD, TIMER: "\t$var(i1) = $T(id_index); $var(l1) = $T(id_label);\n" + TIMER},
        [],
    ),
    "ids by variables, too early": (
        {
            QUESTION: HELD,
            "\tt_newtran();\n": "\t$var(i1) = $T(id_index); $var(l1) = $T(id_label);\n\tt_newtran();\n",
        },
        ["ids-too-early"],
    ),
    "numbers and an address raw": ({QUESTION: HEAD + r'\"at\":$TS,\"port\":$sp,\"ip\":\"$si\"}}")'}, []),
    "a part of a header raw": ({QUESTION: HEAD + r'\"x\":\"$(hdr(X-A){s.select,0,;})\"}}")'}, ["raw-text"]),
    "a header raw in base64": ({QUESTION: HEAD + r'\"x\":\"$(hdr(X-A){s.encode.base64})\"}}")'}, []),
    "a caller's text by a variable": (
        {QUESTION: HEAD + r'\"x\":\"$var(x)\"}}")', TIMER: "\t$var(x) = $fU;\n" + TIMER},
        ["raw-text"],
    ),
    "a caller's text by an AVP": (
        {QUESTION: HEAD + r'\"x\":\"$avp(x)\"}}")', TIMER: "\t$avp(x) = $rU;\n" + TIMER},
        ["raw-text"],
    ),
    "a timer in all branches": (
        {TIMER: '\tif ($si == "192.0.2.1") { t_set_fr(0, 4000); } else { t_set_fr(0, 5000); }\n'},
        [],
    ),
    "a timer in one branch": ({TIMER: '\tif ($si == "192.0.2.1") { t_set_fr(0, 4000); }\n'}, ["no-timer"]),
    "armed in all cases": (
        {
            ARMED: '\tswitch ($si) { case "a": t_on_failure("SILENT"); break; default: t_on_failure("SILENT"); }\n'
        },
        [],
    ),
    "armed in some cases": (
        {ARMED: '\tswitch ($si) { case "a": t_on_failure("SILENT"); break; }\n'},
        ["no-failure-route"],
    ),
    "a route that returns before": (
        {
            TIMER: "\troute(TIMER);\n",
            SILENT: 'route[TIMER] { if ($si == "a") return; t_set_fr(0, 4000); }\n' + SILENT,
        },
        ["no-timer"],
    ),
    "a route that returns behind": (
        {TIMER: "\troute(TIMER);\n", SILENT: "route[TIMER] { t_set_fr(0, 4000); return; }\n" + SILENT},
        [],
    ),
    "a gate that a route looks at": (
        {
            GATE: '\tif (!route(GATE)) { t_reply("503", "No Decision"); exit; }\n',
            SILENT: "route[GATE] { if ($sht(gate=>open) == $null) return -1; return 1; }\n" + SILENT,
        },
        [],
    ),
    "a gate that nobody minds": (
        {
            GATE: "\troute(GATE);\n",
            SILENT: "route[GATE] { if ($sht(gate=>open) == $null) return -1; return 1; }\n" + SILENT,
        },
        ["no-gate"],
    ),
    "words for signs": (
        {
            '\tif (!is_method("INVITE")) {': '\tif not is_method("INVITE") or $si == "192.0.2.1" and not has_totag() {'
        },
        [],
    ),
    "suspended by hand": ({QUESTION: QUESTION.replace("async_", ""), ARMED: ARMED + "\tt_suspend();\n"}, []),
    "forward behind the suspension": ({REPLY: "\tforward();"}, ["stateless-reply"]),
    "sl_reply_error behind the suspension": ({REPLY: "\tsl_reply_error();"}, ["stateless-reply"]),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("version", [None, (5, 6), (6, 1)])
def test_what_is_found(case: str, version: tuple[int, int] | None, tmp_path: Path) -> None:
    changes, rules = CASES[case]
    text = BASE.read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new, 1)
    path = tmp_path / "kamailio.cfg"
    path.write_text(text, encoding="utf-8")
    assert [one.rule for one in lint(path, version=version)] == rules
