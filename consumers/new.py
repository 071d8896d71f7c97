"""A folder with a service that runs as it stands, for ``evapi-adapter new``."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?")
_FILES: Final = {
    "{module}.py": "service.py.txt",
    "tests/test_{module}.py": "tests/test_service.py.txt",
    "pyproject.toml": "pyproject.toml.txt",
    "Dockerfile": "Dockerfile.txt",
    "values.yaml": "values.yaml.txt",
    "README.md": "README.md.txt",
}
"""What is written, and the template of each."""


class NameRefused(ValueError):
    """No service can be made under a name; the text says why, and what to write."""


def create(name: str, into: Path) -> list[Path]:
    """Write a folder of this name, and in it a service with all that belongs to it.

    Args:
        name: of the folder, the project, the image; the module and the service have ``_`` for ``-``.
        into: the folder to write it in.

    Returns:
        The files, relative to ``into``.

    Raises:
        NameRefused: the name is not fit, or something of that name is there. Nothing was written.
        OSError: the folder cannot be written.
    """
    module = name.replace("-", "_")
    _check(name, module)
    names = {"name": name, "module": module, "service": module}
    template = files("consumers") / "template"
    texts = {
        path.format(module=module): Template((template / source).read_text()).substitute(names)
        for path, source in _FILES.items()
    }
    folder = into / name
    try:
        folder.mkdir()
    except FileExistsError:
        raise NameRefused(f"{name} is there already: take another name, or move it away") from None
    for path, text in texts.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text)
    return [folder.relative_to(into) / path for path in texts]


def _check(name: str, module: str) -> None:
    if not _NAME.fullmatch(name):
        raise NameRefused(
            f"{name!r} cannot be a name: write small letters, digits and -, at most 40, such as my-service"
        )
    taken = keyword.iskeyword(module) or module in sys.stdlib_module_names
    if taken or module in ("tests", "adapter") or importlib.util.find_spec(module) is not None:
        raise NameRefused(
            f"{name!r} cannot be a name: Python has a module {module}; write for example my-{name}"
        )
