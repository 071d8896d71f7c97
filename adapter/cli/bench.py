"""``evapi-adapter bench``: how many calls a second an installation carries, how fast, at what cost."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from adapter.cli.help import Commands
from adapter.cli.options import pair
from adapter.errors import AdapterError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter.bench.load import Load, Result
    from adapter.bench.run import Site

app = Commands()

RATES: Final = ("500", "2000", "max")
LONGEST_DECISION: Final = 60.0
"""Seconds."""
_TIME: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s)")

EPILOG: Final = (
    "Examples:  evapi-adapter bench    "
    "evapi-adapter bench --rate 500 --rate 2000 --rate max --plot latency.svg    "
    "EVAPI_AMQP_URL=amqp://user:password@rabbit EVAPI_REDIS_URL=redis://redis "
    "evapi-adapter bench --decision 50ms --consumers 2 --replicas 2 --batch 64"
)

URL = "{} to measure with; with a password better by the variable. [default: the embedded {}]"


def _option(metavar: str, least: float, most: float, help: str) -> Any:  # noqa: A002
    return typer.Option(metavar=metavar, min=least, max=most, help=help)


@app.command(epilog=EPILOG)
def bench(
    rate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CALLS",
            help="Calls a second, over all nodes; or max: as many as are answered. May be repeated, for a "
            "row each. [default: 500, 2000, max]",
        ),
    ] = None,
    seconds: Annotated[float, _option("SECONDS", 0.1, 86_400, "That each is measured for.")] = 10.0,
    warm_up: Annotated[
        float | None,
        _option("SECONDS", 0, 3600, "That go before. [default: 2, or a second more than a decision takes]"),
    ] = None,
    decision: Annotated[str, typer.Option(metavar="TIME", help="That a consumer takes: 50ms, 1.5s.")] = "0ms",
    payload: Annotated[int, _option("BYTES", 0, 30_000, "Of an event's data.")] = 500,
    nodes: Annotated[int, _option("N", 1, 100, "Simulated Kamailios.")] = 1,
    replicas: Annotated[int, _option("N", 1, 8, "Adapters; several need Redis.")] = 1,
    consumers: Annotated[int, _option("N", 1, 64, "Consumers; the embedded broker has its own.")] = 1,
    batch: Annotated[int, _option("N", 1, 1_000, "Requests in one message at most.")] = 1,
    window: Annotated[int, _option("N", 1, 10_000, "Calls of a node that wait at a time, with max.")] = 200,
    amqp_url: Annotated[
        str | None, typer.Option(envvar="EVAPI_AMQP_URL", help=URL.format("RabbitMQ", "broker"))
    ] = None,
    redis_url: Annotated[
        str | None, typer.Option(envvar="EVAPI_REDIS_URL", help=URL.format("Redis", "store"))
    ] = None,
    more: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting of the adapter: lease=2."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of the table.")] = False,
    csv: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the rows there; -: instead of the table.")
    ] = None,
    plot: Annotated[
        str | None, typer.Option(metavar="FILE.svg", help="Draw latency against load there.")
    ] = None,
) -> None:
    """Measure how many calls a second are carried, how fast, at what cost.

    A simulated Kamailio offers calls at a fixed rate, begun on time whatever becomes of them, to a
    real adapter, which asks real consumers. The rows go to stdout, what is under way to stderr; Ctrl-C
    ends it with the rows so far. Exit codes: 0 measured, 1 failed or interrupted, 2 wrong usage.

    At the RabbitMQ and Redis that are given it needs what the adapter needs, and no call of a
    production meets it: its events are bench_call and bench_wait, its nodes bench1, bench2, ..., its
    queues evapi.decide.bench, evapi.results.benchN and evapi.commands.benchN (deleted at the end, or 60 s
    after a crash), its Redis keys evapi-bench:* (gone within 10 minutes). It takes their CPU, though.

    Of the environment only the two URLs count.
    """
    from adapter.bench.load import Load
    from adapter.bench.run import Site

    if as_json and csv == "-":
        raise SettingsError("--csv", "only one of --json and --csv - can go to stdout")
    for option, path in (("--csv", csv), ("--plot", plot)):
        if path is not None and path != "-" and not Path(path).absolute().parent.is_dir():
            raise SettingsError(option, f"there is no folder {Path(path).parent}")
    if plot is not None and not plot.endswith(".svg"):
        raise SettingsError("--plot", f"{plot}: the drawing is SVG, so name a file that ends in .svg")
    site = Site(
        *(_url("AMQP_URL", amqp_url), _url("REDIS_URL", redis_url)),
        *(nodes, replicas, consumers, batch),
        settings=dict(map(pair, more or ())),
    )
    _forget_settings()
    site.check()
    takes = _seconds(decision)
    before = max(2.0, takes + 1) if warm_up is None else warm_up
    rates = [_rate(text) for text in rate or RATES]
    loads = [Load(each, seconds, takes, payload, window, before) for each in rates]
    results: list[Result] = []
    try:
        _run(site, loads, results)
    finally:
        if results:
            _write(results, site, csv, plot, as_json=as_json)


def _run(site: Site, loads: Sequence[Load], results: list[Result]) -> None:
    """Fill the results. Raises AdapterError where that ends early."""
    from adapter.bench.run import run

    progress = Progress(len(loads))
    ends = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.default_int_handler) for number in ends]
    try:
        run(site, loads, progress.say, progress.tell, results.append)
    except KeyboardInterrupt:
        raise AdapterError(f"interrupted: {len(results)} of {len(loads)} loads were measured") from None
    finally:
        for number, handler in zip(ends, before, strict=True):
            signal.signal(number, handler)
        progress.clear()


def _write(results: list[Result], site: Site, csv: str | None, plot: str | None, *, as_json: bool) -> None:
    from adapter.bench import report
    from adapter.bench.plot import svg
    from adapter.bench.usage import cores

    about = {"cores": cores(), **site.about(), **report.common(results[0].load)}
    if as_json:
        rows = [report.as_json(result, cores()) for result in results]
        typer.echo(json.dumps({**about, "rows": rows}, indent=2))
    elif csv != "-":
        typer.echo(f"{site}; {report.words(results[0].load)}; {cores()} cores\n")
        typer.echo(report.table(results, cores()))
    if csv is not None:
        _put(csv, report.as_csv(results, cores()))
    if plot is not None:
        _put(plot, svg(results, f"evapi-adapter: {site}"))


def _put(path: str, text: str) -> None:
    if path == "-":
        typer.echo(text, nl=False)
        return
    try:
        Path(path).write_text(text, "utf-8")
    except OSError as exc:
        raise AdapterError(f"cannot write {path}: {exc.strerror}") from exc
    typer.echo(f"written: {path}", err=True)


class Progress:
    """What is under way, on stderr: one line that changes, or a line each where nobody looks on."""

    def __init__(self, loads: int) -> None:
        self._loads = loads
        self._begun: list[Load] = []
        self._lively = sys.stderr.isatty()

    def say(self, what: str) -> None:
        """Tell what is done."""
        if self._lively:
            sys.stderr.write(f"\r\x1b[K{what}")
            sys.stderr.flush()
        else:
            typer.echo(what, err=True)

    def tell(self, load: Load, left: float) -> None:
        """Tell which load is under way, and the seconds left."""
        new = not self._begun or self._begun[-1] is not load
        if new:
            self._begun.append(load)
        if self._lively or new:
            self.say(f"{len(self._begun)} of {self._loads}: {load.name}, {left:.0f} s left")

    def clear(self) -> None:
        """Make place for the rows."""
        if self._lively:
            self.say("")


def _seconds(text: str) -> float:
    found = _TIME.fullmatch("0s" if text == "0" else text)
    if found is None:
        raise SettingsError("--decision", f"{text!r} is no time such as 50ms or 1.5s")
    seconds = float(found[1]) * (1 if found[2] == "s" else 0.001)
    if seconds > LONGEST_DECISION:
        raise SettingsError("--decision", f"{text} is longer than {LONGEST_DECISION:g} s")
    return seconds


def _rate(text: str) -> float | None:
    if text == "max":
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0.1 <= rate <= 100_000:
        raise SettingsError("--rate", f"{text!r} is neither max nor a number of calls from 0.1 to 100000")
    return rate


def _url(name: str, given: str | None) -> str | None:
    """The URL, of the file where the environment names one. Raises SettingsError."""
    variable = f"EVAPI_{name}_FILE"
    path = os.environ.get(variable)
    if given or not path:
        return given or None
    try:
        return Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(variable, f"cannot read {path}: {exc}") from exc


def _forget_settings() -> None:
    """Of what is set for a production's adapter the one that is measured has nothing."""
    for name in [name for name in os.environ if name.startswith("EVAPI_")]:
        del os.environ[name]
