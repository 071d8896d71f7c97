"""``evapi-adapter settings``: what is in force, and where it comes from."""

from __future__ import annotations

import contextlib
import difflib
import os
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from adapter.cli import contexts, options
from adapter.cli.help import Commands
from adapter.cli.output import Column, Format, Output, escaped
from adapter.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adapter.settings import Settings

app = Commands(
    name="settings",
    help="What is in force, and where it comes from.",
)
EPILOG_SHOW: Final = (
    "Examples:  evapi-adapter settings show    evapi-adapter settings show --set lease=2 -o json"
)
_ALIKE: Final = 0.85
"""How alike a variable must be to one of ours to be taken for a slip: others are consumers' own."""

COLUMNS: Final = (
    Column("variable", "VARIABLE", style="bold"),
    Column("shown", "VALUE"),
    Column("source", "SOURCE", style=lambda source: "" if source == "default" else "green"),
)


@app.command("show", epilog=EPILOG_SHOW)
def show(
    context: typer.Context,
    nodes: options.Nodes = None,
    amqp_url: options.AmqpUrl = None,
    redis_url: options.RedisUrl = None,
    amqp_api: options.AmqpApi = None,
    consumer: Annotated[
        list[str] | None, typer.Option(metavar="MODULE:SERVICE", help="As of `run`; may be repeated.")
    ] = None,
    policy: options.PolicyFile = None,
    http: Annotated[str | None, typer.Option(envvar="EVAPI_HTTP", help="As of `run`.")] = None,
    replica: Annotated[str | None, typer.Option(envvar="EVAPI_REPLICA", help="As of `run`.")] = None,
    log: Annotated[str | None, typer.Option(envvar="EVAPI_LOG", help="As of `run`.")] = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """Show every setting as `run` would have it with these flags, this environment and these files.

    Passwords are masked. Exit codes: 0 shown, 2 a setting is wrong: each that is wrong is told.
    """
    flags: dict[str, Any] = {
        "nodes": nodes,
        "amqp_url": amqp_url,
        "redis_url": redis_url,
        "amqp_api": amqp_api,
        "consumer": consumer or None,
        "policy": policy,
        "http": http,
        "replica": replica,
        "log": log,
    }
    # Typer gives what is in the environment as if it were a flag.
    flags = {name: value for name, value in flags.items() if _typed(context, name)}
    for name, value in map(options.pair, more or ()):
        if name in context.params and name != "more":
            raise SettingsError("--set", f"give {name} by its own flag, --{name.replace('_', '-')}")
        flags[name] = value
    out = Output(output)
    for problem in _slips():
        out.say(f"evapi-adapter: {problem}")
    _shown(out, flags)


def _typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _shown(out: Output, flags: dict[str, Any]) -> None:
    from adapter import settings

    found, wrong = settings.examine(**flags)
    if found is None:
        for each in wrong:
            out.say(f"evapi-adapter: {each}")
        raise typer.Exit(2)
    rows = _rows(found, flags)
    if out.format is Format.TABLE:
        rows = [{**row, "shown": _text(row["value"]) + _revision(row)} for row in rows]
    out.rows(COLUMNS, rows)
    try:
        settings.check_somebody_decides(found)
    except SettingsError as exc:
        out.say(f"evapi-adapter: `run` would not start so: {exc}")


def _rows(found: Settings, flags: dict[str, Any]) -> list[dict[str, Any]]:
    from adapter import settings

    return [
        {
            "name": name,
            "variable": f"{settings.PREFIX}{name.upper()}",
            "value": _plain(getattr(found, name)),
            "source": _source(name, settings.source(name, **flags)),
        }
        for name in type(found).model_fields
    ]


def _source(name: str, told: str) -> str:
    """A context's settings are in the environment, too: by then it is the context that is told."""
    context = contexts.giver(name) if told in ("environment", "file") else ""
    return f"context {context}" if context else told


def _plain(value: Any) -> Any:
    """As JSON has it: passwords masked, an address as text."""
    from pydantic import SecretStr

    from adapter.settings import Address, Lookup, NodeAddress, without_password

    if isinstance(value, SecretStr):
        return without_password(value.get_secret_value())
    if isinstance(value, NodeAddress | Lookup):
        return str(value)
    if isinstance(value, tuple) and not isinstance(value, Address):
        return [_plain(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _text(value: Any) -> str:
    if value is None or value in ("", []):
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return ",".join(map(_text, value)) if isinstance(value, list) else escaped(str(value))


def _revision(row: dict[str, Any]) -> str:
    """Of the policy; nothing of other settings, and of a file that cannot be used."""
    from pathlib import Path

    from adapter.relay.policy import read

    if row["name"] != "policy" or row["value"] is None:
        return ""
    with contextlib.suppress(SettingsError):
        return f" (revision {read(Path(row['value'])).revision})"
    return " (cannot be used: see evapi-adapter policy check)"


def _slips() -> Iterator[str]:
    """Variables that look like one of ours and are none."""
    from adapter.settings import PREFIX, Settings

    known = {f"{PREFIX}{name.upper()}{end}" for name in Settings.model_fields for end in ("", "_FILE")}
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in known:
            alike = difflib.get_close_matches(name, known, 1, _ALIKE)
            if alike:
                yield f"{name} is no setting; is {alike[0]} meant?"
