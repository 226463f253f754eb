"""Gathers what user code left in `/task/output`, inside the sandbox: regular files and no others.

It goes by descriptors and follows no link, so a name cannot lead it elsewhere. What it leaves out
it tells, with the reason. Standard library only; the runner loads it at the end of a task.
"""

from __future__ import annotations

import itertools
import os
import resource
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    Found = list[tuple[str, int, int]]

NAME_BYTES, DEPTH, DROPPED = 400, 16, 100
# Names cost the task nothing, but time and memory whoever reads them all.
ENTRIES = 20_000


class Collector:
    """The outputs of one task: at most `files` of them, `total` bytes in all.

    `found` holds name, size and an open descriptor of each.
    """

    def __init__(self, files: int, total: int) -> None:
        # it bounds how many outputs can be held open
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        self.files, self.left = files, total
        self.found: Found = []
        self.dropped: list[str] = []
        self.unlisted = 0
        self.unread = ENTRIES

    def drop(self, name: str, why: str) -> None:
        """Note a refused output, up to a number of notes."""
        if len(self.dropped) < DROPPED:
            self.dropped.append(f"{ascii(name)[1:-1][:NAME_BYTES]}: {why}")
        else:
            self.unlisted += 1

    def walk(self, folder: int, prefix: str = "", depth: int = 0) -> None:
        """Take one folder, by descriptor, in the order of names."""
        with os.scandir(folder) as entries:
            read = itertools.islice(entries, self.unread)
            found = sorted(read, key=lambda entry: entry.name)
            is_whole = next(entries, None) is None
        self.unread -= len(found)
        if not is_whole:
            self.drop(prefix or "./", "too many entries to read them all")
        for entry in found:
            name = prefix + entry.name
            why = name_problem(name)
            if why:
                self.drop(name, why)
            elif entry.is_dir(follow_symlinks=False):
                self.enter(folder, entry.name, name, depth)
            else:
                self.take(folder, entry.name, name)

    def enter(self, folder: int, entry: str, name: str, depth: int) -> None:
        """Go down, unless that is too deep or forbidden."""
        if depth >= DEPTH:
            self.drop(name, "nested too deep")
            return
        try:
            inner = os.open(entry, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
        except OSError as error:
            self.drop(name, error.strerror or "unreadable")
            return
        try:
            self.walk(inner, name + "/", depth + 1)
        finally:
            os.close(inner)

    def take(self, folder: int, entry: str, name: str) -> None:
        """Open a file for sending, if it is regular and there is room for it."""
        kind = stat.S_IFMT(os.lstat(entry, dir_fd=folder).st_mode)
        if kind != stat.S_IFREG:
            self.drop(name, "symbolic link" if kind == stat.S_IFLNK else "not a regular file")
            return
        if len(self.found) >= self.files:
            self.drop(name, "too many files")
            return
        try:
            fd = os.open(entry, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        except OSError as error:
            self.drop(name, error.strerror or "unreadable")
            return
        size = os.fstat(fd).st_size
        if size > self.left:
            os.close(fd)
            self.drop(name, "too large")
            return
        self.left -= size
        self.found.append((name, size, fd))

    def notes(self) -> list[str]:
        """Everything refused, with a count of what did not fit the list."""
        return [*self.dropped, *([f"and {self.unlisted} more"] if self.unlisted else [])]


def name_problem(name: str) -> str | None:
    """Why a relative name is refused, or None."""
    try:
        raw = name.encode()
    except UnicodeEncodeError:
        return "name is not UTF-8"
    if len(raw) > NAME_BYTES:
        return "name is too long"
    if not name.isprintable() or "\\" in name:
        return "name has control characters"
    return None
