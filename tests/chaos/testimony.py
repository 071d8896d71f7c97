"""Lines as the witness logs them."""

from __future__ import annotations

from tests.chaos import witness

BEFORE = " 3(77) NOTICE: <script>: "


def logged(*lines: str) -> witness.Testimony:
    return witness.read(BEFORE + each for each in lines)


def asked(name: str, at: float = 100.0, key: str = "1:2") -> str:
    return f"witness asked {name} {key} {at:.6f}"


def resumed(name: str, at: float, outcome: str, echo: str = "-", key: str = "1:2") -> str:
    return f"witness resumed {name} {key} {at:.6f} {outcome} {echo}"
