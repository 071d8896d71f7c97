"""For programs under libfaketime: ``time.sleep`` by other means.

CPython from 3.11 on sleeps by ``clock_nanosleep`` until an absolute time of the monotonic clock, which
libfaketime 0.9.10 takes for one of the clock that it fakes: EINVAL, whatever the offset.
"""

import select
import time


def _sleep(seconds: float) -> None:
    select.select([], [], [], seconds)


time.sleep = _sleep  # type: ignore[assignment]
