"""``evapi-adapter doctor``: look at every dependency, and say what is wrong, why it matters, what to do."""

from __future__ import annotations

import json
import re
import sys
from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from adapter.cli import options, services
from adapter.cli.help import Commands
from adapter.cli.output import Column, Format, Output, console, escaped
from adapter.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.text import Text

    from adapter.admin.checks_finding import Finding

app = Commands()

EPILOG: Final = (
    "Examples:  evapi-adapter doctor    "
    "evapi-adapter doctor --kamailio-cfg /etc/kamailio/kamailio.cfg -A WITH_TLS --kamailio-version 5.8    "
    "evapi-adapter doctor --kamailio-cfg kamailio.cfg -o sarif > doctor.sarif    "
    "evapi-adapter doctor -o json | jq '.rows[] | select(.status == \"error\").todo'"
)
WIDTH: Final = 100
"""Columns of the picture."""
INDENT: Final = 11
"""Columns before the name of a check, and before what is said of a finding."""
WIDEST: Final = 24
"""Columns for the name of a check: a longer one has a line of its own."""
_STYLES: Final = {"ok": "green", "warning": "yellow", "error": "bold red", "unknown": "magenta"}
_TITLES: Final = {"redis": "Redis", "rabbitmq": "RabbitMQ"}
NAMED: Final = ("replicas", "nodes", "services")
"""Groups whose findings are about something with a short name."""
_COMMENT: Final = "    # "


class Told(StrEnum):
    """How findings are printed."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    SARIF = "sarif"
    GITHUB = "github"


@app.command(epilog=EPILOG)
def doctor(
    context: typer.Context,
    kamailio_cfg: Annotated[
        str | None, typer.Option(metavar="FILE", help="A Kamailio configuration to look through as well.")
    ] = None,
    define: Annotated[
        list[str] | None,
        typer.Option("--define", "-A", metavar="NAME[=VALUE]", help="As Kamailio gets it by -A."),
    ] = None,
    kamailio_version: Annotated[
        str | None, typer.Option(metavar="X.Y", help="Kamailio's version. [default: any]")
    ] = None,
    also: services.Also = None,
    rules: Annotated[
        bool, typer.Option("--rules", help="List what --kamailio-cfg looks for, each with its reason.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings are errors, too.")] = False,
    svg: Annotated[str | None, typer.Option(metavar="FILE", help="Draw it as a picture as well.")] = None,
    redis_url: options.RedisUrl = None,
    amqp_url: options.AmqpUrl = None,
    amqp_api: options.AmqpApi = None,
    nodes: options.Nodes = None,
    policy: options.PolicyFile = None,
    output: Annotated[
        Told,
        typer.Option(
            "--output", "-o", help="How data is printed: sarif and github are for a check-out's reviewers."
        ),
    ] = Told.TABLE,
    more: options.More = None,
) -> None:
    """Look at settings, Redis, RabbitMQ, replicas, nodes and services, within 3 seconds.

    Of what is not ok it says why it matters, and the command to run or the line to write. It changes
    nothing, and does not connect to Kamailio: of that the replicas tell. A configuration (--kamailio-cfg) is
    looked through, and this machine's Kamailio, if there is one, must load it. Exit codes: 0 nothing wrong
    (warnings perhaps), 1 an error (with --strict: or a warning), 2 wrong usage.
    """
    from adapter.admin import checks_settings
    from adapter.admin.doctor import examine

    if rules:
        _rules(output)
        return
    version, defines = _version(kamailio_version), _defines(define or [])
    if kamailio_cfg is None and (define or version):
        raise typer.BadParameter("--define and --kamailio-version need --kamailio-cfg")
    flags: dict[str, Any] = {"redis_url": redis_url, "amqp_url": amqp_url, "amqp_api": amqp_api}
    flags |= {"nodes": nodes, "policy": policy}
    site, found = checks_settings.read(also or [], **_flags(context, more or [], flags))
    looked, replicas = options.run(examine(site))
    found += looked
    if kamailio_cfg is not None:
        from adapter.admin import checks_kamailio_loads
        from adapter.admin.checks_kamailio import check, disagreements

        judged = check(kamailio_cfg, defines, version, replicas, site.policy.longest_deadline)
        loads = checks_kamailio_loads.check(kamailio_cfg, defines)
        found += [*judged, *loads, *disagreements(judged, loads)]
    _show(found, output, svg)
    bad = {"error", "warning"} if strict else {"error"}
    if any(finding.status in bad for finding in found):
        raise typer.Exit(1)


def _rules(told: Told) -> None:
    """Every rule, how bad what it finds is, and its reason."""
    from adapter.kamailio.lint import RULES
    from adapter.kamailio.lint.reasons import REASONS

    rows = [{"rule": rule, "severity": RULES[rule], "reason": REASONS[rule]} for rule in RULES]
    columns = [Column("rule", "RULE"), Column("severity", "SEVERITY"), Column("reason", "REASON")]
    _output(told).rows(columns, rows)


def _output(told: Told) -> Output:
    return Output(Format.JSON if told in (Told.SARIF, Told.GITHUB) else Format(told))


def _flags(context: typer.Context, more: Sequence[str], flags: dict[str, Any]) -> dict[str, Any]:
    """What was typed: Typer gives what is in the environment as if it were a flag. Raises SettingsError."""
    sources = {name: context.get_parameter_source(name) for name in flags}
    typed = {name: flags[name] for name, source in sources.items() if source and source.name == "COMMANDLINE"}
    for name, value in map(options.pair, more):
        if name in flags:
            raise SettingsError("--set", f"give {name} by its own flag, --{name.replace('_', '-')}")
        typed[name] = value
    return typed


def _version(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d+)\.(\d+)(\..*)?", text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is no version of Kamailio, such as 5.8")
    return int(found[1]), int(found[2])


def _defines(words: Sequence[str]) -> dict[str, str]:
    found = {}
    for word in words:
        name, _, value = word.partition("=")
        if not name:
            raise typer.BadParameter(f"{word!r} is no NAME or NAME=VALUE")
        found[name] = value
    return found


def _show(found: Sequence[Finding], told: Told, svg: str | None) -> None:
    summary = _summary(found)
    out = _output(told)
    if told is Told.SARIF:
        from importlib.metadata import version

        from adapter.cli.annotations import sarif

        typer.echo(json.dumps(sarif(found, version("evapi-adapter")), indent=2))
    elif told is Told.GITHUB:
        from adapter.cli.annotations import github

        typer.echo("\n".join(github(found)))
    elif told is Told.TABLE:
        screen = console()
        width = screen.width if sys.stdout.isatty() else None
        for line in lines(found, width):
            screen.print(line, soft_wrap=True)
    else:
        out.rows((), map(_row, found))
    out.say(summary)
    if svg is not None:
        _draw(found, summary, svg)


def _row(finding: Finding) -> dict[str, Any]:
    return {
        "group": finding.group,
        "check": finding.check,
        "of": finding.of,
        "status": str(finding.status),
        "seen": finding.seen,
        "why": finding.why,
        "todo": finding.todo,
        "file": finding.file or None,
        "line": finding.line or None,
    }


def _summary(found: Sequence[Finding]) -> str:
    from adapter.admin.checks_finding import Status, count, counted

    errors, warnings = count(found, Status.ERROR), count(found, Status.WARNING)
    told = f"{counted(errors, 'error')}, {counted(warnings, 'warning')}, {count(found, Status.OK)} ok"
    unknown = count(found, Status.UNKNOWN)
    return f"{told}, {unknown} unknown" if unknown else told


def lines(found: Sequence[Finding], width: int | None) -> Iterator[Text]:
    """What a person reads, wrapped to so many columns; ``None``: not wrapped at all."""
    from rich.text import Text

    for number, (group, several) in enumerate(groupby(found, key=lambda finding: finding.group)):
        members = [*_folded(several)]
        if number:
            yield Text()
        yield Text(_TITLES.get(group, group.capitalize()), "bold")
        names = [_name(finding) for finding in members]
        column = max((len(name) for name in names if len(name) <= WIDEST), default=0)
        following: list[Finding | None] = [*members[1:], None]
        for name, finding, after in zip(names, members, following, strict=True):
            yield from _seen(finding, name, column, width)
            if after is None or _advice(after) != _advice(finding):  # else it is said below the last of them
                yield from _explained(finding, width)


def _advice(finding: Finding) -> tuple[str, ...]:
    return finding.status, finding.check, finding.why, finding.todo


def _folded(found: Iterator[Finding]) -> Iterator[Finding]:
    """What was left out for one reason is told in one line."""
    from dataclasses import replace

    for (status, seen, todo), several in groupby(found, key=lambda each: (each.status, each.seen, each.todo)):
        same = list(several)
        if len(same) > 1 and status == "unknown":
            names = ", ".join(dict.fromkeys(_name(each) for each in same))
            yield replace(same[0], check="left out", of="", seen=f"{names}: {seen}", todo=todo)
        else:
            yield from same


def _name(finding: Finding) -> str:
    shown = finding.of and finding.group in NAMED
    return escaped(f"{finding.check} {finding.of}" if shown else finding.check)


def _seen(finding: Finding, name: str, column: int, width: int | None) -> Iterator[Text]:
    from rich.text import Text

    status = str(finding.status)
    indent = INDENT + column + 2
    first, *rest = _wrapped(finding.seen, width, indent)
    head = Text.assemble("  ", (f"{status:<9}", _STYLES[status]), f"{name:<{column}}  ")
    if len(name) > column:
        yield head
        yield Text(" " * indent + first)
    else:
        yield head + Text(first)
    yield from (Text(" " * indent + line) for line in rest)


def _explained(finding: Finding, width: int | None) -> Iterator[Text]:
    from rich.text import Text

    if finding.why:
        yield from (Text(" " * INDENT + line, "dim") for line in _wrapped(finding.why, width, INDENT))
    for line in escaped(finding.todo, lines=True).replace("\t", "    ").splitlines():
        yield from _todo(line, width)


def _todo(line: str, width: int | None) -> Iterator[Text]:
    """A command or a line to write, whole, so that it can be copied; what is said of it below it."""
    from rich.text import Text

    command, mark, comment = line.partition(_COMMENT)
    if width is None or INDENT + 2 + len(line) <= width or not mark:
        yield Text.assemble(" " * INDENT, ("> ", "bold"), (line, "cyan"))
        return
    yield Text.assemble(" " * INDENT, ("> ", "bold"), (command, "cyan"))
    for each in _wrapped(f"# {comment}", width, INDENT + 2):
        yield Text(" " * (INDENT + 2) + each, "cyan")


def _wrapped(words: str, width: int | None, indent: int) -> list[str]:
    import textwrap

    words = escaped(words)
    if width is None:
        return [words]
    return textwrap.wrap(words, max(width - indent, 20), break_on_hyphens=False) or [""]


def _draw(found: Sequence[Finding], summary: str, path: str) -> None:
    """Write it as SVG. Raises AdapterError where the file cannot be written."""
    import io
    from pathlib import Path

    from rich.console import Console

    from adapter.errors import AdapterError

    canvas = Console(
        record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    for line in lines(found, WIDTH):
        canvas.print(line)
    canvas.print(f"\n{summary}", highlight=False)
    drawn = canvas.export_svg(title="evapi-adapter doctor", unique_id="doctor")
    try:
        Path(path).write_text(drawn, "utf-8")
    except OSError as exc:
        raise AdapterError(f"{path}: cannot be written: {exc.strerror}") from exc
