"""Single rules on what the planted faults do not show: limits, forms that are right, other ways to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapter.kamailio.lint import Finding, lint

GOOD = Path(__file__).parent / "good"
INCLUDE = GOOD / "include.cfg"
BY_HAND = GOOD / "by_hand.cfg"


def changed(folder: Path, base: Path, *changes: tuple[str, str]) -> Path:
    """A good configuration with some text in it replaced, in a folder of its own."""
    text = base.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    include = GOOD.parents[2] / "adapter" / "kamailio" / "evapi-adapter.cfg"
    text = text.replace("../../../adapter/kamailio/evapi-adapter.cfg", str(include))
    path = folder / "kamailio.cfg"
    path.write_text(text, encoding="utf-8")
    return path


def rules(found: list[Finding]) -> list[str]:
    return [one.rule for one in found]


@pytest.mark.parametrize(
    "replicas, found", [(2, []), (7, []), (8, [("few-clients", "warning")]), (9, [("few-clients", "error")])]
)
@pytest.mark.parametrize("base", [INCLUDE, BY_HAND])
def test_replicas(base: Path, replicas: int, found: list[tuple[str, str]]) -> None:
    assert [(one.rule, one.severity) for one in lint(base, replicas=replicas)] == found


@pytest.mark.parametrize("deadline, found", [(3.99, []), (4.0, ["short-timer"]), (10.0, ["short-timer"])])
@pytest.mark.parametrize("base", [INCLUDE, BY_HAND])
def test_deadline(base: Path, deadline: float, found: list[str]) -> None:
    assert rules(lint(base, longest_deadline=deadline)) == found


def test_what_to_write_fits_the_deadline() -> None:
    (found,) = lint(INCLUDE, longest_deadline=10.0)
    assert found.write == "# above the include:\n#!define ADAPTER_FR_TIMER 12000"


def test_a_define_of_the_command_line_is_named() -> None:
    (found,) = lint(INCLUDE, defines={"ADAPTER_FR_TIMER": "1500"})
    assert (found.rule, found.file, found.line) == ("short-timer", "-A ADAPTER_FR_TIMER=1500", 0)


@pytest.mark.parametrize(
    "version, found", [(None, ["slow-workers"]), ((5, 6), []), ((5, 7), ["slow-workers"])]
)
def test_workers_matter_from_5_7_on(
    tmp_path: Path, version: tuple[int, int] | None, found: list[str]
) -> None:
    path = changed(tmp_path, BY_HAND, ('modparam("evapi", "workers", 0)\n', ""))
    assert rules(lint(path, version=version)) == found


@pytest.mark.parametrize("wait, found", [("1000", []), ("20000", []), ("20001", ["slow-workers"])])
def test_a_worker_that_waits_little(tmp_path: Path, wait: str, found: list[str]) -> None:
    setting = f'"workers", 1)\nmodparam("evapi", "wait_idle", {wait})'
    assert rules(lint(changed(tmp_path, BY_HAND, ('"workers", 0)', setting)))) == found


@pytest.mark.parametrize(
    "address, found",
    [
        ("127.0.0.1:8448", []),
        ("192.168.1.9", []),
        ("sbc1.internal:8448", []),
        ("[fd00::1]:8448", []),
        ("0.0.0.0:8448", ["public-address"]),
        ("[::]:8448", ["public-address"]),
        ("9.9.9.9:8448", ["public-address"]),
        ("[2a00::1]:8448", ["public-address"]),
    ],
)
def test_addresses(tmp_path: Path, address: str, found: list[str]) -> None:
    assert rules(lint(changed(tmp_path, BY_HAND, ("10.0.0.5:8448", address)))) == found


@pytest.mark.parametrize(
    "version, told",
    [
        (None, "Kamailio before 6.1 can also be ended by a few bytes."),
        ((5, 6), "Kamailio 5.6 can also be ended by a few bytes."),
        ((6, 0), "Kamailio 6.0 can also be ended by a few bytes."),
        ((6, 1), ""),
    ],
)
@pytest.mark.parametrize("address", ["0.0.0.0:8448", "9.9.9.9:8448"])
def test_a_reader_that_a_client_can_end(
    tmp_path: Path, address: str, version: tuple[int, int] | None, told: str
) -> None:
    (found,) = lint(changed(tmp_path, BY_HAND, ("10.0.0.5:8448", address)), version=version)
    assert found.why.partition("decides it.")[2].strip() == told


@pytest.mark.parametrize("call", ["t_check_trans();", "if (!t_newtran()) { sl_reply_error(); exit; }"])
def test_any_check_finds_retransmissions(tmp_path: Path, call: str) -> None:
    ours = "if (t_precheck_trans()) { t_check_trans(); exit; }\n\tt_check_trans();"
    other = "if ($T(id_index) == $null && !t_newtran()) { sl_reply_error(); exit; }"
    found = rules(lint(changed(tmp_path, BY_HAND, (ours, call), (other, ""))))
    assert found == ([] if "t_newtran" in call else ["ids-too-early"])


@pytest.mark.parametrize(
    "block, found",
    [
        ('if (!is_method("ACK")) { t_check_trans(); }', []),  # as in the configuration Kamailio ships
        ('if (is_method("INVITE|MESSAGE")) t_check_trans();', []),
        ('if (is_method("ACK")) t_check_trans();', ["no-retransmission-check"]),
        ("if (has_totag()) { if (t_check_trans()) exit; }", ["no-retransmission-check"]),
        ('if ($rm == "CANCEL") { t_check_trans(); } else { xlog("x\\n"); }', ["no-retransmission-check"]),
        ('if ($rm == "CANCEL") { xlog("x\\n"); } else { t_check_trans(); }', []),
    ],
)
def test_a_check_for_other_requests_does_not_count(tmp_path: Path, block: str, found: list[str]) -> None:
    ours = "if (t_precheck_trans()) { t_check_trans(); exit; }\n\tt_check_trans();"
    other = "if ($T(id_index) == $null && !t_newtran()) { sl_reply_error(); exit; }"
    told = rules(lint(changed(tmp_path, BY_HAND, (ours, block), (other, ""))))
    assert told == (found or ["ids-too-early"])  # t_check_trans makes no transaction


@pytest.mark.parametrize(
    "statement, found",
    [
        ('if (evapi_async_relay("$var(frame)")) exit;\n\tt_reply("503", "None");', []),
        ('if (evapi_async_relay("$var(frame)")) { exit; } else { t_reply("503", "None"); }', []),
        ('$var(rc) = evapi_async_relay("$var(frame)");\n\tif ($var(rc) < 0) t_reply("503", "None");', []),
        ('evapi_async_relay("$var(frame)");\n\tif ($rc < 0) t_reply("503", "None");', []),
        ('if (evapi_async_relay("$var(frame)")) exit;', ["no-reply-when-unsent"]),
        ('if (!evapi_async_relay("$var(frame)")) { exit; }', ["no-reply-when-unsent"]),
        (
            'if (evapi_async_relay("$var(frame)")) { t_relay(); exit; }\n\tt_reply("503", "None");',
            ["goes-on"],
        ),
        (
            'if (!evapi_async_relay("$var(frame)")) { t_reply("503", "None"); exit; }\n\tt_relay();',
            ["goes-on"],
        ),
    ],
)
def test_ways_to_look_at_the_result(tmp_path: Path, statement: str, found: list[str]) -> None:
    ours = 'if (!evapi_async_relay("$var(frame)")) {\n\t\tt_reply("503", "No Decision");\n\t}'
    assert rules(lint(changed(tmp_path, BY_HAND, (ours, statement)))) == found


def test_a_timer_of_tm_counts(tmp_path: Path) -> None:
    path = changed(
        tmp_path,
        BY_HAND,
        ("\tt_set_fr(0, 4000);\n", "\tt_set_fr(60000);\n"),
        ('modparam("evapi", "workers"', 'modparam("tm", "fr_timer", 5000)\nmodparam("evapi", "workers"'),
    )
    assert lint(path) == []
    assert rules(lint(path, longest_deadline=5.0)) == ["short-timer"]


def test_a_timer_that_was_taken_back_does_not_count(tmp_path: Path) -> None:
    path = changed(tmp_path, BY_HAND, ("t_set_fr(0, 4000);", "t_set_fr(0, 1000);\n\tt_reset_fr();"))
    assert rules(lint(path)) == ["no-timer"]


def test_a_timer_for_other_requests_does_not_count(tmp_path: Path) -> None:
    other = 'if (is_method("SUBSCRIBE")) t_set_fr(0, 1000);'
    assert lint(changed(tmp_path, BY_HAND, ("\tt_on_failure(", f"\t{other}\n\tt_on_failure("))) == []


@pytest.mark.parametrize(
    "statement, found", [("return;", ["goes-on"]), ("return;\n\tt_relay();", ["goes-on"])]
)
def test_return_goes_on_with_the_caller(tmp_path: Path, statement: str, found: list[str]) -> None:
    path = changed(
        tmp_path,
        BY_HAND,
        ("\t}\n\texit;\n}\n\nfailure", f"\t\texit;\n\t}}\n\t{statement}\n}}\n\nfailure"),
        ("\troute(ASK);\n}", '\troute(ASK);\n\tsl_send_reply("100", "Asked");\n}'),
    )
    first = lint(path)[:1]
    assert rules(first) == found
    assert first[0].what.startswith("sl_send_reply comes after")


def test_return_from_the_main_route_is_its_end(tmp_path: Path) -> None:
    path = changed(
        tmp_path,
        BY_HAND,
        ("\t}\n\texit;\n}\n\nfailure", "\t\texit;\n\t}\n}\n\nfailure"),
        ("\troute(ASK);\n}", "\troute(ASK);\n\treturn;\n\tt_relay();\n}"),
        ("\t\t\troute(ASK);\n", "\t\t\troute(ASK);\n\t\t\texit;\n"),
    )
    assert lint(path) == []


@pytest.mark.parametrize("ours", ["", "\tt_set_fr(0, 4000);\n"])
def test_values_that_only_kamailio_knows(tmp_path: Path, ours: str) -> None:
    path = changed(
        tmp_path,
        BY_HAND,
        ("listen=", "#!defenv LINKS\n#!defenv FR\nlisten="),
        ('"max_clients", 8', '"max_clients", LINKS'),
        ('"workers", 0)', '"workers", LINKS)\nmodparam("tm", "fr_timer", FR)'),
        ("\tt_set_fr(0, 4000);\n", ours),
    )
    assert lint(path) == []


def test_ids_may_stand_without_quotes(tmp_path: Path) -> None:
    path = changed(
        tmp_path,
        BY_HAND,
        (
            "\tt_set_fr(",
            '\tjansson_set("integer", "tm_trans.tm_index", $T(id_index), "$var(frame)");\n\tt_set_fr(',
        ),
    )
    assert lint(path) == []


def test_a_call_of_any_route(tmp_path: Path) -> None:
    """Where a variable chooses, every route that nobody calls by its name may be reached."""
    late = 'route[LATER] {\n\tjansson_get("x", "$avp(y)", "$var(x)");\n}\nroute[RESUME] {'
    path = changed(
        tmp_path, BY_HAND, ("\troute(ASK);\n}", "\troute($var(to));\n}"), ("route[RESUME] {", late)
    )
    assert rules(lint(path)) == ["unreset-variable"]


def test_an_apostrophe_on_its_way_through_a_variable(tmp_path: Path) -> None:
    path = changed(
        tmp_path,
        BY_HAND,
        ("\tt_set_fr(", "\t$var(ua) = $(ua{s.escape.common});\n\tt_set_fr("),
        (
            'evapi_relay("{\\"event\\"',
            '$var(ua) = $(ua{s.escape.common});\n\t\t\tevapi_relay("{\\"ua\\":\\"$var(ua)\\",\\"event\\"',
        ),
    )
    assert rules(lint(path)) == ["escape-not-json"]


def test_a_gate_of_another_table_is_none(tmp_path: Path) -> None:
    path = changed(tmp_path, BY_HAND, ("$sht(gate=>ready) == $null", "$sht(banned=>$si) != $null"))
    assert rules(lint(path)) == ["no-gate"]


def test_what_jansson_get_is_asked_about_needs_no_reset(tmp_path: Path) -> None:
    get = 'if (!jansson_get("action", "$var(decision)", "$var(action)")) { t_reply("500", "Bad"); exit; }'
    ours = '$var(action) = "";\n\tjansson_get("action", "$var(decision)", "$var(action)");'
    assert lint(changed(tmp_path, INCLUDE, (ours, get))) == []


def test_a_failure_route_that_tells_timeouts_apart_may_stay(tmp_path: Path) -> None:
    path = changed(
        tmp_path,
        BY_HAND,
        ('\tt_on_failure("0");\n', ""),
        ("failure_route[SILENT] {\n", "failure_route[SILENT] {\n\tif (!t_branch_timeout()) exit;\n"),
    )
    assert lint(path) == []


def test_routes_that_are_only_named_are_followed(tmp_path: Path) -> None:
    path = changed(
        tmp_path,
        BY_HAND,
        ("\troute(ASK);\n}", '\tasync_route("LATER", "1");\n}\nroute[LATER] { route(ASK); }'),
        ("if ($T(id_index) == $null && !t_newtran()) { sl_reply_error(); exit; }", ""),
    )
    assert rules(lint(path)) == ["no-retransmission-check"]


def test_routes_that_call_each_other(tmp_path: Path) -> None:
    path = changed(
        tmp_path,
        INCLUDE,
        ("route[RESUME] {", "route[RESUME] {\n\troute(ROUND);\n"),
        ("route[NO_DECISION] {", "route[ROUND] { route(RESUME); route(ROUND); }\nroute[NO_DECISION] {"),
    )
    assert lint(path) == []


def test_routes_that_multiply(tmp_path: Path) -> None:
    many = "".join(f"route[R{i}] {{ route(R{i + 1}); route(R{i + 1}); }}\n" for i in range(40))
    path = changed(
        tmp_path,
        INCLUDE,
        ("route[RESUME] {", f'{many}route[R40] {{ xlog("x\\n"); }}\nroute[RESUME] {{\n\troute(R0);\n'),
    )
    assert lint(path) == []


def test_accepted(tmp_path: Path) -> None:
    fault = ("10.0.0.5:8448", "0.0.0.0:8448")
    for comment in (
        "# evapi-adapter: accept no-gate, public-address",
        "// evapi-adapter:accept public-address",
    ):
        assert lint(changed(tmp_path, BY_HAND, fault, ("children=2", f"children=2\n{comment}"))) == []
    left_out = "#!ifdef NOT_SO\n# evapi-adapter: accept public-address\n#!endif\n"
    assert rules(lint(changed(tmp_path, BY_HAND, fault, ("children=2", left_out)))) == ["public-address"]


def test_a_name_that_is_like_none(tmp_path: Path) -> None:
    path = changed(
        tmp_path, BY_HAND, ("children=2", "children=2\n# evapi-adapter: accept whatever, no-gates")
    )
    assert [one.write for one in lint(path)] == ["", "# evapi-adapter: accept no-gate"]


def test_unreadable_is_never_accepted(tmp_path: Path) -> None:
    path = tmp_path / "kamailio.cfg"
    path.write_text('# evapi-adapter: accept unreadable\ninclude_file "nothing.cfg"\n', encoding="utf-8")
    assert rules(lint(path)) == ["unknown-rule", "unreadable"]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    (found,) = lint(tmp_path / "nothing.cfg")
    assert (found.rule, found.severity, found.line) == ("unreadable", "error", 0)
    assert found.what == f"Cannot read {tmp_path}/nothing.cfg: No such file or directory."
    (found,) = lint(tmp_path)
    assert "Is a directory" in found.what


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "kamailio.cfg"
    path.write_text("", encoding="utf-8")
    assert rules(lint(path)) == ["evapi-not-loaded"]
