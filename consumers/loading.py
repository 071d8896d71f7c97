"""A service by its name, ``module:service``, as commands and settings give it."""

from __future__ import annotations

import importlib
import re
from typing import Final

from consumers.service import Service

EXAMPLE: Final = "consumers.least_cost:service"
_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class LoadError(ValueError):
    """A service that cannot be loaded; the text says what to write or where to look."""


def load(name: str) -> Service:
    """Import the module, take the service out of it and prepare it. Raises LoadError."""
    if not _NAME.fullmatch(name):
        raise LoadError(f"{name!r} is no module:service; write for example {EXAMPLE}")
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{module_name}.".startswith(f"{exc.name}."):
            raise LoadError(f"{module_name} needs the module {exc.name!r}, which is not installed") from exc
        raise LoadError(
            f"there is no module {module_name!r}; for my_service.py in the current folder "
            f"write my_service:service"
        ) from exc
    except Exception as exc:
        raise LoadError(f"{module_name} cannot be imported: {type(exc).__name__}: {exc}") from exc
    found = getattr(module, attribute, None)
    if not isinstance(found, Service):
        services = [key for key, value in vars(module).items() if isinstance(value, Service)]
        hint = 'it needs one, such as: service = Service("my_service")'
        if services:
            hint = f"write {module_name}:{services[0]}"
        raise LoadError(f"{attribute!r} of {module_name} is no consumers.Service; {hint}")
    if not found.events:
        raise LoadError(f'{name} has no handler; it needs one: @{attribute}.on("invite_request")')
    try:
        found.prepare()
    except Exception as exc:
        raise LoadError(f"{name} cannot begin: {exc}") from exc
    return found
