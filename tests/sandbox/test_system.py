"""A sandbox whose system is a folder's instead of the server's own."""

import os
import subprocess
from pathlib import Path

import pytest

from app.sandbox import IsolationError
from app.sandbox.executors.bubblewrap import bubblewrap_backends
from app.sandbox.executors.bubblewrap.system import system_in
from app.sandbox.executors.tools import tools_for
from tests.conftest import cannot_run
from tests.sandbox.rooms import task, working

pytestmark = pytest.mark.anyio


def root_in(folder: Path) -> Path:
    """A root that is the distribution's own, so that no test has to make a system."""
    if not Path("/usr/bin/python3").exists():
        cannot_run("this system has no Python of its own in /usr/bin")
    root = folder / "root"
    (root / "etc" / "ssl" / "certs").mkdir(parents=True)
    (root / "usr").symlink_to("/usr")
    for name in ("bin", "lib", "lib64"):
        if Path("/", name).is_symlink():
            (root / name).symlink_to(f"usr/{name}")
        elif Path("/", name).is_dir():
            (root / name).symlink_to(f"/{name}")
    return root


async def test_a_folder_is_the_sandboxs_system(tmp_path: Path) -> None:
    root = root_in(tmp_path)
    (root / "etc" / "ssl" / "certs" / "ours.pem").write_text("certificate")
    backend = bubblewrap_backends(root)[0]
    known = await backend.capabilities()
    asked = subprocess.run(["/usr/bin/python3", "-V"], capture_output=True, text=True, check=True)
    assert asked.stdout.split() == ["Python", known.python]
    assert known.image.startswith("root-")
    code = """
import os, sys
print(sys.version.split()[0], sys.prefix, os.path.exists("/opt/venv"))
print(open("/etc/ssl/certs/ours.pem").read(), os.path.exists("/etc/alternatives"))
"""
    async with working(backend) as worker:
        assert worker.python == known.python
        result = await worker.run(task(code))
    await backend.close()
    assert result.stdout == f"{known.python} /usr False\ncertificate False\n", result.stderr


async def test_another_package_is_another_image(tmp_path: Path) -> None:
    root = root_in(tmp_path)
    name = Path("/usr/bin/python3").resolve().name
    (root / "usr").unlink()
    (root / "usr" / "bin").mkdir(parents=True)
    (root / "usr" / "bin" / name).symlink_to(f"/usr/bin/{name}")
    packages = root / "usr" / "local" / "lib" / name / "dist-packages"
    packages.mkdir(parents=True)
    os.utime(packages, (0, 0))
    system = system_in(root)
    before = system.stamp()
    assert system.renewed().stamp() == before
    found = packages / "extra-1.0.dist-info"
    found.mkdir()
    (found / "METADATA").write_text("Metadata-Version: 2.1\nName: extra\nVersion: 1.0\n")
    assert system.stamp() != before
    assert system.renewed().python.distributions == {"extra": "1.0"}


async def test_a_folder_without_python_is_refused(tmp_path: Path) -> None:
    (tmp_path / "usr" / "bin").mkdir(parents=True)
    (tmp_path / "usr" / "bin" / "python3.x").touch()
    backend = bubblewrap_backends(tmp_path)[0]
    with pytest.raises(IsolationError, match="no /usr/bin/python3") as caught:
        await backend.capabilities()
    assert "sandbox.image" in caught.value.hint


async def test_a_python_that_does_not_start_is_refused(tmp_path: Path) -> None:
    (tmp_path / "usr" / "bin").mkdir(parents=True)
    (tmp_path / "usr" / "bin" / "python3.11").write_text("no program")
    (tmp_path / "usr" / "bin" / "python3.11").chmod(0o755)
    backend = bubblewrap_backends(tmp_path)[0]
    with pytest.raises(IsolationError):
        await backend.capabilities()


def test_another_python_gets_sources() -> None:
    assert {Path(name).suffix for name in tools_for("3.99.1")} == {".py"}
    assert next(iter(tools_for("3.99.1"))) == "/run/uaol/runner.py"
