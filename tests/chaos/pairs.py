"""Two faults drawn at random, both at once or one within the other: what excuses which outcome.

Every draw has a random sequence of its own, by seed and number, so that one of them can be run alone again.
With either fault alone nobody is left without an answer. Two together may take what only they knew:

- Both replicas gone from Kamailio: calls from a deadline before that until a while after one is back.
- A replica gone whose claims no store has (Redis gone, or it or the other cut off from it): calls from a
  deadline before it went until the other has taken over.
- Without the include RabbitMQ gone, and Redis too, be it for one replica: nobody knows what that one has
  answered, so calls get no answer rather than two, until it is heard of again. One that has Redis alone
  beside one that has RabbitMQ alone: until that has taken over.
- Without the include Redis without its memory, and a replica that lets go of the node at about the same time,
  or takes it back afterwards: nobody can say for sure what that one, or the other meanwhile, has answered, so
  calls get no answer rather than two until the node has changed hands.
- Without the include RabbitMQ gone, be it for one replica, and the other replica at about the same time: it
  may go on by RabbitMQ alone, as far as anybody knows, so nobody says `unavailable` in its place.
- Kamailio killed: what waited there (see ``run``).

Everybody else must be answered, by whatever outcome; nobody wrongly, and without the include nobody twice:
there a few may be left in silence rather (``SILENT``).
"""

from __future__ import annotations

import contextlib
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from adapter.cluster.role import STANDBY_DELAY
from tests.chaos.faults_together import TAKES_OVER
from tests.chaos.ingredients import ACTIVE, BROKER, INGREDIENTS, STANDBY, STORE, Ingredient
from tests.chaos.report import Bounds
from tests.chaos.row import Row
from tests.chaos.rows_plain import SILENT
from tests.chaos.servers import Kind
from tests.chaos.world import DEADLINE, Setup

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.chaos.world import World

LASTS: Final = (2.0, 7.0)
"""Seconds of the longer one, at random."""
AT_ONCE: Final = 0.4
"""The share of pairs in which both begin at the same moment."""
PLAIN_EACH: Final = 3
"""Each so many-th pair is of a configuration without the include."""
SECONDS: Final = 25.0
BEGINS: Final = 4.0
"""Seconds of the load, and from when on it happens."""
LEAST: Final = 0.5
STARTS: Final = 5.0
"""Seconds from the start of a replica's process until Kamailio has it, on a busy machine."""
RECENTLY: Final = 2.0
"""Seconds since a replica has gone within which its claims may not all be taken over."""


@dataclass(frozen=True, slots=True)
class Pair:
    """``outer`` lasts from 0 to ``lasts`` seconds, ``inner`` from ``begins`` to ``ends``."""

    outer: Ingredient
    inner: Ingredient
    lasts: float
    begins: float
    ends: float

    @property
    def name(self) -> str:
        """What happens, with the seconds."""
        when = "at once" if not self.begins else f"from {self.begins:.1f}"
        return f"{self.outer.name} {self.lasts:.1f} s, {when} {self.inner.name} to {self.ends:.1f}"


def draw(seed: int, number: int) -> tuple[Kind, Pair]:
    """Return the pair of this number, and the servers that it is for."""
    chance = random.Random(f"{seed}:{number}")
    plain = number % PLAIN_EACH == PLAIN_EACH - 1
    pool = [each for each in INGREDIENTS if not (plain and (each.clocked or each.gated))]
    outer = chance.choice(pool)
    inner = chance.choice([each for each in pool if each.of != outer.of])
    lasts = chance.uniform(*LASTS)
    begins = 0.0 if chance.random() < AT_ONCE else chance.uniform(0.1, lasts - LEAST)
    ends = chance.uniform(begins + LEAST, lasts) if begins + LEAST < lasts else lasts
    return (Kind.PLAIN if plain else Kind.CLOCKS), Pair(outer, inner, lasts, begins, ends)


Span = tuple[Ingredient, float, float]
"""What was at work, from when to when."""


def excuses(spans: Sequence[Span], plain: bool = False) -> list[tuple[float, float]]:
    """Return from when to when calls asked may have no answer; ``plain``: there is no include."""
    found: list[tuple[float, float]] = []
    for number, (first, begin, end) in enumerate(spans):
        for second, other_begin, other_end in spans[number + 1 :]:
            both = max(begin, other_begin), min(end, other_end)
            if first.silences and second.silences and {first.of, second.of} == {ACTIVE, STANDBY}:
                found.append((both[0] - DEADLINE, both[1] + STARTS))
            if plain and _nobody_knows(first, second) and both[0] < both[1]:
                found.append((both[0] - STANDBY_DELAY, both[1] + TAKES_OVER))
            if plain and _one_with_each(first, second) and both[0] < both[1]:
                found.append((both[0] - STANDBY_DELAY, both[0] + TAKES_OVER))
            if plain and _may_go_on(first, second) and abs(begin - other_begin) < RECENTLY:
                muted = end if first.mutes else other_end
                found.append((both[0] - STANDBY_DELAY, muted + TAKES_OVER))
            for replica, gone, back, store, lost in (
                (first, begin, end, second, other_begin),
                (second, other_begin, other_end, first, begin),
            ):
                unsure = plain and _lets_go(replica) and store.forgets
                if (unsure or _gone_unseen(replica, store)) and lost < gone + RECENTLY:
                    found.append((min(gone, lost) - DEADLINE, max(gone, lost) + TAKES_OVER))
                if unsure and lost < back:
                    found.append((back - STANDBY_DELAY, back + TAKES_OVER))
    return found


def _nobody_knows(first: Ingredient, second: Ingredient) -> bool:
    """Whether a replica lives that neither Redis nor RabbitMQ tells others of."""
    return any(
        one.of == BROKER and (other.of == STORE or other.blinds)
        for one, other in ((first, second), (second, first))
    )


def _one_with_each(first: Ingredient, second: Ingredient) -> bool:
    """Whether one replica has no RabbitMQ, and the other no store."""
    return BROKER not in (first.of, second.of) and (
        (first.mutes and second.blinds) or (second.mutes and first.blinds)
    )


def _may_go_on(first: Ingredient, second: Ingredient) -> bool:
    """Whether one is the loss of RabbitMQ, and the other a replica of which nothing is heard any more."""
    return (first.mutes and second.dies) or (second.mutes and first.dies)


def _lets_go(replica: Ingredient) -> bool:
    """Whether it is a replica that leaves the node to the other meanwhile."""
    return replica.of in (ACTIVE, STANDBY) and (replica.silences or replica.mutes or replica.blinds)


def _gone_unseen(replica: Ingredient, store: Ingredient) -> bool:
    """Whether one is a replica that goes, and the other such that nobody has what it had claimed."""
    gone = replica.of in (ACTIVE, STANDBY) and replica.silences
    return gone and ((store.of == STORE and store.silences) or store.blinds)


def row(seed: int, number: int) -> Row:
    """Return the pair of this number as a row."""
    kind, pair = draw(seed, number)

    def happens(world: World, _: float) -> None:
        world.mark("fault")
        with world.pinned():
            spans = carry_out(world, pair)
        world.excuses += excuses(spans, kind is Kind.PLAIN)
        world.mark("back")

    return Row(
        f"pair {number}: {pair.name}",
        happens,
        Bounds(0.0, dropped=True, silent=SILENT if kind is Kind.PLAIN else 0.0),
        Setup(clocked=kind is Kind.CLOCKS),
        kind=kind,
        seconds=SECONDS,
    )


def carry_out(world: World, pair: Pair) -> list[Span]:
    """Let both happen, and heal both. Healing one takes time, too: the other lasts so much longer."""
    began = time.monotonic()
    spans: list[Span] = []

    def until(second: float) -> None:
        world.sleep(max(began + second - time.monotonic(), 0))

    with _timed(world, pair.outer, spans):
        until(pair.begins)
        with _timed(world, pair.inner, spans):
            until(pair.ends)
        until(pair.lasts)
    return spans


@contextlib.contextmanager
def _timed(world: World, ingredient: Ingredient, spans: list[Span]) -> Iterator[None]:
    begin = time.time()
    with ingredient.does(world):
        yield
    spans.append((ingredient, begin, time.time()))
