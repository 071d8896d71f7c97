"""The scanner and the parser beside Kamailio's own: what the one refuses, the other refuses."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from adapter.kamailio.configuration import load
from tests.harness.kamailio import modules_folder, version

if TYPE_CHECKING:
    from pathlib import Path

HEAD = 'listen=udp:127.0.0.1:5999\nauto_aliases=no\nloadmodule "pv.so"\n'
TAIL = "request_route { exit; }\n"
BESIDE = {
    "inc.cfg": "#!define INC 3\n",
    "open.cfg": "#!ifdef NOPE\nnonsense\n",
    "unended.cfg": "# a comment",
    "body.cfg": "exit;\n",
    "INC2.cfg": "children=2\n",
}
"""Files to include."""
NONSENSE = "route[N] { exit }\n"
"""Kamailio does not start where this is read."""
TABLE = {
    # Defines.
    "define": "#!define A 2\nchildren=A\n",
    "define short": "#!def A 2\nchildren=A\n",
    "define with two exclamation marks": "!!define A 2\nchildren=A\n",
    "define twice": "#!define A 1\n#!define A 2\n",
    "define twice, the same": "#!define A 1\n#!define A 1\n",
    "define, then redefine": "#!define A x\n#!redefine A 2\nchildren=A\n",
    "redef of what is not defined": "#!redef A 2\nchildren=A\n",
    "trydef of what is defined": "#!define A 2\n#!trydef A x\nchildren=A\n",
    "trydefine": "#!trydefine A 2\nchildren=A\n",
    "undef is a comment": "#!define A 1\n#!undef A\n#!define A 2\n",
    "define with a dash": "#!define A-B 1\n",
    "define without a name": "#!define\n",
    "define whose name is in the next line": "#!define \nA 2\nchildren=A\n",
    "define that begins with a digit": "#!define 1A 2\nchildren=A\n",
    "define in two lines": "#!define A 7\\\n7\nchildren=A\n",
    "define whose value begins in the next line": "#!define A \\\n7\nchildren=A\n",
    "define without a value": "#!define A\nchildren=A 2\n",
    "define with a comment": "#!define A 2 # two\nchildren=A\n",
    "define with a comment that cuts": "#!define A 2 # two\nroute[X] { exit A; }\n",
    "define that is indented": "\t #!define A 2\nchildren=A\n",
    "define behind other words": "children=2 #!define A 3\nchildren=A\n",
    "define in a route": "route[X] {\n#!define A 3\nreturn A;\n}\n",
    "define in a comment": "# #!define A 1\n#!define A 2\n",
    "define with Windows lines": "#!define A 2\r\nchildren=A\r\n",
    "define within quotes": '#!define A "\nlog_name="A"\n',
    "define of a define": "#!define A B\n#!define B 2\nchildren=A\n",
    "define that begins a variable": '#!define A $ru\nroute[X] { if (A == "x") exit; }\n',
    "define of this version": "#!ifdef KAMAILIO_5\nchildren=2\n#!else\n#!ifdef KAMAILIO_6\n"
    f"children=2\n#!else\n{NONSENSE}#!endif\n#!endif\n",
    "define of the environment, not there": "#!trydefenv NOT_THERE\n",
    "defexp is a comment before 5.7": "#!defexp A 1+2\n#!define A 2\n",
    # Conditions.
    "ifdef": f"#!ifdef A\n{NONSENSE}#!else\nchildren=2\n#!endif\n",
    "ifndef": f"#!ifndef A\nchildren=2\n#!else\n{NONSENSE}#!endif\n",
    "ifdef with two exclamation marks": f"!!ifdef A\n{NONSENSE}!!endif\n",
    "ifdef with a comment": f"#!ifdef A # c\n{NONSENSE}#!endif\n",
    "ifdef with two names": f"#!define B\n#!ifdef A B\n{NONSENSE}#!endif\n",
    "ifdef with a dash": f"#!ifdef A-B\n{NONSENSE}#!endif\n",
    "ifdef with a dash, left out": f"#!ifdef A\n#!ifdef X-B\n{NONSENSE}#!endif\n#!endif\n",
    "ifdef without a name": f"#!ifdef\n{NONSENSE}#!endif\n",
    "ifdef behind other words": f"children=2 #!ifdef A\n{NONSENSE}#!endif\n",
    "ifdef never closed": f"#!ifdef A\n{NONSENSE}",
    "ifdef never closed that holds": "#!define A\n#!ifdef A\n",
    "else with a comment is a comment": f"#!ifdef A\n{NONSENSE}#!else # A\n{NONSENSE}#!endif\n",
    "else with a comment, the other way": f"#!define A\n#!ifdef A\nx=2\n#!else # A\n{NONSENSE}#!endif\n",
    "else alone": "#!else\n",
    "else twice": f"#!ifdef A\n{NONSENSE}#!else\nchildren=2\n#!else\n{NONSENSE}#!endif\n",
    "endif alone": "#!endif\n",
    "endif that is indented": f"#!ifdef A\n{NONSENSE}   #!endif\n",
    "endif with blanks": f"#!ifdef A\n{NONSENSE}#!endif \t\r\n",
    "endif with a comment is a comment": f"#!ifdef A\n{NONSENSE}#!endif # A\n",
    "endif with a comment where it holds": "#!define A\n#!ifdef A\nchildren=2\n#!endif # A\n",
    "endif behind other words": "#!ifdef A\nroute[N] { exit } #!endif\n",
    "endif in a comment that is left out": f"#!ifdef A\n# see #!endif\nchildren=2\n#!endif\n{TAIL}",
    "endif as a word of a comment": f"#!ifdef A\n# up to the #!endif below\n{NONSENSE}#!endif\n",
    "ifdef as a word of a comment": f"#!ifdef A\n# see #!ifdef, too\n{NONSENSE}#!endif\n",
    "ifdef as words of a comment": f"#!ifdef A\n# see #!ifdef B and so on\n{NONSENSE}#!endif\n",
    "endif in quotes that are left out": '#!ifdef A\nx="#!endif\n"\n#!endif\n',
    "endif in a comment that is read": "#!define A\n#!ifdef A\n# no #!endif\nchildren=2\n#!endif\n",
    "endif in a block that is left out": f"#!ifdef A\n/* #!endif\n*/ {NONSENSE}#!endif\n",
    "ifdef in a block": f"/* #!ifdef A\n {NONSENSE}*/\n",
    "ifexp that holds": f"#!ifexp KAMAILIO_VERSION >= 5006000\nchildren=2\n#!else\n{NONSENSE}#!endif\n",
    "ifexp that does not hold": f"#!ifexp KAMAILIO_VERSION < 5006000\n{NONSENSE}#!endif\n",
    "ifexp alone is a comment before 5.7": f"#!ifexp A\n{NONSENSE}",
    "ifexp and": f"#!define A\n#!ifexp A && B\n{NONSENSE}#!endif\n",
    "ifexp or": f"#!define A\n#!ifexp A || B\nchildren=2\n#!else\n{NONSENSE}#!endif\n",
    "ifexp not": f"#!ifexp !A\nchildren=2\n#!else\n{NONSENSE}#!endif\n",
    "ifexp with a text": f'#!define A abc\n#!ifexp A == "abc"\nchildren=2\n#!else\n{NONSENSE}#!endif\n',
    "ifexp with a number": f"#!define A 3\n#!ifexp A > 2\nchildren=2\n#!else\n{NONSENSE}#!endif\n",
    "ifexp of 0": f"#!define A 0\n#!ifexp A\nchildren=2\n#!else\n{NONSENSE}#!endif\n",
    "ifexp that nobody can read": f"#!ifexp ((\n{NONSENSE}#!endif\n",
    "ifexp with parentheses": f"#!define A\n#!ifexp (A || B) && !C\nchildren=2\n#!else\n{NONSENSE}#!endif\n",
    # Substitutions.
    "subst": '#!subst "/a/b/"\n',
    "subst without its last slash": '#!subst "/a/b"\n',
    "subst without a replacement": '#!subst "/a"\n',
    "subst that is no expression": '#!subst "/(/b/"\n',
    "subst without quotes": "#!subst a\n",
    "subst in a route": 'route[X] {\n#!subst "/a/b/"\nexit;\n}\n',
    "substdef": '#!substdef "!A!2!g"\nchildren=A\n',
    "substdef twice": '#!substdef "!A!2!g"\n#!substdef "!A!3!g"\n',
    "substdefs": '#!substdefs "!A!xx!g"\nlog_name=A\n',
    "substdef of a define": '#!trydef W INC2\n#!substdef "!THEONE!$def(W)!g"\ninclude_file "THEONE.cfg"\n',
    "substdef of no define": '#!substdef "!THEONE!$def(W)!g"\ninclude_file "THEONE.cfg"\n',
    # Includes.
    "include": 'include_file "inc.cfg"\nchildren=INC\n',
    "include with a hash": '#!include_file "inc.cfg"\nchildren=INC\n',
    "include with a hash, indented": ' #!include_file "none.cfg"\n',
    "include that is missing": 'include_file "none.cfg"\n',
    "import that is missing": 'import_file "none.cfg"\n',
    "import with a hash that is missing": '#!import_file "none.cfg"\n',
    "include with a hash and a blank is a comment": '#! include_file "none.cfg"\n',
    "include in a comment": '# #!include_file "none.cfg"\n',
    "include without quotes": "include_file inc.cfg\n",
    "include in single quotes": "include_file 'inc.cfg'\n",
    "include with a semicolon": 'include_file "inc.cfg";\n',
    "include with more in its line": 'include_file "inc.cfg" children=3\n',
    "include of a define": '#!define F "inc.cfg"\ninclude_file F\n',
    "include of a define within quotes": '#!define F inc\ninclude_file "F.cfg"\n',
    "include behind other words": 'children=2 include_file "none.cfg"\n',
    "include in a route": 'route[X] {\ninclude_file "body.cfg"\n}\n',
    "include with a condition that it leaves open": f'include_file "open.cfg"\n{NONSENSE}#!endif\n',
    "include that ends in a comment": 'include_file "unended.cfg"\nchildren=2\n',
    "include twice": 'include_file "inc.cfg"\ninclude_file "inc.cfg"\n',
    # Texts and comments.
    "block within a block": f"/* /* */ {NONSENSE}*/\n",
    "block never closed": "/* x\n",
    "comment with slashes": f"// {NONSENSE}",
    "texts that are one": 'log_name="a" "b"\n\t"c"\n',
    "text in two lines": 'log_name="a\nb"\n',
    "text never closed": 'log_name="a\n',
    "text with its quotes escaped": 'log_name="a\\"b"\n',
    "single quotes": "log_name='a\"b'\n",
    "question mark": "children=2 ?\n",
    "variable in two lines": "route[X] { $ru = $(ru{s.len\n}); }\n",
    # Routes.
    "route without a statement": "route[X] { }\n",
    "route with a semicolon": "route[X] { ; }\n",
    "route by number": "route[5] { exit; }\n",
    "no match": 'route[X] { if ($ru !~ "a") exit; }\n',
    "if without parentheses": 'route[X] { if $ru=="a" exit; }\n',
    "words for signs": 'route[X] { if $ru=="a" and $rd=="b" or not src_ip==1.2.3.4 { exit; } }\n',
    "while without parentheses": 'route[X] { while $ru=="a" { break; } }\n',
    "exit without a semicolon": "route[X] { exit }\n",
    "call without a semicolon": "route[X] { force_rport() exit; }\n",
    "assignment without a semicolon": 'route[X] { $ru="sip:a@b" exit; }\n',
    "semicolons": "route[X] { exit;; }\n",
    "switch without parentheses": 'route[X] { switch $ru { case "a": exit; default: exit; } }\n',
    "switch with an expression": 'route[X] { switch ($ru) { case /"^a": exit; } }\n',
    "case without a statement": 'route[X] { switch ($ru) { case "a": case "b": exit; } }\n',
    "statement before a case": 'route[X] { switch ($ru) { exit; case "a": exit; } }\n',
    "block alone": "route[X] { { exit; } }\n",
    "block without a statement": 'route[X] { if ($ru=="a") { } exit; }\n',
    "elseif": 'route[X] { if ($ru=="a") exit; elseif ($ru=="b") exit; }\n',
    "else if": 'route[X] { if ($ru=="a") exit; else if ($ru=="b") exit; else return; }\n',
    "else alone in a route": "route[X] { else exit; }\n",
    "condition without a statement": 'route[X] { if ($ru=="a") }\n',
    "plus and equals": 'route[X] { $ru += "a"; }\n',
    "question mark and colon": 'route[X] { $ru = ($rd == "a") ? "b" : "c"; }\n',
    "return of a number": "route[X] { return -1; }\n",
    "return in parentheses": "route[X] { return(1); }\n",
    "result": "route[X] { if ($rc < 0) exit; if ($retcode==1) exit; if ($?==1) exit; }\n",
    "addresses": "route[X] { if (src_ip==10.0.0.0/8 || dst_ip==[::1] || src_ip==myself) exit; }\n",
    "core words": 'route[X] { if (uri=~"^a" && method=="INVITE" && proto==UDP && msg:len>200) exit; }\n',
    "select": 'route[X] { if (@to.tag=="a" || @via[0].host == "b") exit; }\n',
    "defined": "route[X] { if (defined $ru && strempty($rU)) exit; }\n",
    "cast": "route[X] { if ((int)$rU > 1) exit; }\n",
    "calculation": "route[X] { $rU = 1 + 2 * (3 - 4) mod 5; }\n",
    "parenthesis never closed": 'route[X] { if (($ru=="a") exit; }\n',
    "brace never closed": 'route[X] { if ($ru=="a") { exit; }\n',
    "nested": 'route[X] { if ($ru=="a") { while ($rU!="b") { if (!$rd) { break; } else return 1; } } }\n',
}
"""A small file for each matter."""
STARTS = {"block never closed", "endif in quotes that are left out"}
"""Kamailio starts with these, without all that follows: a problem nevertheless."""


VERSION = version()[0], version()[1]


def refuses(path: Path) -> bool:
    """Whether Kamailio itself does not start with this file."""
    command = ["kamailio", "-c", "-f", str(path), "-L", str(modules_folder()), "-Y", str(path.parent)]
    return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode != 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in BESIDE.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("case", TABLE)
def test_what_kamailio_refuses_is_a_problem(folder: Path, case: str) -> None:
    path = folder / "kamailio.cfg"
    path.write_text(HEAD + TABLE[case] + TAIL, encoding="utf-8", newline="")
    problems = load(path, {}, VERSION).problems
    assert bool(problems) is (refuses(path) or case in STARTS), problems


@pytest.mark.parametrize("last", ["#!endif", "#!else", "exit", "# a comment", "children=2"])
def test_a_last_line_without_an_end(folder: Path, last: str) -> None:
    path = folder / "kamailio.cfg"
    path.write_text(f"{HEAD}{TAIL}#!ifdef A\n{NONSENSE}#!endif\n#!ifndef A\n{last}", encoding="utf-8")
    assert bool(load(path, {}, VERSION).problems) is refuses(path)


def test_a_define_that_names_itself_never_ends(folder: Path) -> None:
    path = folder / "kamailio.cfg"
    path.write_text(f"{HEAD}#!define A A\nchildren=A\n{TAIL}", encoding="utf-8")
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(["kamailio", "-c", "-f", str(path)], capture_output=True, timeout=0.5, check=False)
    (problem,) = load(path).problems
    assert (problem.line, problem.text[:24]) == (5, "A is defined by itself: ")
