"""``--reload`` (extra ``reload``): the services start again when a Python file beside theirs has changed."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from consumers.loading import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Sequence

FLAG: Final = "--reload"
STOP: Final = 12
"""Seconds that the work in hand has to finish before each new start; a runner takes at most ten."""


class ReloadError(Exception):
    """Files cannot be watched; the text says what to do."""


def run(services: Sequence[str], arguments: Sequence[str]) -> None:
    """Run ``python -m consumers`` with these arguments until SIGTERM or SIGINT, and again after each change.

    A service that cannot be loaded is tried again after the next change.

    Args:
        services: ``module:service`` or settings of a webhook each; the folders that they are in are watched.
        arguments: of the command, ``--reload`` among them.

    Raises:
        ReloadError: watchfiles is not installed, or there is no such module.
    """
    try:
        from watchfiles import PythonFilter, run_process
    except ImportError as exc:
        raise ReloadError(f"{FLAG} needs watchfiles ({exc}): pip install 'evapi-adapter[reload]'") from exc
    kept = [argument for argument in arguments if argument != FLAG]
    run_process(
        *sorted({_folder(name) for name in services}),
        # -P: a consumers.py of the user's folder is not run in place of this package.
        target=shlex.join([sys.executable, "-P", "-m", "consumers", *kept]),
        target_type="command",
        watch_filter=PythonFilter(extra_extensions=(SETTINGS,)),
        callback=lambda changes: _tell({path for _, path in changes}),
        debounce=200,
        sigint_timeout=STOP,
    )


def _tell(paths: set[str]) -> None:
    print(
        f"python -m consumers: {', '.join(sorted(paths))} changed: starting again",
        file=sys.stderr,
        flush=True,
    )


def _folder(service: str) -> Path:
    """Return the folder of a service's module, of the package that it is in, or of a webhook's settings."""
    if service.endswith(SETTINGS):
        return Path(service).resolve().parent
    package = service.partition(":")[0].partition(".")[0]
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    if spec is None or spec.origin is None:
        raise ReloadError(
            f"there is no module {package!r}; for my_service.py in the current folder "
            f"write my_service:service"
        )
    return Path(spec.origin).parent
