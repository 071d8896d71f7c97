"""Latency against load, drawn as SVG. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from adapter.bench.report import ALL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from adapter.bench.load import Result

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 90, 56, 60
LINES: Final = (
    *(("p99.9", "p999", "#b5179e"), ("p99", "p99", "#d1495b")),
    *(("p95", "p95", "#e09f3e"), ("p50", "p50", "#2a6f97")),
)
"""Name, field of a Latency, colour."""


def svg(results: Sequence[Result], title: str) -> str:
    """A drawing of at least one result; a load of which not all was decided has hollow dots."""
    found = sorted(results, key=_load)
    seen = [max(getattr(each.latency, field), 1) / 1000 for each in found for _, field, _ in LINES]
    powers = range(math.floor(math.log10(min(seen))), math.ceil(math.log10(max(seen))) + 2)
    ticks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    low = max(tick for tick in ticks if tick <= min(seen))
    high = min(tick for tick in ticks if tick >= max(seen) and tick > low)
    step = _step(_load(found[-1]))
    most = max(step, math.ceil(_load(found[-1]) / step) * step)

    def x(load: float) -> float:
        return LEFT + load / most * (WIDTH - LEFT - RIGHT)

    def y(ms: float) -> float:
        share = math.log10(max(ms, low) / low) / math.log10(high / low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def parts() -> Iterator[str]:
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
            f'height="{HEIGHT}" font-family="sans-serif" font-size="12" fill="#333">'
        )
        yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
        yield _text(LEFT, 24, title, 'font-size="15" font-weight="bold"')
        note = "" if all(each.decided >= ALL for each in found) else "; hollow: not all calls were decided"
        yield _text(LEFT, 42, f"latency in ms, from when a call was due to its answer{note}", 'fill="#666"')
        for tick in (each for each in ticks if low <= each <= high):
            at = y(tick)
            yield f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
            yield _text(LEFT - 8, at + 4, f"{tick:,g}", 'text-anchor="end"')
        for number in range(round(most / step) + 1):
            at = x(number * step)
            yield f'<path d="M{at:.1f} {HEIGHT - BOTTOM}v5" stroke="#999"/>'
            yield _text(at, HEIGHT - BOTTOM + 20, f"{number * step:,g}", 'text-anchor="middle"')
        middle = (LEFT + WIDTH - RIGHT) / 2
        yield _text(middle, HEIGHT - 16, "calls a second", 'text-anchor="middle"')
        label = math.inf
        for name, field, colour in reversed(LINES):
            points = [(x(_load(each)), y(getattr(each.latency, field) / 1000)) for each in found]
            line = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
            yield f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>'
            for (px, py), each in zip(points, found, strict=True):
                fill = colour if each.decided >= ALL else "#fff"
                yield f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4" fill="{fill}" stroke="{colour}"/>'
            label = min(points[-1][1], label - 14)  # beside the end of its line, above the one before
            yield _text(points[-1][0] + 10, label + 4, name, f'fill="{colour}" font-weight="bold"')
        yield "</svg>\n"

    return "\n".join(parts())


def _load(result: Result) -> float:
    return result.throughput if result.load.rate is None else result.load.rate


def _step(most: float) -> float:
    """A round number of which at most some six fit in."""
    power: float = 10 ** math.floor(math.log10(max(most, 1) / 6))
    return next(power * digit for digit in (1, 2, 5, 10) if power * digit >= most / 6)


def _text(x: float, y: float, text: str, more: str) -> str:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escaped}</text>'
