"""Credit in seconds of talk, and what running calls hold of it: one SQLite file, shared by processes.

A call that is let through holds what its account has, so that a second one cannot spend it again. When
the call ends, what it did not use goes back. Each verb is one transaction. What is told twice of a call
changes nothing the second time.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUSY: Final = 5.0
"""Seconds for which a transaction waits until another process has ended its own."""
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS accounts (name TEXT PRIMARY KEY, credit INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS calls (
  call_id TEXT PRIMARY KEY, account TEXT NOT NULL, node TEXT NOT NULL,
  held INTEGER NOT NULL, talked INTEGER NOT NULL, began REAL NOT NULL
);
"""


class Call(NamedTuple):
    """A call that is let through and not known to be over.

    ``held``: seconds of its account's credit, from the answer on. ``talked``: how many of them were over
    when it was looked at last. ``began``: when it was let through (epoch, seconds).
    """

    call_id: str
    account: str
    node: str
    held: int
    talked: int
    began: float


class Credit:
    """The accounts of one file.

    Args:
        path: the file; it is made where it is missing.

    Raises:
        sqlite3.Error: it cannot be read or written. So does each verb.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._transaction() as now:
            for table in _TABLES.split(";"):
                now.execute(table)

    def hold(self, account: str, call_id: str, node: str, when: float) -> int:
        """Hold an account's credit for a call; returns the seconds that the call may last, 0 for none."""
        with self._transaction() as now:
            (held,) = now.execute("SELECT max(held) FROM calls WHERE call_id = ?", (call_id,)).fetchone()
            if held is not None:  # the question came again
                return int(held)
            left = self._left(now, account)
            if left > 0:
                now.execute("UPDATE accounts SET credit = 0 WHERE name = ?", (account,))
                call = (call_id, account, node, left, 0, when)
                now.execute("INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?)", call)
            return max(left, 0)

    def top_up(self, account: str, seconds: int) -> None:
        """Give an account credit; less than 0 takes it away, from a running call, too."""
        with self._transaction() as now:
            now.execute(
                "INSERT INTO accounts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET credit = credit + ?",
                (account, seconds, seconds),
            )

    def move(self, call: Call) -> int:
        """Move what its account was given since to a running call; returns by how much it may last longer."""
        with self._transaction() as now:
            more = self._left(now, call.account)
            if more and self._add(now, call.call_id, more):
                now.execute("UPDATE accounts SET credit = 0 WHERE name = ?", (call.account,))
                return more
            return 0

    def move_back(self, call: Call, seconds: int) -> None:
        """Undo ``move``: Kamailio could not be told."""
        with self._transaction() as now:
            if self._add(now, call.call_id, -seconds):
                now.execute("UPDATE accounts SET credit = credit + ? WHERE name = ?", (seconds, call.account))

    def note(self, call_id: str, talked: int) -> None:
        """Note how long a running call has lasted from its answer on."""
        with self._transaction() as now:
            now.execute("UPDATE calls SET talked = max(talked, ?) WHERE call_id = ?", (talked, call_id))

    def settle(self, call_id: str, talked: int | None = None) -> None:
        """A call is over: what it holds and has not used goes back.

        Args:
            call_id: of which call. One that is not known has been settled.
            talked: seconds. None: it is not known; what was noted last counts.
        """
        with self._transaction() as now:
            found = now.execute("SELECT * FROM calls WHERE call_id = ?", (call_id,)).fetchone()
            if found is None:
                return
            call = Call(*found)
            used = min(call.held, call.talked if talked is None else talked)
            now.execute("DELETE FROM calls WHERE call_id = ?", (call_id,))
            now.execute(
                "UPDATE accounts SET credit = credit + ? WHERE name = ?", (call.held - used, call.account)
            )

    def left(self, account: str) -> int:
        """Return the seconds that an account has beside what its running call holds."""
        with self._transaction() as now:
            return self._left(now, account)

    def calls(self) -> list[Call]:
        """Return the calls that are not known to be over."""
        with self._transaction() as now:
            return [Call(*row) for row in now.execute("SELECT * FROM calls")]

    def _left(self, now: sqlite3.Connection, account: str) -> int:
        found = now.execute("SELECT credit FROM accounts WHERE name = ?", (account,)).fetchone()
        return 0 if found is None else int(found[0])

    def _add(self, now: sqlite3.Connection, call_id: str, seconds: int) -> bool:
        done = now.execute("UPDATE calls SET held = held + ? WHERE call_id = ?", (seconds, call_id))
        return done.rowcount == 1

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=BUSY, isolation_level=None)) as now:
            now.execute("PRAGMA journal_mode=WAL")
            now.execute("PRAGMA synchronous=NORMAL")
            now.execute("BEGIN IMMEDIATE")
            try:
                yield now
            except BaseException:
                now.execute("ROLLBACK")
                raise
            now.execute("COMMIT")
