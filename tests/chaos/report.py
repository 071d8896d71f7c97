"""What one run has come to, and whether it is within its bounds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.chaos.witness import DECIDED, LOCAL, SILENT, UNSENT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.chaos.witness import Call, Testimony

CODES: Final = {DECIDED: 486, LOCAL: 503, UNSENT: 504, SILENT: 504}
"""How the witness ends calls; those with another outcome by FALLBACK."""
FALLBACK: Final = 480


@dataclass(slots=True)
class Report:
    """One run. ``marks``: what happened when. ``codes``: what SIPp saw, by status.

    ``out_of_reach``: how many of those ``placed`` gave up before Kamailio was there again.
    ``excused``: calls (index:label) whose end nobody could give, since Kamailio or the only replica
    was killed before anybody had claimed them. ``memory``: bytes, the worst of any replica.
    ``options``: seconds, the longest wait for an answer to OPTIONS. ``recovered``: whether everything
    was back to normal by itself in the end. ``twice``: answers too many that were written to Kamailio,
    by index:label; ``plain``: whether nothing there drops them. ``told``: what replicas warned of.
    """

    testimony: Testimony
    marks: Mapping[str, float]
    codes: Mapping[int, int] = field(default_factory=dict)
    placed: int = 0
    stale: Sequence[float] = ()
    memory: int = 0
    options: float = 0.0
    recovered: bool = True
    notes: list[str] = field(default_factory=list)
    excused: frozenset[str] = frozenset()
    twice: Mapping[str, int] = field(default_factory=dict)
    plain: bool = False
    told: Sequence[str] = ()
    written: int = 0
    out_of_reach: int = 0

    @property
    def calls(self) -> Sequence[Call]:
        """Every call that Kamailio asked about or answered by itself."""
        return self.testimony.calls

    @property
    def ends(self) -> Counter[str]:
        """How the calls ended; empty for those which did not."""
        return Counter(call.end for call in self.calls)

    @property
    def decided(self) -> int:
        """Calls that a consumer decided."""
        return self.ends[DECIDED]

    @property
    def by_adapter(self) -> float:
        """The share of all calls that an adapter answered, in whatever way."""
        nobody = ("", SILENT, UNSENT, LOCAL)
        return sum(call.end not in nobody for call in self.calls) / max(len(self.calls), 1)

    @property
    def unanswered(self) -> list[Call]:
        """Those that Kamailio's timer had to end, or nobody, the excused apart."""
        none = ("", SILENT, UNSENT)
        return [call for call in self.calls if call.end in none and call.key not in self.excused]

    @property
    def lost(self) -> int:
        """The excused that indeed had no answer."""
        return sum(call.end in ("", SILENT, UNSENT) for call in self.calls if call.key in self.excused)

    @property
    def wrong(self) -> list[Call]:
        """Those with an answer that is not theirs, or with two."""
        return [call for call in self.calls if call.wrong]

    @property
    def dropped(self) -> int:
        """Answers written to Kamailio for which no question was open."""
        return len(self.testimony.dropped)

    @property
    def unread(self) -> int:
        """Answers that were written to a configuration without the include, and never read."""
        return max(self.written - self.testimony.read, 0) if self.plain else 0

    @property
    def longest(self) -> float:
        """Seconds of the longest wait."""
        return max((call.wait for call in self.calls), default=0.0)

    def percentile(self, share: float) -> float:
        """Seconds within which this share of the calls was answered."""
        waits = sorted(call.wait for call in self.calls if call.end)
        return waits[min(len(waits) - 1, int(share * len(waits)))] if waits else 0.0

    def mismatches(self) -> list[str]:
        """Where SIPp counts other ends than the witness. Answers of a killed Kamailio may be lost."""
        expected = Counter[int]()
        for end, count in self.ends.items():
            if end:
                expected[CODES.get(end, FALLBACK)] += count
        seen = {code: count for code, count in self.codes.items() if count}
        found = [
            f"{code}: SIPp {seen.get(code, 0)}, witness {expected[code]}"
            for code in sorted({*seen, *expected})
        ]
        return [] if seen == dict(expected) else found


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a row must reach. ``decided``: share of all calls. ``rest``: how the others may end.

    ``dropped``: whether second answers may be written to Kamailio (and be dropped there; without the
    include they never may). ``by_adapter``: share of all calls that adapters must answer. ``silent``:
    share that may be left to Kamailio's timer. ``checks``: each gives what is wrong, if anything.
    """

    decided: float = 1.0
    rest: frozenset[str] | None = None
    dropped: bool = False
    by_adapter: float = 0.0
    silent: float = 0.0
    checks: tuple[Callable[[Report], str | None], ...] = ()

    def misses(self, report: Report) -> list[str]:
        """Each bound that was missed, in words."""
        found: list[str | None] = []
        if not report.calls:
            return ["no calls"]
        never = report.placed - report.out_of_reach - len(report.calls)
        if never > 0:
            found.append(f"{never} calls never reached the witness")
        if len(report.unanswered) > self.silent * len(report.calls):
            found.append(f"{len(report.unanswered)} unanswered")
        if report.wrong:
            found.append(f"{len(report.wrong)} wrong")
        if report.testimony.strange:
            found.append(f"{len(report.testimony.strange)} answers to the wrong life")
        if report.dropped and not self.dropped:
            found.append(f"{report.dropped} dropped")
        if report.twice and report.plain:
            found.append(f"{sum(report.twice.values())} answered twice")
        if not report.recovered:
            found.append("not back to normal")
        share = report.decided / max(len(report.calls) - report.lost, 1)
        if share < self.decided:
            found.append(f"decided {share:.3%} < {self.decided:.1%}")
        if report.by_adapter < self.by_adapter:
            found.append(f"answered by adapters {report.by_adapter:.3%} < {self.by_adapter:.1%}")
        if self.rest is not None:
            others = {end for end in report.ends if end and end not in (DECIDED, SILENT, UNSENT)} - self.rest
            found += [f"{report.ends[end]} {end}" for end in sorted(others)]
        found += [check(report) for check in self.checks]
        return [each for each in found if each is not None]


HEAD: Final = (
    f"{'':<42}{'calls':>6} {'decided':>9} {'fallback by outcome':<34}{'local':>6}{'unans':>6}{'lost':>5}"
    f"{'wrong':>6}{'drop':>5}{'twice':>6}{'p50':>7}{'p99':>7}{'max':>7}{'MB':>5}  verdict"
)


def line(name: str, report: Report, misses: Sequence[str]) -> str:
    """A line of the table. Waits in milliseconds."""
    apart = ("", DECIDED, LOCAL, SILENT, UNSENT)
    fallbacks = ", ".join(f"{count} {end}" for end, count in report.ends.most_common() if end not in apart)
    share = report.decided / max(len(report.calls), 1)
    waits = "".join(
        f"{seconds * 1000:7.0f}"
        for seconds in (report.percentile(0.5), report.percentile(0.99), report.longest)
    )
    return (
        f"{name:<42}{len(report.calls):>6} {share:>9.3%} {fallbacks or '-':<34}{report.ends[LOCAL]:>6}"
        f"{len(report.unanswered):>6}{report.lost:>5}{len(report.wrong):>6}{report.dropped:>5}"
        f"{sum(report.twice.values()):>6}{waits}{report.memory >> 20:>5}"
        f"  {'; '.join(misses) if misses else 'ok'}"
    )


MARKDOWN: Final = """\
| what happens | calls | decided | fallback | local | unanswered | lost | wrong | second | \
wait ms p50 / p99 / max | MB | met |
|---|--:|--:|---|--:|--:|--:|--:|--:|--:|--:|---|"""


def markdown_line(name: str, report: Report, misses: Sequence[str]) -> str:
    """A line of a table in Markdown. *Second*: what the include has dropped or, without it, was written."""
    apart = ("", DECIDED, LOCAL, SILENT, UNSENT)
    fallbacks = ", ".join(f"{count} {end}" for end, count in report.ends.most_common() if end not in apart)
    share = report.decided / max(len(report.calls), 1)
    seconds = (report.percentile(0.5), report.percentile(0.99), report.longest)
    second = sum(report.twice.values()) if report.plain else report.dropped
    cells = (
        *(
            name,
            f"{len(report.calls):,}",
            f"{share:.3%}".replace("%", " %"),
            fallbacks,
            f"{report.ends[LOCAL]:,}",
        ),
        *(f"{count:,}" for count in (len(report.unanswered), report.lost, len(report.wrong), second)),
        " / ".join(f"{each * 1000:,.0f}" for each in seconds),
        *(str(report.memory >> 20), f"**no**: {'; '.join(misses)}" if misses else "yes"),
    )
    return f"| {' | '.join(cells)} |"


def summary(report: Report) -> dict[str, object]:
    """The figures, to be kept beside the logs."""
    return {
        "calls": len(report.calls),
        "ends": dict(report.ends),
        "unanswered": len(report.unanswered),
        "lost": report.lost,
        "wrong": len(report.wrong),
        "dropped": report.dropped,
        "twice": sum(report.twice.values()),
        "twice_for_example": [*report.twice][:20],
        "unread": report.unread,
        "told": list(report.told),
        "strange": len(report.testimony.strange),
        "longest": report.longest,
        "p50": report.percentile(0.5),
        "p99": report.percentile(0.99),
        "memory": report.memory,
        "options": report.options,
        "stale": list(report.stale),
        "marks": dict(report.marks),
        "codes": dict(report.codes),
        "mismatches": report.mismatches(),
        "notes": report.notes,
    }
