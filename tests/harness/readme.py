"""The blocks of code in README.md and in that of the consumers."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
CONSUMERS = Path(__file__).parents[2] / "consumers" / "README.md"


def block(language: str, containing: str, page: Path = README) -> str:
    """The code block of a language that holds some text."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    found: str
    (found,) = [text for name, text in blocks if name == language and containing in text]
    return found
