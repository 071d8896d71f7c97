"""A forgotten include: what doctor tells to write is tried on the real Kamailio."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from adapter import kamailio
from adapter.kamailio.lint import lint
from tests.harness.kamailio import KamailioServer
from tests.harness.process import HarnessError

if TYPE_CHECKING:
    from pathlib import Path

LINE = f'include_file "{kamailio.INCLUDE}"'


def test_a_forgotten_include_is_told_once_and_what_is_to_be_written_cures_it(tmp_path: Path) -> None:
    whole = kamailio.read("kamailio.cfg")
    assert LINE in whole
    path = tmp_path / "kamailio.cfg"
    path.write_text(whole.replace(LINE, ""))
    for name in kamailio.includes():
        (tmp_path / name).write_text(kamailio.read(name))
    (found,) = (each for each in lint(path) if each.rule == "missing-route")
    assert f"{kamailio.INCLUDE} is not included" in found.what
    assert "does not start" in found.why
    with pytest.raises(HarnessError, match="not found at"):
        KamailioServer(tmp_path, path, name="without").start()
    before, _, after = path.read_text().partition("request_route {")
    path.write_text(f"{before}{found.write}\nrequest_route {{{after}")
    assert [each for each in lint(path) if each.rule == "missing-route"] == []
    with KamailioServer(tmp_path, path, name="with"):
        pass
