"""The image: what is in it, and the chart's pods made of it between the real servers."""

from __future__ import annotations

import base64
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import yaml

from tests.harness import podman
from tests.harness.helm_binary import Helm, documents
from tests.harness.kamailio import KamailioServer
from tests.harness.process import free_port, wait_until
from tests.harness.sipp import run_sipp
from tests.helm.objects import of, one

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.rabbitmq import RabbitServer
    from tests.harness.redis import RedisServer

CHART = podman.ROOT / "helm" / "evapi-adapter"
REFUSING = """
from consumers import Request, Service, reject

service = Service("refusing")


@service.on("invite_request")
async def decide(request: Request):
    return reject(486, "Decided in a container")
"""

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def image() -> str:
    return podman.build("latest", "VERSION=9.9.9", "REVISION=abc")


def shell(image: str, command: str) -> str:
    return podman.run(image, "-c", command, entrypoint="sh").strip()


def test_it_runs_as_nobody_on_a_file_system_that_is_not_written_to(image: str) -> None:
    assert podman.run(image, "--version").startswith("evapi-adapter ")
    assert shell(image, "id -u; id -g; pwd").split() == ["65532", "65532", "/app"]
    assert shell(image, "touch /app/x 2>&1 || true").endswith("Read-only file system")
    config = podman.inspect("image", image)["Config"]
    assert (config["User"], config["Entrypoint"], config["Cmd"]) == (
        "65532:65532",
        ["evapi-adapter"],
        ["run"],
    )


def test_it_runs_as_whoever_the_platform_says(image: str) -> None:
    """As on OpenShift: a user id of the namespace, which no passwd knows, and the group root."""
    user = "1000650000:0"
    assert podman.run(image, "--version", user=user).startswith("evapi-adapter ")
    code = "import adapter.app, consumers.amqp, os; print(os.getuid(), os.getgid())"
    assert podman.run(image, "-c", code, entrypoint="python3", user=user).split() == user.split(":")


def test_it_says_what_it_is(image: str) -> None:
    labels = podman.inspect("image", image)["Config"]["Labels"]
    found = {
        name.rpartition(".")[2]: value for name, value in labels.items() if name.startswith("org.opencont")
    }
    assert (found["title"], found["version"], found["revision"]) == ("evapi-adapter", "9.9.9", "abc")


def test_there_is_nothing_in_it_to_build_or_install_with(image: str) -> None:
    assert shell(image, "for each in gcc cc c++ make pip pip3; do command -v $each; done; true") == ""
    asked = 'for each in pip ensurepip; do python -c "import $each" 2>/dev/null && echo $each; done; true'
    assert shell(image, asked) == ""
    assert shell(image, "python -c 'import consumers; print(consumers.__name__)'") == "consumers"


def test_its_consumers_and_traces_are_there(image: str) -> None:
    said = podman.run(image, "-m", "consumers", "--help", entrypoint="python")
    assert "Run services that decide calls" in said
    assert shell(image, "python -c 'import opentelemetry.exporter.otlp.proto.http as found; print(1)'") == "1"


def rendered(folder: Path, values: dict[str, Any]) -> list[dict[str, Any]]:
    return documents(Helm("3.19.0", folder).template(CHART, values, release="sip"))


def for_podman(deployment: dict[str, Any], environment: dict[str, str]) -> dict[str, Any]:
    """The same Deployment on this machine's network. podman has no probes of readiness."""
    spec = deployment["spec"]["template"]["spec"]
    spec["hostNetwork"] = True
    for container in spec["containers"]:
        for key in ("ports", "readinessProbe", "livenessProbe", "startupProbe"):
            container.pop(key, None)
        for variable in container["env"]:
            if variable["name"] in environment:
                variable["value"] = environment[variable["name"]]
    return deployment


@contextmanager
def playing(folder: Path, name: str, objects: list[dict[str, Any]]) -> Iterator[str]:
    """Start pods as a cluster would; gives the name of the container ``name``."""
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump_all(objects), encoding="utf-8")
    try:
        podman.podman("play", "kube", "--network=host", str(file))
        containers = json.loads(podman.podman("ps", "--all", "--format=json", f"--filter=name=-{name}$"))
        yield containers[0]["Names"][0]
    finally:
        podman.podman("play", "kube", "--down", str(file))


@contextmanager
def secret(found: dict[str, Any]) -> Iterator[None]:
    """podman takes a Secret's data as a JSON object."""
    name = found["metadata"]["name"]
    podman.podman("secret", "create", name, "-", given=json.dumps(found["data"]))
    try:
        yield
    finally:
        podman.podman("secret", "rm", name)


def test_the_charts_pods_decide_a_call_and_drain(
    image: str, tmp_path: Path, rabbitmq: RabbitServer, redis_server: RedisServer
) -> None:
    http = free_port()
    with KamailioServer(tmp_path) as kamailio:
        values = {
            "fullnameOverride": "evapi-image-test",
            "image": {"repository": image.rpartition(":")[0], "tag": image.rpartition(":")[2]},
            "replicas": 1,
            "kamailio": {"nodes": f"image1={kamailio.evapi_address}"},
            "rabbitmq": {"url": rabbitmq.url},
            "redis": {"url": redis_server.url},
            "settings": {"redis_prefix": "image-test"},
            "consumers": [
                {"name": "refusing", "module": "refusing:service", "files": {"refusing.py": REFUSING}},
            ],
        }
        objects = rendered(tmp_path, values)
        (found,) = of(objects, "Secret")
        assert base64.b64decode(found["data"]["amqp-url"]).decode() == rabbitmq.url
        maps = of(objects, "ConfigMap")
        adapter = for_podman(
            one(objects, "Deployment", "evapi-image-test"), {"EVAPI_HTTP": f"127.0.0.1:{http}"}
        )
        consumer = for_podman(one(objects, "Deployment", "evapi-image-test-refusing"), {})
        with (
            secret(found),
            playing(tmp_path, "consumer", [*maps, consumer]),
            playing(tmp_path, "adapter", [*maps, adapter]) as container,
        ):
            wait_until(lambda: asked(http, "readyz") == 200, "the adapter to be ready")
            assert asked(http, "livez") == 200
            wait_until(lambda: "evapi.decide.refusing" in rabbitmq.ctl("list_consumers"), "the consumer")
            result = run_sipp(tmp_path, kamailio.sip_port, calls=20, rate=20)
            assert result.codes == {486: 20}, podman.logs(container)
            podman.podman("stop", "--time=25", container)
            said = podman.logs(container)
            assert podman.inspect("container", container)["State"]["ExitCode"] == 0, said
            assert [line for line in said.splitlines() if '"draining"' in line]
            assert '"stopped"' in said.splitlines()[-1]


def asked(port: int, path: str) -> int:
    """The status of an answer; 0: there is none."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/{path}", timeout=2) as answer:
            return int(answer.status)
    except HTTPError as exc:
        with exc:  # its connection is open, and Python 3.14 says so where it is left to be found
            return exc.code
    except OSError:
        return 0
