"""Run inside the root while it is built: compiles all Python, then takes away what no task needs.

Package managers, Perl, everything setuid and whole folders of the system go: what is not there
cannot be turned against the walls. The compiled files are marked never to be checked against
their sources, so that times of files, which are made equal afterwards, do not matter.
"""

import compileall
import contextlib
import fnmatch
import os
import py_compile
import re
import shutil
import stat
from pathlib import Path

TOP = {
    "bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc", "opt", "dev", "proc", "sys",
    "run", "tmp",
}  # fmt: skip
ETC = {
    "alternatives", "ca-certificates", "ca-certificates.conf", "debian_version", "hosts",
    "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types", "nsswitch.conf",
    "os-release", "protocols", "python3", "python3.11", "services", "ssl", "timezone",
}  # fmt: skip
LIB = {"python3", "python3.11", "locale", "ssl", "os-release"}
SHARE = {"ca-certificates", "doc", "zoneinfo"}
TOOLS = (
    "perl*", "apt*", "dpkg*", "deb*", "update-*", "pod*", "su", "sg", "passwd", "ch[af]*", "chsh",
    "login", "wall", "gpasswd", "newgrp", "mount", "umount", "nsenter", "unshare", "setpriv",
    "setarch", "expiry",
)  # fmt: skip
USERS = "nobody:x:65534:65534:nobody:/task:/usr/sbin/nologin\n"
GROUPS = "nogroup:x:65534:\n"


def main() -> None:
    """Finish the root that this runs in."""
    compile_all()
    strip()
    Path("/etc/passwd").write_text(USERS, encoding="ascii")
    Path("/etc/group").write_text(GROUPS, encoding="ascii")
    for folder in ("/task", "/data"):
        Path(folder).mkdir(exist_ok=True)
    Path(__file__).unlink()


def compile_all() -> None:
    """Compile the library and every package; sources that are not for this Python are passed."""
    for folder in ("/usr/lib/python3.11", "/usr/lib/python3/dist-packages", "/usr/local/lib"):
        compileall.compile_dir(
            folder, maxlevels=30, force=True, quiet=2, workers=0, rx=re.compile(r"/tests?/"),
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )  # fmt: skip


def strip() -> None:
    """Take away what is not on the lists, and every setuid and setgid bit."""
    keep(Path("/"), TOP)
    keep(Path("/etc"), ETC)
    keep(Path("/usr/lib"), LIB, "*-linux-gnu*")
    keep(Path("/usr/sbin"), {"ldconfig"})
    keep(Path("/usr/share"), SHARE)
    keep(Path("/usr/libexec"), set())
    for path in Path("/usr/bin").iterdir():
        if any(fnmatch.fnmatch(path.name, pattern) for pattern in TOOLS):
            remove(path)
    for path in Path("/usr/lib").glob("*-linux-gnu*/perl*"):
        remove(path)
    for path in Path("/usr/share/doc").rglob("*"):
        if path.name != "copyright" and not path.is_dir():
            remove(path)
    for folder, _, names in os.walk("/usr"):
        for name in names:
            lower(Path(folder, name))


def keep(folder: Path, names: set[str], pattern: str = "") -> None:
    """Remove from a folder all that is neither named nor matched."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in names and not (pattern and fnmatch.fnmatch(path.name, pattern)):
            remove(path)


def remove(path: Path) -> None:
    """Remove a file or tree; what the builder itself has mounted there stays."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def lower(path: Path) -> None:
    """Take the setuid and setgid bits from a file."""
    mode = path.lstat().st_mode
    if stat.S_ISREG(mode) and mode & 0o6000:
        path.chmod(stat.S_IMODE(mode) & 0o777)


if __name__ == "__main__":
    main()
