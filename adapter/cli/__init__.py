"""The command ``evapi-adapter``."""

from __future__ import annotations

from adapter.cli.main import main

__all__ = ["main"]
