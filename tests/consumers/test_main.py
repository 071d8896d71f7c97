from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from adapter.errors import SettingsError
from consumers import LoadError, Service, load
from consumers.__main__ import UsageError, amqp_urls, main
from consumers.amqp import Runner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

URL = "amqp://guest:secret@127.0.0.1:1/"

MODULES = {
    "bare": "",
    "empty": "from consumers import Service\nservice = Service('empty')\n",
    "named": "from consumers import Service\nrouting = Service('r')\nrouting.on('e')(lambda request: {})\n",
    "fails": "1 / 0\n",
    "needs": "import absent_library.part\n",
    "good": "from consumers import Service\nservice = Service('good')\nservice.on('e')(lambda request: {})\n",
}


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Modules to load, and no settings from outside."""
    for name, text in MODULES.items():
        (tmp_path / f"svc_{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    for variable in ("EVAPI_AMQP_URL", "EVAPI_AMQP_URL_FILE", "EVAPI_LOG"):
        monkeypatch.delenv(variable, raising=False)
    yield
    for name in list(sys.modules):
        if name.startswith("svc_"):
            del sys.modules[name]


@pytest.mark.parametrize(
    "name, told",
    [
        ("least_cost", "no module:service; write for example consumers.least_cost:service"),
        ("a b:c", "no module:service"),
        (
            "absent:service",
            "no module 'absent'; for my_service.py in the current folder write my_service:service",
        ),
        ("absent.deep:service", "no module 'absent.deep'"),
        ("consumers.absent:service", "no module 'consumers.absent'"),
        ("svc_needs:service", "svc_needs needs the module 'absent_library', which is not installed"),
        ("svc_fails:service", "svc_fails cannot be imported: ZeroDivisionError: division by zero"),
        ("svc_bare:service", r"'service' of svc_bare is no consumers.Service; it needs one.*Service\("),
        ("svc_named:service", "write svc_named:routing"),
        ("svc_empty:service", r"svc_empty:service has no handler; it needs one: @service.on\("),
    ],
)
def test_what_cannot_be_loaded_is_told(name: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LoadError, match=told):
        load(name)
    assert main([name, "--amqp-url", URL]) == 2
    assert capsys.readouterr().err.startswith("python -m consumers: ")


def test_two_services_of_one_name_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["svc_good:service", "svc_good:service", "--amqp-url", URL]) == 2
    assert "two services are called 'good', so have one queue: give each a name" in capsys.readouterr().err


def test_what_can_be_loaded() -> None:
    assert isinstance(load("svc_good:service"), Service)
    assert load("svc_named:routing").name == "r"


def test_the_url_comes_from_the_flag_the_environment_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "url"
    path.write_text("amqp://c/\n")
    monkeypatch.setenv("EVAPI_AMQP_URL_FILE", str(path))
    assert amqp_urls(None) == ["amqp://c/"]
    monkeypatch.setenv("EVAPI_AMQP_URL", "amqp://b1/, amqps://b2:5671/x")
    assert amqp_urls(None) == ["amqp://b1/", "amqps://b2:5671/x"]
    assert amqp_urls("amqp://a/") == ["amqp://a/"]


@pytest.mark.parametrize(
    "url", ["http://u:secret@h/", "amqp://", "amqp://u:secret@h:port/", "secret", "amqp://[secret/"]
)
def test_a_wrong_url_is_told_without_its_password(url: str) -> None:
    with pytest.raises(UsageError, match=r"EVAPI_AMQP_URL: URL [12] is no amqp://") as caught:
        amqp_urls(f"amqp://h/,{url}")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("option", ["yes", "", "2", "false&no_verify_ssl=0"])
def test_an_option_that_would_trust_anybody_by_mistake(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"amqps://u:secret@h/?no_verify_ssl={option}"
    assert main(["svc_good:service", "--amqp-url", f"amqp://h/, {url}"]) == 2
    told = "EVAPI_AMQP_URL: no_verify_ssl is 1, to trust any certificate, or 0"
    assert capsys.readouterr().err == f"python -m consumers: {told}\n"
    with pytest.raises(SettingsError, match="no_verify_ssl is 1"):
        Runner(Service("s"), [url])
    assert amqp_urls("amqps://h/?no_verify_ssl=1") == ["amqps://h/?no_verify_ssl=1"]


@pytest.mark.parametrize("given", [None, " , "])
def test_no_url_is_told(given: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [] if given is None else ["--amqp-url", given]
    assert main(["svc_good:service", *flags]) == 2
    assert "EVAPI_AMQP_URL: no RabbitMQ is named; write for example --amqp-url" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EVAPI_AMQP_URL_FILE", str(tmp_path / "absent"))
    with pytest.raises(UsageError, match=r"EVAPI_AMQP_URL_FILE: cannot read .*absent"):
        amqp_urls(None)


@pytest.mark.parametrize(
    "arguments", [[], ["svc_good:service", "--prefetch", "0"], ["svc_good:service", "--what"]]
)
def test_wrong_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: python -m consumers" in capsys.readouterr().err


def test_help_shows_examples_and_variables() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "consumers", "--help"], capture_output=True, text=True, check=True
    )
    for part in ("examples:", "consumers.least_cost:service", "EVAPI_AMQP_URL", "EVAPI_LOG", "@service.on("):
        assert part in done.stdout


@pytest.mark.parametrize("address", ["9464", "127.0.0.1:0", "a b:80"])
def test_a_wrong_address_is_told(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["svc_good:service", "--amqp-url", URL, "--http", address])
    assert "write for example 0.0.0.0:9464" in capsys.readouterr().err


def test_a_wrong_word_about_logs_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["svc_good:service", "--amqp-url", URL, "--log", "loud"]) == 2
    assert "EVAPI_LOG: 'loud' is none of json, console" in capsys.readouterr().err
