"""The hub's files: where they lie, who may read them, and the configuration it starts with.

Everything lies in the home folder: `pg<version>` is the data, `run<version>` the socket,
`secrets` the TCP password. The configuration is written anew at every start, so that it is
what this code says and not what an older one said.
"""

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from app.kernel.embedded_process import Account, explain_os_error
from app.kernel.errors import AppError, Code

SUPERUSER = "postgres"
SOCKET_PORT = 5432
_SOCKET_PATH_LIMIT = 103  # bytes, macOS; Linux allows 107
_LOG_LIMIT = 16 * 2**20
_PEER_MAP = "hub"

DEFAULTS: Mapping[str, str] = {
    "shared_buffers": "256MB",
    "max_connections": "200",
    # One server, no replica: minimal WAL, and so no senders.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
    "wal_buffers": "64MB",
    "checkpoint_timeout": "15min",
    # Which tables need it so often, the tables say.
    "autovacuum_naptime": "5s",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_DURABILITY = ("fsync", "synchronous_commit", "full_page_writes")


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one hub of one major version."""

    home: Path
    version: int

    @property
    def data_dir(self) -> Path:
        """PostgreSQL's data folder."""
        return self.home / f"pg{self.version}"

    @property
    def log(self) -> Path:
        """PostgreSQL's log, in the data folder because its user may write only there."""
        return self.data_dir / "server.log"

    @property
    def password(self) -> Path:
        """The superuser's password over TCP."""
        return self.home / "secrets" / f"postgres{self.version}"

    @property
    def socket_dir(self) -> Path:
        """The socket's folder: in the home, or in the temp folder where that path is too long."""
        near = self.home / f"run{self.version}"
        longest = os.fsencode(near / f".s.PGSQL.{2**16 - 1}")
        if len(longest) <= _SOCKET_PATH_LIMIT:
            return near
        digest = hashlib.sha256(os.fsencode(near)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"uaol-{digest}"


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an `OSError` about `path` into the hub's own error."""
    try:
        yield
    except OSError as error:
        raise explain_os_error(error, path) from error


def prepare_home(home: Path) -> None:
    """Create the home folder, private to its owner, and prove that it can be written."""
    if any(mark in str(home) for mark in '"`$\\\n'):
        raise AppError(
            Code.HUB_UNAVAILABLE,
            f"PostgreSQL cannot be started from the path {home}.",
            hint='Choose a home (UAOL_HOME) without any of " ` $ \\ in its path.',
        )
    with explained(home):
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home) as probe:
            probe.write(b"\0" * 4096)


def check_data(layout: Layout, account: Account) -> bool:
    """Whether the hub's data exist; raises if they are another version's or another user's."""
    if not layout.data_dir.exists():
        return False
    with explained(layout.data_dir):
        if layout.data_dir.stat().st_uid != account.uid:
            raise _foreign(layout.data_dir, account)
        if not any(layout.data_dir.iterdir()):
            layout.data_dir.rmdir()
            return False
        mark = layout.data_dir / "PG_VERSION"
        found = mark.read_text("ascii").strip() if mark.exists() else ""
    if found == str(layout.version):
        return True
    raise AppError(
        Code.HUB_VERSION_MISMATCH,
        f"{layout.data_dir} holds data of PostgreSQL {found}, not {layout.version}."
        if found
        else f"{layout.data_dir} is not a PostgreSQL data folder.",
        hint="Choose another home (UAOL_HOME), or move the folder away.",
        details={"found": found, "wanted": layout.version},
    )


def _foreign(path: Path, account: Account) -> PermissionError:
    return PermissionError(errno.EPERM, f"it must be a folder of user {account.name}", str(path))


def remove_leftovers(layout: Layout) -> None:
    """Remove what a first use that was killed left behind; the caller holds the start lock."""
    for path in layout.home.glob(f".init{layout.version}-*"):
        shutil.rmtree(path, ignore_errors=True)


def new_data_dir(layout: Layout, account: Account) -> Path:
    """An empty folder for initdb, renamed to `data_dir` only when complete."""
    with explained(layout.home):
        path = Path(tempfile.mkdtemp(prefix=f".init{layout.version}-", dir=layout.home))
        _give(path, account)
    return path


def open_path(path: Path, account: Account) -> list[Path]:
    """Let `account` pass through the folders above `path`; returns those that were changed.

    Only root needs it, and only "others may traverse" is added, never "others may list".
    """
    changed = []
    for folder in path.parents if account.is_other else ():
        status = folder.stat()
        if status.st_uid == account.uid or status.st_mode & stat.S_IXOTH:
            continue
        with explained(folder):
            folder.chmod(stat.S_IMODE(status.st_mode) | stat.S_IXOTH)
        changed.append(folder)
    return changed


def open_programs(programs: Path, account: Account) -> list[Path]:
    """Let `account` read and run PostgreSQL's programs and libraries, if an umask forbids it."""
    changed = open_path(programs, account)
    probe = (programs / "postgres").stat().st_mode
    if not account.is_other or (probe & stat.S_IXOTH and probe & stat.S_IROTH):
        return changed
    package = programs.parent.parent
    for root in (programs.parent, package.with_name(f"{package.name}.libs")):
        for path in (root, *root.rglob("*")) if root.exists() else ():
            mode = stat.S_IMODE(path.stat().st_mode)
            others = stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0)
            with explained(path):
                path.chmod(mode | others)
    return [*changed, package]


def prepare_socket_dir(path: Path, account: Account) -> None:
    """Create the socket's folder, mode 0700; refuses one that somebody else made."""
    with explained(path):
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
            _give(path, account)
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != account.uid:
            raise _foreign(path, account)
        path.chmod(0o700)


def write_configuration(
    layout: Layout,
    account: Account,
    settings: Mapping[str, str],
    *,
    tcp_port: int | None,
    is_durable: bool,
) -> None:
    """Write settings and access rules of the server that starts next."""
    values = {
        **DEFAULTS,
        **settings,
        **dict.fromkeys(_DURABILITY, "on" if is_durable else "off"),
        "listen_addresses": "127.0.0.1" if tcp_port else "",
        "port": str(tcp_port or SOCKET_PORT),
        "unix_socket_directories": str(layout.socket_dir),
        "unix_socket_permissions": "0700",
    }
    lines = [f"{name} = '{_quoted(value)}'" for name, value in values.items()]
    with explained(layout.data_dir):
        _write(layout.data_dir / "postgresql.auto.conf", lines, account)
        _write(layout.data_dir / "pg_hba.conf", _access(has_tcp=tcp_port is not None), account)
        _write(layout.data_dir / "pg_ident.conf", _peers(account), account)
        if size_of(layout.log) > _LOG_LIMIT:
            layout.log.replace(layout.log.with_suffix(".log.1"))


def _access(*, has_tcp: bool) -> list[str]:
    rules = [f"local all all peer map={_PEER_MAP}"]
    return [*rules, "host all all 127.0.0.1/32 scram-sha-256"] if has_tcp else rules


def _peers(account: Account) -> list[str]:
    # The kernel tells who is at the socket: its folder's mode is not the only guard.
    return [f'{_PEER_MAP} "{name}" all' for name in sorted({"root", account.name})]


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''").replace("\n", " ")


def _write(path: Path, lines: list[str], account: Account) -> None:
    header = "# Written at every start of the hub; changes made here are lost."
    draft = path.with_name(path.name + ".new")
    _write_private(draft, "\n".join([header, *lines, ""]))
    _give(draft, account)
    draft.replace(path)


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    # Never through a link: root writes here in a folder that another user owns.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def _give(path: Path, account: Account) -> None:
    if account.is_other:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def give_to_home_owner(path: Path, home: Path) -> None:
    """When root visits another user's home, that user must be able to come back."""
    if os.geteuid() == 0:
        owner = home.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def read_password(layout: Layout) -> str:
    """The superuser's password over TCP, made at first use (256 random bits, mode 0600)."""
    path = layout.password
    with explained(path):
        if not path.parent.exists():
            path.parent.mkdir(mode=0o700)
            give_to_home_owner(path.parent, layout.home)
        if not path.exists():
            draft = path.with_name(f".{path.name}.new")
            _write_private(draft, secrets.token_urlsafe(32))
            give_to_home_owner(draft, layout.home)
            draft.replace(path)
        return path.read_text("ascii").strip()


@dataclass(frozen=True, slots=True)
class Postmaster:
    """What `postmaster.pid` says of the server that wrote it."""

    pid: int
    port: int
    socket_dir: Path


def read_postmaster(data_dir: Path) -> Postmaster | None:
    """The contents of `postmaster.pid`; None where it is absent or not yet complete."""
    try:
        lines = (data_dir / "postmaster.pid").read_text("utf-8").splitlines()
        pid, port, socket_dir = int(lines[0]), int(lines[3]), lines[4].strip()
    except (FileNotFoundError, IndexError, ValueError):
        return None
    return Postmaster(pid, port, Path(socket_dir)) if socket_dir else None


def remove_stale(layout: Layout) -> None:
    """Remove a dead server's lock files; the caller has proved that no server is alive.

    PostgreSQL does so itself, unless such a file is empty, or the dead server's number is
    now another process's.
    """
    with explained(layout.data_dir):
        for path in (layout.data_dir / "postmaster.pid", *layout.socket_dir.glob("*.lock")):
            if path.exists() and not _names_dead_process(path):
                path.unlink()


def _names_dead_process(lock: Path) -> bool:
    try:
        os.kill(abs(int(lock.read_text("utf-8").split()[0])), 0)
    except ProcessLookupError:
        return True
    except (IndexError, ValueError, OverflowError, PermissionError):
        return False
    return False


def size_of(path: Path) -> int:
    """Bytes in a file; 0 when there is none."""
    return path.stat().st_size if path.exists() else 0


def read_from(path: Path, offset: int) -> str:
    """The text of a file from a byte offset on; empty when there is no file."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(offset)
        return file.read().decode("utf-8", "replace")
