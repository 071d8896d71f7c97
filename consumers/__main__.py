"""``evapi-adapter consume module:service``: run services on RabbitMQ until SIGTERM or SIGINT.

``python -m consumers`` does the same where no consumers.py or adapter/ is in the current folder.

Exit codes: 0 stopped, after the work in hand; 1 a lifespan cannot be opened, or the HTTP port is taken; 2
wrong usage, settings or service.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from adapter import outlet
from adapter.address import Address
from adapter.amqp.urls import split_urls
from adapter.errors import AdapterError, SettingsError
from adapter.hello import EACH
from consumers import logs, reloading, tracing
from consumers.clash import add_current_folder
from consumers.command_line import MisplacedPassword, hide_passwords
from consumers.loading import LoadError, load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumers.exporting import Export
    from consumers.service import Service

URL_VARIABLE: Final = "EVAPI_AMQP_URL"
LOG_VARIABLE: Final = "EVAPI_LOG"
FROM_VARIABLE: Final = "EVAPI_REQUESTS_FROM"
HELLO_VARIABLE: Final = "EVAPI_HELLO"

PROGRAM: Final = "python -m consumers"

EXAMPLES = """\
examples:
  {program} consumers.least_cost:service --amqp-url amqp://guest:guest@127.0.0.1/
  EVAPI_AMQP_URL=amqps://user:pw@rabbit1,amqps://user:pw@rabbit2 \\
      {program} consumers.screening:service my_service:service --prefetch 20
  {program} webhook.toml

webhook.toml, so that an HTTP function decides:
  events = ["invite_request"]
  urls = ["https://decide.example.net/evapi"]

my_service.py, in the current folder:
  from consumers import Request, Service, route

  service = Service("my_service")

  @service.on("invite_request")
  async def decide(request: Request):
      return route("sip:gw1.example.net")

Start it as often as needed: the instances of a service share its requests.

With EVAPI_TRACES above 0, and pip install evapi-adapter[otel], the decisions of the calls that the
adapter traces are exported as spans, as OTEL_EXPORTER_OTLP_ENDPOINT and its like say.
"""


class UsageError(Exception):
    """A setting is wrong; the text names it."""


def parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    """The command line, as it is typed."""
    made = argparse.ArgumentParser(
        prog=program,
        description="Run services that decide calls, on RabbitMQ, until SIGTERM.",
        epilog=EXAMPLES.replace("{program}", program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # hide_passwords looks for the whole name
    )
    made.add_argument(
        "services",
        nargs="+",
        metavar="module:service",
        help="what to run; also the settings of a webhook, webhook.toml",
    )
    made.add_argument(
        "--amqp-url",
        metavar="URL",
        help=f"amqp:// or amqps://, several separated by commas are tried in turn; with a password, "
        f"better given as {URL_VARIABLE}, or {URL_VARIABLE}_FILE: a file that holds it",
    )
    made.add_argument(
        "--prefetch", type=_prefetch, metavar="N", help="requests at a time; default: what each service says"
    )
    made.add_argument(
        "--requests-from",
        metavar="USERS",
        default=os.environ.get(FROM_VARIABLE, ""),
        help=f"the users of RabbitMQ, separated by commas, whose requests are taken: the adapter's, and "
        f"those of operators who send test questions [{FROM_VARIABLE}; default: everybody's]",
    )
    made.add_argument(
        "--hello",
        metavar="SECONDS",
        type=_seconds,
        default=os.environ.get(HELLO_VARIABLE, f"{EACH:g}"),
        help=f"after which each service says that it is there, for evapi-adapter services; 0: never "
        f"[{HELLO_VARIABLE}; default: {EACH:g}]",
    )
    made.add_argument(
        "--http",
        metavar="ADDRESS:PORT",
        type=_address,
        help="where /livez, /readyz and /metrics are served; default: nowhere",
    )
    made.add_argument(
        reloading.FLAG,
        action="store_true",
        help="start again when a Python file beside the services has changed; needs evapi-adapter[reload]",
    )
    made.add_argument(
        "--log",
        metavar="WORDS",
        default=os.environ.get(LOG_VARIABLE, ""),
        help=f"json or console, and a level: {', '.join(logs.LEVELS)} "
        f"[{LOG_VARIABLE}; default: console on a terminal, else json; info]",
    )
    return made


def _prefetch(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65_536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 65535")
    return int(text)


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not (found == 0 or 1 <= found <= 3600):
        raise argparse.ArgumentTypeError(f"{text!r} is neither 0 nor a number of seconds from 1 to 3600")
    return found


def _address(text: str) -> Address:
    try:
        return Address.parse(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{exc}; write for example 0.0.0.0:9464") from exc


def amqp_urls(flag: str | None) -> list[str]:
    """The URLs, from the flag or the environment. Raises UsageError, never showing a password."""
    given = flag or os.environ.get(URL_VARIABLE, "")
    path = os.environ.get(f"{URL_VARIABLE}_FILE")
    if not given and path:
        try:
            given = Path(path).read_text().strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise UsageError(f"{URL_VARIABLE}_FILE: cannot read {path}: {exc}") from exc
    urls = [url for url in split_urls(given.strip(", \t\r\n")) if url]
    if not urls:
        raise UsageError(
            f"{URL_VARIABLE}: no RabbitMQ is named; write for example "
            f"--amqp-url amqp://guest:guest@127.0.0.1:5672/"
        )
    from adapter.amqp.servers import parse_urls  # here, so that --help needs no AMQP

    try:
        parse_urls(",".join(urls))
    except SettingsError as exc:
        raise UsageError(str(exc)) from exc
    return urls


def names(text: str) -> list[str]:
    """Those in a list separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _tell_lost(lines: int, trouble: str) -> None:
    logging.getLogger("consumers").warning("log: %d lines were lost: %s", lines, trouble)


def exported(services: Sequence[Service]) -> Export | None:
    """Export spans where ``EVAPI_TRACES`` asks for it. Raises UsageError."""
    name = services[0].name if len(services) == 1 else "evapi-consumers"
    try:
        return tracing.export(name) if tracing.wanted() else None
    except tracing.TracesError as exc:
        raise UsageError(f"{tracing.TRACES_VARIABLE}: {exc}") from exc


def _set_up_logging(words: str) -> None:
    try:
        logs.set_up(words)
    except ValueError as exc:
        raise UsageError(f"{LOG_VARIABLE}: {exc}") from exc


def _reload(services: Sequence[str], arguments: Sequence[str], program: str) -> int:
    try:
        reloading.run(services, arguments)
    except reloading.ReloadError as exc:
        print(f"{program}: {exc}", file=sys.stderr)
        return 2
    return 0


def _all_different(services: Sequence[Service]) -> None:
    """Raises UsageError for two of one name: they would take each other's requests."""
    named = [service.name for service in services]
    for name in named:
        if named.count(name) > 1:
            raise UsageError(
                f"two services are called {name!r}, so have one queue: give each a name of its own"
            )


def main(arguments: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Do what the command says.

    Args:
        arguments: of the command; None: those of this process, from which passwords are taken away.
        program: how the command is typed, for what it says.

    Returns:
        The exit code.
    """
    if arguments is None:
        try:
            hide_passwords({"--amqp-url": URL_VARIABLE})
        except MisplacedPassword as exc:
            print(f"{program}: {exc}", file=sys.stderr)
            return 2
    options = parser(program).parse_args(arguments)
    add_current_folder()
    if options.reload:
        return _reload(options.services, sys.argv[1:] if arguments is None else arguments, program)
    outlets = outlet.install()
    try:
        _set_up_logging(options.log)
        for each in outlets:
            each.on_lost = _tell_lost
        urls = amqp_urls(options.amqp_url)
        services = [load(name) for name in options.services]
        _all_different(services)
        for service in services:
            logs.tell_requests(service)
        traces = exported(services)
    except (UsageError, LoadError) as exc:
        print(f"{program}: {exc}", file=sys.stderr)
        return 2
    import uvloop  # here, so that --help need not wait for it

    from consumers.serving import serve

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            users = names(options.requests_from)
            runner.run(serve(services, urls, options.prefetch, users, options.http, options.hello))
    except AdapterError as exc:
        print(f"{program}: {exc}", file=sys.stderr)
        return 1
    finally:
        if traces is not None:
            traces.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
