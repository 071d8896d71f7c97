"""What those who take the project up look for: the licence wherever something is handed on, tidy files."""

from __future__ import annotations

import configparser
import fnmatch
import re
import subprocess
from importlib.metadata import metadata
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = subprocess.run(
    ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True
).stdout.split("\0")[:-1]


def test_the_licence_is_the_same_wherever_it_is_told() -> None:
    licence = (ROOT / "LICENSE").read_text("utf-8")
    assert licence.startswith("MIT License")
    told = metadata("evapi-adapter")
    assert (told["License-Expression"], told.get_all("License-File")) == ("MIT", ["LICENSE"])
    chart = yaml.safe_load((ROOT / "helm/evapi-adapter/Chart.yaml").read_text("utf-8"))
    assert chart["annotations"]["artifacthub.io/license"] == "MIT"
    assert (ROOT / "helm/evapi-adapter/LICENSE").read_text("utf-8") == licence
    assert 'org.opencontainers.image.licenses="MIT"' in (ROOT / "helm/Dockerfile").read_text("utf-8")


def settings(name: str) -> dict[str, str]:
    """What .editorconfig says of a file; a later section wins."""
    found: dict[str, str] = {}
    parser = configparser.ConfigParser()
    parser.read_string("[root]\n" + (ROOT / ".editorconfig").read_text("utf-8"))
    for section in parser.sections():
        patterns = [section, *section.replace("{", "").replace("}", "").split(",")]
        if any(fnmatch.fnmatch(Path(name).name, each) for each in patterns):
            found |= dict(parser[section])
    return found


def untidy(name: str, text: str) -> list[str]:
    """What a file has that .editorconfig does not let it have."""
    rules, lines = settings(name), text.split("\n")
    wrong = []
    if "\r" in text:
        wrong.append("a carriage return")
    if text and not text.endswith("\n"):
        wrong.append("no newline at its end")
    if rules["trim_trailing_whitespace"] == "true" and any(line != line.rstrip() for line in lines):
        wrong.append("blanks at the end of a line")
    if rules["indent_style"] == "space" and any(line.startswith("\t") for line in lines):
        wrong.append("tabs")
    return [f"{name}: {each}" for each in wrong]


def test_files_are_as_the_editor_is_told_to_write_them() -> None:
    texts = [name for name in FILES if settings(name)["charset"] == "utf-8"]
    found = [each for name in texts for each in untidy(name, (ROOT / name).read_text("utf-8"))]
    assert found == []


@pytest.mark.parametrize("text", ["a", "a \n", "\ta\n", "a\r\n"])
def test_an_untidy_file_would_be_found(text: str) -> None:
    assert untidy("a.py", text)
    assert untidy("a.py", "a\n") == []
    assert untidy("Makefile", "a:\n\tb\n") == []


def test_hooks_run_the_tools_of_make_lint() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"][0]["hooks"]
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for hook in hooks:
        program = hook["entry"].split()[0].removeprefix(".venv/bin/")
        assert f"$(BIN)/{program}" in makefile
    assert len(hooks) == 4


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md"])
def test_what_they_name_is_there(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    for target in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (ROOT / target).exists(), target
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets
