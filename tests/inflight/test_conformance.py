"""The conformance suite of the in-flight store, on each of its worlds."""

from tests.inflight.conformance import *  # noqa: F403
from tests.inflight.conformance_progress import *  # noqa: F403
from tests.inflight.conformance_time import *  # noqa: F403
