"""README's way from nothing to an own decision as a shell script: what a newcomer types, in order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.harness.readme import README

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BEGIN: Final = "## From nothing to a call that your code decides\n"
END: Final = "### With RabbitMQ and Redis\n"
OWN: Final = "loadmodule"
"""What the configuration of one's own begins with: it has no name in README."""
_FILE: Final = re.compile(r"`(~/[\w./]+)`")
REPLACES: Final = "in place of"
READY: Final = """\
for turn in $(seq 300); do python3 -c '
import urllib.request as u
told = u.urlopen("http://127.0.0.1:9464/metrics").read().splitlines()
assert [line for line in told if line.startswith(b"evapi_gate_open{") and line.endswith(b" 1.0")]
' 2>/dev/null && break; sleep 0.1; done"""
"""A person waits until the adapter says that it is ready."""
TERMINAL: Final = """\
set -m
env -i HOME="$HOME" PATH="$plain" bash -ec {text} >>"$HOME/{log}" 2>&1 </dev/null &
{name}=$!
set +m"""
"""A job of its own group of processes, so that Ctrl-C ends all of it."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block of code, and the paragraph before it."""

    language: str
    text: str
    before: str

    @property
    def has_a_terminal(self) -> bool:
        """Whether it is typed in a terminal of its own, where it stays."""
        return self.language == "sh" and "terminal" in self.before

    @property
    def file(self) -> str:
        """The file that it is written to, empty if it is none."""
        found = _FILE.search(self.before)
        return found[1] if found and self.language != "sh" else ""

    @property
    def commands(self) -> list[str]:
        """The lines to type."""
        return [line.partition(" #")[0].strip() for line in self.text.splitlines() if self.language == "sh"]


def blocks(page: Path = README) -> list[Block]:
    """The blocks of the way, in order."""
    text = page.read_text().partition(BEGIN)[2].partition(END)[0]
    return list(_blocks(text))


def _blocks(text: str) -> Iterator[Block]:
    before = ""
    for part in re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL):
        if part.startswith("```"):
            language, _, code = part.removeprefix("```").removesuffix("```").partition("\n")
            yield Block(language, code, before)
        else:
            before = part.strip().rpartition("\n\n")[2]


def script(way: list[Block]) -> str:
    """Write it as bash: a file for what is written, a background process for each terminal.

    Whoever runs it must end what it leaves running: a namespace of processes does.
    """
    parts = ["set -e", 'plain="$PATH"']
    waits = False
    for number, block in enumerate(way):
        if block.file:
            path = block.file.replace("~", "$HOME", 1)
            parts.append(f"cat > {path} <<'WRITTEN'\n{block.text}WRITTEN")
        elif block.has_a_terminal:
            program = "kamailio" if "kamailio -f" in block.text else "adapter"
            if REPLACES in block.before:
                parts.append(f"kill -TERM -- -${program}; wait ${program} || true")
            log = f"terminal-{number}.log"
            parts.append(TERMINAL.format(text=_quoted(block.text), log=log, name=program))
            waits = True
        elif block.language == "sh":
            if waits:
                parts.append(READY)
            parts += [f"echo {_quoted(f'+ {line}')}\n{line}" for line in block.text.splitlines()]
            waits = False
    return "\n".join(parts) + "\n"


def _quoted(line: str) -> str:
    return "'" + line.replace("'", "'\\''") + "'"
