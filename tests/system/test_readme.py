"""What the README shows is run as it stands there."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from adapter import kamailio, settings
from adapter.model.transaction import Outcome
from adapter.relay import policy
from tests.cli.command import evapi_adapter
from tests.harness.bridge import Bridge
from tests.harness.kamailio import KamailioServer
from tests.harness.readme import README, block
from tests.harness.sip import Caller, Gateway

if TYPE_CHECKING:
    from pathlib import Path

CONSUMER = """
from consumers import Request, Service, redirect, reject, route
service = Service("own")

@service.on("invite_request")
async def decide(request: Request):
    assert request.data["call_id"]
    if request.data["user"] == "302":
        return redirect("sip:elsewhere@192.0.2.7")
    if request.data["user"] == "999":
        return reject(486, "Not now")
    return route("sip:127.0.0.1:GATEWAY")
"""


def configuration(folder: Path) -> Path:
    """The lines as they stand, but for ports that are free."""
    shown = block("", "include_file").replace('"127.0.0.1:8448"', "EVAPI_BIND")
    (folder / kamailio.INCLUDE).write_text(kamailio.read(kamailio.INCLUDE))
    path = folder / "own.cfg"
    path.write_text(f"listen=SIP_LISTEN\nchildren=SIP_WORKERS\n{shown}")
    return path


async def test_the_lines_for_an_own_configuration_carry_out_each_decision(tmp_path: Path) -> None:
    async with await Gateway.open(0) as gateway:
        (tmp_path / "own_service.py").write_text(CONSUMER.replace("GATEWAY", str(gateway.port)))
        env = {"PYTHONPATH": str(tmp_path)}
        with (
            KamailioServer(tmp_path, configuration(tmp_path)) as server,
            Bridge(
                "adapter", tmp_path, {"sbc1": server.evapi_port}, {"consumer": "own_service:service"}, env
            ) as bridge,
        ):
            bridge.wait_for_gate()
            async with await Caller.open(server.sip_port) as caller:
                refused = await caller.call("999").final()
                redirected = await caller.call("302").final()
                cancelled = caller.call("4420")
                await cancelled.response(180)
                cancelled.cancel()
                assert (await cancelled.final()).code == 487
                gateway.code = 200
                answered = caller.call("4420")
                assert (await answered.final()).code == 200
                assert (await answered.bye()).code == 200, "a request in a dialog finds its way"
            assert (refused.code, refused.reason) == (486, "Not now")
            assert (redirected.code, redirected.get("contact")) == (302, "<sip:elsewhere@192.0.2.7>")
            assert len(gateway.of("CANCEL")) == 1
            assert len(gateway.of("BYE")) == 1
            assert bridge.metric("evapi_outcomes_total", outcome="decided") == 4


def test_the_policy_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(block("toml", "[events.emergency_request]"))
    found = policy.read(path)
    assert found.plan("screening_request").deadline == 0.5
    assert found.services == {"screening"}
    for words in (("check", str(path)), ("show",), ("explain", "screening_request")):
        assert evapi_adapter("policy", *words, EVAPI_POLICY=str(path)).code == 0


def test_the_policy_of_several_services_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(block("toml", 'mode = "chain"'))
    plan = policy.read(path).plan("invite_request")
    assert (plan.courses, [each.name for each in plan.asked]) == (True, ["screening", "fraud", "least_cost"])
    checked = evapi_adapter("policy", "check", str(path), "-o", "json")
    assert (checked.code, json.loads(checked.out)["hints"]) == (0, [])
    told = evapi_adapter("policy", "explain", "invite_request", EVAPI_POLICY=str(path))
    assert (told.code, told.err) == (0, "")
    for name in ("cdr", "all_in_one", "least_cost_b"):
        assert f"evapi.decide.{name}" in told.out


def test_the_tables_name_every_outcome_and_every_setting() -> None:
    text = README.read_text()
    outcomes = re.findall(
        r"^\| `([a-z]+)` \| ", text.partition("## Outcomes")[2].partition("##")[0], re.MULTILINE
    )
    assert sorted(outcomes) == sorted(Outcome)
    variables = re.findall(r"^\| `EVAPI_([A-Z_]+)` \|", text, re.MULTILINE)
    assert sorted(name.lower() for name in variables) == sorted(settings.Settings.model_fields)


def test_the_resume_it_shows_is_json() -> None:
    shown = json.loads(block("json", "tm_trans"))
    assert type(shown["tm_trans"]["tm_index"]) is int


def test_its_pictures_show_a_bad_night() -> None:
    """An operator is to recognize it; what is well needs no picture."""
    shown = {name: _words(README.parent / ".readme" / f"{name}.svg") for name in ("top", "doctor")}
    for part in ("silent", "adapter-1", "fallbacks", "screening", "timeout"):
        assert part in shown["top"]
    for part in ("nobody decides it", "came back failed: least_cost", "evapi-adapter services", "silent for"):
        assert part in shown["doctor"]


def _words(picture: Path) -> str:
    text = re.sub(r"<[^>]+>", " ", picture.read_text("utf-8"))
    return " ".join(html.unescape(text).split())
