"""The contract as files: what is in them, and whether those that are checked in are the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from tests.contract_files.document import document
from tests.contract_files.golden import goldens
from tests.contract_files.schemas import schemas

FOLDER: Final = Path(__file__).parents[2] / "consumers" / "contract"
DOCUMENT: Final = "asyncapi.json"
INDEX: Final = "golden/index.json"


def files() -> dict[str, bytes]:
    """Make every file from the code, by its path within the folder."""
    described, messages = schemas(), goldens()
    found = {DOCUMENT: _text(document(described, messages))}
    found |= {f"schemas/{name}.json": _text(schema) for name, schema in described.items()}
    found[INDEX] = _text([golden.entry() for golden in messages])
    for golden in messages:
        found[f"golden/{golden.body_file}"] = golden.body
        if golden.publication is not None:
            found[f"golden/{golden.frames_file}"] = golden.publication
    return found


def differing(made: dict[str, bytes], folder: Path = FOLDER) -> list[str]:
    """Return the paths of what is in one of both alone, or is not the same."""
    there = {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    return sorted(name for name in made.keys() | there.keys() if made.get(name) != there.get(name))


def write(made: dict[str, bytes], folder: Path = FOLDER) -> list[str]:
    """Make the folder the same. Returns the paths that were not."""
    changed = differing(made, folder)
    for name in changed:
        path = folder / name
        if name not in made:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(made[name])
    return changed


def _text(value: Any) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"
