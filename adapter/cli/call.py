"""``evapi-adapter call``: one SIP call, its ladder of messages, and the gateway that answers it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from adapter.cli import options
from adapter.cli.help import Commands
from adapter.cli.output import Format, Output, seconds
from adapter.errors import AdapterError, SettingsError

if TYPE_CHECKING:
    from adapter.address import Address
    from adapter.sip.ladder import Party, Step
    from adapter.sip.play import Plan, Played

app = Commands()

EPILOG: Final = (
    "Examples:  evapi-adapter call 4420    evapi-adapter call 9990 --expect 403    "
    "evapi-adapter call 4420 --server 10.0.0.5:5060 --from alice --no-gateway    "
    "evapi-adapter call --gateway --answer 486"
)
SERVER: Final = "127.0.0.1:5060"
GATEWAY: Final = "127.0.0.1:5080"
NOBODY: Final = 3
"""The exit code if no final response came."""
_HEADER: Final = re.compile(r"([!#-9A-Za-z^_`|~.-]+):\s*(\S[^\r\n]*)")
_USER: Final = re.compile(r"[^\s<>\"]+")


@app.command(epilog=EPILOG)
def call(
    number: Annotated[
        str | None, typer.Argument(metavar="NUMBER", help="Whom to call: a number, or a SIP URI.")
    ] = None,
    server: Annotated[str, typer.Option(metavar="HOST:PORT", help="The proxy: Kamailio.")] = SERVER,
    caller: Annotated[
        str, typer.Option("--from", metavar="NAME", help="Who calls: a name, or a SIP URI.")
    ] = "caller",
    header: Annotated[
        list[str] | None, typer.Option(metavar="'NAME: VALUE'", help="One more; may be repeated.")
    ] = None,
    gateway: Annotated[
        bool | None,
        typer.Option(
            "--gateway/--no-gateway",
            help="Play the gateway that answers. [default: if the proxy is here, and its port is free]",
        ),
    ] = None,
    gateway_at: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where it listens.")] = GATEWAY,
    answer: Annotated[int, typer.Option(min=200, max=699, metavar="CODE", help="What it answers.")] = 200,
    ring: Annotated[float, typer.Option(min=0, max=600, help="Seconds for which it rings.")] = 0.0,
    hold: Annotated[
        float, typer.Option(min=0, max=3600, help="Seconds until an answered call is ended.")
    ] = 0.1,
    timeout: Annotated[
        float, typer.Option(min=0.1, max=600, help="Seconds to the final response; then it is cancelled.")
    ] = 10.0,
    expect: Annotated[
        int | None,
        typer.Option(min=200, max=699, metavar="CODE", help="Succeed if this is the final response."),
    ] = None,
    whole: Annotated[bool, typer.Option("--whole", help="Show each message in full.")] = False,
    output: options.As = Format.TABLE,
) -> None:
    """Make one SIP call over UDP and show its ladder of messages; play the gateway that answers.

    Without a NUMBER, with --gateway, only the gateway is played, until Ctrl-C.

    Exit codes: 0 answered, or as --expect says; 1 another final response, or it cannot be called at all; 2
    wrong usage; 3 no final response in time.
    """
    if number is None and not gateway:
        raise SettingsError("NUMBER", "is missing: name whom to call, or give --gateway to answer calls only")
    from adapter.sip.play import NobodyListens

    out = Output(output)
    plan = _plan(number, server, caller, header, gateway, gateway_at, answer, ring, hold, timeout)
    told = _Told(out, plan, whole)
    try:
        played = options.run(_played(plan, told))
    except NobodyListens as exc:
        raise AdapterError(f"{exc}: start Kamailio there, or name another with --server") from exc
    told.end(played)
    raise typer.Exit(_code(played, expect))


def _plan(
    number: str | None,
    server: str,
    caller: str,
    header: list[str] | None,
    gateway: bool | None,
    gateway_at: str,
    answer: int,
    ring: float,
    hold: float,
    timeout: float,
) -> Plan:
    from adapter.sip.play import Plan

    proxy, at = _address("--server", server), _address("--gateway-at", gateway_at)
    for name, given in (("NUMBER", number), ("--from", caller)):
        if given is not None and not _USER.fullmatch(given):
            raise SettingsError(name, f"{given!r} is neither a number nor a SIP URI, such as sip:4420@host")
    if gateway is None:
        gateway = _is_local(proxy) and _is_free(at)
    return Plan(
        proxy,
        number,
        caller,
        [_header(each) for each in header or ()],
        timeout,
        hold,
        at if gateway else None,
        answer,
        ring,
    )


def _address(flag: str, given: str) -> Address:
    from adapter.address import Address

    try:
        return Address.parse(given)
    except ValueError as exc:
        raise SettingsError(flag, f"{exc}; write for example {SERVER}") from exc


def _header(given: str) -> tuple[str, str]:
    found = _HEADER.fullmatch(given)
    if found is None:
        raise SettingsError("--header", f"{given!r} is no header; write for example 'X-Account: 42'")
    return found[1].lower(), found[2]


def _is_local(address: Address) -> bool:
    return address.host in ("localhost", "::1") or address.host.startswith("127.")


def _is_free(address: Address) -> bool:
    import socket

    with socket.socket(
        socket.AF_INET6 if ":" in address.host else socket.AF_INET, socket.SOCK_DGRAM
    ) as probe:
        try:
            probe.bind(tuple(address))
        except OSError:
            return False
    return True


async def _played(plan: Plan, told: _Told) -> Played:
    from adapter.sip.play import play

    return await play(plan, told.step)


class _Told:
    """Shows what happens, as it happens."""

    def __init__(self, out: Output, plan: Plan, whole: bool) -> None:
        from adapter.sip import ladder

        self._ladder = ladder
        self._out = out
        self._plan = plan
        self._whole = whole
        self._parties: tuple[Party, ...] = tuple(ladder.Party)
        if plan.gateway is None:
            self._parties = (ladder.Party.CALLER, ladder.Party.PROXY)
        elif plan.number is None:
            self._parties = (ladder.Party.PROXY, ladder.Party.GATEWAY)
        if plan.gateway is not None:
            out.say(f"playing the gateway at udp:{plan.gateway}")
        if out.format is Format.TABLE:
            typer.echo(ladder.head(self._parties))

    def step(self, step: Step) -> None:
        """Tell one message."""
        if self._out.format is Format.JSONL:
            self._out.one(self._row(step), ())
        elif self._out.format is Format.TABLE:
            typer.echo(self._ladder.line(step, self._parties))
            if self._whole:
                from adapter.terminal import escaped

                text = step.message.encode().decode("utf-8", "replace").replace("\r\n", "\n")
                typer.echo(escaped(text, lines=True))

    def end(self, played: Played) -> None:
        """Tell what came of it."""
        found = played.final
        row: dict[str, Any] = {
            "result": _result(played),
            "code": found.code if found else None,
            "reason": found.reason if found else None,
            "seconds": played.seconds,
            "call_id": played.call_id,
        }
        if found is not None and found.code < 400 and found.all("contact"):
            row["contact"] = found.all("contact")
        if self._out.format is Format.JSON:
            row["messages"] = [self._row(step) for step in played.steps]
        if self._out.format is not Format.TABLE:
            self._out.one(row, ())
            return
        typer.echo(_sentence(played))

    def _row(self, step: Step) -> dict[str, Any]:
        row: dict[str, Any] = {"at": step.at, "from": step.sender, "to": step.receiver, "message": step.title}
        if self._whole:
            row["text"] = step.message.encode().decode("utf-8", "replace")
        return row


def _result(played: Played) -> str:
    if played.final is None or not played.in_time:
        return "silent"
    return {2: "answered", 3: "redirected"}.get(played.final.code // 100, "refused")


def _sentence(played: Played) -> str:
    from adapter.terminal import escaped

    if played.final is None or not played.in_time:
        return f"silent: no final response in time. Call-ID {played.call_id}"
    told = escaped(f"{played.final.code} {played.final.reason}")
    return f"{_result(played)}: {told} after {seconds(played.seconds)}. Call-ID {played.call_id}"


def _code(played: Played, expect: int | None) -> int:
    if played.final is None or not played.in_time:
        return NOBODY
    wanted = played.final.code < 300 if expect is None else played.final.code == expect
    return 0 if wanted else 1
