"""Each setting: flag over environment over default, files, and what is wrong about it."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from adapter import settings
from adapter.errors import SettingsError
from adapter.settings import Address, Lookup, NodeAddress, Settings, load, without_password

RABBIT = "amqp://rabbit"

EXAMPLES: dict[str, tuple[str, Any, str, Any]] = {
    "nodes": (
        *("a=1.2.3.4:80", (NodeAddress("a", Address("1.2.3.4", 80)),)),
        *("b=h:81", (NodeAddress("b", Address("h", 81)),)),
    ),
    "nodes_refresh": ("1", 1.0, "30", 30.0),
    "links_per_node": ("0", 0, "3", 3),
    "amqp_url": ("amqp://a", "amqp://a", "amqps://u:p@b:5671/v,amqp://c", "amqps://u:p@b:5671/v,amqp://c"),
    "redis_url": ("redis://a", "redis://a", "redis+cluster://u:p@b:1,c:2", "redis+cluster://u:p@b:1,c:2"),
    "id_key": ("k" * 16, "k" * 16, f"{'a' * 16}, {'b' * 99}", f"{'a' * 16}, {'b' * 99}"),
    "policy": ("/a.toml", Path("/a.toml"), "/b.toml", Path("/b.toml")),
    "http": ("0.0.0.0:9464", Address("0.0.0.0", 9464), "[::]:1", Address("::", 1)),
    "replica": ("pod-1", "pod-1", "pod-2", "pod-2"),
    "log": ("json", "json", "console,DEBUG", "console,debug"),
    "redis_prefix": ("a", "a", "b.c-d_1", "b.c-d_1"),
    "retention": ("30", 30.0, "0.5", 0.5),
    "lease": ("2", 2.0, "0.5", 0.5),
    "store_timeout": ("2", 2.0, "0.5", 0.5),
    "confirm_timeout": ("2", 2.0, "0.5", 0.5),
    "receipt_timeout": ("2", 2.0, "0.5", 0.5),
    "results_expires": ("60", 60.0, "86400", 86_400.0),
    "queue_type": ("quorum", "quorum", "classic", "classic"),
    "mqtt": ("true", True, "0", False),
    "drain_timeout": ("2", 2.0, "0.5", 0.5),
    "prefetch": ("1", 1, "65535", 65_535),
    "max_frame": ("4096", 4096, "67108864", 64 << 20),
    "receive_buffer": ("65536", 65_536, "1000000", 1_000_000),
    "amqp_api": ("http://rabbit:15672", "http://rabbit:15672", "https://rabbit", "https://rabbit"),
    "journal": ("0", 0.0, "30", 30.0),
    "journal_payloads": ("true", True, "0", False),
    "traces": ("0", 0.0, "0.01", 0.01),
}


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(settings.PREFIX):
            monkeypatch.delenv(name)


def value_of(found: Settings, name: str) -> Any:
    value = getattr(found, name)
    return value.get_secret_value() if hasattr(value, "get_secret_value") else value


def addresses(found: Settings) -> list[NodeAddress]:
    """Its nodes, none of which is to be looked up."""
    assert all(isinstance(node, NodeAddress) for node in found.nodes)
    return [node for node in found.nodes if isinstance(node, NodeAddress)]


def names(found: Settings) -> list[str]:
    return [node.name for node in addresses(found)]


def refused(**flags: Any) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load(**{"amqp_url": RABBIT, **flags})
    return caught.value


class TestSources:
    def test_the_defaults(self) -> None:
        found = load(consumer=["consumers.least_cost:service"])
        assert found.nodes == (NodeAddress("127.0.0.1:8448", Address("127.0.0.1", 8448)),)
        assert (found.amqp_url, found.redis_url, found.policy) == (None, None, None)
        assert found.consumer == ("consumers.least_cost:service",)
        assert found.http == Address("127.0.0.1", 9464)
        assert found.replica == f"{socket.gethostname()}-{os.getpid()}"
        assert (found.log_format, found.log_level) == (None, "info")
        assert (found.retention, found.lease, found.redis_prefix) == (60.0, 1.0, "evapi")
        assert (found.store_timeout, found.queue_type) == (0.5, "classic")

    def test_every_setting_has_an_example_here(self) -> None:
        assert set(EXAMPLES) | {"consumer"} == set(Settings.model_fields)

    @pytest.mark.parametrize("name", EXAMPLES)
    def test_flag_over_environment_over_default(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        flag, as_flag, variable, as_variable = EXAMPLES[name]
        others: dict[str, Any] = {} if name == "amqp_url" else {"amqp_url": RABBIT}
        monkeypatch.setenv(f"EVAPI_{name.upper()}", variable)
        assert value_of(load(**others), name) == as_variable
        assert value_of(load(**{**others, name: None}), name) == as_variable
        assert value_of(load(**{**others, name: flag}), name) == as_flag

    @pytest.mark.parametrize("name", EXAMPLES)
    def test_from_a_file(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
        flag, as_flag, variable, as_variable = EXAMPLES[name]
        others: dict[str, Any] = {} if name == "amqp_url" else {"amqp_url": RABBIT}
        (tmp_path / "secret").write_text(f"{variable}\n")
        monkeypatch.setenv(f"EVAPI_{name.upper()}_FILE", str(tmp_path / "secret"))
        assert value_of(load(**others), name) == as_variable
        assert value_of(load(**{**others, name: flag}), name) == as_flag

    def test_consumers(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("EVAPI_CONSUMER", "consumers.least_cost:service, my.own:other")
        assert load().consumer == ("consumers.least_cost:service", "my.own:other")
        assert load(consumer=["a:b", "c:d"]).consumer == ("a:b", "c:d")
        monkeypatch.delenv("EVAPI_CONSUMER")
        (tmp_path / "names").write_text("a:b,c:d\n")
        monkeypatch.setenv("EVAPI_CONSUMER_FILE", str(tmp_path / "names"))
        assert load().consumer == ("a:b", "c:d")

    def test_both_the_variable_and_its_file(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("amqp://u:hunter2@a")
        monkeypatch.setenv("EVAPI_AMQP_URL_FILE", str(tmp_path / "secret"))
        monkeypatch.setenv("EVAPI_AMQP_URL", "amqp://u:hunter2@b")
        with pytest.raises(SettingsError) as caught:
            load()
        assert caught.value.variable == "EVAPI_AMQP_URL_FILE"
        assert "hunter2" not in str(caught.value)

    @pytest.mark.parametrize("kind", ["missing", "folder", "binary"])
    def test_a_file_that_cannot_be_read(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
    ) -> None:
        path = tmp_path / kind
        if kind == "folder":
            path.mkdir()
        elif kind == "binary":
            path.write_bytes(b"amqp://u:hunter2\xff@a")
        monkeypatch.setenv("EVAPI_AMQP_URL_FILE", str(path))
        with pytest.raises(SettingsError) as caught:
            load()
        assert caught.value.variable == "EVAPI_AMQP_URL_FILE"
        assert str(path) in str(caught.value)
        assert "hunter2" not in str(caught.value)

    def test_what_is_not_ours_is_left_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EVAPI_SOMETHING_ELSE", "x")
        monkeypatch.setenv("NODES", "x")
        assert names(load(amqp_url=RABBIT)) == ["127.0.0.1:8448"]


BAD_NODES = (
    *(
        "all=h:1",
        ",",
        "h:1,",
        "h",
        "h:",
        ":1",
        "h:0",
        "h:65536",
        "h:x",
        "h:-1",
        "::1:80",
        "[::1]",
        "[]:1",
        "h:1:2",
    ),
    *(
        "=h:1",
        "a b=h:1",
        "a =h:1",
        "a= h:1",
        "a=h :1",
        "\u00e4=h:1",
        f"{'n' * 101}=h:1",
        "a=b=h:1",
        "{a}=h:1",
    ),
    *("h:1,h:1", "a=h:1,a=h:2", "http://h:1", "u@h:1", "h/x:1", "a=dns://h:1"),
    *(
        "dns://h",
        "dns://",
        "dns://h:0",
        "dns+srv://h:1",
        "dns+srv://h",
        "dns+srv://_a.b.c",
        "dns+srv://_a._tcp",
    ),
    *("dns://h:1,dns://h:1", "a=h:1,b=h:1"),
)


class TestNodes:
    def test_names_addresses_and_white_space(self) -> None:
        found = load(
            amqp_url=RABBIT, nodes="sbc1=10.0.0.5:8448, sbc-2.example=[2001:db8::1]:8449 ,h:1,[::1]:2"
        )
        assert [(node.name, node.address) for node in addresses(found)] == [
            ("sbc1", Address("10.0.0.5", 8448)),
            ("sbc-2.example", Address("2001:db8::1", 8449)),
            ("h:1", Address("h", 1)),
            ("[::1]:2", Address("::1", 2)),
        ]

    def test_names_to_look_up(self) -> None:
        found = load(
            amqp_url=RABBIT,
            nodes="sbc1=10.0.0.5:8448, dns://kamailio:8448,DNS+SRV://_evapi._tcp.kamailio.sip.,dns://[::1]:1",
        )
        assert found.fixed_nodes == (NodeAddress("sbc1", Address("10.0.0.5", 8448)),)
        assert found.lookups == (
            Lookup("dns", "kamailio", 8448),
            Lookup("srv", "_evapi._tcp.kamailio.sip", 0),
            Lookup("dns", "::1", 1),
        )
        assert [str(each) for each in found.nodes] == [
            "sbc1=10.0.0.5:8448",
            "dns://kamailio:8448",
            "dns+srv://_evapi._tcp.kamailio.sip",
            "dns://[::1]:1",
        ]

    def test_from_code(self) -> None:
        node = NodeAddress("a", Address("h", 1))
        assert load(amqp_url=RABBIT, nodes=(node,), http=Address("h", 2)).nodes == (node,)
        assert refused(nodes=5).variable == "EVAPI_NODES"

    @pytest.mark.parametrize("nodes", BAD_NODES)
    def test_what_is_wrong_about_them(self, nodes: str) -> None:
        assert refused(nodes=nodes).variable == "EVAPI_NODES"

    def test_what_is_wrong_is_said(self) -> None:
        assert str(refused(nodes="a=h:1,a=h:2")) == "EVAPI_NODES: two nodes are called 'a'"
        assert str(refused(nodes="h:65536")) == "EVAPI_NODES: 65536 is no TCP port"
        assert str(refused(nodes="sbc1")) == "EVAPI_NODES: 'sbc1' is no host:port"

    @pytest.mark.parametrize("text", ["1.2.3.4:80", "[::1]:80", "host.example:65535"])
    def test_an_address_is_written_as_it_is_read(self, text: str) -> None:
        assert str(Address.parse(text)) == text


BAD: list[tuple[str, Any]] = [
    *(("http", value) for value in ("9464", ":9464", "h:x", "h:0", "h:1:2")),
    *(("replica", value) for value in ("a b", "ä", "r" * 101, "a/b", "a~b", "a\n")),
    *(("log", value) for value in ("xml", "json,loud", "json,", ",", "jsondebug")),
    *(("amqp_url", value) for value in ("rabbit", "http://rabbit", "amqp:/rabbit", "amqp://a,b", "AMQP")),
    *(
        ("redis_url", value)
        for value in ("rediss:/h", "unix:///s", "http://h", "redis-sentinel://h", "h:6379")
    ),
    *(("id_key", value) for value in ("k" * 15, f"{'k' * 16},", f"{'k' * 16},short")),
    *(("redis_prefix", value) for value in ("a:b", "a b", "{a}", "p" * 41, "ä")),
    *(("retention", value) for value in ("x", "0", "-1", "nan", "inf", "86401", "1e9")),
    *(
        (name, "0")
        for name in ("lease", "store_timeout", "confirm_timeout", "receipt_timeout", "drain_timeout")
    ),
    *(("queue_type", value) for value in ("stream", "Quorum")),
    *(("prefetch", value) for value in ("0", "65536", "1.5", "x")),
    *(("max_frame", value) for value in ("4095", str((64 << 20) + 1))),
    *(("receive_buffer", value) for value in ("65535", "x")),
    *(("consumer", value) for value in ("x", "a:", ":b", "a:b,", "a:b:c", "a-b:c", "a b:c", ["a:b", "c"])),
]


def test_empty_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.setenv(f"EVAPI_{name.upper()}", "")
    found = load(amqp_url=RABBIT, redis_url="", consumer="")
    assert found.redis_url is None
    assert names(found) == ["127.0.0.1:8448"]
    assert found.lease == 1.0


class TestWhatIsWrong:
    @pytest.mark.parametrize(("name", "value"), BAD)
    def test_as_a_flag(self, name: str, value: Any) -> None:
        assert refused(**{name: value}).variable == f"EVAPI_{name.upper()}"

    @pytest.mark.parametrize(
        ("name", "value"), [(name, value) for name, value in BAD if isinstance(value, str)]
    )
    def test_in_the_environment(self, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
        variable = f"EVAPI_{name.upper()}"
        monkeypatch.setenv(variable, value)
        assert refused(**({"amqp_url": None} if name == "amqp_url" else {})).variable == variable

    def test_a_setting_that_is_none(self) -> None:
        assert refused(colour="red").variable == "EVAPI_COLOUR"

    def test_nobody_decides(self) -> None:
        with pytest.raises(SettingsError, match="nobody would decide") as caught:
            load()
        assert caught.value.variable == "EVAPI_CONSUMER"

    def test_a_consumer_beside_rabbitmq(self) -> None:
        assert refused(consumer=["a:b"]).variable == "EVAPI_CONSUMER"

    def test_the_first_of_several_is_named(self) -> None:
        assert refused(nodes="x", http="x").variable == "EVAPI_NODES"


NO_URLS = (
    *("guest:hunter2@rabbit", "hunter2", "http://guest:hunter2@rabbit", "amqp://u:x,hunter2@h", "hunter2://"),
    *("amqp://a,u:hunter2@b", "amqp//u:hunter2@b", " hunter2", "amqp:u:hunter2@b"),
)


class TestPasswords:
    def test_a_short_key_is_not_quoted(self) -> None:
        assert "hunter2" not in str(refused(id_key="hunter2"))

    def test_several_keys(self) -> None:
        one, two = "k" * 16, "l" * 20
        assert load(amqp_url=RABBIT, id_key=f"{one}, {two}").id_keys == (one, two)
        assert load(amqp_url=RABBIT).id_keys == ()

    @pytest.mark.parametrize("url", NO_URLS)
    @pytest.mark.parametrize("name", ["amqp_url", "redis_url"])
    def test_no_error_shows_one(self, name: str, url: str) -> None:
        given: dict[str, Any] = {"consumer": ["a:b"], name: url}
        with pytest.raises(SettingsError) as caught:
            load(**given)
        shown = [str(caught.value), repr(caught.value), repr(caught.value.__cause__)]
        assert not any("hunter2" in text for text in shown)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None

    def test_no_repr_shows_one(self) -> None:
        secret: dict[str, Any] = {"redis_url": "redis://:hunter2@h", "id_key": "hunter2-and-then-some"}
        found = load(amqp_url="amqp://u:hunter2@h", lease="1", **secret)
        assert "hunter2" not in repr(found) + str(found) + found.model_dump_json()

    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("amqp://h", "amqp://h"),
            ("amqp://u@h/v", "amqp://u@h/v"),
            ("amqp://u:hunter2@h:5672/v?x=1", "amqp://u:***@h:5672/v?x=1"),
            ("redis://:hunter2@h", "redis://:***@h"),
            ("amqp://u:hun/ter2@h", "amqp://u:***@h"),
            ("amqp://u:hun@ter2@h", "amqp://u:***@h"),
            ("amqp://u:hun#ter?2@h", "amqp://u:***@h"),
            ("amqp://u:hunter2@[::1", "amqp://u:***@[::1"),
            ("amqp://u:hunter2@a,amqps://v:hunter2@b", "amqp://u:***@a,amqps://v:***@b"),
            ("amqp://u:hunter2@a, amqp://b", "amqp://u:***@a,amqp://b"),
            ("redis+sentinel://u:hunter2@a:1,b:2/m", "redis+sentinel://u:***@a:1,b:2/m"),
            ("redis://h/0?password=hunter2&db=1", "redis://h/0?password=***&db=1"),
            (
                "redis+sentinel://h/m?a=b&sentinel_password=hunter2",
                "redis+sentinel://h/m?a=b&sentinel_password=***",
            ),
        ],
    )
    def test_a_url_as_it_may_be_shown(self, url: str, shown: str) -> None:
        assert without_password(url) == shown


class TestLog:
    @pytest.mark.parametrize(
        ("text", "form", "level"),
        [
            ("", None, "info"),
            ("json", "json", "info"),
            ("console", "console", "info"),
            ("DEBUG", None, "debug"),
            ("json,warning", "json", "warning"),
            ("error:console", "console", "error"),
            ("console debug", "console", "debug"),
        ],
    )
    def test_form_and_level(self, text: str, form: str | None, level: str) -> None:
        found = load(amqp_url=RABBIT, log=text)
        assert (found.log_format, found.log_level) == (form, level)
