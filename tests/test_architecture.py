"""The page for who carries this on names what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import adapter

ADAPTER = Path(adapter.__file__).parent
ROOT = ADAPTER.parent
PAGE = (ADAPTER / "ARCHITECTURE.md").read_text(encoding="utf-8")
PATHS = sorted(set(re.findall(r"`((?:[a-z_]+/)*[a-z_*-]+(?:/|\.py|\.cfg)|tests/[a-z_/*]+)`", PAGE)))


def test_there_is_something_to_check() -> None:
    assert len(PATHS) > 40


@pytest.mark.parametrize("path", PATHS)
def test_what_it_names_is_there(path: str) -> None:
    base = ROOT if path.startswith(("tests/", "consumers/")) else ADAPTER
    assert list(base.glob(path.rstrip("/"))), path


def test_every_room_is_named() -> None:
    rooms = {f"{path.parent.name}/" for path in ADAPTER.glob("*/__init__.py")}
    assert rooms - {path for path in PATHS if path.count("/") == 1} == set()


def test_what_goes_out_and_back_is_there() -> None:
    """The modules of the drawing, which have no suffix there."""
    drawn = re.findall(r"\b((?:evapi|wire|relay|ports|inflight|broker)/[a-z]+)\b", PAGE.split("```")[1])
    assert len(drawn) > 10
    for name in drawn:
        assert list(ADAPTER.glob(f"{name}.py")) or (ADAPTER / name).is_dir(), name
