"""Which tests need no server, no Debian package and no network: those of ``make unit``.

A test counts as one of a server if its module leads to the harness that starts programs, if it asks for
a fixture that gives one, or if it has the marker ``server``.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pytest

ROOT: Final = Path(__file__).parent.parent
STARTING: Final = frozenset(
    f"tests.harness.{name}"
    for name in ("helm_binary", "kube_api", "podman", "process", "prometheus", "promtool")
)
"""Modules of the harness that start programs which Debian or the network has to bring."""
SERVERS: Final = frozenset({"managed_rabbitmq", "rabbitmq", "redis_server", "vhost"})
"""Fixtures that start a server."""


def is_unit(item: pytest.Item) -> bool:
    """Return True if the test can run on a machine that has nothing but Python and the packages."""
    if item.get_closest_marker("server") or SERVERS & set(getattr(item, "fixturenames", ())):
        return False
    return not leads_to_servers(_name(item.path))


@cache
def leads_to_servers(module: str) -> bool:
    """Return True if a module of the tests imports, however indirectly, what starts a program."""
    return bool(STARTING & _reached(module))


def _reached(module: str) -> set[str]:
    found, left = {module}, [module]
    while left:
        for each in _imports(left.pop()) - found:
            found.add(each)
            left.append(each)
    return found


@cache
def _imports(module: str) -> frozenset[str]:
    """The modules of the tests that a module imports, those for types apart, and the conftest beside it."""
    path = _path(module)
    if path is None:
        return frozenset()
    found: set[str] = set()
    for node in _run(ast.parse(path.read_text(encoding="utf-8")).body):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    beside = module.rpartition(".")[0] + ".conftest"
    if beside != "tests.conftest":  # that one has fixtures for all, which count where they are asked for
        found.add(beside)
    return frozenset(each for each in found if _path(each) is not None)


def _run(body: list[ast.stmt]) -> list[ast.AST]:
    """Every node but those that only a type checker reads."""
    found: list[ast.AST] = []
    for statement in body:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            continue
        found += ast.walk(statement)
    return found


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def _path(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    return path if module.startswith("tests.") and path.exists() else None
