"""Of the containers of docker-compose.yml one holds the engine's socket: not the server."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.kernel.settings import Settings
from app.sandbox.wire import parse_address

ROOT = Path(__file__).resolve().parents[3]
SOCKETS = ("docker.sock", "containerd.sock", "/var/run", "/run/docker", "podman")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return found


def folders(service: dict[str, Any]) -> dict[str, str]:
    """What is mounted, by where."""
    return {target: source for source, target, *_ in (v.split(":") for v in service["volumes"])}


def test_one_service_holds_the_engines_socket(services: dict[str, Any]) -> None:
    holders = [name for name, service in services.items() if "docker.sock" in str(service)]
    assert holders == ["sandboxd"]


@pytest.mark.parametrize("name", ["api"])
def test_the_server_holds_nothing_of_the_machines(services: dict[str, Any], name: str) -> None:
    service = services[name]
    assert not any(socket in str(service["volumes"]) for socket in SOCKETS)
    assert all(not source.startswith(("/", ".", "~")) for source in folders(service).values())
    assert not {"privileged", "pid", "network_mode", "devices", "cap_add"} & service.keys()
    assert service["cap_drop"] == ["ALL"]
    assert int(service["user"].partition(":")[0]) > 0
    assert "DOCKER_HOST" not in service["environment"]
    assert service["environment"]["UAOL_SANDBOX_EXECUTOR"] == "sandboxd"


def test_sandboxd_is_reached_by_its_socket_alone(services: dict[str, Any]) -> None:
    sandboxd, api = services["sandboxd"], services["api"]
    assert not {"ports", "expose", "network_mode", "privileged", "cap_add"} & sandboxd.keys()
    assert set(sandboxd["networks"]).isdisjoint(api.get("networks", ["default"]))
    addresses = {service["environment"]["UAOL_SANDBOX_DAEMON"] for service in (sandboxd, api)}
    assert len(addresses) == 1
    path = parse_address(addresses.pop()).path or ""
    meeting = [folders(service)[str(Path(path).parent)] for service in (sandboxd, api)]
    assert meeting == ["sandboxd", "sandboxd"]
    groups = {service["user"].partition(":")[2] for service in (sandboxd, api)}
    assert groups == {"10001"}


def test_the_server_starts_when_the_sandbox_is_tested(services: dict[str, Any]) -> None:
    assert services["api"]["depends_on"] == {"sandboxd": {"condition": "service_healthy"}}
    path = parse_address(services["sandboxd"]["environment"]["UAOL_SANDBOX_DAEMON"]).path
    assert str(path) in services["sandboxd"]["healthcheck"]["test"][-1]


def test_the_next_sandboxd_knows_what_the_last_one_left(services: dict[str, Any]) -> None:
    """A container's own name is new each time it is made; so are its pids, but for the host's."""
    assert (services["sandboxd"]["hostname"], services["sandboxd"]["pid"]) == ("sandboxd", "host")


def test_what_is_given_to_sandboxes_has_one_path(services: dict[str, Any]) -> None:
    home = services["sandboxd"]["environment"]["UAOL_HOME"]
    assert folders(services["sandboxd"])[home] == home


def test_every_variable_is_a_setting(services: dict[str, Any]) -> None:
    known = {f"UAOL_{name}".upper() for name in Settings.model_fields}
    for service in services.values():
        assert set(service["environment"]) <= known


def test_the_image_has_what_it_needs_and_an_ordinary_user() -> None:
    text = (ROOT / "Dockerfile").read_text()
    lines = text.splitlines()
    assert "USER 10001:10001" in lines
    # without a name PostgreSQL does not start
    assert re.search(r"groupadd --gid 10001 (\w+) .*useradd --uid 10001 --gid \1 ", text, re.DOTALL)
    copied = {word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]}
    assert copied == {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"
    }
    assert all((ROOT / name).exists() for name in copied)
