"""The reader of Kamailio's language, and that nothing makes it or the lint raise."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import adapter.kamailio
from adapter.kamailio import scanner
from adapter.kamailio.configuration import Configuration, load
from adapter.kamailio.lint import lint
from tests.harness.examples import examples

GOOD = Path(__file__).parent / "good"
SHIPPED = [adapter.kamailio.read(name) for name in adapter.kamailio.names()]
TEXTS = [*SHIPPED, *(path.read_text(encoding="utf-8") for path in sorted(GOOD.glob("*.cfg")))]
PIECES = [
    "#!define A B\n",
    "#!define B A\n",
    "#!ifdef A\n",
    "#!ifndef",
    "#!else\n",
    "#!endif\n",
    '#!subst "/a/b/"\n',
    '#!substdef "!X!1!g"\n',
    '#!subst "/(/\\\\9/"\n',
    "#!ifexp KAMAILIO_VERSION >= 5007000\n",
    "#!ifexp A && (B || !C) == 3\n",
    "#!include_file",
    "and",
    "not",
    "mod",
    "@",
    "[",
    "!!define",
    "#!redef A 1\n",
    "A",
    "B",
    "X",
    "route",
    "route[A] {",
    "request_route {",
    "event_route[evapi:message-received] {",
    "}",
    "{",
    ";",
    "if",
    "(",
    ")",
    "else",
    "switch",
    "case",
    ":",
    "while",
    "exit;",
    "return",
    "$var(a)",
    "$(",
    "$",
    "=",
    "+=",
    "==",
    '"',
    "'",
    "\\",
    "\n",
    "/*",
    "*/",
    "//",
    "#",
    "modparam(",
    '"evapi|tm"',
    ",",
    "loadmodule",
    '"evapi.so"',
    "0x",
    'include_file "',
    "import_file x\n",
    "evapi_async_relay(",
    "t_continue(",
    "jansson_get(",
    "route(A);",
    "\x00",
    "²",
    "listen=udp:[::1]:5060\n",
    "pv_buffer_size=1\n",
    "# evapi-adapter: accept no-gate,\n",
    "t_set_fr(0,",
    "!",
]


def read(folder: Path, text: str, **more: str) -> Configuration:
    path = folder / "kamailio.cfg"
    path.write_text(text, encoding="utf-8")
    return load(path, more)


def core(configuration: Configuration) -> dict[str, str]:
    return {one.name: one.value for one in configuration.settings if not one.module}


def test_facts_and_their_lines(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        '#!KAMAILIO\nloadmodule "tm"\nloadmodule "/usr/lib/evapi.so"\nchildren=4\n'
        'modparam("evapi|tm", "x", -5)\nlisten=udp:10.0.0.1:5060 advertise 1.2.3.4:5060\n'
        'route {\n\texit;\n}\nfailure_route["A-b"] {\n\tif (x) { y(); }\n}\n'
        "event_route[evapi:connection-new] { }\n",
    )
    assert [(one.name, one.line) for one in found.modules] == [("tm", 2), ("evapi", 3)]
    assert [(one.module, one.name, one.value, one.number, one.line) for one in found.settings] == [
        ("", "children", "4", 4, 4),
        ("evapi", "x", "-5", -5, 5),
        ("tm", "x", "-5", -5, 5),
        ("", "listen", "udp:10.0.0.1:5060advertise1.2.3.4:5060", None, 6),
    ]
    titles = ["request_route", "failure_route[A-b]", "event_route[evapi:connection-new]"]
    assert [(one.title, one.line) for one in found.routes] == list(zip(titles, [7, 10, 13], strict=True))
    assert found.routes[0].body[0].line == 8
    (problem,) = found.problems
    assert problem.text.startswith("a route without a statement")


@pytest.mark.parametrize(
    "text, value",
    [
        ("#!define A 5\nx=A\n", "5"),
        ("!!define A 5\nx=A\n", "5"),
        ("#!def A B\n#!define B 6\nx=A\n", "6"),
        ("#!define A 5\n#!trydef A 6\nx=A\n", "5"),
        ("#!define A 5\n#!redef A 6\nx=A\n", "6"),
        ("#!define A 7\\\n7\nx=A\n", "77"),
        ('x="A"\n#!define A 1\n', "A"),
        ('#!substdef "!HOST!10.0.0.9!g"\nx="tcp:HOST:1"\n', "tcp:10.0.0.9:1"),
        ('#!substdef "!HOST!10.0.0.9!g"\nx=HOST\n', "10.0.0.9"),
        ('#!substdefs "/NAME/some text/"\nx=NAME\n', "some text"),
        ('#!subst "/h(.)t/\\1-\\1/i"\nx="HOT hat"\n', "O-O hat"),
        ('#!define A 8\nx="$def(A) $defn(A) $def(B)"\n', "8 8 $def(B)"),
        ("#!defenv HOME\nx=HOME\n", "HOME"),
        ("#!ifdef A\nx=1\n#!else\nx=2\n#!endif\n", "2"),
        ('loadmodule "k/rr.so"\n#!ifdef MOD_rr\nx=1\n#!endif\n', "1"),
        ('loadmodule("rr.so")\n#!ifdef MOD_rr\nx=1\n#!endif\n', "1"),
        ('#!ifndef MOD_rr\nx=1\n#!endif\nloadmodule "rr.so"\n', "1"),
        ("#!ifndef A\nx=1\n#!else\nx=2\n#!endif\n", "1"),
        ("#!define A\n#!ifdef A\n#!ifdef B\nx=1\n#!else\nx=3\n#!endif\n#!else\nx=2\n#!endif\n", "3"),
        ('x=1\n#!ifdef A\nx="never closed\n/* #!endif\n', "1"),
        ("/* x=1 /* x=2 */ */ x=3 # x=4\n// x=5\n", "3"),
        ('x="a" "b"\n\t"c"\n', "abc"),
        ('x="\\"\\\\\\x41\\102\\n\\q"\n', '"\\AB\n\\q'),
        ("x='a\\n\"'\n", 'a\\n"'),
        ("x=yes;y=2\n", "yes"),
        ("#!ifexp KAMAILIO_VERSION >= 5007000\nx=1\n#!else\nx=2\n#!endif\n", "2"),
    ],
)
def test_the_preprocessor(tmp_path: Path, text: str, value: str) -> None:
    assert core(read(tmp_path, text))["x"] == value


def test_the_callers_defines_and_version(tmp_path: Path) -> None:
    path = tmp_path / "kamailio.cfg"
    path.write_text(
        "#!ifndef A\n#!define A 1\n#!endif\nx=A\n#!ifdef KAMAILIO_5_8\ny=1\n#!endif\n", encoding="utf-8"
    )
    assert core(load(path, {"A": "9"}, (5, 8))) == {"x": "9", "y": "1"}
    assert core(load(path)) == {"x": "1"}


@pytest.mark.parametrize(
    "test, holds", [(">= 5007000", True), ("< 5007000", False), ("== 5008000", True), ("> 6000000", False)]
)
def test_ifexp_asks_for_the_version(tmp_path: Path, test: str, holds: bool) -> None:
    path = tmp_path / "kamailio.cfg"
    path.write_text(f"#!ifexp KAMAILIO_VERSION {test}\nx=1\n#!endif\n", encoding="utf-8")
    assert bool(load(path, {}, (5, 8)).settings) is holds


def test_includes_are_beside_the_file_that_asks(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.cfg").write_text('include_file "two.cfg"\n#!redef A 2\nx=1\n', encoding="utf-8")
    (tmp_path / "a" / "two.cfg").write_text("y=A\n", encoding="utf-8")
    found = read(tmp_path, '#!trydef A 1\ninclude_file "a/one.cfg"\nimport_file "none.cfg"\nz=A\n')
    assert [(one.name, one.value, one.file, one.line) for one in found.settings] == [
        ("y", "1", f"{tmp_path}/a/two.cfg", 1),
        ("x", "1", f"{tmp_path}/a/one.cfg", 3),
        ("z", "2", f"{tmp_path}/kamailio.cfg", 4),
    ]
    assert found.problems == ()


@pytest.mark.parametrize(
    "text, line, problem",
    [
        ('\ninclude_file "none.cfg"\n', 2, "none.cfg: No such file or directory"),
        ('include_file "kamailio.cfg"\n', 1, "more than 10 files include each other"),
        ('\n\nx="abc\n', 3, "a quote that is not closed"),
        ("\n/* abc\n", 2, "a comment that is not closed"),
        ("x=1\n#!endif\n", 2, "an #!endif without its #!ifdef"),
        ("\n#!ifdef A\n", 2, "an #!ifdef is never closed"),
        ("#!define \n\n", 1, "#!define without a name"),
        ("#!define A 1\n#!define A 2\n", 2, "A is defined twice, first in"),
        ("#!define A-B 1\n", 1, "has a dash (A-...)"),
        ("#!define A B\n#!define B A\nx=A\n", 3, "is defined by itself"),
        ("#!define A \\\n 7\n", 1, "begins in the next line"),
        ("#!ifdef A\n#!endif # A\n", 1, "never closed"),
        ("include_file none.cfg\n", 1, "between double quotes"),
        ("route[A] { exit }\n", 1, "exit without its ;"),
        ('route[A] { if ($ru !~ "x") exit; }\n', 1, "!~ is no operator"),
        ("route[A] { { exit; } }\n", 1, "{ begins no command"),
        ("route[A] { if (x()) { } exit; }\n", 1, "a block without a statement"),
        ("#!subst a\n", 1, "#!subst without a text in quotes"),
        ('#!subst "/a"\n', 1, 'is not of the form "/pattern/replacement/"'),
        ("\nroute[A] { $var(x = 1; }\n", 2, "a variable whose parenthesis is not closed"),
        ("\nroute[A] { exit;\n", 2, "a route whose brace is not closed"),
        ('\nmodparam("evapi", "x")\n', 2, "a modparam that has not three parts"),
    ],
)
def test_problems(tmp_path: Path, text: str, line: int, problem: str) -> None:
    found = read(tmp_path, text).problems
    assert [one.line for one in found] == [line]
    assert problem in found[0].text


def test_a_configuration_without_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanner, "MAX_TOKENS", 10_000)
    defines = "".join(f"#!define A{i} A{i + 1} A{i + 1}\n" for i in range(30))
    (found,) = read(tmp_path, f"{defines}x=A0 A0 A0 A0 A0 A0 A0\nx=A0 A0 A0 A0 A0 A0 A0\n").problems
    assert found.text == "the configuration is too long"


def survives(text: str | bytes) -> None:
    """Whatever it is, there are findings or there are none."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kamailio.cfg"
        path.write_bytes(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
        (Path(folder) / "evapi-adapter.cfg").write_text(
            adapter.kamailio.read("evapi-adapter"), encoding="utf-8"
        )
        for one in lint(path):
            assert 0 <= one.line <= 1 + Path(one.file).read_bytes().count(b"\n")  # 0: of no line
            assert one.what


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    survives(data)


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=5)), max_size=60))
def test_any_words(pieces: list[str]) -> None:
    survives(" ".join(pieces))


@settings(max_examples=examples(40), deadline=None)
@given(st.sampled_from(TEXTS), st.data())
def test_a_shipped_one_without_a_line(text: str, data: st.DataObject) -> None:
    lines = text.splitlines(keepends=True)
    del lines[data.draw(st.integers(0, len(lines) - 1))]
    survives("".join(lines))


@settings(max_examples=examples(40), deadline=None)
@given(st.sampled_from(TEXTS), st.data())
def test_a_shipped_one_with_another_character(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text) - 1))
    survives(
        text[:at] + data.draw(st.sampled_from([*"\"'(){}[]#!$;,=\\\n/*", "\x00", "x", ""])) + text[at + 1 :]
    )


@pytest.mark.parametrize(
    "text", ["{", "if (a) ", "else ", "$var(" * 3, "f(", "route[A] {", "case 1: ", "/*", "((", '"']
)
def test_much_of_the_same(text: str) -> None:
    survives(f"request_route {{ {text * 3000}")
    survives(f"request_route {{ {text * 300} }}")
