"""atheris: the bytes of an EVAPI connection, through the netstring decoder and the parser."""

from __future__ import annotations

import contextlib

import atheris

with atheris.instrument_imports(include=["adapter.wire", "adapter.contract", "json"]):
    from tests.fuzz import seeds, targets
    from tests.fuzz.engine import guide, run

as_json = guide()


def one_input(data: bytes) -> None:
    with contextlib.suppress(ValueError, RecursionError):
        as_json(data[2:].decode())
    targets.events(data)


if __name__ == "__main__":
    run(one_input, seeds.streams())
