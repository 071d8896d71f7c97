"""Ways to break the shipped proxy, one thing at a time, and what the lint has to say of each."""

from __future__ import annotations

from typing import Final, NamedTuple

PROXY: Final = "kamailio.cfg"
INCLUDE: Final = "evapi-adapter.cfg"


class Mutation(NamedTuple):
    """``old`` becomes ``new`` in ``file``; then ``rule`` names a line that holds ``at``.

    ``more``: changes in the proxy that the break takes; ``defines``: as by ``-A``.
    """

    rule: str
    old: str
    new: str
    at: str = ""
    file: str = PROXY
    more: tuple[tuple[str, str], ...] = ()
    defines: tuple[str, ...] = ()

    @property
    def changes(self) -> list[tuple[str, str, str]]:
        """File, old text, new text."""
        return [(self.file, self.old, self.new), *((PROXY, old, new) for old, new in self.more)]


ASK: Final = "if (!evapi_async_relay"
HEAD: Final = "request_route {"
CLOSE: Final = "if ($sht(adapter_gate=>open) == $null) { route(ADAPTER_NO_DECISION); exit; }"
INDEX: Final = '\tjansson_get("tm_index", "$var(adapter_ids)", "$var(adapter_index)");'
LABEL: Final = (
    '\tjansson_get("tm_label", "$var(adapter_ids)", "$var(adapter_label)");\n'
    '\tjansson_get("seq", "$var(adapter_ids)", "$var(adapter_seq)");'
)

MUTATIONS: Final = (
    # What cannot start.
    Mutation(
        "unreadable", 'include_file "evapi-adapter.cfg"', 'include_file "adapter.cfg"', 'file "adapter.cfg"'
    ),
    Mutation(
        "unreadable", 'include_file "evapi-adapter.cfg"', "include_file evapi-adapter.cfg", "file evapi"
    ),
    Mutation("unreadable", "auto_aliases=no", "auto_aliases=no\n#!define GATEWAY 1", "#!define GATEWAY 1"),
    Mutation("unreadable", "#!ifndef GATEWAY\n", "#!ifndef GATE-WAY\n", "#!ifndef GATE-WAY"),
    Mutation(
        "unreadable",
        '#!define GATEWAY "sip:127.0.0.1:5080"\n#!endif',
        '#!define GATEWAY "sip:127.0.0.1:5080"\n#!endif # gateway',
        "#!ifndef GATEWAY",
    ),
    Mutation("unreadable", HEAD, "#!endif\n" + HEAD, "#!endif"),
    Mutation("unreadable", "route(ADAPTER_CANCEL);", "route(ADAPTER_CANCEL)", "t_relay();"),
    Mutation("unreadable", 'if (!is_method("INVITE"))', 'if ($rm !~ "INVITE")', "!~"),
    Mutation("no-reply-when-unsent", 't_reply("503", "No Decision");', "", "route[NO_DECISION]"),
    Mutation("unreadable", "auto_aliases=no", "auto_aliases=no\n/* as it was", "/* as it was"),
    Mutation(
        "duplicate-route",
        "route[GO_ON] {",
        "route[DESCRIBE] { exit; }\nroute[GO_ON] {",
        "route[DESCRIBE] { exit; }",
    ),
    Mutation(
        "duplicate-route",
        "route[GO_ON] {",
        "event_route[evapi:connection-new] { exit; }\nroute[GO_ON] {",
        "event_route[evapi:connection-new] {",
    ),
    Mutation("missing-route", "route[RESUME] {", "route[RESUMED] {", 'include_file "evapi'),
    Mutation("missing-route", "route(DESCRIBE);", "route(DESCRIBED);", "route(DESCRIBED);"),
    Mutation("missing-module", 'loadmodule "jansson.so"\n', "", 'include_file "evapi'),
    Mutation("missing-module", 'loadmodule "htable.so"\n', "", 'include_file "evapi'),
    Mutation("missing-module", 'loadmodule "tmx.so"\n', "", 'include_file "evapi'),
    Mutation(
        "loaded-too-late",
        'include_file "evapi-adapter.cfg"\n',
        'include_file "evapi-adapter.cfg"\nloadmodule "xlog.so"\n',
        'include_file "evapi',
        more=(('loadmodule "xlog.so"\n', ""),),
    ),
    Mutation("evapi-not-loaded", 'loadmodule "evapi.so"\n', "", 'modparam("evapi", "bind_addr"'),
    Mutation("define-too-late", HEAD, "#!redef ADAPTER_FR_TIMER 6000\n" + HEAD, "#!redef"),
    Mutation("define-too-late", HEAD, "#!define ADAPTER_COMMANDS\n" + HEAD, "#!define ADAPTER_COMMANDS"),
    Mutation(
        "relay-refused", "route[GO_ON] {", "branch_route[B] { t_relay(); }\nroute[GO_ON] {", "branch_route[B]"
    ),
    # EVAPI.
    Mutation("default-address", 'modparam("evapi", "bind_addr", EVAPI_BIND)\n', "", 'loadmodule "evapi.so"'),
    Mutation(
        "public-address",
        '#!define EVAPI_BIND "127.0.0.1:8448"',
        '#!define EVAPI_BIND "0.0.0.0:8448"',
        'modparam("evapi", "bind_addr"',
    ),
    Mutation(
        "few-clients",
        "auto_aliases=no",
        "auto_aliases=no\n#!define ADAPTER_MAX_LINKS 2",
        "#!define ADAPTER_MAX_LINKS 2",
    ),
    Mutation("links-beyond-gate", HEAD, 'modparam("evapi", "max_clients", 20)\n' + HEAD, '"max_clients", 20'),
    Mutation(
        "netstring-off", HEAD, 'modparam("evapi", "netstring_format", 0)\n' + HEAD, '"netstring_format"'
    ),
    Mutation("many-workers", HEAD, 'modparam("evapi", "workers", 4)\n' + HEAD, '"workers", 4'),
    Mutation("slow-workers", HEAD, 'modparam("evapi", "workers", 1)\n' + HEAD, '"workers", 1'),
    Mutation("small-buffer", HEAD, "pv_buffer_size=4096\n" + HEAD, "pv_buffer_size=4096"),
    # Asking.
    Mutation("no-question", "\troute(ASK);\n}\n\n# (*) Ask", "\tt_relay();\n}\n\n# (*) Ask", HEAD),
    Mutation(
        "question-incomplete", '\t$var(event) = "invite_request";\n#!endif', "#!endif", "route(ADAPTER_ASK);"
    ),
    Mutation("question-incomplete", '\t$var(data) = "{}";\n', "", "route(ADAPTER_ASK);"),
    Mutation(
        "short-timer",
        "auto_aliases=no",
        "auto_aliases=no\n#!define ADAPTER_FR_TIMER 1500",
        "ADAPTER_FR_TIMER 1500",
    ),
    Mutation(
        "long-timer",
        "auto_aliases=no",
        "auto_aliases=no\n#!define ADAPTER_FR_TIMER 60000",
        "ADAPTER_FR_TIMER 60000",
    ),
    Mutation(
        "no-timer",
        "auto_aliases=no",
        "auto_aliases=no\n#!define ADAPTER_FR_TIMER 30000",
        "ADAPTER_FR_TIMER 30000",
    ),
    Mutation("no-timer", "\tt_set_fr(0, ADAPTER_FR_TIMER);\n", "", ASK, INCLUDE),
    Mutation("no-timer", "t_set_fr(0, ADAPTER_FR_TIMER);", "t_set_fr(ADAPTER_FR_TIMER);", ASK, INCLUDE),
    Mutation(
        "no-retransmission-check",
        "\tif ($T(id_index) == $null && !t_newtran()) { sl_reply_error(); exit; }\n",
        "",
        ASK,
        INCLUDE,
    ),
    Mutation("no-failure-route", '\tt_on_failure("ADAPTER_SILENT");\n', "", ASK, INCLUDE),
    Mutation(
        "no-failure-route",
        '\tt_on_failure("ADAPTER_SILENT");\n',
        '\tt_on_failure("ADAPTER_SILENCE");\n',
        't_on_failure("ADAPTER_SILENCE")',
        INCLUDE,
    ),
    Mutation("no-gate", f"\t{CLOSE}\n", "", ASK, INCLUDE),
    Mutation("no-gate", CLOSE, CLOSE.replace(" exit;", ""), ASK, INCLUDE),
    Mutation("no-gate", CLOSE, CLOSE.replace("==", "!="), ASK, INCLUDE),
    Mutation(
        "no-reply-when-unsent", 't_reply("503", "No Decision");', 'xlog("none\\n");', "route[NO_DECISION]"
    ),
    Mutation("ask-in-no-decision", 't_reply("503", "No Decision");', "route(ASK);", "route(ADAPTER_ASK);"),
    Mutation(
        "too-many-questions",
        "auto_aliases=no",
        "auto_aliases=no\n#!define ADAPTER_MAX_QUESTIONS 12",
        "ADAPTER_MAX_QUESTIONS 12",
    ),
    Mutation("no-cancel", "\t\t\troute(ADAPTER_CANCEL);\t# (*)\n", "", HEAD),
    Mutation(
        "no-cancel",
        "if (t_check_trans()) {\n\t\t\troute(ADAPTER_CANCEL)",
        "exit;\n\t\tif (t_check_trans()) {\n\t\t\troute(ADAPTER_CANCEL)",
        HEAD,
    ),
    Mutation(
        "ask-in-branch-or-reply",
        "route[GO_ON] {",
        'onreply_route[R] { $var(event) = "x"; route(ASK); }\nroute[GO_ON] {',
        "onreply_route[R]",
    ),
    Mutation(
        "goes-on",
        "\texit;\n}\n\n# The question is over",
        "\tt_relay();\n}\n\n# The question is over",
        "\tt_relay();",
        INCLUDE,
    ),
    # What is sent.
    Mutation("raw-text", '\t$var(data) = "{}";\n', '\t$var(data) = "{\\"ua\\":\\"$ua\\"}";\n', '{\\"ua\\"'),
    Mutation(
        "raw-text",
        'jansson_set("string", "from", "$fu", "$var(data)");',
        'jansson_set("obj", "from", \'{"uri":"$fu"}\', "$var(data)");',
        '"obj", "from"',
    ),
    Mutation("type-unknown", 'jansson_set("string", "to"', 'jansson_set("text", "to"', '"text", "to"'),
    Mutation(
        "no-call-id", '\tjansson_set("string", "call_id", "$ci", "$var(data)");\n', "", "route(ADAPTER_ASK);"
    ),
    Mutation("unquoted-variable", '"from", "$fu", "$var(data)"', '"from", $fu, "$var(data)"', '"from", $fu'),
    Mutation(
        "escape-not-json",
        '\t$var(data) = "{}";\n',
        '\t$var(data) = "{\\"ua\\":\\"$(ua{s.escape.common})\\"}";\n',
        "s.escape.common",
    ),
    Mutation(
        "quoted-ids",
        'jansson_set("integer", "tm_index"',
        'jansson_set("string", "tm_index"',
        'jansson_set("string", "tm_index"',
        INCLUDE,
    ),
    Mutation(
        "ids-not-read",
        'jansson_set("obj", "tm_trans",',
        'jansson_set("obj", "trans",',
        'jansson_set("integer", "tm_index"',
        INCLUDE,
    ),
    Mutation(
        "ids-not-read",
        'jansson_set("integer", "tm_label", "$T(id_label)", "$var(adapter_ids)");',
        'jansson_set("integer", "label", "$T(id_label)", "$var(adapter_ids)");',
        'jansson_set("integer", "label"',
        INCLUDE,
    ),
    Mutation(
        "no-ids",
        '\tjansson_set("obj", "tm_trans", "$var(adapter_ids)", "$var(adapter_frame)");\n',
        "",
        ASK,
        INCLUDE,
    ),
    Mutation(
        "event-without-name",
        '\tjansson_set("string", "event", "$var(event)", "$var(adapter_frame)");\n',
        "",
        ASK,
        INCLUDE,
    ),
    Mutation(
        "step-header",
        "auto_aliases=no",
        "auto_aliases=no\n#!define ADAPTER_STEP_HEADER X-By",
        "ADAPTER_STEP_HEADER X-By",
    ),
    # The answer.
    Mutation(
        "no-receipts",
        '\t\tjansson_set("string", "adapter.synced", "$var(adapter_sync)", "$var(adapter_frame)");\n',
        "",
        "event_route[evapi:message-received]",
        INCLUDE,
    ),
    Mutation(
        "continue-unknown-route",
        "route[ADAPTER_RESUME] {",
        "route[ADAPTER_RESUMED] {",
        "t_continue(",
        INCLUDE,
    ),
    Mutation("continue-from-wire", '"ADAPTER_RESUME");', '"$var(adapter_step)");', "t_continue(", INCLUDE),
    Mutation(
        "answer-path",
        f"{INDEX}\n{LABEL}",
        f"{INDEX.replace('tm_index', 'index')}\n{LABEL}",
        'jansson_get("index"',
        INCLUDE,
    ),
    Mutation(
        "unreset-variable",
        "$var(adapter_index) = -1; $var(adapter_label) = -1; $var(adapter_seq) = -1;",
        "$var(adapter_label) = -1; $var(adapter_seq) = -1;",
        'jansson_get("tm_index", "$var(adapter_ids)"',
        INCLUDE,
    ),
    Mutation(
        "unreset-variable",
        "route(ADAPTER_ROUTE);",
        'jansson_get("price", "$var(decision)", "$var(price)");\n\troute(ADAPTER_ROUTE);',
        '"price"',
    ),
    Mutation(
        "lost-variable",
        "\troute(DESCRIBE);\n",
        "\t$var(tenant) = $rd;\n\troute(DESCRIBE);\n",
        "$du = $var(tenant)",
        more=(("$du = GATEWAY;", "$du = $var(tenant);"),),
    ),
    Mutation("blocking-resume", "route(ADAPTER_ROUTE);", "sleep(1);\n\troute(ADAPTER_ROUTE);", "sleep(1);"),
    Mutation(
        "stateless-reply",
        't_reply("503", "No Decision");',
        'sl_send_reply("503", "No Decision");',
        'sl_send_reply("503"',
    ),
    Mutation(
        "reply-not-expanded",
        't_reply("503", "No Decision");',
        't_reply("503", "No Decision: $avp(adapter_outcome)");',
        '"No Decision: $avp',
    ),
    Mutation(
        "silent-route-armed",
        '\tt_on_failure("0");\n\tt_reset_fr();\n}',
        "\tt_reset_fr();\n}",
        "t_relay()",
        INCLUDE,
    ),
    Mutation(
        "flag-after-question",
        "\troute(ADAPTER_ROUTE);\n",
        "\tsetflag(FLAG_ACCOUNTING);\n\troute(ADAPTER_ROUTE);\n",
        at="setflag(FLAG_ACCOUNTING);",
        more=(("\tsetflag(FLAG_ACCOUNTING);\n#!endif", "#!endif"),),
        defines=("WITH_ACCOUNTING",),
    ),
)
