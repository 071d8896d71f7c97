"""Every setting: its flag, environment variable, default and checks.

A setting ``x`` is the flag ``--x`` (a rare one: ``--set x=...``), or ``EVAPI_X``, or the content
of the file that ``EVAPI_X_FILE`` names (for secrets mounted as files). A flag wins over the
environment. Empty is as good as not given.
"""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from adapter.address import Address as Address
from adapter.amqp.urls import ADVICE, split_urls, stray_comma
from adapter.contract import ALL_NODES
from adapter.errors import SettingsError

PREFIX: Final = "EVAPI_"
DEFAULT_NODE: Final = "127.0.0.1:8448"
_NAME = re.compile(r"[A-Za-z0-9_.:\[\]-]{1,100}")
_SRV = re.compile(r"_[\w-]+\._[\w-]+(\.[\w-]+)+\.?")
_LEVELS: Final = ("debug", "info", "warning", "error")

SHORTEST_KEY: Final = 16
"""Characters of EVAPI_ID_KEY, which whoever was sent a request may guess at as fast as computers can."""

Positive = Annotated[float, Field(gt=0, le=86_400)]


class NodeAddress(NamedTuple):
    """One Kamailio: its configured name and the address of its EVAPI port."""

    name: str
    address: Address

    def __str__(self) -> str:
        return f"{self.name}={self.address}"


class Lookup(NamedTuple):
    """A name by which nodes are found. ``kind``: ``dns`` (each address is a node) or ``srv`` (each
    target; the records have the ports, so ``port`` is 0)."""

    kind: Literal["dns", "srv"]
    host: str
    port: int

    def __str__(self) -> str:
        return f"dns+srv://{self.host}" if self.kind == "srv" else f"dns://{Address(self.host, self.port)}"


class _FileSource(EnvSettingsSource):
    """``EVAPI_X_FILE``: the setting's value is in that file, trailing white space apart."""

    def __call__(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in self.settings_cls.model_fields:
            variable = f"{PREFIX}{name.upper()}"
            path = os.environ.get(f"{variable}_FILE")
            if not path:
                continue
            if os.environ.get(variable):
                raise SettingsError(f"{variable}_FILE", f"is given beside {variable}: give one of them")
            try:
                found[name] = Path(path).read_text("utf-8").strip()
            except (OSError, UnicodeDecodeError) as exc:
                raise SettingsError(f"{variable}_FILE", f"cannot read {path}: {exc}") from exc
        return found


class Settings(BaseSettings):
    """The effective settings. Times in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid")

    nodes: Annotated[tuple[NodeAddress | Lookup, ...], NoDecode] = Field(
        default=DEFAULT_NODE, validate_default=True
    )
    nodes_refresh: Positive = 5.0
    links_per_node: int = Field(default=2, ge=0, le=100)
    amqp_url: SecretStr | None = None
    redis_url: SecretStr | None = None
    id_key: SecretStr | None = None
    consumer: Annotated[tuple[str, ...], NoDecode] = ()
    policy: Path | None = None
    http: Annotated[Address, NoDecode] = Address("127.0.0.1", 9464)
    replica: str = Field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}")
    log: str = ""
    redis_prefix: str = Field(default="evapi", pattern=r"^[A-Za-z0-9_.-]{1,40}$")
    retention: Positive = 60.0
    lease: Positive = 1.0
    store_timeout: Positive = 0.5
    confirm_timeout: Positive = 1.0
    receipt_timeout: Positive = 1.0
    results_expires: Positive = 600.0
    queue_type: Literal["classic", "quorum"] = "classic"
    mqtt: bool = False
    drain_timeout: Positive = 15.0
    prefetch: int = Field(default=500, gt=0, le=65_535)
    max_frame: int = Field(default=1 << 20, ge=4096, le=64 << 20)
    receive_buffer: int = Field(default=8 << 20, ge=65_536)
    amqp_api: SecretStr | None = None
    journal: float = Field(default=120.0, ge=0, le=86_400)
    journal_payloads: bool = False
    traces: float = Field(default=0.0, ge=0, le=1)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then the environment, then files."""
        return init_settings, env_settings, _FileSource(settings_cls)

    @field_validator("nodes", mode="before")
    @classmethod
    def _nodes(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        nodes = [_node(part.strip()) for part in value.split(",")]
        fixed = [node for node in nodes if isinstance(node, NodeAddress)]
        names, addresses = [node.name for node in fixed], [node.address for node in fixed]
        for name, address in fixed:
            if name == ALL_NODES:
                raise ValueError(f"no node can be called {name!r}: commands to it go to every node")
            if names.count(name) > 1:
                raise ValueError(f"two nodes are called {name!r}")
            if addresses.count(address) > 1:
                raise ValueError(f"two nodes have the address {address}: its calls would be decided twice")
        for part in nodes:
            if nodes.count(part) > 1:
                raise ValueError(f"{part} is there twice")
        return tuple(nodes)

    @field_validator("http", mode="before")
    @classmethod
    def _http(cls, value: Any) -> Any:
        return Address.parse(value) if isinstance(value, str) else value

    @field_validator("consumer", mode="before")
    @classmethod
    def _consumer(cls, value: Any) -> Any:
        names = [part.strip() for part in value.split(",")] if isinstance(value, str) else list(value)
        for name in names:
            if not re.fullmatch(r"[\w.]+:\w+|.+\.toml", name):
                problem = "is no module:service, such as consumers.least_cost:service, nor a webhook.toml"
                raise ValueError(f"{name!r} {problem}")
        return tuple(names)

    @field_validator("replica")
    @classmethod
    def _replica(cls, value: str) -> str:
        return _named(value)

    @field_validator("amqp_url", "redis_url", "amqp_api")
    @classmethod
    def _url(cls, value: SecretStr | None, info: Any) -> SecretStr | None:
        schemes = _SCHEMES[info.field_name]
        text = "" if value is None else value.get_secret_value()
        several = info.field_name == "amqp_url"  # of the others, hosts after a comma belong to the one URL
        for url in () if value is None else split_urls(text) if several else [text.strip()]:
            # No part of it is shown: what was meant as a URL may be a password.
            if not url.startswith(schemes):
                raise ValueError(f"does not begin with {' or '.join(schemes)}")
            if several and stray_comma(url):
                raise ValueError(ADVICE)
        return value

    @field_validator("id_key")
    @classmethod
    def _id_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and any(len(key) < SHORTEST_KEY for key in _keys(value)):
            # No part of it is shown.
            raise ValueError(
                f"a key has fewer than {SHORTEST_KEY} characters: `openssl rand -base64 32` makes a good one"
            )
        return value

    @field_validator("log")
    @classmethod
    def _log(cls, value: str) -> str:
        for part in re.split(r"[,: ]+", value) if value else ():
            if part.lower() not in ("json", "console", *_LEVELS):
                raise ValueError(f"{part!r} is neither json, console nor a level ({', '.join(_LEVELS)})")
        return value.lower()

    @property
    def id_keys(self) -> tuple[str, ...]:
        """The keys of correlation ids: the first signs, all are good."""
        return () if self.id_key is None else _keys(self.id_key)

    @property
    def fixed_nodes(self) -> tuple[NodeAddress, ...]:
        """The nodes that are named themselves."""
        return tuple(part for part in self.nodes if isinstance(part, NodeAddress))

    @property
    def lookups(self) -> tuple[Lookup, ...]:
        """The names by which others are found."""
        return tuple(part for part in self.nodes if isinstance(part, Lookup))

    @property
    def log_format(self) -> Literal["json", "console"] | None:
        """The format asked for, if any."""
        return "json" if "json" in self.log else "console" if "console" in self.log else None

    @property
    def log_level(self) -> str:
        """The level asked for."""
        return next((level for level in _LEVELS if level in self.log), "info")


def _keys(value: SecretStr) -> tuple[str, ...]:
    return tuple(key.strip() for key in value.get_secret_value().split(","))


_SCHEMES: Final = {
    "amqp_url": ("amqp://", "amqps://"),
    "amqp_api": ("http://", "https://"),
    "redis_url": tuple(
        f"{secure}{kind}://" for kind in ("", "+sentinel", "+cluster") for secure in ("redis", "rediss")
    ),
}


def load(*, bridge: bool = True, **flags: Any) -> Settings:
    """The settings from flags (``None`` or empty: not given), environment and files.

    ``bridge``: for one that decides calls, so that somebody must be there to decide. Raises
    SettingsError, naming the variable, for the first one that is wrong.
    """
    found, wrong = examine(**flags)
    if found is None:
        raise wrong[0]
    if bridge:
        check_somebody_decides(found)
    return found


def examine(**flags: Any) -> tuple[Settings | None, list[SettingsError]]:
    """The settings as ``load`` has them, or all that is wrong with them."""
    try:
        return Settings(**_given(flags)), []
    except SettingsError as exc:  # a file that cannot be read: nothing was looked at any further
        return None, [exc]
    except ValidationError as exc:
        return None, [_wrong(fault) for fault in exc.errors(include_url=False, include_input=False)]


def source(name: str, **flags: Any) -> str:
    """Where a setting comes from: flag, environment, file or default."""
    if name in _given(flags):
        return "flag"
    if os.environ.get(f"{PREFIX}{name.upper()}"):
        return "environment"
    return "file" if os.environ.get(f"{PREFIX}{name.upper()}_FILE") else "default"


def _given(flags: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in flags.items() if value not in (None, "")}


def _wrong(fault: Any) -> SettingsError:
    name = str(fault["loc"][0]).upper() if fault["loc"] else ""
    if fault["type"] == "extra_forbidden":
        known = ", ".join(sorted(Settings.model_fields))
        return SettingsError(f"{PREFIX}{name}", f"no such setting; there are {known}")
    return SettingsError(f"{PREFIX}{name}", fault["msg"].removeprefix("Value error, "))


def check_somebody_decides(settings: Settings) -> None:
    """Raises SettingsError where nobody would decide, or two would."""
    if settings.amqp_url is None and not settings.consumer:
        raise SettingsError(
            "EVAPI_CONSUMER",
            "nobody would decide: name a service to run inside (--consumer "
            "consumers.least_cost:service) or a RabbitMQ (--amqp-url amqp://...)",
        )
    if settings.amqp_url is not None and settings.consumer:
        raise SettingsError(
            "EVAPI_CONSUMER",
            "is for the embedded broker; with EVAPI_AMQP_URL start `python -m consumers` instead",
        )


def without_password(urls: str) -> str:
    """A URL, or several separated by commas, as it may be shown."""
    return ",".join(_shown(url) for url in split_urls(urls))


def _shown(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    credentials, at, place = rest.rpartition("@")
    user, colon, _ = credentials.partition(":")
    place = re.sub(r"([?&]\w*password=)[^&]*", r"\1***", place)
    return f"{scheme}{mark}{user}{':***' if colon else ''}{at}{place}"


def _node(text: str) -> NodeAddress | Lookup:
    scheme, mark, rest = text.partition("://")
    if mark:
        return _lookup(scheme.lower(), rest)
    name, equals, address = text.rpartition("=")
    found = Address.parse(address)
    return NodeAddress(_named(name) if equals else str(found), found)


def _lookup(scheme: str, rest: str) -> Lookup:
    if scheme == "dns":
        return Lookup("dns", *Address.parse(rest))
    if scheme != "dns+srv":
        raise ValueError(f"{scheme}:// is not known; there are dns://host:port and dns+srv://name")
    if not _SRV.fullmatch(rest):
        raise ValueError(f"{rest!r} is no name of SRV records, such as _evapi._tcp.kamailio.example.net")
    return Lookup("srv", rest.rstrip("."), 0)


def is_name(text: str) -> bool:
    """Whether a node or a replica can be called so."""
    return _NAME.fullmatch(text) is not None


def _named(name: str) -> str:
    if not is_name(name):
        raise ValueError(f"{name!r} is no name: 1 to 100 of A-Z a-z 0-9 _ . : [ ] -")
    return name
