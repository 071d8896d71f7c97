"""``evapi-adapter send``: a command for Kamailio, or a test question for the services."""

from __future__ import annotations

import contextlib
import json
import random
import sys
import time
import uuid
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from adapter.cli import complete, options
from adapter.cli.help import Commands
from adapter.cli.output import Column, Format, Output, escaped, seconds
from adapter.errors import CodecError, SettingsError

if TYPE_CHECKING:
    import asyncio

    from adapter.admin.rabbit import Message, Rabbit
    from adapter.contract import Request
    from adapter.settings import Settings

app = Commands()

EPILOG: Final = (
    'Examples:  evapi-adapter send sbc1 \'{"event":"reload_gateways"}\'    '
    "evapi-adapter send all - < command.json    "
    'evapi-adapter send --event invite_request --data \'{"ruri":"sip:+441632960000@example.net"}\''
)
TEST_NODE: Final = "test"
MORE_TIME: Final = 0.3
"""Seconds after the deadline for which RabbitMQ may still tell that nobody took the question."""
MAX_NAME: Final = 100
_STANDARD_INPUT: Final = "-"
_FIRST_SEQ: Final = 1 << 30
"""No transaction of a Kamailio's is suspended so often."""


class BodyFormat(StrEnum):
    """Of a question's body."""

    MSGPACK = "msgpack"
    JSON = "json"


def _json(value: Any) -> str:
    return "" if value is None else escaped(json.dumps(value, ensure_ascii=False))


def _style(outcome: Any) -> str:
    return "green" if outcome in ("decided", "sent") else "red"


COLUMNS_COMMAND: Final = (
    Column("outcome", "OUTCOME", style=_style),
    Column("node", "NODE"),
    Column("bytes", "BYTES"),
)
COLUMNS_QUESTION: Final = (
    Column("outcome", "OUTCOME", style=_style),
    Column("decision", "DECISION", _json),
    Column("service", "SERVICE"),
    Column("seconds", "TOOK", seconds),
    Column("detail", "DETAIL"),
    Column("correlation_id", "CORRELATION ID"),
)


@app.command(epilog=EPILOG)
def send(
    target: Annotated[
        str | None,
        typer.Argument(autocompletion=complete.nodes, metavar="NODE|all", help="Whom a command is for."),
    ] = None,
    command: Annotated[
        str | None, typer.Argument(metavar="JSON", help="The command, a JSON object; -: from stdin.")
    ] = None,
    event: Annotated[
        str | None,
        typer.Option(
            autocompletion=complete.events, metavar="NAME", help="Ask the services about this event."
        ),
    ] = None,
    data: Annotated[str, typer.Option(metavar="JSON", help="The event's data; -: from stdin.")] = "{}",
    node: Annotated[str, typer.Option(metavar="NAME", help="The node that seems to ask.")] = TEST_NODE,
    body: Annotated[
        BodyFormat, typer.Option(help="How the question is written: as the policy's format for the event.")
    ] = BodyFormat.MSGPACK,
    timeout: Annotated[float, typer.Option(min=0.05, max=60, help="Seconds that they have.")] = 2.0,
    amqp_url: options.AmqpUrl = None,
    output: options.As = Format.TABLE,
    more: options.More = None,
) -> None:
    """Push a command to Kamailio, or ask the services a test question.

    A command (NODE|all JSON) goes through the adapter that has a link to that node, into its
    event_route[evapi:message-received]. It is sent once a queue has it; whether Kamailio did anything is not
    told. It may wait there until an adapter is back.

    A question (--event) goes where Kamailio's events go, and the reply comes here: no call is touched. To a
    service it is a request like any other. Exit codes: 0 sent, decided; 1 nobody there, no reply, the service
    failed, or RabbitMQ cannot be asked; 2 wrong usage.
    """
    out = Output(output)
    asks = event is not None
    if asks == (target is not None) or (target is None) != (command is None):
        raise SettingsError("send", "takes NODE and JSON, or --event NAME")
    for name, given in (("NODE", target), ("--event", event), ("--node", node)):
        if given is not None and not 0 < len(given.encode("utf-8", "replace")) <= MAX_NAME:
            raise SettingsError(name, f"is a name of 1 to {MAX_NAME} bytes")
    chosen = options.settings(more, amqp_url=amqp_url)
    url = "" if options.embedded(chosen) else options.amqp(chosen)
    if event is not None:
        asking = (
            _asked(url, event, node, _data(data), timeout, body is BodyFormat.JSON)
            if url
            else _asked_here(chosen, event, node, _data(data), timeout)
        )
        row = options.run(asking)
        out.one(row, COLUMNS_QUESTION)
        ok = row["outcome"] == "decided"
    else:
        assert target is not None
        assert command is not None
        said = _command(command)
        row = options.run(_sent(url, target, said) if url else _sent_here(chosen, target, said))
        out.one(row, COLUMNS_COMMAND)
        ok = row["outcome"] == "sent"
    if not ok:
        out.say(row["advice"])
        raise typer.Exit(1)


def _given(text: str) -> bytes:
    return sys.stdin.buffer.read() if text == _STANDARD_INPUT else text.encode("utf-8", "surrogateescape")


def _command(text: str) -> bytes:
    from adapter.wire.command import check_command

    body = _given(text).strip()
    try:
        check_command(body)
    except CodecError as exc:
        raise SettingsError("JSON", f"Kamailio could not be sent this: {exc}") from exc
    return body


def _data(text: str) -> dict[str, Any]:
    try:
        found = json.loads(_given(text))
    except (ValueError, RecursionError) as exc:
        raise SettingsError("--data", f"is no JSON: {exc}") from exc
    if not isinstance(found, dict):
        raise SettingsError("--data", "is no JSON object")
    return found


async def _sent(url: str, target: str, body: bytes) -> dict[str, Any]:
    from pamqp.commands import Basic

    from adapter import contract
    from adapter.admin.rabbit import Rabbit

    key = target if target == contract.ALL_NODES else contract.word(target)
    properties = Basic.Properties(
        content_type=contract.JSON, delivery_mode=1, message_id=uuid.uuid4().hex, app_id=contract.APP_ID
    )
    async with Rabbit(url) as rabbit:
        sent = await rabbit.publish(contract.COMMANDS_EXCHANGE, key, body, properties)
    who = "any node" if target == contract.ALL_NODES else f"the node {escaped(target)}"
    return {
        "outcome": "sent" if sent else "unroutable",
        "node": target,
        "bytes": len(body),
        "advice": "" if sent else f"no queue is bound for {who}: no adapter has had a link to it lately",
    }


async def _sent_here(chosen: Settings, target: str, body: bytes) -> dict[str, Any]:
    """By the adapter without RabbitMQ that runs here."""
    adapter = options.running(chosen)
    try:
        nodes = await adapter.command(target, body)
    finally:
        await adapter.close()
    advice = "" if nodes else f"the adapter has no link to {escaped(target)} that is read"
    outcome = "sent" if nodes else "unroutable"
    return {"outcome": outcome, "node": target, "bytes": len(body), "advice": advice}


async def _asked_here(
    chosen: Settings, event: str, node: str, data: dict[str, Any], seconds: float
) -> dict[str, Any]:
    """By the adapter without RabbitMQ that runs here, of the services in its process."""
    from adapter import contract

    seq = _FIRST_SEQ + random.getrandbits(30)
    row: dict[str, Any] = {"event": event, "node": node, "correlation_id": f"{node}:0:0:{seq}"}
    row |= {"outcome": "unroutable", "decision": None, "service": "", "seconds": None, "detail": ""}
    adapter, began = options.running(chosen), time.perf_counter()
    try:
        reply = await adapter.ask(event, node, data, seq, seconds)
    finally:
        await adapter.close()
    if isinstance(reply, str):
        return row | {"advice": _advice("unroutable", event, seconds), "detail": reply}
    row["seconds"] = round(time.perf_counter() - began, 6)
    if reply is None:
        return row | {"outcome": "timeout", "advice": _advice("timeout", event, seconds)}
    said, status, service, rejected, detail = reply
    row |= {"service": service or "", "detail": detail or rejected or ""}
    if rejected is not None or status is not None:
        outcome = "failed"
    else:
        try:
            row["decision"], outcome = contract.decode_reply(said), "decided"
        except CodecError as exc:
            row["detail"], outcome = str(exc), "malformed"
    return row | {"outcome": outcome, "advice": _advice(outcome, event, seconds)}


async def _asked(
    url: str, event: str, node: str, data: dict[str, Any], seconds: float, as_json: bool
) -> dict[str, Any]:
    from adapter import contract
    from adapter.admin.rabbit import NoRights, NotThere, Rabbit
    from adapter.amqp.topology import Binding

    queue = f"evapi.answers.{uuid.uuid4().hex}"
    key = contract.routing_key(event, node)
    seq = _FIRST_SEQ + random.getrandbits(30)
    request = contract.Request(event, node, data, 0, 0, seq, time.time() + seconds)
    row: dict[str, Any] = {"event": event, "node": node, "correlation_id": f"{node}:0:0:{seq}"}
    row |= {"outcome": "unroutable", "decision": None, "service": "", "seconds": None, "detail": ""}
    async with Rabbit(url) as rabbit, rabbit.listen(queue) as came:
        # Where it is rejected, that is told at once; without this way the deadline tells.
        with contextlib.suppress(NotThere, NoRights):
            await rabbit.bind(Binding(contract.DEAD_BY_NODE_EXCHANGE, queue, key))
        began = time.perf_counter()
        if await _published(rabbit, request, as_json, queue, key, row["correlation_id"], seconds):
            answer = await _answer(came, row["correlation_id"], seconds + MORE_TIME)
            row |= {"seconds": round(time.perf_counter() - began, 6), **_judged(answer)}
    return row | {"advice": _advice(row["outcome"], event, seconds)}


async def _published(
    rabbit: Rabbit,
    request: Request,
    as_json: bool,
    queue: str,
    key: str,
    correlation_id: str,
    seconds: float,
) -> bool:
    from datetime import UTC, datetime

    from pamqp.commands import Basic

    from adapter import contract

    assert request.deadline is not None, "a question has one"
    try:
        body = contract.encode_request(request, as_json)
    except CodecError as exc:
        raise SettingsError("--data", f"cannot be sent: {exc}") from exc
    properties = Basic.Properties(
        content_type=contract.content_type(body),
        headers={
            contract.HEADER_NODE: request.node,
            contract.HEADER_DEADLINE: round(request.deadline * 1000),
            contract.HEADER_VERSION: contract.VERSION,
        },
        delivery_mode=1,
        correlation_id=correlation_id,
        reply_to=queue,
        expiration=str(round(seconds * 1000)),
        message_id=correlation_id,
        timestamp=datetime.now(UTC),
        message_type=request.event,
        user_id=await rabbit.user() or None,
        app_id=contract.APP_ID,
    )
    return await rabbit.publish(contract.EVENTS_EXCHANGE, key, body, properties)


async def _answer(came: asyncio.Queue[Message], correlation_id: str, within: float) -> Message | None:
    """The reply, or the question itself where RabbitMQ gave it up; ``None`` where neither comes in time."""
    import asyncio

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within):
            while True:
                message = await came.get()
                if message.properties.correlation_id == correlation_id:
                    return message
    return None


def _judged(answer: Message | None) -> dict[str, Any]:
    """What the adapter would make of it."""
    from adapter import contract
    from adapter.admin.dead_letters import read

    if answer is None:
        return {"outcome": "timeout"}
    if answer.exchange == contract.DEAD_EXCHANGE:
        letter = read(0, answer)
        outcome = "expired" if letter.reason == "expired" else "failed"
        return {"outcome": outcome, "service": letter.service, "detail": letter.reason}
    found: dict[str, Any] = {"service": str(answer.headers.get(contract.HEADER_SERVICE) or "")}
    try:
        decision = contract.decode_reply(answer.body)
    except CodecError as exc:
        return found | {"outcome": "malformed", "detail": str(exc)}
    failed = answer.headers.get(contract.HEADER_STATUS) == contract.STATUS_FAILED
    return found | {"outcome": "failed" if failed else "decided", "decision": decision}


def _advice(outcome: str, event: str, seconds: float) -> str:
    event = escaped(event)
    return {
        "decided": "",
        "unroutable": f"no queue is bound for {event}: no service that runs here handles it; "
        "see evapi-adapter services",
        "timeout": f"no reply within {seconds:g} s: a service has the question, or had it; see its log",
        "expired": f"no service took it off its queue within {seconds:g} s; see evapi-adapter services",
        "failed": "the service failed or rejected it; see its log",
        "malformed": "the reply cannot be understood: a JSON object or a msgpack map is",
    }[outcome]
