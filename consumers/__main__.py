"""``python -m consumers module:service``: run services on RabbitMQ until SIGTERM or SIGINT.

Exit codes: 0 stopped, after the work in hand; 1 a lifespan could not be opened; 2 wrong usage, settings or
service.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from adapter import outlet
from adapter.amqp.urls import split_urls
from adapter.errors import SettingsError
from consumers import tracing
from consumers.command_line import MisplacedPassword, hide_passwords
from consumers.lifespan import LifespanError
from consumers.loading import LoadError, load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumers.exporting import Export
    from consumers.service import Service

URL_VARIABLE: Final = "EVAPI_AMQP_URL"
LOG_VARIABLE: Final = "EVAPI_LOG"
FROM_VARIABLE: Final = "EVAPI_REQUESTS_FROM"
_LEVELS: Final = ("debug", "info", "warning", "error")

EXAMPLES = """\
examples:
  python -m consumers consumers.least_cost:service --amqp-url amqp://guest:guest@127.0.0.1/
  EVAPI_AMQP_URL=amqps://user:pw@rabbit1,amqps://user:pw@rabbit2 \\
      python -m consumers consumers.screening:service my_service:service --prefetch 20
  python -m consumers webhook.toml

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


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m consumers",
        description="Run services that decide calls, on RabbitMQ, until SIGTERM.",
        epilog=EXAMPLES,
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
        "--log",
        metavar="WORDS",
        default=os.environ.get(LOG_VARIABLE, ""),
        help=f"json or console, and a level: {', '.join(_LEVELS)} [{LOG_VARIABLE}; default: console,info]",
    )
    return made


def _prefetch(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65_536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 65535")
    return int(text)


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


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "timestamp": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def set_up_logging(words: str) -> None:
    """Log to stderr, as ``EVAPI_LOG`` says. Raises UsageError."""
    found = [word.lower() for word in re.split(r"[,: ]+", words) if word]
    for word in found:
        if word not in ("json", "console", *_LEVELS):
            known = f"json, console, {', '.join(_LEVELS)}"
            raise UsageError(f"{LOG_VARIABLE}: {word!r} is none of {known}")
    level = next((word for word in found if word in _LEVELS), "info")
    handler = logging.StreamHandler()
    handler.setFormatter(
        _JsonLines() if "json" in found else logging.Formatter("%(asctime)s %(levelname)-7s %(message)s")
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    if level != "debug":
        # What matters of a lost connection is one line of ours; these write a traceback each.
        for name in ("aiormq", "aio_pika"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def _tell_lost(lines: int, trouble: str) -> None:
    logging.getLogger("consumers").warning("log: %d lines were lost: %s", lines, trouble)


def exported(services: Sequence[Service]) -> Export | None:
    """Export spans where ``EVAPI_TRACES`` asks for it. Raises UsageError."""
    name = services[0].name if len(services) == 1 else "evapi-consumers"
    try:
        return tracing.export(name) if tracing.wanted() else None
    except tracing.TracesError as exc:
        raise UsageError(f"{tracing.TRACES_VARIABLE}: {exc}") from exc


async def serve(
    services: Sequence[Service],
    urls: Sequence[str],
    prefetch: int | None,
    requests_from: Sequence[str] = (),
) -> None:
    """Run the services until SIGTERM or SIGINT."""
    from consumers.amqp import Runner  # here, so that --help and `import consumers` need no AMQP

    runners = [Runner(service, urls, prefetch=prefetch, requests_from=requests_from) for service in services]

    def stop() -> None:
        for runner in runners:
            runner.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    await asyncio.gather(*(runner.run() for runner in runners))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Gives the exit code."""
    if arguments is None:
        try:
            hide_passwords({"--amqp-url": URL_VARIABLE})
        except MisplacedPassword as exc:
            print(f"python -m consumers: {exc}", file=sys.stderr)
            return 2
    options = parser().parse_args(arguments)
    outlets = outlet.install()
    try:
        set_up_logging(options.log)
        for each in outlets:
            each.on_lost = _tell_lost
        urls = amqp_urls(options.amqp_url)
        services = [load(name) for name in options.services]
        traces = exported(services)
    except (UsageError, LoadError) as exc:
        print(f"python -m consumers: {exc}", file=sys.stderr)
        return 2
    import uvloop  # here for the same reason

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(services, urls, options.prefetch, names(options.requests_from)))
    except LifespanError as exc:
        print(f"python -m consumers: {exc}", file=sys.stderr)
        return 1
    finally:
        if traces is not None:
            traces.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
