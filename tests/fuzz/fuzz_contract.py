"""atheris: the bodies of requests, replies and commands."""

from __future__ import annotations

import contextlib

import atheris

with atheris.instrument_imports(include=["adapter.wire", "adapter.contract", "msgpack.fallback", "json"]):
    from msgpack import fallback

    from tests.fuzz import seeds, targets
    from tests.fuzz.engine import guide, run

as_json = guide()


def one_input(data: bytes) -> None:
    selector, body = data[:1], data[1:]
    with contextlib.suppress(Exception):  # only there to show the way: see guide()
        as_json(body.decode()) if selector in (b"\2", b"\3") else fallback.unpackb(body)
    targets.contract(data)


if __name__ == "__main__":
    run(one_input, seeds.bodies())
