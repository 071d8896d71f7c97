"""Names of modules that clash: a file of the current folder that is called as something installed is."""

from __future__ import annotations

import sys
from pathlib import Path


def add_current_folder() -> None:
    """Have modules of the current folder found, as ``python -m`` does: my_service.py, for example."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


def unread(name: str) -> str:
    """Say which file of the current folder is not read because another module has its name.

    Args:
        name: of a module, with its packages.

    Returns:
        A sentence with the remedy; an empty text if there is no such file, or if it is the one that is read.
    """
    top = name.partition(".")[0]
    here = Path.cwd()
    own = [path for path in (here / f"{top}.py", here / top) if path.exists()]
    module = sys.modules.get(top)
    if not own or module is None:
        return ""
    found = getattr(module, "__file__", None)
    if found is not None and here in Path(found).resolve().parents:
        return ""
    return f"{own[0]} is not read, since {top!r} is {found or 'a part of Python'}: rename it"


def shadowed(name: str, beside: str) -> str:
    """Say which file is read in place of a package that ``beside`` belongs beside.

    Args:
        name: of the package that could not be imported.
        beside: the file of a module whose package lies in the same folder as the one that is meant.
    """
    found = getattr(sys.modules.get(name), "__file__", None)
    if found is None or Path(found).resolve().parents[1] == Path(beside).resolve().parents[1]:
        return ""
    return f"{found} has the name of a package of evapi-adapter: rename it, or start in another folder"
