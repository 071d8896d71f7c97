"""Starts a fuzzer on its seeds. What it has learnt stays in a folder, so the next run goes on from there.

``python -m tests.fuzz.fuzz_events FOLDER [libFuzzer options]``
"""

from __future__ import annotations

import hashlib
import json
import sys
from json import scanner
from pathlib import Path
from typing import TYPE_CHECKING

import atheris

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LIMITS = ("-timeout=10", "-rss_limit_mb=1024", "-max_len=4096", "-print_final_stats=1")
"""A slow input or one that takes too much memory is a finding, too."""
WORDS = (
    *('"event":', '"tm_trans":', '"tm_index":', '"tm_label":', '"tr_index":', '"seq":', '"data":'),
    *('"adapter":', '"hello":', '"life":', '"synced":', "\\\\u0000", "\\\\ud800", "NaN", "1e999", "::"),
    *("event", "node", "tm_index", "tm_label", "deadline", "x-death", "x-status", "x-node", "reason"),
    *("\\xd6\\xff", "\\xc7\\x0c\\xff", "\\xcb\\x7f\\xf8", "\\xdc\\xff\\xff", "sbc1:1:2:3"),
)


def guide() -> Callable[[str], object]:
    """A JSON decoder in Python. The one in C shows the fuzzer nothing: this goes first and shows the way."""
    made = json.JSONDecoder()
    made.scan_once = scanner.py_make_scanner(made)  # type: ignore[attr-defined]
    return made.decode


def run(one_input: Callable[[bytes], None], seeds: Sequence[bytes]) -> None:
    """Fuzz, until what the options say is reached. An input that fails is left in the folder."""
    folder = Path(sys.argv[1])
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        (corpus / hashlib.sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
    words = folder / "words"
    words.write_text("".join(f'"{word}"\n' for word in (each.replace('"', '\\"') for each in WORDS)))
    options = [sys.argv[0], *LIMITS, f"-dict={words}", f"-artifact_prefix={folder}/", *sys.argv[2:]]
    atheris.Setup([*options, str(corpus)], one_input)
    atheris.Fuzz()
