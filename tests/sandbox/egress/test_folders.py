"""Folders of sockets: who may enter them, one door at a time, and nothing left behind."""

import fcntl
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.kernel.errors import AppError, Code
from app.sandbox.egress import BIO, SOCKET_NAME, Egress
from app.sandbox.egress.folders import BoundSocket, Folders
from tests.sandbox.egress.conftest import OpenDoor, Outside

IS_ROOT = os.geteuid() == 0


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Folders]:
    made = Folders(tmp_path)
    yield made
    made.close()
    assert list(tmp_path.iterdir()) == []


def mode(path: Path) -> tuple[int, int]:
    found = path.stat()
    return stat.S_IMODE(found.st_mode), found.st_gid


def test_a_folder_can_be_entered_by_the_sandbox_alone(folders: Folders) -> None:
    folder = folders.new()
    bound = BoundSocket(folder)
    expected = {folder: 0o710, folder / SOCKET_NAME: 0o660} if IS_ROOT else {
        folder: 0o711, folder / SOCKET_NAME: 0o666
    }  # fmt: skip
    for path, permissions in expected.items():
        assert mode(path) == (permissions, 65534 if IS_ROOT else os.getegid())
    # Nobody learns the names of others' folders.
    assert mode(folder.parent)[0] == 0o711
    bound.sock.close()
    bound.remove()
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(not IS_ROOT, reason="only root can become somebody else")
@pytest.mark.parametrize(("uid", "answer"), [(65534, "in"), (1234, "PermissionError")])
def test_who_reaches_the_socket(uid: int, answer: str) -> None:
    folders = Folders()
    bound = BoundSocket(folder := folders.new())
    code = (
        "import os, socket, sys\n"
        f"os.setgroups([]); os.setgid({uid}); os.setuid({uid})\n"
        "try: socket.socket(socket.AF_UNIX).connect(sys.argv[1])\n"
        "except OSError as error: print(type(error).__name__)\n"
        "else: print('in')\n"
    )
    command = [sys.executable, "-I", "-c", code, str(folder / SOCKET_NAME)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    bound.sock.close()
    bound.remove()
    folders.close()
    assert told.strip() == answer


def test_without_the_right_to_give_rights_the_name_is_the_secret(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root of a container that has lost its capabilities."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    bound = BoundSocket(folder := folders.new())
    modes = [mode(path)[0] for path in (folder.parent, folder, folder / SOCKET_NAME)]
    assert modes == [0o711, 0o711, 0o666]
    assert len(folder.name) == 32
    bound.sock.close()
    bound.remove()


def test_the_place_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders = Folders(Path("home/egress"))
    assert folders.new().is_relative_to(tmp_path / "home" / "egress")
    folders.close()


def test_one_socket_at_a_time(folders: Folders) -> None:
    folder = folders.new()
    bound = BoundSocket(folder)
    with pytest.raises(OSError, match="in use"):
        BoundSocket(folder)
    bound.sock.close()
    bound.remove()
    bound.remove()
    again = BoundSocket(folder)
    again.sock.close()
    again.remove()


def test_a_deep_folder_is_no_matter(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    folders = Folders(deep)
    bound = BoundSocket(folders.new())
    with socket.socket(socket.AF_UNIX) as client, bound.sock:
        fd = os.open(folders._base or deep, os.O_RDONLY)
        name = next(iter(os.listdir(fd)))  # noqa: PTH208 - by descriptor
        client.connect(f"/proc/self/fd/{fd}/{name}/{SOCKET_NAME}")
        os.close(fd)
    bound.remove()
    folders.close()
    assert list(deep.iterdir()) == []


def test_the_name_of_a_folder_is_not_told_by_the_system(folders: Folders) -> None:
    folder = folders.new()
    bound = BoundSocket(folder)
    assert folder.name not in Path("/proc/net/unix").read_text(encoding="utf-8")
    bound.sock.close()
    bound.remove()


def test_what_a_killed_server_left_is_swept_away(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, signal, sys\n"
        "from app.sandbox.egress.folders import BoundSocket, Folders\n"
        "folders = Folders(pathlib.Path(sys.argv[1]))\n"
        "bound = BoundSocket(folders.new())\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    (left,) = tmp_path.iterdir()
    foreign = tmp_path / "other-thing"
    foreign.mkdir()
    living = Folders(tmp_path)
    living.new()
    assert not left.exists()
    second = Folders(tmp_path)
    second.new()
    assert len(list(tmp_path.iterdir())) == 3
    for each in (living, second):
        each.close()
    assert list(tmp_path.iterdir()) == [foreign]


def test_a_folder_that_is_swept_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders, locked = Folders(tmp_path), fcntl.flock
    gone: list[Path] = []

    def lock(fd: int, operation: int) -> None:
        if not gone:
            gone.append(Path(f"/proc/self/fd/{fd}").readlink())
            gone[0].rmdir()
        locked(fd, operation)

    monkeypatch.setattr(fcntl, "flock", lock)
    folder = folders.new()
    assert folder.exists()
    assert folder.parent != gone[0]
    folders.close()


@pytest.mark.anyio
async def test_an_unknown_policy(outside: Outside, egress: Egress) -> None:
    egress.policies["bio"] = BIO
    folder = egress.new_folder()
    with pytest.raises(AppError) as caught:
        await egress.open(folder, "lab", "task-1")
    assert (caught.value.code, caught.value.hint) == (Code.INVALID_INPUT, "Use one of: bio.")
    assert egress.names() == ("bio",)
    assert list(folder.iterdir()) == []


@pytest.mark.anyio
async def test_a_door_that_cannot_be_opened(open_door: OpenDoor, egress: Egress) -> None:
    way = await open_door(443)
    for folder in (way.folder, way.folder / "gone"):
        with pytest.raises(AppError) as caught:
            await egress.open(folder, "test", "task-2")
        assert caught.value.code is Code.SANDBOX_FAILED
    # The first one stands.
    assert (await way.ask(b"\r\n\r\n")).status == 400
    await way.door.close()
    again = await egress.open(way.folder, "test", "task-3")
    await again.close()
    assert list(way.folder.iterdir()) == []
