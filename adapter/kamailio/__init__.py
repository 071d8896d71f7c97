"""The Kamailio configurations that come with the adapter: the include, and files that use it."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Final

INCLUDE: Final = "evapi-adapter.cfg"
"""The include that users load from their own configuration."""
_PARTS: Final = "evapi-adapter"
"""How the names of the include and of the files that it includes itself begin."""
_SUFFIX: Final = ".cfg"
_SCRIPTS: Final = frozenset({"kemi.py"})
"""Routes in another language, that a configuration loads."""


def names() -> list[str]:
    """The names of the packaged configurations and scripts."""
    there = {entry.name for entry in resources.files(__name__).iterdir()}
    return sorted(name for name in there if name.endswith(_SUFFIX) or name in _SCRIPTS)


def includes() -> list[str]:
    """The names of the include and of the files that it includes itself."""
    return [name for name in names() if name.startswith(_PARTS)]


def read(name: str) -> str:
    """The text of one, with or without ``.cfg``. Raises KeyError for a name that is not in ``names()``."""
    return path(name).read_text(encoding="utf-8")


def path(name: str) -> Path:
    """The file of one, beside the others, so that Kamailio finds what it includes. Raises KeyError."""
    full = name if name.endswith(_SUFFIX) or name in _SCRIPTS else name + _SUFFIX
    if full not in names():
        raise KeyError(name)
    return Path(str(resources.files(__name__).joinpath(full)))
