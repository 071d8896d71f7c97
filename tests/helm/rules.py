"""The alert rules of the chart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
import yaml
from typer.core import TyperGroup

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = Path("helm/evapi-adapter/rules")
RULES = FOLDER / "evapi-adapter.yaml"
BUDGET = FOLDER / "budget.yaml"
TESTS = sorted((FOLDER / "tests").glob("*.yaml"))
EVERY = [
    rule
    for path in (RULES, BUDGET)
    for group in yaml.safe_load(path.read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
ALERTS = [rule for rule in EVERY if "alert" in rule]


def parse(program: typer.Typer, words: Sequence[str]) -> None:
    """Read a command line to its end, without doing what it says. Raises where it is none."""
    command: Any = typer.main.get_command(program)
    context = command.make_context("evapi-adapter", list(words))
    while isinstance(command, TyperGroup):
        left = [*context._protected_args, *context.args]
        if not left and command.invoke_without_command:
            return
        name, command, rest = command.resolve_command(context, left)
        context = command.make_context(name, rest, parent=context)
