"""What the engine and the image say of themselves is held against what we need."""

import io
import json
import tarfile
from typing import Any

import pytest

from app.sandbox.executors.docker.engine import check_socket, engine_socket
from app.sandbox.executors.docker.facts import read_engine, read_image
from app.sandbox.executors.levels import level_of
from app.sandbox.types import IsolationError
from sandbox.image import tools_key

INFO: dict[str, Any] = {
    "OSType": "linux", "SecurityOptions": ["name=seccomp,profile=default"], "PidsLimit": True,
    "MemoryLimit": True, "SwapLimit": True, "CpuCfsQuota": True, "DefaultRuntime": "runc",
    "Runtimes": {"runc": {}, "runsc": {}, "kata-qemu": {}},
}  # fmt: skip
IMAGE: dict[str, Any] = {
    "tools": tools_key(), "python": "3.11.2", "interpreter": "/usr/bin/python3.11",
    "prefix": "/usr", "sites": ["/usr/lib/python3/dist-packages"],
    "distributions": {"numpy": "2.4.6"},
}  # fmt: skip


def archive(content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        member = tarfile.TarInfo("image.json")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


def test_a_whole_engine_leaves_nothing_to_best_effort() -> None:
    facts = read_engine(INFO, "")
    assert (facts.runtime, facts.level, facts.best_effort) == ("runc", "container", ())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"OSType": "windows"}, "Linux"),
        ({"SecurityOptions": ["name=apparmor"]}, "system calls"),
        ({"SecurityOptions": None}, "system calls"),
        ({"PidsLimit": False}, "processes"),
        ({"DefaultRuntime": "gone"}, "no runtime named 'gone'"),
    ],
)
def test_an_engine_without_a_wall_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(IsolationError, match=reason) as caught:
        read_engine({**INFO, **change}, "")
    assert caught.value.hint


def test_limits_that_the_engine_lacks_are_declared() -> None:
    lacking = {**INFO, "MemoryLimit": False, "SwapLimit": False, "CpuCfsQuota": False}
    assert read_engine(lacking, "").best_effort == ("total memory", "swap", "cpu share")


def test_a_runtime_is_chosen_by_name_or_refused() -> None:
    for name, level in (("runsc", "gvisor"), ("kata-qemu", "microvm")):
        facts = read_engine(INFO, name)
        assert (facts.runtime, facts.level) == (name, level)
        # the limit on processes is the host's, and their kernel's own count too
        assert facts.best_effort == ("processes",)
        assert facts.spare_processes > 0
    with pytest.raises(IsolationError, match="kvm") as caught:
        read_engine(INFO, "kvm")
    assert "kata-qemu, runc, runsc" in caught.value.hint


@pytest.mark.parametrize(
    ("runtime", "level"),
    [
        ("runc", "container"), ("crun", "container"), ("nvidia", "container"),
        ("runsc", "gvisor"), ("runsc-ptrace", "gvisor"), ("io.containerd.runsc.v1", "gvisor"),
        ("kata-fc", "microvm"), ("io.containerd.kata.v2", "microvm"), ("my-kata", "container"),
    ],
)  # fmt: skip
def test_a_level_is_never_more_than_the_runtime_is_known_for(runtime: str, level: str) -> None:
    assert level_of(runtime) == level


def test_an_image_of_ours_is_read() -> None:
    facts = read_image("name", "sha256:1", archive(json.dumps(IMAGE).encode()))
    assert (facts.id, facts.python, facts.prefix) == ("sha256:1", "3.11.2", "/usr")
    assert facts.sites == ("/usr/lib/python3/dist-packages",)
    assert facts.distributions == {"numpy": "2.4.6"}


@pytest.mark.parametrize(
    "data",
    [b"", b"no tar", archive(b""), archive(b"[]"), archive(b"{}"), archive(b'{"tools": 1}')],
)
def test_a_stranger_is_no_image_of_ours(data: bytes) -> None:
    with pytest.raises(IsolationError, match="not a sandbox image") as caught:
        read_image("name", "sha256:1", data)
    assert "python -m sandbox.image" in caught.value.hint


def test_an_image_of_another_version_is_refused() -> None:
    old = archive(json.dumps({**IMAGE, "tools": "0" * 16}).encode())
    with pytest.raises(IsolationError, match="another version") as caught:
        read_image("name", "sha256:1", old)
    assert "python -m sandbox.image" in caught.value.hint


def test_the_socket_is_found_or_told(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    assert engine_socket() == "/var/run/docker.sock"
    assert engine_socket("/run/x.sock") == "/run/x.sock"
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/user/1/docker.sock")
    assert engine_socket() == "/run/user/1/docker.sock"
    monkeypatch.setenv("DOCKER_HOST", "tcp://10.0.0.1:2375")
    with pytest.raises(IsolationError, match="another machine"):
        engine_socket()
    for path in (f"{tmp_path}/absent", str(tmp_path)):
        with pytest.raises(IsolationError, match="no Docker engine") as caught:
            check_socket(path)
        assert "UAOL_SANDBOX_EXECUTOR" in caught.value.hint
