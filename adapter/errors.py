"""The errors of the adapter: whose fault it is, and what survives, is in the type.

::

    AdapterError
    ├── SettingsError            wrong usage or settings: exit code 2, names the variable
    │   └── PolicyError          the policy file: names the line, the table and key, and the remedy
    ├── ProtocolError            a peer broke a protocol
    │   ├── FramingError         the byte stream is out of step: fatal to the link
    │   └── CodecError           one whole message is not understood: the link lives
    │       └── VersionError     a higher major x-version than this reader knows
    ├── FrameTooLarge            a frame of ours that Kamailio would not read
    └── Unavailable              a server is away; what was asked did not happen, or nobody knows
        ├── BrokerUnavailable
        └── StoreUnavailable

Losing a race is never an error: see ``adapter.ports.store``.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeAlias

    PolicyPath: TypeAlias = tuple[str | int, ...]

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


class AdapterError(Exception):
    """Base of every error raised on purpose here."""


class SettingsError(AdapterError):
    """A setting is wrong; the text names the variable and what it takes."""

    def __init__(self, variable: str, problem: str) -> None:
        super().__init__(variable, problem)
        self.variable = variable
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.variable}: {self.problem}"


class PolicyError(SettingsError):
    """The policy is wrong. ``variable`` is the key, dotted as TOML has it.

    Args:
        path: keys, and places in arrays, from the top; empty if it is the file as a whole.
        problem: what is wrong there.
        do: what to write instead.
        line: of the file, from 1; 0 if it is not known.
        file: its path; empty if the policy came as text.
    """

    def __init__(self, path: PolicyPath, problem: str, do: str, *, line: int = 0, file: str = "") -> None:
        super().__init__(self.dotted(path), problem)
        self.path = path
        self.do = do
        self.line = line
        self.file = file

    @property
    def where(self) -> str:
        """File, line and key, as far as they are known."""
        return ", ".join(filter(None, (self.file, f"line {self.line}" if self.line else "", self.variable)))

    def __str__(self) -> str:
        colon = ":" if self.line or self.variable else ""
        return f"{self.where}{colon} {self.problem}; {self.do}".lstrip()

    @staticmethod
    def dotted(path: Iterable[str | int]) -> str:
        """A path as TOML writes it: quotes where they are needed."""
        return ".".join(str(key) if _BARE.fullmatch(str(key)) else json.dumps(key) for key in path)


class ProtocolError(AdapterError):
    """A peer broke a protocol; ``reason`` is machine-readable, ``detail`` is for people."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


class FramingError(ProtocolError):
    """The netstring stream is out of step. Nothing after it can be trusted: close the link."""


class CodecError(ProtocolError):
    """A whole message could not be understood. The next one can."""


class VersionError(CodecError):
    """The message is of a higher major version than this reader knows."""


class FrameTooLarge(AdapterError):
    """A frame passes the size that Kamailio still reads."""

    def __init__(self, found: int, allowed: int) -> None:
        super().__init__(found, allowed)
        self.found = found
        self.allowed = allowed

    def __str__(self) -> str:
        return f"frame of {self.found} bytes, at most {self.allowed} allowed"


class Unavailable(AdapterError):
    """A server did not do what was asked, or nobody knows whether it did."""


class BrokerUnavailable(Unavailable):
    """RabbitMQ is away, blocked, or refused."""


class StoreUnavailable(Unavailable):
    """Redis is away, too slow, or refused."""
