"""What the README shows is run as it stands there."""

from __future__ import annotations

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

MODULES = ("tm", "tmx", "sl", "rr", "pv", "textops", "siputils", "xlog", "jansson", "htable")


def configuration(folder: Path) -> Path:
    """The ten lines, with what every Kamailio has around them."""
    shown = block("", "include_file")
    head, _, rest = shown.partition("# in request_route")
    asks, _, routes = rest.partition("\n\n")
    asks = asks.partition("\n")[2]
    modules = "".join(f'loadmodule "{name}.so"\n' for name in MODULES)
    head = head.replace('"127.0.0.1:8448"', "EVAPI_BIND")
    text = f"""#!KAMAILIO
listen=SIP_LISTEN
children=SIP_WORKERS
disable_tcp=yes
auto_aliases=no
{modules}{head}
request_route {{
    if (is_method("OPTIONS")) {{ sl_send_reply("200", "OK"); exit; }}
    if (is_method("ACK")) {{ t_check_trans(); exit; }}
{asks}
}}
{routes}"""
    (folder / kamailio.INCLUDE).write_text(kamailio.read(kamailio.INCLUDE))
    path = folder / "readme.cfg"
    path.write_text(text)
    return path


async def test_the_ten_lines_of_kamailio_and_of_consumer_decide_calls(tmp_path: Path) -> None:
    async with await Gateway.open() as gateway:
        code = block("python", "my_service").replace("sip:gw1.example.net", f"sip:127.0.0.1:{gateway.port}")
        (tmp_path / "readme_service.py").write_text(code)
        env = {"PYTHONPATH": str(tmp_path)}
        options = {"consumer": "readme_service:service"}
        with (
            KamailioServer(tmp_path, configuration(tmp_path)) as server,
            Bridge("adapter", tmp_path, {"sbc1": server.evapi_port}, options, env) as bridge,
        ):
            bridge.wait_for_gate()
            async with await Caller.open(server.sip_port) as caller:
                assert (await caller.call("442079460000").final()).code == 200
                refused = await caller.call("999").final()
            assert (refused.code, refused.reason) == (403, "Forbidden")
            assert len(gateway.of("INVITE")) == 1
            assert bridge.metric("evapi_outcomes_total", outcome="decided") == 2


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
