"""What the witness (``witness.cfg``, ``plain_witness.cfg``) has logged, as calls.

Times are seconds of the epoch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

LOCAL: Final = "local"
SILENT: Final = "silent"
UNSENT: Final = "unsent"
DECIDED: Final = "decided"

_STEP = re.compile(
    r"witness (?P<what>asked|resumed|local|silent) (?P<call>\S+) (?P<key>\d+:\d+) (?P<time>\d+\.\d+)"
    r"(?: (?P<outcome>\w*) (?P<echo>\S*))?$"
)
_DROPPED = re.compile(r"adapter: no such question is open, dropped the answer to (?P<ids>.*)$")
_ANSWER = re.compile(r"witness answer \d+:\d+$")
_UNSENT = re.compile(r"adapter: (?P<call>\S+) could not be asked about$")


@dataclass(slots=True)
class Call:
    """One call in one life of Kamailio. ``key``: its tm index and label, which tell lives apart.

    ``end``: the outcome of its answer, or LOCAL, SILENT or UNSENT; empty while there is none.
    ``echo``: the Call-ID that the decision names. ``again``: further answers that got through.
    """

    call_id: str
    key: str
    asked: float
    end: str = ""
    ended: float = 0.0
    echo: str = ""
    again: int = 0

    @property
    def wait(self) -> float:
        """Seconds that its caller has waited; 0 where there is no end."""
        return self.ended - self.asked if self.end else 0.0

    @property
    def wrong(self) -> bool:
        """Whether it was ended by an answer that is not its own, or by more than one."""
        own = self.call_id if self.end == DECIDED else "-"
        return self.again > 0 or (
            bool(self.end) and self.end not in (LOCAL, SILENT, UNSENT) and self.echo != own
        )


@dataclass(slots=True)
class Testimony:
    """``dropped``: answers that no open question was found for. ``strange``: steps of no known call.
    ``read``: answers that a configuration without the include has got from EVAPI's reader.
    """

    calls: list[Call] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    read: int = 0


def read(lines: Iterable[str]) -> Testimony:
    """What these lines of Kamailio's log say; other lines are passed over."""
    found = Testimony()
    last: dict[str, Call] = {}  # by Call-ID
    unsent: set[str] = set()
    for line in lines:
        if step := _STEP.search(line):
            _take(found, last, unsent, step)
        elif dropped := _DROPPED.search(line):
            found.dropped.append(dropped["ids"])
        elif _ANSWER.search(line):
            found.read += 1
        elif failed := _UNSENT.search(line):
            unsent.add(failed["call"])
    return found


def _take(found: Testimony, last: dict[str, Call], unsent: set[str], step: re.Match[str]) -> None:
    name, key, time = step["call"], step["key"], float(step["time"])
    if step["what"] == "asked":
        last[name] = Call(name, key, time)
        found.calls.append(last[name])
        return
    call = last.get(name)
    if call is None or call.key != key:
        found.strange.append(step[0])
    elif call.end:
        call.again += 1
    elif step["what"] == "resumed":
        call.end, call.ended, call.echo = step["outcome"] or "none", time, step["echo"]
    else:
        call.end, call.ended = UNSENT if name in unsent else step["what"], time
