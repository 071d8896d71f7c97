"""Named sets of settings of an operator: which installation the commands ask.

They stand in ``contexts.toml`` in the user's configuration folder, and count as the environment does, but
for what the environment itself has. Passwords are not kept there: a setting's value may be a file that holds
it (``amqp_url_file``), or the name of an environment variable (``amqp_url_env``).
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any, Final

from adapter.errors import AdapterError, SettingsError

VARIABLE: Final = "EVAPI_CONTEXT"
PREFIX: Final = "EVAPI_"
COMMAND: Final = "context"
"""The command that is about them: no context counts for it."""
FILE: Final = "_file"
ENVIRONMENT: Final = "_env"
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
SERVICES: Final = frozenset({"run", "consume", "bench"})
"""Commands that are no operator's: they take a context that is named, and never the one in use."""
_PASSWORD: Final = re.compile(r"://[^@/]*:[^@/]*@|[?&]\w*password=", re.IGNORECASE)

Settings = dict[str, str]


def path() -> Path:
    """Where they stand."""
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "evapi-adapter" / "contexts.toml"


def read() -> tuple[str, dict[str, Settings]]:
    """Return the name of the context in use, empty if there is none, and all contexts.

    Raises:
        SettingsError: The file is not as `write` writes it.
    """
    file = path()
    try:
        found = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return "", {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise SettingsError(str(file), f"cannot be read: {exc}") from exc
    contexts = found.get("contexts", {})
    if not isinstance(contexts, dict) or not all(map(_is_context, contexts.values())):
        raise SettingsError(str(file), "has a context that is no table of texts: add it again, or mend it")
    return str(found.get("use", "")), contexts


def names() -> list[str]:
    """Return those that there are, for completion; none if the file cannot be read."""
    try:
        return list(read()[1])
    except SettingsError:
        return []


def write(use: str, contexts: dict[str, Settings]) -> None:
    """Keep them, for this user alone. Raises AdapterError if the file cannot be written."""
    lines = [f"use = {json.dumps(use)}"] if use else []
    for name, settings in contexts.items():
        lines += ["", f"[contexts.{json.dumps(name)}]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    file = path()
    part = file.with_suffix(".part")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        part.touch(mode=0o600)
        part.write_text("\n".join(lines) + "\n", "utf-8")
        part.replace(file)
    except OSError as exc:
        raise AdapterError(f"{file}: cannot be written: {exc.strerror}") from exc


def pair(given: str) -> tuple[str, str]:
    """Read ``amqp_url_file=/run/secrets/amqp`` for `write`.

    Raises:
        SettingsError: It is no setting, or has a password.
    """
    from adapter.settings import Settings as Known

    key, equals, value = given.partition("=")
    key = key.strip().lower().removeprefix(PREFIX.lower())
    base = key.removesuffix(FILE).removesuffix(ENVIRONMENT)
    if not equals or base not in Known.model_fields or not value:
        known = ", ".join(sorted(Known.model_fields))
        told = f"takes SETTING=VALUE, SETTING_file=PATH or SETTING_env=VARIABLE; settings are {known}"
        raise SettingsError("context add", told)
    if key == base and (base == "id_key" or _PASSWORD.search(value)):
        told = f"passwords are not kept here: give {base}_file=PATH, or {base}_env=VARIABLE"
        raise SettingsError(base, told)
    if key.endswith(FILE):
        value = str(Path(value).expanduser().absolute())
    return key, value


def apply(name: str | None, command: str | None) -> None:
    """Have a context count for the command.

    Args:
        name: as ``--context`` says; None: the one in use, unless the command runs a service.
        command: that is to be run.

    Raises:
        SettingsError: There is no such context, or its variable is not set.
    """
    if name is None and command in SERVICES:
        return
    in_use, contexts = read()
    name = in_use if name is None else name
    if not name:
        return
    if name not in contexts:
        known = ", ".join(contexts) or "none; evapi-adapter context add NAME makes one"
        raise SettingsError("--context", f"there is no context {name!r}: there are {known}")
    os.environ[VARIABLE] = name
    for variable, value in environment(name, contexts[name]).items():
        os.environ[variable] = value


def environment(name: str, settings: Settings) -> dict[str, str]:
    """Return the variables that a context sets: those that are not in the environment already.

    Raises:
        SettingsError: A variable from which a value is to be taken is not set.
    """
    made = {}
    for key, value in settings.items():
        base = key.removesuffix(FILE).removesuffix(ENVIRONMENT)
        variable = f"{PREFIX}{base.upper()}"
        if os.environ.get(variable) or os.environ.get(f"{variable}_FILE"):
            continue
        if key.endswith(ENVIRONMENT):
            if not os.environ.get(value):
                raise SettingsError(value, f"is not set: the context {name} takes {base} from it")
            made[variable] = os.environ[value]
        else:
            made[f"{variable}_FILE" if key.endswith(FILE) else variable] = value
    return made


def giver(setting: str) -> str:
    """Return the context that counts, if a setting's value is the one that it gives; else an empty text."""
    name = os.environ.get(VARIABLE, "")
    given = read()[1].get(name, {}) if name else {}
    variable = f"{PREFIX}{setting.upper()}"
    pairs = {
        variable: given.get(setting) or os.environ.get(given.get(f"{setting}{ENVIRONMENT}", "")),
        f"{variable}_FILE": given.get(f"{setting}{FILE}"),
    }
    return name if any(value and os.environ.get(key) == value for key, value in pairs.items()) else ""


def _is_context(found: Any) -> bool:
    return isinstance(found, dict) and all(isinstance(value, str) for value in found.values())
