"""The command line inside this process, as in a pipe: what it prints, and its exit code."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from typing import Any, NamedTuple
from unittest.mock import patch

from adapter.cli import main


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Of ``-o json``."""
        found: list[dict[str, Any]] = json.loads(self.out)["rows"]
        return found


def evapi_adapter(*words: str, stdin: bytes = b"", **variables: str) -> Done:
    """Run it to its end with these variables, and no other EVAPI_ ones."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    bare = {name: value for name, value in os.environ.items() if not name.startswith("EVAPI_")}
    with (
        patch.dict(os.environ, {**bare, "COLUMNS": "80", **variables}, clear=True),
        patch.object(sys, "argv", ["evapi-adapter", *words]),
        patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8")),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
            code: Any = 0
        except SystemExit as end:
            code = end.code or 0
    told, said = (each.buffer.getvalue().decode() for each in (out, err))  # type: ignore[attr-defined]
    return Done(code, told, said)
