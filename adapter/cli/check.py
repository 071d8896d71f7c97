"""``evapi-adapter check``: one probe for cron and monitoring."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from adapter.cli import options, services
from adapter.cli.help import Command, Commands
from adapter.cli.output import Column, Format, Output, escaped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter.admin.limits import Finding, Limit, Limits
    from adapter.settings import Settings

app = Commands()

UNKNOWN: Final = 3
EPILOG: Final = (
    "Examples:  evapi-adapter check    "
    "evapi-adapter check --replicas 2:1 --inflight 500:2000 --p99 500ms:1s --format nagios"
)
_STYLES: Final = {"ok": "green", "warning": "yellow", "critical": "bold red", "unknown": "magenta"}


class Form(StrEnum):
    """How the findings are printed."""

    TEXT = "text"
    JSON = "json"
    PROMETHEUS = "prometheus"
    NAGIOS = "nagios"


class Check(Command):
    """Wrong usage ends in UNKNOWN: 2 would tell a monitoring system that it is critical."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """As usual, but for the exit code of what it raises."""
        try:
            return super().make_context(*args, **kwargs)
        except Exception as exc:
            if getattr(exc, "exit_code", None) == 2:
                exc.exit_code = UNKNOWN  # type: ignore[attr-defined]  # of typer's own, which it does not export
            raise


def _limit(help: str, example: str) -> Any:  # noqa: A002
    return typer.Option(metavar=example, help=help)


@app.command(epilog=EPILOG, cls=Check)
def check(
    inflight: Annotated[
        str | None,
        _limit("Calls in flight of one node. [default: half:nine tenths of the policy's limit]", "500:2000"),
    ] = None,
    oldest: Annotated[str | None, _limit("Age of the oldest in flight. [default: not judged]", "2s")] = None,
    fallback_rate: Annotated[
        str | None,
        _limit("Share of the last minute's calls that nobody decided. [default: 5%:25%]", "1%"),
    ] = None,
    p99: Annotated[
        str | None, _limit("Time within which 99 % of them were answered. [default: not judged]", "500ms")
    ] = None,
    dead_letters: Annotated[str | None, _limit("Dead letters. [default: 0:1000]", "0:100")] = None,
    queue_depth: Annotated[
        str | None, _limit("Requests that wait on one service's queue. [default: 100:1000]", "100")
    ] = None,
    replicas: Annotated[str | None, _limit("Replicas that live, at least. [default: 1]", "2:1")] = None,
    consumers: Annotated[
        str | None, _limit("Consumers of each service, at least. [default: 1]", "2:1")
    ] = None,
    also: services.Also = None,
    form: Annotated[Form, typer.Option("--format", help="How it is printed.")] = Form.TEXT,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing where all is well.")] = False,
    redis_url: options.RedisUrl = None,
    amqp_url: options.AmqpUrl = None,
    amqp_api: options.AmqpApi = None,
    nodes: options.Nodes = None,
    policy: options.PolicyFile = None,
    more: options.More = None,
) -> None:
    """Say whether all is well, within 3 seconds: for cron and monitoring.

    A limit is CRITICAL (2000), WARNING:CRITICAL (500:2000) or WARNING: (500:). Always judged: replicas,
    each node's active replica and links, what is paused or drained, calls past their deadline, Redis and
    RabbitMQ. Exit codes: 0 ok, 1 warning, 2 critical, 3 unknown: wrong usage or settings, or what a flag
    asks for cannot be measured.
    """
    from adapter.admin.limits import Level, worst
    from adapter.errors import AdapterError

    flags = {
        "in_flight": inflight,
        "oldest": oldest,
        "fallback_rate": fallback_rate,
        "p99": p99,
        "dead_letters": dead_letters,
        "queue_depth": queue_depth,
        "replicas": replicas,
        "consumers": consumers,
    }
    try:
        chosen = options.settings(
            more, redis_url=redis_url, amqp_url=amqp_url, amqp_api=amqp_api, nodes=nodes, policy=policy
        )
        found = options.run(_findings(chosen, _limits(chosen, flags), also or []))
    except AdapterError as exc:
        found = _unknown(str(exc))
    level = worst(found)
    if level is not Level.OK or not quiet:
        _PRINTERS[form](found)
    raise typer.Exit(int(level))


def _unknown(problem: str) -> list[Finding]:
    from adapter.admin.limits import Finding, Level

    return [Finding("settings", Level.UNKNOWN, problem, run="evapi-adapter settings show")]


def _limits(chosen: Settings, flags: dict[str, str | None]) -> Limits:
    """Raises SettingsError, PolicyError."""
    from adapter.admin.limits import SECONDS, SHARE, Limit, Limits
    from adapter.errors import SettingsError
    from adapter.relay import policy

    units = {"oldest": SECONDS, "p99": SECONDS, "fallback_rate": SHARE}
    most = (policy.Policy() if chosen.policy is None else policy.read(chosen.policy)).in_flight
    given: dict[str, Any] = {"in_flight": Limit(most * 0.5, most * 0.9)}
    for name, text in flags.items():
        if text is None:
            continue
        try:
            given[name] = Limit.parse(text, units.get(name, ""), least=name in ("replicas", "consumers"))
        except ValueError as exc:
            flag = "inflight" if name == "in_flight" else name.replace("_", "-")
            raise SettingsError(f"--{flag}", str(exc)) from None
    return Limits(**given, asked=frozenset(name for name, text in flags.items() if text is not None))


async def _findings(chosen: Settings, limits: Limits, also: Sequence[str]) -> list[Finding]:
    """Raises SettingsError, PolicyError."""
    from dataclasses import replace

    from adapter.admin.limits import judge
    from adapter.admin.watch import Watch

    if also:
        limits = replace(limits, asked=limits.asked | {"consumers"})
    amqp = None if chosen.amqp_url is None else options.amqp(chosen)
    watch = Watch(chosen, options.calls_of(chosen), amqp, also)
    try:
        return judge(await watch.look(), limits)
    finally:
        await watch.close()


def _row(finding: Finding) -> dict[str, Any]:
    limit = finding.limit
    return {
        "check": finding.check,
        "of": finding.of,
        "level": finding.level.word,
        "text": finding.text,
        "value": finding.value,
        "warning": None if limit is None else limit.warning,
        "critical": None if limit is None else limit.critical,
        "run": finding.run if finding.level else "",
    }


def _text(found: Sequence[Finding]) -> None:
    columns = (
        Column("level", "LEVEL", style=lambda value: _STYLES[value]),
        Column("check", "CHECK"),
        Column("of", "OF"),
        Column("text", "FOUND"),
    )
    ordered = sorted(found, key=_weight)
    rows = [_row(finding) for finding in ordered]
    for row in rows:
        if row["run"]:
            row["text"] += f"; run: {row['run']}"
    Output(Format.TABLE).rows(columns, rows)


def _weight(finding: Finding) -> int:
    """The gravest first."""
    return ("critical", "warning", "unknown", "ok").index(finding.level.word)


def _json(found: Sequence[Finding]) -> None:
    from adapter.admin.limits import worst

    level = worst(found)
    told = {"level": level.word, "code": int(level), "findings": [_row(finding) for finding in found]}
    typer.echo(json.dumps(told, indent=2))


def _prometheus(found: Sequence[Finding]) -> None:
    from adapter.admin.limits import worst

    typer.echo("# HELP evapi_check_level What check found in all: 0 ok, 1 warning, 2 critical, 3 unknown.")
    typer.echo("# TYPE evapi_check_level gauge")
    typer.echo(f"evapi_check_level {int(worst(found))}")
    for name, help_, values in (
        ("finding", "What each check found: 0 ok, 1 warning, 2 critical, 3 unknown.", "level"),
        ("value", "What each check measured, in seconds, as a share of 1, or as a number.", "value"),
    ):
        typer.echo(f"# HELP evapi_check_{name} {help_}")
        typer.echo(f"# TYPE evapi_check_{name} gauge")
        for finding in found:
            value = getattr(finding, values)
            if value is not None:
                labels = f'check="{finding.check}",of="{_label(finding.of)}"'
                typer.echo(f"evapi_check_{name}{{{labels}}} {float(value):.10g}")


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _nagios(found: Sequence[Finding]) -> None:
    """One line: what is wrong, then what was measured."""
    from adapter.admin.limits import worst

    level = worst(found)
    wrong = [finding for finding in sorted(found, key=_weight) if finding.level]
    told = "; ".join(f"{finding.of}: {finding.text}" if finding.of else finding.text for finding in wrong)
    told = told or "; ".join(
        finding.text for finding in found if finding.check in ("replicas", "fallback_rate")
    )
    measured = " ".join(_measured(finding) for finding in found if finding.value is not None)
    line = escaped(f"EVAPI {level.word.upper()} - {told}".replace("|", "/"))
    typer.echo(f"{line} | {measured}" if measured else line)


def _measured(finding: Finding) -> str:
    """As Nagios has it: 'label'=value;warning;critical;least."""
    label = f"{finding.check}_{finding.of}" if finding.of else finding.check
    label = escaped(label).replace("'", "''").replace("=", "_")
    factor, unit = (100.0, "%") if finding.unit == "share" else (1.0, finding.unit)
    assert finding.value is not None, "see _nagios"
    limits = _range(finding.limit, factor)
    return f"'{label}'={finding.value * factor:.6g}{unit};{limits};0"


def _range(limit: Limit | None, factor: float) -> str:
    if limit is None:
        return ";"
    below = ":" if limit.least else ""
    return ";".join(
        "" if value is None else f"{value * factor:.6g}{below}" for value in (limit.warning, limit.critical)
    )


_PRINTERS: Final = {
    Form.TEXT: _text,
    Form.JSON: _json,
    Form.PROMETHEUS: _prometheus,
    Form.NAGIOS: _nagios,
}
