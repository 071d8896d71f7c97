"""A service by its name, as commands and settings give it: ``module:service``, or a webhook's settings."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Final

from adapter.watched import TableError
from consumers.clash import unread
from consumers.service import Service

EXAMPLE: Final = "consumers.least_cost:service"
SETTINGS: Final = ".toml"
"""What the name of a webhook's settings ends with."""
_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class LoadError(ValueError):
    """A service that cannot be loaded; the text says what to write or where to look."""


def load(name: str) -> Service:
    """Get the service of a name, prepared.

    Args:
        name: ``module:service``, or the path of a webhook's settings, which ends with ``.toml``.

    Raises:
        LoadError: There is none, or it cannot begin.
    """
    found = _webhook(name) if name.endswith(SETTINGS) else _imported(name)
    try:
        found.prepare()
    except Exception as exc:
        raise LoadError(f"{name} cannot begin: {exc}") from exc
    return found


def _webhook(path: str) -> Service:
    from consumers.webhook.service import make_service  # here, so that other services do not wait for aiohttp

    try:
        return make_service(Path(path))
    except TableError as exc:
        raise LoadError(str(exc)) from exc


def _imported(name: str) -> Service:
    if not _NAME.fullmatch(name):
        raise LoadError(f"{name!r} is no module:service; write for example {EXAMPLE}")
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        if clash := unread(exc.name or ""):
            raise LoadError(f"there is no module {exc.name!r}: {clash}") from exc
        if exc.name is None or not f"{module_name}.".startswith(f"{exc.name}."):
            raise LoadError(f"{module_name} needs the module {exc.name!r}, which is not installed") from exc
        raise LoadError(
            f"there is no module {module_name!r}; for my_service.py in the current folder "
            f"write my_service:service"
        ) from exc
    except Exception as exc:
        clash = unread(exc.name or "") if isinstance(exc, ImportError) else ""
        told = f"; {clash}" if clash else ""
        raise LoadError(f"{module_name} cannot be imported: {type(exc).__name__}: {exc}{told}") from exc
    found = getattr(module, attribute, None)
    if not isinstance(found, Service):
        if clash := unread(module_name):
            raise LoadError(f"there is no {name}: {clash}")
        services = [key for key, value in vars(module).items() if isinstance(value, Service)]
        hint = 'it needs one, such as: service = Service("my_service")'
        if services:
            hint = f"write {module_name}:{services[0]}"
        raise LoadError(f"{attribute!r} of {module_name} is no consumers.Service; {hint}")
    if not found.events:
        raise LoadError(f'{name} has no handler; it needs one: @{attribute}.on("invite_request")')
    return found
