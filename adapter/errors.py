"""The errors of the adapter: whose fault it is, and what survives, is in the type.

::

    AdapterError
    ├── SettingsError            wrong usage or settings: exit code 2, names the variable
    │   └── PolicyError          the policy file: names the table and key
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
    """The policy file is wrong; ``variable`` is its path and the key within it."""


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
