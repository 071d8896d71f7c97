"""The units for systemd that come with the adapter."""

from __future__ import annotations

from importlib import resources
from typing import Final

_SUFFIX: Final = ".service"


def names() -> list[str]:
    """The names of the units."""
    return sorted(entry.name for entry in resources.files(__name__).iterdir() if entry.name.endswith(_SUFFIX))


def read(name: str) -> str:
    """The text of one. Raises KeyError for a name that is not in ``names()``."""
    if name not in names():
        raise KeyError(name)
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")
