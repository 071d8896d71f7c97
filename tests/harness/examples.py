"""How many examples properties are tried with: few in ``make test``, more in ``make test-long``."""

from __future__ import annotations

import os
from typing import Final

FACTOR: Final = int(os.environ.get("EXAMPLES", "1"))


def examples(number: int) -> int:
    """So many, times what ``EXAMPLES`` says."""
    return number * FACTOR
