"""A file that somebody decides by, read again when it changes."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

_log = logging.getLogger("consumers")
_T = TypeVar("_T")
_Signature = tuple[tuple[int, int, int] | None, ...]

CHECK_EVERY: Final = 1.0
"""Seconds between two looks at the file."""


class TableError(ValueError):
    """A file that cannot be used: where in it, and what is wrong there."""

    def __init__(self, problem: str, line: int = 0, column: str = "") -> None:
        super().__init__(problem, line, column)
        self.problem = problem
        self.line = line
        self.column = column

    def __str__(self) -> str:
        where = [f"line {self.line}"] if self.line else []
        where += [f"column {self.column}"] if self.column else []
        return f"{', '.join(where)}: {self.problem}" if where else self.problem


class Watched(Generic[_T]):
    """What ``parse`` makes of a file's text, kept up to date.

    A change is noticed by time of
    modification, size or inode, at most every ``CHECK_EVERY`` seconds, and read in a thread, so
    that a large file holds nobody up. While the new file is broken or gone the last good one
    counts, and that is told once.

    Args:
        path: The file.
        parse: What makes the value of its text. Raises TableError where the text is no good.
        names: Gives the other files that a text names, which ``parse`` reads: they are looked at, too.
            Raises TableError as ``parse`` does.
        told: Is given what is wrong with a change, or an empty text once one was read; in the thread that
            reads. By default the log is.
        clock: Gives seconds.
    """

    def __init__(
        self,
        path: Path,
        parse: Callable[[str], _T],
        *,
        names: Callable[[str], Iterable[Path]] = lambda text: (),
        told: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self._parse = parse
        self._names = names
        self._told = self._log if told is None else told
        self._clock = clock
        self._value: _T | None = None
        self._others: tuple[Path, ...] = ()
        self._seen: _Signature = ()
        self._next_check = float("-inf")
        self._thread: threading.Thread | None = None

    @property
    def reading(self) -> bool:
        """Whether a change is being read."""
        return self._thread is not None and self._thread.is_alive()

    def load(self) -> _T:
        """Read the file now. Raises TableError."""
        own, *_ = self._seen = self._signature()
        try:
            text = self.path.read_text(encoding="utf-8-sig")
            self._others = tuple(self._names(text))
            self._seen = (own, *map(_look, self._others))
            value = self._parse(text)
        except OSError as exc:
            raise TableError(f"{self.path} cannot be read: {exc.strerror}") from exc
        except UnicodeDecodeError as exc:
            raise TableError(f"{self.path} is not UTF-8: {exc.reason} at byte {exc.start}") from exc
        except TableError as exc:
            raise TableError(f"{self.path}, {exc}") from exc
        self._value = value
        return value

    def current(self) -> _T:
        """What the file says; as it was where a change is still being read.

        Raises TableError where it could never be read.
        """
        now = self._clock()
        if self._value is None:
            self._next_check = now + CHECK_EVERY
            return self.load()
        if now >= self._next_check:
            self._next_check = now + CHECK_EVERY
            if not self.reading and self._signature() != self._seen:
                self._thread = threading.Thread(target=self._reload, name=f"reload {self.path}", daemon=True)
                self._thread.start()
        return self._value

    def _reload(self) -> None:
        try:
            self.load()
        except TableError as exc:
            self._told(str(exc))
        else:
            self._told("")

    def _log(self, problem: str) -> None:
        if problem:
            _log.error("%s; the one before it still counts", problem)
        else:
            _log.info("%s: read again", self.path)

    def _signature(self) -> _Signature:
        return (_look(self.path), *map(_look, self._others))


def _look(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None  # gone or out of reach: a change like any other, told by load()
    return found.st_mtime_ns, found.st_size, found.st_ino
