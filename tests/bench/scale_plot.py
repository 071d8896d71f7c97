"""Calls a second against the number of consumers, drawn as SVG. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 30, 56, 60
SEEN, IDEAL = "#2a6f97", "#999"
STEPS: Final = 5
"""Lines across."""


def svg(points: Sequence[tuple[int, float, float]]) -> str:
    """``points``: consumers, calls/s seen, calls/s that their time allows."""
    most = max(points[-1][0], 1)
    high = max(max(seen, ideal) for _, seen, ideal in points)

    def x(processes: float) -> float:
        return LEFT + processes / most * (WIDTH - LEFT - RIGHT)

    def y(rate: float) -> float:
        return HEIGHT - BOTTOM - rate / high * (HEIGHT - TOP - BOTTOM)

    def parts() -> Iterator[str]:
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
            f'height="{HEIGHT}" font-family="sans-serif" font-size="12" fill="#333">'
        )
        yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
        yield _text(LEFT, 24, "Calls a second by consumers", 'font-size="15" font-weight="bold"')
        yield _text(LEFT, 42, "dotted: what the time of their decisions allows", 'fill="#666"')
        for number in range(STEPS + 1):
            rate = high * number / STEPS
            yield f'<path d="M{LEFT} {y(rate):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
            yield _text(LEFT - 8, y(rate) + 4, f"{rate:,.0f}", 'text-anchor="end"')
        for processes, _, _ in points:
            yield _text(x(processes), HEIGHT - BOTTOM + 20, str(processes), 'text-anchor="middle"')
        yield _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 16, "consumer processes", 'text-anchor="middle"')
        ideal = " ".join(f"{x(processes):.1f},{y(rate):.1f}" for processes, _, rate in points)
        yield f'<polyline points="{ideal}" fill="none" stroke="{IDEAL}" stroke-dasharray="4 4"/>'
        line = " ".join(f"{x(processes):.1f},{y(rate):.1f}" for processes, rate, _ in points)
        yield f'<polyline points="{line}" fill="none" stroke="{SEEN}" stroke-width="2"/>'
        for processes, rate, _ in points:
            yield f'<circle cx="{x(processes):.1f}" cy="{y(rate):.1f}" r="4" fill="{SEEN}"/>'
        yield "</svg>\n"

    return "\n".join(parts())


def _text(x: float, y: float, text: str, more: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{text}</text>'
